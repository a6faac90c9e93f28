"""Scorers that need no labels."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from .._base import dense, rows_of_list
from .._labels import normal_rows
from .._refusals import column_names
from .._sklearn import HasMethods, _num_samples, _safe_indexing, validate_params
from .._typing import Estimator, Rows

# Rounds of shuffling: held-out parts can be small.
N_SHUFFLES = 5


@validate_params(estimator=[HasMethods(["score_samples"])])
def shuffled_columns_score(estimator: Estimator, X: Rows, y: ArrayLike | None = None) -> float:
    """How well a detector tells normal rows from rows whose columns were shuffled.

    A scorer for model selection without labels: ``scoring=shuffled_columns_score`` in
    `HRNSearchCV` and `GridSearchCV`. Each column is shuffled by itself, so that the made-up rows
    have the right values in the wrong company; the score is the area under the ROC curve of the
    normal rows against them.

    It is meant for tables. On those measured it chooses about as well as the default, which no rule
    without labels is ahead of (``python -m sklearn_hrn.benchmark choice``). It is of no use for
    pictures: a picture of shuffled pixels is told apart by anything.

    Parameters
    ----------
    estimator : object
        A fitted detector with `score_samples`.
    X : {array-like, DataFrame} of shape (n_samples, n_features)
        Rows the estimator was not trained on.
    y : array-like of shape (n_samples,), default=None
        Rows with ``y == -1`` are left out, and all others taken to be normal.

    Returns
    -------
    score : float
        0.5 for guessing, 1 at best. Equal for equal X: the shuffles are always the same ones.

    See Also
    --------
    HRNSearchCV : Takes it by itself where no anomaly is marked.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn_hrn import shuffled_columns_score
    >>> ring = np.linspace(0, 6, 200)
    >>> X = np.c_[np.cos(ring), np.sin(ring)]
    >>> forest = IsolationForest(random_state=0).fit(X[::2])
    >>> bool(shuffled_columns_score(forest, X[1::2]) > 0.6)
    True
    """
    X = np.asarray(rows_of_list(X)) if isinstance(X, list | tuple) else X
    rows = normal_rows(X, y)
    if rows is not None:
        X = _safe_indexing(X, rows)
    rng = np.random.default_rng(0)
    made_up = [estimator.score_samples(_shuffled_columns(X, rng)) for _ in range(N_SHUFFLES)]
    scores = np.concatenate([estimator.score_samples(X), *made_up])
    is_real = np.arange(len(scores)) < _num_samples(X)
    return roc_auc_score(is_real, scores)


def _shuffled_columns(X, rng):
    """X with every column permuted by itself; a data frame stays one, of its library."""
    order = np.broadcast_to(np.arange(_num_samples(X))[:, None], X.shape)
    order = rng.permuted(order, axis=0)
    names = column_names(X)
    if names is None:
        return np.take_along_axis(dense(X), order, axis=0)
    columns = {name: _taken(X[name], order[:, j]) for j, name in enumerate(names)}
    return X.from_pydict(columns) if hasattr(X, "from_pydict") else X.__class__(columns)


def _taken(column, order):
    """A column of a frame in another order, without the labels of its rows."""
    taken = column.take(order) if hasattr(column, "take") else column[order]
    return getattr(taken, "array", taken)
