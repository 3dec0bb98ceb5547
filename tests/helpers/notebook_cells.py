"""Run the code of a notebook in this process, and print what each cell shows, as JSON: its text and its pictures."""

from __future__ import annotations

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def run(cell: str, names: dict[str, Any]) -> str:
    """Return what a cell prints, and the value of its last expression, as IPython shows them."""
    body = ast.parse(cell).body
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    text = io.StringIO()
    with redirect_stdout(text):
        exec(compile(ast.Module(body if last is None else body[:-1], []), "cell", "exec"), names)
        if last is not None and (value := eval(compile(ast.Expression(last), "cell", "eval"), names)) is not None:
            text.write(f"{value!r}\n")
    return text.getvalue()


def n_pictures() -> int:
    """Return how many figures were drawn, and close them, as Jupyter does at the end of a cell."""
    if "matplotlib.pyplot" not in sys.modules:
        return 0
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    drawn = len(plt.get_fignums())
    plt.close("all")
    return drawn


def main(path: Path) -> None:
    """Run the notebook."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    found = [(run("".join(cell["source"]), names), n_pictures()) for cell in cells]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
