//! `growth`: GET latency of one client while others fill the keyspace from nothing.
//! Invariant: one probe at a time, sent on a fixed beat where the last answer allows it; a stall
//! delays the probes that follow, so the maximum counts, and percentiles flatter a server that
//! stalls seldom but long.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::args::{Args, Opt};
use crate::compare::{note_commands, note_version};
use crate::load::{self, Connection};
use crate::memory::cpu_list;
use crate::record::Record;
use crate::report;
use crate::server::{Server, Spec};
use crate::workload::{Keys, Mix, Random, Workload};
use crate::{Result, sys};

/// Options of `growth`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "keys", default: Some("5_000_000"), help: "keys to grow to" },
    Opt { name: "value-bytes", default: Some("32"), help: "bytes of every value" },
    Opt { name: "fillers", default: Some("4"), help: "clients that fill" },
    Opt { name: "pipeline", default: Some("32"), help: "SETs in flight of each" },
    Opt { name: "probe-us", default: Some("200"), help: "beat of the probe, microseconds" },
    Opt { name: "cpus", default: Some("0"), help: "processors of the server: 0 or 0,1" },
    Opt { name: "generator-cpu", default: Some("1"), help: "processor of the clients" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table, CSV and charts" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

const COLUMNS: &[&str] = &[
    "server",
    "keys",
    "value_bytes",
    "fillers",
    "pipeline",
    "seconds",
    "keys_per_second",
    "probes",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "turn_cpu_max_usec",
];

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        keys: args.number("keys")?,
        value_bytes: args.number("value-bytes")?,
        fillers: args.number("fillers")?,
        pipeline: args.number("pipeline")?,
        beat: Duration::from_micros(args.number("probe-us")?),
    };
    if specs.is_empty()
        || plan.keys == 0
        || plan.value_bytes == 0
        || plan.pipeline == 0
        || plan.fillers == 0
    {
        return Err(
            "growth needs servers name=COMMAND, and keys, values, fillers, a pipeline".into()
        );
    }
    sys::pin_thread(&[args.number("generator-cpu")?])?;
    let cpus = cpu_list(&args.text("cpus"))?;
    let mut record = Record::new("growth", COLUMNS);
    note_commands(&mut record, &specs);
    for spec in &specs {
        let server = Server::start(spec, &cpus)?;
        note_version(&mut record, &server)?;
        let growth = plan.grow(&server).map_err(|e| format!("{}: {e}", spec.name))?;
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        let at = |q| us(growth.latency.value_at_quantile(q));
        record.rows.push(vec![
            spec.name.clone(),
            plan.keys.to_string(),
            plan.value_bytes.to_string(),
            plan.fillers.to_string(),
            plan.pipeline.to_string(),
            format!("{:.2}", growth.seconds),
            format!("{:.0}", plan.keys as f64 / growth.seconds),
            growth.latency.len().to_string(),
            at(0.5),
            at(0.99),
            at(0.999),
            us(growth.latency.max()),
            longest_turn(&server.info()?).map_or(String::new(), |us| us.to_string()),
        ]);
    }
    report::print(&record)?;
    report::publish(&record, &args.text("out"), &args.text("record"))
}

/// How the keyspace grows.
struct Plan {
    keys: u64,
    value_bytes: usize,
    fillers: usize,
    pipeline: usize,
    beat: Duration,
}

/// What it did to the probe.
struct Growth {
    seconds: f64,
    latency: Histogram<u64>,
}

impl Plan {
    fn grow(&self, server: &Server) -> Result<Growth> {
        let mut growing = Growing::start(self, server)?;
        let start = Instant::now();
        let mut next_word = start;
        while growing.filled < self.keys {
            growing.turn(self)?;
            if Instant::now() >= next_word {
                let (filled, keys) = (growing.filled as f64 / 1e6, self.keys as f64 / 1e6);
                eprintln!("{}: {filled:.1} of {keys:.1} million keys", server.name);
                next_word += Duration::from_secs(1);
            }
        }
        Ok(Growth { seconds: start.elapsed().as_secs_f64(), latency: growing.latency })
    }
}

/// The clients on their way: fillers first, the probe last.
struct Growing {
    epoll: sys::Epoll,
    clients: Vec<Connection>,
    fill: Workload,
    get: Workload,
    random: Random,
    buffer: Vec<u8>,
    /// Keys whose SET was sent, and was answered.
    sent: u64,
    filled: u64,
    next_probe: Instant,
    heard: Instant,
    latency: Histogram<u64>,
}

impl Growing {
    fn start(plan: &Plan, server: &Server) -> Result<Growing> {
        let epoll = sys::Epoll::new(plan.fillers + 1)?;
        let mut clients = Vec::new();
        for token in 0..=plan.fillers {
            let client = Connection::open(server.port)?;
            epoll.add(client.stream.as_raw_fd(), token)?;
            clients.push(client);
        }
        let workload = |command, pipeline, keys| -> Result<Workload> {
            Ok(Workload::new(&Mix::parse(command)?, pipeline, plan.value_bytes, keys))
        };
        let now = Instant::now();
        let mut growing = Growing {
            epoll,
            clients,
            fill: workload("set", plan.pipeline, Keys::sequence(0, plan.keys))?,
            get: workload("get", 1, Keys::sequence(0, 1))?,
            random: Random::new(plan.keys),
            buffer: vec![0; load::buffer_bytes()],
            sent: 0,
            filled: 0,
            next_probe: now,
            heard: now,
            latency: load::new_histogram(),
        };
        for token in 0..plan.fillers {
            growing.send_fill(token, plan, now)?;
        }
        Ok(growing)
    }

    fn turn(&mut self, plan: &Plan) -> Result<()> {
        let ready = self.epoll.wait(1)?;
        for i in 0..ready {
            self.serve(self.epoll.token(i), plan)?;
        }
        let now = Instant::now();
        let probe = &mut self.clients[plan.fillers];
        if now >= self.next_probe && probe.outstanding == 0 && self.filled > 0 {
            let key = self.random.below(self.filled.min(plan.keys));
            self.get.set_keys(Keys::sequence(key, key + 1));
            probe.send(&mut self.get, false, now)?;
            self.next_probe = now + plan.beat;
        }
        if now.saturating_duration_since(self.heard) > load::SILENCE {
            return Err(format!("no reply for {} s", load::SILENCE.as_secs()).into());
        }
        Ok(())
    }

    fn serve(&mut self, token: usize, plan: &Plan) -> Result<()> {
        let client = &mut self.clients[token];
        let replies = client.serve(&mut self.buffer)?;
        if replies == 0 {
            return Ok(());
        }
        let now = Instant::now();
        self.heard = now;
        if token == plan.fillers {
            self.latency.saturating_record((now - client.sent_at).as_nanos() as u64);
            return Ok(());
        }
        self.filled += replies;
        if client.outstanding == 0 { self.send_fill(token, plan, now) } else { Ok(()) }
    }

    fn send_fill(&mut self, token: usize, plan: &Plan, now: Instant) -> Result<()> {
        if self.sent >= plan.keys {
            return Ok(());
        }
        self.sent += plan.pipeline as u64;
        self.clients[token].send(&mut self.fill, false, now)
    }
}

/// The longest turn of any core, in microseconds of CPU, where INFO tells it: every
/// `turn_cpu_max_usec` followed by `:` or `=` and a number.
pub(crate) fn longest_turn(info: &str) -> Option<u64> {
    let after = info.split("turn_cpu_max_usec").skip(1);
    let numbers = after.filter_map(|rest| {
        let rest = rest.strip_prefix([':', '='])?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    numbers.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_turn_of_any_core_is_found() {
        let info = "# Cores\r\ncore0:turn_cpu_max_usec=12,x=1\r\ncore1:turn_cpu_max_usec=340\r\n";
        assert_eq!(longest_turn(info), Some(340));
        assert_eq!(longest_turn("# Cores\r\nturn_cpu_max_usec:7\r\n"), Some(7));
        assert_eq!(longest_turn("# Server\r\n"), None);
    }
}
