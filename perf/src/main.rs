//! Benchmark harness of Ironring: compares it with stock servers in one run, interleaved.
//! Invariant: knows servers by their command line and their replies only; no code is shared with
//! what it measures. Method, options and results: README.md beside this package.

mod args;
mod chart;
mod compare;
mod crowd;
mod durable;
mod eviction;
mod files;
mod growth;
mod lines;
mod listeners;
mod load;
mod memory;
mod record;
mod report;
mod resp;
mod saving;
mod scenario;
mod server;
mod single;
mod smoke;
mod stats;
mod sys;
mod workload;

use std::process::ExitCode;

use args::{Args, Opt};

/// Whatever ends a run early, as text for the person at the terminal.
type Error = Box<dyn std::error::Error>;
/// Result of everything that may end a run.
type Result<T> = std::result::Result<T, Error>;

/// One subcommand.
struct Subcommand {
    name: &'static str,
    about: &'static str,
    options: &'static [Opt],
    run: fn(&Args) -> Result<()>,
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "compare",
        about: "compare servers on scenarios, interleaved",
        options: compare::OPTIONS,
        run: compare::run,
    },
    Subcommand {
        name: "load",
        about: "load one running server and print JSON",
        options: single::OPTIONS,
        run: single::run,
    },
    Subcommand {
        name: "memory",
        about: "resident bytes per key",
        options: memory::OPTIONS,
        run: memory::run,
    },
    Subcommand {
        name: "growth",
        about: "GET latency while the keyspace grows",
        options: growth::OPTIONS,
        run: growth::run,
    },
    Subcommand {
        name: "saving",
        about: "GET latency, writes and memory while a BGSAVE runs",
        options: saving::OPTIONS,
        run: saving::run,
    },
    Subcommand {
        name: "eviction",
        about: "writes, memory and hit rate at maxmemory",
        options: eviction::OPTIONS,
        run: eviction::run,
    },
    Subcommand {
        name: "files",
        about: "how fast an RDB file is saved and loaded, or an AOF is loaded",
        options: files::OPTIONS,
        run: files::run,
    },
    Subcommand {
        name: "durable",
        about: "writes that are on the disk before their reply, and GETs beside them",
        options: durable::OPTIONS,
        run: durable::run,
    },
    Subcommand {
        name: "smoke",
        about: "check every reply of short runs, time nothing",
        options: smoke::OPTIONS,
        run: smoke::run,
    },
    Subcommand {
        name: "report",
        about: "draw a record's table and charts again",
        options: report::OPTIONS,
        run: report::run,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let Some(subcommand) = SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name) else {
        eprint!("{}", usage());
        return ExitCode::from(2);
    };
    let outcome = Args::parse(words, subcommand.options).and_then(|args| (subcommand.run)(&args));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ironring-perf {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from(
        "usage: ironring-perf SUBCOMMAND [OPTIONS] [name=COMMAND ...]\n\
         A COMMAND starts a server; it has {port}, and may have {dir} (an empty folder of its own)\n\
         and {cpus} (how many processors it gets).\n",
    );
    for subcommand in SUBCOMMANDS {
        text += &format!("\n  {}: {}\n", subcommand.name, subcommand.about);
        text += &args::usage(subcommand.options);
    }
    text
}
