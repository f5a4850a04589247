//! `files`: how long it takes to save an RDB file, and to load it, or an AOF, until the server answers.
//!
//! Invariant: all servers run, idle but one; each is loaded once a round, and what it then has is
//! counted. CPU time is that of all threads, so it is what a core would need alone. The file is in the
//! page cache.

use std::time::{Duration, Instant};

use crate::Result;
use crate::args::{Args, Opt};
use crate::compare::{note_commands, note_version};
use crate::memory::cpu_list;
use crate::record::Record;
use crate::report;
use crate::resp::Reply;
use crate::server::{Client, Server, Spec, info_field};
use crate::stats::Spread;

/// Options of `files`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "keys", default: Some("2_000_000"), help: "keys, of 16 bytes each" },
    Opt { name: "value-bytes", default: Some("32"), help: "bytes of every value" },
    Opt { name: "rounds", default: Some("3"), help: "how often each file is loaded" },
    Opt { name: "cpus", default: Some("0"), help: "processors of the server: 0 or 0,1" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table and CSV" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

const COLUMNS: &[&str] = &[
    "server",
    "file",
    "keys",
    "value_bytes",
    "file_mib",
    "save_seconds",
    "save_cpu_seconds",
    "load_seconds",
    "load_cpu_seconds",
    "keys_per_cpu_second",
    "load_ratio",
];

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let (keys, value_bytes) = (args.number::<u64>("keys")?, args.number::<usize>("value-bytes")?);
    let rounds: usize = args.number("rounds")?;
    if specs.is_empty() || keys == 0 || value_bytes == 0 || rounds == 0 {
        return Err("files needs servers name=COMMAND, and keys, values and rounds".into());
    }
    let cpus = cpu_list(&args.text("cpus"))?;
    let mut record = Record::new("files", COLUMNS);
    note_commands(&mut record, &specs);
    let mut seen = Vec::new();
    for spec in &specs {
        eprintln!("{}: filling {keys} keys", spec.name);
        let server = Server::start(spec, &cpus)?;
        note_version(&mut record, &server)?;
        server.fill(0, keys, value_bytes)?;
        let is_aof = info_field(&server.info()?, "aof_enabled") == Some("1");
        let save = if is_aof { None } else { Some(save(&server)?) };
        let bytes = server.file_bytes()?;
        seen.push(Seen { server, save, bytes, loads: Vec::new() });
    }
    for round in 0..rounds {
        for place in 0..seen.len() {
            let one = &mut seen[(round + place) % specs.len()];
            let load = load(&mut one.server, keys)?;
            eprintln!("{}: loaded in {:.2} s, CPU {:.2} s", one.server.name, load.0, load.1);
            one.loads.push(load);
        }
    }
    for one in &seen {
        record.rows.push(one.row(keys, value_bytes, &seen[0]));
    }
    report::print(&record)?;
    report::publish(&record, &args.text("out"), &args.text("record"))
}

/// Seconds on the clock, and of CPU time.
type Spent = (f64, f64);

/// A server with its file.
struct Seen {
    server: Server,
    save: Option<Spent>,
    bytes: u64,
    loads: Vec<Spent>,
}

impl Seen {
    fn row(&self, keys: u64, value_bytes: usize, base: &Seen) -> Vec<String> {
        let seconds = Spread::of(self.loads.iter().map(|load| load.0)).median;
        let cpu = Spread::of(self.loads.iter().map(|load| load.1)).median;
        let pairs = self.loads.iter().zip(&base.loads);
        let ratio = Spread::of(pairs.map(|(load, base)| load.1 / base.1)).median;
        let saved = |spent: fn(Spent) -> f64| {
            self.save.map_or(String::new(), |save| format!("{:.2}", spent(save)))
        };
        vec![
            self.server.name.clone(),
            if self.save.is_some() { "rdb" } else { "aof" }.to_owned(),
            keys.to_string(),
            value_bytes.to_string(),
            format!("{:.1}", self.bytes as f64 / f64::from(1 << 20)),
            saved(|save| save.0),
            saved(|save| save.1),
            format!("{seconds:.2}"),
            format!("{cpu:.2}"),
            format!("{:.0}", keys as f64 / cpu),
            format!("{ratio:.2}"),
        ]
    }
}

fn save(server: &Server) -> Result<Spent> {
    let mut client = Client::open(server.port)?;
    let (cpu, began) = (server.cpu()?, Instant::now());
    match client.call(&["SAVE"])? {
        Reply::Status(_) => Ok(spent(began, server.cpu()?.saturating_sub(cpu))),
        other => Err(format!("SAVE was answered {other:?}").into()),
    }
}

/// Starts the server on its file. It has to have all keys then.
fn load(server: &mut Server, keys: u64) -> Result<Spent> {
    server.kill()?;
    let began = Instant::now();
    server.start_again()?;
    let load = spent(began, server.cpu()?);
    let size = Client::open(server.port)?.call(&["DBSIZE"])?;
    if size != Reply::Integer(keys as i64) {
        return Err(format!("{} has {size:?} keys, not {keys}", server.name).into());
    }
    Ok(load)
}

fn spent(began: Instant, cpu: Duration) -> Spent {
    (began.elapsed().as_secs_f64(), cpu.as_secs_f64())
}
