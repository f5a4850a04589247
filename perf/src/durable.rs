//! `durable`: writes a second where each is on the disk before its reply (`appendfsync always`), and
//! the latency of a small GET beside them.
//!
//! Invariant: servers run at once, each in a folder of its own on one file system, and are loaded in
//! turn; each round begins with another one. A ratio is that of two figures of one round.

use std::time::{Duration, Instant};

use crate::args::{Args, Opt};
use crate::compare::{note_commands, note_version};
use crate::crowd::{Crowd, Tally, Writers};
use crate::memory::cpu_list;
use crate::record::Record;
use crate::report;
use crate::server::{Server, Spec};
use crate::stats::Spread;
use crate::{Result, sys};

/// Options of `durable`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "base", default: Some(""), help: "server that ratios refer to; the first one" },
    Opt {
        name: "clients",
        default: Some("50,500"),
        help: "clients that write, one after the other",
    },
    Opt { name: "rounds", default: Some("9"), help: "rounds of each number of clients" },
    Opt { name: "ms", default: Some("1000"), help: "milliseconds of a server's turn in a round" },
    Opt { name: "keys", default: Some("100_000"), help: "keys that are written" },
    Opt { name: "value-bytes", default: Some("3"), help: "bytes of every value" },
    Opt { name: "probe-us", default: Some("1000"), help: "beat of the probe, microseconds" },
    Opt { name: "cpus", default: Some("0"), help: "processors of the servers: 0 or 0,1" },
    Opt { name: "generator-cpu", default: Some("1"), help: "processor of the clients" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table and CSV" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

const COLUMNS: &[&str] = &[
    "server",
    "clients",
    "rounds",
    "writes_per_second",
    "writes_per_second_q1",
    "writes_per_second_q3",
    "ratio",
    "ratio_q1",
    "ratio_q3",
    "write_p50_us",
    "write_p99_us",
    "get_p50_us",
    "get_p99_us",
    "get_p99_ratio",
];

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        rounds: args.number("rounds")?,
        turn: Duration::from_millis(args.number("ms")?),
        keys: args.number("keys")?,
        value_bytes: args.number("value-bytes")?,
        beat: Duration::from_micros(args.number("probe-us")?),
    };
    if specs.is_empty() || plan.rounds == 0 || plan.keys == 0 || plan.value_bytes == 0 {
        return Err("durable needs servers name=COMMAND, and rounds, keys and values".into());
    }
    let base = match args.text("base") {
        name if name.is_empty() => 0,
        name => specs.iter().position(|spec| spec.name == name).ok_or("no server is the base")?,
    };
    sys::pin_thread(&[args.number("generator-cpu")?])?;
    let cpus = cpu_list(&args.text("cpus"))?;
    let mut record = Record::new("durable", COLUMNS);
    note_commands(&mut record, &specs);
    let servers: Vec<Server> =
        specs.iter().map(|spec| Server::start(spec, &cpus)).collect::<Result<_>>()?;
    for server in &servers {
        note_version(&mut record, server)?;
    }
    for clients in args.numbers("clients")? {
        let seen = plan.measure(&servers, clients)?;
        for (server, rounds) in servers.iter().zip(&seen) {
            record.rows.push(row(&server.name, clients, rounds, &seen[base])?);
        }
    }
    report::print(&record)?;
    report::publish(&record, &args.text("out"), &args.text("record"))
}

struct Plan {
    rounds: usize,
    turn: Duration,
    keys: u64,
    value_bytes: usize,
    beat: Duration,
}

/// A server's turn in a round.
struct Round {
    tally: Tally,
    seconds: f64,
}

impl Round {
    fn rate(&self) -> f64 {
        self.tally.written as f64 / self.seconds
    }
}

impl Plan {
    /// Loads all servers in turn: the rounds of each.
    fn measure(&self, servers: &[Server], clients: usize) -> Result<Vec<Vec<Round>>> {
        let writers = Writers {
            count: clients,
            write: "set",
            pipeline: 1,
            keys: self.keys,
            value_bytes: self.value_bytes,
        };
        let start = |server: &Server| Crowd::start(server, &writers, self.beat);
        let mut crowds: Vec<Crowd> = servers.iter().map(start).collect::<Result<_>>()?;
        let mut seen: Vec<Vec<Round>> = servers.iter().map(|_| Vec::new()).collect();
        for round in 0..self.rounds {
            for place in 0..servers.len() {
                let at = (round + place) % servers.len();
                let warm = Instant::now() + self.turn / WARM_SHARE;
                crowds[at].turn_until(warm, &mut Tally::new())?;
                let (mut tally, began) = (Tally::new(), Instant::now());
                crowds[at].turn_until(began + self.turn, &mut tally)?;
                let seconds = began.elapsed().as_secs_f64();
                let turn = Round { tally, seconds };
                eprintln!("{clients} clients, {}: {:.0} a second", servers[at].name, turn.rate());
                seen[at].push(turn);
            }
        }
        Ok(seen)
    }
}

/// A server's row.
fn row(name: &str, clients: usize, rounds: &[Round], base: &[Round]) -> Result<Vec<String>> {
    let rates = Spread::of(rounds.iter().map(Round::rate));
    let ratios = Spread::of(rounds.iter().zip(base).map(|(one, base)| one.rate() / base.rate()));
    let probe = |round: &Round| round.tally.probes.value_at_quantile(0.99) as f64;
    let waits = Spread::of(rounds.iter().zip(base).map(|(one, base)| probe(one) / probe(base)));
    let mut all = Tally::new();
    for round in rounds {
        all.add(&round.tally)?;
    }
    let us = |ns: u64| format!("{:.0}", ns as f64 / 1e3);
    Ok(vec![
        name.to_owned(),
        clients.to_string(),
        rounds.len().to_string(),
        format!("{:.0}", rates.median),
        format!("{:.0}", rates.q1),
        format!("{:.0}", rates.q3),
        format!("{:.2}", ratios.median),
        format!("{:.2}", ratios.q1),
        format!("{:.2}", ratios.q3),
        us(all.writes.value_at_quantile(0.5)),
        us(all.writes.value_at_quantile(0.99)),
        us(all.probes.value_at_quantile(0.5)),
        us(all.probes.value_at_quantile(0.99)),
        format!("{:.2}", waits.median),
    ])
}

/// The part of a turn that is not counted, before it.
const WARM_SHARE: u32 = 10;
