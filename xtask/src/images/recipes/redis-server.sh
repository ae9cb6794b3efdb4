#!/bin/sh
# The server with protected mode off, as in the official image: within a container it would refuse every
# client but those in the container itself. Whoever sets it, on the command line or in the file, is obeyed.
server=/usr/lib/redis/redis-server
if [ "${0##*/}" = redis-sentinel ]; then
    file=${1:-}
    [ $# -gt 0 ] && shift
    set -- "$file" --sentinel "$@"
fi

case "${1:-}" in
    -v | --version | -h | --help | --test-memory | --check-system | -) exec "$server" "$@" ;;
    '' | -*) ;;
    *)
        if grep -qiE '^[[:space:]]*protected-mode' "$1" 2>/dev/null; then
            exec "$server" "$@"
        fi
        ;;
esac

for argument; do
    if [ "$argument" = --protected-mode ]; then
        exec "$server" "$@"
    fi
done
exec "$server" "$@" --protected-mode no
