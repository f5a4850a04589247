//! `saving`: what a BGSAVE, or a BGREWRITEAOF, does to the latency of a small GET, to throughput and to
//! memory, while other clients write as fast as they can.
//!
//! Invariant: one probe at a time, on a fixed beat where the last answer allows it; the same writers
//! write before the save, during it and after it, so the phases of one run are compared. Rows whose
//! `part` is `slice` are the same run over time.

use std::time::{Duration, Instant};

use crate::args::{Args, Opt};
use crate::compare::{note_commands, note_version};
use crate::crowd::{Crowd, Tally, Writers};
use crate::growth::longest_turn;
use crate::memory::cpu_list;
use crate::record::Record;
use crate::report;
use crate::resp::Reply;
use crate::server::{Client, Server, Spec, info_field};
use crate::workload::{Keys, Mix, Workload};
use crate::{Result, sys};

/// Options of `saving`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "keys", default: Some("4_000_000"), help: "keys that are saved, of 16 bytes each" },
    Opt { name: "value-bytes", default: Some("64"), help: "bytes of every value" },
    Opt { name: "write", default: Some("set"), help: "what the writers send, as in a scenario" },
    Opt { name: "writers", default: Some("50"), help: "clients that write" },
    Opt { name: "pipeline", default: Some("1"), help: "writes in flight of each" },
    Opt { name: "prepare", default: Some(""), help: "the same once for each key, before all" },
    Opt { name: "seconds", default: Some("8"), help: "before the save, and after it" },
    Opt { name: "rewrite", default: None, help: "BGREWRITEAOF in place of BGSAVE" },
    Opt { name: "probe-us", default: Some("500"), help: "beat of the probe, microseconds" },
    Opt { name: "cpus", default: Some("0"), help: "processors of the server: 0 or 0,1" },
    Opt { name: "generator-cpu", default: Some("1"), help: "processor of the clients" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table, CSV and charts" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

const COLUMNS: &[&str] = &[
    "server",
    "keys",
    "value_bytes",
    "write",
    "pipeline",
    "phase",
    "part",
    "at_seconds",
    "seconds",
    "writes_per_second",
    "probes",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "resident_mib",
    "copied_mib",
    "turn_cpu_max_usec",
];

/// A slice of the run over time.
const SLICE: Duration = Duration::from_millis(250);
/// A save that takes longer has hung.
const SAVE_TIME_MAX: Duration = Duration::from_mins(10);
/// Requests of the preparation that are in flight.
const PREPARE_PIPELINE: usize = 100;

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        keys: args.number("keys")?,
        value_bytes: args.number("value-bytes")?,
        write: args.text("write"),
        writers: args.number("writers")?,
        pipeline: args.number("pipeline")?,
        prepare: args.text("prepare"),
        job: if args.flag("rewrite") { Job::Rewrite } else { Job::Save },
        pause: Duration::from_secs(args.number("seconds")?),
        beat: Duration::from_micros(args.number("probe-us")?),
    };
    if specs.is_empty() || plan.keys == 0 || plan.value_bytes == 0 || plan.pipeline == 0 {
        return Err("saving needs servers name=COMMAND, and keys, values, a pipeline".into());
    }
    sys::pin_thread(&[args.number("generator-cpu")?])?;
    let cpus = cpu_list(&args.text("cpus"))?;
    let mut record = Record::new("saving", COLUMNS);
    note_commands(&mut record, &specs);
    for spec in &specs {
        eprintln!("{}: filling {} keys", spec.name, plan.keys);
        let server = Server::start(spec, &cpus)?;
        note_version(&mut record, &server)?;
        plan.fill(&server)?;
        plan.save(&server, &mut record).map_err(|e| format!("{}: {e}", spec.name))?;
    }
    report::print(&record)?;
    report::publish(&record, &args.text("out"), &args.text("record"))
}

/// What is saved, and what is done meanwhile.
struct Plan {
    keys: u64,
    value_bytes: usize,
    write: String,
    writers: usize,
    pipeline: usize,
    prepare: String,
    job: Job,
    pause: Duration,
    beat: Duration,
}

/// What goes on beside the writers.
#[derive(Clone, Copy)]
enum Job {
    Save,
    Rewrite,
}

impl Job {
    /// The command that begins it.
    fn command(self) -> &'static str {
        match self {
            Job::Save => "BGSAVE",
            Job::Rewrite => "BGREWRITEAOF",
        }
    }

    /// INFO's fields of it: whether it goes on, and the bytes that were copied for it.
    fn fields(self) -> (&'static str, &'static str) {
        match self {
            Job::Save => ("rdb_bgsave_in_progress", "rdb_last_cow_size"),
            Job::Rewrite => ("aof_rewrite_in_progress", "aof_last_cow_size"),
        }
    }
}

/// Part of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Saving,
    After,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Before => "before",
            Phase::Saving => "saving",
            Phase::After => "after",
        }
    }
}

impl Plan {
    fn fill(&self, server: &Server) -> Result<()> {
        if self.prepare.is_empty() {
            return server.fill(0, self.keys, self.value_bytes);
        }
        let mix = Mix::parse(&self.prepare)?;
        let keys = Keys::sequence(0, self.keys);
        server.send_all(Workload::new(&mix, PREPARE_PIPELINE, self.value_bytes, keys), self.keys)
    }

    fn save(&self, server: &Server, record: &mut Record) -> Result<()> {
        let mut control = Client::open(server.port)?;
        let mut running = Running::start(self, server)?;
        running.crowd.turn_until(Instant::now() + self.pause / 4, &mut running.slice.tally)?;
        for phase in [Phase::Before, Phase::Saving, Phase::After] {
            control.call(&["CONFIG", "RESETSTAT"])?;
            running.begin_phase();
            let began = running.phase.began;
            if phase == Phase::Saving {
                control.call(&[self.job.command()])?;
            }
            loop {
                running.go_on(self, server, phase, record)?;
                let is_over = match phase {
                    Phase::Saving => !self.goes_on(&mut control)?,
                    Phase::Before | Phase::After => began.elapsed() >= self.pause,
                };
                if is_over {
                    break;
                }
                if began.elapsed() > SAVE_TIME_MAX {
                    return Err("the save does not end".into());
                }
            }
            let info = server.info()?;
            let copied = info_field(&info, self.job.fields().1).filter(|_| phase != Phase::Before);
            let mut row = self.row(server, phase, &running.phase, running.began);
            row.push(mebibytes(copied.and_then(|text| text.parse().ok()).unwrap_or(0)));
            row.push(longest_turn(&info).map_or(String::new(), |us| us.to_string()));
            record.rows.push(row);
        }
        Ok(())
    }

    /// True while the job goes on.
    fn goes_on(&self, control: &mut Client) -> Result<bool> {
        match control.call(&["INFO", "persistence"])? {
            Reply::Bulk(Some(text)) => {
                let info = String::from_utf8_lossy(&text).into_owned();
                Ok(info_field(&info, self.job.fields().0) != Some("0"))
            }
            other => Err(format!("INFO was answered {other:?}").into()),
        }
    }

    /// A row of what was seen in a part of a run, without its last two columns.
    fn row(&self, server: &Server, phase: Phase, seen: &Seen, run_began: Instant) -> Vec<String> {
        let seconds = seen.began.elapsed().as_secs_f64();
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        let at = |q| us(seen.tally.probes.value_at_quantile(q));
        vec![
            server.name.clone(),
            self.keys.to_string(),
            self.value_bytes.to_string(),
            self.write.clone(),
            self.pipeline.to_string(),
            phase.name().to_owned(),
            seen.part.to_owned(),
            format!("{:.2}", seen.began.duration_since(run_began).as_secs_f64()),
            format!("{seconds:.2}"),
            format!("{:.0}", seen.tally.written as f64 / seconds),
            seen.tally.probes.len().to_string(),
            at(0.5),
            at(0.99),
            at(0.999),
            us(seen.tally.probes.max()),
            mebibytes(seen.resident),
        ]
    }
}

/// What was seen in a part of a run.
struct Seen {
    /// `whole` for a phase, `slice` for a slice of one.
    part: &'static str,
    began: Instant,
    tally: Tally,
    /// The most bytes that were resident.
    resident: u64,
}

impl Seen {
    fn new(part: &'static str) -> Seen {
        Seen { part, began: Instant::now(), tally: Tally::new(), resident: 0 }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// The clients on their way.
struct Running {
    crowd: Crowd,
    began: Instant,
    phase: Seen,
    slice: Seen,
}

impl Running {
    fn start(plan: &Plan, server: &Server) -> Result<Running> {
        let writers = Writers {
            count: plan.writers,
            write: &plan.write,
            pipeline: plan.pipeline,
            keys: plan.keys,
            value_bytes: plan.value_bytes,
        };
        Ok(Running {
            crowd: Crowd::start(server, &writers, plan.beat)?,
            began: Instant::now(),
            phase: Seen::new("whole"),
            slice: Seen::new("slice"),
        })
    }

    fn begin_phase(&mut self) {
        self.phase = Seen::new("whole");
        self.slice = Seen::new("slice");
    }

    /// Goes on for a slice, and records it.
    fn go_on(
        &mut self,
        plan: &Plan,
        server: &Server,
        phase: Phase,
        record: &mut Record,
    ) -> Result<()> {
        self.crowd.turn_until(self.slice.began + SLICE, &mut self.slice.tally)?;
        self.slice.resident = server.resident_bytes()?;
        let mut row = plan.row(server, phase, &self.slice, self.began);
        row.extend([String::new(), String::new()]);
        record.rows.push(row);
        let slice = std::mem::replace(&mut self.slice, Seen::new("slice"));
        self.phase.tally.add(&slice.tally)?;
        self.phase.resident = self.phase.resident.max(slice.resident);
        Ok(())
    }
}
