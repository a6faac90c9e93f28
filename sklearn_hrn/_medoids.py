"""A few rows that stand for all."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

# Of Lloyd's algorithm: groups need not be final for their middles to be typical.
ROUNDS = 10


def medoids(Z, n_groups):
    """Numbers of the rows that are nearest to the centres of groups of like rows (k-means).

    The same for the same rows, and without threads of its own, which a forked process cannot have.

    Parameters
    ----------
    Z : {ndarray, data frame, sparse matrix} of shape (n_rows, n_features)
        Gaps count as zero. Of rows that are no numbers the first are taken.
    n_groups : int

    Returns
    -------
    rows : ndarray of int, ascending
        As many as groups, or fewer where rows are repeated.
    """
    n_rows = Z.shape[0] if hasattr(Z, "shape") else len(Z)
    if n_rows <= n_groups:
        return np.arange(n_rows)
    try:
        Z = np.asarray(Z.toarray() if hasattr(Z, "toarray") else Z, dtype=np.float32)
    except (TypeError, ValueError):
        return np.arange(n_groups)
    Z = np.nan_to_num(Z).reshape(n_rows, -1)
    centres = Z[:n_groups].copy()
    for _ in range(ROUNDS):
        group = euclidean_distances(Z, centres, squared=True).argmin(axis=1)
        for k in np.unique(group):
            centres[k] = Z[group == k].mean(axis=0)
    return np.unique(euclidean_distances(Z, centres, squared=True).argmin(axis=0))
