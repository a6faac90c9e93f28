"""Any detector, with decisions whose rate of false alarms is stated."""

from copy import deepcopy
from math import ceil
from numbers import Integral, Real

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from ._base import learning_on_copy
from ._calibration import (
    conformal_p_values,
    decisions,
    false_alarm_threshold,
    score_method,
    scores_of,
    switched_off,
)
from ._labels import normal_rows
from ._sklearn import (
    HasMethods,
    Interval,
    RealNotInt,
    _check_method_params,
    _fit_context,
    _num_samples,
    _routing_enabled,
    _safe_indexing,
)
from .exceptions import ResolutionWarning, warn

__all__ = ["ConformalOutlierDetector", "conformal_p_values", "false_alarm_threshold"]


class ConformalOutlierDetector(OutlierMixin, MetaEstimatorMixin, BaseEstimator):
    """Give any detector a threshold with a guaranteed false-alarm rate, and p-values.

    `fit` sets a part of the normal rows aside, trains the detector on the others, and reads off the
    set-aside scores where to put the threshold. No anomalies are needed, and no guess of their
    share (`contamination`).

    Parameters
    ----------
    estimator : detector or pipeline
        Anything with `fit` and `score_samples` or, failing that, `decision_function`, higher = more
        normal as everywhere in scikit-learn. It is cloned by `fit`. A detector that is fitted
        already is kept as it is when wrapped in :class:`~sklearn.frozen.FrozenEstimator`, or when
        `calibrate` is called instead of `fit`.
    false_alarm_rate : float, default=0.05
        Largest share of normal rows that may be flagged, between 0 and 1.
    calibration_size : float or int, default=0.2
        Share or number of the normal rows that `fit` sets aside for calibration. A frozen
        `estimator` needs no training rows, and is calibrated on all.
    random_state : int, RandomState instance or None, default=None
        Which rows are set aside. Unless None, it also seeds the detector, or the steps of it, where
        their own `random_state` is None: an int makes the fit repeatable.

    Attributes
    ----------
    estimator_ : estimator
        The detector whose scores are used.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Scores of the calibration rows, ascending.
    offset_ : float
        Threshold: rows that score below it are flagged. -inf if none can be.
    n_features_in_ : int
        Number of features seen during fit, if `estimator_` knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if `estimator_` knows them.

    See Also
    --------
    false_alarm_threshold : The threshold alone, from scores.
    conformal_p_values : The p-values alone, from scores.

    Notes
    -----
    *The guarantee.* A fresh normal row is flagged with probability at most `false_alarm_rate`, if
    it is exchangeable with the calibration rows (drawn from the same distribution, in no particular
    order) [1]_. It needs no assumption on the detector or on the distribution. It is marginal: an
    average over the draw of the calibration rows and of the fresh row. For one set of n calibration
    rows without ties the rate is a draw from Beta(m, n + 1 - m) with m = floor(false_alarm_rate *
    (n + 1)), whose mean is m / (n + 1): for n = 1000 and a rate of 0.05, 0.05 ± 0.007. It is not a
    promise for each kind of row apart, and none at all once the data drift: then `calibrate` on
    recent normal rows. Anomalies among the calibration rows make for fewer alarms.

    *The resolution.* The smallest p-value is 1 / (n + 1). A rate below that flags nothing, and
    warns with :class:`~sklearn_hrn.exceptions.ResolutionWarning`: 0.05 takes 19 calibration rows,
    0.001 takes 999. `decision_function` is then infinite; `score_samples` still ranks.

    p-values of the rows the detector was trained on mean nothing: it has seen them.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random World",
       Springer, 2005.
    .. [2] S. Bates, E. Candès, L. Lei, Y. Romano and M. Sesia, "Testing for outliers with conformal
       p-values", Annals of Statistics 51(1), 149-178, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn_hrn.conformal import ConformalOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> detector = ConformalOutlierDetector(
    ...     IsolationForest(random_state=0), false_alarm_rate=0.05, random_state=0
    ... ).fit(X)
    >>> detector.predict([[0.0, 0.0], [5.0, 5.0]])
    array([ 1, -1])
    >>> detector.p_values([[5.0, 5.0]])
    array([0.00990099])
    >>> detector.set_false_alarm_rate(0.02).predict([[0.0, 0.0], [5.0, 5.0]])
    array([ 1, -1])
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "estimator": [HasMethods(["fit"])],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "calibration_size": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator, *, false_alarm_rate=0.05, calibration_size=0.2, random_state=None
    ):
        self.estimator = estimator
        self.false_alarm_rate = false_alarm_rate
        self.calibration_size = calibration_size
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, **fit_params):
        """Train the detector on a part of the normal rows and calibrate on the rest.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.
        **fit_params : dict
            Passed to `fit` of the detector, cut to its rows where given by row. With metadata
            routing enabled, those that it requests.

        Returns
        -------
        self : object
        """
        score_method(self.estimator)
        if _routing_enabled():
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        (X,) = indexable(X)
        rows = normal_rows(X, y)
        rows = np.arange(_num_samples(X)) if rows is None else rows
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator)
            return self._calibrate(self.estimator, _safe_indexing(X, rows))
        rng = check_random_state(self.random_state)
        training, calibration = self._set_aside(rows, rng)
        detector = switched_off(clone(self.estimator), "calibration")
        if self.random_state is not None:
            _seed_where_unseeded(detector, rng)
        detector.fit(_safe_indexing(X, training), **_check_method_params(X, fit_params, training))
        return self._calibrate(detector, _safe_indexing(X, calibration))

    @_fit_context(prefer_skip_nested_validation=False)
    def calibrate(self, X, y=None):
        """Set the threshold by fresh normal rows, without training.

        Before any `fit`, the detector given as `estimator` must be fitted, and is used as it is.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Normal rows that the detector was not trained on. They replace all earlier calibration
            rows.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.

        Returns
        -------
        self : object
        """
        detector = getattr(self, "estimator_", self.estimator)
        check_is_fitted(detector)
        (X,) = indexable(X)
        rows = normal_rows(X, y)
        return self._calibrate(detector, X if rows is None else _safe_indexing(X, rows))

    def set_false_alarm_rate(self, false_alarm_rate):
        """Move the threshold to another false-alarm rate; nothing is trained.

        Parameters
        ----------
        false_alarm_rate : float
            Between 0 and 1. It becomes the parameter of this name.

        Returns
        -------
        self : object
        """
        check_is_fitted(self)
        with learning_on_copy(self, continues=True) as learner:
            learner.offset_ = false_alarm_threshold(self.calibration_scores_, false_alarm_rate)
            learner.set_params(false_alarm_rate=false_alarm_rate)
        return self

    def score_samples(self, X):
        """Scores of the detector, higher = more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return scores_of(self.estimator_, X)

    def decision_function(self, X):
        """``score_samples(X) - offset_``: negative for rows that are flagged.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
        """
        return decisions(self.score_samples(X), self.offset_)

    def predict(self, X):
        """Flag rows at the false-alarm rate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            -1 for rows whose p-value is at most `false_alarm_rate`, +1 for the others.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X, y=None, **fit_params):
        """Fit on the normal rows, then flag rows among all of X.

        The rate holds for fresh rows; of the rows trained on fewer are flagged.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            As in `fit`.
        **fit_params : dict
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            -1 for flagged rows, +1 for the others.
        """
        return self.fit(X, y, **fit_params).predict(X)

    def p_values(self, X):
        """Conformal p-values: small for rows unlike the calibration rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            Between 1 / (n_calibration + 1) and 1; uniform or larger for fresh normal rows.
        """
        return conformal_p_values(self.score_samples(X), self.calibration_scores_)

    def predict_fdr(self, X, *, fdr=0.1, method="bh"):
        """Flag rows of a batch with control of the share of false alarms *among the flagged*.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The batch. Which rows are flagged depends on all of them.
        fdr : float, default=0.1
            Largest false-discovery rate, between 0 and 1: the expected share of normal rows among
            those flagged, over draws of calibration rows and batches. A batch of normal rows only
            has an alarm with at most this probability.
        method : {"bh", "by"}, default="bh"
            Procedure of Benjamini and Hochberg, or the more cautious one of Benjamini and
            Yekutieli; see :func:`scipy.stats.false_discovery_control`. p-values that share their
            calibration rows depend on each other in the way under which "bh" is valid: see the
            references of the class.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            -1 for flagged rows, +1 for the others.

        Warns
        -----
        ResolutionWarning
            If not even a batch of the smallest p-values could be flagged. Short of that, about
            n_samples / (fdr * (n_calibration + 1)) rows must stand out together for any to be.
        """
        if not 0 < fdr < 1:
            raise ValueError(f"fdr must lie between 0 and 1, got {fdr!r}.")
        p_values = self.p_values(X)
        smallest = np.full(len(p_values), 1 / (len(self.calibration_scores_) + 1))
        if false_discovery_control(smallest, method=method)[0] > fdr:
            warn(
                f"nothing can be flagged at a false-discovery rate of {fdr:g}: with "
                f"{len(self.calibration_scores_)} calibration rows the smallest p-value is "
                f"{smallest[0]:.2g}. Calibrate on more normal rows, or raise fdr.",
                ResolutionWarning,
            )
        return np.where(false_discovery_control(p_values, method=method) <= fdr, -1, 1)

    def _set_aside(self, rows, rng):
        """Split row numbers at random into training and calibration rows, each ascending."""
        size = self.calibration_size
        n_calibration = size if isinstance(size, Integral) else ceil(size * len(rows))
        if not 0 < n_calibration < len(rows):
            raise ValueError(
                f"calibration_size={size!r} of n_samples={len(rows)} normal rows leaves no row to "
                "train on. Give more rows, or a smaller calibration_size."
            )
        shuffled = rng.permutation(rows)
        return np.sort(shuffled[n_calibration:]), np.sort(shuffled[:n_calibration])

    def _calibrate(self, detector, X):
        with learning_on_copy(self) as learner:
            learner.estimator_ = detector
            learner.calibration_scores_ = np.sort(scores_of(detector, X))
            learner.offset_ = false_alarm_threshold(
                learner.calibration_scores_, self.false_alarm_rate
            )
        return self

    @property
    def n_features_in_(self):
        """Number of features seen during fit."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of features seen during fit."""
        return self.estimator_.feature_names_in_

    def get_metadata_routing(self):
        """Routing of metadata: `fit` passes on what the detector requests.

        Returns
        -------
        routing : MetadataRouter
        """
        return MetadataRouter(owner=self).add(
            estimator=self.estimator,
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        detector_tags = get_tags(self.estimator)
        tags.input_tags = deepcopy(detector_tags.input_tags)
        tags.non_deterministic = detector_tags.non_deterministic
        return tags


def _seed_where_unseeded(estimator, rng):
    params = estimator.get_params()
    seeds = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    unseeded = [name for name in seeds if params[name] is None]
    estimator.set_params(**{name: rng.randint(2**31 - 1) for name in unseeded})
