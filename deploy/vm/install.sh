#!/bin/sh
# Install or update the prediction API on this machine: docs/vm.md. Run as root, in a clone with build/published.txt;
# running it again changes nothing that is there already.
#
#   PACKAGE_INDEX_URL, _USER, _TOKEN  the private index that the wheels of build/published.txt come from
#   OPERATIONS=1 LOG=1 OTEL=1 TABLES=1 SCIKIT_LEARN=1  also install requirements/operations.txt, log.txt, ...
#   DESTDIR=folder  put every file below it, and touch neither users nor services
set -eu
umask 022
root="${DESTDIR:-}"
case "$root" in '' | /*) ;; *) root="$PWD/$root" ;; esac
CDPATH='' cd -- "$(dirname -- "$0")/../.."
etc="$root/etc/ml-api"
say() { printf 'install: %s\n' "$*"; }
fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "must be run by root: sudo sh deploy/vm/install.sh"
[ -f build/published.txt ] || fail "there is no build/published.txt; make publish or make release writes it"
locks=requirements.txt
for name in SCIKIT_LEARN OPERATIONS LOG OTEL TABLES; do
    if [ "$(eval "printf %s \"\${$name:-}\"")" = 1 ]; then
        locks="$locks requirements/$(printf %s "$name" | tr 'A-Z_' 'a-z-').txt"
    fi
done

# A release is a folder named after the commit and what is installed with it. What runs is never changed.
in_clone() { git -c safe.directory="$PWD" "$@"; }
commit="$(in_clone rev-parse HEAD)" || fail "needs a clone of the repository"
# shellcheck disable=SC2086
digest="$(cat build/published.txt $locks | sha256sum | cut -c1-12)"
name="$(printf %s "$commit" | cut -c1-12)-$digest"
releases="$root/opt/ml-api/releases"
if [ ! -f "$releases/$name/COMMIT" ]; then
    say "making the release $name"
    unfinished="$releases/$name"
    rm -rf "$unfinished"
    mkdir -p "$unfinished/build"
    in_clone archive HEAD run.sh scripts requirements requirements.txt packages/ml_api | tar -x -C "$unfinished"
    cp build/published.txt "$unfinished/build"
    (
        cd "$unfinished"
        # A pip that does not stay.
        python3 -m venv build/tools
        for lock in $locks; do
            python3 scripts/environment.py build/serving --lock "$lock" --pip build/tools/bin/python --without-tests
        done
        build/tools/bin/python scripts/install_models.py --environment build/serving --published build/published.txt
        rm -rf build/tools packages/ml_api/tests
        # The server may write nothing there: without it each start would compile.
        build/serving/bin/python -m compileall -q packages scripts
        chmod -R a+rX,go-w .
        # Last: a release that has it is complete.
        printf '%s\n' "$commit" >COMMIT
    )
fi

if [ -z "$root" ] && ! id ml-api >/dev/null 2>&1; then
    say "making the user ml-api"
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ml-api
fi
mkdir -p "$etc"
# It may hold the password of a database; systemd reads it as root.
[ -f "$etc/env" ] || install -m 600 deploy/vm/ml-api.env "$etc/env"
if [ ! -f "$etc/keys" ]; then
    say "the key of the first caller, shown only here:"
    (cd "$releases/$name" && sh run.sh keys new first --file "$etc/keys")
fi
mkdir -p "$root/etc/systemd/system"
install -m 644 deploy/vm/ml-api.service deploy/vm/ml-api.socket "$root/etc/systemd/system"
if [ -n "$root" ] || [ -d /etc/nginx ]; then
    mkdir -p "$root/etc/nginx/conf.d" "$root/etc/nginx/snippets" "$root/etc/nginx/sites-available"
    install -m 644 deploy/vm/nginx/ml-api.conf "$root/etc/nginx/conf.d"
    install -m 644 deploy/vm/nginx/ml-api-proxy.conf deploy/vm/nginx/ml-api-problem.conf "$root/etc/nginx/snippets"
    # It has the name of the host: yours from here on.
    [ -f "$root/etc/nginx/sites-available/ml-api" ] ||
        install -m 644 deploy/vm/nginx/site.conf "$root/etc/nginx/sites-available/ml-api"
fi

use() {
    ln -sfn "releases/$1" "$root/opt/ml-api/current.new"
    mv -T "$root/opt/ml-api/current.new" "$root/opt/ml-api/current"
}
before="$(readlink "$root/opt/ml-api/current" || true)"
before="${before#releases/}"
use "$name"
if [ -n "$root" ]; then
    say "the release $name is in place"
    exit 0
fi

# Restarts the server, and waits until every model has scored its golden row.
serve() {
    # Starts of before do not count.
    systemctl reset-failed ml-api.service ml-api.socket 2>/dev/null || true
    systemctl restart ml-api.service || return 1
    for _ in $(seq 60); do
        reason="$(HOST=127.0.0.1 /opt/ml-api/current/build/serving/bin/python -IS scripts/healthcheck.py)" && return 0
        sleep 1
    done
    say "$reason"
    return 1
}
systemctl daemon-reload
systemctl enable --quiet --now ml-api.socket
systemctl enable --quiet ml-api.service
if serve; then
    say "the release $name is ready"
    exit 0
fi
if [ -n "$before" ] && [ "$before" != "$name" ]; then
    use "$before"
    serve && fail "the release $name is not ready; $before is served again. Reasons: journalctl -u ml-api"
    fail "the release $name is not ready, nor is $before, which is in place again. Reasons: journalctl -u ml-api"
fi
fail "the release $name is not ready, and there is none before it. Reasons: journalctl -u ml-api"
