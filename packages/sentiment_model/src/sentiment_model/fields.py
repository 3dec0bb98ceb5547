"""The one field: a sentence of a review."""

from __future__ import annotations

from typing import Final

from model_kit.spec import Field, Target

TARGET: Final = Target("sentiment", kind="class", classes=("negative", "positive"), subject="review")

FIELDS: Final = (Field("text", "text", "What the review says", required=True, max_length=5000),)
# Where a review is from, `source`, is left out: it would say which shops are liked, not which words.
