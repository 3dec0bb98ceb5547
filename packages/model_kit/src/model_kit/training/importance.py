"""Which fields matter most: the mean strength of their contributions to predictions of training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoded
from model_kit.scoring.explanation import Explainer
from model_kit.scoring.model import Finish
from model_kit.scoring.runtimes import Runtime, make_runtime
from model_kit.spec import InputSpec, Row
from model_kit.training.evaluation import Fitted
from model_kit.training.export import Export

#: Rows that are explained, evenly spaced among those of the data. Measured on 1,460 rows of 79 fields: 0.8 s, and no
#: share is more than .006 from what all rows give.
N_ROWS = 300


@dataclass(frozen=True)
class _Exported:
    """The model as it will be served, before there is a bundle."""

    spec: InputSpec
    golden: Mapping[str, Any]
    runtime: Runtime
    finish: Finish

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        return self.finish(self.runtime.raw(encoded))


def importance(fitted: Fitted, export: Export, golden: Row, rows: Sequence[Row]) -> dict[str, float]:
    """Shares of the fields in what predictions differ by from that of the typical record.

    Args:
        fitted: the model.
        export: as it will be served.
        golden: the typical record.
        rows: the training rows.

    Returns:
        Field -> its share of the mean absolute contribution on the estimator's scale, descending; they sum to 1, or are
        all 0 where no prediction differs. A group that is switched as one stands under its first field. Of classes it
        is the mean over them, each on its log-odds; of two, both have the same.
    """
    target = fitted.spec.target
    runtime, finish = make_runtime(export.runtime, export.content, fitted.features), Finish(target, export.runtime)
    exported = _Exported(fitted.spec, {"row": golden}, runtime, finish)
    some = [rows[position] for position in np.linspace(0, len(rows) - 1, min(N_ROWS, len(rows))).round().astype(int)]
    encoded = fitted.features.encode(some)
    strength: NDArray[np.float64] | float = 0.0
    for position in range(len(target.classes) if len(target.classes) > 2 else 1):
        explainer = Explainer(exported, position)
        for row, prediction in zip(encoded, explainer.score(encoded).tolist(), strict=True):
            effects = explainer.effects(row, prediction)
            if effects is not None:
                strength += np.abs(np.nan_to_num(effects))
    strength = np.broadcast_to(strength, len(explainer.players))
    total = float(strength.sum()) or 1.0
    order = np.argsort(-strength, kind="stable")
    return {explainer.players[player][0]: float(strength[player]) / total for player in order}
