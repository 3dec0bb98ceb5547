"""Execute the notebooks in the environment of JupyterLab, and hold them to the outputs that they are committed with.

The real server answers them with the house-price model, which is trained on the synthetic sample first, in a temporary
folder: no bundle of the checkout is touched. Run by `make notebooks`, with the Python of build/notebook.

  python scripts/notebooks.py            # fail if an output is another one
  python scripts/notebooks.py --write    # commit these outputs

exit status: 0 done, 1 a notebook fails or shows something else (what, is above)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local_index import free_port
from processes import child, script
from project import MODEL_KIT, ROOT, ScriptError, say, write_atomically
from run import wait_until_ready

NOTEBOOKS = ROOT / "notebooks"
MODEL = "regression"
#: Relative difference of a number from one machine to another.
CLOSE = 0.02
#: What outputs may hold: text, and pictures. HTML says the same as the text, in ten times the lines.
KEPT = ("image/png", "text/plain")
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")

#: The outputs of a cell: what it prints and shows as text, without the width of columns; and how many pictures.
Shown = tuple[str, int]


def notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return all notebooks."""
    return sorted(folder.glob("*.ipynb"))


def code_cells(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the cells with code."""
    return [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def shown(cell: Mapping[str, Any]) -> Shown:
    """Return what the outputs of a cell show."""
    texts: list[str] = []
    n_pictures = 0
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            n_pictures += 1
        else:
            texts.append("".join(output.get("text", data.get("text/plain", ""))))
    return squeezed("".join(texts)), n_pictures


def squeezed(text: str) -> str:
    """Return a text with one blank between its words, and no blanks at the ends of lines."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def differences(cells: Sequence[Mapping[str, Any]], found: Sequence[Shown]) -> list[str]:
    """Return where the cells of a notebook show something else than what was found; numbers may differ by ``CLOSE``."""
    told = []
    for cell, (text, n_pictures) in zip(cells, found, strict=True):
        wanted, n_wanted = shown(cell)
        if not _is_close(wanted, text):
            told.append(f"cell {cell['id']}: {text!r} where there was {wanted!r}")
        if n_pictures != n_wanted:
            told.append(f"cell {cell['id']}: {n_pictures} pictures where there were {n_wanted}")
    return told


def _is_close(wanted: str, text: str) -> bool:
    if _NUMBER.sub("#", wanted) != _NUMBER.sub("#", text):
        return False
    pairs = zip(_NUMBER.findall(wanted), _NUMBER.findall(text), strict=True)
    return all(math.isclose(*(float(one.replace(",", "")) for one in pair), rel_tol=CLOSE) for pair in pairs)


def tidied(document: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook with the outputs of an executed one: no HTML, no times, no versions."""
    executed = {cell["id"]: cell for cell in code_cells(document)}
    cells = []
    for cell in source["cells"]:
        if cell["cell_type"] == "code":
            outputs = [_tidied_output(output) for output in executed[cell["id"]]["outputs"]]
            cell = cell | {"execution_count": executed[cell["id"]]["execution_count"], "outputs": outputs}  # noqa: PLW2901
        cells.append(cell)
    return dict(source) | {"cells": cells}


def _tidied_output(output: Mapping[str, Any]) -> dict[str, Any]:
    if "data" not in output:
        return dict(output)
    return dict(output) | {"data": {kind: output["data"][kind] for kind in KEPT if kind in output["data"]}}


def execute(notebook: Path, folder: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return a notebook as Jupyter executes it, in its own folder.

    Raises:
        ScriptError: a cell fails; its traceback is above.
    """
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--log-level", "WARN"]
    command += ["--output-dir", str(folder), str(notebook)]
    if subprocess.run(command, env=environ, cwd=notebook.parent, check=False).returncode:
        raise ScriptError(f"{notebook.name} fails; the reason is above")
    executed: dict[str, Any] = json.loads((folder / notebook.name).read_text("utf-8"))
    return executed


@script("notebooks")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "notebooks.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the outputs into the notebooks")
    options = parser.parse_args(arguments)
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="notebooks-") as temporary:
        folder, port = Path(temporary), free_port()
        say(f"Training {MODEL} on its synthetic sample")
        train = [*MODEL_KIT, "train", "--model", MODEL, "--sample", "--bundle", str(folder / "models" / MODEL)]
        subprocess.run(train, stdout=subprocess.DEVNULL, check=True)
        address = f"127.0.0.1:{port}"
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "WEB_CONCURRENCY": "1", "LOG_LEVEL": "warning"}
        settings |= {"MODEL_DIR": str(folder / "models")}
        server = [sys.executable, "-m", "ml_api"]
        # Nothing of the user's Jupyter, neither settings nor history; what notebooks write goes with the folder.
        quiet = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_CONFIG_DIR": str(folder / "jupyter")}
        quiet |= {"TMPDIR": temporary}
        log = folder / "server.log"
        with (
            log.open("wb") as stream,
            child(server, cwd=ROOT / "packages/ml_api", env=os.environ | settings, output=stream.fileno()) as process,
        ):
            try:
                wait_until_ready(process, address, f"/v1/models/{MODEL}")
            except ScriptError:
                say(log.read_text("utf-8", "replace"))
                raise
            for path in notebooks():
                executed = execute(path, folder, os.environ | quiet | {"ML_API_URL": f"http://{address}"})
                source = json.loads(path.read_text("utf-8"))
                if options.write:
                    text = json.dumps(tidied(executed, source), indent=1, ensure_ascii=False)
                    write_atomically(path, f"{text}\n")
                    continue
                found = [shown(cell) for cell in code_cells(tidied(executed, source))]
                told += [f"{path.name}, {text}" for text in differences(code_cells(source), found)]
    for text in told:
        say(text)
    say(f"notebooks: {len(notebooks())} executed, {len(told)} outputs differ")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
