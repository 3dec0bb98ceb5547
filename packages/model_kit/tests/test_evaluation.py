from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import FloorError
from model_kit.scoring.definition import Floors
from model_kit.spec import InputSpec
from model_kit.testing import ride_definition
from model_kit.training import evaluation as module
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import cross_validate, fit, require_floors, score
from sklearn.linear_model import LinearRegression


def test_every_row_is_predicted_out_of_fold_in_its_own_place(rides: Dataset) -> None:
    evaluation = cross_validate(ride_definition(), rides, n_splits=5, n_repeats=2, n_jobs=1, progress=False)
    assert evaluation.out_of_fold.shape == (2, 300)
    np.testing.assert_allclose(evaluation.out_of_fold, np.broadcast_to(rides.target, (2, 300)), rtol=0.25)
    # Other folds, so other fits: the repeats are no copies of each other.
    assert not np.array_equal(evaluation.out_of_fold[0], evaluation.out_of_fold[1])


#: Cross-validates with two processes, in a program of its own: in tests joblib is held to one.
TWO_PROCESSES = """
import pickle, sys, threading
from pathlib import Path
import numpy as np
from joblib import effective_n_jobs
from model_kit.testing import ride_definition
from model_kit.training.evaluation import cross_validate

folder = Path(sys.argv[1])
dataset = pickle.loads((folder / "rides").read_bytes())
found = cross_validate(ride_definition(), dataset, n_splits=3, n_repeats=1, n_jobs=2, progress=False)
np.save(folder / "found.npy", found.out_of_fold)
print(effective_n_jobs(2), [name for name in map(repr, threading.enumerate()) if "Executor" in name])
"""


def test_number_of_processes_does_not_change_the_result_and_none_is_left(rides: Dataset, tmp_path: Path) -> None:
    (tmp_path / "rides").write_bytes(pickle.dumps(rides))
    environ = {name: value for name, value in os.environ.items() if name != "JOBLIB_MULTIPROCESSING"}
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path)]
    printed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    one = cross_validate(ride_definition(), rides, n_splits=3, n_repeats=1, n_jobs=1, progress=False)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), one.out_of_fold)
    # Joblib's processes are there as long as the thread that looks after them.
    assert printed == "2 []\n"


def test_permuted_target_cannot_be_learned(rides: Dataset) -> None:
    permuted = replace(rides, target=np.random.default_rng(0).permutation(rides.target))
    evaluation = cross_validate(ride_definition(), permuted, n_splits=5, n_repeats=2, n_jobs=1, progress=False)
    assert evaluation.metrics["r2"] <= 0.05


def test_rows_left_out_of_training_are_predicted_all_the_same(rides: Dataset) -> None:
    definition = ride_definition(keep_for_training=lambda rows, _: np.array([row["zone"] == "A" for row in rows]))
    evaluation = cross_validate(definition, rides, n_splits=3, n_repeats=1, n_jobs=1, progress=False)
    assert np.isfinite(evaluation.out_of_fold).all()


def test_metrics_of_known_errors(rides: Dataset) -> None:
    small = replace(rides, ids=("a", "b", "c", "d"), rows=rides.rows[:4], target=np.exp([1.0, 2.0, 3.0, 4.0]))
    errors = np.array([[0.1, -0.1, 0.1, 1.0], [0.2, 0.2, -0.2, 2.0]])
    metrics = score(ride_definition(not_core=frozenset("d")), small, np.exp(np.log(small.target) + errors))
    assert metrics["rmse"] == pytest.approx(((1.03 / 4) ** 0.5 + (4.12 / 4) ** 0.5) / 2)
    assert metrics["rmse_core"] == pytest.approx(0.15)
    assert metrics["r2"] == pytest.approx((1 - 1.03 / 5 + 1 - 4.12 / 5) / 2)
    mae = np.abs(np.exp(np.log(small.target) + errors) - small.target).mean()
    assert metrics["mae"] == pytest.approx(mae)


def test_offset_is_the_mean_of_the_target_on_the_estimators_scale(rides: Dataset) -> None:
    fitted = fit(ride_definition(), rides.rows, rides.target)
    assert fitted.spec.target.offset == pytest.approx(np.log(rides.target).mean(), rel=1e-12)


def test_target_of_identity_scale_is_not_transformed(rides: Dataset) -> None:
    definition = ride_definition()
    definition = replace(definition, target=replace(definition.target, scale="identity"))
    fitted = fit(definition, rides.rows, rides.target)
    plain = LinearRegression().fit(fitted.features(rides.rows), rides.target)
    np.testing.assert_allclose(fitted.predict(rides.rows), plain.predict(fitted.features(rides.rows)), rtol=1e-5)


@pytest.mark.parametrize(("wanted", "disabled"), [({}, None), ({"progress": True}, None), ({"progress": False}, True)])
def test_progress_is_shown_in_folds_unless_unwanted(
    rides: Dataset, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], disabled: bool | None
) -> None:
    """``None`` leaves it to tqdm, which shows a bar to a terminal only."""
    shown: list[dict[str, Any]] = []

    def tqdm(results: Any, **options: Any) -> Any:
        shown.append(options)
        return results

    monkeypatch.setattr(module, "tqdm", tqdm)
    cross_validate(ride_definition(), rides, n_splits=3, n_repeats=2, n_jobs=1, **wanted)
    said = None if disabled else "Cross-validation"
    assert shown == [{"total": 6, "desc": said, "unit": "fold", "disable": disabled}]


@pytest.mark.parametrize(("wanted", "n_jobs"), [({}, 2), ({"n_jobs": 1}, 1)])
def test_processes_are_as_many_as_wanted(
    rides: Dataset, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], n_jobs: int
) -> None:
    used: list[dict[str, Any]] = []

    def parallel(**options: Any) -> Any:
        used.append(options)
        return lambda calls: [function(*values, **named) for function, values, named in calls]

    monkeypatch.setattr(module, "Parallel", parallel)
    found = cross_validate(ride_definition(), rides, n_splits=3, n_repeats=1, progress=False, **wanted)
    assert used == [{"n_jobs": n_jobs, "return_as": "generator"}]
    assert 0 < found.seconds < 60


def test_a_score_may_be_the_floor() -> None:
    require_floors(ride_definition(floors=Floors(r2=0.5, rmse=0.25)), {"r2": 0.5, "rmse": 0.25})


@pytest.mark.parametrize("metrics", [{"r2": float("nan"), "rmse": 0.1}, {"r2": 0.9, "rmse": float("nan")}])
def test_scores_that_are_no_numbers_are_below_every_floor(metrics: dict[str, float]) -> None:
    with pytest.raises(FloorError):
        require_floors(ride_definition(floors=Floors(r2=0, rmse=1)), metrics)


def test_fit_asks_the_definition(rides: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    limits: list[int | None] = []

    def keep(rows: Any, target: Any) -> Any:
        asked.append((len(rows), target))
        return np.arange(len(rows)) % 2 == 0

    def make(spec: InputSpec) -> LinearRegression:
        asked.append(spec)
        return LinearRegression()

    def limit(threads: int | None) -> Any:
        limits.append(threads)
        return nullcontext()

    monkeypatch.setattr(module, "threadpool_limits", limit)
    # Of half the rows some 75 are in each zone, so neither is common enough.
    definition = replace(ride_definition(keep_for_training=keep, estimator=make), rare_below=200)
    fitted = fit(definition, rides.rows, rides.target)
    assert asked[0][0] == 300
    assert asked[0][1] is rides.target
    assert asked[1] is fitted.spec
    assert limits == [1]
    assert fitted.spec.learned["zone"].codes == {"A": 0, "B": 0}


def test_keeping_says_something_of_every_row(rides: Dataset) -> None:
    definition = ride_definition(keep_for_training=lambda rows, _: np.ones(len(rows) - 1, bool))
    with pytest.raises((ValueError, IndexError)):
        fit(definition, rides.rows, rides.target)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_do_not_share_the_cores_between_many_threads() -> None:
    """LightGBM asks for its threads itself, and two processes of many each take thirty times as long."""
    script = """
import os
import numpy as np
from lightgbm import LGBMRegressor
from model_kit.training import evaluation

def threads_of_lightgbm(*_):
    before = len(os.listdir("/proc/self/task"))
    LGBMRegressor(n_estimators=2, n_jobs=4, verbose=-1).fit(np.arange(200.0).reshape(-1, 1), np.arange(200.0))
    return len(os.listdir("/proc/self/task")) - before

evaluation._hold_out = threads_of_lightgbm
print(*evaluation._predicted(None, None, [(None, None)] * 2, 2, None), os.environ.get("OMP_THREAD_LIMIT"))
"""
    environ = {**os.environ, "JOBLIB_MULTIPROCESSING": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environ.pop("OMP_THREAD_LIMIT", None)
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0 0 None\n"), done.stderr
