"""The fields, as the file of the human resources department spells them."""

from __future__ import annotations

from typing import Final

from model_kit.spec import Field, Level, Target

TARGET: Final = Target("left", kind="class", classes=(0, 1), positive=1, subject="employee")

_SALARIES = (Level("low", "low"), Level("medium", "medium"), Level("high", "high"))

FIELDS: Final = (
    Field("satisfaction_level", "number", "Satisfaction, as the employee says, from 0 to 1", minimum=0, maximum=1),
    Field("last_evaluation", "number", "Last evaluation by the superior, from 0 to 1", minimum=0, maximum=1),
    Field("number_project", "integer", "Projects at the same time", minimum=0),
    # The name is spelt as in the data.
    Field("average_montly_hours", "number", "Hours of work in a month", unit="hours", minimum=0, maximum=744),
    Field("time_spend_company", "integer", "Time in the company", unit="years", minimum=0),
    Field("Work_accident", "boolean", "Has had an accident at work"),
    Field("promotion_last_5years", "boolean", "Was promoted within five years"),
    Field("sales", "category", "Department"),
    Field("salary", "category", "Salary, in three steps", levels=_SALARIES, ordered=True),
)
