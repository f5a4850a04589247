//! Facts: every command record equals what stock servers say of the command, and the page that is
//! made of the records is up to date.
//!
//! Invariant: a fact is never typed here. `tests/data/commands.json` was recorded from Redis 8.0.6 and
//! Valkey 9.1.2 (COMMAND INFO and COMMAND DOCS, without their prose); where the two differ, a record
//! may follow either, field by field. `commands-8.6.json` has what is taken from Redis 8.6, as its
//! documentation says. `tests/facts/missing.txt` names what we do not have; it is exact,
//! so it only shrinks. To write both files anew after a command was added:
//!
//! ```text
//! WRITE=1 cargo test --test facts
//! ```

mod facts;
mod page;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ironring::command::Command;
use ironring::commands;

/// Every record by its name in the facts, `CONFIG GET`; hidden parts are none to clients.
fn records() -> BTreeMap<String, &'static Command> {
    let mut records = BTreeMap::new();
    for command in commands::ALL.iter().flat_map(|slice| slice.iter()) {
        records.insert(command.name.to_owned(), command);
        for part in command.subcommands.iter().filter(|part| !part.hidden) {
            records.insert(format!("{} {}", command.name, part.name), part);
        }
    }
    records
}

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// True if the files are to be written instead of compared.
fn writes() -> bool {
    std::env::var_os("WRITE").is_some_and(|value| !value.is_empty())
}

#[test]
fn records_equal_the_facts() {
    let facts = facts::read();
    let mut differences = Vec::new();
    for (name, record) in records() {
        match facts.get(&name) {
            Some(fact) => differences.extend(facts::compare(&name, record, fact)),
            None => differences.push(format!("{name}: no stock server has this command")),
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn names_that_are_missing_only_get_fewer() {
    let records = records();
    let missing: Vec<String> =
        facts::read().keys().filter(|name| !records.contains_key(*name)).cloned().collect();
    let file = path("tests/facts/missing.txt");
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    let listed: Vec<&str> = listed.lines().collect();
    let new: Vec<&String> =
        missing.iter().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(new.is_empty() || listed.is_empty(), "commands that were there have gone: {new:?}");
    if writes() {
        std::fs::write(&file, missing.join("\n") + "\n").expect("the repository can be written");
        return;
    }
    let done: Vec<&&str> =
        listed.iter().filter(|name| !missing.contains(&(**name).into())).collect();
    assert!(done.is_empty(), "no longer missing, so take it off the list: {done:?}");
}

#[test]
fn every_record_has_its_words() {
    for (name, record) in records() {
        let summary = record.summary;
        assert!(summary.ends_with('.') && summary.len() > 10, "{name}: {summary:?}");
        assert!(!record.complexity.is_empty(), "{name} has a complexity");
    }
}

#[test]
fn the_page_is_up_to_date() {
    let file = path("docs/COMMANDS.md");
    let page = page::render(&records());
    if writes() {
        return std::fs::write(&file, page).expect("the repository can be written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == page, "docs/COMMANDS.md is not what the records say: run with WRITE=1");
}
