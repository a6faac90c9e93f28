"""Training rows that may be anomalies nobody has labelled: which to leave out, and which count."""

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import euclidean_distances
from sklearn.preprocessing import StandardScaler

from ._base import row_blocks

# Rows that stand for all when the rows near to each are counted: enough for shares of a hundredth.
MAX_REFERENCE = 2000

# Distances that are kept from step to step, in 160 MB at most; more are computed anew.
MAX_KEPT = 2 * 10**7


def steps_to_distances(steps):
    """The first of some unfitted steps, such that distances between rows tell what is far.

    Rows of many like features are compared where a step says that they are of one length, as its
    method `_to_distances` does. Where none has one, the columns have units of their own: the first
    step transforms them, and each is divided by its deviation. Later steps often make a thousand
    features of them, between which distances tell less.
    """
    for i, (name, step) in enumerate(steps):
        if hasattr(step, "_to_distances"):
            return [*steps[:i], (name, step._to_distances())]
    return [*steps[:1], ("unit", StandardScaler(with_mean=False))]


def concentrated_rows(Z, share):
    """The rows left when a share of them, the furthest from all others, is left out.

    With h rows to leave out, a row is as far as its h-th neighbour among the rows kept: so h rows
    close together are far from all others, and cannot hide behind each other. As the rows kept
    change, distances are taken anew, until they stay the same: the concentration steps of the
    minimum covariance determinant, for distances to neighbours.

    Parameters
    ----------
    Z : {ndarray, sparse matrix} of shape (n_samples, n_features)
    share : float
        In [0, 0.5).

    Returns
    -------
    kept : ndarray of int
        Ascending.
    """
    Z = Z.tocsr() if issparse(Z) else np.asarray(Z)
    n_rows = Z.shape[0]
    n_out = int(share * n_rows)
    every = np.arange(n_rows)
    if not n_out:
        return every
    reference = every
    if n_rows > MAX_REFERENCE:
        reference = np.sort(np.random.default_rng(0).choice(every, MAX_REFERENCE, replace=False))
    to_reference = _distances(Z, reference)
    kept = every
    for _ in range(10):
        before, among = kept, np.isin(reference, kept)
        k = max(1, round(n_out * among.sum() / n_rows))
        # A row of the reference is its own nearest.
        ranks = k - 1 + np.isin(every, reference[among])
        distance = np.empty(n_rows)
        for block, distances in to_reference():
            near = np.partition(distances[:, among], (k - 1, k), axis=1)
            distance[block] = np.take_along_axis(near, ranks[block, None], axis=1)[:, 0]
        kept = np.sort(np.argsort(distance, kind="stable")[: n_rows - n_out])
        if np.array_equal(kept, before):
            break
    return kept


def _distances(Z, reference):
    """What generates blocks of rows, and their distances to the reference."""

    def blocks():
        for block in row_blocks(Z.shape[0], len(reference)):
            yield block, euclidean_distances(Z[block], Z[reference])

    if Z.shape[0] * len(reference) > MAX_KEPT:
        return blocks
    found = list(blocks())
    return lambda: found


def end_of_normal_rows(kept, left_out):
    """The score down to which rows left out count as normal: the rows kept lack them.

    Normal rows thin out towards low scores; anomalies that are plainly others lie behind a gap. If
    the lower tail is exponential, ``F(x) = 0.05 exp((x - t) / w)`` below the 5 % quantile t, then
    ``w = (m - t) / log(10)`` with the median m, and the lowest row lies w below the one before it,
    on average. From t downwards the first gap that is wider is taken for the end.

    Parameters
    ----------
    kept, left_out : ndarray
        Scores of the rows kept and of those left out.

    Returns
    -------
    score : float
        At most t.
    """
    low, middle = np.quantile(kept, [0.05, 0.5])
    descending = np.sort(np.r_[kept, left_out, low])[::-1]
    descending = descending[descending <= low]
    (wide,) = np.nonzero(descending[:-1] - descending[1:] > (middle - low) / np.log(10))
    return descending[wide[0] if len(wide) else -1]
