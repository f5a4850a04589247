//! CONFIG SET against what stock Redis answered, and what only this server answers.

use super::*;
use crate::config::recorded;

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

fn pairs(args: &[Vec<u8>]) -> Pairs<'_> {
    args.chunks_exact(2).map(|pair| (pair[0].as_slice(), pair[1].as_slice())).collect()
}

fn set(config: &Config, args: &[(&str, &str)]) -> Result<Config, String> {
    let pairs: Pairs<'_> = args.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    let reply = |error: ConfigError| String::from_utf8(error.reply()).expect("ASCII");
    config.set(&pairs, SetContext { local: true, loading: false }).map_err(reply)
}

#[test]
fn replies_are_those_of_redis() {
    let default = Config::default().with_dir(b"/conf");
    let mut config = set(&default, &[("port", "7312")]).expect("as stock was started");
    for record in recorded::part("set") {
        let args = recorded::list(&record["args"]);
        let reply = match config.set(&pairs(&args), SetContext { local: true, loading: false }) {
            Ok(changed) => {
                config = changed;
                b"+OK".to_vec()
            }
            Err(error) => [b"-", error.reply().as_slice()].concat(),
        };
        let expected = recorded::bytes(&record["reply"]);
        assert_eq!(reply.escape_ascii().to_string(), expected.escape_ascii().to_string());
        for (name, expected) in recorded::entries(&record["get"]) {
            let value = &config.get_matching(&[&name])[0].1;
            assert_eq!(
                value.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{} after {}",
                name.escape_ascii(),
                record["args"]
            );
        }
    }
}

#[test]
fn all_pairs_are_set_or_none() {
    let config = Config::default();
    assert!(set(&config, &[("maxmemory", "1gb"), ("hz", "x")]).is_err());
    let changed = set(&config, &[("maxmemory", "1gb"), ("hz", "20")]).expect("both are valid");
    assert_eq!((config.maxmemory, config.hz), (0, 10));
    assert_eq!((changed.maxmemory, changed.hz), (1 << 30, 20));
}

#[test]
fn what_redis_does_not_know_may_be_set_to_what_it_is() {
    let config = Config::default();
    for (directive, value) in directives::all().iter().zip(config.values()) {
        if directive.immutable {
            let text = config.get_matching(&[directive.name.as_bytes()])[0].1.clone();
            let text = String::from_utf8(text).expect("ASCII");
            let outcome = set(&config, &[(directive.name, &text)]);
            assert_eq!(outcome.is_ok(), directive.restates, "{} {value:?}", directive.name);
        }
    }
    let refused = set(&config, &[("cores", "77")]).expect_err("it is another value");
    assert!(refused.contains("can't set immutable config"), "{refused}");
}

#[test]
fn what_is_not_there_yet_cannot_be_set() {
    let config = Config::default();
    let refused = |name, value| set(&config, &[(name, value)]).expect_err("it is refused");
    assert!(refused("core-ports", "7000").contains("one port for each core"));
    assert!(set(&config, &[("appendonly", "yes"), ("tls-port", "0")]).is_ok());
    assert!(set(&config, &[("repl-timeout", "5"), ("activedefrag", "yes")]).is_ok());
}

#[test]
fn changes_are_named_and_logged() {
    let config = Config::default();
    let changed = set(
        &config,
        &[
            ("maxmemory", "1gb"),
            ("hz", "10"),
            ("slave-priority", "1"),
            ("dual-channel-replication-enabled", "yes"),
        ],
    );
    let changed = changed.expect("all are valid");
    let names: Vec<_> = changed.changes(&config).map(|(directive, _)| directive.name).collect();
    assert_eq!(names, ["maxmemory", "replica-priority", "dual-channel-replication-enabled"]);
    assert_eq!(changed.notices(&config).len(), 1);
}

#[test]
fn protected_and_loading_depend_on_the_server() {
    let default = Config::default();
    let mut values: Values = default.values().into();
    let found = directives::find(b"enable-protected-configs").expect("it is a directive");
    let local = found.directive().parse(&[b"local"], found_value(&values, found));
    values[found.index] = Arc::new(local.expect("local is a choice"));
    let config = Config::from_values(values);
    let dir = |local, loading| {
        let changed = config.set(&[(b"dir", b"/")], SetContext { local, loading });
        changed.map(|config| config.dir).map_err(|error| error.reply())
    };
    assert_eq!(dir(true, false), Ok(b"/".to_vec()));
    assert_eq!(dir(true, true), Err(b"LOADING Redis is loading the dataset in memory".to_vec()));
    let protected = b"ERR CONFIG SET failed (possibly related to argument 'dir') - can't set \
                      protected config";
    assert_eq!(dir(false, false), Err(protected.to_vec()));
}

fn found_value(values: &[Arc<Value>], found: Found) -> &Value {
    &values[found.index]
}

proptest::proptest! {
    #[test]
    fn no_value_panics(index: usize, text: Vec<u8>) {
        let names: Vec<_> = directives::names().collect();
        let name = names[index % names.len()].name.as_bytes();
        if let Ok(config) = Config::default().set(&[(name, &text)], SetContext::default()) {
            let answer = config.get_matching(&[name])[0].1.clone();
            // What CONFIG GET answers can be set again and means the same.
            let again = config.set(&[(name, &answer)], SetContext::default());
            let again = again.expect("an answer of CONFIG GET can be set");
            proptest::prop_assert_eq!(&again.get_matching(&[name])[0].1, &answer);
        }
    }
}
