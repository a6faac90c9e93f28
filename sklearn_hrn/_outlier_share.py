"""Training rows that may be anomalies nobody has labelled: which to leave out, and which count."""

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import euclidean_distances

from ._base import row_blocks

# Rows that stand for all when the rows near to each are counted: enough for shares of a hundredth.
MAX_REFERENCE = 2000


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
    kept, rng = every, np.random.default_rng(0)
    for _ in range(10 if n_out else 0):
        before, reference = kept, kept
        if len(kept) > MAX_REFERENCE:
            reference = np.sort(rng.choice(kept, MAX_REFERENCE, replace=False))
        k = max(1, round(n_out * len(reference) / n_rows))
        # A row of the reference is its own nearest.
        ranks = k - 1 + np.isin(every, reference)
        distance = np.empty(n_rows)
        for block in row_blocks(n_rows, len(reference)):
            near = np.partition(euclidean_distances(Z[block], Z[reference]), (k - 1, k), axis=1)
            distance[block] = np.take_along_axis(near, ranks[block, None], axis=1)[:, 0]
        kept = np.sort(np.argsort(distance, kind="stable")[: n_rows - n_out])
        if np.array_equal(kept, before):
            break
    return kept


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
