"""What every estimator has in common: how it fits, how it warns, how it cuts rows into blocks."""

from contextlib import contextmanager
from copy import copy

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import gen_batches
from sklearn.utils.validation import validate_data

from ._labels import normal_rows
from ._sklearn import _fit_context
from .exceptions import warn as warn  # where all warnings of estimators come from

# Bytes of float64 values worked on at once: they stay in the cache between passes, and the copies
# of them weigh nothing beside a large input.
BLOCK_BYTES = 2**22


class NormalRowsEstimator(BaseEstimator):
    """`fit` as it is everywhere: validate, leave out ``y == -1``, learn on a copy, then keep.

    A subclass says what it takes, `_validate`, and what it learns of normal rows, `_learn`, which
    sets attributes. A fit that fails, however late, leaves what was fitted before as it was.
    """

    # The first is what other types become.
    _dtypes = (np.float64, np.float32)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Learn from the normal rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; None means that all rows are normal.

        Returns
        -------
        self : object
        """
        self._fit(X, y)
        return self

    def _fit(self, X, y):
        """Fit; what `_learn` returned, and the numbers of the normal rows (None: all)."""
        with learning_on_copy(self) as learner:
            X = learner._validate(X, reset=True)
            rows = normal_rows(X, y)
            learned = learner._learn(X if rows is None else X[rows])
        return learned, rows

    def _validate(self, X, reset):
        return validate_data(self, X, dtype=list(self._dtypes), reset=reset)

    def _learn(self, X):
        raise NotImplementedError


@contextmanager
def learning_on_copy(estimator, *, continues=False):
    """A copy of an estimator to learn on; what it has learned becomes the estimator's at the end.

    The copy begins without anything learned before, unless it `continues`. If the block fails, the
    estimator is left as it was.
    """
    learner = copy(estimator)
    if not continues:
        kept = set(estimator._get_param_names())
        for name in [n for n in vars(learner) if n.endswith("_") and n not in kept]:
            delattr(learner, name)
    yield learner
    # One assignment: an interrupt comes before it or after it.
    estimator.__dict__ = vars(learner)


def row_blocks(n_rows, values_per_row):
    """Slices that cut rows into blocks of bounded memory, at least one row each."""
    return gen_batches(n_rows, max(1, int(BLOCK_BYTES / (8 * max(1, values_per_row)))))
