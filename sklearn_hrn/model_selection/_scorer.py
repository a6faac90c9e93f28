"""Scorers that need no labels."""

import numpy as np
from sklearn.metrics import roc_auc_score

from .._labels import normal_rows
from .._sklearn import _num_samples, _safe_indexing

# Rounds of shuffling: held-out parts can be small.
N_SHUFFLES = 5


def shuffled_columns_score(estimator, X, y=None):
    """How well a detector tells normal rows from rows whose columns were shuffled.

    A scorer for model selection without labels: ``scoring=shuffled_columns_score`` in
    `HRNSearchCV` and `GridSearchCV`. Each column is shuffled by itself, so that the made-up rows
    have the right values in the wrong company; the score is the area under the ROC curve of the
    normal rows against them.

    It is meant for tables, where it finds widths and lengths almost as good as the best ones (see
    the guide). It is of no use for pictures: a picture of shuffled pixels is told apart by
    anything.

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
    rows = normal_rows(X, y)
    if rows is not None:
        X = _safe_indexing(X, rows)
    rng = np.random.default_rng(0)
    made_up = [estimator.score_samples(_shuffled_columns(X, rng)) for _ in range(N_SHUFFLES)]
    scores = np.concatenate([estimator.score_samples(X), *made_up])
    is_real = np.arange(len(scores)) < _num_samples(X)
    return roc_auc_score(is_real, scores)


def _shuffled_columns(X, rng):
    """X with every column permuted by itself; a data frame stays one."""
    if hasattr(X, "iloc"):
        columns = [X.iloc[rng.permutation(len(X)), [j]] for j in range(X.shape[1])]
        return X.__class__(
            {name: column.iloc[:, 0].array for name, column in zip(X.columns, columns, strict=True)}
        )
    X = np.asarray(X)
    order = np.broadcast_to(np.arange(len(X))[:, None], X.shape)
    return np.take_along_axis(X, rng.permuted(order, axis=0), axis=0)
