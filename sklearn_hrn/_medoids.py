"""A few rows that stand for all."""

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils.extmath import row_norms

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
    # Or squares overflow, and differences of large ones are rounding.
    Z = Z / max(np.abs(Z).max(initial=0), np.finfo(np.float32).tiny)
    Z -= Z.mean(axis=0)
    centres, lengths = Z[:n_groups].copy(), row_norms(Z, squared=True)[:, None]
    for _ in range(ROUNDS):
        group = (row_norms(centres, squared=True) - 2 * Z @ centres.T).argmin(axis=1)
        found, place, counts = np.unique(group, return_inverse=True, return_counts=True)
        is_in = csr_array((np.ones(n_rows, np.float32), (place, np.arange(n_rows))))
        centres[found] = is_in @ Z / counts[:, None].astype(np.float32)
    return np.unique((lengths - 2 * Z @ centres.T).argmin(axis=0))
