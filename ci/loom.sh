#!/usr/bin/env bash
# What cores share without locks in every interleaving that the memory model allows.
source "$(dirname "$0")/common.sh"

run env RUSTFLAGS="--cfg loom" cargo test --release --locked --manifest-path tests/loom/Cargo.toml \
    --target-dir target/loom
