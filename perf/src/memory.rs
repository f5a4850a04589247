//! `memory`: resident bytes per key. Invariant: a fresh server for each figure, one at a time, and
//! nothing else is in it. RSS is what the operator pays; used_memory is what the server believes.

use crate::Result;
use crate::args::{Args, Opt};
use crate::compare::{note_commands, note_version};
use crate::record::Record;
use crate::report;
use crate::server::{Server, Spec, info_field};

/// Options of `memory`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "keys", default: Some("2_000_000"), help: "keys to fill, of 16 bytes each" },
    Opt { name: "value-bytes", default: Some("32"), help: "bytes of every value" },
    Opt { name: "cpus", default: Some("0"), help: "processors of the server: 0 or 0,1" },
    Opt { name: "out", default: Some("perf-report"), help: "folder for table, CSV and charts" },
    Opt { name: "record", default: Some(""), help: "also write the CSV below this folder" },
];

const COLUMNS: &[&str] = &[
    "server",
    "keys",
    "key_bytes",
    "value_bytes",
    "rss_before",
    "rss_after",
    "bytes_per_key",
    "used_memory_per_key",
];

/// Bytes of a key as the generator makes them.
const KEY_BYTES: usize = 16;

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let (keys, value_bytes) = (args.number::<u64>("keys")?, args.number("value-bytes")?);
    let cpus = cpu_list(&args.text("cpus"))?;
    if specs.is_empty() || keys == 0 || value_bytes == 0 {
        return Err("memory needs servers name=COMMAND, and keys and values that are some".into());
    }
    let mut record = Record::new("memory", COLUMNS);
    note_commands(&mut record, &specs);
    for spec in &specs {
        eprintln!("{}: filling {keys} keys", spec.name);
        let server = Server::start(spec, &cpus)?;
        note_version(&mut record, &server)?;
        let before = server.resident_bytes()?;
        let used_before = used_memory(&server)?;
        server.fill(0, keys, value_bytes)?;
        let after = server.resident_bytes()?;
        let used_after = used_memory(&server)?;
        let per_key = |before: u64, after: u64| {
            format!("{:.1}", (after as f64 - before as f64) / keys as f64)
        };
        let used = used_before.zip(used_after);
        record.rows.push(vec![
            spec.name.clone(),
            keys.to_string(),
            KEY_BYTES.to_string(),
            value_bytes.to_string(),
            before.to_string(),
            after.to_string(),
            per_key(before, after),
            used.map_or(String::new(), |(before, after)| per_key(before, after)),
        ]);
    }
    report::print(&record)?;
    report::publish(&record, &args.text("out"), &args.text("record"))
}

fn used_memory(server: &Server) -> Result<Option<u64>> {
    Ok(info_field(&server.info()?, "used_memory").and_then(|text| text.parse().ok()))
}

/// Parses `0,1`.
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>> {
    let cpus = text.split(',').map(|cpu| cpu.trim().parse::<usize>());
    cpus.collect::<std::result::Result<_, _>>().map_err(|_| format!("processors {text:?}").into())
}
