"""Writes the terms of a folded estimator as an ONNX graph of about twenty nodes.

For a single row the overhead of a node is as much as the arithmetic in it, so the graph has few nodes, each for all
columns at once::

    F = X with what is imputed; its numbers and its codes, clipped: z (float64) and c
    q = z * (A z + v)                    linear and quadratic in numbers; of several outputs, products and z
    h = (B z)[offsets + c]               numbers times levels
    t = tables[offsets + strides c]      everything that depends on codes alone, a few categories to a table
    y = sum(q) + sum(h) + sum(t) + trees(F, t) + constant

A column that is imputed in several ways stands in F several times. Probabilities that classifiers inside the estimator
make of log-odds are outputs of their own at first: y adds their sigmoid or softmax.

Sums of many terms are computed in float64, because float32 sums differ between processors. Indices are float32, and so
are the sums of trees, which are added one by one. Codes are clipped first, so that no code points outside a table.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from model_kit.errors import CannotFoldError
from model_kit.training.folding.tables import Codes, Group, cover, positions
from model_kit.training.folding.terms import (
    NOT_IMPUTED,
    Base,
    Clipped,
    Column,
    Level,
    Missing,
    Number,
    Pair,
    Probability,
    Shape,
    Shaped,
    Simple,
    Step,
    Table,
    Terms,
    Tree,
)

ML = "ai.onnx.ml"
OPSET, ML_OPSET, IR_VERSION = 21, 3, 10

_Numbers: TypeAlias = NDArray[np.float64]


#: Functions that are applied to the output in float64: name -> operators; the input again, or a constant beside it.
LINKS: Final[Mapping[str, Sequence[tuple[str, float | None]]]] = {
    "identity": [],
    "exp": [("Exp", None)],
    "expm1": [("Exp", None), ("Sub", 1.0)],
    "square": [("Pow", 2.0)],
}


#: Functions of single numbers: name -> operators, of the result so far and, where so marked, the number itself.
SHAPES: Final[Mapping[Shape, Sequence[tuple[str, bool]]]] = {
    "identity": [],
    "square": [("Mul", True)],
    "cube": [("Mul", True), ("Mul", True)],
    "log": [("Log", False)],
    "sqrt": [("Sqrt", False)],
    "exp": [("Exp", False)],
}


def to_graph(outputs: Sequence[Terms], n_features: int, link: str = "identity") -> ModelProto:
    """Write folded terms as a graph of ``X``, float32, shape (n_rows, n_features) -> ``y``, float64.

    Args:
        outputs: the terms of each column of y, shape (n_rows, n_outputs).
        n_features: columns of X.
        link: function that is applied to y, one of :data:`LINKS`.

    Raises:
        CannotFoldError: the tables would have too many entries, or several outputs have products of numbers and levels.
    """
    return _Writer(outputs, n_features).write(link)


class _Slots:
    """Columns of the imputed matrix: the raw ones, and behind them those that are imputed in one more way.

    A code that may be missing becomes an unknown one, so that it has a column of its own where trees take it as a
    number, too.

    Attributes:
        fills: imputed value of each column, shape (n_columns,); :data:`NOT_IMPUTED` for none, or NaN for one that is
            not used.
        sources: raw column of each.
    """

    def __init__(self, outputs: Sequence[Terms], n_features: int) -> None:
        inputs = {
            id(column): column
            for terms in outputs
            for tree in terms.trees
            for column in tree.columns
            if isinstance(column, Number | Table)
        }
        bases = {base for terms in outputs for base in terms.linear}
        bases |= {base for terms in outputs for some, _ in terms.quadratics for base in some}
        simple = {part for base in bases for part in ((base.one, base.other) if isinstance(base, Pair) else (base,))}
        self._routed = {
            column.source for column in inputs.values() if isinstance(column, Number) and math.isnan(column.fill)
        }
        found: dict[int, set[tuple[float, bool]]] = {}
        for one in (*inputs.values(), *(base for base in simple if isinstance(base, Clipped | Step | Level | Shaped))):
            found.setdefault(one.source, set()).add(self._way(one))
        self.sources = list(range(n_features))
        self.fills = np.full(n_features, np.nan)
        self._place: dict[tuple[int, tuple[float, bool]], int] = {}
        for source in sorted(found):
            for way in sorted(found[source]):
                place = source
                if np.isnan(self.fills[source]):
                    self.fills[source] = way[0]
                else:
                    place = len(self.sources)
                    self.sources.append(source)
                    self.fills = np.append(self.fills, way[0])
                self._place[source, way] = place

    def _way(self, one: Number | Table | Clipped | Step | Level | Shaped) -> tuple[float, bool]:
        """The imputed value, and whether it is a code that may be missing, of a column that trees take as a number."""
        fill: float = NOT_IMPUTED if math.isnan(one.fill) else one.fill
        return fill, isinstance(one, Level | Table) and fill == NOT_IMPUTED and one.source in self._routed

    def place(self, one: Any) -> Any:
        """A base, or a column of a tree, of the imputed matrix."""
        if isinstance(one, Pair):
            return Pair(self.place(one.one), self.place(one.other))
        if isinstance(one, Number | Table | Clipped | Step | Level | Shaped):
            place = self._place[one.source, self._way(one)]
            return one if place == one.source else replace(one, source=place)
        return one

    def terms(self, terms: Terms) -> Terms:
        """Terms of the imputed matrix."""
        if len(self.sources) == len(set(self.sources)):
            return terms
        return Terms(
            terms.constant,
            {self.place(base): coefficient for base, coefficient in terms.linear.items()},
            [([self.place(base) for base in bases], matrix) for bases, matrix in terms.quadratics],
            [replace(tree, columns=tuple(map(self.place, tree.columns))) for tree in terms.trees],
        )


class _Graph:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: Any, dtype: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        output = name or f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def split(self, matrix: str, *sizes: int) -> list[str]:
        """Split the columns into consecutive parts of these sizes; a part without columns is not written."""
        names = [f"Split{len(self._nodes)}_{number}" for number in range(len(sizes))]
        kept = [(name, size) for name, size in zip(names, sizes, strict=True) if size]
        if len(kept) <= 1:
            return [matrix] * len(sizes)
        inputs = [matrix, self.constant([size for _, size in kept], np.int64)]
        self._nodes.append(helper.make_node("Split", inputs, [name for name, _ in kept], axis=1))
        return names

    def join(self, matrices: Sequence[str]) -> str:
        return matrices[0] if len(matrices) == 1 else self.node("Concat", *matrices, axis=1)

    def pick(self, matrix: str, columns: Sequence[int]) -> str:
        return self.node("Gather", matrix, self.constant(columns, np.int64), axis=1)

    def double(self, matrix: str) -> str:
        return self.node("Cast", matrix, to=TensorProto.DOUBLE)

    def model(self, n_features: int, n_outputs: int) -> ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "m",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, n_features])],
            [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, n_outputs])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        checker.check_model(model)
        return model


class _Writer:
    """Sorts the terms by the part of the graph that computes them, and writes it."""

    def __init__(self, outputs: Sequence[Terms], n_features: int) -> None:
        self._n_features, self._graph = n_features, _Graph()
        self._n_outputs = len(outputs)
        #: The classifiers inside the estimator, by their log-odds: those of two classes first, which have one output.
        probabilities = [base for terms in outputs for base in terms.linear if isinstance(base, Probability)]
        inner = {id(base.log_odds): base.log_odds for base in probabilities}
        self._inner = sorted(inner.values(), key=lambda log_odds: len(log_odds) > 1)
        every = [*outputs, *itertools.chain(*self._inner)]
        if any(isinstance(base, Probability) for terms in every[len(outputs) :] for base in terms.linear):
            raise CannotFoldError("log-odds of a mean of probabilities of log-odds")
        self._slots = _Slots(every, n_features)
        self._terms = [self._slots.terms(terms) for terms in every]
        #: Trees of different nodes, each with the values of its leaves for each output that it adds to.
        self._trees: dict[int, tuple[Tree, dict[int, _Numbers]]] = {}
        for first, terms in enumerate(self._terms):
            for tree in terms.trees:
                _, values = self._trees.setdefault(id(tree.left), (tree, {}))
                for output, more in enumerate(tree.values.reshape(len(tree.left), -1).T, start=first):
                    values[output] = values[output] + more if output in values else more
        quadratics = [terms.quadratic() for terms in self._terms]
        used: set[Base] = set()
        used.update(base for bases, matrix in quadratics for base, row in zip(bases, matrix, strict=True) if row.any())
        used |= {base for terms in self._terms for base, coefficient in terms.linear.items() if coefficient}
        self._clipped = sorted(base for base in used if isinstance(base, Clipped))
        self._steps = sorted(base for base in used if isinstance(base, Step))
        self._missing = sorted(base for base in used if isinstance(base, Missing))
        self._shaped = sorted((base for base in used if isinstance(base, Shaped)), key=lambda base: (base.shape, base))
        self._levels = sorted(base for base in used if isinstance(base, Level))
        numbers: list[Simple] = [*self._clipped, *self._steps, *self._missing, *self._shaped]
        order = [*numbers, *self._levels]
        linear = np.array([[terms.linear.get(base, 0.0) for terms in self._terms] for base in order])
        linear = linear.reshape(len(order), len(self._terms))
        matrices = [_aligned(bases, matrix, order) for bases, matrix in quadratics]
        n = len(numbers)
        self._linear, self._among_numbers = linear[:n], [matrix[:n, :n] for matrix in matrices]
        self._crossing = 2 * matrices[0][:n, n:]
        if len(self._terms) > 1 and any(matrix[:n, n:].any() for matrix in matrices):
            raise CannotFoldError("products of numbers and levels in several outputs")
        # A level's square is itself.
        self._among_levels = [
            matrix[n:, n:] + np.diag(column) for matrix, column in zip(matrices, linear[n:].T, strict=True)
        ]
        tables = {
            _key(column): column
            for tree, _ in self._trees.values()
            for column in tree.columns
            if isinstance(column, Table)
        }
        #: Tables that trees take as inputs, those with a value of its own for what is missing last.
        self._encoded = dict(sorted(tables.items(), key=lambda item: _has_own_missing(item[1])))
        found: dict[int, set[int]] = {}
        for level in self._levels:
            found.setdefault(level.source, set()).add(level.code)
        for table in self._encoded.values():
            found.setdefault(table.source, set()).update(table.values)
        self._codes = {source: Codes(found[source]) for source in sorted(found)}

    def write(self, link: str) -> ModelProto:
        """Return the graph."""
        graph, n_outputs = self._graph, len(self._terms)
        features = self._impute()
        numbers, codes = self._clip(features)
        # Matrices whose columns are summed at the end, with the weight of each column in each output.
        doubles: list[tuple[str, _Numbers]] = []
        singles: list[tuple[str, _Numbers]] = []
        if len(self._terms) == 1 and self._among_numbers[0].any():
            matrix, linear = (
                graph.constant(values, np.float64) for values in (self._among_numbers[0], self._linear[:, 0])
            )
            product = graph.node("Mul", graph.node("Gemm", numbers, matrix, linear), numbers)
            doubles.append((product, np.ones((len(self._linear), 1))))
        else:
            if self._linear.any():
                doubles.append((numbers, self._linear))
            # The matrices are symmetric.
            pairs = np.argwhere(np.any([np.triu(matrix) for matrix in self._among_numbers], axis=0))
            if pairs.size:
                one, other = pairs.T
                doubled = np.where(one == other, 1, 2)[:, np.newaxis]
                weights = np.stack([matrix[one, other] for matrix in self._among_numbers], axis=1) * doubled
                doubles.append(
                    (graph.node("Mul", *(graph.pick(numbers, some.tolist()) for some in (one, other))), weights)
                )
        if self._codes:
            sources = sorted(
                {level.source for level, column in zip(self._levels, self._crossing.T, strict=True) if column.any()}
            )
            crossing = positions(self._codes, [(source,) for source in sources], overlap=1)
            summed = [(table, number) for number in range(n_outputs) for table in self._tables_to_sum(number)]
            tables = [*self._encoded_tables(), *(table for table, _ in summed)]
            columns, entries = self._look_up(codes, crossing, tables)
            if sources:
                matrix = graph.constant(self._crossing_by_position(sources, crossing), np.float64)
                products = graph.node("GatherElements", graph.node("MatMul", numbers, matrix), columns, axis=1)
                doubles.append((products, np.ones((len(sources), 1))))
            if summed:
                weights = np.zeros((len(tables), n_outputs))
                weights[np.arange(len(self._encoded), len(tables)), [number for _, number in summed]] = 1
                singles.append((entries, weights))
            if self._encoded:
                features = graph.join([features, *self._for_trees(entries, len(tables))])
        if self._trees:
            singles.append((self._write_trees(features), np.eye(n_outputs)))
        if singles:
            cast = graph.double(graph.join([name for name, _ in singles]))
            doubles.append((cast, np.concatenate([weights for _, weights in singles])))
        if not doubles:
            # A constant takes its number of rows from a column, whatever its values are.
            column = graph.node("IsNaN", graph.pick("X", [0]))
            doubles.append((graph.double(column), np.zeros((1, n_outputs))))
        weights = np.concatenate([weights for _, weights in doubles])
        summands = graph.join([name for name, _ in doubles])
        shifts = [terms.constant for terms in self._terms]
        constants = graph.constant(weights, np.float64), graph.constant(shifts, np.float64)
        last = "" if LINKS[link] else "y"
        found = graph.node("Gemm", summands, *constants, name="" if self._inner else last)
        if self._inner:
            found = self._add_probabilities(found, last)
        for position, (kind, beside) in enumerate(LINKS[link], start=1):
            inputs = [found] if beside is None else [found, graph.constant(beside, np.float64)]
            found = graph.node(kind, *inputs, name="y" if position == len(LINKS[link]) else "")
        return graph.model(self._n_features, self._n_outputs)

    def _add_probabilities(self, found: str, name: str) -> str:
        """Add the probabilities of the classifiers inside the estimator to its own outputs."""
        graph = self._graph
        binary = sum(len(log_odds) == 1 for log_odds in self._inner)
        own, one, *several = graph.split(
            found, self._n_outputs, binary, *(len(log_odds) for log_odds in self._inner[binary:])
        )
        parts = [graph.node("Sigmoid", one)] if binary else []
        parts += [graph.node("Softmax", part, axis=1) for part in several]
        start = {id(log_odds): sum(map(len, self._inner[:number])) for number, log_odds in enumerate(self._inner)}
        weights = np.zeros((len(self._terms) - self._n_outputs, self._n_outputs))
        for number, terms in enumerate(self._terms[: self._n_outputs]):
            for base, coefficient in terms.linear.items():
                if isinstance(base, Probability):
                    weights[start[id(base.log_odds)] + base.place, number] += coefficient
        return graph.node("Gemm", graph.join(parts), graph.constant(weights, np.float64), own, name=name)

    def _impute(self) -> str:
        """Impute the raw columns; a missing code that has no imputed value becomes an unknown code."""
        sources = self._slots.sources
        matrix = "X" if len(sources) == self._n_features else self._graph.pick("X", sources)
        fills = np.where(np.isneginf(self._slots.fills), np.nan, self._slots.fills)
        for source, codes in self._codes.items():
            if np.isnan(fills[source]):
                fills[source] = codes.low
        if np.isnan(fills).all():
            return matrix
        return self._graph.node(
            "Imputer", matrix, domain=ML, imputed_value_floats=fills.tolist(), replaced_value_float=math.nan
        )

    def _clip(self, features: str) -> tuple[str, str]:
        """Clip numbers and codes to their ranges; return numbers as float64 and codes as float32."""
        graph, clipped, numbers = self._graph, "", []
        ends = [(base.low, base.high) for base in self._clipped]
        ends += [(codes.low, codes.high) for codes in self._codes.values()]
        ends += [(base.low, base.high) for base in self._shaped]
        if ends:
            sources = (base.source for base in self._clipped), self._codes, (base.source for base in self._shaped)
            clipped = graph.pick(features, [*itertools.chain(*sources)])
            for kind, limits in zip(("Max", "Min"), np.array(ends).T, strict=True):
                if np.isfinite(limits).any():
                    clipped = graph.node(kind, clipped, graph.constant(limits, np.float32))
        clipped, codes, shaped = graph.split(clipped, len(self._clipped), len(self._codes), len(self._shaped))
        if self._clipped:
            numbers.append(graph.double(clipped))
        if self._steps:
            edges = graph.constant(_rounded([step.edge for step in self._steps], up=True), np.float32)
            picked = graph.pick(features, [step.source for step in self._steps])
            numbers.append(graph.double(graph.node("GreaterOrEqual", picked, edges)))
        if self._missing:
            numbers.append(graph.double(graph.node("IsNaN", graph.pick("X", [base.source for base in self._missing]))))
        if self._shaped:
            numbers += self._shapes(graph.double(shaped))
        return graph.join(numbers) if numbers else "", codes

    def _shapes(self, matrix: str) -> list[str]:
        """Functions of single numbers, shape by shape."""
        graph = self._graph
        scales = graph.constant([base.scale for base in self._shaped], np.float64)
        shifts = graph.constant([base.shift for base in self._shaped], np.float64)
        matrix = graph.node("Add", graph.node("Mul", matrix, scales), shifts)
        sizes = Counter(base.shape for base in self._shaped)
        found = []
        for (shape, _), part in zip(sizes.items(), graph.split(matrix, *sizes.values()), strict=True):
            result = part
            for kind, twice in SHAPES[shape]:
                result = graph.node(kind, result, part) if twice else graph.node(kind, result)
            found.append(result)
        return found

    def _look_up(
        self, codes: str, crossing: tuple[_Numbers, _Numbers, int], tables: Sequence[tuple[Group, _Numbers]]
    ) -> tuple[str, str]:
        """Return the positions of the products of numbers and levels, shape (n_rows, n_crossing), and table entries."""
        graph = self._graph
        found = crossing, positions(self._codes, [group for group, _ in tables])
        matrix, offsets = (np.concatenate([part[number] for part in found], axis=-1) for number in (0, 1))
        constants = graph.constant(matrix, np.float32), graph.constant(offsets, np.float32)
        index = graph.node("Cast", graph.node("Gemm", codes, *constants), to=TensorProto.INT32)
        columns, entries = graph.split(index, len(crossing[1]), len(tables))
        if tables:
            values = graph.constant(np.concatenate([table.ravel() for _, table in tables]), np.float32)
            # In one dimension, and so in less than half the time that Gather takes for single numbers.
            flat = graph.node("Reshape", entries, graph.constant([-1], np.int64))
            found_values = graph.node("GatherElements", values, flat, axis=0)
            entries = graph.node("Reshape", found_values, graph.constant([-1, len(tables)], np.int64))
        return columns, entries

    def _for_trees(self, entries: str, n_tables: int) -> list[str]:
        """Entries that trees take as inputs, the last ones with values of their own for what is missing."""
        graph = self._graph
        apart = [column for column in self._encoded.values() if _has_own_missing(column)]
        if not apart:
            return [entries]
        n_shared = len(self._encoded) - len(apart)
        shared, found, _ = graph.split(entries, n_shared, len(apart), n_tables - len(self._encoded))
        missing = graph.node("IsNaN", graph.pick("X", [self._slots.sources[column.source] for column in apart]))
        values = graph.constant([column.missing for column in apart], np.float32)
        return [*([shared] if n_shared else []), graph.node("Where", missing, values, found)]

    def _encoded_tables(self) -> Iterator[tuple[Group, _Numbers]]:
        """Yield the tables that trees take as inputs."""
        for column in self._encoded.values():
            codes = self._codes[column.source]
            table = np.full(codes.size, column.other)
            for code, value in column.values.items():
                table[codes[code]] = value
            yield (column.source,), table

    def _tables_to_sum(self, output: int) -> Iterator[tuple[Group, _Numbers]]:
        """Yield the tables with the coefficients of levels and of pairs of levels, each coefficient in one table."""
        codes, among_levels = self._codes, self._among_levels[output]
        pairs: dict[tuple[int, int], list[tuple[Level, Level, float]]] = {}
        singles: dict[int, list[tuple[Level, float]]] = {}
        for row, column in np.argwhere(among_levels).tolist():
            one, other, coefficient = self._levels[row], self._levels[column], among_levels[row, column]
            if row == column:
                singles.setdefault(one.source, []).append((one, coefficient))
            elif one.source < other.source:
                # The matrix is symmetric, and no row has two levels of one category.
                pairs.setdefault((one.source, other.source), []).append((one, other, 2 * coefficient))
        for group in cover(pairs, singles, {source: known.size for source, known in codes.items()}):
            table = np.zeros([codes[source].size for source in group])
            for source in group:
                for level, coefficient in singles.pop(source, []):
                    _where(table, group, codes, level)[...] += coefficient
            for pair in combinations(group, 2):
                for one, other, coefficient in pairs.pop(pair, []):
                    _where(table, group, codes, one, other)[...] += coefficient
            yield group, table

    def _crossing_by_position(self, sources: Sequence[int], crossing: tuple[_Numbers, _Numbers, int]) -> _Numbers:
        """Return the coefficients of numbers times levels, shape (n_numbers, n_positions).

        The first and the last position of a category are for unknown codes and have no coefficient, so that
        neighbouring categories can share them.
        """
        _, offsets, n_positions = crossing
        start = dict(zip(sources, offsets.astype(np.int64).tolist(), strict=True))
        matrix = np.zeros((len(self._crossing), n_positions))
        for level, column in zip(self._levels, self._crossing.T, strict=True):
            if level.source in start:
                matrix[:, start[level.source] + level.code] = column
        return matrix

    def _write_trees(self, features: str) -> str:
        """Write the sums of the trees, float32, shape (n_rows, n_outputs)."""
        trees = [tree for tree, _ in self._trees.values()]
        place = {key: len(self._slots.sources) + number for number, key in enumerate(self._encoded)}
        nodes = [
            (number, node, column) for number, tree in enumerate(trees) for node, column in enumerate(tree.columns)
        ]
        leaves = [
            (number, node, output, float(more[node]))
            for number, (tree, values) in enumerate(self._trees.values())
            for node, column in enumerate(tree.columns)
            if column is None
            for output, more in values.items()
        ]
        attributes: dict[str, Any] = {
            "nodes_treeids": [number for number, _, _ in nodes],
            "nodes_nodeids": [node for _, node, _ in nodes],
            "nodes_featureids": [
                place.get(_key(column), column.source) if isinstance(column, Number | Table) else 0
                for _, _, column in nodes
            ],
            "nodes_modes": ["LEAF" if column is None else "BRANCH_LEQ" for _, _, column in nodes],
            "nodes_values": _rounded(np.concatenate([tree.thresholds for tree in trees]), up=False).tolist(),
            "nodes_truenodeids": np.concatenate([tree.left for tree in trees]).clip(0).tolist(),
            "nodes_falsenodeids": np.concatenate([tree.right for tree in trees]).clip(0).tolist(),
            "target_treeids": [number for number, _, _, _ in leaves],
            "target_nodeids": [node for _, node, _, _ in leaves],
            "target_ids": [output for _, _, output, _ in leaves],
            "target_weights": [value for _, _, _, value in leaves],
        }
        if np.isneginf(self._slots.fills).any():
            missing = np.concatenate([tree.missing_left for tree in trees])
            attributes["nodes_missing_value_tracks_true"] = missing.astype(int).tolist()
        return self._graph.node("TreeEnsembleRegressor", features, domain=ML, n_targets=len(self._terms), **attributes)


def _aligned(bases: Sequence[Simple], matrix: _Numbers, order: Sequence[Simple]) -> _Numbers:
    """A matrix of ``bases`` as one of those in ``order``, 0 for others."""
    place = {base: number for number, base in enumerate(bases)}
    known = np.array([place.get(base, len(bases)) for base in order], np.int64)
    aligned: _Numbers = np.pad(matrix, (0, 1))[np.ix_(known, known)]
    return aligned


def _where(table: _Numbers, group: Group, codes: Mapping[int, Codes], *levels: Level) -> _Numbers:
    """Return a view of the entries of a group's table that belong to ``levels``."""
    chosen = {level.source: codes[level.source][level.code] for level in levels}
    part: _Numbers = table[(*(chosen.get(source, slice(None)) for source in group), ...)]
    return part


def _has_own_missing(column: Table) -> bool:
    return column.missing not in (None, column.other)


def _key(column: Column | None) -> Any:
    """What makes tables equal; ``None`` for no table."""
    if not isinstance(column, Table):
        return None
    missing = column.missing if _has_own_missing(column) else None
    return column.source, tuple(sorted(column.values.items())), column.other, missing


def _rounded(values: Sequence[float] | _Numbers, *, up: bool) -> NDArray[np.float32]:
    """Round to float32 such that comparisons of float32 numbers with the result are those with ``values``."""
    exact = np.asarray(values, np.float64)
    rounded = exact.astype(np.float32)
    wrong = rounded < exact if up else rounded > exact
    return np.where(wrong, np.nextafter(rounded, np.float32(np.inf if up else -np.inf)), rounded)
