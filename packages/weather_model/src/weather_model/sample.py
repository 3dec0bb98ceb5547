"""A synthetic sample: hours by dice, in which rain follows rain, wet air and bad visibility."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import numpy as np
from model_kit.scoring.definition import Sample
from model_kit.training.samples import to_csv

N_ROWS: Final = 900
SEED: Final = 20240
_FIRST: Final = datetime(2020, 1, 1)  # noqa: DTZ001 - local time, as a station writes it


def make_csv() -> bytes:
    """Return a training file of :data:`N_ROWS` made-up hours."""
    random = np.random.default_rng(SEED)
    humidity = random.uniform(0.2, 1, N_ROWS).round(2)
    visibility = random.uniform(1, 16, N_ROWS).round(2)
    rains = (12 * (humidity - 0.6) + random.logistic(scale=0.5, size=N_ROWS) > 0).astype(int)
    odds = 6 * (rains - 0.5) + 6 * (humidity - 0.6) + 0.2 * (8 - visibility)
    return to_csv(
        {
            "Timestamp": [f"{_FIRST + timedelta(hours=3 * number):%Y-%m-%d %H:%M:%S}" for number in range(N_ROWS)],
            "Location": ["Nowhere"] * N_ROWS,
            "Temperature_C": random.normal(12, 8, N_ROWS).round(2).tolist(),
            "Humidity": humidity.tolist(),
            "Wind_speed_kmph": random.gamma(2, 5, N_ROWS).round(2).tolist(),
            "Wind_bearing_degrees": random.integers(0, 360, N_ROWS).tolist(),
            "Visibility_km": visibility.tolist(),
            "Pressure_millibars": random.normal(1013, 8, N_ROWS).round(2).tolist(),
            "Current_weather_condition": rains.tolist(),
            "Future_weather_condition": (odds + random.logistic(scale=0.5, size=N_ROWS) > 0).astype(int).tolist(),
        }
    )


SAMPLE: Final = Sample(make_csv)
