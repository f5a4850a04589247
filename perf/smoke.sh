#!/usr/bin/env bash
# A few seconds under load with every reply checked; never judges times.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x target/release/ironring ] || cargo build --release --locked
cargo build --release --locked --manifest-path perf/Cargo.toml
exec perf/target/release/ironring-perf smoke \
    'ironring=target/release/ironring --port {port} --cores {cpus} --dir {dir} --save ""'
