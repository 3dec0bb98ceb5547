"""The table of estimators in docs/own-model.md is what training does.

``python test_estimator_table.py`` writes it anew, with measured times.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from estimator_catalogue import PIPELINES, data, definition, scikit_learns_own
from model_kit.errors import ExportError, TrainingError
from model_kit.records.encoding import Encoded
from model_kit.scoring.runtimes import Runtime, make_runtime
from model_kit.training import export as module
from model_kit.training.evaluation import Fitted, fit
from model_kit.training.export import Export, export
from model_kit.training.verdict import judge, sentence

DOCS: Final = Path(__file__).parents[3] / "docs" / "own-model.md"
BLOCK: Final = re.compile(r"(<!-- exported -->\n).*?(<!-- /exported -->)", re.DOTALL)
HEADER: Final = (
    "| Estimator | Served as | µs for one row | rows/s | MB | Remark |\n| --- | --- | --: | --: | --: | --- |\n"
)
ALL: Final = {**scikit_learns_own(), **PIPELINES}
#: Least shares of what can be fitted that are served at all, and that ONNX Runtime serves.
SERVED, BY_ONNX = 0.95, 0.6


@dataclass(frozen=True)
class Found:
    """What became of an estimator."""

    served: str
    remark: str = ""
    fitted: Fitted | None = None
    exported: Export | None = None


def find(name: str) -> Found:
    """Fit an estimator and export it: to ONNX, or else, as its package would declare, for scikit-learn."""
    kind, estimator = ALL[name]
    dataset = data(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = fit(definition(estimator, kind), dataset.rows, dataset.target)
        except TrainingError as error:
            return Found("not fitted", _shown(str(error).partition("fitted: ")[2]))
        try:
            exported = export(fitted, dataset.rows)
            return Found(judge(exported).served, "", fitted, exported)
        except ExportError as error:
            reason = _reason(sentence(error))
        try:
            fitted = fit(definition(estimator, kind, "scikit-learn"), dataset.rows, dataset.target)
            return Found("scikit-learn", reason, fitted, export(fitted, dataset.rows, "scikit-learn"))
        except ExportError as error:
            return Found("refused", _shown(str(error).removeprefix("nothing was exported: ")))


def _reason(text: str) -> str:
    """Why there is no graph, in the words of the table."""
    if text.startswith("row "):
        return "The graph of skl2onnx does not predict what scikit-learn does."
    if "not finite" in text or "itself fails" in text:
        return _shown(text)
    return "It has neither a rule for folding nor a converter in skl2onnx that works."


def _shown(text: str) -> str:
    """One sentence, in one cell."""
    text = text.partition(". Note that")[0].replace("|", "/").strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


@pytest.fixture(scope="module")
def documented() -> Mapping[str, tuple[str, str]]:
    """Name -> how it is served and the remark, as the docs have it."""
    block = BLOCK.search(DOCS.read_text("utf-8"))
    assert block, "docs/own-model.md has no table of estimators"
    cells = [line.strip("| ").split(" | ") for line in block[0].splitlines()[3:-1]]
    return {one[0]: (one[1], one[5] if len(one) > 5 else "") for one in cells}


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer generated rows: the verdict is the same, and the file takes a minute less."""
    monkeypatch.setattr(module, "N_GENERATED", 500)


@pytest.mark.parametrize("name", ALL)
def test_documented_verdict_is_what_training_gives(name: str, documented: Mapping[str, tuple[str, str]]) -> None:
    found = find(name)
    assert documented[name] == (found.served, found.remark)


def test_table_has_every_estimator_and_nothing_else(documented: Mapping[str, tuple[str, str]]) -> None:
    assert list(documented) == list(ALL)


def test_nearly_all_that_can_be_fitted_are_served_and_most_by_onnx(documented: Mapping[str, tuple[str, str]]) -> None:
    served = [found for found, _ in documented.values() if found != "not fitted"]
    assert served.count("refused") <= (1 - SERVED) * len(served)
    assert served.count("folded") + served.count("ONNX") >= BY_ONNX * len(served)


def table() -> str:
    """The table as markdown."""
    lines = [HEADER]
    for name in ALL:
        found = find(name)
        lines.append(f"| {name} | {found.served} | {_cost(found)} | {found.remark} |\n".replace("|  |", "| |"))
        print(lines[-1], end="", flush=True)  # noqa: T201 - it takes minutes
    return "".join(lines)


def _cost(found: Found) -> str:
    if found.fitted is None or found.exported is None:
        return "| |"
    runtime = make_runtime(found.exported.runtime, found.exported.content, found.fitted.features)
    encoded = np.repeat(found.fitted.features.encode(data("regressor").rows), 10, axis=0)[:1000]
    one, many = _seconds(runtime, encoded[:1]), _seconds(runtime, encoded)
    per_second = float(f"{len(encoded) / many:.2g}")
    return f"{one * 1e6:,.0f} | {per_second:,.0f} | {len(found.exported.content) / 1e6:.2f}"


def _seconds(runtime: Runtime, encoded: Encoded, n_tries: int = 5) -> float:
    """Seconds of a call, the quickest of some tries of a tenth of a second."""
    best, calls = np.inf, 1
    for _ in range(n_tries):
        start = time.perf_counter()
        for _ in range(calls):
            runtime.raw(encoded)
        seconds = (time.perf_counter() - start) / calls
        best, calls = min(best, seconds), max(1, min(int(0.1 / seconds), 5000))
    return best


if __name__ == "__main__":
    written: Any = table()
    DOCS.write_text(BLOCK.sub(lambda block: block[1] + written + block[2], DOCS.read_text("utf-8")), "utf-8")
