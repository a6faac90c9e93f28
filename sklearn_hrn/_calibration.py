"""From scores of normal rows that did not train to p-values and thresholds: arrays in, arrays out.

Let s_1, ..., s_n be the scores of n normal rows, each by a model that was not trained on it. For a
row with score s (higher = more normal)

    p(s) = (1 + #{i : s_i <= s}) / (n + 1).

If the row is normal and exchangeable with the n rows, and one model that saw none of them gave all
the scores, then P(p <= a) <= a for every rate a and every n, whatever the model and the
distribution. Flagging rows with p <= a is flagging rows with s < s_(m), the m-th smallest score,
m = floor(a (n + 1)).

Where the n rows come from a mix that has changed, row i counts as often as it is likelier in the
new mix, w_i, and so does the fresh row, w: p(s) = (w + sum of the w_i with s_i <= s) / (w + sum of
all w_i). All weights 1 give the p-values above.
"""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import column_or_1d

from ._arrow import decoded
from ._refusals import refuse_masked, scores_anomalies
from ._sklearn import Interval, _num_samples
from ._typing import Floats
from .exceptions import ResolutionWarning, quietly, warn

# A share of training rows is too large from so many standard errors above the rate on: chance
# alone makes it once in 30,000 fits.
N_ERRORS = 4
# How far below training rows of one score a threshold lies, in units of the largest score: more
# than rounding moves a score.
SLACK = 1e-6


def conformal_p_values(
    scores: ArrayLike,
    calibration_scores: ArrayLike,
    *,
    calibration_weights: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Floats:
    """How extreme scores are among those of normal rows that were not trained on.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Higher = more normal.
    calibration_scores : array-like of shape (n_calibration,)
        Scores of normal rows, in any order.
    calibration_weights : array-like of shape (n_calibration,), default=None
        How much likelier each calibration row is where the scores come from than where the
        calibration rows do, up to a common factor, as of :func:`likelihood_ratios`: finite, not
        negative, and not all 0 [1]_. None is 1 for each.
    weights : array-like of shape (n_samples,), default=None
        The same of the rows that `scores` are of. None takes the largest calibration weight, which
        is the careful side: a smaller weight makes for a smaller p-value, and only a row that
        weighs more than every calibration row has a larger one.

    Returns
    -------
    p_values : ndarray of shape (n_samples,)
        ``(1 + #{calibration scores <= score}) / (n_calibration + 1)``: ties count against flagging.
        With weights w_i, and w of the row itself, ``(w + sum of the w_i of calibration scores <=
        score) / (w + sum of all w_i)``.

    Raises
    ------
    ValueError
        If scores or weights are no numbers of that kind, or `weights` come without
        `calibration_weights`, as nothing says then what they are relative to.

    See Also
    --------
    false_alarm_threshold : The score below which rows have a p-value of at most some rate.

    References
    ----------
    .. [1] R. J. Tibshirani, R. F. Barber, E. J. Candès and A. Ramdas, "Conformal prediction under
       covariate shift", NeurIPS, 2019.

    Examples
    --------
    >>> from sklearn_hrn import conformal_p_values
    >>> conformal_p_values([-1.0, 2.0, 9.0], calibration_scores=[1.0, 2.0, 3.0])
    array([0.25, 0.75, 1.  ])

    Rows like the last one are twice as frequent as they were:

    >>> conformal_p_values([-1.0, 2.0, 9.0], [1.0, 2.0, 3.0], calibration_weights=[1, 1, 2])
    array([0.33333333, 0.66666667, 1.        ])
    """
    known, known_weights = ascending(calibration_scores, calibration_weights)
    scores = check_scores(scores, "scores")
    own = 1
    if weights is not None:
        if known_weights is None:
            raise ValueError("weights are relative to calibration_weights: give these, too.")
        weights = check_weights(weights, scores, "weights", "scores")
        heaviest = known_weights.max()
        # Beside 1e30 the others are nothing; a larger quotient might be infinite.
        own = np.minimum(weights, 1e30 * float(heaviest)) / heaviest
    below = weight_below(len(known), known_weights)
    return (own + below[np.searchsorted(known, scores, side="right")]) / (own + below[-1])


def false_alarm_threshold(
    scores: ArrayLike, rate: float, *, weights: ArrayLike | None = None
) -> float:
    """Largest threshold below which a fresh normal score falls with probability at most `rate`.

    Parameters
    ----------
    scores : array-like of shape (n_calibration,)
        Scores of normal rows that were not trained on, higher = more normal.
    rate : float
        Wanted false-alarm rate, between 0 and 1.
    weights : array-like of shape (n_calibration,), default=None
        The `calibration_weights` of :func:`conformal_p_values`. None is 1 for each.

    Returns
    -------
    threshold : float
        The m-th smallest score, m = floor(rate (n_calibration + 1)). Rows that score *below* it are
        flagged: exactly those whose conformal p-value is at most `rate`. It is -inf, which flags
        nothing, when m is 0. With `weights` it is the score that flags exactly those whose weighted
        p-value is at most `rate` if they weigh as much as the heaviest calibration row.

    Warns
    -----
    ResolutionWarning
        If `rate` is below 1 / (n_calibration + 1), the smallest p-value there is; with `weights`,
        below that of as many rows as all weigh together, the heaviest being one.

    See Also
    --------
    conformal_p_values : The p-values of scores.

    Examples
    --------
    >>> from sklearn_hrn import false_alarm_threshold
    >>> false_alarm_threshold(range(99), rate=0.05)
    4.0
    """
    known, weights = ascending(scores, weights, "scores", "weights")
    return group_thresholds({None: known}, {None: weights}, {None: rate})[None]


def group_thresholds(scores, weights, rates):
    """The false-alarm threshold of each group.

    Parameters
    ----------
    scores : dict of {group: ndarray of shape (n_calibration,)}
        Ascending. Where there are no groups, of the one group None.
    weights : dict of {group: ndarray of shape (n_calibration,) or None}
        A group that is not there has none.
    rates : dict of {group: float}

    Returns
    -------
    thresholds : dict of {group: float}

    Warns
    -----
    ResolutionWarning
        Once, if the rows of a group are too few for its rate.
    """
    found, coarse = {}, []
    for group, known in scores.items():
        below = weight_below(len(known), weights.get(group))
        m = _rank(below, rates[group])
        found[group] = float(known[m - 1]) if m else -np.inf
        if m == 0:
            coarse.append((group, len(known), float(below[-1])))
    if coarse:
        group, n_rows, weight = coarse[0]
        where = "" if group is None else f" in {len(coarse)} group(s), such as {group!r}"
        rows, wanted = f"{n_rows} calibration rows", _rows_for(rates[group])
        if weights.get(group) is not None:
            rows += f" that weigh as much as {weight:.3g} of the heaviest"
            wanted += " of these, or as many as weigh so much,"
        warn(
            f"nothing can be flagged at a false-alarm rate of {rates[group]:g}{where}: with {rows} "
            f"the smallest p-value is {1 / (1 + weight):.2g}. Calibrate on at least "
            f"{wanted} normal rows, or raise the rate.",
            ResolutionWarning,
        )
    return found


def usual_threshold(scores, rate):
    """Threshold below which a fresh normal score falls at a rate close to `rate`, on average.

    The rate (n + 1)-th smallest of n scores; between two of them, linearly, where that is no whole
    number, so that few rows do not flag less than was asked. :func:`false_alarm_threshold` rounds
    down, and promises. Where the rows are too few for the rate it is the lowest score: a detector
    that promises nothing does better to flag what is unlike all rows it has seen.

    Warns
    -----
    ResolutionWarning
        If `rate` is below 1 / (n_calibration + 1), which is then the rate that the rows support.
    """
    scores = np.sort(check_scores(scores, "scores"))
    n = len(scores)
    m = _rank(weight_below(n), rate)
    if m == 0:
        warn(
            f"{n} normal rows support a false-alarm rate of 1/{n + 1} = {1 / (n + 1):.2g} and no "
            f"smaller one: the threshold is their lowest score, and not that for {rate:g}, which "
            f"takes {_rows_for(rate)} rows. Raise contamination to what the rows support, or give "
            "more rows.",
            ResolutionWarning,
        )
        m = 1
    low, high = scores[m - 1 : m + 1] if m < n else scores[[-1, -1]]
    between = round(rate * (n + 1) - m, 9)  # 0.29 * 100 is a little less than 29
    inside = between > 0 and np.isfinite([low, high]).all()
    return float(low + between * (high - low) if inside else low)


def at_most_as_own(scores, own, rate):
    """Scores of folds, moved down where a threshold among them flags too many training rows.

    A network has learned its training rows, so that no larger share of them than of fresh rows
    falls below a threshold. Where far more do, the networks of the folds stand above it: of few
    different rows, such as a table of categories, each has one score a network, and a threshold
    between two networks flags whole kinds of rows. The threshold among the scores returned lies
    just below that of the training scores.

    Parameters
    ----------
    scores : ndarray of shape (n_calibration,)
        Of rows that did not train the networks that scored them.
    own : ndarray of shape (n_rows,)
        Of some training rows, by the network that is to decide.
    rate : float or None
        As of :func:`usual_threshold`; None for a threshold at the lowest score.

    Returns
    -------
    scores : ndarray of shape (n_calibration,)
    """
    rate = max(rate or 0.0, 1 / (len(scores) + 1))
    with quietly():  # what few rows support is told where the threshold is placed
        threshold, of_own = usual_threshold(scores, rate), usual_threshold(own, rate)
    n = min(len(own), len(scores))
    if np.mean(own < threshold) <= rate + N_ERRORS * np.sqrt(rate * (1 - rate) / n):
        return scores
    return scores - (threshold - of_own + SLACK * np.abs(own).max())


def _rows_for(rate):
    """How many calibration rows a rate takes, as text."""
    return f"{np.ceil(1 / rate) - 1:.15g}"


def ascending(scores, weights, name="calibration_scores", weights_name="calibration_weights"):
    """Checked scores of calibration rows, ascending, and beside them their weights or None."""
    scores = check_scores(scores, name)
    if weights is None:
        return np.sort(scores), None
    weights = check_weights(weights, scores, weights_name, name)
    if not weights.any():
        raise ValueError(f"{weights_name} must not be 0 for all rows.")
    order = np.argsort(scores, kind="stable")
    return scores[order], weights[order]


def check_weights(weights, rows, name, rows_name):
    """Weights (n,) as float64, finite and not negative, one for each of some rows."""
    refuse_masked(weights, name)
    try:
        weights = column_or_1d(decoded(weights), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, one a row: {error}") from error
    if len(weights) != _num_samples(rows):
        raise ValueError(
            f"{name} has {len(weights)} entries, but {rows_name} has {_num_samples(rows)}."
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"{name} must be finite and not negative, but {weights.min()} is among them."
        )
    return weights


def weight_below(n_rows, weights=None):
    """What the lowest 0, 1, ..., `n_rows` calibration rows weigh, the heaviest being 1."""
    if weights is None:
        return np.arange(n_rows + 1)
    return np.r_[0, np.cumsum(weights / weights.max())]


BETWEEN_0_AND_1 = Interval(Real, 0, 1, closed="neither")


def _rank(below, rate):
    """Which of the ascending scores is the threshold, counted from 1.

    It is how many of the p-values that are below 1 are at most `rate`; of n rows without weights,
    floor(rate (n + 1)).
    """
    if not BETWEEN_0_AND_1.is_satisfied_by(rate):
        raise ValueError(f"the false-alarm rate must lie between 0 and 1, got {rate!r}.")
    # p-values are m / (n + 1) as floats; comparing those keeps thresholds and p-values of one mind
    # where rate * (n + 1) is rounded, as in 0.29 * 100 = 28.999999999999996.
    p_values = (1 + below[:-1]) / (1 + below[-1])
    return int(np.searchsorted(p_values, rate, side="right"))


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


def mean_scores(detectors, X):
    """Checked scores (n_samples,) of rows, the mean of those that several detectors give."""
    return np.mean([scores_of(detector, X) for detector in detectors], axis=0)


def decisions(scores, offset):
    """``scores - offset``: negative below the threshold, 0 on it even where both are infinite."""
    on_threshold = scores == offset
    return np.subtract(scores, offset, out=np.zeros(len(scores)), where=~on_threshold)


# What a calibration, and a share of rows to leave out, are where there are none.
SWITCHED_OFF = {"calibration": None, "outlier_share": 0.0}


def switched_off(estimator, *names):
    """Switch off `calibration` or `outlier_share` of an unfitted estimator of ours and its parts.

    For fits that are scored by other rows anyway: of a search, or of a part of the rows.
    """
    for name in switched_on(estimator, *names):
        estimator.set_params(**{name: SWITCHED_OFF[name.rpartition("__")[2]]})
    return estimator


def switched_on(estimator, *names):
    """The parameters of an estimator of ours and its parts that `switched_off` switches off."""
    found, params = [], estimator.get_params()
    for name, value in params.items():
        owner, _, last = name.rpartition("__")
        owner = params[owner] if owner else estimator
        is_ours = type(owner).__module__.startswith("sklearn_hrn.")
        if last in names and is_ours and value != SWITCHED_OFF[last]:
            found.append(name)
    return found


def seed_where_unseeded(estimator, rng):
    """Seed an unfitted estimator, or its parts, where their own `random_state` is None."""
    params = estimator.get_params()
    seeds = [name for name in sorted(params) if name.split("__")[-1] == "random_state"]
    unseeded = [name for name in seeds if params[name] is None]
    estimator.set_params(**{name: rng.randint(2**31 - 1) for name in unseeded})


def check_scores(scores, name):
    """Scores (n,) as float64: at least one, and no NaN."""
    refuse_masked(scores, name)
    try:
        scores = column_or_1d(decoded(scores), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, one a row: {error}") from error
    if len(scores) == 0 or np.isnan(scores).any():
        raise ValueError(
            f"{name} must be numbers, at least one and none of them NaN; got "
            f"{np.isnan(scores).sum()} NaN among {len(scores)}."
        )
    return scores
