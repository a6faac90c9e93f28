"""Folds that train on normal rows, and test on normal rows and anomalies."""

from collections.abc import Iterator
from math import ceil
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.utils import check_random_state

from .._labels import inlier_mask
from .._sklearn import Interval, validate_params
from .._typing import Integers, Rows, Seed


class InlierKFold(KFold):
    """K folds whose training parts hold normal rows only.

    The test folds partition all rows. Normal rows and anomalies are each dealt over the folds in
    turn, like cards: the numbers of normal rows, of anomalies and of rows in two test folds differ
    by at most one, and every fold can be scored with ``roc_auc``. The training part of a fold is
    the normal rows of the other folds.

    Without shuffling, rows next to each other go to different folds, so that data sorted by label,
    by time or by origin give folds that are alike; the folds are then the same at every call.
    (``KFold`` cuts blocks instead, whose test rows can be unlike all their training rows.) Rows
    that come in a pattern whose period is a multiple of `n_splits` need ``shuffle=True``.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Deal the rows in random order rather than in the order of the data.
    random_state : int, RandomState instance or None, default=None
        Order of the rows when `shuffle` is True; an int gives the same folds at every call.
    train_anomalies : bool, default=False
        Put the anomalies of the other folds into the training parts, too. Detectors that leave out
        rows with ``y == -1`` by themselves, as all of this package do, are trained on the same
        rows, and training scores that need both kinds have a value. All others would be trained on
        anomalies.

    See Also
    --------
    InlierShuffleSplit : Random splits of chosen size.
    OneClassPipeline : Leaves anomalies out of the refit of a search as well.

    Notes
    -----
    ``split(X, y)`` takes y with +1 for normal rows and -1 for anomalies; ``y=None`` means that all
    rows are normal. It refuses all other labels: 0 and 1 would make a search choose its worst
    candidate without a word. More folds than normal rows, or than anomalies where there are any,
    are refused as well.

    *Training scores.* Halving searches, learning curves and validation curves score the training
    parts, too. Those of normal rows alone have no ``roc_auc``, which is NaN then: give
    ``train_anomalies=True`` for one, or ``return_train_score=False`` to a halving search. With
    `train_anomalies` the rows of a training part come in an order in which any first part of them,
    as a learning curve takes it, holds anomalies in about their share, and one at least.

    A search refits its best candidate on *all* rows. A detector, and every step before it, must
    therefore leave out the rows with ``y == -1`` by itself, as
    :class:`~sklearn_hrn.OneClassPipeline` does.

    ``cross_val_predict(detector, X, y, cv=InlierKFold(5))`` predicts every row once. For scores
    give it the folds in place of y, which it would take for the labels of a classifier:
    ``cross_val_predict(detector, X, cv=list(InlierKFold(5).split(X, y)),
    method="decision_function")``.

    Examples
    --------
    >>> from sklearn_hrn import InlierKFold
    >>> X, y = [[0], [1], [2], [3], [8], [9]], [1, 1, 1, 1, -1, -1]
    >>> for train, test in InlierKFold(2).split(X, y):
    ...     print(train, test)
    [1 3] [0 2 4]
    [0 2] [1 3 5]
    """

    @validate_params(train_anomalies=["boolean"])
    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: Seed = None,
        train_anomalies: bool = False,
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        self.train_anomalies = train_anomalies

    def split(
        self, X: Rows, y: ArrayLike | None = None, groups: Any = None
    ) -> Iterator[tuple[Integers, Integers]]:
        """Generate indices that split the rows into training and test sets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            +1 for normal rows, -1 for anomalies; None if all rows are normal.
        groups : object, default=None
            Ignored, with a warning.

        Yields
        ------
        train : ndarray of int
            Normal rows only, ascending; with `train_anomalies` anomalies in between.
        test : ndarray of int
            Normal rows and anomalies, ascending.
        """
        is_normal = inlier_mask(X, y)
        for train, test in super().split(X, np.where(is_normal, 1, -1), groups):
            normal, anomalous = train[is_normal[train]], train[~is_normal[train]]
            yield _mixed(normal, anomalous) if self.train_anomalies else normal, test

    def _iter_test_indices(self, X, y, groups=None):
        normal, anomalous = np.flatnonzero(y == 1), np.flatnonzero(y != 1)
        for kind, rows in (("normal rows", normal), ("anomalies", anomalous)):
            if len(rows) < self.n_splits and (len(rows) > 0 or kind == "normal rows"):
                raise ValueError(
                    f"n_splits={self.n_splits} is more than the {len(rows)} {kind} in y, so a fold "
                    "would have none of them. Use fewer folds, or InlierShuffleSplit."
                )
        if self.shuffle:
            rng = check_random_state(self.random_state)
            normal, anomalous = rng.permutation(normal), rng.permutation(anomalous)
        # One round of dealing over both kinds keeps the sizes of the folds within one row.
        dealt = np.concatenate([normal, anomalous])
        for fold in range(self.n_splits):
            yield dealt[fold :: self.n_splits]


class InlierShuffleSplit(ShuffleSplit):
    """Random splits whose training parts hold normal rows only.

    Each split draws its training and test rows from the normal rows, and adds to the test rows the
    same share of the anomalies, at least one where there are any. The test part then has the
    proportion of anomalies of the data, on which average precision and F1 depend. Anomalies that
    are not drawn are left out of that split.

    Parameters
    ----------
    n_splits : int, default=10
        Number of splits.
    test_size : float or int, default=None
        Share (0 to 1) or number of the *normal* rows to test on. None is what `train_size` leaves,
        or 0.1 if that is None too.
    train_size : float or int, default=None
        Share or number of the *normal* rows to train on. None is what `test_size` leaves.
    random_state : int, RandomState instance or None, default=None
        An int gives the same splits at every call.
    train_anomalies : bool, default=False
        Put anomalies that are not tested on, in the same proportion, into the training parts, too;
        see :class:`InlierKFold`.

    See Also
    --------
    InlierKFold : Test folds that partition all rows.

    Notes
    -----
    Labels, training scores and refitting: see the notes of :class:`InlierKFold`.

    Examples
    --------
    >>> from sklearn_hrn import InlierShuffleSplit
    >>> X, y = [[0], [1], [2], [3], [8], [9]], [1, 1, 1, 1, -1, -1]
    >>> for train, test in InlierShuffleSplit(2, test_size=0.5, random_state=0).split(X, y):
    ...     print(len(train), len(test))
    2 3
    2 3
    """

    @validate_params(
        n_splits=[Interval(Integral, 1, None, closed="left")], train_anomalies=["boolean"]
    )
    def __init__(
        self,
        n_splits: int = 10,
        *,
        test_size: float | None = None,
        train_size: float | None = None,
        random_state: Seed = None,
        train_anomalies: bool = False,
    ) -> None:
        super().__init__(
            n_splits, test_size=test_size, train_size=train_size, random_state=random_state
        )
        self.train_anomalies = train_anomalies

    def _iter_indices(self, X, y=None, groups=None):
        is_normal = inlier_mask(X, y)
        normal, anomalous = np.flatnonzero(is_normal), np.flatnonzero(~is_normal)
        n_train, n_test = map(len, next(super()._iter_indices(normal)))
        share = round(len(anomalous) * n_test / len(normal))
        n_test_anomalous = min(max(share, 1), len(anomalous))
        rng = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            shuffled = rng.permutation(normal)
            of_test, others = np.split(rng.permutation(anomalous), [n_test_anomalous])
            test = np.concatenate([shuffled[:n_test], of_test])
            train = shuffled[n_test : n_test + n_train]
            if self.train_anomalies:
                train = _mixed(train, others[: ceil(len(anomalous) * n_train / len(normal))])
            yield train, test


def _mixed(normal, anomalous):
    """Both kinds in one order, whose every first part has them in their proportion."""
    places = np.r_[
        np.arange(len(anomalous)) / max(len(anomalous), 1),  # an anomaly comes first
        (np.arange(len(normal)) + 0.5) / len(normal),
    ]
    return np.r_[anomalous, normal][np.argsort(places, kind="stable")]
