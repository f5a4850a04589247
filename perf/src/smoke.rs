//! `smoke`: a few seconds in which every reply is checked and nothing is timed, for CI.
//! Invariant: judges replies only; a slow machine cannot make it fail, a wrong byte must.

use std::time::Duration;

use crate::args::{Args, Opt};
use crate::load;
use crate::record::processors;
use crate::server::{Server, Spec};
use crate::workload::{Keys, Mix, Workload};
use crate::{Result, sys};

/// Options of `smoke`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "command", default: Some(""), help: "mix to run; may be repeated (set, get)" },
    Opt { name: "ms", default: Some("200"), help: "length of each run, milliseconds" },
    Opt { name: "connections", default: Some("10"), help: "clients" },
    Opt { name: "keys", default: Some("10_000"), help: "keys filled and drawn from" },
    Opt { name: "value-bytes", default: Some("20"), help: "bytes of every value" },
];

/// Runs the subcommand for each server given.
pub(crate) fn run(args: &Args) -> Result<()> {
    let specs = args.rest.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    if specs.is_empty() {
        return Err("smoke needs at least one server name=COMMAND".into());
    }
    let mut commands = args.texts("command");
    if commands.is_empty() {
        commands = vec!["set".to_owned(), "get".to_owned()];
    }
    // On a machine with one processor both share it: slower, but no less right.
    sys::pin_thread(&[processors() - 1])?;
    let (keys, value_bytes) = (args.number("keys")?, args.number("value-bytes")?);
    for spec in &specs {
        let server = Server::start(spec, &[0])?;
        server.fill(0, keys, value_bytes)?;
        for command in &commands {
            for pipeline in [1, 16] {
                let source = Keys::parse("uniform", keys, pipeline as u64)?;
                let mix = Mix::parse(command)?;
                let mut workload = Workload::new(&mix, pipeline, value_bytes, source);
                let options = load::Options {
                    port: server.port,
                    connections: args.number("connections")?,
                    warm: Duration::ZERO,
                    window: Duration::from_millis(args.number("ms")?),
                    verify: true,
                };
                let what = format!("{} {command} pipeline {pipeline}", spec.name);
                let outcome = load::run(&options, &mut workload, || server.cpu())
                    .map_err(|e| format!("{what}: {e}"))?;
                if outcome.operations == 0 {
                    return Err(format!("{what}: nothing was answered").into());
                }
                println!("{what}: {} replies, all right", outcome.operations);
            }
        }
    }
    Ok(())
}
