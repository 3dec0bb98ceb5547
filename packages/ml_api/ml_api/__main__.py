"""Starts gunicorn if the settings are valid: ``python -m ml_api``, in the folder of ``gunicorn.conf.py``.

gunicorn reads ``WEB_CONCURRENCY`` when it is imported, and later systemd's ``LISTEN_FDS`` and ``LISTEN_PID``, where an
invalid or empty value ends in a traceback, and lets ``GUNICORN_CMD_ARGS`` override its configuration file.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ml_api.settings import PortInUseError, Settings, SettingsError


def main() -> None:
    """Run gunicorn, or exit with one line that names the variable at fault."""
    try:
        settings = Settings.from_environ(os.environ)
        with suppress(PortInUseError):  # gunicorn retries: the workers of a server that was killed need seconds to end
            settings.check_address()
    except SettingsError as error:
        sys.exit(f"ml_api does not start: {error}")
    os.environ["WEB_CONCURRENCY"] = str(settings.workers)
    for name in ("LISTEN_FDS", "LISTEN_PID"):
        if not os.environ.get(name):
            os.environ.pop(name, None)
    for name in [name for name in os.environ if name.startswith("GUNICORN_")]:
        del os.environ[name]
        sys.stderr.write(f"ml_api ignores {name}; packages/ml_api/README.md lists the settings\n")

    from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]  # noqa: PLC0415  reads these variables

    run(prog="gunicorn")


if __name__ == "__main__":
    main()
