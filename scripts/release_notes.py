"""Write the notes of a release, build/notes.md: the version of the API, which its tag has, and each model's.

exit status: 0 written, 1 there are no wheels of this commit, 2 the tag is not the API's version.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from processes import script
from project import Project, ScriptError, find_version, write_atomically
from wheels import Manifest, read_manifest


def notes(version: str, manifest: Manifest, changes: str) -> str:
    """Return the notes as Markdown.

    Args:
        version: of the API.
        manifest: of the wheels that it serves.
        changes: the changelog's section of that version; may be empty.
    """
    rows = [
        f"| {wheel.model or wheel.name} | {wheel.version} | {f'`{wheel.artifact_sha256}`' if wheel.model else ''} |\n"
        for wheel in manifest.wheels
    ]
    table = "| model or package | version | artefact (sha256) |\n| --- | --- | --- |\n" + "".join(rows)
    text = f"ml_api {version}, commit `{manifest.commit}`, serves:\n\n{table}"
    return text + (f"\n{changes}\n" if changes else "")


def section(changelog: str, version: str) -> str:
    """Return what a changelog says of a version, without its heading; empty if it says nothing."""
    _, _, after = f"\n{changelog}".partition(f"\n## {version}\n")
    return after.partition("\n## ")[0].strip()


@script("release-notes")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "release_notes.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tag", required=True, help="such as v1.2.0")
    options = parser.parse_args(arguments)
    project = project or Project()
    folder = project.root / "packages/ml_api"
    version = find_version(folder / "ml_api/__init__.py").group(1)
    if options.tag != f"v{version}":
        raise ScriptError(f"the tag is {options.tag}, and ml_api's version {version}: tag v{version}, or raise it", 2)
    changelog = folder / "CHANGELOG.md"
    changes = section(changelog.read_text("utf-8") if changelog.is_file() else "", version)
    write_atomically(project.notes, notes(version, read_manifest(project), changes))
    print(f"{project.notes} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
