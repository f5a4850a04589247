#!/usr/bin/env bash
# Fuzzes each target of tests/fuzz: ci/fuzz.sh [SECONDS], a minute each without. Needs cargo-fuzz and
# a nightly compiler; the unit tests try the same functions with fewer inputs everywhere.
source "$(dirname "$0")/common.sh"

seconds=${1:-60}
if ! have cargo-fuzz; then
    skip "fuzzing" "cargo-fuzz is not installed (cargo install cargo-fuzz)"
    exit 0
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    skip "fuzzing" "there is no nightly compiler (rustup toolchain install nightly)"
    exit 0
fi
for target in tests/fuzz/fuzz_targets/*.rs; do
    run cargo +nightly fuzz run --fuzz-dir tests/fuzz "$(basename "$target" .rs)" -- \
        -max_total_time="$seconds"
done
