#!/bin/sh
# Serve: what a container or a dyno executes. PORT says where to listen; packages/ml_api/README.md lists the settings.
# With arguments: the command ml-api, such as `sh run.sh reload`; with `serve`: as SageMaker has it (docs/protocols.md).
set -eu
CDPATH='' cd -- "$(dirname -- "$0")"
# Where `make install` has made an environment, that is the one meant; elsewhere it is the python on PATH.
python=python
if [ -x build/serving/bin/python ]; then
    python="$PWD/build/serving/bin/python"
fi
# glibc keeps what a large body took, in an arena for each thread: a worker had 115 MB after six bodies of 1,459 rows,
# and has 102 with these.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}" MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-131072}"
# Blocks from so many bytes on are new pages from the system each time; at its 128 KiB every matrix of a batch was.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-1048576}"
# A release commit (scripts/release_commit.py) brings the tested one with it, for /version.
if [ -f COMMIT ]; then
    GIT_COMMIT="$(cat COMMIT)"
    export GIT_COMMIT
fi
# The server needs no credentials of a package index, which a platform that installs from one hands to every process.
for name in $(env | sed -n 's/=.*//; /^PACKAGE_INDEX_/p; /^TWINE_/p; /^PIP_/p; /^UV_/p'); do
    unset "$name"
done
if [ "${1:-}" = serve ]; then
    shift
    export PORT="${PORT:-${SAGEMAKER_BIND_TO_PORT:-8080}}" INVOCATIONS="${INVOCATIONS:-sagemaker}"
fi
cd packages/ml_api
# -E: the variables PYTHON* of other programs (PYTHONPATH, PYTHONSAFEPATH, PYTHONWARNINGS=error) could keep it from starting.
if [ $# -gt 0 ]; then
    exec "$python" -E ${PYTHONDONTWRITEBYTECODE:+-B} -m ml_api.cli "$@"
fi
exec "$python" -E ${PYTHONDONTWRITEBYTECODE:+-B} -m ml_api
