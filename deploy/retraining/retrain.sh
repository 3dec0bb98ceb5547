#!/bin/sh
# Retrain a model on the outcomes in the prediction log: what cron and the CronJob run, docs/retraining.md.
#
# MODEL, DATA and HOLDOUT say what, PREDICTION_LOG where the log is, PACKAGE_INDEX_* what is released. OUTPUT is the folder
# of records and candidate, SINCE how far back outcomes are taken, IF_DRIFTED=1 does nothing unless the latest hours with
# DRIFT_ROWS rows have drifted, PUBLISH=1 publishes what passes. ML_API and MODEL_KIT are the commands, as they are called here.
set -eu

ml_api=${ML_API:-ml-api}
model_kit=${MODEL_KIT:-model-kit}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

set -- --model "${MODEL:?}" --data "${DATA:?}" --holdout "${HOLDOUT:?}" --outcomes "$work/outcomes.jsonl" \
    --output "${OUTPUT:-retraining/$MODEL}"
# Where one of these fails, its reason is on standard error, and retrain leaves a record that it has no such file.
if [ -n "${IF_DRIFTED:-}" ]; then
    # shellcheck disable=SC2086 # a command with its arguments
    $ml_api drift --model "$MODEL" --rows "${DRIFT_ROWS:-1000}" --json >"$work/drift.json" || true
    set -- "$@" --if-drifted "$work/drift.json"
fi
# shellcheck disable=SC2086
$ml_api log export --outcomes --model "$MODEL" --since "${SINCE:-90d}" -o "$work/outcomes.jsonl" ||
    rm -f "$work/outcomes.jsonl"
if [ -n "${PUBLISH:-}" ]; then
    set -- "$@" --publish
fi
# A signal is passed on, and the run writes its record: a shell would wait, and be killed with it.
# shellcheck disable=SC2086
$model_kit retrain "$@" &
run=$!
trap 'kill "$run"' INT TERM HUP
status=0
wait "$run" || status=$?
while kill -0 "$run" 2>/dev/null; do
    status=0
    wait "$run" || status=$?
done
exit "$status"
