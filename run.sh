#!/bin/sh
# Serve: what a container or a dyno executes. PORT says where to listen; packages/ml_api/gunicorn.conf.py has the rest.
set -eu
cd "$(dirname "$0")"
# Where `make install` has made an environment, that is the one meant; elsewhere it is the python on PATH.
if [ -x build/serving/bin/python ]; then
    PATH="$PWD/build/serving/bin:$PATH"
fi
cd packages/ml_api
exec python -m gunicorn --config gunicorn.conf.py ml_api.wsgi:app
