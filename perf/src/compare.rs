//! `compare`: servers against each other, in interleaved rounds of one run.
//! Invariant: the servers of a scenario run side by side, one is loaded at a time, and every ratio
//! is of two measurements of the same round; so what slows the machine slows both alike.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::args::{Args, Opt};
use crate::listeners::Listeners;
use crate::load::{self, Outcome};
use crate::record::Record;
use crate::report;
use crate::scenario::{Point, Scenario};
use crate::server::{Server, Spec};
use crate::stats::Spread;
use crate::workload::{Keys, Workload};
use crate::{Result, sys};

/// Options of `compare`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "scenario", default: Some(""), help: "scenario file; may be repeated" },
    Opt { name: "rounds", default: Some("20"), help: "rounds of each point" },
    Opt { name: "ms", default: Some("500"), help: "measured window of a round, milliseconds" },
    Opt { name: "base", default: Some(""), help: "server that ratios refer to (the first)" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table, CSV and charts" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

/// Columns of a comparison's record. Times are microseconds; `_q1` and `_q3` are quartiles of the
/// rounds, plain figures their medians; percentiles are of all rounds' latencies together.
const COLUMNS: &[&str] = &[
    "scenario",
    "command",
    "connections",
    "pipeline",
    "keys",
    "value_bytes",
    "distribution",
    "server_cpus",
    "server",
    "rounds",
    "cpu_us",
    "cpu_us_q1",
    "cpu_us_q3",
    "ratio",
    "ratio_q1",
    "ratio_q3",
    "ops_per_second",
    "busy",
    "generator_busy",
    "p50_us",
    "p99_us",
    "p999_us",
    "nulls",
    "throughput_counts",
];

/// A warm-up is this part of the window.
const WARM_PART: u32 = 10;
/// Length of the run that checks every reply before a point is measured.
const VERIFIED: Duration = Duration::from_millis(100);

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let paths = args.texts("scenario");
    let scenarios =
        paths.iter().map(|path| Scenario::read(Path::new(path))).collect::<Result<Vec<_>>>()?;
    if specs.is_empty() || scenarios.is_empty() {
        return Err("compare needs --scenario FILE and at least one server name=COMMAND".into());
    }
    let base = match args.text("base").as_str() {
        "" => 0,
        name => specs.iter().position(|spec| spec.name == name).ok_or("--base names no server")?,
    };
    let window = Duration::from_millis(args.number("ms")?);
    let rounds: usize = args.number("rounds")?;
    if rounds == 0 || window.is_zero() {
        return Err("--rounds and --ms begin at 1".into());
    }
    let mut record = Record::new("compare", COLUMNS);
    record.fact("rounds", &format!("{rounds} of {} ms", window.as_millis()));
    record.fact("base", &specs[base].name);
    note_commands(&mut record, &specs);
    for scenario in &scenarios {
        let mut entrants: Vec<Entrant> =
            specs.iter().map(|spec| Entrant { spec: spec.clone(), base, replicas: 0 }).collect();
        if scenario.replicas > 0 {
            for (index, spec) in specs.iter().enumerate() {
                let spec = spec.renamed(&format!("{}+replica", spec.name));
                entrants.push(Entrant { spec, base: index, replicas: scenario.replicas });
            }
        }
        let mut run = Run { scenario, entrants, rounds, window };
        run.measure(&mut record)?;
    }
    report::publish(&record, &args.text("out"), &args.text("record"))
}

/// A server as it takes part.
struct Entrant {
    spec: Spec,
    /// The entrant that its ratios refer to: with replicas, itself without.
    base: usize,
    replicas: usize,
}

/// One scenario on its way.
struct Run<'a> {
    scenario: &'a Scenario,
    entrants: Vec<Entrant>,
    rounds: usize,
    window: Duration,
}

impl Run<'_> {
    fn measure(&mut self, record: &mut Record) -> Result<()> {
        let scenario = self.scenario;
        sys::pin_thread(&[scenario.generator_cpu])
            .map_err(|e| format!("generator on processor {}: {e}", scenario.generator_cpu))?;
        let points = scenario.points()?;
        let per_server = self.window + self.window / WARM_PART;
        let total = per_server * (self.rounds * points.len() * self.entrants.len()) as u32;
        eprintln!("\n{}: {} (about {} s)", scenario.name, scenario.about, total.as_secs() + 5);
        record.fact(&format!("scenario {}", scenario.name), &scenario.about);
        let mut servers = Vec::with_capacity(self.entrants.len());
        let mut listeners = Vec::new();
        for entrant in std::mem::take(&mut self.entrants) {
            let server = Server::start(&entrant.spec, &scenario.server_cpus)?;
            if entrant.replicas > 0 && !server.has_replication()? {
                eprintln!("{} is left out: it has no replication", server.name);
                continue;
            }
            server
                .fill(0, scenario.keys, scenario.value_bytes)
                .map_err(|e| format!("{} while filling: {e}", server.name))?;
            note_version(record, &server)?;
            let (count, channels) = (scenario.subscribers, scenario.keys);
            let cpu = scenario.generator_cpu;
            if count > 0 {
                listeners.push(Listeners::subscribe(&server, count, channels, cpu)?);
            }
            if entrant.replicas > 0 {
                listeners.push(Listeners::replicate(&server, entrant.replicas, cpu)?);
            }
            servers.push(server);
            self.entrants.push(entrant);
        }
        for (index, point) in points.iter().enumerate() {
            let label = format!(
                "{} {}/{} {} c={} P={}",
                scenario.name,
                index + 1,
                points.len(),
                point.command,
                point.connections,
                point.pipeline
            );
            let samples = self.measure_point(&servers, point, &label)?;
            let first = record.rows.len();
            self.append_rows(record, point, &samples);
            print!("{}", report::compare_table(record, first));
        }
        Ok(())
    }

    /// The rounds of one point: a list for each server, empty if it has no such command.
    fn measure_point(
        &self,
        servers: &[Server],
        point: &Point,
        label: &str,
    ) -> Result<Vec<Vec<Outcome>>> {
        let scenario = self.scenario;
        let keys = |seed| Keys::parse(&scenario.distribution, scenario.keys, seed);
        let mut workload =
            Workload::new(&point.mix, point.pipeline, scenario.value_bytes, keys(0)?);
        let mut samples: Vec<Vec<Outcome>> = servers.iter().map(|_| Vec::new()).collect();
        let mut missing = Vec::with_capacity(servers.len());
        for server in servers {
            missing.push(lacks_command(server, point, &mut workload, label)?);
        }
        for round in 0..self.rounds {
            for turn in 0..servers.len() {
                // Another server begins each round, so that none always runs after the same one.
                let index = (turn + round) % servers.len();
                if missing[index] {
                    continue;
                }
                let server = &servers[index];
                let outcome = load_point(server, point, &mut workload, self.window, false)
                    .map_err(|e| format!("{}, {label}: {e}", server.name))?;
                samples[index].push(outcome);
            }
            self.show_progress(servers, &samples, round, label);
        }
        Ok(samples)
    }

    fn show_progress(
        &self,
        servers: &[Server],
        samples: &[Vec<Outcome>],
        round: usize,
        label: &str,
    ) {
        let terminal = std::io::stderr().is_terminal();
        if !terminal && !(round + 1).is_multiple_of(10) && round + 1 != self.rounds {
            return;
        }
        let mut line = format!("[{label}] round {}/{}", round + 1, self.rounds);
        for (server, rounds) in servers.iter().zip(samples) {
            if let Some(last) = rounds.last() {
                line += &format!("  {} {:.3} us", server.name, cpu_us(last));
            }
        }
        // A terminal shows one line that changes, a log gets a line now and then. Progress is for
        // the eye: that it could not be shown is no reason to end a run.
        let (before, after) = if terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{before}{line}{after}").and_then(|()| err.flush());
        if terminal && round + 1 == self.rounds {
            let _ = write!(err, "\r\x1b[K");
        }
    }

    fn append_rows(&self, record: &mut Record, point: &Point, samples: &[Vec<Outcome>]) {
        let scenario = self.scenario;
        let cpus: Vec<String> = scenario.server_cpus.iter().map(ToString::to_string).collect();
        for (Entrant { spec, base, .. }, rounds) in self.entrants.iter().zip(samples) {
            if rounds.is_empty() {
                continue;
            }
            let mut row = vec![
                scenario.name.clone(),
                point.command.clone(),
                point.connections.to_string(),
                point.pipeline.to_string(),
                scenario.keys.to_string(),
                scenario.value_bytes.to_string(),
                scenario.distribution.clone(),
                cpus.join(" "),
                spec.name.clone(),
                rounds.len().to_string(),
            ];
            row.extend(figures(rounds, &samples[*base]));
            row.push(if scenario.is_apart() { "yes" } else { "no" }.to_owned());
            record.rows.push(row);
        }
    }
}

/// A short run in which every reply is compared with what it must be; tells whether the server
/// has no such command and is left out. Any other wrong reply ends everything.
fn lacks_command(
    server: &Server,
    point: &Point,
    workload: &mut Workload,
    label: &str,
) -> Result<bool> {
    match load_point(server, point, workload, VERIFIED, true) {
        Ok(_) => Ok(false),
        Err(e) if e.to_string().starts_with("ERR unknown command") => {
            eprintln!("{} is left out of {label}: {e}", server.name);
            Ok(true)
        }
        Err(e) => Err(format!("{}, {label}: {e}", server.name).into()),
    }
}

fn load_point(
    server: &Server,
    point: &Point,
    workload: &mut Workload,
    window: Duration,
    verify: bool,
) -> Result<Outcome> {
    let options = load::Options {
        port: server.port,
        connections: point.connections,
        warm: window / WARM_PART,
        window,
        verify,
    };
    let outcome = load::run(&options, workload, || server.cpu())?;
    if outcome.operations == 0 {
        return Err("nothing was answered in a whole round".into());
    }
    Ok(outcome)
}

/// The figures of one row, from `cpu_us` to `nulls`.
fn figures(rounds: &[Outcome], base: &[Outcome]) -> Vec<String> {
    let spread = |of: &dyn Fn(&Outcome) -> f64| Spread::of(rounds.iter().map(of));
    let cpu = spread(&cpu_us);
    let mut fields = [cpu.median, cpu.q1, cpu.q3].map(|x| format!("{x:.4}")).to_vec();
    push_ratio(&mut fields, rounds, base);
    let latency = merged(rounds);
    let percentile = |q: f64| format!("{:.1}", latency.value_at_quantile(q) as f64 / 1e3);
    let busy = |of: &dyn Fn(&Outcome) -> Duration| {
        format!("{:.3}", spread(&|round| of(round).as_secs_f64() / round.seconds).median)
    };
    fields.extend([
        format!("{:.0}", spread(&|round| round.operations as f64 / round.seconds).median),
        busy(&|round| round.server_cpu),
        busy(&|round| round.own_cpu),
        percentile(0.5),
        percentile(0.99),
        percentile(0.999),
        rounds.iter().map(|round| round.nulls).sum::<u64>().to_string(),
    ]);
    fields
}

fn push_ratio(fields: &mut Vec<String>, rounds: &[Outcome], base: &[Outcome]) {
    if rounds.len() != base.len() {
        fields.extend(std::iter::repeat_n(String::new(), 3));
        return;
    }
    let pairs = rounds.iter().zip(base);
    let ratio = Spread::of(pairs.map(|(ours, base)| cpu_us(ours) / cpu_us(base)));
    fields.extend([ratio.median, ratio.q1, ratio.q3].map(|x| format!("{x:.4}")));
}

fn merged(rounds: &[Outcome]) -> Histogram<u64> {
    let mut all = load::new_histogram();
    for round in rounds {
        all.add(&round.latency).expect("all histograms have the same bounds");
    }
    all
}

/// CPU microseconds of the server per operation.
fn cpu_us(outcome: &Outcome) -> f64 {
    outcome.server_cpu.as_secs_f64() * 1e6 / outcome.operations as f64
}

/// States how each server was started.
pub(crate) fn note_commands(record: &mut Record, specs: &[Spec]) {
    for spec in specs {
        record.fact(&format!("command {}", spec.name), &spec.shown());
    }
}

/// States once per record which release a server says it is.
pub(crate) fn note_version(record: &mut Record, server: &Server) -> Result<()> {
    let fact = format!("version {}", server.name);
    if record.fact_of(&fact).is_empty() {
        record.fact(&fact, &server.version()?);
    }
    Ok(())
}
