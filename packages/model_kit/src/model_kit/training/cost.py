"""What serving costs where scikit-learn does it, measured where the model is trained."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Final

from model_kit.records.encoding import Encoded
from model_kit.scoring.runtimes import Runtime

#: Calls that the time of one row is the mean of.
N_CALLS: Final = 50
#: What a worker imports for any model, then for one that scikit-learn serves; Linux counts memory in pages.
_IMPORTS: Final = """
import json, os, time
from pathlib import Path
import model_kit.scoring.model
def pages():
    return int(Path("/proc/self/statm").read_text().split()[1]) if os.path.exists("/proc/self/statm") else 0
before, start = pages(), time.perf_counter()
import model_kit.scoring.scikit_learn
if {frame}:
    import pandas
seconds = time.perf_counter() - start
print(json.dumps([seconds, (pages() - before) * os.sysconf("SC_PAGE_SIZE") / 1e6]))
"""


def measure_cost(runtime: Runtime, encoded: Encoded, *, takes_frame: bool) -> dict[str, float]:
    """Measure what scikit-learn adds to a serving process.

    Args:
        runtime: the model's.
        encoded: one encoded row.
        takes_frame: whether the estimator needs pandas.

    Returns:
        ``import_seconds``; ``memory_mb`` of a worker, 0 where the system does not tell; ``row_us``, microseconds of a
        row.
    """
    command = [sys.executable, "-c", _IMPORTS.replace("{frame}", str(takes_frame))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout)
    runtime.raw(encoded)
    start = time.perf_counter()
    for _ in range(N_CALLS):
        runtime.raw(encoded)
    row = (time.perf_counter() - start) / N_CALLS
    return {"import_seconds": round(seconds, 2), "memory_mb": round(memory), "row_us": round(row * 1e6)}
