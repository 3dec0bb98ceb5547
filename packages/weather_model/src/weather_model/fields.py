"""The fields: what a station measures in an hour."""

from __future__ import annotations

from typing import Final

from model_kit.spec import Field, Target

TARGET: Final = Target("Future_weather_condition", kind="class", classes=(0, 1), positive=1, subject="hour")

FIELDS: Final = (
    Field("Timestamp", "datetime", "Hour of the measurement, local time", format="%Y-%m-%d %H:%M:%S"),
    Field("Temperature_C", "number", "Temperature of the air", unit="°C", minimum=-90, maximum=60),
    Field("Humidity", "number", "Relative humidity, from 0 to 1", minimum=0, maximum=1),
    Field("Wind_speed_kmph", "number", "Speed of the wind", unit="km/h", minimum=0, maximum=500),
    Field("Wind_bearing_degrees", "number", "Where the wind comes from", unit="°", minimum=0, maximum=360),
    Field("Visibility_km", "number", "Visibility", unit="km", minimum=0),
    # 0 is what a station writes that measured no pressure.
    Field(
        "Pressure_millibars",
        "number",
        "Pressure of the air, 0 if not measured",
        unit="mbar",
        minimum=0,
        maximum=1100,
    ),
    Field("Current_weather_condition", "boolean", "Condition of the hour: 1 for rain, 0 for none"),
)
# Location is left out: a station is at one place.
