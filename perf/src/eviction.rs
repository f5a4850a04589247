//! `eviction`: what a server at `maxmemory` does to writers, to memory, and how well it chooses what
//! goes.
//!
//! Invariant: in a round each server starts empty, takes new keys until nine tenths of the limit are
//! used (`below`), then goes on for as long at the limit (`at`): the same writers, keys and values, so
//! the phases of one round are compared. The trace is the same for all: a GET, and a SET if the key was
//! not there, by one client.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::args::{Args, Opt};
use crate::compare::{note_commands, note_version};
use crate::load::{self, Options};
use crate::memory::cpu_list;
use crate::record::Record;
use crate::report;
use crate::resp::{self, Reply};
use crate::server::{Client, Server, Spec, info_field};
use crate::workload::{Keys, Mix, Workload, key_of, value_of};
use crate::{Result, sys};

/// Options of `eviction`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "limit-mib", default: Some("128"), help: "maxmemory" },
    Opt { name: "policy", default: Some("allkeys-lru"), help: "maxmemory-policy" },
    Opt { name: "value-bytes", default: Some("300"), help: "bytes of every value" },
    Opt { name: "writers", default: Some("50"), help: "clients that write" },
    Opt { name: "pipeline", default: Some("1"), help: "SETs in flight of each" },
    Opt { name: "rounds", default: Some("3"), help: "rounds of writes" },
    Opt { name: "seconds", default: Some("4"), help: "at the limit, each round" },
    Opt { name: "trace-keys", default: Some("1_000_000"), help: "keys of the trace" },
    Opt { name: "trace", default: Some("3_000_000"), help: "GETs of the trace; 0 for none" },
    Opt { name: "distribution", default: Some("zipf:0.99"), help: "of the trace's keys" },
    Opt { name: "cpus", default: Some("0"), help: "processors of the servers: 0 or 0,1" },
    Opt { name: "generator-cpu", default: Some("1"), help: "processor of the clients" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table, CSV and charts" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

const COLUMNS: &[&str] = &[
    "server",
    "limit_mib",
    "policy",
    "value_bytes",
    "phase",
    "seconds",
    "writes_per_second",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "used_max_of_limit",
    "resident_mib",
    "keys",
    "hit_rate",
];

/// Writes are measured in pieces, between which it is looked how full the server is.
const PIECE: Duration = Duration::from_millis(250);
/// Not measured, at the start of a piece: connections are new.
const WARM: Duration = Duration::from_millis(20);
/// Further apart than what a piece can write.
const KEYS_OF_PIECE: u64 = 100_000_000;
/// How often used memory is looked at while clients write.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// GETs of the trace in flight.
const TRACE_PIPELINE: usize = 50;
const MIB: u64 = 1 << 20;

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        limit_mib: args.number("limit-mib")?,
        policy: args.text("policy"),
        value_bytes: args.number("value-bytes")?,
        writers: args.number("writers")?,
        pipeline: args.number("pipeline")?,
        rounds: args.number("rounds")?,
        at_limit: Duration::from_secs(args.number("seconds")?),
        trace_keys: args.number("trace-keys")?,
        trace: args.number("trace")?,
        distribution: args.text("distribution"),
    };
    if specs.is_empty() || plan.value_bytes == 0 || plan.writers == 0 || plan.pipeline == 0 {
        return Err("eviction needs servers name=COMMAND, and values, writers, a pipeline".into());
    }
    sys::pin_thread(&[args.number("generator-cpu")?])?;
    let cpus = cpu_list(&args.text("cpus"))?;
    let mut record = Record::new("eviction", COLUMNS);
    note_commands(&mut record, &specs);
    let servers = specs.iter().map(|spec| Server::start(spec, &cpus));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let mut seen: Vec<[Seen; 2]> = servers.iter().map(|_| [Seen::new(), Seen::new()]).collect();
    for server in &servers {
        note_version(&mut record, server)?;
    }
    for round in 0..plan.rounds {
        for at in (0..servers.len()).map(|at| (at + round) % servers.len()) {
            eprintln!("{}: round {}", servers[at].name, round + 1);
            plan.write(&servers[at], &mut seen[at])?;
        }
    }
    for (server, [below, at]) in servers.iter().zip(&seen) {
        for (phase, seen) in [("below", below), ("at", at)] {
            record.rows.push(plan.row(server, phase, seen, ""));
        }
        if plan.trace > 0 {
            eprintln!("{}: trace", server.name);
            let (seen, hit_rate) = plan.follow_trace(server)?;
            record.rows.push(plan.row(server, "trace", &seen, &format!("{hit_rate:.4}")));
        }
    }
    report::print(&record)?;
    report::publish(&record, &args.text("out"), &args.text("record"))
}

/// What is done to each server.
struct Plan {
    limit_mib: u64,
    policy: String,
    value_bytes: usize,
    writers: usize,
    pipeline: usize,
    rounds: usize,
    at_limit: Duration,
    trace_keys: u64,
    trace: usize,
    distribution: String,
}

/// What was seen in one phase of all rounds.
struct Seen {
    latency: Histogram<u64>,
    seconds: f64,
    operations: u64,
    /// The most of the limit that was used.
    used: f64,
    resident: u64,
    keys: u64,
}

impl Seen {
    fn new() -> Seen {
        let latency = load::new_histogram();
        Seen { latency, seconds: 0.0, operations: 0, used: 0.0, resident: 0, keys: 0 }
    }

    fn look(&mut self, plan: &Plan, server: &Server, used: u64) -> Result<()> {
        self.used = self.used.max(used as f64 / (plan.limit_mib * MIB) as f64);
        self.resident = self.resident.max(server.resident_bytes()?);
        if let Reply::Integer(keys) = Client::open(server.port)?.call(&["DBSIZE"])? {
            self.keys = keys as u64;
        }
        Ok(())
    }
}

impl Plan {
    fn empty(&self, server: &Server) -> Result<()> {
        let mut client = Client::open(server.port)?;
        let limit = (self.limit_mib * MIB).to_string();
        for argv in [
            &["FLUSHALL", "SYNC"][..],
            &["CONFIG", "SET", "maxmemory-policy", &self.policy],
            &["CONFIG", "SET", "maxmemory", &limit],
        ] {
            match client.call(argv)? {
                Reply::Status(_) => {}
                other => return Err(format!("{argv:?} was answered {other:?}").into()),
            }
        }
        // What a flush leaves may be freed behind the reply.
        let end = Instant::now() + load::SILENCE;
        while used_memory(&mut client)? > self.limit_mib * MIB / 10 {
            if Instant::now() > end {
                return Err("memory is not free after FLUSHALL".into());
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }

    /// Fills a server to nine tenths of its limit, then goes over it for a while.
    fn write(&self, server: &Server, [below, at]: &mut [Seen; 2]) -> Result<()> {
        self.empty(server)?;
        let limit = self.limit_mib * MIB;
        let mut first = 0;
        let mut piece = |seen: Option<&mut Seen>| -> Result<u64> {
            first += KEYS_OF_PIECE;
            self.write_piece(server, first, seen)
        };
        while piece(Some(below))? < limit / 10 * 9 {}
        let evicted = |server: &Server| -> Result<bool> {
            Ok(info_field(&server.info()?, "evicted_keys").is_some_and(|count| count != "0"))
        };
        Client::open(server.port)?.call(&["CONFIG", "RESETSTAT"])?;
        while !evicted(server)? {
            piece(None)?;
        }
        let end = Instant::now() + self.at_limit;
        while Instant::now() < end {
            piece(Some(at))?;
        }
        Ok(())
    }

    /// Writes new keys for a moment; the most memory that was used meanwhile.
    fn write_piece(&self, server: &Server, first: u64, seen: Option<&mut Seen>) -> Result<u64> {
        let options = Options {
            port: server.port,
            connections: self.writers,
            warm: WARM,
            window: PIECE,
            verify: false,
        };
        let keys = Keys::sequence(first, first + KEYS_OF_PIECE);
        let mut set = Workload::new(&Mix::parse("set")?, self.pipeline, self.value_bytes, keys);
        let is_over = AtomicBool::new(false);
        let (outcome, used) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| most_used(server.port, &is_over).map_err(|e| e.to_string()));
            let outcome = load::run(&options, &mut set, || server.cpu());
            is_over.store(true, Relaxed);
            (outcome, watch.join().expect("the watching thread does not panic"))
        });
        let (outcome, used) = (outcome?, used?);
        if let Some(seen) = seen {
            seen.latency.add(&outcome.latency)?;
            seen.seconds += outcome.seconds;
            seen.operations += outcome.operations;
            seen.look(self, server, used)?;
        }
        Ok(used)
    }

    /// One client that reads through the server as through a cache; how often the key was there, in
    /// the second half.
    fn follow_trace(&self, server: &Server) -> Result<(Seen, f64)> {
        self.empty(server)?;
        let mut draws = Keys::parse(&self.distribution, self.trace_keys, 1)?;
        let mut client = Client::open(server.port)?;
        let (mut seen, mut hits, mut counted) = (Seen::new(), 0, 0);
        let began = Instant::now();
        for at in (0..self.trace).step_by(TRACE_PIPELINE) {
            let keys: Vec<u64> = (0..TRACE_PIPELINE).map(|_| draws.draw()).collect();
            let mut gets = Vec::new();
            for key in &keys {
                resp::write_command(&mut gets, &[b"GET", key_of(*key).as_bytes()]);
            }
            let replies = client.call_all(&gets, keys.len())?;
            let missing =
                keys.iter().zip(&replies).filter(|(_, reply)| **reply == Reply::Bulk(None));
            let missing: Vec<u64> = missing.map(|(key, _)| *key).collect();
            if at >= self.trace / 2 {
                counted += keys.len();
                hits += keys.len() - missing.len();
            }
            let mut sets = Vec::new();
            for key in &missing {
                let value = value_of(*key, self.value_bytes);
                resp::write_command(&mut sets, &[b"SET", key_of(*key).as_bytes(), &value]);
            }
            client.call_all(&sets, missing.len())?;
        }
        seen.seconds = began.elapsed().as_secs_f64();
        let used = used_memory(&mut client)?;
        seen.look(self, server, used)?;
        Ok((seen, hits as f64 / counted.max(1) as f64))
    }

    fn row(&self, server: &Server, phase: &str, seen: &Seen, hit_rate: &str) -> Vec<String> {
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        let at = |q| us(seen.latency.value_at_quantile(q));
        let mut row = vec![
            server.name.clone(),
            self.limit_mib.to_string(),
            self.policy.clone(),
            self.value_bytes.to_string(),
            phase.to_owned(),
            format!("{:.2}", seen.seconds),
        ];
        if seen.operations > 0 {
            row.push(format!("{:.0}", seen.operations as f64 / seen.seconds));
            row.extend([at(0.5), at(0.99), at(0.999), us(seen.latency.max())]);
        } else {
            row.extend(std::iter::repeat_n(String::new(), 5));
        }
        row.extend([
            format!("{:.4}", seen.used),
            format!("{:.1}", seen.resident as f64 / MIB as f64),
            seen.keys.to_string(),
            hit_rate.to_owned(),
        ]);
        row
    }
}

/// The most memory that a server has used until `is_over`.
fn most_used(port: u16, is_over: &AtomicBool) -> Result<u64> {
    let mut client = Client::open(port)?;
    let mut most = 0;
    loop {
        most = most.max(used_memory(&mut client)?);
        if is_over.load(Relaxed) {
            return Ok(most);
        }
        std::thread::sleep(LOOK_PAUSE);
    }
}

fn used_memory(client: &mut Client) -> Result<u64> {
    let Reply::Bulk(Some(text)) = client.call(&["INFO", "memory"])? else {
        return Err("INFO has no text".into());
    };
    let text = String::from_utf8_lossy(&text);
    let used = info_field(&text, "used_memory").ok_or("INFO has no used_memory")?;
    Ok(used.parse()?)
}
