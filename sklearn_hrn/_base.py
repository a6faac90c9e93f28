"""What every estimator has in common: how it checks, fits, travels and cuts rows."""

import re
from contextlib import contextmanager
from copy import copy
from functools import cache
from importlib import import_module
from math import isfinite
from operator import is_
from typing import Self
from weakref import ref

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from ._arrow import decoded
from ._labels import normal_rows
from ._refusals import (
    first_that_is_no_number,
    is_sparse_frame,
    no_numbers,
    refuse_axes,
    refuse_equal_names,
    refuse_lazy,
    refuse_masked,
)
from ._sklearn import _fit_context
from ._typing import Rows
from .exceptions import VersionMismatchWarning, warn

# Bytes of float64 values worked on at once: they stay in the cache between passes, and the copies
# of them weigh nothing beside a large input.
BLOCK_BYTES = 2**22

# Rows of a call, at most, whose fixed cost outweighs their work: what they need of the fitted
# attributes is kept for the next call.
FEW_ROWS = 10


class _Beside:
    """What is kept beside each estimator for as long as it is there.

    Estimators are told apart by what they are: one with an ``__eq__`` of its own has no hash.
    """

    def __init__(self):
        self._kept = {}

    def get(self, estimator):
        return self._kept.get(id(estimator), (None, (None, None)))[1]

    def keep(self, estimator, found):
        key, kept = id(estimator), self._kept
        kept[key] = ref(estimator, lambda _: kept.pop(key, None)), found


# Fitted attributes, and what `derived` has made of them.
_DERIVED = _Beside()

# The names that `fit` saw, and the columns of a frame that were found to have them: pandas tells
# faster that two are the same than what each is called.
_COLUMNS = _Beside()

# Where a pickle has the version that wrote it.
VERSION = "_sklearn_hrn_version"

# Where a state has the keys and values of a dict whose keys are not all text: files of skops make
# text of keys, and lose one of 1 and "1", and of True and False.
ITEMS = "_sklearn_hrn_items"

# What NumPy says of values of which it makes no numbers.
WRONG_VALUES = "could not convert|float.. argument|array element with a sequence"


class VersionedMixin:
    """Pickles say which version of this package wrote them, and another version warns by name.

    In a notebook the estimator links to its page in the documentation. Names of parameters are read
    off the signature of a class once: a fit with folds asks for them hundreds of times.
    """

    _doc_link_module = "sklearn_hrn"
    _doc_link_template = "https://sklearn-hrn.github.io/sklearn-hrn/generated/{page}.html"

    def _doc_link_url_param_generator(self):
        module, name = type(self).__module__.split("."), type(self).__name__
        is_at_top = hasattr(import_module(module[0]), name)
        return {"page": ".".join([*module[: 1 if is_at_top else 2], name])}

    @classmethod
    @cache
    def _get_param_names(cls):
        return super()._get_param_names()

    def __copy__(self):
        # Not by way of the state: what is copied stays what it is.
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def __getstate__(self):
        from . import __version__

        return {**_with_items_listed(super().__getstate__()), VERSION: __version__}

    def __setstate__(self, state):
        from . import __version__

        state = dict(state)
        written_by = state.pop(VERSION, None)
        if written_by != __version__:
            writer = f"version {written_by}" if written_by else "a version that left no name"
            warn(
                f"this {type(self).__name__} was pickled by {writer} of sklearn-hrn and is read by "
                f"{__version__}, which may understand it otherwise: fit it anew, or install the "
                "version that wrote it.",
                VersionMismatchWarning,
            )
        super().__setstate__(_with_items_in_dicts(state))


def _with_items_listed(value):
    """What holds dicts, with the keys and values of those whose keys are not all text in lists."""
    if type(value) is dict:
        listed = {key: _with_items_listed(item) for key, item in value.items()}
        is_text = all(type(key) is str for key in listed)
        return listed if is_text else {ITEMS: [list(listed), list(listed.values())]}
    return type(value)(map(_with_items_listed, value)) if type(value) in (list, tuple) else value


def _with_items_in_dicts(value):
    """The reverse of `_with_items_listed`."""
    if type(value) is dict:
        if ITEMS in value:
            value = dict(zip(*value[ITEMS], strict=True))
        return {key: _with_items_in_dicts(item) for key, item in value.items()}
    return type(value)(map(_with_items_in_dicts, value)) if type(value) in (list, tuple) else value


class NormalRowsEstimator(VersionedMixin, BaseEstimator):
    """`fit` as it is everywhere: validate, leave out ``y == -1``, learn on a copy, then keep.

    A subclass says what it takes, `_validate`, and what it learns of normal rows, `_learn`, which
    sets attributes. A fit that fails, however late, leaves what was fitted before as it was.
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    # The first is what other types become.
    _dtypes = (np.float64, np.float32)

    # Whether sparse rows become dense ones, so that a step behind need not take them.
    _makes_dense = False

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, y: ArrayLike | None = None) -> Self:
        """Learn from the normal rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Sparse rows, too, where `transform` takes them.
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
            rows = normal_rows(X, y, self)
            learned = learner._learn(X if rows is None else X[rows])
        return learned, rows

    def _validate(self, X, reset, **options):
        options |= {"dtype": list(self._dtypes), "accept_sparse": self._takes_sparse() and "csr"}
        return check_numbers(self, X, reset=reset, **options)

    def _takes_sparse(self):
        return self._makes_dense

    def _checked(self, X):
        """Rows as a fitted estimator works on them."""
        check_fitted(self)
        return self._validate(X, reset=False)

    def _learn(self, X):
        raise NotImplementedError

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._takes_sparse()
        return tags


@contextmanager
def learning_on_copy(estimator, *, continues=False):
    """A copy of an estimator to learn on; what it has learned becomes the estimator's at the end.

    The copy begins without anything learned before, unless it `continues`, and with NumPy's numbers
    among its parameters as Python's, which do not overflow. If the block fails, the estimator is
    left as it was.
    """
    learner = copy(estimator)
    given = estimator.get_params(deep=False)
    if not continues:
        for name in [n for n in vars(learner) if n.endswith("_") and n not in given]:
            delattr(learner, name)
    scalars = {name: value for name, value in given.items() if isinstance(value, np.generic)}
    plain = {n: float(v) if isinstance(v, np.floating) else v.item() for n, v in scalars.items()}
    vars(learner).update(plain)
    yield learner
    vars(learner).update(scalars)
    # One assignment: an interrupt comes before it or after it.
    estimator.__dict__ = vars(learner)


def row_blocks(n_rows, values_per_row):
    """Slices that cut rows into blocks of bounded memory, at least one row each."""
    n_at_once = max(1, int(BLOCK_BYTES / (8 * max(1.0, values_per_row))))
    return [slice(start, min(start + n_at_once, n_rows)) for start in range(0, n_rows, n_at_once)]


def derived(estimator, make, *attributes):
    """``make(*attributes)`` of fitted attributes, made once for as long as these are the same.

    It is kept beside the estimator, not in it: no part of pickles and copies. An array that is
    changed in place counts as the same: looking at its values takes longer than scoring a row.
    """
    known, made = _DERIVED.get(estimator)
    if known is None or not all(map(is_, known, attributes)):
        made = make(*attributes)
        _DERIVED.keep(estimator, (attributes, made))
    return made


def dense(X):
    """Rows as an array where they are sparse, else as they are."""
    return X.toarray() if sparse.issparse(X) else X


def check_fitted(estimator):
    """`check_is_fitted`; it asks for all tags, which takes as long as to score one row."""
    if "n_features_in_" not in vars(estimator):
        check_is_fitted(estimator)


def is_plain(estimator, X, dtypes):
    """Whether X shows at a glance to be what `fit` saw: finite numbers, of one of the types.

    The check of scikit-learn finds the same, and takes several times as long as to score one row.
    """
    return (
        type(X) is np.ndarray
        and X.dtype in dtypes
        and X.ndim == 2
        and X.shape[1] == estimator.n_features_in_
        and len(X) > 0
        and not hasattr(estimator, "feature_names_in_")
        and _is_finite(X)
    )


def _is_finite(X):
    # Squares of large numbers add up to infinity, too: then, and of many rows, the ends say it. The
    # least of numbers with NaN among them is NaN.
    if len(X) <= FEW_ROWS and isfinite(np.vdot(X, X)):
        return True
    return isfinite(X.min()) and isfinite(X.max())


def plain_numbers(estimator, X, dtypes):
    """X as an array, if it shows at a glance to be numbers without gaps as in `fit`; or None.

    To look at each column of a frame takes several times as long as to score one row.
    """
    if not hasattr(estimator, "feature_names_in_"):
        return X if is_plain(estimator, X, dtypes) else None
    is_frame = hasattr(X, "iloc") and hasattr(X, "columns")  # which a row of one is not
    if not is_frame or not _are_names_of_fit(estimator, X.columns):
        return None
    own = _type_of_numbers(X)
    if own is None:
        return None
    try:
        rows = np.array(X.to_numpy(own if own in dtypes else dtypes[0]), order="C")
    except (TypeError, ValueError):  # gaps of a type of pandas' own
        return None
    return rows if _is_finite(rows) else None


def _are_names_of_fit(estimator, columns):
    """Whether the columns of a frame have the names that `fit` saw, in their order."""
    names, (seen, kept) = estimator.feature_names_in_, _COLUMNS.get(estimator)
    if seen is names and columns.equals(kept):
        return True
    if columns.tolist() != names.tolist():
        return False
    _COLUMNS.keep(estimator, (names, columns))
    return True


def _type_of_numbers(X):
    """The type that holds the columns of a frame, or None where they are not all numbers."""
    # The types of all columns take longer than their values in a few rows, which are floats where
    # no column is of another kind; but for a single one, whose categories may be floats.
    if 0 < len(X) <= FEW_ROWS and X.shape[1] > 1 and (own := X.to_numpy().dtype).kind == "f":
        return own
    types = set(X.dtypes) if len(X) else ()
    # Frames of sparse columns become sparse rows.
    if not types or any(t.kind not in "biuf" or hasattr(t, "subtype") for t in types):
        return None
    return _common_type(types)


def validate_as_numpy(estimator, X, **options):
    """`validate_data`, which makes NumPy's of tensors and the like, whatever is configured."""
    # It adds up all values, of which the largest make infinity less infinity.
    with config_context(array_api_dispatch=False), np.errstate(invalid="ignore"):
        return validate_data(estimator, X, **options)


def check_numbers(estimator, X, *, reset, dtype, force_writeable=False, **options):
    """What `validate_data` makes of X; its errors say in which column, and what to do.

    Sparse rows have no entry stored twice.
    """
    plain = None if reset or dtype is None else plain_numbers(estimator, X, dtype)
    if plain is not None and plain.flags.writeable >= force_writeable:
        return plain
    refuse_lazy(X)
    refuse_masked(X)
    refuse_axes(X)
    refuse_equal_names(X)
    X = decoded(X)
    is_frame = is_sparse_frame(X)
    if (is_frame or sparse.issparse(X)) and not options.get("accept_sparse"):
        dense_one = "X.sparse.to_dense()" if is_frame else "X.toarray()"
        raise TypeError(
            f"X is sparse, but {type(estimator).__name__} takes dense rows only: give {dense_one} "
            "if that fits into memory. In front of a detector, LandmarkFeatures or FourierFeatures "
            'take sparse rows and make dense ones, as in make_hrn_pipeline("embedding").'
        )
    if dtype is not None:
        own = _own_type(X)
        # NumPy makes numbers of moments and durations, in whatever unit they are kept.
        found = first_that_is_no_number(X) if own is not None and own.kind in "mM" else None
        if found is not None:
            raise TypeError(no_numbers(estimator, *found))
        dtype = sorted(dtype, key=lambda kind: kind != own)
    options |= {"reset": reset, "dtype": dtype, "force_writeable": force_writeable}
    try:
        X = validate_as_numpy(estimator, X, **options)
        if sparse.issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        found = first_that_is_no_number(X)
        kind = TypeError if isinstance(error, TypeError) else ValueError
        if found is None:
            is_told = isinstance(error, TypeError | ValueError)
            if is_told and not re.search(WRONG_VALUES, str(error)):
                raise
            raise kind(
                "X must be rows of numbers, (n_samples, n_features), that float64 can hold, but is "
                f"{type(X).__name__}: {error}"
            ) from error
        # Without the error, whose text advises other estimators, supervised ones.
        raise kind(no_numbers(estimator, *found)) from None


def _own_type(X):
    """The type of the numbers of rows of any library, which are to stay what they are."""
    if isinstance(getattr(X, "dtype", None), np.dtype):
        return X.dtype
    try:
        return _common_type(set(X.dtypes)) if hasattr(X, "iloc") else np.asarray(X).dtype
    except (TypeError, ValueError, RuntimeError, OverflowError):  # which the check has words for
        return None


def rows_of_list(X):
    """A list of rows with text in it as objects: NumPy would make text of the numbers, too."""
    if isinstance(X, list | tuple) and np.asarray(X).dtype.kind in "US":
        return np.array(X, dtype=object)
    return X


def _common_type(types):
    """The type that holds the numbers of columns of a data frame."""
    return np.result_type(*(getattr(t, "numpy_dtype", t) for t in types))
