//! Loading against what stock Redis did, and what only this server refuses.

use std::collections::BTreeMap;

use super::*;
use crate::base::glob::stringmatch;
use crate::config::args::{Startup, parse_args};
use crate::config::recorded;

/// A directory of files named `/conf`; there is no other.
#[derive(Default)]
struct Files(BTreeMap<Vec<u8>, Vec<u8>>);

const NOT_FOUND: &str = "No such file or directory";

impl Host for Files {
    fn read_file(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        let name = path.strip_prefix(b"/conf/").unwrap_or(path);
        self.0.get(name).cloned().ok_or_else(|| NOT_FOUND.to_owned())
    }

    fn read_stdin(&mut self) -> Result<Vec<u8>, String> {
        self.read_file(b"-")
    }

    fn glob(&mut self, pattern: &[u8]) -> Vec<Vec<u8>> {
        self.0.keys().filter(|name| stringmatch(pattern, name, false)).cloned().collect()
    }

    fn current_dir(&mut self) -> Vec<u8> {
        b"/conf".to_vec()
    }

    fn enter_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        if path.starts_with(b"/nonexistent") { Err(NOT_FOUND.to_owned()) } else { Ok(path.into()) }
    }

    fn try_append(&mut self, path: &[u8]) -> Result<(), String> {
        self.enter_dir(path).map(drop)
    }

    fn rename_command(&mut self, _old: &[u8], _new: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn declare_user(&mut self, _words: &[&[u8]]) -> Result<(), String> {
        Ok(())
    }
}

fn load_args(files: &mut Files, args: &[Vec<u8>]) -> Result<Loaded, LoadError> {
    let Startup::Serve(sources) = parse_args(args) else { panic!("the arguments do not serve") };
    load(&sources, files)
}

fn load_text(text: &str) -> Result<Loaded, String> {
    let mut files = Files::default();
    files.0.insert(b"a.conf".to_vec(), text.into());
    load_args(&mut files, &[b"a.conf".to_vec()]).map_err(|error| match error {
        LoadError::Report(text) | LoadError::Unreadable(text) => {
            String::from_utf8_lossy(&text).into_owned()
        }
    })
}

#[test]
fn files_and_arguments_load_as_in_redis() {
    for record in recorded::part("load") {
        let mut files = Files(recorded::entries(&record["files"]).into_iter().collect());
        let loaded = load_args(&mut files, &recorded::list(&record["args"]));
        let context = format!("{} {}", record["files"], record["args"]);
        if record["started"] == true {
            let config = loaded.unwrap_or_else(|error| panic!("{context}: {error:?}")).config;
            for (name, expected) in recorded::entries(&record["get"]) {
                let value = &config.get_matching(&[&name])[0].1;
                assert_eq!(value.escape_ascii().to_string(), expected.escape_ascii().to_string());
            }
            continue;
        }
        let stderr = recorded::bytes(&record["stderr"]);
        let log = record.get("log").map(recorded::bytes);
        match (loaded.expect_err(&context), log) {
            (LoadError::Unreadable(text), Some(log)) => assert_eq!(text, log, "{context}"),
            // Redis only logs unknown names that have a value, in case a module wants them.
            (LoadError::Report(text), None) if stderr.is_empty() => {
                assert!(text.ends_with(b"\nBad directive or wrong number of arguments\n"));
            }
            (LoadError::Report(text), None) => {
                assert_eq!(text.escape_ascii().to_string(), stderr.escape_ascii().to_string());
            }
            (error, log) => panic!("{context}: {error:?} instead of {log:?}"),
        }
    }
}

#[test]
fn what_is_not_there_yet_stops_the_start() {
    for line in ["cluster-enabled yes", "loadmodule /m.so", "sentinel monitor a 10.0.0.1 6379 2"] {
        let error = load_text(&format!("# first\n{line}\n")).expect_err(line);
        let place = format!("at line 2\n>>> '{line}'\nthis needs ");
        assert!(error.contains(&place), "{error}");
        assert!(error.ends_with(", not available in this version\n"), "{error}");
    }
}

#[test]
fn a_refused_secret_is_not_shown() {
    let error = load_text("tls-key-file-pass secret words\n").expect_err("one word is taken");
    assert!(error.contains(">>> 'tls-key-file-pass (hidden)'\n"), "{error}");
}

#[test]
fn a_request_may_be_taken_back() {
    assert!(load_text("appendonly yes\nappendonly no\n").is_ok());
    assert!(load_text("cluster-enabled yes\ncluster-enabled no\n").is_ok());
    assert!(load_text("appendonly no\ntls-port 0\ncluster-enabled no\n").is_ok());
}

#[test]
fn what_is_accepted_without_effect_is_logged_once() {
    let notices = |text| load_text(text).expect("it is accepted").notices;
    assert_eq!(notices("save \"\"\nio-threads 1\nmaxmemory 1gb\n"), [""; 0]);
    assert_eq!(
        notices("save \"\"\nio-threads 2\nio-threads 4\ndual-channel-replication-enabled yes\n"),
        [
            "'io-threads' is accepted and has no effect here",
            "'dual-channel-replication-enabled' is accepted, but what it configures is not available in this version",
        ]
    );
    assert_eq!(notices("port 0\n"), [""; 0]);
}

#[test]
fn own_directives_are_read() {
    assert_eq!(load_text("cores 4\n").expect("it is valid").config.cores, 4);
    assert_eq!(load_text("cores \"\"\n").expect("it is valid").config.cores, 0);
    assert!(load_text("cores -1\n").is_err());
    assert!(load_text("io-backend io_uring\nmetrics-port 0\n").is_ok());
}

#[test]
fn a_file_that_includes_itself_ends_in_a_report() {
    let error = load_text("include a.conf\n").expect_err("there is no end");
    assert!(error.contains("too many files include each other"), "{error}");
}

#[test]
fn without_arguments_the_defaults_hold() {
    let loaded = load_args(&mut Files::default(), &[]).expect("the defaults are valid");
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.config.dir, b"/conf");
    assert_eq!(loaded.config.port, 6379);
    assert_eq!(loaded.config.bind, [b"*".to_vec(), b"-::*".to_vec()]);
}

#[test]
fn the_file_gets_an_absolute_path() {
    let cases: &[(&[u8], &[u8], &[u8])] = &[
        (b"/conf", b"a.conf", b"/conf/a.conf"),
        (b"/conf", b"./a.conf", b"/conf/a.conf"),
        (b"/conf/x", b"../a.conf", b"/conf/a.conf"),
        (b"/conf", b"../../a.conf", b"/a.conf"),
        (b"/", b"a.conf", b"/a.conf"),
        (b"/conf", b"/etc/a.conf", b"/etc/a.conf"),
        (b"/conf", b"b/../a.conf", b"/conf/b/../a.conf"),
    ];
    for (dir, path, expected) in cases {
        assert_eq!(absolute(dir, path), *expected, "{}", path.escape_ascii());
    }
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text: Vec<u8>) {
        let mut files = Files::default();
        files.0.insert(b"a.conf".to_vec(), text);
        let _ = load_args(&mut files, &[b"a.conf".to_vec()]);
    }
}
