"""Pipelines for one-class learning."""

from contextlib import suppress
from copy import deepcopy
from functools import partial
from itertools import chain
from math import ceil, prod
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import check_is_fitted

from ._base import learning_on_copy
from ._calibration import (
    at_most_as_own,
    conformal_p_values,
    decisions,
    score_method,
    scores_of,
    switched_off,
    usual_threshold,
)
from ._copies import copies_of
from ._folds import make_folds, out_of_fold_scores
from ._joint_fit import at_most, finished, fit_last, prepare_folds, take
from ._labels import judged_labels, normal_rows
from ._outlier_share import concentrated_rows, end_of_normal_rows, steps_to_distances
from ._reference import as_columns, as_frame, drawn_rows, joined
from ._refusals import refuse_lazy, refuse_scores_of_anomalies
from ._sklearn import (
    _check_method_params,
    _num_samples,
    _safe_indexing,
    available_if,
    has_callbacks,
)
from ._steps import StepsAsGiven, with_last_step
from ._streams import OF_CALIBRATION, learn_from_stream
from ._threads import each_at_once, few_threads, n_at_once
from ._typing import Floats, Integers, Rows
from ._verdicts import after_feedback, can_learn, first_lessons
from .exceptions import CalibrationError, FarRowsPassWarning, quietly, warn

__all__ = ["OneClassPipeline"]

# Training rows that a new threshold is tried on.
N_LOOKED_AT = 200


def _pipeline_has(method):
    """Condition under which a plain pipeline with the same last step has a method."""

    def check(self):
        getattr(super(OneClassPipeline, self), method)  # its AttributeError says what is missing
        return True

    return check


def _is_calibrated(self):
    if vars(self).get("calibration") is None:
        raise AttributeError(
            "p-values and feedback need scores of rows that did not train: make the pipeline with "
            "calibration='cross'."
        )
    return True


def _refuse(params):
    if params:
        raise TypeError(f"a calibrated pipeline scores without metadata, but got {sorted(params)}.")


def _continued(step, before):
    """The step to fit: where it has a warm start, a copy of the fit before it."""
    if getattr(step, "warm_start", False) and type(before) is type(step):
        return deepcopy(before).set_params(**step.get_params(deep=False))
    return step


def _last_step_has(method):
    """Condition under which the last step has a method."""

    def check(self):
        getattr(self.steps[-1][1], method)  # its AttributeError says what is missing
        return True

    return check


def _threshold(scores, rate):
    return float(scores[0]) if rate is None else usual_threshold(scores, rate)


def _out_of_fold_scores(X, folds, in_folds, each):
    """Scores of rows by pipelines that did not train on them."""
    (X,) = indexable(X)

    def score(fitted, held_out):
        return scores_of(fitted, _safe_indexing(X, held_out))

    with quietly():  # the fit on all rows has said what there is to say
        return out_of_fold_scores(folds, in_folds, score, each)


class OneClassPipeline(StepsAsGiven):
    """A pipeline whose steps are fitted on normal rows only.

    `fit`, `fit_predict` and `fit_transform` leave out the rows with ``y == -1`` *before the first
    step*: ``fit(X, y)`` is ``fit(X[y != -1])``. In a plain :class:`~sklearn.pipeline.Pipeline` a
    detector may drop these rows, but the scaler before it has seen them. So a search with
    :class:`~sklearn_hrn.InlierKFold` is right including its refit, which gets all
    rows.

    `score_samples`, `decision_function` and `predict` work through large inputs in blocks of rows,
    so that a wide step in between (Fourier features, a patch dictionary) never holds all rows.

    `fit` trains clones of the steps. The estimators given stay as they are; the fitted ones are
    found by name or position (``pipeline["scale"]``), in `named_steps` and in `steps_`. A fit that
    fails leaves the previous one in place. All else is as in :class:`~sklearn.pipeline.Pipeline`.

    Only a last step that asks for the anomalies is shown them: with an `anomaly_weight` above 0, as
    :class:`~sklearn_hrn.HRNOneClassClassifier` has it, all steps before are fitted on normal rows,
    and it gets the anomalies as these steps transform them, with y. Calibration, and what
    `outlier_share` leaves out, are of the normal rows alone.

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        Transformers, and a detector at the end. Steps that are fitted already can be used for
        scoring without a call to `fit`.
    calibration : {"cross"}, int, splitter or None, default=None
        Where the threshold of `predict` comes from. None leaves it to the last step, which takes
        it from scores of its training rows: fresh rows score lower, and more of them are flagged
        than wanted. Else from rows that did not train the model that scored them: "cross" makes
        five folds of the normal rows, ten where there are fewer than two rows a column, and three
        of 500 rows or more, of which it fits no more than hold out enough rows for the rate (see
        the notes); an int makes that many. They are drawn at random, the same for the same number
        of rows; exact copies of a row stay together where there are more than chance explains, and
        one is scored. A splitter of :mod:`sklearn.model_selection` makes its own, of the number of
        normal rows alone: :class:`~sklearn.model_selection.PredefinedSplit` keeps groups of rows
        together. *All* steps are fitted anew on the other rows of each fold. The rate is the
        `contamination` of the last step.
    outlier_share : float in [0, 0.5) or "auto", default=0.0
        Training rows may be anomalies nobody has labelled, and this is an upper bound of their
        share; "auto" is 0.1. That share of the normal rows, the furthest from all others as the
        first step transforms them, is left out, and all steps are fitted on the others. See the
        notes.
    reference_rows : int, default=500
        Training rows, drawn at random, that the fitted pipeline keeps where its last step is a
        detector: to say against which normal row a row is strange
        (:func:`~sklearn_hrn.inspection.feature_attribution`), and not to forget what is normal when
        it learns from verdicts (`feedback`). They are real rows of the training set, also in every
        pickle: 0 keeps none, nor those of the beginning of a stream (`partial_fit`). What steps
        keep by themselves, as `LandmarkFeatures` does its landmarks, stays.
    subsample : int, default=None
        Normal rows, drawn at random, that all steps are fitted on where there are more; None takes
        all. A classifier that takes 200 updates of 50 rows sees no more than 10,000 rows in any
        case: where the steps before it need no more either, the others cost time and memory for
        nothing. Which rows are drawn depends on how many there are, and on nothing else.
    transform_input : list of str, default=None
        Metadata to transform before they are passed on.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the fitted transformers.
    verbose : bool, default=False
        Print the time of each step while fitting.

    Attributes
    ----------
    steps_ : list of (str, estimator) tuples
        The fitted steps.
    named_steps : :class:`~sklearn.utils.Bunch`
        The steps by name, fitted once `fit` was called.
    offset_ : float
        The threshold, if there is one: ``decision_function = score_samples - offset_``. That of
        the last step, or that of the calibration.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Scores of training rows, each by steps fitted without it, ascending: of all rows, or of
        those that the folds hold out, or of one of several copies; all of them lower by a constant
        where their threshold would flag far more training rows than the rate, as where few rows
        differ. Only with `calibration`.
    left_out_ : ndarray of int
        Rows of X that `outlier_share` has left out, ascending. Only with `outlier_share`.
    reference_rows_ : {array, data frame} of shape (n_rows, n_features)
        Training rows, drawn at random; at most `reference_rows`. Only if that is above 0 and the
        last step a detector.
    n_features_in_ : int
        Number of features seen during fit, if the first step knows it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if the first step knows them.

    See Also
    --------
    InlierKFold : Folds that train on normal rows only.
    ConformalOutlierDetector : A rate that is guaranteed, and not only usual.

    Notes
    -----
    *Calibration.* The steps that score are fitted on all normal rows; those of the folds place the
    threshold and are gone. The threshold is the m-th lowest of the n out-of-fold scores, m =
    contamination (n + 1), linearly between two of them where m is no whole number, and rows that
    score below it are flagged. That the share of fresh normal rows below it comes close to
    `contamination` is usual (``python -m sklearn_hrn.benchmark decisions`` counts it) and not
    guaranteed, as fold and final models are not the same. The theory of such schemes,
    cross-conformal prediction, jackknife+ and CV+, guarantees twice the rate when every fold scores
    a fresh row [1]_; a rate that holds whatever the detector takes rows set aside, as in
    :class:`~sklearn_hrn.ConformalOutlierDetector`. With fewer than 1 / contamination - 1 rows the
    threshold is the lowest out-of-fold score, which supports a rate of 1 / (n + 1), and
    :class:`~sklearn_hrn.exceptions.ResolutionWarning` says so. A
    `contamination` of None always takes the lowest score. `fit_predict` fits, then predicts: of
    the training rows few are flagged, or none.

    Where the m-th lowest of n scores lies is known the better, the larger m: the share of fresh
    rows below it deviates by one over the root of m, relative to the rate. So "cross" fits as many
    of its folds as hold out 15 rows below the threshold, 1500 for a rate of 1 % and, for the sake
    of p-values, for any larger one: from 4500 rows on that is one fold of three, from 2250 on two.
    Each trains on two thirds of the rows as ever; the rows of the other folds have no out-of-fold
    score. ``calibration=3`` fits all three, which brings 4500 rows from a quarter to a seventh.

    All rows and the folds are trained together, on as many cores as torch has threads. A fold that
    cannot be trained raises :class:`~sklearn_hrn.exceptions.CalibrationError`. Warnings and calls
    of scikit-learn's callbacks are those of the fit on all rows.
    :class:`~sklearn_hrn.HRNSearchCV` tries its candidates without calibration and with all normal
    rows, and calibrates its refit.

    *Training rows that are not clean.* With `outlier_share` the first step, where there is one
    before the last, transforms the rows, and every column is divided by its deviation. Rows of many
    like features, with a step that brings them to length one, are compared behind that step, and
    images by their words. (Where the last step sees them, often in a thousand features that say
    what is near, distances tell less.) Of h rows to leave out,
    a row is as far as its h-th neighbour among the rows kept, so that a group of h rows close
    together is as visible as single ones; the furthest h are left out, and distances are taken anew
    until the same rows stay. Then the first step is fitted on these, and all of it is done once
    more. No label is used. What is left out is a share of the rows, not all of them anomalies: a
    share that is too large costs little, one that is too small leaves a group in place. With
    `calibration` the rate is meant for normal rows. So the rows left out count as normal
    down to the first gap between scores that is wide for a tail like that of the rows kept: a group
    apart lies behind it. Where anomalies lie among the normal rows, some more rows are flagged than
    wanted (``python -m sklearn_hrn.benchmark tables --tasks unlabelled`` counts them).

    Blocks have as many rows as fit, in float64 and at the input of the widest step, into one
    sixteenth of scikit-learn's ``working_memory`` (64 MiB by default; see
    :func:`sklearn.set_config`), but at least 256. Scores are those of one large block, up to the
    rounding of a matrix product with another number of rows. Calls with metadata are not blocked.

    References
    ----------
    .. [1] R. F. Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, "Predictive inference with
       the jackknife+", Annals of Statistics 49(1), 486-507, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_hrn import OneClassPipeline
    >>> X, y = np.array([[1.0], [2.0], [3.0], [999.0]]), [1, 1, 1, -1]
    >>> pipeline = OneClassPipeline(
    ...     [("scale", StandardScaler()), ("detector", IsolationForest(random_state=0))]
    ... ).fit(X, y)
    >>> pipeline["scale"].mean_
    array([2.])

    One alarm in ten is asked for, and of 1000 fresh normal rows about a hundred are flagged:

    >>> rng = np.random.default_rng(0)
    >>> detector = IsolationForest(contamination=0.1, random_state=0)
    >>> pipeline = OneClassPipeline([("detector", detector)], calibration="cross")
    >>> labels = pipeline.fit(rng.normal(size=(200, 3))).predict(rng.normal(size=(1000, 3)))
    >>> bool(50 < (labels == -1).sum() < 150)
    True
    """

    calibration_scores_: Floats
    left_out_: Integers
    _reference: Any

    def fit(self, X: Rows, y: ArrayLike | None = None, **params: Any) -> Self:
        """Fit all steps on the rows that are not labelled as anomalies.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Whatever the first step takes.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.
        **params : dict
            Passed to the steps as by :class:`~sklearn.pipeline.Pipeline`; values given by row lose
            the same rows.

        Returns
        -------
        self : object

        Raises
        ------
        CalibrationError
            With `calibration`, if a fold cannot be trained or scored, or rows are fewer than folds.
        ValueError, TypeError
            For a parameter that is not allowed, a last step without a `contamination` or without
            scores to calibrate, or whatever a step refuses. The fit before is then still there.

        Warns
        -----
        ResolutionWarning
            With `calibration`, if there are too few rows for the rate.
        FarRowsPassWarning
            If rows far from all training rows would be taken for normal.
        """
        given = self._to_fit_on(X, y, params)
        with few_threads(given[0]):
            self._run_on_clone("fit", *given)
        return self

    def _fitting(self, X):
        """As `fit`, in company: folds that wait to be trained are yielded, and trained outside."""
        yield from self._running("fit", *self._to_fit_on(X, None, {}), in_company=True)

    def _to_fit_on(self, X, y, params):
        """Rows, what comes with them, anomalies, and the numbers of these rows (None: all)."""
        self._validate_params()
        normal, anomalies = normal_rows(X, y, self), None
        rows = at_most(normal, X, self.subsample)
        if rows is not None:
            X, y = indexable(X, y)
            if normal is not None and self._asks_for_anomalies() and len(normal) < _num_samples(X):
                anomalies = _safe_indexing(X, np.setdiff1d(np.arange(_num_samples(X)), normal))
            params = _check_method_params(X, params, rows)
            X, y = (*take(X, y, rows), None)[:2]
        return X, y, params, anomalies, rows

    @available_if(_last_step_has("partial_fit"))
    def partial_fit(self, X: Rows, y: ArrayLike | None = None) -> Self:
        """Learn from the next rows of a stream.

        A stream begins with fits: the first chunk is fitted as by `fit`, and so is all that has
        come, whenever that has doubled, as long as it is 2000 rows or fewer. Until there are more,
        these rows are kept, also in pickles; ``reference_rows=0`` keeps none, and only the first
        chunk takes part.

        From then on a step that has `partial_fit`, as the last one must, goes on learning, with the
        parameters that it has been given until then, and all others stay as they are. A first chunk
        of more than 2000 rows is not fitted: the steps learn from it as from all to come. A stream
        may also go on from a `fit`. How the threshold follows, and when it warns of drift, is told
        by :meth:`HRNOneClassClassifier.partial_fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A chunk, of hundreds of rows or more: of few tens, the threshold is moved along with
            errors that a `ResolutionWarning` tells of.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            With `outlier_share`, for which all rows must be there. Nothing is changed then, nor by
            any other error.
        """
        self._validate_params()
        if self.outlier_share:
            raise ValueError(
                f"outlier_share={self.outlier_share!r} compares all training rows, which a stream "
                "does not have: set outlier_share=0."
            )
        rows = normal_rows(X, y, self)
        if rows is not None:
            X = _safe_indexing(X, rows)
        learn_from_stream(self, X)
        return self

    @available_if(_pipeline_has("fit_predict"))
    def fit_predict(self, X: Rows, y: ArrayLike | None = None, **params: Any) -> Integers:
        """Fit on the rows that are not labelled as anomalies, then predict all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        **params : dict
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Predictions of the last step, one a row of X.
        """
        fits_all_rows = self._fits_all_rows(X, y)
        if self.calibration is None and fits_all_rows:
            return self._run_on_clone("fit_predict", X, y, params)
        with judged_labels():
            self.fit(X, y, **params)
        return self.predict(X)

    @available_if(_pipeline_has("fit_transform"))
    def fit_transform(self, X: Rows, y: ArrayLike | None = None, **params: Any) -> Any:
        """Fit on the rows that are not labelled as anomalies, then transform all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        **params : dict
            As in `fit`.

        Returns
        -------
        Xt : ndarray of shape (n_samples, n_transformed_features)
        """
        if self._fits_all_rows(X, y):
            return self._run_on_clone("fit_transform", X, y, params)
        with judged_labels():
            self.fit(X, y, **params)
        return self.transform(X)

    @available_if(_pipeline_has("score_samples"))
    def score_samples(self, X: Rows) -> Floats:
        """Scores of the last step, in blocks of rows; higher = more normal.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        return self._by_block("score_samples", X)

    @available_if(_is_calibrated)
    def p_values(self, X: Rows) -> Floats:
        """How extreme rows are among the out-of-fold scores: small for anomalies.

        Only with `calibration`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            Between 1 / (n_calibration + 1) and 1; close to uniform for fresh normal rows. `predict`
            flags rows of at most `contamination`, and some of the next larger p-value, as its
            threshold may lie between two scores; of rows too few for the rate, those of the
            smallest.
        """
        self._check_calibrated()
        return conformal_p_values(self._scores(X), self.calibration_scores_)

    @available_if(_is_calibrated)
    def feedback(self, X: Rows, y: ArrayLike, *, n_screened: int | None = None) -> Self:
        """Learn from verdicts on rows that were flagged.

        Where the last step is an :class:`HRNOneClassClassifier`, it goes on to train for a few
        updates from where `fit` left it: on rows of its training set (`reference_rows`), on the
        false alarms of this feedback and all before, and with the anomalies kept below, by its
        `anomaly_weight` or, where that is 0, 0.1. Steps before it stay as they are. The calibration
        scores follow by as much as the quantiles of the scores of rows kept do, each by a network
        that has not gone on with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that were flagged since the last feedback, and anomalies that were missed. With
            `n_screened`, all that were flagged, which may be none. They are kept, also in pickles,
            until the next `fit`.
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
            `n_screened` by another last step, or by one that was fitted with ``reference_rows=0``.
            Nothing is changed then.
        """
        self._check_calibrated()
        lasts = [self.steps[-1][1]]
        before = vars(self).get("_lessons") or first_lessons(lasts, self.calibration_scores_)
        lessons, (last,), scores = after_feedback(
            before,
            [self._transformed],
            as_frame(vars(self).get("_reference")) if can_learn(lasts[0]) else None,
            X,
            y,
            n_screened,
            flags=lambda rows: self._scores(rows) < self.offset_,
            place=partial(_threshold, rate=self._rate()),
        )
        with learning_on_copy(self, continues=True) as learner:
            vars(learner).pop("_beginning", None)  # a fit of it would forget the verdicts
            learner._lessons, learner.steps_ = lessons, with_last_step(self, last).steps
            learner._place_threshold(scores, self._rate())
            learner._check_far_rows()
        return self

    @available_if(_pipeline_has("decision_function"))
    def decision_function(self, X: Rows, **params: Any) -> Floats:
        """Scores less the threshold, in blocks of rows; negative = anomaly.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        **params : dict
            Metadata requested by the steps. None with `calibration`.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
        """
        if hasattr(self, "calibration_scores_"):
            _refuse(params)
            return decisions(self._scores(X), self.offset_)
        if params:
            return super().decision_function(X, **params)
        return self._by_block("decision_function", X)

    @available_if(_pipeline_has("predict"))
    def predict(self, X: Rows, **params: Any) -> Integers:
        """Predictions of the last step, in blocks of rows; +1 = normal, -1 = anomaly.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        **params : dict
            As in :class:`~sklearn.pipeline.Pipeline`. None with `calibration`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        if hasattr(self, "calibration_scores_"):
            _refuse(params)
            return np.where(decisions(self._scores(X), self.offset_) < 0, -1, 1)
        if params:
            return super().predict(X, **params)
        return self._by_block("predict", X)

    def _fits_all_rows(self, X, y):
        """Whether a fit takes all rows; it judges y, which need not be judged again."""
        self._validate_params()
        rows = at_most(normal_rows(X, y, self), X, self.subsample)
        return rows is None and not self.outlier_share

    def _asks_for_anomalies(self):
        with suppress(TypeError, IndexError):  # malformed steps are for fit to name
            return getattr(vars(self)["steps"][-1][1], "anomaly_weight", 0) > 0
        return False

    @judged_labels()
    def _run_on_clone(self, method, X, y, params, anomalies=None, numbers=None):
        """Call a fitting method of `Pipeline` on a clone, and take its steps once it is done.

        `numbers` are those of the rows of X among all that were given; None is all.
        """
        return finished(self._running(method, X, y, params, anomalies, numbers))

    def _running(self, method, X, y, params, anomalies=None, numbers=None, *, in_company=False):
        """As `_run_on_clone`; what may be trained beside other fits is yielded, to be trained."""
        self._validate_params()
        refuse_lazy(X)
        fitted = self._to_be_fitted()
        rate = None if self.calibration is None else fitted._rate()
        left_out = None
        if self.outlier_share:
            X, y = indexable(X, y)
            kept, left_out = fitted._split(X, y, params)
            suspects, params = _safe_indexing(X, left_out), _check_method_params(X, params, kept)
            X, y = (*take(X, y, kept), None)[:2]
        # Before the fit, as a first step that works in place leaves other rows.
        drawn = None
        if self.reference_rows and hasattr(fitted, "score_samples"):
            drawn = drawn_rows(X, self.reference_rows)
        folds = None if self.calibration is None else fitted._calibration_folds(X, rate)
        fitted._refuse_few_rows(X, folds)
        looked_at = drawn_rows(X, N_LOOKED_AT) if folds else None
        in_folds = None
        is_joint = (folds or in_company) and not params and anomalies is None
        if is_joint and hasattr(fitted.steps[-1][1], "fit_together") and not has_callbacks(fitted):
            anew, rows = fitted._for_scores(), [train for train, _ in folds or ()]
            rest = prepare_folds([anew], *indexable(X, y), rows, whole_first=True)
            waiting = next(rest)
            yield waiting
            trained, waiting = [fold for fold, *_ in waiting], None  # whose arrays need not stay
            in_folds = anew._as_fitted(chain(trained, chain.from_iterable(map(fit_last, rest))))
            result = next(in_folds)
            fitted.steps = result.steps
        elif anomalies is None:
            result = getattr(super(OneClassPipeline, fitted), method)(X, y, **params)
        else:
            result = fitted._fit_beside(X, y, params, anomalies)
        with learning_on_copy(self, continues=True) as learner:
            for stale in (*OF_CALIBRATION, "left_out_", "_reference", "_beginning"):
                vars(learner).pop(stale, None)
            learner.steps_ = fitted.steps
            if left_out is not None:
                learner.left_out_ = left_out if numbers is None else numbers[left_out]
            if drawn is not None:
                learner._reference = as_columns(drawn)
            if folds:
                in_folds = in_folds or fitted._fitted_one_by_one(X, y, folds, params, anomalies)
                each = partial(each_at_once, n_threads=n_at_once(fitted, X))
                scores = _out_of_fold_scores(X, folds, in_folds, each)
                if left_out is not None and len(left_out):
                    share = len(scores) / _num_samples(X)
                    scores = np.r_[scores, learner._of_normal(suspects, scores, share)]
                with quietly():
                    own = scores_of(fitted, looked_at)
                scores = at_most_as_own(scores, own, rate)
                learner._place_threshold(np.sort(scores), rate)
            learner._check_far_rows()
        return result

    def _to_be_fitted(self):
        """A clone, of which steps with a warm start go on from the fit before."""
        try:
            _, last = self.steps[-1]
        except (TypeError, ValueError, IndexError):
            raise ValueError(
                f"steps={self.steps!r} is not allowed: give a list of (name, estimator) tuples, "
                "at least one."
            ) from None
        refuse_scores_of_anomalies(last, "as the last step")
        fitted, before = clone(self), dict(self.steps)
        fitted.steps = [(name, _continued(step, before[name])) for name, step in fitted.steps]
        return fitted

    def _refuse_few_rows(self, X, folds):
        """Refuse fewer rows than the last step takes, which would name itself alone."""
        (name, last), n_rows = self.steps[-1], _num_samples(X)
        least = getattr(last, "_least_rows", 1)
        if n_rows < least:
            raise ValueError(
                f"{n_rows} normal row(s) to train on (n_samples = {n_rows}), but the last step, "
                f"{name!r}, takes {least} at least (rows with y == -1 are left out)."
            )
        in_fold = min([n_rows, *(len(train) for train, _ in folds or ())])
        if in_fold < least:
            raise CalibrationError(
                f"calibration={self.calibration!r} of {n_rows} normal rows trains on {in_fold} of "
                f"them in a fold, but the last step, {name!r}, takes {least} at least: give more "
                "rows, other folds, or calibration=None."
            )

    def _check_calibrated(self):
        check_is_fitted(self)
        if "calibration_scores_" not in vars(self):
            raise NotFittedError(
                f"calibration={self.calibration!r} was set after the fit, which has left no scores "
                "of rows that did not train: fit anew."
            )

    def _place_threshold(self, scores, rate):
        self.calibration_scores_, self._offset = scores, _threshold(scores, rate)

    def _check_far_rows(self):
        """Warn where rows that are far from all training rows, and score 0, are normal."""
        fronts = [step for _, step in self.steps[:-1] if step not in (None, "passthrough")]
        vanish = bool(fronts) and getattr(fronts[-1], "_vanishes_far_away", False)
        if vanish and hasattr(self.steps[-1][1], "coefs_") and self.offset_ <= 0:
            warn(
                f"the threshold is {self.offset_:.3g}, and rows that are far from all training "
                "rows score 0: they pass as normal. Lower anomaly_weight, raise contamination, or "
                "give more normal rows.",
                FarRowsPassWarning,
            )

    def _split(self, X, y, params):
        """Rows to train on, and rows to leave out as they may be anomalies."""
        share = 0.1 if self.outlier_share == "auto" else self.outlier_share
        kept = every = np.arange(_num_samples(X))
        front = OneClassPipeline(steps_to_distances(clone(self).steps[:-1]))
        names = dict(front.steps)
        for _ in range(2):  # the first time the steps have seen all rows
            arguments = _check_method_params(X, params, kept)
            arguments = {k: v for k, v in arguments.items() if k.split("__")[0] in names}
            with quietly():  # the fit on the rows kept has the same to say
                front.fit(*(*take(X, y, kept), None)[:2], **arguments)
            kept = concentrated_rows(front.transform(X), share)
        return kept, np.setdiff1d(every, kept)

    def _of_normal(self, suspects, scores, share):
        """Scores of those rows left out that are taken to be normal.

        Of all rows left out as large a share is scored as of the rows kept.
        """
        n_scored = ceil(_num_samples(suspects) * share)
        (suspects,) = take(suspects, None, at_most(None, suspects, n_scored))
        of_suspects = scores_of(self, suspects)
        return of_suspects[of_suspects >= end_of_normal_rows(scores, of_suspects)]

    def _rate(self):
        """The `contamination` of the last step."""
        last = self.steps[-1][1]
        while isinstance(last, Pipeline):
            last = last.steps[-1][1]
        score_method(last)
        rate = getattr(last, "contamination", "missing")
        if not isinstance(rate, Real | None):
            raise ValueError(
                f"calibration={self.calibration!r} places the threshold for the contamination of "
                f"the last step, but that of {last!r} is {rate}: set a number between 0 and 0.5 "
                "there, or use ConformalOutlierDetector, which has a rate of its own."
            )
        return rate

    def _fit_beside(self, X, y, params, anomalies):
        """Fit the steps before the last on normal rows, the last on these and the anomalies."""
        (name, last), front = self.steps[-1], OneClassPipeline(self.steps[:-1], memory=self.memory)
        if any(key.startswith(f"{name}__") for key in params):
            raise ValueError(
                f"{name} is fitted on normal rows and anomalies, so that parameters by row do not "
                f"fit it: leave out {sorted(params)}, or set anomaly_weight=0."
            )
        parts = [X, anomalies]
        if front.steps:
            parts = [front.fit_transform(X, y, **params), front.transform(anomalies)]
        labels = np.repeat([1, -1], [_num_samples(part) for part in parts])
        self.steps = [*front.steps, (name, last.fit(joined(parts), labels))]
        return self

    def _calibration_folds(self, X, rate):
        """The rows that train and the rows that are scored, fold by fold."""
        if any(getattr(step, "warm_start", False) for _, step in self.steps):
            raise ValueError(
                "calibration fits all steps anew in every fold, which a step with "
                "warm_start=True is not: set warm_start=False, or calibration=None."
            )
        (X,) = indexable(X)
        n_columns = prod(X.shape[1:] if hasattr(X, "shape") else np.shape(X[0]))
        return make_folds(self.calibration, _num_samples(X), n_columns, rate, copies_of(X))

    def _for_scores(self):
        """An unfitted pipeline with the same steps, which has nothing but scores to give."""
        rest = {"calibration": None, "outlier_share": 0.0, "reference_rows": 0}
        anew = OneClassPipeline(**clone(self)._params_as_given() | rest)
        for _, step in anew.steps:
            if hasattr(step, "_skl_callbacks"):
                step.set_callbacks()
        return anew

    def _as_fitted(self, folds):
        """Generate the pipeline as fitted on all rows, then on those of each fold.

        Of a fold that fails it is the error.
        """
        for fold in folds:
            if fold.is_final and fold.errors[0]:
                raise fold.errors[0]
            yield fold.errors[0] or fold.fitted([self])[0]

    def _fitted_one_by_one(self, X, y, folds, params, anomalies):
        """Generate the pipeline as fitted on the rows of each fold, or why it cannot be."""
        X, y = indexable(X, y)
        for rows, _ in folds:
            try:
                arguments = _check_method_params(X, params, rows)
                fitted = switched_off(self._for_scores(), "calibration", "outlier_share")
                fitted._run_on_clone("fit", *(*take(X, y, rows), None)[:2], arguments, anomalies)
            except Exception as error:
                fitted = error
            yield fitted

    def _scores(self, X):
        """What is calibrated: the scores of the last step, or else its decision function."""
        return self._by_block(score_method(self.steps[-1][1]), X)

    @property
    def reference_rows_(self) -> Any:
        """Training rows, of the kind that was given."""
        return as_frame(self._reference)

    @property
    def offset_(self) -> float:
        """Threshold of the calibration, or else of the last step."""
        return vars(self)["_offset"] if "_offset" in vars(self) else self.steps[-1][1].offset_
