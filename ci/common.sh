# Shared by the scripts of this folder; sourced, not run.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# run COMMAND...: prints the command, then runs it.
run() {
    printf '\n+ %s\n' "$*"
    "$@"
}

# skip WHAT WHY: says loudly that something was not tested.
skip() {
    printf '\n######## SKIPPED: %s: %s\n' "$1" "$2"
}

have() {
    command -v "$1" >/dev/null 2>&1
}
