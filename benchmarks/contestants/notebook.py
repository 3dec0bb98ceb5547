"""What a notebook does with a file: pandas reads it, the fitted scikit-learn pipeline predicts, pandas writes it.

python notebook.py PIPELINE.joblib IN.csv OUT.csv      or .parquet, both
"""

from __future__ import annotations

import sys

import joblib
import numpy as np
import pandas as pd


def main(model_file: str, source: str, target: str) -> None:
    """Write the file with a column of predictions."""
    model = joblib.load(model_file)
    as_csv = source.endswith(".csv")
    frame = pd.read_csv(source, keep_default_na=False, na_values=["NA"]) if as_csv else pd.read_parquet(source)
    scores = model["pipeline"].predict(frame[list(model["fields"])]) + model["offset"]
    frame["prediction"] = np.exp(scores) if model["scale"] == "log" else scores
    if as_csv:
        frame.to_csv(target, index=False, na_rep="NA")
    else:
        frame.to_parquet(target, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
