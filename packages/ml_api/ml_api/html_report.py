"""Reports as one HTML file that loads nothing and runs no script."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Render a template of this package, such as ``drift/report.html.jinja``; values are escaped."""
    environment = Environment(
        loader=PackageLoader("ml_api", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)
