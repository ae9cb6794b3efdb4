#!/bin/sh
# Runs the command; the server runs as the user redis even where the container is started as root.
set -e

# Options or a configuration file alone mean the server.
case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ]; then
    if [ "$(id -u)" = 0 ]; then
        find . ! -user redis -exec chown redis {} +
        # By its path: busybox would take its own, which knows less.
        exec /usr/bin/setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
    fi
    # Files made with the usual mask could be read by every user.
    if [ "$(umask)" = 0022 ]; then
        umask 0077
    fi
fi

exec "$@"
