#!/usr/bin/env bash
# Builds everything and compares Ironring with the stock servers, interleaved, in one run.
#
#   perf/run.sh                    the basic scenario
#   perf/run.sh large two-core     these scenarios of perf/scenarios/
#   perf/run.sh all                every scenario
#
# Environment: ROUNDS (20), MS (500); RECORD=1 keeps the CSV below perf/record/;
# ANCHORS (~/peers) where stock servers were built, else a redis-server on the PATH;
# IRONRING, a binary to measure instead of building one; FLOOR, the binary of the floor server,
# which then comes first and is what ratios refer to, unless BASE names another server.
set -euo pipefail
cd "$(dirname "$0")/.."

anchors=${ANCHORS:-$HOME/peers}
ironring=${IRONRING:-}

say() { printf '== %s\n' "$*" >&2; }

say "cargo build --release (harness)"
cargo build --release --locked --manifest-path perf/Cargo.toml
harness=${CARGO_TARGET_DIR:-perf/target}/release/ironring-perf

if [ -z "$ironring" ]; then
    say "cargo build --release (ironring)"
    cargo build --release --locked
    ironring=${CARGO_TARGET_DIR:-target}/release/ironring
fi

servers=("ironring='$ironring' --port {port} --cores {cpus} --dir {dir} --save \"\"")
stock() { servers+=("$1='$2' --port {port} --dir {dir} --save \"\" --appendonly no"); }

for binary in "$anchors"/redis-*/src/redis-server; do
    [ -x "$binary" ] || continue
    version=${binary#"$anchors"/redis-}
    stock "redis-${version%%/*}" "$binary"
done
for binary in "$anchors"/valkey-*/src/valkey-server; do
    [ -x "$binary" ] || continue
    version=${binary#"$anchors"/valkey-}
    stock "valkey-${version%%/*}" "$binary"
done
if [ ${#servers[@]} -eq 1 ]; then
    if binary=$(command -v redis-server); then
        say "NO STOCK SERVER below $anchors: comparing with $binary"
        stock redis "$binary"
    else
        say "SKIPPED: no stock server below $anchors, no redis-server on the PATH: no comparison"
    fi
fi

base=${BASE:-}
if [ -n "${FLOOR:-}" ]; then
    servers=("floor='$FLOOR' --port={port}" "${servers[@]}")
    base=${base:-floor}
elif [ -z "$base" ] && [ ${#servers[@]} -gt 1 ]; then
    base=${servers[1]%%=*} # the first stock server
fi

names=("$@")
if [ ${#names[@]} -eq 0 ]; then names=(basic); fi
if [ "${names[0]}" = all ]; then mapfile -t names < <(basename -s .toml -a perf/scenarios/*.toml); fi
options=(--rounds "${ROUNDS:-20}" --ms "${MS:-500}" --out perf/target/report)
for name in "${names[@]}"; do options+=(--scenario "perf/scenarios/$name.toml"); done
if [ -n "$base" ]; then options+=(--base "$base"); fi
if [ -n "${RECORD:-}" ]; then options+=(--record perf/record); fi

say "${harness} compare ${options[*]} ${#servers[@]} servers"
exec "$harness" compare "${options[@]}" "${servers[@]}"
