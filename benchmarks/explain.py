"""How close explanations are, and how long they take: the basis of EVALUATIONS and MIN_PAIRS in scoring.explanation.

  make bench-explain                          records made from the spec of the model
  make bench-explain BENCH_DATA=test.csv      rows of a file, evenly spaced

The error of a row is sum |effect - long run| / sum |long run|, where the long run is many pairs of orders of its own;
a row's time is that of a detailed answer in-process, alone in its request. MODEL_DIR names another bundle than the one
that the package carries.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import islice

import numpy as np
from model_kit.records.encoding import Encoder
from model_kit.records.validation import Validator
from model_kit.scoring.explanation import EVALUATIONS, MAX_EXACT, Explainer, Game, n_pairs, sample_orders
from model_kit.scoring.predictor import Predictor
from numpy.typing import NDArray

from bodies import Record, records
from ml_api.models.registry import BrokenModelError, Registry, UnknownModelError, installed_models
from ml_api.views.responses import encode_details
from project import ScriptError

#: Numbers of pairs that are compared with the long run, beside what the model kit takes.
PAIRS = (3, 5, 10, 20, 40)
#: Pairs of the long run that are scored together.
PIECE = 25
SEED = 1


def long_run(game: Game, pairs: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Values of many pairs, shape (pairs, n_players): a pair each, so that any few of them can be averaged."""
    found = []
    for _ in range(0, pairs, PIECE):
        keys = random.random((PIECE, game.n_players))
        found += [sample_orders(game, keys[number : number + 1]) for number in range(PIECE)]
    return np.array(found)


def error(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean L1 error of values, shape (..., n_players), relative to the sum of the true ones."""
    return float(np.abs(found - truth).sum(axis=-1).mean() / np.abs(truth).sum())


def errors(predictor: Predictor, rows: Sequence[Record], pairs: int) -> None:
    """Print the mean error over rows for each number of pairs, and for what is answered."""
    model = predictor.model
    explainer = Explainer(model)
    random = np.random.default_rng(SEED)
    encoded = Encoder(model.spec)(Validator(model.spec)(rows).rows)
    by_pairs: dict[int, list[float]] = {number: [] for number in PAIRS}
    answered, players = [], []
    for row, prediction in zip(encoded, model.score(encoded).tolist(), strict=True):
        present, game = explainer.game(row, prediction)
        if game.n_players <= MAX_EXACT:
            continue
        values = long_run(game, pairs, random)
        truth = values.mean(axis=0)
        for number in PAIRS:
            some = values[: len(values) // number * number].reshape(-1, number, game.n_players).mean(axis=1)
            by_pairs[number].append(error(some, truth))
        effects = explainer.effects(row, prediction)
        if effects is not None:
            answered.append(error(effects[present], truth))
            players.append(game.n_players)
    print(f"players: {min(players)} to {max(players)}, median {statistics.median(players):g}; {len(players)} rows")
    for number, found in by_pairs.items():
        print(f"{number:3} pairs: mean error {np.mean(found):.2%}, worst row {max(found):.2%}")
    taken = [n_pairs(number) for number in players]
    told = f"{min(taken)} to {max(taken)} pairs for {EVALUATIONS} evaluations"
    print(f"as answered ({told}): mean error {np.mean(answered):.2%}, worst row {max(answered):.2%}")


def times(predictor: Predictor, rows: Sequence[Record]) -> None:
    """Print milliseconds of a detailed answer of one row, and of a plain one."""
    texts = [json.dumps([row]).encode() for row in rows]
    taken: dict[str, list[float]] = {"plain": [], "explained": []}
    for text in [texts[0], *texts]:
        body = json.loads(text)
        start = time.perf_counter()
        predictor(body)
        between = time.perf_counter()
        encode_details(predictor.detailed(body, explain=5), predictor.model.version)
        taken["plain"].append((between - start) * 1000)
        taken["explained"].append((time.perf_counter() - between) * 1000)
    for name, found in taken.items():
        # The first call of each warms up.
        low, median, high = np.percentile(found[1:], [5, 50, 95])
        print(f"{name}: median {median:.2f} ms, 5 % below {low:.2f}, 5 % above {high:.2f}; {len(found) - 1} rows")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "explain.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20, help="rows whose error is measured; default: 20")
    parser.add_argument("--timed", type=int, default=200, help="rows that are timed; default: 200")
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of the long run; default: 2000")
    parser.add_argument("--data", help="a CSV file of records; default: BENCH_DATA, else made-up ones")
    parser.add_argument("--only", nargs="+", metavar="FIELD", help="send these fields alone")
    parser.add_argument("--model", help="name of the model (default: the only one installed)")
    options = parser.parse_args(arguments)
    try:
        registry = Registry(installed_models())
        predictor = registry.predictor(options.model or "|".join(registry.names))
        wanted = max(options.rows, options.timed)
        pool = records(predictor.model.spec, wanted, options.data)
    except (BrokenModelError, UnknownModelError, ScriptError) as fault:
        print(f"explain: {fault}", file=sys.stderr)
        return 1
    if options.only:
        pool = [{name: row[name] for name in options.only} for row in pool]
    times(predictor, pool[: options.timed])
    errors(predictor, list(islice(pool, 0, None, max(1, wanted // options.rows)))[: options.rows], options.pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
