"""What a calibrated detector makes of verdicts on its alarms: a better threshold, better models.

`Lessons` are a dictionary, which every file can hold: the last steps as they were fitted ("lasts"),
the calibration scores in their terms ("scores"), and all verdicts so far ("rows" as given, and
"labels"). Each feedback trains from the fitted steps, on all verdicts: what repeated training adds
to repeated training would drift away.
"""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._calibration import scores_of
from ._labels import as_labels, distinct_labels, is_plus_or_minus_one
from ._reference import as_columns, as_frame, copied
from ._sklearn import Interval, _num_samples
from .exceptions import quietly

# Rows kept of a training set of which both halves can be trained on.
MIN_KEPT = 4

# Rows screened of which each has a calibration score, in 80 MB.
MOST_SCREENED = 10**7


def can_learn(last):
    """Whether a fitted last step can go on to learn from verdicts."""
    return hasattr(last, "_learn_verdicts")


def first_lessons(lasts, scores):
    """The lessons of a detector that has had no verdicts yet."""
    return {"lasts": lasts, "scores": scores, "rows": [], "labels": []}


def after_feedback(lessons, fronts, kept, X, y, n_screened, flags, place):
    """What a detector becomes by verdicts.

    Parameters
    ----------
    lessons : dict
        Before. Not changed.
    fronts : list of callable
        What the last steps see of given rows, one each.
    kept : array-like or None
        Training rows on which the last steps go on as well; None where they cannot.
    X : array-like of shape (n_verdicts, ...)
        No rows, if of those screened none was flagged.
    y : array-like of shape (n_verdicts,)
        +1 for rows that are normal, -1 for anomalies.
    n_screened : int or None
        Rows from which those were flagged; None leaves them out of the calibration.
    flags : callable
        Which of some rows are flagged, before.
    place : callable
        The threshold for some calibration scores.

    Returns
    -------
    lessons : dict
    lasts : list
        The last steps.
    scores : ndarray
        The calibration scores, ascending.
    """
    is_empty = _num_samples(X) == 0
    X, is_flagged = copied(X), np.empty(0, bool) if is_empty else flags(copied(X))
    y = column_or_1d(as_labels(y))
    check_consistent_length(is_flagged, y)
    if not all(map(is_plus_or_minus_one, distinct_labels(y))):
        raise ValueError("verdicts must be +1 for false alarms and -1 for anomalies.")
    if kept is not None and _num_samples(kept) < MIN_KEPT:
        kept = None
    if (kept is None or is_empty) and n_screened is None:
        raise ValueError(
            "nothing can be learned from these verdicts: give n_screened, the number of rows that "
            "were screened, to move the threshold; a network learns where it is the last step and "
            f"at least {MIN_KEPT} reference_rows were kept in fit."
        )
    lessons = dict(lessons)
    if n_screened is not None:
        of_fitted = [
            np.empty(0) if is_empty else scores_of(last, front(copied(X)))
            for last, front in zip(lessons["lasts"], fronts, strict=True)
        ]
        with quietly():  # the threshold to come warns where it must
            offset = place(lessons["scores"])
        lessons["scores"] = _after_verdicts(
            lessons["scores"],
            offset,
            np.mean(of_fitted, axis=0),
            y,
            n_screened,
            is_flagged,
        )
    if kept is not None and not is_empty:
        lessons["rows"] = [*lessons["rows"], as_columns(X)]
        lessons["labels"] = [*lessons["labels"], y]
    if not lessons["rows"]:
        return lessons, lessons["lasts"], lessons["scores"]
    labels, chunks = np.concatenate(lessons["labels"]), [as_frame(X) for X in lessons["rows"]]
    learned = []
    for last, front in zip(lessons["lasts"], fronts, strict=True):
        of_last = [front(copied(chunk)) for chunk in (kept, *chunks)]
        learned.append(last._learn_verdicts(of_last[0], of_last[1:], labels))
    lasts, before, after = zip(*learned, strict=True)
    scores = _moved(lessons["scores"], np.mean(before, axis=0), np.mean(after, axis=0))
    return lessons, list(lasts), scores


def _moved(scores, before, after):
    """Scores moved as the same quantiles of the scores of other normal rows have moved."""
    shares = (np.arange(len(scores)) + 0.5) / len(scores)
    return np.sort(np.sort(scores) + np.quantile(after, shares) - np.quantile(before, shares))


def _after_verdicts(calibration_scores, offset, scores, verdicts, n_screened, is_flagged):
    """Calibration scores with those of rows that were screened, and looked at where flagged.

    Flagged rows were chosen for their low scores: alone they would say nothing of a rate. The rows
    that passed belong to them. Their scores are above the threshold, and are taken to be spread
    there as those of the calibration rows are.

    Parameters
    ----------
    calibration_scores : ndarray of shape (n_calibration,)
    offset : float
    scores : ndarray of shape (n_seen,)
        Of every row that was flagged, and of anomalies that were missed.
    verdicts : ndarray of shape (n_seen,)
    n_screened : int
        Rows screened, those flagged and those missed among them.
    is_flagged : ndarray of bool (n_seen,)

    Returns
    -------
    scores : ndarray of shape (n_calibration + number of screened rows that are normal,)
        Ascending.
    """
    if (verdicts[~is_flagged] == 1).any():
        raise ValueError(
            f"{(verdicts[~is_flagged] == 1).sum()} of the normal rows were not flagged: give the "
            "rows that were flagged, and anomalies that were missed; n_screened counts the others."
        )
    if not Interval(Integral, 0, None, closed="left").is_satisfied_by(n_screened):
        raise ValueError(f"n_screened={n_screened!r} must be a whole number of rows.")
    n_passed = int(n_screened) - len(scores)
    if n_passed < 0:
        raise ValueError(f"n_screened={n_screened} is less than the {len(scores)} rows given.")
    if n_screened > MOST_SCREENED:
        raise ValueError(
            f"n_screened={n_screened} is more than {MOST_SCREENED} rows, the most that a feedback "
            "adds to the calibration: give verdicts on a part of the rows screened, and its number."
        )
    above = calibration_scores[calibration_scores >= offset]
    passed = np.quantile(above, (np.arange(n_passed) + 0.5) / max(n_passed, 1))
    return np.sort(np.r_[calibration_scores, scores[is_flagged & (verdicts == 1)], passed])
