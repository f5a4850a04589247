#!/usr/bin/env bash
# Random programs against a stock server: ci/differential.sh [STEPS [SEED]]. ORACLE names the server.
source "$(dirname "$0")/common.sh"

if [ -z "${ORACLE:-}" ] && [ ! -x /usr/bin/redis-server ]; then
    skip "differential test" "no stock server: set ORACLE, or install redis-server"
    exit 0
fi
[ $# -lt 1 ] || export DIFF_STEPS=$1
[ $# -lt 2 ] || export DIFF_SEED=$2
run cargo test --locked --test differential -- --nocapture
