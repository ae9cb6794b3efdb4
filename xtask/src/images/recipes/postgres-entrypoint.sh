#!/bin/bash
# Makes the database at the first start, then runs the server, both as the user postgres.
#
# POSTGRES_PASSWORD (or POSTGRES_HOST_AUTH_METHOD=trust), POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS,
# POSTGRES_INITDB_WALDIR, PGDATA; the first four also as NAME_FILE, a file with the value. Files in
# /docker-entrypoint-initdb.d (*.sh, *.sql, *.sql.gz) are run in the order of their names, once.
set -Eeo pipefail

# The variable, or what is in the file that NAME_FILE names, or the default.
value() {
    local name=$1 default=${2:-} file=${1}_FILE
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        echo >&2 "error: both $name and $file are set; set only one of them"
        exit 1
    fi
    if [ -n "${!file:-}" ]; then
        export "$name=$(<"${!file}")"
    else
        export "$name=${!name:-$default}"
    fi
    unset "$file"
}

make_directories() {
    mkdir -p "$PGDATA" /run/postgresql
    chmod 00700 "$PGDATA" || true
    chmod 03775 /run/postgresql || true
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chmod 700 "$POSTGRES_INITDB_WALDIR"
    fi
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" /run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
            ! -user postgres -exec chown postgres {} +
    fi
}

check_password() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        cat >&2 <<'TEXT'
error: the database has no password yet. Set POSTGRES_PASSWORD to one for the superuser, or
       POSTGRES_HOST_AUTH_METHOD=trust to let everybody in without one.
TEXT
        exit 1
    fi
}

make_database() {
    local name
    # initdb wants a name for whoever runs it; any user id may, so one is added where there is none.
    if ! id -un >/dev/null 2>&1; then
        if ! echo "runner:x:$(id -u):$(id -g)::/var/lib/postgresql:/bin/sh" >>/etc/passwd; then
            echo >&2 "error: the user id $(id -u) has no name in /etc/passwd"
            exit 1
        fi
    fi
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' \
        '${POSTGRES_INITDB_WALDIR:+--waldir="$POSTGRES_INITDB_WALDIR"}' "$POSTGRES_INITDB_ARGS"
    {
        echo
        echo "host all all all $POSTGRES_HOST_AUTH_METHOD"
    } >>"$PGDATA/pg_hba.conf"
}

run_sql() {
    local database=()
    if [ -n "$POSTGRES_DB" ]; then
        database=(--dbname "$POSTGRES_DB")
    fi
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc \
        "${database[@]}" "$@"
}

run_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh)
                if [ -x "$script" ]; then
                    echo "running $script"
                    "$script"
                else
                    echo "sourcing $script"
                    . "$script"
                fi
                ;;
            *.sql) echo "running $script" && run_sql -f "$script" ;;
            *.sql.gz) echo "running $script" && gunzip -c "$script" | run_sql ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) echo "ignoring $script" ;;
        esac
        echo
    done
}

# What the scripts of others call.
docker_process_sql() { run_sql "$@"; }

initialise() {
    check_password
    make_database
    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    # Only over its socket: nobody else may come in before everything is there.
    PGUSER=${PGUSER:-$POSTGRES_USER} pg_ctl -D "$PGDATA" -w start \
        -o "$(printf '%q ' "${@:2}" -c listen_addresses= -p "${PGPORT:-5432}")"
    if [ -z "$(POSTGRES_DB='' run_sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only <<'SQL'
SELECT 1 FROM pg_database WHERE datname = :'db';
SQL
    )" ]; then
        POSTGRES_DB='' run_sql --dbname postgres --set db="$POSTGRES_DB" <<'SQL'
CREATE DATABASE :"db";
SQL
    fi
    run_scripts
    PGUSER=${PGUSER:-postgres} pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
    echo
    echo 'PostgreSQL init process complete; ready for start up.'
    echo
}

wants_help() {
    local argument
    for argument; do
        case "$argument" in
            -'?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

if [ "${1:0:1}" = - ]; then
    set -- postgres "$@"
fi

if [ "${1:-}" = postgres ] && ! wants_help "$@"; then
    make_directories
    if [ "$(id -u)" = 0 ]; then
        exec /usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups -- "${BASH_SOURCE[0]}" "$@"
    fi
    value POSTGRES_PASSWORD
    value POSTGRES_USER postgres
    value POSTGRES_DB "$POSTGRES_USER"
    value POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
    if [ -s "$PGDATA/PG_VERSION" ]; then
        echo
        echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
        echo
    else
        initialise "$@"
    fi
fi

exec "$@"
