"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re

from project import ROOT

FOLDERS = {"ml_api": "packages/ml_api/tests", "model_kit": "packages/model_kit/tests"}


def test_each_threat_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (?!what can|---)(.+) \|$", (ROOT / "SECURITY.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        threat, _, tests, _ = row.split(" | ") if not row.endswith(" |") else f"{row} ".split(" | ")
        named = re.findall(r"`([^`]+\.py)`", tests)
        assert named, threat
        for name in named:
            first, _, rest = name.partition("/")
            assert (ROOT / FOLDERS.get(first, first) / rest).is_file(), f"{threat}: {name}"
