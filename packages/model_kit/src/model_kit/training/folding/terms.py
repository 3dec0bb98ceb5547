"""Represents a fitted estimator as functions of single raw columns, and sums of them.

Preprocessing works column by column, so that each input of an estimator is a function of *one* raw column: a number
that is clipped and scaled (:class:`Number`), a constant between edges (:class:`Steps`), or a value for each code
(:class:`Table`). Each of these is a sum of **bases** with coefficients. Therefore a linear or quadratic function of
such columns is also a linear or quadratic function of the bases.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_kit.errors import CannotFoldError
from model_kit.records.vectorizer import Block


# No named tuples: as tuples, a step and a level with the same numbers would be equal.
@dataclass(frozen=True, order=True, slots=True)
class Clipped:
    """Base: a raw column, clipped."""

    source: int
    low: float
    high: float


@dataclass(frozen=True, order=True, slots=True)
class Step:
    """Base: 1 where a raw column is at least ``edge``, else 0."""

    source: int
    edge: float


@dataclass(frozen=True, order=True, slots=True)
class Level:
    """Base: 1 where a raw column is ``code``, else 0."""

    source: int
    code: int


@dataclass(frozen=True, order=True, slots=True)
class Gram:
    """Base: the value of an n-gram in the vector that one of several vectorizers makes of a text."""

    source: int
    block: int
    place: int


#: What scikit-learn computes of a column: ``x * a + b`` ("scale"), ``(x - a) / b`` ("standardize"), clip from a to b.
Operation: TypeAlias = tuple[Literal["scale", "standardize", "clip"], float, float]
Base: TypeAlias = Clipped | Step | Level | Gram
#: Coefficients of bases, and a constant.
Combination: TypeAlias = tuple[dict[Base, float], float]


@dataclass(frozen=True)
class Number:
    """``scale * clip(x, low, high) + shift`` of the raw column x = ``source``, with ``fill`` for a missing x.

    ``fill`` is NaN where nothing is imputed. ``operations`` are those that scikit-learn computes, in order, so that a
    threshold of a tree behind them has an exact equivalent for the raw column.
    """

    source: int
    fill: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    shift: float = 0.0
    operations: tuple[Operation, ...] = ()

    @property
    def raw(self) -> bool:
        """Whether no transformer but an imputer was applied."""
        # ``fill`` may be NaN, which equals nothing, so that whole columns are not compared.
        return (self.low, self.high, self.scale, self.shift) == (-math.inf, math.inf, 1.0, 0.0)

    def affine(self, scale: float, shift: float, operation: Operation | None = None) -> Number:
        """``scale`` times the column, plus ``shift``, as computed by ``operation``."""
        operations = (*self.operations, operation or ("scale", scale, shift))
        return replace(self, scale=self.scale * scale, shift=self.shift * scale + shift, operations=operations)

    def clip(self, low: float, high: float) -> Column:
        """The column with values below ``low`` taken as ``low``, and above ``high`` as ``high``."""
        operations: tuple[Operation, ...] = (*self.operations, ("clip", low, high))
        if self.scale == 0:
            return replace(self, shift=min(max(self.shift, low), high), operations=operations)
        low, high = sorted(((low - self.shift) / self.scale, (high - self.shift) / self.scale))
        low, high = min(max(self.low, low), high), min(max(self.high, low), high)
        return replace(self, low=low, high=high, operations=operations)

    def impute(self, fill: float) -> Column:
        """The column with ``fill`` for missing values; unchanged if it was imputed before."""
        if not self.raw:
            raise CannotFoldError("imputation behind another transformer")
        return self if not math.isnan(self.fill) else replace(self, fill=float(np.float32(fill)))

    def lookup(self, values: Mapping[float, float], other: float) -> Column:
        """``values`` of the column's value, ``other`` where it has none; the raw column is taken for whole numbers."""
        if not self.raw:
            raise CannotFoldError("categories of a column that was scaled before")
        if not all(float(value).is_integer() for value in values):
            raise CannotFoldError("categories that are no whole numbers")
        if not math.isnan(self.fill) and not self.fill.is_integer():
            raise CannotFoldError(f"categories that are imputed with {self.fill}")
        return Table(self.source, self.fill, {int(value): float(result) for value, result in values.items()}, other)

    def cut(self, edges: Sequence[float]) -> Column:
        """How many of the ascending ``edges`` are at or below the column's value."""
        if not self.raw:
            raise CannotFoldError("bins of a column that was scaled before")
        return Steps(self.source, self.fill, tuple(edges), tuple(range(len(edges) + 1)))

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        return {Clipped(self.source, self.low, self.high): self.scale}, self.shift


class _Discrete(ABC):
    """Base of columns with finitely many values: a function of one is such a column again."""

    @abstractmethod
    def map(self, function: Callable[[float], float]) -> Column:
        """A function of the column."""

    def affine(self, scale: float, shift: float, operation: Operation | None = None) -> Column:
        return self.map(lambda value: value * scale + shift)

    def clip(self, low: float, high: float) -> Column:
        return self.map(lambda value: min(max(value, low), high))

    def impute(self, fill: float) -> Column:
        return self.map(lambda value: fill if math.isnan(value) else value)

    def lookup(self, values: Mapping[float, float], other: float) -> Column:
        return self.map(lambda value: values.get(value, other))

    def cut(self, edges: Sequence[float]) -> Column:
        return self.map(lambda value: bisect_right(edges, value))


@dataclass(frozen=True)
class Steps(_Discrete):
    """``values[k]`` where k of the ascending ``edges`` are at or below the raw column ``source``."""

    source: int
    fill: float
    edges: tuple[float, ...]
    values: tuple[float, ...]

    def map(self, function: Callable[[float], float]) -> Steps:
        """A function of the column."""
        return replace(self, values=tuple(function(value) for value in self.values))

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        steps = np.diff(self.values).tolist()
        return {Step(self.source, edge): step for edge, step in zip(self.edges, steps, strict=True)}, self.values[0]


@dataclass(frozen=True)
class Table(_Discrete):
    """``values`` of the code in the raw column ``source``; ``other`` for a code that has none."""

    source: int
    fill: float
    values: Mapping[int, float]
    other: float

    def map(self, function: Callable[[float], float]) -> Table:
        """A function of the column."""
        values = {code: function(value) for code, value in self.values.items()}
        return replace(self, values=values, other=function(self.other))

    def has_missing(self) -> bool:
        """Whether one of the values is missing."""
        return any(math.isnan(value) for value in (*self.values.values(), self.other))

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        if self.has_missing():
            raise CannotFoldError("a level that becomes a missing number")
        return {Level(self.source, code): value - self.other for code, value in self.values.items()}, self.other


@dataclass(frozen=True)
class Mixture:
    """A linear combination of columns, ``sum(weights * columns) + shift``, which only linear functions can take."""

    columns: tuple[Column, ...]
    weights: tuple[float, ...]
    shift: float

    def affine(self, scale: float, shift: float, operation: Operation | None = None) -> Mixture:
        """``scale`` times the column, plus ``shift``."""
        weights = tuple(weight * scale for weight in self.weights)
        return replace(self, weights=weights, shift=self.shift * scale + shift)

    def _refuse(self, *_: object) -> Column:
        raise CannotFoldError("a transformer that is not linear behind a projection")

    clip = impute = lookup = cut = _refuse

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        total: dict[Base, float] = {}
        constant = self.shift
        for column, weight in zip(self.columns, self.weights, strict=True):
            bases, shift = column.combination()
            constant += weight * shift
            for base, factor in bases.items():
                total[base] = total.get(base, 0.0) + weight * factor
        return total, constant


@dataclass(frozen=True)
class Texts:
    """A raw column of codes that an estimator sees as texts: ``values`` of the codes, ``other`` of one that has none.

    A missing text is ``None``.
    """

    source: int
    values: Mapping[int, str | None]
    other: str
    fill: float = math.nan

    def impute(self, fill: object) -> Texts:
        """The column with the text ``fill`` for missing ones."""
        return replace(self, values={code: str(fill) if text is None else text for code, text in self.values.items()})

    def lookup(self, values: Mapping[Any, float], other: float) -> Table:
        """``values`` of the column's text, ``other`` where it has none."""
        found = {code: values.get(text, other) for code, text in self.values.items()}
        return Table(self.source, self.fill, found, values.get(self.other, other))

    def _refuse(self, *_: object) -> Column:
        raise CannotFoldError("texts where numbers are computed with")

    affine = clip = cut = _refuse

    def combination(self) -> Combination:
        """Refused: a text is no number."""
        raise CannotFoldError("texts where numbers are computed with")


@dataclass(frozen=True, eq=False)
class Words:
    """The column of a text; vectorizers add their blocks, without weights yet."""

    source: int
    blocks: list[Block] = field(default_factory=list)

    def _refuse(self, *_: object) -> Column:
        raise CannotFoldError("a text where numbers are computed with; a vectorizer has to come first")

    affine = clip = impute = lookup = cut = _refuse

    def combination(self) -> Combination:
        """Refused: a text is no number."""
        raise CannotFoldError("a text where numbers are computed with; a vectorizer has to come first")


@dataclass(frozen=True)
class GramColumn:
    """``scale`` times the value of an n-gram in a vectorizer's vector, plus ``shift``."""

    words: Words
    block: int
    place: int
    scale: float = 1.0
    shift: float = 0.0

    @property
    def source(self) -> int:
        """Position of the text."""
        return self.words.source

    def affine(self, scale: float, shift: float, operation: object = None) -> GramColumn:
        """``scale`` times the column, plus ``shift``."""
        return replace(self, scale=self.scale * scale, shift=self.shift * scale + shift)

    def _refuse(self, *_: object) -> Column:
        raise CannotFoldError("a transformer of words that is not linear")

    clip = impute = lookup = cut = _refuse

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        return {Gram(self.source, self.block, self.place): self.scale}, self.shift


Column: TypeAlias = Number | Steps | Table | Mixture | Texts | Words | GramColumn


@dataclass(frozen=True, eq=False)
class Tree:
    """A regression tree: a row goes left at node k if column ``columns[k]`` is at most ``thresholds[k]``.

    Attributes:
        columns: the column that a node compares; ``None`` for a leaf.
        thresholds: compared in float64 with the column in float32.
        left, right: positions of the child nodes.
        missing_left: whether a missing value goes left.
        single: the estimator compares in float32, otherwise in float64.
        values: of the leaves, shape (n_nodes,); or for several outputs, shape (n_nodes, n_outputs).
    """

    columns: tuple[Column | None, ...]
    thresholds: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    values: NDArray[np.float64]
    single: bool = True


@dataclass
class Terms:
    """A sum of a constant, linear and quadratic functions of bases, and trees, to which folding rules add.

    Attributes:
        constant: the constant.
        linear: coefficients.
        quadratics: bases b and a matrix A each, for b'Ab.
        trees: trees, with the values of their leaves multiplied by their weight in the sum.
        fills: raw column -> imputed value; NaN if nothing is imputed.
    """

    constant: float = 0.0
    linear: dict[Base, float] = field(default_factory=dict)
    quadratics: list[tuple[list[Base], NDArray[np.float64]]] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    fills: dict[int, float] = field(default_factory=dict)

    def add_linear(self, columns: Sequence[Column], coefficients: ArrayLike, constant: float) -> None:
        """Add ``coefficients @ columns + constant``.

        Args:
            columns: the columns of the coefficients.
            coefficients: shape (n_columns,).
            constant: added once.
        """
        self.constant += constant
        for column, coefficient in zip(columns, np.asarray(coefficients, np.float64).tolist(), strict=True):
            if coefficient == 0:
                continue
            self._fill(column)
            bases, shift = column.combination()
            self.constant += coefficient * shift
            for base, factor in bases.items():
                self.linear[base] = self.linear.get(base, 0.0) + coefficient * factor

    def add_quadratic(self, columns: Sequence[Column], matrix: NDArray[np.float64]) -> None:
        """Add x'Ax of the columns x; A = ``matrix``, shape (n_columns, n_columns)."""
        combinations = [column.combination() for column in columns]
        for column in columns:
            self._fill(column)
        position: dict[Base, int] = {}
        for bases, _ in combinations:
            for base in bases:
                position.setdefault(base, len(position))
        # The columns are T b + s, so x'Ax = b'(T'AT)b + s'(A + A')T b + s'As.
        transform = np.zeros((len(columns), len(position)))
        for row, (bases, _) in enumerate(combinations):
            for base, factor in bases.items():
                transform[row, position[base]] = factor
        shift = np.array([constant for _, constant in combinations])
        both = matrix + matrix.T
        self.quadratics.append((list(position), transform.T @ matrix @ transform))
        for base, coefficient in zip(position, (shift @ both @ transform).tolist(), strict=True):
            self.linear[base] = self.linear.get(base, 0.0) + coefficient
        self.constant += float(shift @ matrix @ shift)

    def add_tree(self, tree: Tree) -> None:
        """Add a tree; thresholds of scaled columns become those of the raw ones.

        Raises:
            CannotFoldError: it compares a binned column or a combination of several.
        """
        columns = list(tree.columns)
        thresholds = np.array(tree.thresholds, np.float64)
        scaled: dict[int, tuple[Number, list[int]]] = {}
        for node, column in enumerate(columns):
            if column is None:
                continue
            if isinstance(column, Steps | Mixture):
                raise CannotFoldError("trees behind bins or a projection")
            if isinstance(column, Texts | Words):
                raise CannotFoldError("trees of texts")
            if isinstance(column, GramColumn):
                raise CannotFoldError("trees of single words")
            if isinstance(column, Table) and column.has_missing():
                columns[node] = column.map(_goes_right(thresholds[node], missing_left=tree.missing_left[node]))
                thresholds[node] = 0.5
            if isinstance(column, Number) and not column.raw:
                scaled.setdefault(id(column), (column, []))[1].append(node)
                columns[node] = Number(column.source, column.fill)
            self._fill(column)
        for column, nodes in scaled.values():
            thresholds[nodes] = _raw_thresholds(column, thresholds[nodes], single=tree.single)
        self.trees.append(replace(tree, columns=tuple(columns), thresholds=thresholds))

    def add(self, other: Terms) -> None:
        """Add other terms."""
        self.constant += other.constant
        for base, coefficient in other.linear.items():
            self.linear[base] = self.linear.get(base, 0.0) + coefficient
        self.quadratics += other.quadratics
        self.trees += other.trees
        self.add_fills(other)

    def add_fills(self, other: Terms) -> None:
        """Take over what other terms impute.

        Raises:
            CannotFoldError: a column is imputed in two ways.
        """
        for source, fill in other.fills.items():
            self._fill(Number(source, fill))

    def quadratic(self) -> tuple[list[Base], NDArray[np.float64]]:
        """Return the sum of all quadratic functions: bases b and a symmetric matrix A, for b'Ab."""
        bases = sorted({base for some, _ in self.quadratics for base in some}, key=_order)
        position = {base: index for index, base in enumerate(bases)}
        total = np.zeros((len(bases), len(bases)))
        for some, matrix in self.quadratics:
            where = np.array([position[base] for base in some])
            total[np.ix_(where, where)] += (matrix + matrix.T) / 2
        return bases, total

    def _fill(self, column: Column) -> None:
        if isinstance(column, GramColumn | Words):
            return
        if isinstance(column, Mixture):
            for part in column.columns:
                self._fill(part)
            return
        known = self.fills.setdefault(column.source, column.fill)
        if known != column.fill and not (math.isnan(known) and math.isnan(column.fill)):
            raise CannotFoldError(f"column {column.source} is imputed in two ways")


def _goes_right(threshold: float, *, missing_left: bool) -> Callable[[float], float]:
    """1 for a value that goes right at a node, else 0."""
    return lambda value: float(not missing_left if math.isnan(value) else value > threshold)


def _raw_thresholds(column: Number, thresholds: NDArray[np.float64], *, single: bool) -> NDArray[np.float64]:
    """The largest raw numbers, of float32, of which what scikit-learn makes is at most ``thresholds``.

    Found by bisection of all numbers of float32, so that a tree behind a scaler parts every row as scikit-learn does.

    Raises:
        CannotFoldError: the column is constant, or falls where the raw one rises.
    """
    if column.scale <= 0:
        raise CannotFoldError("trees behind a scaler with a factor that is not positive")

    def within(position: NDArray[np.int64]) -> NDArray[np.bool_]:
        with np.errstate(over="ignore"):
            value = _nth_float32(position).astype(np.float64)
            for kind, one, other in column.operations:
                if kind == "scale":
                    value = value * one + other
                elif kind == "standardize":
                    value = (value - one) / other
                else:
                    value = np.clip(value, one, other)
            return np.asarray((value.astype(np.float32) if single else value) <= thresholds)

    # The lowest may be beyond its threshold: then no number is within it.
    low = np.full(len(thresholds), -_N_FLOAT32)
    high = np.full(len(thresholds), _N_FLOAT32)
    while (high - low > 1).any():
        middle = (low + high) // 2
        found = within(middle)
        low, high = np.where(found, middle, low), np.where(found, high, middle)
    return _nth_float32(np.where(within(high), high, low)).astype(np.float64)


#: Positive numbers of float32 that are finite.
_N_FLOAT32: Final = int(np.array(np.finfo(np.float32).max).view(np.int32))


def _nth_float32(position: NDArray[np.int64]) -> NDArray[np.float32]:
    """Numbers of float32 by their position in ascending order; 0 is at 0."""
    magnitude = np.abs(position).astype(np.int32).view(np.float32)
    return np.where(position < 0, -magnitude, magnitude)


def _order(base: Base) -> tuple[str, tuple[float, ...]]:
    return type(base).__name__, astuple(base)
