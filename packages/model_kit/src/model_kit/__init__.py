"""What every model package shares: input spec, encoding, bundle, scoring, training harness."""

import os

__version__ = "0.1.0"

# ONNX Runtime tells its maker of every process and model (from 1.29 on, on Linux too) and keeps an id in the home
# folder, unless it is told otherwise before it is imported. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
