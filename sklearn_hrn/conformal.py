"""Any detector, with decisions whose rate of false alarms is stated."""

from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ._base import VersionedMixin, learning_on_copy
from ._calibration import (
    BETWEEN_0_AND_1,
    check_weights,
    conformal_p_values,
    false_alarm_threshold,
    mean_scores,
    score_method,
    scores_of,
    seed_where_unseeded,
    switched_off,
)
from ._copies import copies_of
from ._folds import draw_folds
from ._group_calibration import GroupCalibration, rate_of_each
from ._joint_fit import fitted_by_folds
from ._labels import check_groups, normal_rows, rows_by_group
from ._likelihood_ratios import likelihood_ratios
from ._reference import as_columns, as_frame, drawn_rows
from ._refusals import refuse_lazy
from ._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    _num_samples,
    _routing_enabled,
    _safe_indexing,
)
from ._steps import last_step, transformed, with_last_step
from ._typing import Estimator, Floats, Integers, Rows, Seed
from ._verdicts import after_feedback, can_learn, first_lessons
from .exceptions import once_a_kind, warn

__all__ = [
    "ConformalOutlierDetector",
    "conformal_p_values",
    "false_alarm_threshold",
    "likelihood_ratios",
]


class ConformalOutlierDetector(OutlierMixin, MetaEstimatorMixin, VersionedMixin, BaseEstimator):
    """Give any detector a threshold with a stated false-alarm rate, and p-values.

    `fit` trains the detector without some of the normal rows, and reads off the scores of these
    where to put the threshold. No anomalies are needed, and no guess of their share
    (`contamination`).

    Parameters
    ----------
    estimator : detector or pipeline
        Anything with `fit` and `score_samples` or, failing that, `decision_function`, higher = more
        normal as everywhere in scikit-learn; detectors of PyOD, which score anomalies higher, are
        turned round. It is cloned by `fit`. A detector that is fitted
        already is kept as it is when wrapped in :class:`~sklearn.frozen.FrozenEstimator`, or when
        `calibrate` is called instead of `fit`.
    false_alarm_rate : float or dict of {group: float}, default=0.05
        Largest share of normal rows that may be flagged, between 0 and 1. With `groups` it is kept
        in each of them, and may differ between them: a dict has a rate for every group.
    strategy : {"split", "cross", "bootstrap"}, default="split"
        - "split" sets rows aside once. Its rate is guaranteed.
        - "cross" trains `n_models` detectors, each without one fold of the rows, which it scores;
          a fresh row has the mean of their scores.
        - "bootstrap" trains `n_models` detectors on rows drawn with replacement; a training row has
          the mean score of those that did not draw it, a fresh row that of all (jackknife+ after
          bootstrap).

        The last two waste no row, and take as long as so many fits; see the notes on their rate.
    calibration_size : float or int, default=0.2
        Share or number of the normal rows that "split" sets aside for calibration. A frozen
        `estimator` needs no training rows, and is calibrated on all.
    n_models : int, default=None
        Detectors of the strategies "cross" and "bootstrap". None means 5 folds or 20 draws; a draw
        leaves out 37 % of the rows, so that each is left out by 7 of 20 on average.
    reference_rows : int, default=500
        Training rows, drawn at random, that are kept where the detector can learn from `feedback`,
        so that it does not forget what is normal. They are real rows, also in every pickle: 0 keeps
        none, and feedback then moves the threshold alone.
    random_state : int, RandomState instance or None, default=None
        Which rows are set aside. Unless None, it also seeds the detector, or the steps of it, where
        their own `random_state` is None: an int makes the fit repeatable.

    Attributes
    ----------
    estimator_ : estimator
        The detector whose scores are used. Only if there is one.
    estimators_ : list of estimator
        The detectors whose mean score is used; one with "split".
    calibration_scores_ : ndarray of shape (n_calibration,), or dict of {group: ndarray}
        Scores of the calibration rows, ascending.
    calibration_weights_ : ndarray of shape (n_calibration,), or dict of {group: ndarray}, or None
        Beside each score its weight. None where `calibrate` was given none.
    offset_ : float or dict of {group: float}
        Threshold: rows that score below it are flagged. -inf if none can be.
    n_features_in_ : int
        Number of features seen during fit, if `estimator_` knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if `estimator_` knows them.

    See Also
    --------
    false_alarm_threshold : The threshold alone, from scores.
    conformal_p_values : The p-values alone, from scores.
    likelihood_ratios : Weights for `calibrate`, where the mix of rows has changed.
    HRNGroupedDetector : A detector for each group, and not only a threshold.

    Notes
    -----
    *The guarantee.* A fresh normal row is flagged with probability at most `false_alarm_rate`, if
    it is exchangeable with the calibration rows (drawn from the same distribution, in no particular
    order) [1]_. It needs no assumption on the detector or on the distribution. It is marginal: an
    average over the draw of the calibration rows and of the fresh row. For one set of n calibration
    rows without ties the rate is a draw from Beta(m, n + 1 - m) with m = floor(false_alarm_rate *
    (n + 1)), whose mean is m / (n + 1): for n = 1000 and a rate of 0.05, 0.05 ± 0.007. It is not a
    promise for each kind of row apart, and none at all once the data drift: then `calibrate` on
    recent normal rows. Anomalies among the calibration rows make for fewer alarms. Exact copies of
    a row, where there are more than chance explains, train together, and one of them is scored.

    *Groups.* Whoever scores low for a good reason, such as an old machine, has more than his share
    of the false alarms. With `groups` the rows of each are compared with the calibration rows of
    the same group (Mondrian conformal prediction [1]_): the guarantee, and the resolution below,
    hold in each group. There is one detector all the same, which does not see the groups.

    *Weights.* Where the mix of rows has changed, but not what is normal for each, calibration rows
    count by how much likelier they have become, `sample_weight` of `calibrate` [6]_. With the true
    ratios, p-values of fresh normal rows are valid as above; with the largest weight in place of
    the row's own, as here, for rows that weigh no more than that: the rate is exceeded by at most
    the share of those that do. With estimated ratios it holds as far as they are right.

    *The rate of "cross" and "bootstrap"* is usual and not guaranteed: a training row is scored by a
    part of the models, a fresh row by all of them. Where every model of a fold is compared on its
    own (CV+, jackknife+), at most twice the rate is guaranteed [3]_, [4]_; a mean of models is
    steadier than each, and so realised rates lie close to the wanted one and rather below it.

    *False discoveries* of a batch are controlled by "bh", as p-values that share their calibration
    rows depend on each other in a harmless way [2]_; of a stream by "lond" [5]_. Those of weighted
    rows need not [7]_: only "by", which holds for p-values that depend on each other in any way, is
    proven for them, and `predict_fdr` takes no other.

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
    .. [3] R. F. Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, "Predictive inference with
       the jackknife+", Annals of Statistics 49(1), 486-507, 2021.
    .. [4] B. Kim, C. Xu and R. F. Barber, "Predictive inference is free with the
       jackknife+-after-bootstrap", NeurIPS, 2020.
    .. [5] A. Javanmard and A. Montanari, "On online control of false discovery rate",
       arXiv:1502.06197, 2015.
    .. [6] R. J. Tibshirani, R. F. Barber, E. J. Candès and A. Ramdas, "Conformal prediction under
       covariate shift", NeurIPS, 2019.
    .. [7] Y. Jin and E. J. Candès, "Model-free selective inference under covariate shift via
       weighted conformal p-values", Biometrika 112(1), 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn_hrn import ConformalOutlierDetector
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

    estimators_: list[Any]
    # An array or a number, or, where there are groups, a dict of them.
    calibration_scores_: Any
    calibration_weights_: Any
    offset_: Any

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "estimator": [HasMethods(["fit"])],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither"), dict],
        "strategy": [StrOptions({"split", "cross", "bootstrap"})],
        "n_models": [Interval(Integral, 2, None, closed="left"), None],
        "reference_rows": [Interval(Integral, 0, None, closed="left")],
        "calibration_size": [
            Interval(Real, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Estimator,
        *,
        false_alarm_rate: float | dict[Any, float] = 0.05,
        strategy: Literal["split", "cross", "bootstrap"] = "split",
        calibration_size: float = 0.2,
        n_models: int | None = None,
        reference_rows: int = 500,
        random_state: Seed = None,
    ) -> None:
        self.estimator = estimator
        self.false_alarm_rate = false_alarm_rate
        self.strategy = strategy
        self.calibration_size = calibration_size
        self.n_models = n_models
        self.reference_rows = reference_rows
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Train the detector on a part of the normal rows and calibrate on the rest.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.
        groups : array-like of shape (n_samples,), default=None
            Which group a row is of, numbers or text: each then has a threshold of its own, and
            every later call takes the groups of its rows. The detector does not get them, unless
            metadata routing is enabled and it requests them in `fit`; it scores rows without them
            in any case. An HRNGroupedDetector is told of its groups by `group_column`.
        **fit_params : dict
            Passed to `fit` of the detector, cut to its rows where given by row. With metadata
            routing enabled, those that it requests.

        Returns
        -------
        self : object

        Raises
        ------
        CalibrationError
            If no row of a group is left for calibration.
        ValueError
            If there are too few rows to train and to calibrate on, or a group has no rate.
        TypeError
            If the detector has no scores.

        Warns
        -----
        ResolutionWarning
            If there are too few calibration rows for the rate: nothing is then flagged.
        UserWarning
            If the `fit` of the detector takes groups, too, and does not get these.
        """
        score_method(self.estimator)
        if _routing_enabled():
            given = {} if groups is None else {"groups": groups}
            fit_params = process_routing(self, "fit", **given, **fit_params).estimator.fit
        elif groups is not None and has_fit_parameter(last_step(self.estimator), "groups"):
            warn(
                f"{type(last_step(self.estimator)).__name__} takes groups in its fit, but does not "
                "get those that are given here, which thresholds are for: name a group_column of "
                "an HRNGroupedDetector, or enable metadata routing and call "
                "set_fit_request(groups=True) of the detector, or of none to keep them from it.",
                UserWarning,
            )
        refuse_lazy(X)
        (X,) = indexable(X)
        rows = normal_rows(X, y, self)
        rows = np.arange(_num_samples(X)) if rows is None else rows
        groups = None if groups is None else check_groups(groups, X)[rows]
        rate_of_each(self.false_alarm_rate, rows_by_group(groups))
        if isinstance(self.estimator, FrozenEstimator):
            check_is_fitted(self.estimator)
            scores = scores_of(self.estimator, _safe_indexing(X, rows))
            return self._keep([self.estimator], scores, groups=groups, _reference=None)
        rng = check_random_state(self.random_state)
        sizes = {"n_models": self.n_models, "calibration_size": self.calibration_size}
        copies = copies_of(X if len(rows) == _num_samples(X) else _safe_indexing(X, rows))
        folds = draw_folds(self.strategy, len(rows), rng, groups=groups, copies=copies, **sizes)
        detector = switched_off(clone(self.estimator), "calibration")
        if self.random_state is not None:
            seed_where_unseeded(detector, rng)
        with once_a_kind():
            models = fitted_by_folds(detector, X, [rows[train] for train, _ in folds], fit_params)
        # A row that several models left out has their mean score.
        total, count = np.zeros(len(rows)), np.zeros(len(rows))
        for model, (_, held_out) in zip(models, folds, strict=True):
            total[held_out] += scores_of(model, _safe_indexing(X, rows[held_out]))
            count[held_out] += 1
        kept = None
        if self.reference_rows and all(can_learn(last_step(model)) for model in models):
            trained = np.unique(np.concatenate([train for train, _ in folds]))
            kept = drawn_rows(_safe_indexing(X, rows[trained]), self.reference_rows)
        scored = count > 0
        groups = None if groups is None else groups[scored]
        scores = total[scored] / count[scored]
        return self._keep(models, scores, groups=groups, _reference=as_columns(kept))

    @_fit_context(prefer_skip_nested_validation=False)
    def calibrate(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Set the threshold by fresh normal rows, without training.

        Before any `fit`, the detector given as `estimator` must be fitted, and is used as it is.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Normal rows that the detector was not trained on. They replace all earlier calibration
            rows.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.
        sample_weight : array-like of shape (n_samples,), default=None
            How much likelier each row is where the detector will be used than where X comes from,
            up to a common factor, as of :func:`likelihood_ratios`. None is 1 for each.
        groups : array-like of shape (n_samples,), default=None
            As in `fit`; they replace those of earlier calibration rows.

        Returns
        -------
        self : object
        """
        models = getattr(self, "estimators_", [self.estimator])
        for model in models:
            check_is_fitted(model)
        (X,) = indexable(X)
        rows = normal_rows(X, y, self)
        weights = sample_weight
        if weights is not None:
            weights = check_weights(weights, X, "sample_weight", "X")
        groups = None if groups is None else check_groups(groups, X)
        if rows is not None:
            X = _safe_indexing(X, rows)
            weights, groups = (of if of is None else of[rows] for of in (weights, groups))
        return self._keep(models, mean_scores(models, X), weights, groups)

    def set_false_alarm_rate(self, false_alarm_rate: float | dict[Any, float]) -> Self:
        """Move the threshold to another false-alarm rate; nothing is trained.

        Parameters
        ----------
        false_alarm_rate : float or dict of {group: float}
            Between 0 and 1. It becomes the parameter of this name.

        Returns
        -------
        self : object
        """
        calibration = self._calibration()
        with learning_on_copy(self, continues=True) as learner:
            learner.offset_ = calibration.thresholds(false_alarm_rate)
            learner.set_params(false_alarm_rate=false_alarm_rate)
        return self

    def feedback(self, X: Rows, y: ArrayLike, *, n_screened: int | None = None) -> Self:
        """Learn from verdicts on rows that were flagged.

        Detectors that are, or end in, an :class:`HRNOneClassClassifier` train on, as told by
        :meth:`OneClassPipeline.feedback`. The rate is usual from then on, and not guaranteed: the
        calibration scores are moved along by an estimate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that were flagged since the last feedback, and anomalies that were missed. With
            `n_screened`, all that were flagged, which may be none. They are kept, also in pickles,
            until the next `fit` or `calibrate`.
        y : array-like of shape (n_samples,)
            +1 for false alarms, -1 for anomalies.
        n_screened : int, default=None
            Rows that were screened since then, those of X among them, ten million at most. The
            others count as normal, and with the false alarms they join the calibration. Flagged
            rows were chosen for their low scores, and say nothing of a rate without those that
            passed: None leaves them out of it.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the verdicts do not fit the rows, or nothing can be learned from them: without
            `n_screened` by other detectors, or by such as were fitted with ``reference_rows=0``.
            Nothing is changed then.
        """
        check_is_fitted(self)
        self._calibration().refuse_verdicts()
        models, lasts = self.estimators_, list(map(last_step, self.estimators_))
        before = vars(self).get("_lessons") or first_lessons(lasts, self.calibration_scores_)
        lessons, lasts, scores = after_feedback(
            before,
            [partial(transformed, model) for model in models],
            as_frame(vars(self).get("_reference")),
            X,
            y,
            n_screened,
            flags=lambda rows: self.score_samples(rows) < self.offset_,
            place=partial(false_alarm_threshold, rate=self.false_alarm_rate),
        )
        return self._keep([*map(with_last_step, models, lasts)], scores, _lessons=lessons)

    def score_samples(self, X: Rows) -> Floats:
        """Scores of the detector, higher = more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return mean_scores(self.estimators_, X)

    def decision_function(self, X: Rows, *, groups: ArrayLike | None = None) -> Floats:
        """``score_samples(X) - offset_``: negative for rows that are flagged.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            The group of each row, where the calibration rows have groups.

        Returns
        -------
        decision : ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If the calibration rows have groups and these rows have not, or the other way round, or
            if a row is of a group without calibration rows.
        """
        calibration, scores, parts = self._scored(X, groups)
        return calibration.decisions(scores, parts, self.offset_)

    def predict(self, X: Rows, *, groups: ArrayLike | None = None) -> Integers:
        """Flag rows at the false-alarm rate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            As in `decision_function`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            -1 for rows whose p-value is at most `false_alarm_rate`, +1 for the others.
        """
        return np.where(self.decision_function(X, groups=groups) < 0, -1, 1)

    def fit_predict(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Integers:
        """Fit on the normal rows, then flag rows among all of X.

        The rate holds for fresh rows; of the rows trained on fewer are flagged.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            As in `fit`.
        groups : array-like of shape (n_samples,), default=None
            As in `fit`.
        **fit_params : dict
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            -1 for flagged rows, +1 for the others.
        """
        return self.fit(X, y, groups=groups, **fit_params).predict(X, groups=groups)

    def p_values(self, X: Rows, *, groups: ArrayLike | None = None) -> Floats:
        """Conformal p-values: small for rows unlike the calibration rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        groups : array-like of shape (n_samples,), default=None
            As in `decision_function`.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            Between 1 / (n_calibration + 1) and 1; uniform or larger for fresh normal rows. Of
            weighted calibration rows, with the largest weight for that of the row.
        """
        calibration, scores, parts = self._scored(X, groups)
        return calibration.p_values(scores, parts)

    def predict_fdr(
        self,
        X: Rows,
        *,
        fdr: float = 0.1,
        method: Literal["bh", "by", "lond"] = "bh",
        groups: ArrayLike | None = None,
    ) -> Integers:
        """Flag rows with control of the share of false alarms *among the flagged*.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The batch. Which rows are flagged depends on all of them; with "lond" on those before.
        fdr : float, default=0.1
            Largest false-discovery rate, between 0 and 1: the expected share of normal rows among
            those flagged, over draws of calibration rows and batches. A batch of normal rows only
            has an alarm with at most this probability.
        method : {"bh", "by", "lond"}, default="bh"
            - "bh", "by": of a batch, the procedure of Benjamini and Hochberg, or the more cautious
              one of Benjamini and Yekutieli; see :func:`scipy.stats.false_discovery_control`.
              p-values that share their calibration rows depend on each other in the way under which
              "bh" is valid: see the references of the class, as for "lond". Calibration rows that
              differ in weight take "by", as for them no other is proven to keep the rate.
            - "lond": online, row after row in the order of X, and final: row t is flagged if its
              p-value is at most ``fdr * g_t * (1 + number flagged before)``, where ``g_t = 6 / (pi
              t)^2``. Each call begins with t = 1: give all rows of the stream so far, the earlier
              of which keep their answers. The levels fall, so it takes many calibration rows: the
              first t rows can be flagged one by one if there are more than 1.65 t^2 / fdr.
        groups : array-like of shape (n_samples,), default=None
            As in `decision_function`. The rows of all groups are one batch.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            -1 for flagged rows, +1 for the others.

        Raises
        ------
        ValueError
            If `fdr` or `method` is not allowed, if `method` is not "by" and calibration rows differ
            in weight, or as by `decision_function`.

        Warns
        -----
        ResolutionWarning
            If not even a batch of the smallest p-values could be flagged. Short of that, about
            n_samples / (fdr * (n_calibration + 1)) rows must stand out together for any to be.
        """
        if not BETWEEN_0_AND_1.is_satisfied_by(fdr):
            raise ValueError(f"fdr must lie between 0 and 1, got {fdr!r}.")
        if not isinstance(method, str) or method not in ("bh", "by", "lond"):
            raise ValueError(f"method={method!r} is unknown: allowed are 'bh', 'by' and 'lond'.")
        self._calibration().refuse_unproven(method)
        calibration, scores, parts = self._scored(X, groups)
        p_values = calibration.p_values(scores, parts)
        return np.where(calibration.discoveries(p_values, parts, fdr, method), -1, 1)

    def _keep(self, models, scores, weights=None, groups=None, **besides):
        """Take detectors, their calibration, and attributes of one's own that come with them."""
        calibration = GroupCalibration.of_rows(scores, weights, groups)
        with learning_on_copy(self) as learner:
            vars(learner).pop("_lessons", None)
            learner.estimators_ = models
            learner.calibration_scores_, learner.calibration_weights_ = calibration.kept()
            learner.offset_ = calibration.thresholds(self.false_alarm_rate)
            vars(learner).update(besides)
        return self

    def _calibration(self):
        check_is_fitted(self)
        return GroupCalibration(self.calibration_scores_, self.calibration_weights_)

    def _scored(self, X, groups):
        """What there is to decide by: the calibration, the scores and the rows of each group."""
        calibration = self._calibration()
        parts = calibration.parts(X, groups)
        return calibration, mean_scores(self.estimators_, X), parts

    @property
    def estimator_(self) -> Any:
        """The detector, if there is one."""
        if len(vars(self).get("estimators_", ())) != 1:
            raise AttributeError("estimator_ is there after a fit, and if there is one detector.")
        return self.estimators_[0]

    @property
    def n_features_in_(self) -> int:
        """Number of features seen during fit."""
        return self.estimators_[0].n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of features seen during fit."""
        return self.estimators_[0].feature_names_in_

    def get_metadata_routing(self) -> MetadataRouter:
        """Routing of metadata: `fit` passes on what the detector requests, `groups` as well.

        Returns
        -------
        routing : MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(
                estimator=self.estimator,
                method_mapping=MethodMapping().add(caller="fit", callee="fit"),
            )
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        detector_tags = get_tags(self.estimator)
        tags.input_tags = deepcopy(detector_tags.input_tags)
        tags.non_deterministic = detector_tags.non_deterministic
        return tags
