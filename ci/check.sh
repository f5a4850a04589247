#!/usr/bin/env bash
# Formatting and lints; with cargo-deny installed, dependencies and licences, too.
source "$(dirname "$0")/common.sh"

run cargo fmt --all --check
run cargo clippy --all-targets --locked -- -D warnings
if have cargo-deny; then
    run cargo deny --config ci/deny.toml check
else
    skip "cargo deny" "cargo-deny is not installed"
fi
