#!/usr/bin/env bash
# What redis_exporter shows of this server and of a stock one: no name may be missing, neither there nor
# on the port for metrics. ci/exporter.sh [BINARY]: without an argument, the release build.
source "$(dirname "$0")/common.sh"

binary=$(readlink -f "${1:-target/release/ironring}")
stock=${ORACLE:-redis-server}
for program in prometheus-redis-exporter "$stock" redis-cli python3; do
    have "$program" || { skip "redis_exporter" "there is no $program"; exit 0; }
done
[ -x "$binary" ] || { skip "redis_exporter" "there is no $binary"; exit 0; }

work=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

free_ports=$(python3 - <<'PYTHON'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(one.getsockname()[1] for one in sockets))
PYTHON
)
read -r ours metrics theirs ours_shown theirs_shown <<<"$free_ports"

begin() {
    printf '\n+ %s\n' "$*"
    timeout 120 "$@" >>"$work/log" 2>&1 &
    started+=($!)
}

# await COMMAND...: until it succeeds, for ten seconds.
await() {
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    printf 'not in time: %s\n' "$*" >&2
    cat "$work/log" >&2
    return 1
}

# names PORT: the metrics that are shown there.
names() {
    python3 - "$1" <<'PYTHON'
import re, sys, urllib.request

text = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode()
print(*sorted(set(re.findall(r"^redis_[a-z0-9_]+", text, re.M))), sep="\n")
PYTHON
}

begin "$binary" --port "$ours" --metrics-port "$metrics" --dir "$work" --save ''
begin "$stock" --port "$theirs" --dir "$work" --save ''
for port in "$ours" "$theirs"; do
    await redis-cli -p "$port" ping
    for command in 'set string value' 'expire string 1000' 'lpush list a' 'get missing' 'no such'; do
        # shellcheck disable=SC2086
        redis-cli -p "$port" $command >/dev/null
    done
done
begin prometheus-redis-exporter -include-system-metrics \
    -redis.addr "redis://127.0.0.1:$ours" -web.listen-address "127.0.0.1:$ours_shown"
begin prometheus-redis-exporter -include-system-metrics \
    -redis.addr "redis://127.0.0.1:$theirs" -web.listen-address "127.0.0.1:$theirs_shown"
for port in "$metrics" "$ours_shown" "$theirs_shown"; do
    await names "$port"
done

names "$theirs_shown" >"$work/theirs"
names "$ours_shown" >"$work/ours"
names "$metrics" >"$work/metrics"
run grep -qx redis_connected_clients "$work/theirs"
missing=$(comm -23 "$work/theirs" "$work/ours")
[ -z "$missing" ] || { printf 'redis_exporter does not show of us:\n%s\n' "$missing" >&2; exit 1; }
# The exporter's words about itself; and what it makes of INFO KEYSIZES, whose histograms it takes for
# numbers, so that it always shows 0.
own='^redis_exporter_|^redis_last_key_groups_scrape_|^redis_target_scrape_|^redis_db[0-9]+_distrib_'
missing=$(comm -23 "$work/ours" "$work/metrics" | grep -Ev "$own" || true)
[ -z "$missing" ] || { printf 'the port for metrics does not show:\n%s\n' "$missing" >&2; exit 1; }
printf '\nredis_exporter shows %s names of us, the port for metrics %s.\n' \
    "$(wc -l <"$work/ours")" "$(wc -l <"$work/metrics")"
