"""Hold imports to the contracts in .importlinter, with the names of all packages that are there.

In the contracts {models} stands for every model package under packages/, {client} for the client, {serving} for the
parts of model_kit that serve, and {not serving} for all its other parts. A contract about nothing is left out.

exit status: 0 the contracts hold, 1 one is broken, or the contracts cannot be used.
"""

from __future__ import annotations

import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from project import Project

#: The parts of model_kit that serve.
SERVING = frozenset({"errors", "records", "scoring", "spec"})
#: Settings of a contract without which it is about nothing.
_NEEDED = ("source_modules", "forbidden_modules", "modules")


def contracts(text: str, project: Project) -> ConfigParser:
    """Return the contracts with names in place of ``{...}``."""
    kit = project.kit.source
    parts = sorted(path.stem for path in kit.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
    parts = [part for part in parts if not part.startswith("__")]
    names = {
        "{models}": [package.source.name for package in project.models()],
        "{client}": [package.source.name for package in project.clients],
        "{serving}": [f"model_kit.{part}" for part in parts if part in SERVING],
        "{not serving}": [f"model_kit.{part}" for part in parts if part not in SERVING],
    }
    found = ConfigParser(interpolation=None)
    found.read_string(text)
    for section in found.sections():
        for key, value in found[section].items():
            lines = [name for line in value.splitlines() for name in names.get(line, [line])]
            found[section][key] = "\n".join(lines)
        if any(not found[section].get(key, "x").strip() for key in _NEEDED):
            found.remove_section(section)
    return found


def main(project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    # Our own API is never installed.
    sys.path[:0] = [str(project.root / "packages/ml_api"), *(str(p.folder / "src") for p in project.packages)]
    with tempfile.TemporaryDirectory(prefix="imports-") as temporary:
        path = Path(temporary, "contracts.ini")
        with path.open("w", encoding="utf-8") as file:
            contracts((project.root / ".importlinter").read_text("utf-8"), project).write(file)
        status: int = lint_imports(config_filename=str(path), no_cache=True, no_logo=True)
    return 0 if status == EXIT_STATUS_SUCCESS else 1


if __name__ == "__main__":
    sys.exit(main())
