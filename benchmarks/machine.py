"""On what a figure was measured: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Libraries whose versions matter.
LIBRARIES = (
    *("flask", "gunicorn", "marshmallow", "msgspec", "numpy", "onnxruntime"),
    *("fastapi", "granian", "pandas", "pydantic", "scikit-learn", "uvicorn"),
)


def describe() -> dict[str, str | int]:
    """Processor, cores that may be used, memory in GB, system."""
    cpu, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    model = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.exists() else None
    total = re.search(r"MemTotal:\s*(\d+)", memory.read_text()) if memory.exists() else None
    return {
        "processor": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(int(total[1]) / 1e6) if total else 0,
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python, wrk and the libraries; serving and this environment have the same pins."""
    found = {"python": platform.python_version(), "wrk": wrk()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def wrk() -> str:
    """The version of wrk, as it says it."""
    done = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"wrk (\S+)", done.stdout)
    return found[1] if found else "unknown"


def commit(root: Path) -> str | None:
    """The commit that is measured, with ``-dirty`` if files differ from it; ``None`` outside git."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
