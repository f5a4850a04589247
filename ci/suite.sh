#!/usr/bin/env bash
# The tests that `cargo test` finds with the given arguments. One that fails is run once more, alone: what only
# a crowded moment breaks is told apart from what is broken. It is named at the end and wants mending all
# the same; more than MAX_UNSTEADY of them in one run, or one that fails twice, is a failure.
source "$(dirname "$0")/common.sh"

MAX_UNSTEADY=2
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Through a file: a server that a failed test has left behind would hold a pipe open.
cargo test --locked --no-fail-fast "$@" >"$log" 2>&1 &
tail -n +1 -f --pid=$! "$log"
if wait $!; then
    exit 0
fi
# "BINARY NAME" of each test that failed
mapfile -t failed < <(awk '
    $1 == "Running" { binary = $NF; gsub(/[()]/, "", binary) }
    /^test .* \.\.\. FAILED$/ { print binary, $2 }' "$log")
binaries=$(printf '%s\n' "${failed[@]}" | cut -d' ' -f1 | sort -u | grep -c . || true)
# Who dies before it has told about its tests, or is not built, gets no second try.
targets=$(grep -cE '^    `-.*`$' "$log" || true)
if [ "$binaries" = 0 ] || [ "$binaries" != "$targets" ] || [ ${#failed[@]} -gt $MAX_UNSTEADY ]; then
    exit 1
fi
for one in "${failed[@]}"; do
    run "${one% *}" --exact "${one#* }"
done
printf '\n######## UNSTEADY: failed in the crowd, passed alone: %s\n' "${failed[*]#* }"
