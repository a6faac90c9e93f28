"""One detector for each machine, customer or sensor."""

from datetime import datetime
from itertools import chain, pairwise
from numbers import Integral, Number
from typing import Any, ClassVar, Literal, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from ._base import VersionedMixin, check_numbers, learning_on_copy, rows_of_list
from ._joint_fit import fit_side_by_side
from ._labels import check_groups, normal_rows, rows_by_group
from ._refusals import column_names, refuse_equal_names, refuse_lazy, refuse_scores_of_anomalies
from ._sklearn import (
    N_JOBS,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    _num_samples,
    _safe_indexing,
    has_callbacks,
)
from ._typing import Estimator, Floats, Integers, Rows, Seed
from .exceptions import gathered, warn_once_a_kind

__all__ = ["HRNGroupedDetector"]


class HRNGroupedDetector(OutlierMixin, MetaEstimatorMixin, VersionedMixin, BaseEstimator):
    """A detector for each group of rows, trained together, each as it would be trained alone.

    What is normal for one machine, customer or sensor may be strange for another. Every group gets
    a clone of the detector, fitted on its rows alone, with a threshold of its own; rows are scored
    by the detector of their group.

    Parameters
    ----------
    estimator : HRNOneClassClassifier or pipeline that ends in one
        All other detectors of scikit-learn's signs are taken too, and fitted one after the other;
        so are detectors that callbacks of scikit-learn follow, which are called for each group.
    group_column : int, str or None, default=None
        The column of X that says which group a row is of, by position or, of a DataFrame, by name.
        The detectors do not see it. None takes `groups` from the arguments of the methods; without
        these in `fit`, all rows are one group.
    unknown : {"pooled", "error"}, default="pooled"
        What rows of a group that `fit` has not seen get: the answer of one more detector, which is
        fitted on rows drawn from all groups, as many as the largest group has; or an error.
    n_jobs : int, default=None
        Processes that share the groups, each of which trains its own together; None is one, unless
        a :func:`joblib.parallel_config` says otherwise. A process takes seconds to start: they pay
        for hundreds of groups, or where each takes long.
    random_state : int, RandomState instance or None, default=None
        Of the rows drawn. The detectors have seeds of their own.

    Attributes
    ----------
    detectors_ : dict
        The fitted detector of each group.
    pooled_ : estimator or None
        The detector of unknown groups, if there is to be one.
    offset_ : float
        The threshold. Only where there is one group; else it is ``detectors_[group].offset_``.
    n_features_in_ : int
        Columns of X seen in `fit`, if the detector knows its own.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    HRNContinualClassifier : Which of the groups is a row of?

    Notes
    -----
    Scores of different groups lie on scales of their own. `decision_function`, the score less the
    threshold of the group, has at least its zero in common.

    Examples
    --------
    Pump 1 runs at half the pressure and twice the temperature of pump 0:

    >>> import numpy as np
    >>> from sklearn_hrn import HRNGroupedDetector, make_hrn_pipeline
    >>> rng = np.random.default_rng(0)
    >>> pump = np.repeat([0, 1], 100)
    >>> X = rng.normal([2.0, 1.0], 0.1, size=(200, 2))
    >>> X[pump == 1] = X[pump == 1, ::-1]
    >>> recipe = make_hrn_pipeline("tabular", random_state=0).set_params(calibration=None)
    >>> detector = HRNGroupedDetector(recipe).fit(X, groups=pump)
    >>> decision = detector.decision_function([[2.0, 1.0], [2.0, 1.0]], groups=[0, 1])
    >>> bool(decision[0] > decision[1])
    True
    """

    detectors_: dict[Any, Any]
    pooled_: Any
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit", "decision_function"])],
        "group_column": [Interval(Integral, None, None, closed="neither"), str, None],
        "unknown": [StrOptions({"pooled", "error"})],
        "n_jobs": [N_JOBS, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Estimator,
        *,
        group_column: int | str | None = None,
        unknown: Literal["pooled", "error"] = "pooled",
        n_jobs: int | None = None,
        random_state: Seed = None,
    ) -> None:
        self.estimator = estimator
        self.group_column = group_column
        self.unknown = unknown
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, y: ArrayLike | None = None, *, groups: ArrayLike | None = None) -> Self:
        """Fit a detector for each group, on its normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.
        groups : array-like of shape (n_samples,), default=None
            Which group a row is of: numbers or text. Where there is no `group_column`.

        Returns
        -------
        self : HRNGroupedDetector

        Raises
        ------
        ValueError
            If a group is missing for a row, or if the detector of a group cannot be fitted, such as
            for a group of one row; the message ends with its name. Nothing is changed then.
            Also for callbacks with an `n_jobs` of several processes.
        TypeError
            If the detector is one of PyOD, whose scores are higher for anomalies.

        Warns
        -----
        UserWarning, RuntimeWarning
            What the detectors warn of, the first of each kind, with the number of all others.
        """
        with learning_on_copy(self) as learner:
            learner._learn(X, y, groups)
        return self

    def _learn(self, X, y, groups):
        refuse_scores_of_anomalies(self.estimator, "as the estimator")
        X, groups = self._without_groups(X, groups, reset=True)
        rows = normal_rows(X, y, self)
        rows = np.arange(_num_samples(X)) if rows is None else rows
        of_group = rows_by_group(groups[rows])
        names, parts = list(of_group), [rows[part] for part in of_group.values()]
        if self.unknown == "pooled" and len(parts) > 1:
            n_drawn = max(map(len, parts))
            drawn = check_random_state(self.random_state).permutation(rows)[:n_drawn]
            names, parts = [*names, "unknown"], [*parts, np.sort(drawn)]
        n_shares = min(len(parts), effective_n_jobs(self.n_jobs))
        if n_shares > 1 and has_callbacks(self.estimator):
            raise ValueError(
                f"n_jobs={self.n_jobs!r} makes {n_shares} processes, where callbacks would be "
                "copies of those that were set: give n_jobs=1, or set none."
            )
        bounds = np.linspace(0, len(parts), n_shares + 1).astype(int)
        shares = (parts[a:b] for a, b in pairwise(bounds))
        fitted = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_share)(self.estimator, X, share) for share in shares
        )
        warn_once_a_kind(chain.from_iterable(told for _, told in fitted))
        found = []
        for first, (outcomes, _) in zip(bounds, fitted, strict=False):
            for place, detector, error in outcomes:
                if error is not None:
                    name = names[first + place]
                    error.add_note(f"The detector of group {name!r} could not be fitted.")
                    raise error
                found.append(detector)
        n_groups = len(found) - (self.unknown == "pooled" and len(found) > 1)
        self.detectors_ = dict(zip(names[:n_groups], found[:n_groups], strict=True))
        self.pooled_ = found[-1] if self.unknown == "pooled" else None

    def fit_predict(
        self, X: Rows, y: ArrayLike | None = None, *, groups: ArrayLike | None = None
    ) -> Integers:
        """Fit on the rows without ``y == -1``, and label all of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        groups : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            +1 for normal rows, -1 for anomalies.
        """
        return self.fit(X, y, groups=groups).predict(X, groups)

    def score_samples(self, X: Rows, groups: ArrayLike | None = None) -> Floats:
        """Scores by the detector of the group of each row: the higher, the more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64

        Raises
        ------
        ValueError
            If there are rows of unknown groups and ``unknown="error"``, if groups are text where
            those of `fit` are numbers or the like, or if there are no `groups` where `fit` has seen
            several.
        """
        return self._by_group("score_samples", X, groups)

    def decision_function(self, X: Rows, groups: ArrayLike | None = None) -> Floats:
        """Score less the threshold of the group: negative for anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        decision : ndarray of shape (n_samples,), float64
        """
        return self._by_group("decision_function", X, groups)

    def predict(self, X: Rows, groups: ArrayLike | None = None) -> Integers:
        """+1 where the decision function is at least 0, else -1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
        """
        return np.where(self.decision_function(X, groups) >= 0, 1, -1)

    @property
    def offset_(self) -> float:
        """The threshold, where there is one group."""
        if len(self.detectors_) > 1:
            raise AttributeError(
                f"there are {len(self.detectors_)} groups, each with a threshold of its own: "
                "detectors_[group].offset_."
            )
        return next(iter(self.detectors_.values())).offset_

    def _by_group(self, method, X, groups):
        check_is_fitted(self)
        X, groups = self._without_groups(X, groups, reset=False)
        parts = rows_by_group(groups)
        unknown = [name for name in parts if name not in self.detectors_]
        kinds = sorted({_kind(name) for name in self.detectors_})
        strange = [name for name in unknown if _kind(name) not in kinds]
        if strange:
            raise ValueError(
                f"groups such as {strange[0]!r} are {_kind(strange[0])}, but those of fit are "
                f"{' and '.join(kinds)}, such as {next(iter(self.detectors_))!r}, so that no row "
                "could be of one of them: give groups as in fit."
            )
        if unknown and self.pooled_ is None:
            raise ValueError(
                f"{len(unknown)} group(s) had no normal rows in fit, such as {unknown[0]!r}: leave "
                'the rows out, or fit with unknown="pooled".'
            )
        answers = np.empty(len(groups))
        for name, part in parts.items():
            detector = self.detectors_.get(name, self.pooled_)
            answers[part] = getattr(detector, method)(_safe_indexing(X, part))
        return answers

    def _without_groups(self, X, groups, reset):
        """X as the detectors see it, and the group of each row."""
        refuse_lazy(X)
        X = rows_of_list(X)
        if not hasattr(X, "columns"):  # what the values must be is for the detectors to say
            options = {"accept_sparse": "csr", "ensure_all_finite": False}
            X = check_numbers(self, X, reset=reset, dtype=None, **options)
        refuse_equal_names(X)
        validate_data(self, X, skip_check_array=True, reset=reset)
        if not _num_samples(X):
            raise ValueError("X has no rows, where one at least is needed.")
        column = self.group_column
        if column is not None and groups is not None:
            raise ValueError(f"groups are given twice: as an argument, and as column {column!r}.")
        if column is not None:
            every = np.arange(X.shape[1])
            place = every[_place(column, X)]
            groups = _safe_indexing(X, place, axis=1)
            X = _safe_indexing(X, np.delete(every, place), axis=1)
        elif groups is None:
            n_groups = 1 if reset else len(self.detectors_)
            if n_groups > 1:
                raise ValueError(
                    f"groups are missing: fit has seen {n_groups}, each with a detector of its "
                    "own. Give groups=, one a row, here as in fit."
                )
            groups = np.zeros(_num_samples(X), dtype=int)
        return X, check_groups(groups, X)


def _kind(group):
    """What kind of name a group has; names of two kinds are never equal."""
    if isinstance(group, Number):
        return "numbers"
    if isinstance(group, datetime):  # as those of pandas are
        return "moments without a time zone" if group.tzinfo is None else "moments of a time zone"
    return "text" if isinstance(group, str) else f"of type {type(group).__name__}"


def _place(column, X):
    """Where in X the column of the groups is."""
    if isinstance(column, Integral):
        places = [int(column)] if -X.shape[1] <= column < X.shape[1] else []
    else:
        names = column_names(X)
        places = [j for j, name in enumerate(() if names is None else names) if name == column]
    if len(places) != 1:
        raise ValueError(
            f"group_column={column!r} names {len(places)} columns of X: give the position of one, "
            f"from 0 to {X.shape[1] - 1}, or, of a data frame, its name."
        )
    return places[0]


def _fit_share(estimator, X, parts):
    """What becomes of some groups, and the warnings that they gave."""
    with gathered() as told:
        rows_of_each = (_safe_indexing(X, part) for part in parts)
        return list(fit_side_by_side(estimator, rows_of_each)), told
