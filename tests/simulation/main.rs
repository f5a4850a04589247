//! Whole servers of one and of four cores in one thread, on a simulated kernel, network and clock.
//!
//! Invariant: a seed decides everything, so a failure replays: `SIM_SEED=<n>` runs one seed,
//! `SIM_SEEDS=<n>` that many. Source: FoundationDB's deterministic simulation (Zhou et al.,
//! "FoundationDB", SIGMOD 2021).

#[path = "../history/checker.rs"]
mod checker;
mod crowd;
mod disturber;
mod histories;
mod journal;
#[path = "../history/model.rs"]
mod model;
mod program;
mod pushes;
mod replica;
mod run;
mod schedule;
mod server;
#[path = "../support/mod.rs"]
mod support;

use ironring::event_loop::Sabotage;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 200;

/// Runs `test` with each seed, and names the one that fails.
fn for_each_seed(name: &str, test: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} fails: SIM_SEED={seed} cargo test --test simulation {name}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn one_core_answers_as_its_model() {
    for_each_seed("one_core_answers_as_its_model", |seed| run::programs(seed, 1));
}

#[test]
fn four_cores_answer_as_their_model() {
    for_each_seed("four_cores_answer_as_their_model", |seed| run::programs(seed, 4));
}

#[test]
fn one_core_pushes_in_one_order() {
    for_each_seed("one_core_pushes_in_one_order", |seed| pushes::pushes(seed, 1, Sabotage::None));
}

#[test]
fn four_cores_push_in_one_order() {
    for_each_seed("four_cores_push_in_one_order", |seed| pushes::pushes(seed, 4, Sabotage::None));
}

#[test]
fn a_crowd_on_one_core_loses_nothing() {
    for_each_seed("a_crowd_on_one_core_loses_nothing", |seed| crowd::run(seed, 1, Sabotage::None));
}

#[test]
fn a_crowd_on_four_cores_loses_nothing() {
    for_each_seed("a_crowd_on_four_cores_loses_nothing", |seed| {
        crowd::run(seed, 4, Sabotage::None);
    });
}

#[test]
fn one_core_is_strictly_serialisable() {
    for_each_seed("one_core_is_strictly_serialisable", |seed| {
        histories::history(seed, 1, Sabotage::None).unwrap_or_else(|anomaly| panic!("{anomaly}"));
    });
}

#[test]
fn four_cores_are_strictly_serialisable() {
    for_each_seed("four_cores_are_strictly_serialisable", |seed| {
        histories::history(seed, 4, Sabotage::None).unwrap_or_else(|anomaly| panic!("{anomaly}"));
    });
}

#[test]
fn one_core_loses_nothing_that_it_acknowledged() {
    for_each_seed("one_core_loses_nothing_that_it_acknowledged", |seed| {
        journal::run(seed, 1, false);
    });
}

#[test]
fn four_cores_lose_nothing_that_they_acknowledged() {
    for_each_seed("four_cores_lose_nothing_that_they_acknowledged", |seed| {
        journal::run(seed, 4, false);
    });
}

#[test]
fn a_replica_comes_to_hold_what_its_primary_holds() {
    for_each_seed("a_replica_comes_to_hold_what_its_primary_holds", replica::run);
}

#[test]
fn a_journal_that_was_lost_is_written_anew() {
    for cores in [1, 4] {
        for_each_seed("a_journal_that_was_lost_is_written_anew", |seed| {
            journal::lose_and_renew(seed, cores);
        });
    }
}

#[test]
fn changes_wait_for_a_disk_that_hangs() {
    for cores in [1, 4] {
        journal::hang(1, cores);
    }
}

/// Seeds among which a broken server must show an anomaly.
const SABOTAGE_SEEDS: u64 = 1000;

fn finds(sabotage: Sabotage) {
    let found = (0..SABOTAGE_SEEDS).find(|seed| histories::history(*seed, 4, sabotage).is_err());
    assert!(found.is_some(), "{sabotage:?} was not noticed in {SABOTAGE_SEEDS} seeds");
}

#[test]
fn a_command_that_runs_without_all_its_partitions_is_noticed() {
    finds(Sabotage::SplitLoan);
}

#[test]
fn a_script_that_runs_twice_is_noticed() {
    finds(Sabotage::RepeatScript);
}

#[test]
fn pushes_that_do_not_wait_for_their_place_are_noticed() {
    fails_somewhere(|seed| pushes::pushes(seed, 4, Sabotage::EagerPushes));
}

#[test]
fn what_is_kept_for_clients_that_have_gone_is_noticed() {
    fails_somewhere(|seed| crowd::run(seed, 4, Sabotage::KeepVanished));
}

#[test]
fn a_disk_that_forgets_what_it_has_synced_is_noticed() {
    fails_somewhere(|seed| journal::run(seed, 4, true));
}

/// One of the seeds must end in a panic.
fn fails_somewhere(test: impl Fn(u64)) {
    let fails = |seed: u64| catch_unwind(AssertUnwindSafe(|| test(seed))).is_err();
    assert!((0..SABOTAGE_SEEDS).any(fails), "not noticed in {SABOTAGE_SEEDS} seeds");
}

#[test]
fn a_transaction_that_does_not_look_at_what_was_watched_is_noticed() {
    finds(Sabotage::BlindExec);
}

#[test]
fn a_batch_that_runs_out_of_order_is_noticed() {
    finds(Sabotage::ReorderBatch);
}
