#!/bin/sh
# What the container runs: flags and configuration files go to the server; root is given up for it.
set -e

# Flags, or a file: `docker run ironring --appendonly yes`, `docker run ironring /etc/my.conf`.
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- ironring "$@"
fi

if [ "$1" = ironring ] || [ "$1" = redis-server ]; then
    if [ "$(id -u)" = 0 ]; then
        # What an earlier container has left there may belong to anybody.
        find . \! -user ironring -exec chown ironring '{}' +
        exec setpriv --reuid=ironring --regid=ironring --clear-groups "$0" "$@"
    fi
    # As the image of Redis: what is saved is for the server's eyes, unless somebody says otherwise.
    if [ "$(umask)" = 0022 ]; then
        umask 0077
    fi
    # In a container everybody who reaches the port was let in by the network: as with that image, only
    # who asks for protected mode has it.
    server=$1
    shift
    if [ "${1%.conf}" != "${1:-}" ]; then
        file=$1
        shift
        if grep -qi '^[[:space:]]*protected-mode' "$file"; then
            exec "$server" "$file" "$@"
        fi
        exec "$server" "$file" --protected-mode no "$@"
    fi
    exec "$server" --protected-mode no "$@"
fi

exec "$@"
