//! The facts, and a record in their form.

use std::collections::{BTreeMap, BTreeSet};

use ironring::command::keyspec::{Begin, Find, KeyRange};
use ironring::command::{Argument, ArgumentKind, Command, Flags, KeySpec};
use serde_json::{Map, Value, json};

/// What differs in Redis 8.0.6 where both servers have a command.
const REDIS_DIFFERS: &str = "redis 8.0.6 differs";
/// Fields of a fact that a record has, too.
const FIELDS: &[&str] = &[
    "arity",
    "flags",
    "first_key",
    "last_key",
    "key_step",
    "acl_categories",
    "tips",
    "key_specs",
    "group",
    "since",
    "deprecated_since",
    "arguments",
];

/// All facts, by upper-case name.
pub(crate) fn read() -> BTreeMap<String, Value> {
    let mut facts = BTreeMap::new();
    for file in ["tests/data/commands.json", "tests/data/commands-8.6.json"] {
        let text = std::fs::read_to_string(super::path(file)).expect("the facts are there");
        let more: BTreeMap<String, Value> = serde_json::from_str(&text).expect("they are JSON");
        facts.extend(more);
    }
    facts
}

/// What a record says otherwise than its fact.
pub(crate) fn compare(name: &str, record: &Command, fact: &Value) -> Vec<String> {
    let ours = describe(record);
    let mut differences = Vec::new();
    for field in FIELDS {
        let found = without_order(field, ours.get(*field).cloned());
        let valkey = without_order(field, fact.get(*field).cloned());
        let redis = fact.get(REDIS_DIFFERS).and_then(|other| other.get(*field)).cloned();
        let redis = redis.map(|value| without_order(field, Some(value)));
        if found != valkey && redis.as_ref() != Some(&found) {
            let shown = |value: &Value| serde_json::to_string(value).unwrap_or_default();
            let stock = redis.as_ref().unwrap_or(&valkey);
            differences.push(format!("{name}.{field}: {} is not {}", shown(&found), shown(stock)));
        }
    }
    differences
}

/// Sets come in any order; what is absent is null. No arguments are the same as none listed.
fn without_order(field: &str, value: Option<Value>) -> Value {
    let mut value = value.unwrap_or(Value::Null);
    if field == "arguments" && value.as_array().is_some_and(Vec::is_empty) {
        return Value::Null;
    }
    if field == "key_specs" {
        for spec in value.as_array_mut().into_iter().flatten() {
            let flags = spec["flags"].take();
            spec["flags"] = sorted(flags);
        }
        return value;
    }
    match field {
        "flags" | "acl_categories" | "tips" => sorted(value),
        _ => value,
    }
}

fn sorted(words: Value) -> Value {
    let words: BTreeSet<String> = words
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|word| Some(word.as_str()?.into()))
        .collect();
    json!(words)
}

fn describe(record: &Command) -> Map<String, Value> {
    let range = KeyRange::of(record.keys);
    let flags = if range.movable { record.flags.with(Flags::MOVABLEKEYS) } else { record.flags };
    let categories: Vec<String> =
        record.acl.derived(record.flags).names().map(|name| format!("@{name}")).collect();
    let fact = json!({
        "arity": record.arity.number(),
        "flags": flags.names().collect::<Vec<_>>(),
        "first_key": range.first,
        "last_key": range.last,
        "key_step": range.step,
        "acl_categories": categories,
        "tips": record.tips,
        "key_specs": record.keys.iter().map(key_spec).collect::<Vec<_>>(),
        "group": record.group.name(),
        "since": record.since,
        "arguments": record.arguments.iter().map(argument).collect::<Vec<_>>(),
    });
    let Value::Object(mut fact) = fact else { unreachable!("made as an object") };
    if let Some((since, _)) = record.deprecated {
        fact.insert("deprecated_since".into(), json!(since));
    }
    fact
}

fn key_spec(spec: &KeySpec) -> Value {
    let begin = match spec.begin {
        Begin::Index(index) => json!({"type": "index", "spec": {"index": index}}),
        Begin::Keyword { word, from } => {
            json!({"type": "keyword", "spec": {"keyword": word, "startfrom": from}})
        }
        Begin::Found(_) | Begin::Unknown => json!({"type": "unknown", "spec": {}}),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => json!({
            "type": "range", "spec": {"lastkey": last, "keystep": step, "limit": limit}
        }),
        Find::Keynum { count, first, step } => json!({
            "type": "keynum", "spec": {"keynumidx": count, "firstkey": first, "keystep": step}
        }),
        Find::Unknown => json!({"type": "unknown", "spec": {}}),
    };
    let mut value = json!({
        "flags": spec.access.names().collect::<Vec<_>>(),
        "begin_search": begin,
        "find_keys": find,
    });
    if let Some(notes) = spec.notes {
        value["notes"] = json!(notes);
    }
    value
}

fn argument(argument: &Argument) -> Value {
    let mut value = json!({"name": argument.name, "type": argument.kind.name()});
    match argument.kind {
        ArgumentKind::OneOf | ArgumentKind::Block => {
            let parts: Vec<Value> = argument.arguments.iter().map(self::argument).collect();
            value["arguments"] = json!(parts);
        }
        _ => value["display_text"] = json!(argument.display.unwrap_or(argument.name)),
    }
    let texts = [
        ("token", argument.token),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            value[name] = json!(text);
        }
    }
    if let Some(spec) = argument.key_spec {
        value["key_spec_index"] = json!(spec);
    }
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        value["flags"] = json!(flags);
    }
    value
}
