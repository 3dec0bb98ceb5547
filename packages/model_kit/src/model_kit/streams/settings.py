"""Settings of a broker's client that no command line should show: from a properties file and the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from model_kit.errors import DataError, first_line

#: What variables begin with: MODEL_KIT_STREAM_SASL_PASSWORD is sasl.password.
PREFIX: Final = "MODEL_KIT_STREAM_"


def read_settings(path: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return name -> value: the lines ``name=value`` of a file, overridden by the environment.

    Raises:
        DataError: the file cannot be read, or a line is none; the text names it, and no value.
    """
    settings: dict[str, str] = {}
    try:
        lines = [] if path is None else path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--settings {path}: {first_line(error)}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise DataError(f"{path}, line {number}: write name=value")
        settings[name.strip()] = value.strip()
    for name, value in environ.items():
        if name.startswith(PREFIX):
            settings[name.removeprefix(PREFIX).lower().replace("_", ".")] = value
    return settings
