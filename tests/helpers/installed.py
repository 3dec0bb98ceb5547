"""Distributions that only a folder on PYTHONPATH has; it hides those of the same name in site-packages."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path


def install(site: Path, distribution: str, version: str, announced: str) -> None:
    """Make ``site`` a folder in which a distribution is installed, with these entry points."""
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(announced)


def hide_other_models(site: Path) -> None:
    """Hide every model package that is installed elsewhere, so that those in ``site`` are all that there are."""
    here = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    for name in {point.dist.name for point in entry_points(group="ml_api.models") if point.dist}:
        if name.replace("-", "_") not in here:
            install(site, name, "0", "")
