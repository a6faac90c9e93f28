"""Which rows were repeated: copies of a row must not be on both sides of a fold."""

import itertools

import numpy as np
from scipy.sparse import issparse

from ._reference import column_arrays, library_of
from ._sklearn import _num_samples

# What independent draws of tied rows never deviate by in practice, in standard errors, and the
# share of rows from which on a value is known to be frequent. As m values deviate by the root of m
# at most, 36 values are looked at or more, among which few can be near that share.
N_ERRORS, LARGEST_SHARE = 6, 1 / 30


class Copies:
    """Which rows are copies of each other, so that those of one row train or are scored together.

    Parameters
    ----------
    of_row : ndarray of shape (n_rows,), int
        The number of each row among the different ones.
    """

    def __init__(self, of_row):
        order = np.argsort(of_row, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(of_row))[:-1])
        # By their first rows, as the numbers follow hashes, which differ from process to process.
        self.rows = sorted(rows, key=lambda copies: copies[0])
        self.first = np.array([copies[0] for copies in self.rows])

    def with_copies(self, folds):
        """Folds of the different rows as folds of all: each trains on copies, and scores one."""
        return [
            (np.concatenate([self.rows[i] for i in train]), self.first[held])
            for train, held in folds
        ]


def copies_of(X):
    """Copies among rows, or None where there are none or independent draws explain which are equal.

    Rows that were repeated, to weigh more or by mistake, must not be scored by what trained on
    their copies: fresh rows have none. Rows of few possible values are equal by nature, and fresh
    ones are equal to them as often. Draws of such rows find each value a number of times that is
    Poisson, with a mean l of its own. Where n draws find m values c_1, ..., c_m times,

        m >= n g(a / n),   a = sum of c (c - 1),   g(l) = (1 - exp(-l)) / l,

    up to chance: m / n and a / n estimate the means of g(l) and of l over the draws, and g is
    convex. Copies find fewer values than that, as their counts are too even. This holds of any part
    of the values: the most frequent, such as rows of zeros, would outweigh copies and are not
    counted.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_rows, ...)

    Returns
    -------
    copies : Copies or None
    """
    of_row = _different(X)
    if of_row is None:
        return None
    counts = np.bincount(of_row).astype(np.float64)
    counts = counts[counts <= LARGEST_SHARE * len(of_row)]
    pairs = counts * (counts - 1)
    if not pairs.any():
        return None
    mean = pairs.sum() / counts.sum()
    share = -np.expm1(-mean) / mean
    slope = (np.exp(-mean) - share) / mean
    # What each value adds to m - n g(a / n), to first order.
    terms = 1 - slope * pairs - (share - mean * slope) * counts
    if terms.sum() >= -N_ERRORS * np.sqrt(np.sum(terms**2)):
        return None
    return Copies(of_row)


def _different(X):
    """The number of each row among the different ones (n_rows,), or None where no two are equal."""
    n_rows = _num_samples(X)
    of_row = np.zeros(n_rows, dtype=np.int64)
    for column in _columns(X):
        _, codes = np.unique(column, return_inverse=True)
        _, of_row = np.unique(of_row * n_rows + codes, return_inverse=True)
        if of_row.max(initial=0) + 1 >= n_rows:
            return None
    return of_row


def _columns(X):
    """Generate what rows are equal by, (n_rows,) each: all numbers of a row, or its columns."""
    try:
        is_table = library_of(X) is not None and hasattr(X, "columns")
        X = column_arrays(X)["arrays"] if is_table else X
        if not is_table and not issparse(X):
            X = np.asarray(X)
            X = X.reshape(len(X), -1)
    except Exception:  # no rows of one shape, or lists in cells: for the steps to refuse by name
        return
    if is_table:
        columns = X
    elif issparse(X):
        X = X.tocsr()
        cells = [slice(*ends) for ends in itertools.pairwise(X.indptr)]
        columns = [_hashes((X.indices[at].tobytes(), X.data[at].tobytes()) for at in cells)]
    else:
        columns = [_hashes(row.tobytes() for row in X)] if X.dtype.kind in "biufc" else X.T
    for column in columns:
        yield _hashes(map(repr, column)) if column.dtype.kind == "O" else column


def _hashes(values):
    return np.fromiter(map(hash, values), dtype=np.int64)
