"""A few rows that stand for all, and how a fitted pipeline keeps them."""

from importlib import import_module

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import indexable
from sklearn.utils.extmath import row_norms

from ._labels import is_missing
from ._sklearn import _num_samples, _safe_indexing

# Training rows, drawn at random, from which the typical ones are taken where there are more: with
# more of them each of fifty groups still has ten.
MAX_DRAWN = 500

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


def drawn_rows(X, most=MAX_DRAWN):
    """A copy of at most so many rows, the same of the same rows."""
    (X,) = indexable(X)
    rows = np.random.default_rng(0).permutation(_num_samples(X))[:most]
    return _safe_indexing(X, np.sort(rows))


def as_columns(X):
    """A data frame as arrays, which every file can hold, and how it is made again of them."""
    library = type(X).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return X
    columns = (X.iloc[:, j] if library == "pandas" else X[:, j] for j in range(X.shape[1]))
    arrays = []
    for column in columns:
        values = column.to_numpy()
        if values.dtype.kind == "O":  # gaps as pandas writes them, which are objects of its own
            values = np.array([None if is_missing(v) else v for v in values], dtype=object)
        arrays.append(values)
    index = X.index.to_numpy() if library == "pandas" else None
    return {"library": library, "names": list(X.columns), "arrays": arrays, "index": index}


def as_frame(kept):
    """What `as_columns` was given; a categorical column comes back as the words in it."""
    if not isinstance(kept, dict):
        return kept
    library = import_module(kept["library"])
    if kept["library"] == "polars":
        return library.DataFrame(dict(zip(kept["names"], kept["arrays"], strict=True)))
    columns = dict(enumerate(kept["arrays"]))
    return library.DataFrame(columns, index=kept["index"]).set_axis(kept["names"], axis=1)
