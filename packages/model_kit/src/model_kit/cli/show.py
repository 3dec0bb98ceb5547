"""The command ``show``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from typing import Final

from model_kit.cli.common import (
    OK,
    add_bundle_argument,
    data_facts,
    facts,
    model_of,
    score_facts,
    synthetic_notice,
)
from model_kit.scoring.about import About, context
from model_kit.scoring.summary import verdict

#: Texts of the card, in the order in which they are shown.
ABOUT: Final = tuple(field.name for field in fields(About) if field.name != "limits")
HELP: Final = "show the model's card"
EXAMPLES: Final = ""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("--json", action="store_true", help="as JSON")
    add_bundle_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Print what the model was trained on, and its scores."""
    model = model_of(arguments)
    lineage, card, spec = model.lineage, model.card, model.spec
    artifact = lineage["artifact_sha256"]
    said = verdict(card, spec.target)
    if arguments.json:
        document = {
            **card,
            **({"verdict": said} if said else {}),
            "version": model.version,
            "artifact_sha256": artifact,
            "files": lineage["files"],
            "fields": list(spec.names),
            "required": list(spec.required),
            "target": {"name": spec.target.name, "classes": list(spec.target.classes)}
            if spec.target.is_class
            else {"name": spec.target.name, "unit": spec.target.unit},
        }
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return OK
    about = card.get("about") or {}
    lines = [
        ("model", f"{card['model']} {model.version}"),
        *((name, about[name]) for name in ABOUT if name in about),
        *(("limit", text) for text in about.get("limits", ())),
        *([("verdict", said)] if said else []),
        *([("predicts", text)] if (text := context(card, spec.target)) else []),
        *data_facts(card),
        *score_facts(card, spec.target),
        ("fields", f"{len(spec.fields)}, required: {', '.join(spec.required) or 'none'}"),
        ("target", ", ".join(filter(None, (spec.target.name, spec.target.unit)))),
        *([("classes", ", ".join(spec.target.keys))] if spec.target.is_class else []),
        ("libraries", ", ".join(f"{name} {version}" for name, version in card["libraries"].items())),
        ("trained", f"{lineage['trained_at']}, commit {lineage['git_commit'] or 'unknown'}"),
        ("artefact sha256", artifact),
    ]
    if card["data"]["synthetic"]:
        sys.stdout.write(f"{synthetic_notice(arguments.definition)}\n")
    sys.stdout.write(facts(lines))
    return OK
