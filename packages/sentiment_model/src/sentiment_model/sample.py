"""A synthetic sample: sentences by dice, of words that praise or blame among others."""

from __future__ import annotations

from typing import Final

import numpy as np
from model_kit.scoring.definition import Sample
from model_kit.training.samples import to_csv

N_ROWS: Final = 400
SEED: Final = 20240
_SUBJECTS: Final = ("the film", "this phone", "the waiter", "our dinner", "the battery", "that ending", "the sound")
_VERBS: Final = ("was", "seemed", "is", "felt")
_WORDS: Final = {
    "negative": ("awful", "dull", "cold", "broken", "a waste of money", "disappointing", "rude", "too slow"),
    "positive": ("great", "charming", "delicious", "well made", "worth it", "a pleasure", "friendly", "very fast"),
}


def make_csv() -> bytes:
    """Return a training file of :data:`N_ROWS` made-up sentences."""
    random = np.random.default_rng(SEED)
    columns: dict[str, list[str]] = {"source": [], "text": [], "sentiment": []}
    for number in range(N_ROWS):
        sentiment = ("negative", "positive")[number % 2]
        parts = [f"{random.choice(_SUBJECTS)} {random.choice(_VERBS)} {random.choice(_WORDS[sentiment])}"]
        if random.random() < 0.5:
            parts.append(f"and {random.choice(_SUBJECTS)} {random.choice(_VERBS)} {random.choice(_WORDS[sentiment])}")
        columns["source"].append("dice")
        columns["text"].append(" ".join(parts).capitalize() + ".")
        columns["sentiment"].append(sentiment)
    return to_csv(columns)


SAMPLE: Final = Sample(make_csv)
