"""A synthetic sample: employees by dice, who leave if they are unsatisfied, or overworked and long there."""

from __future__ import annotations

from typing import Final

import numpy as np
from model_kit.scoring.definition import Sample
from model_kit.training.samples import to_csv

N_ROWS: Final = 600
SEED: Final = 20240


def make_csv() -> bytes:
    """Return a training file of :data:`N_ROWS` made-up employees."""
    random = np.random.default_rng(SEED)
    satisfaction = random.uniform(0.1, 1, N_ROWS).round(2)
    hours = random.integers(100, 310, N_ROWS)
    years = random.integers(2, 11, N_ROWS)
    odds = 9 * (0.45 - satisfaction) + 0.03 * (hours - 240) + 0.3 * (years - 5)
    return to_csv(
        {
            "satisfaction_level": satisfaction.tolist(),
            "last_evaluation": random.uniform(0.4, 1, N_ROWS).round(2).tolist(),
            "number_project": random.integers(2, 8, N_ROWS).tolist(),
            "average_montly_hours": hours.tolist(),
            "time_spend_company": years.tolist(),
            "Work_accident": random.integers(0, 2, N_ROWS).tolist(),
            "left": (odds + random.logistic(scale=0.3, size=N_ROWS) > 0).astype(int).tolist(),
            "promotion_last_5years": (random.random(N_ROWS) < 0.1).astype(int).tolist(),
            "sales": random.choice(["sales", "technical", "support", "hr"], N_ROWS).tolist(),
            "salary": random.choice(["low", "medium", "high"], N_ROWS).tolist(),
        }
    )


SAMPLE: Final = Sample(make_csv)
