from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from model_kit.testing import write_ride_bundle


def test_scoring_tells_nobody_and_leaves_no_id_in_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_ride_bundle(tmp_path / "rides")
    # In CI, ONNX Runtime keeps quiet by itself.
    environ = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    code = "import pathlib, sys; from model_kit.testing import load_rides; load_rides(pathlib.Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", f"{code}.check()", str(tmp_path / "rides")],
        env=environ | {"HOME": str(home)},
        check=True,
    )
    assert list(home.rglob("*")) == []
