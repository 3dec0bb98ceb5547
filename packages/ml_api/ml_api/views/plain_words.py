"""Puts the validator's messages into the words of people who fill in a form; those of the API do not change."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Pattern of a message -> words, in which ``{1}`` is the first group of the pattern. The form's script has them too.
WORDS = (
    (r"Missing data for required field\.|Field may not be null\.", "Needed for a prediction."),
    (r"Must be greater than or equal to (\S+) and less than or equal to (\S+)\.", "Must be from {1} to {2}."),
    (r"Must be greater than or equal to (\S+)\.", "Must be {1} or more."),
    (r"Must be less than or equal to (\S+)\.", "Must be {1} or less."),
    (r"Not a valid number\.|Special numeric values .*", "Must be a number."),
    (r"Not a valid integer\.", "Must be a whole number."),
    (r"Number too large\.", "Is too large a number."),
    (r"Not a valid string or whole number\.", "Must be a whole number."),
    (r"Not a valid string\.", "Must be a text."),
    (r"Not a valid boolean.*", "Must be yes or no."),
    (r"Not a valid date(?:time)?; expected (.+)\.", "Must be a date like {1}."),
    (r"The time zone is missing; expected (.+)\.", "The time zone is missing: write it like {1}."),
    (r"A time zone is not permitted; expected (.+)\.", "Must have no time zone: write it like {1}."),
    (r"Longer than maximum length (\d+)\.", "Has more than {1} characters."),
    (r"The model gives no finite prediction for this row\.", "The model has no prediction for these values."),
)


def fault(messages: Sequence[str]) -> str:
    """Return what is wrong with one field, from the validator's ``messages`` about it."""
    return " ".join(map(_translate, messages))


def _translate(message: str) -> str:
    for pattern, words in WORDS:
        if found := re.fullmatch(pattern, message):
            return words.format(found[0], *found.groups())
    return message


def warning(field: str, message: str) -> str:
    """Return a row warning as a sentence that stands at its field, whose name it need not repeat."""
    text = message.removeprefix(f"{field} ")
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"
