"""Labels of detectors, +1 for normal rows and -1 for anomalies as in scikit-learn, and groups."""

import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, is_outlier_detector
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._arrow import decoded
from ._refusals import listed, refuse_lazy, refuse_masked, refuse_tensor
from ._sklearn import _num_samples
from ._typing import Integers
from .exceptions import LabelConventionWarning, warn

EXPECTED_LABELS = (
    "sklearn_hrn expects scikit-learn's convention, +1 for normal rows and -1 for anomalies; "
    "convert with sklearn_hrn.to_inlier_labels(y, normal=...)"
)

# Whether the convention of y has been judged further out, where the user gave it.
_LABELS_ARE_JUDGED = ContextVar("labels are judged", default=False)


@contextmanager
def judged_labels():
    """Within the block the convention of y is not doubted again, nor is a warning repeated."""
    token = _LABELS_ARE_JUDGED.set(True)
    try:
        yield
    finally:
        _LABELS_ARE_JUDGED.reset(token)


def _are_numbers(labels):
    """Whether all are numbers, or all are booleans: a mixture means something else by each."""
    are_flags = {isinstance(label, bool | np.bool_) for label in labels}
    return len(are_flags) < 2 and all(isinstance(label, Number | np.bool_) for label in labels)


def as_labels(values, name="y"):
    """Labels or groups as an array, of which no digit is lost.

    Numbers that come as objects become plain ones where these are the same, and text of NumPy's own
    type becomes objects: scikit-learn has no use for either. So do moments and durations.

    Parameters
    ----------
    values : array-like
    name : str
        What they are called in errors.

    Returns
    -------
    labels : ndarray
        Of any number of axes.

    Raises
    ------
    TypeError
        If they are a tensor of which NumPy makes no array.
    ValueError
        If some are hidden by a mask, or are complex numbers, or rows differ in length.
    """
    refuse_masked(values, name)
    refuse_tensor(values, name)
    try:
        labels = np.asarray(decoded(values))
    except ValueError as error:
        raise ValueError(f"{name} should be a 1d array, one value a row: {error}") from error
    if labels.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} must hold real numbers, or text.")
    if labels.dtype.kind == "T":
        return labels.astype(object)
    if labels.dtype.kind in "mM":
        # Of nanoseconds NumPy makes whole numbers, of all else the moments that Python has.
        plain = labels.astype(f"{labels.dtype.kind}8[us]")
        is_finer = np.datetime_data(labels.dtype)[0] in ("ns", "ps", "fs", "as")
        if is_finer and (plain == labels)[~np.isnat(labels)].all():
            labels = plain
        return labels.astype(object)
    if labels.dtype.kind == "O":
        plain = np.fromiter(map(without_pandas, labels.ravel()), object, labels.size)
        labels = plain.reshape(labels.shape)
    if labels.dtype.kind == "O" and _are_numbers(labels.ravel()):
        for dtype in (None, float):
            with suppress(TypeError, ValueError, OverflowError):
                plain = np.asarray(labels.tolist(), dtype)
                if plain.dtype.kind in "biuf" and plain.tolist() == labels.tolist():
                    return plain
    return labels


def normal_rows(X, y, estimator=None):
    """Indices of the rows of X that may be trained on: all but those with ``y == -1``.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,) or None
    estimator : estimator, default=None
        What is fitted on them.

    Returns
    -------
    indices : ndarray of shape (n_normal,) or None
        None when every row may be trained on, so that nothing needs to be copied.

    Raises
    ------
    TypeError
        If X is a collection whose rows lie elsewhere.
    ValueError
        If y and X differ in length, if y is no single column or misses values, if every row is
        labelled -1, or if a classifier that recodes labels fits a detector.

    Warns
    -----
    LabelConventionWarning
        If y holds only 0s and 1s (with a 0 among them) or booleans, or anything that is no number:
        no row can then be told to be an anomaly, and all are used.
    """
    refuse_lazy(X)
    if y is None:
        return None
    y = as_labels(y)
    if y.ndim == 0 or (y.ndim > 1 and (y.ndim > 2 or y.shape[1] != 1)):
        raise ValueError(
            f"y should be a 1d array, one label a row, but has shape {y.shape}: give the column "
            "that tells normal rows from anomalies, or y=None if all rows are normal."
        )
    y = y.ravel()
    if len(y) != _num_samples(X):
        raise ValueError(
            f"y has {len(y)} labels but X has {_num_samples(X)} rows; give one label a row, or "
            "y=None if all rows are normal."
        )
    labels = distinct_labels(y)
    _refuse_missing(labels)
    doubt = None if _LABELS_ARE_JUDGED.get() else _doubt(labels)
    if not _LABELS_ARE_JUDGED.get():
        _refuse_within_classifier(estimator, labels, doubt is not None)
    if doubt is not None:
        warn(
            f"y holds {doubt}, so no row is known to be an anomaly and all rows are used for "
            f"training. {EXPECTED_LABELS}.",
            LabelConventionWarning,
        )
    if y.dtype.kind not in "bifuO":
        return None
    is_normal = np.asarray(y != -1, dtype=bool)
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
    y = column_or_1d(as_labels(y))
    check_consistent_length(X, y)
    labels = distinct_labels(y)
    if not (1 in labels and all(is_plus_or_minus_one(label) for label in labels)):
        raise ValueError(
            f"y must hold the labels 1 and -1 only, and at least one 1, but it holds "
            f"{listed(labels)}. {EXPECTED_LABELS}."
        )
    return np.asarray(y == 1, dtype=bool)


def to_inlier_labels(y: ArrayLike, *, normal: Any) -> Integers:
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
    >>> from sklearn_hrn import to_inlier_labels
    >>> to_inlier_labels([0, 0, 1, 0], normal=0)
    array([ 1,  1, -1,  1])
    >>> to_inlier_labels(["smurf", "normal", "teardrop"], normal="normal")
    array([-1,  1, -1])
    >>> to_inlier_labels([3, 1, 4, 1, 5], normal=[1, 3])
    array([ 1,  1, -1,  1, -1])
    """
    y = column_or_1d(as_labels(y))
    labels = distinct_labels(y)
    _refuse_missing(labels)
    is_collection = isinstance(normal, (set, frozenset, list, tuple)) or np.ndim(normal) > 0
    wanted = list(normal) if is_collection else [normal]
    unknown = [label for label in wanted if not _occurs(label, labels)]
    if unknown or not wanted:
        raise ValueError(
            f"normal={normal!r} must name labels that occur in y, which holds {listed(labels)}"
            + (f"; {listed(unknown)} does not." if unknown else ".")
        )
    is_normal = np.logical_or.reduce([np.asarray(y == label, dtype=bool) for label in wanted])
    return np.where(is_normal, 1, -1)


def _occurs(label, labels):
    with suppress(TypeError, ValueError):  # what cannot be compared with labels is none of them
        return label in labels
    return False


def distinct_labels(y):
    """The different values of a one-dimensional array, as Python objects."""
    if y.dtype.kind == "O":
        with suppress(TypeError):  # what cannot be hashed stays as often as it comes
            return list(dict.fromkeys(y.tolist()))
        return y.tolist()
    return np.unique(y).tolist()


def _refuse_missing(labels):
    missing = [label for label in labels if is_missing(label)]
    if missing:
        raise ValueError(
            f"y holds missing values ({missing[0]!r}), which are neither normal nor anomalous; "
            "leave those rows out."
        )


def _refuse_within_classifier(estimator, labels, in_doubt):
    """Refuse a detector that a classifier fits, such as BaggingClassifier or OneVsRestClassifier.

    Such meta-estimators recode -1 and 1 as 0 and 1, or each class against the others, so that a
    label no longer tells an anomaly. What recoded labels look like is what labels of a user with
    another convention look like; only who calls tells them apart. A classifier of a user's own may
    know what it does: only doubtful labels are refused there.
    """
    frame, name = sys._getframe(1), None
    while frame is not None:
        # Functions that run in other processes have no `self`: Bagging hands itself to them, and
        # the others are known by their modules.
        module = frame.f_globals.get("__name__")
        given = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        owner = frame.f_locals.get("self") if given[:1] == ("self",) else None
        if module == "sklearn.ensemble._bagging" and "ensemble" in given:
            owner = frame.f_locals["ensemble"]
        if isinstance(owner, ClassifierMixin):
            if not (in_doubt or type(owner).__module__.startswith("sklearn.")):
                return
            name = type(owner).__name__
            break
        if module == "sklearn.multiclass" or (in_doubt and module == "sklearn.ensemble._base"):
            name = module
        frame = frame.f_back
    if name is not None and is_outlier_detector(estimator):
        raise ValueError(
            f"{name} is made for classifiers. It recodes labels or leaves some out, so that those "
            f"it hands on ({listed(labels)}) do not tell {type(estimator).__name__} the anomalies "
            "from the normal rows. Fit the detector without it: n_estimators of "
            "HRNOneClassClassifier makes an ensemble, "
            'ConformalOutlierDetector(strategy="bootstrap") draws rows for each of several '
            "detectors, and HRNContinualClassifier learns several classes."
        )


def _doubt(labels):
    """What labels are, if they cannot be meant as +1 and -1; else None."""
    if -1 in labels:
        return None
    for label in labels:
        if not isinstance(label, Number):
            return f"labels that are no numbers (such as {label!r})"
    if 0 in labels and set(labels) <= {0, 1}:
        return "booleans" if any(isinstance(label, bool) for label in labels) else "only 0s and 1s"
    return None


def is_plus_or_minus_one(label):
    return isinstance(label, Number) and not isinstance(label, bool) and label in (1, -1)


def is_missing(label):
    # `pandas.NA` has no truth value; it is known by name so that pandas need not be there.
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label != label


def without_pandas(value):
    """A moment or duration of pandas as that of Python, where it has no nanoseconds.

    All else stays as it is. Files of skops hold no values of pandas.
    """
    if type(value).__module__.partition(".")[0] == "pandas" and not is_missing(value):
        if isinstance(value, datetime) and not value.nanosecond:
            return value.to_pydatetime()
        if isinstance(value, timedelta) and not value.nanoseconds:
            return value.to_pytimedelta()
    return value


def check_groups(groups, X):
    """The group of each row of X, in one column.

    Parameters
    ----------
    groups : array-like of shape (n_samples,)
    X : array-like of shape (n_samples, ...)

    Returns
    -------
    groups : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If they are no single column, or differ from X in length.
    """
    groups = as_labels(groups.toarray().ravel() if issparse(groups) else groups, "groups")
    try:
        groups = column_or_1d(groups)
    except ValueError as error:
        raise ValueError(f"groups must be a number or a text for each row: {error}") from error
    if len(groups) != _num_samples(X):
        raise ValueError(f"groups has {len(groups)} entries, but X has {_num_samples(X)} rows.")
    return groups


def rows_by_group(groups):
    """The rows of each group, ascending.

    Parameters
    ----------
    groups : ndarray of shape (n_samples,) or None

    Returns
    -------
    rows : dict of {group: ndarray of int}
        In the order of their names. Where there are no groups, all rows are of the group None.

    Raises
    ------
    ValueError
        If a group is missing for a row, or if some are numbers and others are text.
    """
    if groups is None:
        return {None: slice(None)}
    if any(map(is_missing, groups.tolist())):
        raise ValueError("groups has missing values: every row needs a group, or to be left out.")
    try:
        names, of_row = np.unique(groups, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"groups must be all numbers or all text, but {error}.") from error
    order = np.argsort(of_row, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(of_row))[:-1])
    return dict(zip(names.tolist(), parts, strict=True))
