"""Represents a fitted estimator as functions of single raw columns, and sums of them.

Preprocessing works column by column, so that each input of an estimator is a function of *one* raw column: a number
that is clipped and scaled (:class:`Number`), a constant between edges (:class:`Steps`), or a value for each code
(:class:`Table`). Each of these is a sum of **bases** with coefficients. Therefore a linear or quadratic function of
such columns is also a linear or quadratic function of the bases. What linear functions alone can take, such as
splines, products and predictions of other estimators, is only a sum of bases (:class:`Composite`).
"""

from __future__ import annotations

import itertools
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

#: Imputed value in bases of a column that is not imputed; unlike NaN it equals itself.
NOT_IMPUTED: Final = -math.inf


# No named tuples: as tuples, a step and a level with the same numbers would be equal.
@dataclass(frozen=True, order=True, slots=True)
class Clipped:
    """Base: a raw column, clipped."""

    source: int
    low: float
    high: float
    fill: float = NOT_IMPUTED


@dataclass(frozen=True, order=True, slots=True)
class Step:
    """Base: 1 where a raw column is at least ``edge``, else 0."""

    source: int
    edge: float
    fill: float = NOT_IMPUTED


@dataclass(frozen=True, order=True, slots=True)
class Level:
    """Base: 1 where a raw column is ``code``, else 0."""

    source: int
    code: int
    fill: float = NOT_IMPUTED


@dataclass(frozen=True, order=True, slots=True)
class Missing:
    """Base: 1 where a raw column is missing, else 0."""

    source: int


#: Functions of a number that have a node in the graph, see :data:`~model_kit.training.folding.graph.SHAPES`.
Shape: TypeAlias = Literal["identity", "square", "cube", "log", "sqrt", "exp"]


@dataclass(frozen=True, order=True, slots=True)
class Shaped:
    """Base: ``shape(scale * x + shift)`` of a raw column x, clipped."""

    source: int
    low: float
    high: float
    fill: float
    scale: float
    shift: float
    shape: Shape


@dataclass(frozen=True, order=True, slots=True)
class Gram:
    """Base: the value of an n-gram in the vector that one of several vectorizers makes of a text."""

    source: int
    block: int
    place: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Base: the product of two."""

    one: Simple
    other: Simple


@dataclass(frozen=True, eq=False, slots=True)
class Probability:
    """Base: a probability that a classifier inside another estimator makes of log-odds.

    Attributes:
        log_odds: its outputs, one of two classes; the same object for each of its probabilities.
        place: position of the class; of two classes the only one is that of the second.
    """

    log_odds: tuple[Terms, ...]
    place: int


@dataclass(frozen=True, eq=False, slots=True)
class Sum:
    """Base: other terms, which :meth:`Terms.add_linear` takes in."""

    terms: Terms


#: What scikit-learn computes of a column: ``x * a + b`` ("scale"), ``(x - a) / b`` ("standardize"), clip from a to b.
Operation: TypeAlias = tuple[Literal["scale", "standardize", "clip"], float, float]
#: Bases of one raw column.
Simple: TypeAlias = Clipped | Step | Level | Missing | Shaped | Gram
Base: TypeAlias = Simple | Pair | Probability | Sum
#: Coefficients of bases, and a constant.
Combination: TypeAlias = tuple[dict[Base, float], float]


@dataclass(frozen=True)
class Number:
    """``scale * clip(x, low, high) + shift`` of the raw column x = ``source``, with ``fill`` for a missing x.

    ``fill`` is NaN where nothing is imputed; ``missing`` is the value that the column has for a missing x where it was
    imputed behind another transformer, else NaN. ``operations`` are those that scikit-learn computes, in order, so
    that a threshold of a tree behind them has an exact equivalent for the raw column.
    """

    source: int
    fill: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    shift: float = 0.0
    operations: tuple[Operation, ...] = ()
    missing: float = math.nan

    @property
    def raw(self) -> bool:
        """Whether no transformer but an imputer was applied."""
        # ``fill`` may be NaN, which equals nothing, so that whole columns are not compared.
        return (self.low, self.high, self.scale, self.shift) == (-math.inf, math.inf, 1.0, 0.0)

    def affine(self, scale: float, shift: float, operation: Operation | None = None) -> Number:
        """``scale`` times the column, plus ``shift``, as computed by ``operation``."""
        operations = (*self.operations, operation or ("scale", scale, shift))
        return replace(
            self,
            scale=self.scale * scale,
            shift=self.shift * scale + shift,
            operations=operations,
            missing=self.missing * scale + shift,
        )

    def clip(self, low: float, high: float) -> Column:
        """The column with values below ``low`` taken as ``low``, and above ``high`` as ``high``."""
        operations: tuple[Operation, ...] = (*self.operations, ("clip", low, high))
        missing = min(max(self.missing, low), high)
        if self.scale == 0:
            return replace(self, shift=min(max(self.shift, low), high), operations=operations, missing=missing)
        low, high = sorted(((low - self.shift) / self.scale, (high - self.shift) / self.scale))
        low, high = min(max(self.low, low), high), min(max(self.high, low), high)
        return replace(self, low=low, high=high, operations=operations, missing=missing)

    def impute(self, fill: float) -> Column:
        """The column with ``fill`` for missing values; unchanged if it was imputed before."""
        if not (math.isnan(self.fill) and math.isnan(self.missing)):
            return self
        return replace(self, fill=float(np.float32(fill))) if self.raw else replace(self, missing=float(fill))

    def is_missing(self) -> Column:
        """1 where the column is missing, else 0."""
        return Gap(self.source, 0.0, float(math.isnan(self.fill) and math.isnan(self.missing)))

    def lookup(self, values: Mapping[float, float], other: float) -> Column:
        """``values`` of the column's value, ``other`` where it has none; the raw column is taken for whole numbers.

        ``values`` of NaN is that of a missing number.
        """
        if not self.raw:
            raise CannotFoldError("categories of a column that was scaled before")
        missing = next((result for value, result in values.items() if math.isnan(value)), None)
        values = {value: result for value, result in values.items() if not math.isnan(value)}
        if not all(float(value).is_integer() for value in values):
            raise CannotFoldError("categories that are no whole numbers")
        if not math.isnan(self.fill) and not self.fill.is_integer():
            raise CannotFoldError(f"categories that are imputed with {self.fill}")
        known = {int(value): float(result) for value, result in values.items()}
        return Table(self.source, self.fill, known, other, missing if math.isnan(self.fill) else None)

    def cut(self, edges: Sequence[float]) -> Column:
        """How many of the ascending ``edges`` are at or below the column's value."""
        self._require_no_late_imputation()
        if not self.raw:
            below = np.nextafter(np.array(edges, np.float64), -np.inf)
            raw = _raw_thresholds(self, below, single=False).astype(np.float32)
            edges = np.nextafter(raw, np.float32(np.inf)).astype(np.float64).tolist()
        return Steps(self.source, self.fill, tuple(edges), tuple(range(len(edges) + 1)))

    def shaped(self, shape: Shape, shift: float = 0.0) -> Composite:
        """``shape(column + shift)``."""
        self._require_no_late_imputation()
        shift += self.shift
        return Composite({Shaped(self.source, self.low, self.high, _base_fill(self), self.scale, shift, shape): 1.0})

    def piecewise(self, knots: NDArray[np.float64], pieces: NDArray[np.float64]) -> list[Composite]:
        """Continuous functions of the column that are polynomials between knots, and constant where those are.

        Between two of float32 the knots move to the next one, and the polynomials are expanded there, so that the
        functions change by no more than a polynomial and its neighbour differ by on that way.

        Args:
            knots: ascending, shape (n_pieces + 1,); the first and the last may be infinite.
            pieces: coefficients of the powers from 0 of what the column is beyond a piece's first knot, or its second
                where the first is infinite; shape (n_functions, n_pieces, 4).

        Raises:
            CannotFoldError: two knots are too near for float32, or the column falls where the raw one rises.
        """
        self._require_no_late_imputation()
        if self.scale <= 0:
            raise CannotFoldError("splines behind a scaler with a factor that is not positive")
        raw = ((knots - self.shift) / self.scale).astype(np.float32).astype(np.float64)
        if not (np.diff(raw) > 0).all():
            raise CannotFoldError("knots of a spline that float32 cannot tell apart")
        moved = self.scale * raw + self.shift
        bases: list[dict[Base, float]] = [{} for _ in pieces]
        shifts = [0.0] * len(pieces)
        for number, (low, high) in enumerate(itertools.pairwise(raw.tolist())):
            end = number if math.isfinite(low) else number + 1
            bottom, top = (min(max(limit, low), high) for limit in (self.low, self.high))
            shift = self.shift - float(moved[end])
            expanded = _expanded(pieces[:, number], float(moved[end] - knots[end]))
            for function, coefficients in enumerate(expanded.tolist()):
                if number == 0:
                    # The value at the first finite knot; each piece adds what it changes.
                    shifts[function] = coefficients[0]
                for shape, coefficient in zip(_POWERS, coefficients[1:], strict=True):
                    if coefficient:
                        base = Shaped(self.source, bottom, top, _base_fill(self), self.scale, shift, shape)
                        bases[function][base] = coefficient
        return [Composite(some, shift) for some, shift in zip(bases, shifts, strict=True)]

    def _require_no_late_imputation(self) -> None:
        if not math.isnan(self.missing):
            raise CannotFoldError("imputation between a scaler and a transformer that is not linear")

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        if math.isnan(self.missing):
            return {Clipped(self.source, self.low, self.high, _base_fill(self)): self.scale}, self.shift
        # What is missing is 0, and gets what it differs from that by.
        at_zero = self.scale * min(max(0.0, self.low), self.high) + self.shift
        number = Clipped(self.source, self.low, self.high, 0.0)
        return {number: self.scale, Missing(self.source): self.missing - at_zero}, self.shift


#: Shapes of the powers from 1.
_POWERS: Final[Sequence[Shape]] = ("identity", "square", "cube")


def _expanded(coefficients: NDArray[np.float64], origin: float) -> NDArray[np.float64]:
    """Coefficients of the powers of u of polynomials of ``u + origin``, both of shape (n_functions, 4)."""
    constant, linear, square, cube = coefficients.T
    return np.stack(
        [
            constant + origin * (linear + origin * (square + origin * cube)),
            linear + origin * (2 * square + 3 * origin * cube),
            square + 3 * origin * cube,
            cube,
        ],
        axis=1,
    )


def _base_fill(column: Number | Steps | Table) -> float:
    return NOT_IMPUTED if math.isnan(column.fill) else column.fill


class Discrete(ABC):
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

    def is_missing(self) -> Column:
        return self.map(lambda value: float(math.isnan(value)))


@dataclass(frozen=True)
class Gap(Discrete):
    """``missing`` where the raw column ``source`` is missing, else ``present``."""

    source: int
    present: float
    missing: float

    def map(self, function: Callable[[float], float]) -> Gap:
        """A function of the column."""
        return Gap(self.source, function(self.present), function(self.missing))

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        return {Missing(self.source): self.missing - self.present}, self.present


@dataclass(frozen=True)
class Steps(Discrete):
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
        bases: dict[Base, float] = {}
        for edge, step in zip(self.edges, steps, strict=True):
            base = Step(self.source, edge, _base_fill(self))
            bases[base] = bases.get(base, 0.0) + step
        return bases, self.values[0]


@dataclass(frozen=True)
class Table(Discrete):
    """``values`` of the code in the raw column ``source``; ``other`` for a code that has none.

    A missing code has the value ``missing``, or ``other`` where that is ``None``.
    """

    source: int
    fill: float
    values: Mapping[int, float]
    other: float
    missing: float | None = None

    def map(self, function: Callable[[float], float]) -> Table:
        """A function of the column."""
        values = {code: function(value) for code, value in self.values.items()}
        missing = None if self.missing is None else function(self.missing)
        return replace(self, values=values, other=function(self.other), missing=missing)

    def has_missing(self) -> bool:
        """Whether one of the values is missing."""
        missing = self.other if self.missing is None else self.missing
        return any(math.isnan(value) for value in (*self.values.values(), self.other, missing))

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        if self.has_missing():
            raise CannotFoldError("a level that becomes a missing number")
        fill = _base_fill(self)
        bases: dict[Base, float] = {
            Level(self.source, code, fill): value - self.other for code, value in self.values.items()
        }
        if self.missing is not None:
            bases[Missing(self.source)] = self.missing - self.other
        return bases, self.other


class _Linear:
    """Base of columns that only linear functions can take."""

    def _refuse(self, *_: object) -> Column:
        raise CannotFoldError("a transformer that is not linear behind a combination of columns")

    clip = impute = lookup = cut = is_missing = _refuse


@dataclass(frozen=True, eq=False)
class Composite(_Linear):
    """A sum of bases with coefficients, and a constant."""

    bases: Mapping[Base, float]
    shift: float = 0.0

    def affine(self, scale: float, shift: float, operation: Operation | None = None) -> Composite:
        """``scale`` times the column, plus ``shift``."""
        bases = {base: coefficient * scale for base, coefficient in self.bases.items()}
        return Composite(bases, self.shift * scale + shift)

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        return dict(self.bases), self.shift


def product(one: Column, other: Column) -> Composite:
    """The product of two columns.

    Raises:
        CannotFoldError: one of them has products or words already.
    """
    (bases, shift), (others, other_shift) = one.combination(), other.combination()
    total: dict[Base, float] = {}
    for some, factor in ((bases, other_shift), (others, shift)):
        for base, coefficient in some.items():
            total[base] = total.get(base, 0.0) + coefficient * factor
    for base, coefficient in bases.items():
        for beside, factor in others.items():
            if isinstance(base, Gram | Pair | Probability | Sum) or isinstance(beside, Gram | Pair | Probability | Sum):
                raise CannotFoldError("products of more than two columns, of words or of predictions")
            pair = Pair(base, beside) if _order(base) <= _order(beside) else Pair(beside, base)
            total[pair] = total.get(pair, 0.0) + coefficient * factor
    return Composite(total, shift * other_shift)


@dataclass(frozen=True)
class Mixture(_Linear):
    """A linear combination of columns, ``sum(weights * columns) + shift``."""

    columns: tuple[Column, ...]
    weights: tuple[float, ...]
    shift: float

    def affine(self, scale: float, shift: float, operation: Operation | None = None) -> Mixture:
        """``scale`` times the column, plus ``shift``."""
        weights = tuple(weight * scale for weight in self.weights)
        return replace(self, weights=weights, shift=self.shift * scale + shift)

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

    def is_missing(self) -> Table:
        """1 where the text is missing, else 0."""
        return self.lookup({None: 1.0}, 0.0)

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

    affine = clip = impute = lookup = cut = is_missing = _refuse

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

    clip = impute = lookup = cut = is_missing = _refuse

    def combination(self) -> Combination:
        """The column as a sum of bases."""
        return {Gram(self.source, self.block, self.place): self.scale}, self.shift


Column: TypeAlias = Number | Steps | Table | Gap | Composite | Mixture | Texts | Words | GramColumn


@dataclass(frozen=True, eq=False)
class Tree:
    """A regression tree: a row goes left at node k if column ``columns[k]`` is at most ``thresholds[k]``.

    Attributes:
        columns: the column that a node compares; ``None`` for a leaf. In terms only raw numbers and tables.
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
    """

    constant: float = 0.0
    linear: dict[Base, float] = field(default_factory=dict)
    quadratics: list[tuple[list[Simple], NDArray[np.float64]]] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)

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
            bases, shift = column.combination()
            self.constant += coefficient * shift
            for base, factor in bases.items():
                if isinstance(base, Sum):
                    self.add(base.terms, coefficient * factor)
                else:
                    self.linear[base] = self.linear.get(base, 0.0) + coefficient * factor

    def add_quadratic(self, columns: Sequence[Column], matrix: NDArray[np.float64]) -> None:
        """Add x'Ax of the columns x; A = ``matrix``, shape (n_columns, n_columns)."""
        combinations = [column.combination() for column in columns]
        position: dict[Simple, int] = {}
        factors: list[tuple[int, int, float]] = []
        for row, (bases, _) in enumerate(combinations):
            for base, factor in bases.items():
                if isinstance(base, Pair | Probability | Sum):
                    raise CannotFoldError("quadratic functions of products or of predictions")
                factors.append((row, position.setdefault(base, len(position)), factor))
        # The columns are T b + s, so x'Ax = b'(T'AT)b + s'(A + A')T b + s'As.
        transform = np.zeros((len(columns), len(position)))
        for row, place, factor in factors:
            transform[row, place] = factor
        shift = np.array([constant for _, constant in combinations])
        both = matrix + matrix.T
        self.quadratics.append((list(position), transform.T @ matrix @ transform))
        for base, coefficient in zip(position, (shift @ both @ transform).tolist(), strict=True):
            self.linear[base] = self.linear.get(base, 0.0) + coefficient
        self.constant += float(shift @ matrix @ shift)

    def add_tree(self, tree: Tree) -> None:
        """Add a tree; thresholds of scaled columns become those of the raw ones.

        Raises:
            CannotFoldError: it compares a combination of several columns, or bins that are in no order.
        """
        columns = list(tree.columns)
        thresholds = np.array(tree.thresholds, np.float64)
        missing_left = np.array(tree.missing_left, np.bool_)
        scaled: dict[int, tuple[Number, list[int]]] = {}
        for node, column in enumerate(columns):
            if isinstance(column, Number):
                if not column.raw:
                    scaled.setdefault(id(column), (column, []))[1].append(node)
                    columns[node] = Number(column.source, column.fill)
                if not math.isnan(column.missing):
                    missing = np.float32(column.missing) if tree.single else column.missing
                    missing_left[node] = missing <= thresholds[node]
            elif isinstance(column, Steps):
                columns[node] = Number(column.source, column.fill)
                thresholds[node] = _edge(column, thresholds[node])
            elif isinstance(column, Gap):
                columns[node] = Number(column.source)
                missing_left[node] = column.missing <= thresholds[node]
                thresholds[node] = LARGEST if column.present <= thresholds[node] else -math.inf
            elif isinstance(column, Table):
                if column.has_missing():
                    column = column.map(_goes_right(thresholds[node], missing_left=bool(missing_left[node])))  # noqa: PLW2901
                    columns[node], thresholds[node] = column, 0.5
            elif column is not None:
                raise CannotFoldError(f"trees of {_NOT_FOR_TREES[type(column)]}")
        for column, nodes in scaled.values():
            thresholds[nodes] = _raw_thresholds(column, thresholds[nodes], single=tree.single)
        self.trees.append(replace(tree, columns=tuple(columns), thresholds=thresholds, missing_left=missing_left))

    def add(self, other: Terms, share: float = 1.0) -> None:
        """Add ``share`` times other terms."""
        self.constant += share * other.constant
        for base, coefficient in other.linear.items():
            self.linear[base] = self.linear.get(base, 0.0) + share * coefficient
        self.quadratics += [(bases, share * matrix) for bases, matrix in other.quadratics]
        self.trees += [replace(tree, values=share * tree.values) for tree in other.trees]

    def quadratic(self) -> tuple[list[Simple], NDArray[np.float64]]:
        """Return the sum of all products: bases b and a symmetric matrix A, for b'Ab."""
        pairs = [(pair, coefficient) for pair, coefficient in self.linear.items() if isinstance(pair, Pair)]
        found = {base for some, _ in self.quadratics for base in some}
        found |= {base for pair, _ in pairs for base in (pair.one, pair.other)}
        bases = sorted(found, key=_order)
        position = {base: index for index, base in enumerate(bases)}
        total = np.zeros((len(bases), len(bases)))
        for some, matrix in self.quadratics:
            where = np.array([position[base] for base in some])
            total[np.ix_(where, where)] += (matrix + matrix.T) / 2
        for pair, coefficient in pairs:
            one, other = position[pair.one], position[pair.other]
            total[one, other] += coefficient / 2
            total[other, one] += coefficient / 2
        return bases, total


#: Largest number of float32.
LARGEST: Final = float(np.finfo(np.float32).max)

#: What trees cannot compare.
_NOT_FOR_TREES: Final[Mapping[type, str]] = {
    Composite: "a combination of columns",
    Mixture: "a projection",
    Texts: "texts",
    Words: "texts",
    GramColumn: "single words",
}


def _edge(column: Steps, threshold: float) -> float:
    """The largest raw number of which the column's value is at most ``threshold``.

    Raises:
        CannotFoldError: the values do not ascend.
    """
    if any(low > high for low, high in itertools.pairwise(column.values)):
        raise CannotFoldError("trees of single bins")
    n_left = bisect_right(column.values, threshold)
    if n_left == 0:
        return -math.inf
    return LARGEST if n_left == len(column.values) else math.nextafter(column.edges[n_left - 1], -math.inf)


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
        raise CannotFoldError("trees or bins behind a scaler with a factor that is not positive")

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
_N_FLOAT32: Final = int(np.array(LARGEST, np.float32).view(np.int32))


def _nth_float32(position: NDArray[np.int64]) -> NDArray[np.float32]:
    """Numbers of float32 by their position in ascending order; 0 is at 0."""
    magnitude = np.abs(position).astype(np.int32).view(np.float32)
    return np.where(position < 0, -magnitude, magnitude)


def _order(base: Simple) -> tuple[str, tuple[float, ...]]:
    return type(base).__name__, astuple(base)
