"""What a model package declares; everything that is not declared has a default here."""

from __future__ import annotations

import os
import pkgutil
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import BundleError, DefinitionError
from model_kit.records.encoding import Derive
from model_kit.records.identities import Identity, contradictions_of
from model_kit.records.row_warnings import Contradiction
from model_kit.scoring.about import About
from model_kit.scoring.bundle import CARD, MANIFEST, MODEL_DIR, SPEC, Bundle, bundle_exists, read_bundle
from model_kit.scoring.installed import check_code
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.spec import Field, InputSpec, Row, Target


class Estimator(Protocol):
    """The part of a scikit-learn regressor or classifier that training uses."""

    def fit(self, X: NDArray[np.float64], y: NDArray[Any]) -> Any:  # noqa: N803 - scikit-learn's name
        """Learn from features of shape (n_rows, n_features) and a target of shape (n_rows,)."""

    def predict(self, X: NDArray[np.float64]) -> NDArray[Any]:  # noqa: N803 - scikit-learn's name
        """Scores on the estimator's scale, or classes, shape (n_rows,)."""


#: What serves a model.
Runtime: TypeAlias = Literal["onnx", "scikit-learn"]
#: Fitted spec -> unfitted estimator; whatever it learns, it learns in ``fit``.
EstimatorFactory: TypeAlias = Callable[[InputSpec], Estimator]
#: Rows and target -> mask of the rows to fit on, shape (n_rows,).
RowFilter: TypeAlias = Callable[[Sequence[Row], NDArray[np.float64]], NDArray[np.bool_]]


#: Addresses that a model may have beside its own, and the first parts of those that the service has.
_ALIAS: Final = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_TAKEN: Final = frozenset({"health", "version", "v1", "docs", "redoc", "openapi.json", "try", "card", "assets"})


@dataclass(frozen=True)
class Floors:
    """Absolute floors, by metric: a model that scores worse in one of them is not exported.

    Attributes:
        r2, rmse: lowest R2 and highest RMSE on the estimator's scale, of a number.
        log_loss, brier: highest, of a class; see :class:`~model_kit.scoring.class_assessment.ClassScores`.
        roc_auc, average_precision, accuracy, balanced_accuracy: lowest, of a class.
    """

    r2: float | None = None
    rmse: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None


@dataclass(frozen=True)
class Sample:
    """Training data that come with a package, so that it works without data of one's own; made up unless it says not.

    Attributes:
        csv: returns the bytes of a training file.
        is_synthetic: identifier of a row -> whether the generator made it. Without it, or an identifier, a file is
            known by its content.
        notice: shown wherever a model trained on it predicts.
        name: what the data is called on the model's card.
        synthetic: it is made up, so that predictions mean nothing for the real world.
    """

    csv: Callable[[], bytes]
    is_synthetic: Callable[[str], bool] | None = None
    notice: str = "*** TRAINED ON SYNTHETIC DATA: predictions mean nothing. ***"
    name: str = "synthetic sample"
    synthetic: bool = True


# Compared and hashed by identity: a definition is made once, in its package.
@dataclass(frozen=True, eq=False)
class ModelDefinition:
    """A model package in one object: name, target, fields and estimator are enough.

    What needs libraries that serving lacks is given as ``"package.module:attribute"`` and imported when training
    asks for it.

    Attributes:
        name: entry-point name, the last part of the URL.
        target, fields: what is predicted, and from what.
        estimator: a scikit-learn regressor, or classifier if the target is a class, which gets the kit's preprocessing
            in front of it; or a function that returns one for the feature matrix, given the fitted spec; or where to
            import either from. Where it does not accept NaN, the kit imputes medians. See
            :mod:`model_kit.training.estimators.preparation`.
        derive: stateless step from the encoded matrix to the features. Without it, the features are the fields
            themselves, dates as their parts, see :mod:`model_kit.records.features`.
        keep_for_training: mask of the rows to fit on (default: all). Hold-out rows are never left out.
        repair: makes whatever else holds between fields hold in a row of typical values.
        register_converters: registers folding rules and ONNX converters of the package's own estimators.
        floors: below them nothing is exported.
        time_order: date or datetime by which folds are ordered: rows are predicted by models of earlier rows only.
            Without it, folds are random, of classes stratified; rows that are copies of each other stay together.
        identifier: column that names a row in messages; never a feature.
        not_core: identifiers left out of the average of the core score, and of nothing else.
        rare_below: levels of a nominal category seen in fewer rows share a code.
        together: groups of fields that only make sense together, see :class:`~model_kit.spec.InputSpec`.
        imputes: the estimator replaces a missing value by a typical one, and warnings say so; where the kit imputes,
            it need not be declared.
        identities: what holds between fields, such as a total and its parts, see :mod:`model_kit.records.identities`:
            warnings say where it does not, and made-up records, the one of typical values too, hold it.
        contradictions: what else cannot be true of one record at once; the row of typical values must have none.
        about: what people should know of the model, in words; on its card.
        sample: a :class:`Sample`, or where to import one from.
        runtime: what serves the model: ``"onnx"``, a graph; ``"scikit-learn"``, the estimator itself, for what no graph
            computes. It costs the service a scikit-learn, see ``docs/own-model.md``.
        keeps_rows: the bundle may hold training rows, for an estimator that predicts from them (neighbours, kernels,
            Gaussian processes); only with ``runtime="scikit-learn"``. Whoever has the bundle can read them.
        aliases: further addresses of the model's predictions, such as those of a service that it replaces
            (``"/api/v1/sentiment"``).
        openml_id: data set on OpenML that the model is trained on.
        package: import name of the package (default: ``<name>_model``).
    """

    name: str
    target: Target
    fields: tuple[Field, ...]
    estimator: str | EstimatorFactory | Estimator
    derive: Derive | None = None
    keep_for_training: str | RowFilter | None = None
    repair: Callable[[Row], dict[str, Any]] = dict
    register_converters: str | Callable[[], None] | None = None
    floors: Floors | None = None
    time_order: str | None = None
    identifier: str | None = None
    not_core: frozenset[str] = frozenset()
    rare_below: int = 10
    together: tuple[tuple[str, ...], ...] = ()
    imputes: bool = False
    identities: tuple[Identity, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    about: About = field(default_factory=About)
    sample: str | Sample | None = None
    runtime: Runtime = "onnx"
    keeps_rows: bool = False
    aliases: tuple[str, ...] = ()
    openml_id: int | None = None
    package: str = ""

    def __post_init__(self) -> None:
        if not self.package:
            object.__setattr__(self, "package", f"{self.name.replace('-', '_')}_model")
        for alias in self.aliases:
            if not _ALIAS.fullmatch(alias) or alias.split("/")[1] in _TAKEN:
                raise DefinitionError(
                    f"{self.name}: alias {alias!r} is no address of its own: it begins with a slash, has letters, "
                    f"digits, - . _ and slashes, and does not begin with one of {', '.join(sorted(_TAKEN))}"
                )
        if self.keeps_rows and self.runtime != "scikit-learn":
            raise DefinitionError(f'{self.name}: keeps_rows=True needs runtime="scikit-learn"; a graph keeps no rows')
        if self.time_order and not any(one.name == self.time_order and one.is_temporal for one in self.fields):
            raise DefinitionError(f"{self.name}: time_order is {self.time_order!r}, which is no date or datetime field")

    @property
    def distribution(self) -> str:
        """Name of the package on an index."""
        return self.package.replace("_", "-")

    @property
    def version(self) -> str:
        """Version that the package states."""
        version: str = import_module(self.package).__version__
        return version

    @property
    def folder(self) -> Path:
        """Folder of the package's code."""
        file = import_module(self.package).__file__
        if file is None:
            raise DefinitionError(f"{self.package} is not a regular package; it needs an __init__.py")
        return Path(file).parent

    @property
    def bundle(self) -> Path:
        """Folder of the bundle that the package carries."""
        return self.folder / "bundle"

    def resolve(self, attribute: str) -> Any:
        """The value of an attribute, imported if it is a reference; ``None`` where nothing is declared.

        Raises:
            DefinitionError: nothing is found there, or the module fails when it is imported.
            ModuleNotFoundError: the module needs a library that is not installed.
        """
        value = getattr(self, attribute)
        if not isinstance(value, str):
            return value
        try:
            return pkgutil.resolve_name(value)
        except ModuleNotFoundError as error:
            if error.name and error.name.partition(".")[0] != value.partition(":")[0].partition(".")[0]:
                raise
            raise DefinitionError(
                f"{self.name}: {attribute} is {value!r}, and there is no module {error.name}"
            ) from error
        except (AttributeError, ValueError, ImportError) as error:
            raise DefinitionError(
                f"{self.name}: {attribute} is {value!r}, which cannot be imported: {error}"
            ) from error
        except Exception as error:  # a module may do anything wrong when it is imported
            raise DefinitionError(
                f"{self.name}: {attribute} is {value!r}, which cannot be imported: {_failure(error)}"
            ) from error

    def load(self) -> BundleModel:
        """Verify and load the package's own bundle, or the one in ``MODEL_DIR/<name>``; the entry point of serving.

        A bundle from outside has a version that says so: that of this code, with the first digits of the artefact's
        sha256. Needs neither pandas nor scikit-learn.

        Raises:
            BundleError: a file is missing or damaged, the bundle is of other fields than this code, or the code is not
                what the server has read; it names the file, or ``MODEL_DIR``.
        """
        check_code(self.folder)
        outside = os.environ.get(MODEL_DIR)
        if not outside:
            return self._model(read_bundle(self.bundle, pinned=True), self.version)
        folder = Path(outside, self.name)
        if not bundle_exists(folder):
            if not Path(outside).is_dir():
                raise BundleError(MODEL_DIR, f"there is no folder {outside}")
            if (Path(outside) / MANIFEST).exists():
                raise BundleError(
                    MODEL_DIR,
                    f"it is a bundle itself; it names a folder of bundles: move this one to {self.name}/ in it",
                )
            return self._model(read_bundle(self.bundle, pinned=True), self.version)
        try:
            return self.load_bundle(folder, pinned=True)
        except (BundleError, OSError) as error:
            raise BundleError(MODEL_DIR, f"the bundle in {self.name}/ cannot be served: {error}") from error

    def load_bundle(self, folder: Path, *, pinned: bool = False) -> BundleModel:
        """Verify and load another bundle of this model; ``pinned`` as for ``read_bundle``.

        Raises:
            BundleError: a file is missing or damaged, or the bundle is of other fields than this code.
        """
        bundle = read_bundle(folder, pinned=pinned)
        return self._model(bundle, f"{self.version.partition('+')[0]}+{bundle.artifact_sha256[:12]}")

    def make_prediction(self, *, input_data: Any) -> dict[str, Any]:
        """Predictions for records or a DataFrame, see :func:`model_kit.scoring.frames.make_prediction`."""
        from model_kit.scoring.frames import make_prediction  # noqa: PLC0415 - serving has no use for it

        return dict(make_prediction(self._predictor, input_data))

    @property
    def all_contradictions(self) -> tuple[Contradiction, ...]:
        """Those of the identities, then the others."""
        return (*contradictions_of(self.identities), *self.contradictions)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.load())

    def _model(self, bundle: Bundle, version: str) -> BundleModel:
        named = bundle.json(CARD).get("model")
        if named != self.name:
            raise BundleError(CARD, f"it is a bundle of the model {named}, not of {self.name}")
        model = BundleModel(
            bundle, self.derive, version, self.contradictions, identities=self.identities, imputes=self.imputes
        )
        model.aliases = self.aliases
        # A package's derive finds its columns by position.
        if model.spec.names != tuple(field.name for field in self.fields):
            raise BundleError(SPEC, "its fields are not those of this version of the package; train again")
        return model


def installed_definitions() -> dict[str, ModelDefinition]:
    """The definitions of all installed model packages, by name.

    Raises:
        DefinitionError: an entry point's name is not that of its definition.
    """
    return {point.name: _definition(point) for point in entry_points(group=ENTRY_POINT_GROUP)}


def find_definition(name: str) -> ModelDefinition:
    """The definition of an installed model package.

    Raises:
        DefinitionError: there is none of that name; the text lists those that there are.
    """
    return _definition(find_entry_point(name))


def find_entry_point(name: str) -> EntryPoint:
    """The entry point of an installed model package.

    Raises:
        DefinitionError: there is none of that name; the text lists those that there are.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point
    installed = ", ".join(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))
    raise DefinitionError(f"no model {name} is installed; installed: {installed or 'none'}")


def _definition(point: EntryPoint) -> ModelDefinition:
    try:
        definition = getattr(point.load(), "__self__", None)
    except Exception as error:  # a package may do anything wrong when it is imported
        raise DefinitionError(f"model {point.name} = {point.value} cannot be imported: {_failure(error)}") from error
    if not isinstance(definition, ModelDefinition):
        raise DefinitionError(
            f"entry point {point.name} = {point.value}: it must be the load method of a ModelDefinition"
        )
    check_name(point.name, definition)
    return definition


def _failure(error: Exception) -> str:
    """What went wrong, in which file and line."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


def check_name(entry_point: str, definition: object) -> None:
    """Make sure that a definition has the name of its entry point; anything else than a definition passes.

    Raises:
        DefinitionError: it has another.
    """
    if isinstance(definition, ModelDefinition) and definition.name != entry_point:
        raise DefinitionError(
            f"the entry point is named {entry_point}, its ModelDefinition {definition.name}; give both one name"
        )
