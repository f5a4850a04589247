#!/usr/bin/env bash
# Real clients and applications against a running server: the redis crate, redis-py, ioredis, and the flows of
# BullMQ, Bull, redlock, rate-limiter-flexible, socket.io, Celery and Sidekiq on four cores and on one; redis-py behind
# a stock Sentinel.
# ci/clients.sh [BINARY]: without an argument, the release build.
source "$(dirname "$0")/common.sh"

binary=${1:-target/release/ironring}
[ -x "$binary" ] || run cargo build --release --locked
work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    server=
}
cleanup() {
    stop
    rm -rf "$work"
}
trap cleanup EXIT

run env IRONRING_BIN="$(readlink -f "$binary")" cargo test --locked --test clients

# answers PORT: true if a server there says PONG, so it does not load any more.
answers() {
    local reply=
    { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
    printf 'PING\r\n' >&3
    read -r -t 1 reply <&3 || true
    exec 3>&-
    [ "$reply" = $'+PONG\r' ]
}

# serve CORES: a server with that many cores on a free port, instead of the one before; sets `port`.
serve() {
    stop
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    local cores=(--cores "$1") ready=
    [ -z "${IRONRING_STOCK:-}" ] || cores=()
    printf '\n+ %s --port %s %s\n' "$binary" "$port" "${cores[*]}"
    "$binary" --port "$port" "${cores[@]}" --dir "$work" --save "" >"$work/log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
        if answers "$port"; then ready=yes; break; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    [ -n "$ready" ] || { cat "$work/log"; echo "the server did not start"; exit 1; }
}

# python_packages: a virtual environment with what the Python clients need.
python_packages() {
    python3 -m venv "$work/venv" >"$work/venv.log" 2>&1 &&
        "$work/venv/bin/pip" install -q --disable-pip-version-check -r tests/clients/requirements.txt >>"$work/venv.log" 2>&1
}

# node_packages FOLDER: a copy of that folder of tests/clients with its packages, in the work folder. The lock file of
# `flows` leaves out msgpackr's native part, which is optional and a package per platform.
node_packages() {
    mkdir -p "$work/$1"
    cp "tests/clients/$1/"* "$work/$1/"
    (cd "$work/$1" && npm ci --no-audit --no-fund --ignore-scripts >npm.log 2>&1)
}

# sidekiq_package: Debian's, installed when it is missing and this is root on Debian.
sidekiq_package() {
    have sidekiq && return 0
    [ "$(id -u)" = 0 ] && have apt-get || return 1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ruby-sidekiq >"$work/apt.log" 2>&1 ||
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ruby-sidekiq; } >>"$work/apt.log" 2>&1
}

python= node= flows= ruby=
if ! have python3; then
    skip "redis-py and Celery" "no python3"
elif python_packages; then
    python=$work/venv/bin/python
else
    tail -5 "$work/venv.log"
    skip "redis-py and Celery" "they could not be installed from the package index"
fi
if ! have npm; then
    skip "ioredis and the flows of Node's applications" "no npm"
else
    if node_packages ioredis; then
        node=yes
    else
        tail -5 "$work/ioredis/npm.log"
        skip "ioredis" "it could not be installed from the package registry"
    fi
    if node_packages flows; then
        flows=yes
    else
        tail -5 "$work/flows/npm.log"
        skip "BullMQ, Bull, redlock, rate-limiter-flexible, socket.io" "they could not be installed from the package registry"
    fi
fi
if sidekiq_package; then
    ruby=yes
else
    skip "Sidekiq" "no ruby-sidekiq, and it could not be installed"
fi

serve 2
[ -z "$python" ] || run "$python" tests/clients/redis_py.py "$port"
[ -z "$python" ] || [ -n "${IRONRING_STOCK:-}" ] || run "$python" tests/clients/sentinel_flow.py "$binary"
[ -z "$node" ] || run node "$work/ioredis/test.js" "$port"

for cores in 4 1; do
    serve "$cores"
    if [ -n "$flows" ]; then
        for flow in bullmq bull locks socketio queue_scripts; do
            run node "$work/flows/$flow.js" "$port"
        done
    fi
    [ -z "$python" ] || run "$python" tests/clients/celery_flow.py "$port"
    [ -z "$ruby" ] || run ruby tests/clients/sidekiq_flow.rb "$port"
done
