"""What a fitted classifier learns afterwards: from the next rows of a stream, and from verdicts."""

from copy import copy

import numpy as np

from ._copies import copies_of
from ._drift import (
    CHUNKS_BETWEEN_SIGNALS,
    RESERVOIR_SIZE,
    carried_over,
    decaying_reservoir,
    drift_evidence,
    error_of_carrying,
    marks,
    training_gain,
)
from ._folds import make_folds
from ._labels import normal_rows
from .exceptions import DriftWarning, ResolutionWarning, warn

# Rows of a chunk of which both halves can be trained on.
MIN_CHUNK = 4

# Rows of a chunk from which on errors of the threshold are not told, and the largest that is not,
# over the distance of the quartiles of the scores.
SMALL_CHUNK, LARGEST_DOUBT = 100, 0.4

# Updates from the fit on that verdicts are trained for, and the weight of labelled anomalies where
# a fit gives them none: ``python -m sklearn_hrn.benchmark feedback``.
FEEDBACK_UPDATES = 40
FEEDBACK_WEIGHT = 0.1


def learn_chunk(classifier, X, y):
    """Train a classifier for an epoch on the next rows of a stream, and move its threshold."""
    from ._training import Task, train

    begins = not hasattr(classifier, "history_")
    X = classifier._validate_rows(X, reset=begins)
    rows = normal_rows(X, y, classifier)
    X = X if rows is None else X[rows]
    if len(X) < MIN_CHUNK:
        raise ValueError(
            f"{len(X)} normal row(s) in the chunk, but at least {MIN_CHUNK} are needed, so "
            "that each half can be scored by what has learned from the other: gather more rows."
        )
    scores = None if begins else classifier._score(X)
    own, shared = classifier._settings()
    begin = None if begins else classifier._learned()
    # Beside the network itself: from the first chunk, those that score it out of fold; from all
    # others, one on each half, which show how much higher rows score for having trained.
    wanted = "cross" if begins else 2
    folds = make_folds(wanted, *X.shape, classifier.contamination, copies_of(X))
    tasks = []
    for fit_on in [None, *(fit_on for fit_on, _ in folds)]:
        # An epoch, counted in updates: the chunk before may have had another number of rows.
        n_rows = len(X) if fit_on is None or begins else len(fit_on)
        budget = {"tol": 0.0, "max_updates": -(-n_rows // min(classifier.batch_size, n_rows))}
        tasks.append(Task(own | budget, shared, X, fit_on, start=begin))
    learned, *in_folds = train(tasks)
    classifier._keep(learned)
    after = classifier._score(X)
    classifier._set_threshold(after)
    in_folds = [*zip(tasks[1:], in_folds, folds, strict=True)]
    if begins:
        held_out = [classifier._scores_by(*fold, [rows]) for *fold, (_, rows) in in_folds]
        scores = np.concatenate(held_out, axis=None)
        _follow(classifier, scores, scores, gain=0.0)
    else:
        halves = [classifier._scores_by(*fold) for fold in in_folds]
        _follow(classifier, scores, after, training_gain(halves))


def _follow(classifier, scores, after, gain):
    """Move the threshold by the scores of a chunk, before and after it was trained on."""
    reservoir = getattr(classifier, "calibration_scores_", np.empty(0))
    evidence = getattr(classifier, "drift_evidence_", np.zeros(2))
    error = getattr(classifier, "drift_error_", np.zeros(2))
    rate = classifier.contamination
    if len(reservoir) == RESERVOIR_SIZE:  # before, much is new to the network
        evidence = drift_evidence(evidence, scores, reservoir, rate, error)
    if evidence.mean() > CHUNKS_BETWEEN_SIGNALS:
        warn(
            "the stream has drifted: chunk after chunk more rows than are due fall below the "
            f"threshold for contamination={rate}, or below the median of the "
            f"scores before (evidence {evidence.mean():.3g}). The threshold follows, but the "
            "steps before the network do not, and detections may suffer: look at recent rows, "
            "and fit anew if they are normal.",
            DriftWarning,
        )
        evidence = np.zeros(2)
    classifier.drift_evidence_ = evidence
    rng = np.random.default_rng([int(classifier._loop["seed"][0]), classifier.n_updates_])
    n_before, reservoir = len(reservoir), decaying_reservoir(reservoir, scores, rng)
    # Errors of the chunks before are those of the scores that are still there.
    error = error * max(0, len(reservoir) - len(scores)) / max(n_before, 1)
    points, _ = marks(reservoir, rate)
    classifier.drift_error_ = np.hypot(error, error_of_carrying(points, scores, after, rng))
    reservoir = carried_over(reservoir, scores, after, gain)
    low, high = np.quantile(reservoir, [0.25, 0.75])
    doubt = classifier.drift_error_[0]
    if len(scores) < SMALL_CHUNK and doubt > LARGEST_DOUBT * (high - low):
        warn(
            f"chunks such as this one, of {len(scores)} rows, are too small to move the threshold "
            f"along with what the network learns: it is in doubt by {doubt:.3g}, and the quartiles "
            f"of the scores lie {high - low:.3g} apart, so that anomalies may pass, or many normal "
            "rows be flagged. Gather some hundred rows a chunk.",
            ResolutionWarning,
        )
    classifier._set_calibrated(reservoir)


def learn_verdicts(classifier, kept, chunks, y):
    """A copy of a fitted classifier that has learned from verdicts.

    It goes on for a few updates, on rows kept of its training set, which it is not to forget, and
    on the rows with a verdict: those that are normal beside the rows kept, anomalies as labelled
    ones. What that does to scores of normal rows is read off the rows kept: two more networks go on
    with a half of them each, and score the other half.

    Parameters
    ----------
    classifier : HRNOneClassClassifier
    kept : array-like of shape (n_kept, n_features)
    chunks : list of array-like of shape (n_samples, n_features)
        Rows with a verdict, `n_verdicts` in all.
    y : ndarray of shape (n_verdicts,)
        +1 and -1.

    Returns
    -------
    learner : HRNOneClassClassifier
    before, after : ndarray of shape (n_kept,)
        Scores of the rows kept by the classifier, and by a network that went on without them.
    """
    from ._training import Task, train

    kept, *chunks = (classifier._validate_rows(X, reset=False) for X in (kept, *chunks))
    rows = np.concatenate([kept, *chunks]).astype(kept.dtype, copy=False)
    own, shared = classifier._settings()
    own |= {"tol": 0.0, "max_updates": FEEDBACK_UPDATES}
    own["anomaly_weight"] = classifier.anomaly_weight or FEEDBACK_WEIGHT
    of_kept, normal = np.arange(len(kept)), len(kept) + np.flatnonzero(y == 1)
    anomalies = len(kept) + np.flatnonzero(y == -1) if (y == -1).any() else None
    folds = make_folds(2, len(kept))
    tasks = [
        Task(own, shared, rows, np.r_[some, normal], anomalies, start=classifier._learned())
        for some in (of_kept, *(some for some, _ in folds))
    ]
    learned, *in_halves = train(tasks)
    before, after = classifier._score(rows, of_kept), np.empty(len(kept))
    for task, half, (_, others) in zip(tasks[1:], in_halves, folds, strict=True):
        (after[others],) = classifier._scores_by(task, half, [others])
    learner = copy(classifier)
    learner._keep(learned)
    return learner, before, after
