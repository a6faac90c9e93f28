"""PyOD's detectors in scikit-learn's clothes, and a detector of ours in PyOD's."""

import random
import threading
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import OutlierMixin, clone
from sklearn.utils.validation import check_array, check_is_fitted

from .._base import NormalRowsEstimator, learning_on_copy
from .._refusals import first_that_is_no_number, no_numbers
from .._sklearn import HasMethods
from .._typing import Estimator, Floats, Integers, Rows, Seed
from .._validation import draw_seeds
from ..recipes import make_hrn_pipeline

try:
    from pyod.models.base import BaseDetector
except ImportError:  # without PyOD the class below can be named, and says so when it is made
    BaseDetector = object

INSTALL = "pip install 'sklearn-hrn[peers]'"


class PyODDetector(OutlierMixin, NormalRowsEstimator):
    """A detector of PyOD as one of scikit-learn: higher score = more normal, +1 and -1.

    Parameters
    ----------
    detector : pyod.models.base.BaseDetector or str
        An unfitted detector, of which a new one with the same parameters is fitted; or
        "module.Class" below ``pyod.models``, for its defaults. Where it has a `batch_size`, no
        more than the rows there are is used, as PyOD trains on full batches only; where it has
        `n_features`, that is the number of columns.
    random_state : int, RandomState instance or None, default=None
        Of the detector, where it takes one, and of the global generators of Python, NumPy and torch
        from which other detectors draw. These are put back to where they were.

    Attributes
    ----------
    detector_ : pyod.models.base.BaseDetector
        The fitted detector.
    offset_ : float
        Minus PyOD's threshold, which follows from its `contamination`.
    seed_ : int
        What the generators were set to.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    HRNDetector : The other way round.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_hrn.interop import PyODDetector
    >>> X, kind = load_wine(return_X_y=True)
    >>> detector = PyODDetector("ecod.ECOD").fit(X[kind == 0])  # doctest: +SKIP
    >>> detector.predict(X[kind == 2]).mean()  # doctest: +SKIP
    -1.0
    """

    detector_: Any
    offset_: float
    seed_: int

    _parameter_constraints: ClassVar[dict] = {
        "detector": [HasMethods(["fit", "decision_function"]), str],
        "random_state": ["random_state"],
    }

    def __init__(self, detector: Estimator | str, *, random_state: Seed = None) -> None:
        self.detector = detector
        self.random_state = random_state

    def _learn(self, X):
        self.seed_ = int(draw_seeds(self.random_state, 1)[0])
        with _seeded(self.seed_):
            self.detector_ = self._made(X).fit(X)
        self.offset_ = -float(self.detector_.threshold_)

    def _made(self, X):
        detector = self.detector
        if isinstance(detector, str):
            module, _, name = detector.partition(".")
            if not (name.isidentifier() and module.isidentifier()):
                raise ValueError(
                    f'detector={detector!r} must be "module.Class" below pyod.models, such as '
                    '"knn.KNN".'
                )
            try:
                kind = getattr(import_module(f"pyod.models.{module}"), name, None)
            except ImportError as error:
                raise ImportError(
                    f"{detector} cannot be imported ({error}). If it is PyOD that is missing: "
                    f"{INSTALL}."
                ) from error
            if kind is None:
                raise ValueError(f"pyod.models.{module} has no {name}.")
            parameters, names = {}, signature(kind).parameters
        else:
            # Not `clone`: many of PyOD's change their parameters when they are made.
            kind = type(detector)
            if isinstance(detector, (OutlierMixin, type)):
                name = getattr(detector, "__name__", kind.__name__)
                raise TypeError(
                    f"detector={name} is no unfitted detector of PyOD but a {kind.__name__}: give "
                    'such as KNN() or "knn.KNN"; those with scikit-learn\'s signs need no '
                    "PyODDetector."
                )
            names = detector.get_params(deep=False)
            parameters = {name: clone(value, safe=False) for name, value in names.items()}
        if "random_state" in names and parameters.get("random_state") is None:
            parameters["random_state"] = self.seed_
        if "n_features" in names:
            parameters["n_features"] = X.shape[1]
        made = kind(**parameters)
        if getattr(made, "batch_size", 0) > len(X):
            made = kind(**{**parameters, "batch_size": len(X)})
        return made

    def score_samples(self, X: Rows) -> Floats:
        """Minus PyOD's score: the higher, the more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        X = self._checked(X)
        with _seeded(self.seed_):
            return -np.asarray(self.detector_.decision_function(X), dtype=np.float64)

    def decision_function(self, X: Rows) -> Floats:
        """``score_samples(X) - offset_``: negative for anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Rows) -> Integers:
        """+1 where the decision function is at least 0, else -1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)


# The generators are one for all threads: who seeds them must be alone until they are put back.
_GENERATORS = threading.RLock()


@contextmanager
def _seeded(seed):
    """The global generators at a seed, and back where they were."""
    import torch

    with _GENERATORS:
        of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            with torch.random.fork_rng(devices=[]):
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                torch.manual_seed(seed)
                yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


class HRNDetector(BaseDetector):
    """A detector of scikit-learn's signs as one of PyOD: higher score = more anomalous, 0 and 1.

    Parameters
    ----------
    estimator : detector or pipeline, default=None
        Anything with `score_samples`, higher = more normal; a clone of it is fitted. None is
        ``make_hrn_pipeline("tabular")``, without calibration, as PyOD has a threshold of its own.
    contamination : float in (0, 0.5] or object of PyThresh, default=0.1
        Share of the training rows above `threshold_`, as in all of PyOD.
    random_state : int, RandomState instance or None, default=None
        Of the recipe, where `estimator` is None.

    Attributes
    ----------
    detector_ : estimator
        The fitted detector.
    decision_scores_ : ndarray of shape (n_samples,)
        Scores of the training rows.
    threshold_ : float
        Of the scores.
    labels_ : ndarray of shape (n_samples,)
        1 for training rows above the threshold, 0 for others.

    See Also
    --------
    PyODDetector : The other way round.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_hrn.interop import HRNDetector
    >>> X, kind = load_wine(return_X_y=True)
    >>> detector = HRNDetector(random_state=0).fit(X[kind == 0])  # doctest: +SKIP
    >>> detector.predict(X[kind == 2]).mean()  # doctest: +SKIP
    1.0
    """

    detector_: Any
    decision_scores_: Floats
    threshold_: float
    labels_: Integers

    def __init__(
        self,
        estimator: Estimator | None = None,
        contamination: Any = 0.1,
        random_state: Seed = None,
    ) -> None:
        if BaseDetector is object:
            raise ImportError(f"HRNDetector needs PyOD: {INSTALL}.")
        super().__init__(contamination=contamination)
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, X: Rows, y: Any = None) -> Self:
        """Fit on all rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : object, default=None
            Not used, as everywhere in PyOD.

        Returns
        -------
        self : HRNDetector
        """
        X = _numbers(self, X)
        detector = self.estimator
        if detector is not None and not hasattr(detector, "score_samples"):
            raise TypeError(
                f"estimator={type(detector).__name__} has no score_samples, higher for normal "
                "rows, which HRNDetector turns round: those of PyOD need no HRNDetector."
            )
        if detector is None:
            detector = make_hrn_pipeline("tabular", random_state=self.random_state)
            detector.set_params(calibration=None)
        with learning_on_copy(self) as learner:
            learner._set_n_classes(y)
            learner.detector_ = clone(detector).fit(X)
            learner.decision_scores_ = -learner.detector_.score_samples(X)
            learner._process_decision_scores()
        return self

    def decision_function(self, X: Rows) -> Floats:
        """Scores: the higher, the more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        check_is_fitted(self, ["decision_scores_", "threshold_", "labels_"])
        return -self.detector_.score_samples(_numbers(self, X))


def _numbers(detector, X):
    """Rows as PyOD wants them."""
    try:
        return check_array(X)
    except (TypeError, ValueError):
        found = first_that_is_no_number(X)
        if found is None:
            raise
        raise ValueError(no_numbers(detector, *found)) from None
