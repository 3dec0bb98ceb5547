"""``ml-api verify``: check the bundles that a server would serve, before it starts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from model_kit.scoring.bundle import MANIFEST, MODEL_DIR
from model_kit.scoring.installed import InstalledModel, read_installed, replacement_faults, serve

from ml_api import logs
from ml_api.settings import SettingsError

_HELP = """\
Check the bundles that a server with these variables would serve, those of MODEL_DIR included: the sha256 of every file,
MODEL_SHA256 if it is set, the golden row, and that each was trained with the code that is installed. A folder in
MODEL_DIR whose bundle no installed model has is an error too, and so is a MODEL_DIR without any bundle: a server would
serve the bundles of its packages instead.

Exit status: 0 all are right, with a line for each; 1 one is not, and the message says which and why.
"""


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "verify",
        help="check the bundles that a server would serve",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> None:
    # They load models, which other commands must not wait for.
    from ml_api.models.registry import Registry, installed_models  # noqa: PLC0415
    from ml_api.reloading import describe  # noqa: PLC0415

    logs.configure("error")
    installed = read_installed()
    # What is loaded below is what was read here.
    serve(installed)
    registry = Registry(installed_models())
    faults = replacement_faults({}, installed) | registry.faults() | outside_faults(installed)
    if not registry.names:
        faults = {"": "no model is installed"}
    if faults:
        texts = [": ".join(filter(None, fault)) for fault in sorted(faults.items())]
        raise SettingsError("\n  ".join(["the bundles are not right:", *texts]))
    served = registry.identities()
    for line in describe(served, served):
        print(line.removesuffix(", unchanged"))


def outside_faults(installed: Mapping[str, InstalledModel]) -> dict[str, str]:
    """Return what is wrong with ``MODEL_DIR`` as a whole, by the name of a model or of the variable."""
    outside = {
        folder: bundle
        for model in installed.values()
        for folder, bundle in model.bundles.items()
        if model.folder is None or folder.parent != model.folder
    }
    for folder in {folder.parent for folder in outside}:
        if not any(outside.values()):
            return {MODEL_DIR: f"{folder} has no bundle of an installed model: {', '.join(sorted(installed))}"}
        unknown = {manifest.parent.name for manifest in folder.glob(f"*/{MANIFEST}")} - installed.keys()
        return {name: f"{folder / name} is a bundle of a model that is not installed" for name in unknown}
    return {}
