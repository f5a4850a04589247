//! `load`: the generator alone, against a server that runs already. Prints one JSON object.
//! Invariant: one line on standard output, however the run ends well; nothing else goes there.

use std::time::Duration;

use crate::args::{Args, Opt};
use crate::workload::{Keys, Mix, Workload};
use crate::{Result, load, sys};

/// Options of `load`.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { name: "port", default: Some("6379"), help: "port on 127.0.0.1" },
    Opt {
        name: "mix",
        default: Some("get"),
        help: "get, set, ping, incr, mget:10, get=9,set=1 ..",
    },
    Opt { name: "template", default: Some(""), help: "a command with __key__ and __value__" },
    Opt { name: "connections", default: Some("50"), help: "clients" },
    Opt { name: "pipeline", default: Some("1"), help: "requests in flight of each" },
    Opt { name: "keys", default: Some("100_000"), help: "keys drawn from" },
    Opt { name: "value-bytes", default: Some("3"), help: "bytes of every value" },
    Opt { name: "distribution", default: Some("uniform"), help: "uniform or zipf:THETA" },
    Opt { name: "seed", default: Some("1"), help: "of the keys drawn" },
    Opt { name: "ms", default: Some("2000"), help: "measured window, milliseconds" },
    Opt { name: "cpu", default: Some("1"), help: "processor to run on" },
    Opt { name: "verify", default: None, help: "compare every reply with what it must be" },
];

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mix = match args.text("template").as_str() {
        "" => Mix::parse(&args.text("mix"))?,
        words => Mix::parse(&format!("template:{words}"))?,
    };
    let keys = Keys::parse(&args.text("distribution"), args.number("keys")?, args.number("seed")?)?;
    let (pipeline, value_bytes) = (args.number("pipeline")?, args.number("value-bytes")?);
    let window = Duration::from_millis(args.number("ms")?);
    let options = load::Options {
        port: args.number("port")?,
        connections: args.number("connections")?,
        warm: window / 10,
        window,
        verify: args.flag("verify"),
    };
    if pipeline == 0 || value_bytes == 0 || options.connections == 0 {
        return Err("--pipeline, --value-bytes and --connections begin at 1".into());
    }
    sys::pin_thread(&[args.number("cpu")?])?;
    let mut workload = Workload::new(&mix, pipeline, value_bytes, keys);
    let outcome = load::run(&options, &mut workload, || Ok(Duration::ZERO))?;
    let us = |q: f64| outcome.latency.value_at_quantile(q) as f64 / 1e3;
    println!(
        "{{\"operations\":{},\"seconds\":{:.4},\"ops_per_second\":{:.0},\"p50_us\":{:.1},\
         \"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1},\"nulls\":{},\
         \"generator_cpu_us\":{:.4},\"generator_busy\":{:.3}}}",
        outcome.operations,
        outcome.seconds,
        outcome.operations as f64 / outcome.seconds,
        us(0.5),
        us(0.99),
        us(0.999),
        outcome.latency.max() as f64 / 1e3,
        outcome.nulls,
        outcome.own_cpu.as_secs_f64() * 1e6 / (outcome.operations.max(1)) as f64,
        outcome.own_cpu.as_secs_f64() / outcome.seconds,
    );
    Ok(())
}
