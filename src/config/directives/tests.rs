//! The table of directives against the facts: names and defaults of the stock servers.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

type Facts = BTreeMap<String, BTreeMap<String, String>>;

fn facts() -> Facts {
    let facts = include_str!("../../../tests/data/directives.json");
    serde_json::from_str(facts).expect("the facts are JSON")
}

/// Names that only this server has.
const OWN: [&str; 6] =
    ["cores", "core-ports", "io-backend", "metrics-port", "metrics-bind", "script-memory-limit"];

#[test]
fn every_directive_of_redis_and_valkey_has_its_default() {
    for (name, defaults) in facts() {
        let found = find(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not known"));
        let expected = defaults.get("redis 8.0.6").or_else(|| defaults.get("valkey 9.1.2"));
        let expected = expected.expect("one of the servers has it");
        if expected != "(path)" {
            let default = found.directive().default_value().render();
            assert_eq!(String::from_utf8_lossy(&default), *expected, "{name}");
        }
    }
}

#[test]
fn there_is_no_other_directive() {
    let facts = facts();
    for found in names() {
        let known = facts.contains_key(found.name) || OWN.contains(&found.name);
        assert!(known || found.directive().hidden, "{}", found.name);
    }
}

#[test]
fn names_are_unique_and_lower_case() {
    let mut seen = BTreeSet::new();
    for found in names() {
        assert!(seen.insert(found.name), "{} is there twice", found.name);
        assert_eq!(found.name, found.name.to_ascii_lowercase());
        assert_eq!(find(found.name.to_ascii_uppercase().as_bytes()), Some(found));
    }
}

#[test]
fn what_is_refused_is_not_refused_at_its_default() {
    for directive in all() {
        assert_eq!(directive.refusal(&directive.default_value()), None, "{}", directive.name);
    }
}

#[test]
fn a_value_that_comes_back_as_words_is_the_same() {
    for directive in all() {
        let default = directive.default_value();
        for line in default.lines().iter().filter(|line| !line.is_empty()) {
            let words = crate::config::split_args(line).expect("a written line can be split");
            let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
            assert!(directive.parse(&words, &default).is_ok(), "{}", directive.name);
        }
    }
}

#[test]
fn the_log_hears_of_what_will_not_happen() {
    let notice = |name: &[u8], text: &[u8]| {
        let directive = find(name).expect("the directive is known").directive();
        let value = directive.parse(&[text], &directive.default_value()).expect("it is valid");
        directive.notice(&value).is_some()
    };
    assert!(notice(b"io-threads", b"4"));
    assert!(!notice(b"io-threads", b"1"));
    assert!(notice(b"dual-channel-replication-enabled", b"yes"));
    assert!(!notice(b"maxmemory", b"1gb"));
    assert!(!notice(b"save", b""));
}
