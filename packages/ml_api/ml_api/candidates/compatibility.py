"""Whether a canary can stand in for the installed version: it takes what that takes, and predicts the same thing."""

from __future__ import annotations

from typing import Any


def incompatibility(installed: dict[str, Any], candidate: dict[str, Any]) -> str | None:
    """Say why callers of the installed version could not be served by the candidate; ``None`` if they can.

    Args:
        installed: its ``spec.json``.
        candidate: that of the candidate.
    """
    ours, theirs = installed["target"], candidate["target"]
    for what in ("name", "kind", "unit", "classes"):
        if ours.get(what) != theirs.get(what):
            return (
                f"it predicts {what} {theirs.get(what) or 'none'}, and the installed version {ours.get(what) or 'none'}"
            )
    known = {field["name"]: field for field in installed["fields"]}
    for field in candidate["fields"]:
        name, before = field["name"], known.get(field["name"], {})
        if field.get("required") and not before.get("required"):
            return f"it requires the field {name}, which the installed version does not"
        if before and (reason := _refuses(before, field)):
            return f"the field {name}: {reason}"
    return None


def _refuses(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    if (before["kind"], after["kind"]) not in ((before["kind"], before["kind"]), ("integer", "number")):
        return f"its kind is {after['kind']}, and in the installed version {before['kind']}"
    for what in ("unit", "time_zone"):
        if before.get(what) != after.get(what):
            return f"its {what.replace('_', ' ')} is {after.get(what)}, and in the installed version {before.get(what)}"
    for what, sign in (("minimum", 1), ("maximum", -1), ("max_length", -1)):
        bound, ours = after.get(what), before.get(what)
        if bound is not None and (ours is None or sign * bound > sign * ours):
            before_it = "none" if ours is None else ours
            return f"its {what.replace('_', ' ')} is {bound}, and in the installed version {before_it}"
    if before.get("numeric_codes") and not after.get("numeric_codes"):
        return "it takes no numbers for its levels, and the installed version does"
    return None
