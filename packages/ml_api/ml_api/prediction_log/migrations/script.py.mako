"""${message}"""

from __future__ import annotations

revision = "${up_revision}"
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Expand: add what old code does not need. A later migration contracts, and raises ``compatibility.minimum``."""
