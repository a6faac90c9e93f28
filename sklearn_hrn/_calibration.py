"""From scores of normal rows that did not train to p-values and thresholds: arrays in, arrays out.

Let s_1, ..., s_n be the scores of n normal rows, each by a model that was not trained on it. For a
row with score s (higher = more normal)

    p(s) = (1 + #{i : s_i <= s}) / (n + 1).

If the row is normal and exchangeable with the n rows, and one model that saw none of them gave all
the scores, then P(p <= a) <= a for every rate a and every n, whatever the model and the
distribution. Flagging rows with p <= a is flagging rows with s < s_(m), the m-th smallest score,
m = floor(a (n + 1)).
"""

from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import KFold
from sklearn.utils.validation import column_or_1d

from ._base import scores_anomalies
from ._sklearn import Interval
from ._typing import Floats
from .exceptions import CalibrationError, ResolutionWarning, warn

# Folds of calibration="cross". A model that has seen four fifths of few rows scores nearly like one
# of all; of many rows two thirds are enough, and a fit costs four in place of six.
N_FOLDS, N_FOLDS_OF_MANY, MANY_ROWS = 5, 3, 500


def conformal_p_values(scores: ArrayLike, calibration_scores: ArrayLike) -> Floats:
    """How extreme scores are among those of normal rows that were not trained on.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Higher = more normal.
    calibration_scores : array-like of shape (n_calibration,)
        Scores of normal rows, in any order.

    Returns
    -------
    p_values : ndarray of shape (n_samples,)
        ``(1 + #{calibration scores <= score}) / (n_calibration + 1)``: ties count against flagging.

    Examples
    --------
    >>> from sklearn_hrn.conformal import conformal_p_values
    >>> conformal_p_values([-1.0, 2.0, 9.0], calibration_scores=[1.0, 2.0, 3.0])
    array([0.25, 0.75, 1.  ])
    """
    calibration_scores = np.sort(check_scores(calibration_scores, "calibration_scores"))
    n_lower = np.searchsorted(calibration_scores, check_scores(scores, "scores"), side="right")
    return (1 + n_lower) / (len(calibration_scores) + 1)


def false_alarm_threshold(scores: ArrayLike, rate: float) -> float:
    """Largest threshold below which a fresh normal score falls with probability at most `rate`.

    Parameters
    ----------
    scores : array-like of shape (n_calibration,)
        Scores of normal rows that were not trained on, higher = more normal.
    rate : float
        Wanted false-alarm rate, between 0 and 1.

    Returns
    -------
    threshold : float
        The m-th smallest score, m = floor(rate (n_calibration + 1)). Rows that score *below* it are
        flagged: exactly those whose conformal p-value is at most `rate`. It is -inf, which flags
        nothing, when m is 0.

    Warns
    -----
    ResolutionWarning
        If `rate` is below 1 / (n_calibration + 1), the smallest p-value there is.

    Examples
    --------
    >>> from sklearn_hrn.conformal import false_alarm_threshold
    >>> false_alarm_threshold(range(99), rate=0.05)
    4.0
    """
    scores = check_scores(scores, "scores")
    m = _rank(len(scores), rate)
    if m == 0:
        warn(
            f"nothing can be flagged at a false-alarm rate of {rate:g}: with {len(scores)} "
            f"calibration rows the smallest p-value is {1 / (len(scores) + 1):.2g}. Calibrate on "
            f"at least {_rows_for(rate)} normal rows, or raise the rate.",
            ResolutionWarning,
        )
        return -np.inf
    return float(np.partition(scores, m - 1)[m - 1])


def nearest_threshold(scores, rate):
    """As `false_alarm_threshold`, but the lowest score where the rows are too few for the rate.

    A detector that promises no rate does better to flag what is unlike all rows it has seen.

    Warns
    -----
    ResolutionWarning
        If `rate` is below 1 / (n_calibration + 1), which is then the rate that the rows support.
    """
    scores = check_scores(scores, "scores")
    if _rank(len(scores), rate) > 0:
        return false_alarm_threshold(scores, rate)
    warn(
        f"{len(scores)} normal rows support a false-alarm rate of 1/{len(scores) + 1} = "
        f"{1 / (len(scores) + 1):.2g} and no smaller one: the threshold is their lowest score, and "
        f"not that for {rate:g}, which takes {_rows_for(rate)} rows. Raise contamination to "
        "what the rows support, or give more rows.",
        ResolutionWarning,
    )
    return float(scores.min())


def _rows_for(rate):
    """How many calibration rows a rate takes, as text."""
    return f"{np.ceil(1 / rate) - 1:.15g}"


BETWEEN_0_AND_1 = Interval(Real, 0, 1, closed="neither")


def _rank(n_scores, rate):
    """floor(rate (n + 1)): which of the sorted scores is the threshold, counted from 1."""
    if not BETWEEN_0_AND_1.is_satisfied_by(rate):
        raise ValueError(f"the false-alarm rate must lie between 0 and 1, got {rate!r}.")
    # p-values are m / (n + 1) as floats; comparing those keeps thresholds and p-values of one mind
    # where rate * (n + 1) is rounded, as in 0.29 * 100 = 28.999999999999996.
    p_values = np.arange(1, n_scores + 1) / (n_scores + 1)
    return int(np.searchsorted(p_values, rate, side="right"))


def make_folds(calibration, n_rows):
    """The rows that train and the rows that are scored, fold by fold.

    Parameters
    ----------
    calibration : "cross", int, or splitter
        "cross" makes five folds (three of 500 rows or more, and as many as there are rows of fewer
        than five); an int that many. The rows of these folds are drawn at random, in the same way
        for the same number of rows, and all train on as many. A splitter has a method
        ``split(X)``, as those of :mod:`sklearn.model_selection`.
    n_rows : int

    Returns
    -------
    folds : list of (ndarray of int, ndarray of int)

    Raises
    ------
    CalibrationError
        If there are fewer rows than folds, or the folds of a splitter train on a row that they
        score, score a row twice, or score none.
    """
    if isinstance(calibration, str):
        if calibration != "cross":  # text has a method "split", too
            raise ValueError(
                f"calibration={calibration!r} is unknown: allowed are 'cross', an int of at least "
                "2, a splitter, and None."
            )
        calibration = N_FOLDS_OF_MANY if n_rows >= MANY_ROWS else max(2, min(N_FOLDS, n_rows))
    if isinstance(calibration, Integral):
        if n_rows < calibration:
            raise CalibrationError(
                f"{calibration} folds for calibration take at least {calibration} normal rows, but "
                f"n_samples = {n_rows}: give more rows, fewer folds, or calibration=None."
            )
        return _even_folds(int(calibration), n_rows)
    every = np.arange(n_rows)
    folds = [(every[train], every[held]) for train, held in calibration.split(every[:, None])]
    scored = np.concatenate([held for _, held in folds]) if folds else every[:0]
    overlap = any(np.intersect1d(train, held).size for train, held in folds)
    if overlap or len(np.unique(scored)) < max(len(scored), 1):
        raise CalibrationError(
            f"calibration={calibration!r} must score every row at most once, by a model that was "
            f"not trained on it; its {len(folds)} folds score {len(np.unique(scored))} of "
            f"{n_rows} rows {len(scored)} times" + (", some of them in training." * overlap or ".")
        )
    return folds


def _even_folds(n_folds, n_rows):
    """Folds at random that score every row once, and train on as many rows each.

    Where the parts that are scored differ in size, by one row, the folds that would train on one
    more leave out a row at random: networks of one shape train together, in less time.
    """
    folds = list(KFold(n_folds, shuffle=True, random_state=0).split(np.empty(n_rows)))
    n_train, rng = min(len(train) for train, _ in folds), np.random.default_rng(0)
    return [(np.sort(rng.permutation(train)[:n_train]), held) for train, held in folds]


def out_of_fold_scores(folds, fitted, score, each=map):
    """Scores of rows by models that were not trained on them.

    Parameters
    ----------
    folds : list of (ndarray of int, ndarray of int)
        Of `make_folds`.
    fitted : iterable of (object or Exception)
        The model of each fold, or why there is none.
    score : callable
        ``score(model, held_out)`` returns the scores of rows by number.
    each : callable, default=map
        ``each(function, items)`` returns what the function returns for each item.

    Returns
    -------
    scores : ndarray of shape (n_scored,)
        Fold by fold.

    Raises
    ------
    CalibrationError
        If a model could not be trained, or gives no numbers.
    """

    def scored(fold_and_model):
        (_, held_out), model = fold_and_model
        try:
            if isinstance(model, Exception):
                raise model
            return check_scores(score(model, held_out), "scores")
        except Exception as error:
            return error

    scores = []
    outcomes = each(scored, zip(folds, fitted, strict=True))
    for k, ((train, _), found) in enumerate(zip(folds, outcomes, strict=True), 1):
        if isinstance(found, Exception):
            raise CalibrationError(
                f"fold {k} of {len(folds)} of the calibration, {len(train)} normal rows, could not "
                f"be trained and scored: {found} Give more rows, other folds, or calibration=None."
            ) from found
        scores.append(found)
    return np.concatenate(scores)


def score_method(detector):
    """Name of the method that gives a detector's scores.

    Raises
    ------
    TypeError
        If it has none.
    """
    for name in ("score_samples", "decision_function"):
        if hasattr(detector, name):
            return name
    raise TypeError(
        f"estimator={detector!r} has neither score_samples nor decision_function, so there is "
        "nothing to calibrate (LocalOutlierFactor has both with novelty=True)."
    )


def scores_of(detector, X):
    """Checked scores (n_samples,) of rows, higher = more normal."""
    scores = getattr(detector, score_method(detector))(X)
    scores = check_scores(scores, f"the scores of {type(detector).__name__}")
    return -scores if scores_anomalies(detector) else scores


def decisions(scores, offset):
    """``scores - offset``: negative below the threshold, 0 on it even where both are infinite."""
    on_threshold = scores == offset
    return np.subtract(scores, offset, out=np.zeros(len(scores)), where=~on_threshold)


def switched_off(estimator, *names):
    """Switch off `calibration` or `outlier_share` of an unfitted estimator of ours and its parts.

    For fits that are scored by other rows anyway: of a search, or of a part of the rows.
    """
    off = {"calibration": None, "outlier_share": 0.0}
    params = estimator.get_params()
    for name, value in params.items():
        owner, _, last = name.rpartition("__")
        owner = params[owner] if owner else estimator
        is_ours = type(owner).__module__.startswith("sklearn_hrn.")
        if last in names and is_ours and value != off[last]:
            estimator.set_params(**{name: off[last]})
    return estimator


def check_scores(scores, name):
    """Scores (n,) as float64: at least one, and no NaN."""
    try:
        scores = column_or_1d(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, one a row: {error}") from error
    if len(scores) == 0 or np.isnan(scores).any():
        raise ValueError(
            f"{name} must be numbers, at least one and none of them NaN; got "
            f"{np.isnan(scores).sum()} NaN among {len(scores)}."
        )
    return scores
