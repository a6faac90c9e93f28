"""Scores of a stream: a sample of them, how training moves them, and evidence that they fall."""

import numpy as np
from scipy.stats import betabinom

# Scores of a stream that are remembered: 20 of them lie below a threshold for 1 %.
RESERVOIR_SIZE = 2000

# Rows below the threshold, and below the median, over those that are due up to which there is no
# talk of drift: training moves the scores, and both follow it by estimates.
TOLERATED = (1.25, 1.01)

# Standard errors by which the threshold and the median may lie too high, beyond that.
ERRORS = 3.0

# Chunks between two false signals of drift, on average and at least.
CHUNKS_BETWEEN_SIGNALS = 1000


def decaying_reservoir(reservoir, scores, rng):
    """A sample of the scores seen, in which older ones are rarer.

    New scores take the places of old ones drawn at random, so that the share of a chunk that is
    still there shrinks by the same factor with every later chunk of its size.

    Parameters
    ----------
    reservoir, scores : ndarray
    rng : numpy.random.Generator

    Returns
    -------
    reservoir : ndarray
        At most `RESERVOIR_SIZE` scores, ascending.
    """
    scores = rng.permutation(scores)[:RESERVOIR_SIZE]
    n_staying = min(len(reservoir), RESERVOIR_SIZE - len(scores))
    return np.sort(np.r_[rng.permutation(reservoir)[:n_staying], scores])


def training_gain(in_halves):
    """How much higher the quartiles of the scores of rows lie for having trained.

    A network that trained on a half of the rows scores both; what one half is more normal than the
    other cancels in the mean over the two networks.

    Parameters
    ----------
    in_halves : list of (ndarray, ndarray)
        Scores by each network of the rows that it trained on, and of the others.

    Returns
    -------
    gain : ndarray of shape (3,)
    """
    return np.mean([_quartiles(own) - _quartiles(other) for own, other in in_halves], axis=0)


def carried_over(scores, before, after, gain=0.0):
    """Scores by a model as they would be by what it has become.

    Parameters
    ----------
    scores : ndarray
        By the model before.
    before, after : ndarray of shape (n_samples,)
        Scores of the same rows by both. The line that takes the quartiles of one to those of the
        other takes `scores` along.
    gain : ndarray of shape (3,), default=0.0
        What the quartiles after owe to the training on these rows.

    Returns
    -------
    scores : ndarray
    """
    low, middle, high = _quartiles(before)
    low_after, middle_after, high_after = _quartiles(after) - gain
    slope = max(0.0, high_after - low_after) / (high - low) if high > low else 1.0
    return middle_after + slope * (scores - middle)


def _quartiles(scores):
    return np.quantile(scores, [0.25, 0.5, 0.75])


def marks(reservoir, rate):
    """Scores at the rate and at the median, and their ranks among the n of the reservoir, from 1.

    The first is the rate (n + 1)-th lowest, rounded down, and at least the lowest; of None, that.
    """
    n = len(reservoir)
    ranks = np.maximum(1, (np.array([rate or 0, 0.5]) * (n + 1)).astype(int))
    return reservoir[ranks - 1], ranks


def error_of_carrying(points, before, after, rng):
    """Standard errors of where `carried_over` takes some scores: half of what two halves differ."""
    order = rng.permutation(len(before))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    first, second = (carried_over(points, before[half], after[half]) for half in halves)
    return (first - second) / 2


def drift_evidence(evidence, scores, reservoir, rate, error=0.0):
    """Two Shiryaev-Roberts statistics of the hypothesis that scores are no lower than before.

    Of m scores that are exchangeable with the n of the reservoir, the number below the r-th lowest
    of these is beta-binomial, with parameters m, r and n + 1 - r; a little more is tolerated. The
    p-value p of that number is bet against: the statistic becomes
    ``(1 + evidence) / (2 sqrt(p))``. As long as there is no drift a bet is fair or better for the
    house, and the mean of both statistics exceeds c once in c chunks at most, on average.

    One of them counts rows below the threshold, whose rate is promised. They are few, and where it
    follows a slow drift hardly more than due; the other counts rows below the median, of which a
    drift that goes on leaves a few too many in every chunk.

    Parameters
    ----------
    evidence : ndarray of shape (2,)
        Of the chunks before; 0 at the beginning.
    scores : ndarray
        Of a chunk.
    reservoir : ndarray
        Ascending.
    rate : float or None
        r is ``rate (n + 1)``, rounded down, and at least 1; None is 0.
    error : ndarray of shape (2,), default=0.0
        Standard errors of the two scores that rows are counted below, which chunks before have left
        by moving the reservoir. r is as many as lie below them with three errors added, if that is
        more than what is tolerated.

    Returns
    -------
    evidence : ndarray of shape (2,)
    """
    n = len(reservoir)
    points, ranks = marks(reservoir, rate)
    n_below = np.searchsorted(np.sort(scores), points)
    due = np.maximum(ranks * TOLERATED, np.searchsorted(reservoir, points + ERRORS * error))
    due = np.minimum(due, n)
    p = betabinom.sf(n_below - 1, len(scores), due, n + 1 - due)
    return (1 + evidence) / (2 * np.sqrt(np.maximum(p, np.finfo(float).tiny)))
