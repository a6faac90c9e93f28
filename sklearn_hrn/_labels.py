"""Labels of detectors: +1 is normal, -1 is an anomaly, as everywhere in scikit-learn."""

from numbers import Number

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._sklearn import _num_samples
from .exceptions import LabelConventionWarning, warn

EXPECTED_LABELS = (
    "sklearn_hrn expects scikit-learn's convention, +1 for normal rows and -1 for anomalies; "
    "convert with sklearn_hrn.to_inlier_labels(y, normal=...)"
)


def normal_rows(X, y):
    """Indices of the rows of X that may be trained on: all but those with ``y == -1``.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,) or None

    Returns
    -------
    indices : ndarray of shape (n_normal,) or None
        None when every row may be trained on, so that nothing needs to be copied.

    Raises
    ------
    ValueError
        If y and X differ in length, or if every row is labelled -1.

    Warns
    -----
    LabelConventionWarning
        If y holds only 0s and 1s (with a 0 among them), or text: no row can then be told to be an
        anomaly, and all are used.
    """
    if y is None:
        return None
    y = np.asarray(y)
    y = column_or_1d(y) if y.ndim <= 1 or y.shape[1] == 1 else y
    if len(y) != _num_samples(X):
        raise ValueError(
            f"y has {len(y)} labels but X has {_num_samples(X)} rows; give one label a row, or "
            "y=None if all rows are normal."
        )
    if y.ndim > 1:
        return None
    if y.dtype.kind in "US" or (y.dtype.kind == "O" and any(isinstance(v, str) for v in y)):
        values, convention_is_doubtful = "text", True
    else:
        distinct = set(np.unique(y[y == y]).tolist())
        values, convention_is_doubtful = "0s and 1s", 0 in distinct and distinct <= {0, 1}
    if convention_is_doubtful:
        warn(
            f"y holds only {values}, so no row is known to be an anomaly and all rows are used "
            f"for training. {EXPECTED_LABELS}.",
            LabelConventionWarning,
        )
        return None
    is_normal = y != -1
    if is_normal.all():
        return None
    if not is_normal.any():
        raise ValueError(
            f"every one of the {len(y)} labels in y is -1 (anomaly), so there is no normal row to "
            f"train on. {EXPECTED_LABELS}."
        )
    return np.flatnonzero(is_normal)


def inlier_mask(X, y):
    """Which rows of X are normal, by labels that must be +1 and -1 and nothing else.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,) or None
        None means that all rows are normal.

    Returns
    -------
    mask : ndarray of shape (n_samples,), bool

    Raises
    ------
    ValueError
        If y and X differ in length, if y holds anything but +1 and -1 (0s, booleans, text, missing
        values, a third label), or if every row is labelled -1.
    """
    if y is None:
        return np.ones(_num_samples(X), dtype=bool)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    labels = distinct_labels(y)
    if not (1 in labels and all(_is_plus_or_minus_one(label) for label in labels)):
        raise ValueError(
            f"y must hold the labels 1 and -1 only, and at least one 1, but it holds "
            f"{_listed(labels)}. {EXPECTED_LABELS}."
        )
    return np.asarray(y == 1, dtype=bool)


def to_inlier_labels(y, *, normal):
    """Convert labels of any kind to scikit-learn's convention for detectors, +1 and -1.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels: numbers, booleans, text or bytes, two different ones or more.
    normal : label, or collection of labels
        What counts as normal. All other labels become -1, so that one class of many can be set
        against the rest. A tuple, list, set, array or Series is a collection.

    Returns
    -------
    labels : ndarray of shape (n_samples,), int
        +1 where y is normal, -1 elsewhere.

    Raises
    ------
    ValueError
        If y has missing values, or if a label in `normal` does not occur in y: it is then most
        likely misspelt, and every row would silently become an anomaly.

    Examples
    --------
    >>> from sklearn_hrn.model_selection import to_inlier_labels
    >>> to_inlier_labels([0, 0, 1, 0], normal=0)
    array([ 1,  1, -1,  1])
    >>> to_inlier_labels(["smurf", "normal", "teardrop"], normal="normal")
    array([-1,  1, -1])
    >>> to_inlier_labels([3, 1, 4, 1, 5], normal=[1, 3])
    array([ 1,  1, -1,  1, -1])
    """
    y = column_or_1d(y)
    labels = distinct_labels(y)
    missing = [label for label in labels if is_missing(label)]
    if missing:
        raise ValueError(
            f"y holds missing values ({missing[0]!r}), which are neither normal nor anomalous; "
            "leave those rows out."
        )
    is_collection = isinstance(normal, (set, frozenset)) or np.ndim(normal) > 0
    wanted = list(normal) if is_collection else [normal]
    unknown = [label for label in wanted if label not in labels]
    if unknown or not wanted:
        raise ValueError(
            f"normal={normal!r} must name labels that occur in y, which holds {_listed(labels)}"
            + (f"; {_listed(unknown)} does not." if unknown else ".")
        )
    is_normal = np.logical_or.reduce([np.asarray(y == label, dtype=bool) for label in wanted])
    return np.where(is_normal, 1, -1)


def distinct_labels(y):
    """The different values of a one-dimensional array, as Python objects."""
    if y.dtype.kind == "O":
        return list(dict.fromkeys(y.tolist()))
    return np.unique(y).tolist()


def _is_plus_or_minus_one(label):
    return isinstance(label, Number) and not isinstance(label, bool) and label in (1, -1)


def is_missing(label):
    # `pandas.NA` has no truth value; it is known by name so that pandas need not be there.
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label != label


def _listed(labels, at_most=6):
    shown = ", ".join(repr(label) for label in labels[:at_most])
    return shown + (f", ... ({len(labels)} different labels)" if len(labels) > at_most else "")
