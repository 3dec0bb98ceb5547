"""What is asked for beside predictions, and how many rows one request may have then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict

#: Rows of a request by default of the server: MAX_ROWS, MAX_WARNED, MAX_EXPLAINED. A server with lower limits answers
#: 413, and rows are sent in smaller requests.
MAX_ROWS: Final = 10_000
MAX_WARNED: Final = 1_000
MAX_EXPLAINED: Final = 100


class Details(TypedDict, total=False):
    """The same as :class:`Options`, as arguments of the clients' methods."""

    interval: float | None
    explain: int | None
    warnings: bool
    probabilities: bool
    of_class: str | None
    id_field: str | None
    inference_id: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for beside predictions.

    Attributes:
        interval: level of the ranges, of classes of the sets; ``None``: none.
        explain: number of contributions to each prediction; ``None``: none.
        warnings: whether to add warnings.
        probabilities: whether to add the probability of each class.
        of_class: the class whose probability is explained; ``None``: the predicted one.
        id_field: the field with the caller's own id of each row.
        inference_id: the caller's own id of the only row.
    """

    interval: float | None = None
    explain: int | None = None
    warnings: bool = False
    probabilities: bool = False
    of_class: str | None = None
    id_field: str | None = None
    inference_id: str | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The query parameters."""
        found = {
            "interval": None if self.interval is None else f"{self.interval:.15g}",
            "explain": None if self.explain is None else str(self.explain),
            "warnings": "true" if self.warnings else None,
            "probabilities": "true" if self.probabilities else None,
            "class": self.of_class,
            "id_field": self.id_field,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request."""
        return {} if self.inference_id is None else {"Inference-Id": self.inference_id}

    @property
    def has_nested(self) -> bool:
        """Whether the answer has more than columns of single values."""
        return self.explain is not None or self.warnings

    @property
    def max_rows(self) -> int:
        """Rows of one request."""
        if self.explain is not None:
            return MAX_EXPLAINED
        return MAX_WARNED if self.warnings else MAX_ROWS
