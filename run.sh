#!/bin/sh
# Serve: what a container or a dyno executes. PORT says where to listen; packages/ml_api/gunicorn.conf.py has the rest.
set -eu
cd "$(dirname "$0")"
# Where `make install` has made an environment, that is the one meant; elsewhere it is the python on PATH.
if [ -x build/serving/bin/python ]; then
    PATH="$PWD/build/serving/bin:$PATH"
fi
# glibc keeps what a large body took, in an arena for each thread: a worker had 115 MB after six bodies of 1,459 rows,
# and has 102 with these.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-131072}"
# Blocks from so many bytes on are new pages from the system each time; at its 128 KiB every matrix of a batch was.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-1048576}"
# A release commit (scripts/release_commit.py) brings the tested one with it, for /version.
if [ -f COMMIT ]; then
    read -r GIT_COMMIT <COMMIT
    export GIT_COMMIT
fi
# A platform that needs the index's credentials to build hands them to whoever serves as well, who has no use for them.
unset PIP_EXTRA_INDEX_URL
cd packages/ml_api
exec python -m gunicorn --config gunicorn.conf.py ml_api.wsgi:app
