"""Puts the project's scripts on the path: starting and ending processes is their business too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
