#!/usr/bin/env bash
# Real clients against a running server: the redis crate, redis-py and ioredis.
# ci/clients.sh [BINARY]: without an argument, the release build.
source "$(dirname "$0")/common.sh"

binary=${1:-target/release/ironring}
[ -x "$binary" ] || run cargo build --release --locked
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

run env IRONRING_BIN="$(readlink -f "$binary")" cargo test --locked --test clients

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cores=(--cores 2)
[ -z "${IRONRING_STOCK:-}" ] || cores=()
printf '\n+ %s --port %s\n' "$binary" "$port"
"$binary" --port "$port" "${cores[@]}" --dir "$work" --save "" >"$work/log" 2>&1 &
server=$!
ready=
for _ in $(seq 200); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then ready=yes; break; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
done
[ -n "$ready" ] || { cat "$work/log"; echo "the server did not start"; exit 1; }

if ! have python3; then
    skip "redis-py" "no python3"
elif python3 -m venv "$work/venv" >"$work/venv.log" 2>&1 &&
    "$work/venv/bin/pip" install -q --disable-pip-version-check -r tests/clients/requirements.txt >>"$work/venv.log" 2>&1; then
    run "$work/venv/bin/python" tests/clients/redis_py.py "$port"
else
    tail -5 "$work/venv.log"
    skip "redis-py" "it could not be installed from the package index"
fi

if ! have npm; then
    skip "ioredis" "no npm"
else
    cp tests/clients/ioredis/* "$work/"
    if (cd "$work" && npm ci --no-audit --no-fund --ignore-scripts >npm.log 2>&1); then
        run node "$work/test.js" "$port"
    else
        tail -5 "$work/npm.log"
        skip "ioredis" "it could not be installed from the package registry"
    fi
fi
