#!/usr/bin/env bash
# The unit, the image and the package, as far as a machine without systemd or docker can check them.
# ci/packaging.sh [BINARY]: without an argument, the release build.
source "$(dirname "$0")/common.sh"

binary=$(readlink -f "${1:-target/release/ironring}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() {
    [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }
}

if have systemd-analyze && [ -x "$binary" ]; then
    sed -e "s|/usr/bin/ironring|$binary|" -e '/^User=\|^Group=/d' -e '/^Documentation=/d' \
        packaging/ironring.service >"$work/ironring.service"
    run systemd-analyze verify --man=no "$work/ironring.service"
else
    skip "systemd-analyze verify" "there is no systemd-analyze, or no binary"
fi

# The entry script: what it makes of arguments, with a server that only shows them.
mkdir "$work/bin" "$work/data"
for name in ironring redis-server; do
    printf '#!/bin/sh\necho "%s $*"\n' "$name" >"$work/bin/$name"
done
printf '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nIRONRING_TEST_UID=999 exec "$@"\n' >"$work/bin/setpriv"
printf '#!/bin/sh\n[ "$1" != -u ] || { echo "${IRONRING_TEST_UID:-0}"; exit; }\n' >"$work/bin/id"
printf '#!/bin/sh\nexit 0\n' >"$work/bin/find"
chmod +x "$work"/bin/*
entry() {
    (cd "$work/data" && PATH="$work/bin:$PATH" sh "$entry" "$@")
}
entry=$(readlink -f packaging/docker-entrypoint.sh)
run sh -n "$entry"
expect "$(entry ironring)" "ironring --protected-mode no"
expect "$(entry --appendonly yes)" "ironring --protected-mode no --appendonly yes"
printf 'port 7000\n' >"$work/open.conf"
printf 'protected-mode yes\n' >"$work/closed.conf"
expect "$(entry "$work/open.conf" --hz 20)" "ironring $work/open.conf --protected-mode no --hz 20"
expect "$(entry "$work/closed.conf")" "ironring $work/closed.conf"
expect "$(entry redis-server --port 7000)" "redis-server --protected-mode no --port 7000"
expect "$(entry echo hello)" "hello"

for line in 'EXPOSE 6379' 'VOLUME /data' 'ENTRYPOINT \["docker-entrypoint.sh"\]' 'CMD \["ironring"\]' HEALTHCHECK; do
    run grep -q "^$line" packaging/Dockerfile
done
for file in $(sed -n 's/^COPY \(packaging[^ ]*\) .*/\1/p' packaging/Dockerfile); do
    run test -f "$file"
done

run python3 - <<'PYTHON'
import json

profile = json.load(open("packaging/seccomp.json"))
allowed = {name for rule in profile["syscalls"] if "args" not in rule for name in rule["names"]}
missing = {"io_uring_setup", "io_uring_enter", "io_uring_register", "epoll_wait"} - allowed
assert profile["defaultAction"] == "SCMP_ACT_ERRNO" and not missing, missing
PYTHON

run sh -n packaging/debian/postinst
run sh -n packaging/debian/postrm
if have cargo-deb; then
    run cargo deb --no-build --no-strip --output "$work/ironring.deb"
    run dpkg-deb --contents "$work/ironring.deb"
else
    skip "cargo deb" "cargo-deb is not installed"
fi
