from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from model_kit.errors import BundleError, NotReadyError
from model_kit.scoring.bundle import CARD, GOLDEN, SPEC, dump_json, read_bundle, write_bundle
from model_kit.scoring.model import CHUNK, BundleModel, Finish
from model_kit.scoring.protocol import Model
from model_kit.scoring.runtimes import Graph
from model_kit.spec import Row, Target
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides, ride_files


def test_bundle_model_is_a_model(model: BundleModel) -> None:
    assert isinstance(model, Model)


def test_predictions_are_those_computed_by_hand(model: BundleModel) -> None:
    rows: list[Row] = [
        GOLDEN_ROW,
        {"distance": 8, "passengers": 2, "zone": "B", "comfort": "1"},
        {"distance": 0, "zone": "Q"},
    ]
    exponents = [2.5 + 3.5 / 8 + 1 / 16 + 2 / 32, 2.5 + 1 + 2 / 16 - 1 / 4 + 1 / 32, 2.5 + 1 / 16]
    assert model.predict(rows).tolist() == np.exp(exponents).tolist()


def test_integers_sent_as_floats_score_the_same(model: BundleModel) -> None:
    assert model.predict([GOLDEN_ROW | {"passengers": 1.0}]).tolist() == [GOLDEN_PREDICTION]


def test_no_rows_have_no_predictions(model: BundleModel) -> None:
    assert model.predict([]).shape == (0,)


def test_more_rows_than_a_chunk_keep_their_order(model: BundleModel) -> None:
    rows: list[Row] = [{"distance": number / 100, "zone": "A"} for number in range(2 * CHUNK + 1)]
    predictions = model.predict(rows)
    assert predictions.tolist() == [model.predict([row])[0] for row in rows]
    assert (np.diff(predictions) > 0).all()


def test_golden_row_scores_as_recorded(model: BundleModel) -> None:
    model.check()


@pytest.mark.parametrize(("factor", "fine"), [(1 + 0.9e-5, True), (1 + 1.1e-5, False), (math.nan, False)])
def test_golden_row_may_differ_by_a_hundred_thousandth(model: BundleModel, factor: float, fine: bool) -> None:
    model.golden["prediction"] *= factor
    if fine:
        model.check()
    else:
        with pytest.raises(NotReadyError, match="the golden row scores 21.38"):
            model.check()


@pytest.mark.parametrize(("difference", "fine"), [(0.9e-5, True), (1.1e-5, False)])
def test_golden_row_near_zero_may_differ_by_a_fraction_of_the_spread(
    model: BundleModel, difference: float, fine: bool
) -> None:
    model.spec = replace(model.spec, target=Target("shift", scale="identity"))
    model._finish = Finish(model.spec.target, {})
    model.card["target_distribution"] = {"edges": [-2.0, 0.0, 2.0], "shares": [0.5, 0.5]}
    (score,) = model.predict([GOLDEN_ROW])
    model._finish = Finish(Target("shift", scale="identity", offset=-float(score)), {})
    model.golden["prediction"] = 4 * difference
    if fine:
        model.check()
    else:
        with pytest.raises(NotReadyError):
            model.check()


def test_lineage_traces_version_data_code_and_files(model: BundleModel, bundle: Path) -> None:
    read = read_bundle(bundle)
    assert model.lineage == {
        "version": "1.2.3",
        "artifact_sha256": read.artifact_sha256,
        "files": read.hashes,
        "data": {"name": "rides by hand", "sha256": "0" * 64, "rows": 100, "synthetic": True},
        "evaluated": True,
        "metrics": {"r2": 0.9},
        "libraries": {"numpy": "2"},
        "git_commit": None,
        "trained_at": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.onnx", b"no graph"),
        (SPEC, b"{}"),
        (GOLDEN, b"["),
        (GOLDEN, dump_json({})),
        ("card.json", dump_json({})),
    ],
)
def test_file_with_the_wrong_content_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    write_bundle(tmp_path / "bundle", {k: v for k, v in ride_files().items() if k != name} | {name: content})
    with pytest.raises(BundleError) as caught:
        load_rides(tmp_path / "bundle")
    assert caught.value.file == name


def test_version_is_the_distributions(bundle: Path) -> None:
    assert load_rides(bundle, "4.5.6").version == "4.5.6"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (SPEC, b"{}", "spec.json: not a spec of format 1: KeyError('format')"),
        (CARD, b"{}", "card.json: not a card: KeyError('data')"),
        (GOLDEN, b"{}", "golden.json: it must hold row and prediction"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    write_bundle(tmp_path / "bundle", ride_files() | {name: content})
    with pytest.raises(BundleError) as caught:
        load_rides(tmp_path / "bundle")
    assert str(caught.value) == said


def test_graph_has_one_thread_and_the_processor_and_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []

    class Session:
        def __init__(self, content: bytes, options: Any, *, providers: list[str]) -> None:
            made.append((content, options, providers))

        def get_inputs(self) -> list[Any]:
            return [type("Input", (), {"name": "X"})]

        def get_outputs(self) -> list[Any]:
            return [type("Output", (), {"name": "y"})]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    Graph(b"graph")
    ((content, options, providers),) = made
    assert (content, providers) == (b"graph", ["CPUExecutionProvider"])
    assert (options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level) == (1, 1, 3)
