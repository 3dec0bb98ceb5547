"""``python -m ml_api.cli``, where the command ``ml-api`` is not installed."""

from __future__ import annotations

import sys

from ml_api.cli.main import main

sys.exit(main())
