"""A model of bookings with a field of every kind, without a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from model_kit.records.encoding import Encoded, Encoder
from model_kit.spec import Field, InputSpec, Learned, Level, Target, Value
from numpy.typing import NDArray

#: A field of every kind; how files write dates is declared for one of each.
BOOKING_FIELDS = (
    Field("nights", "integer", "Nights booked", required=True, minimum=1),
    Field("breakfast", "boolean", "Breakfast is included"),
    Field("arrival", "date", "Day of arrival", required=True, format="%d/%m/%Y"),
    Field("booked", "datetime", "When the room was booked", format="%d/%m/%Y %H:%M"),
    Field("paid", "datetime", "When the room was paid", time_zone=True, null_means="not paid yet"),
    Field("left", "date", "Day of departure"),
    Field("area", "number", "Size of the room", unit="m2"),
    Field("room", "category", "Kind of room", levels=(Level("single", "For one"), Level("double", "For two"))),
)
SPEC_OF_BOOKINGS = InputSpec(
    BOOKING_FIELDS,
    {
        "nights": Learned(0.0, 2, 1, 14, (1.0, 2.0, 4.0)),
        "breakfast": Learned(0.1, True, codes={"false": 0, "true": 1}),
        "arrival": Learned(0.0, "2024-07-01", 19723.0, 20088.0, (19800.0, 19905.0, 20000.0)),
        "booked": Learned(0.1, "2024-05-01T18:30:00", 19600.25, 20080.5, (19700.5, 19900.0)),
        "paid": Learned(0.3, "2024-06-01T16:00:00Z", 19610.75, 20087.5, (19700.5, 19900.0)),
        "left": Learned(0.2, "2024-07-03", 19724.0, 20102.0, (19807.0, 19907.0, 20002.0)),
        "area": Learned(0.0, 18.5, 8.0, 60.0, (12.0, 18.5, 30.0)),
        "room": Learned(0.1, "double", codes={"double": 1, "single": 2}),
    },
    Target("price", "EUR", subject="booking"),
)
BOOKING: dict[str, Value] = {name: SPEC_OF_BOOKINGS.learned[name].typical for name in SPEC_OF_BOOKINGS.names}


class Bookings:
    """A model of bookings without a bundle: the price is the sum of what is encoded, missing values as 0."""

    version = "1.0.0"
    spec = SPEC_OF_BOOKINGS
    card: Mapping[str, Any] = {"data": {"name": "bookings by hand", "synthetic": True}, "evaluated": True}
    lineage: Mapping[str, Any] = {"version": version, "data": card["data"]}

    @property
    def golden(self) -> Mapping[str, Any]:
        """A typical booking."""
        return {"row": BOOKING, "prediction": float(self.score(Encoder(self.spec)([BOOKING]))[0])}

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Sums, shape (n_rows,)."""
        sums: NDArray[np.float64] = np.nan_to_num(encoded).sum(axis=1)
        return sums

    def check(self) -> None:
        """There is nothing to check."""
