"""What rows, labels and detectors must not be: refused by name, with what to do about it."""

from collections import Counter
from datetime import timedelta

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

# Collections that hold no rows yet: how they are told, whose they are, what brings the rows.
LAZY = (
    ("__dask_graph__", "Dask", "X.compute()"),
    ("toPandas", "Spark", "X.toPandas()"),
    ("iter_batches", "Ray Data", "X.to_pandas()"),
    ("collect", "polars", "X.collect()"),
)

# What to do about values that are no finite numbers.
ADVICE = {
    "text": "encode such columns first, for instance with sklearn.preprocessing.OneHotEncoder",
    "dates": "make numbers of them first, such as days since the first one",
    "values of other types": "the argument must be rows of numbers, or of strings that read as a "
    "number: make numbers of them first, or leave the column out",
    "missing values (NaN)": "leave those rows out, or fill the gaps first, for instance with "
    "sklearn.impute.SimpleImputer(add_indicator=True)",
    "infinite values (inf)": "leave those rows out, or cut the values off at a finite bound",
}


def refuse_lazy(X):
    """Refuse collections whose rows lie elsewhere, which an array of them would fetch whole.

    Also tensors of which NumPy makes no array, dicts, and batches of Arrow.
    """
    refuse_tensor(X)
    if type(X) is dict:  # sparse rows may be dicts, too
        raise TypeError("X is a dict, which has no rows: give an array or a data frame.")
    if type(X).__name__ == "RecordBatch":
        raise TypeError("X is a batch of Arrow: give the table pyarrow.Table.from_batches([X]).")
    if isinstance(X, np.ndarray | list | tuple):
        return
    for method, kind, remedy in LAZY:
        # A frame of pandas looks for what it does not have among its columns, too.
        if hasattr(type(X), method) and hasattr(X, method):
            raise TypeError(
                f"X is a lazy collection of {kind}, {type(X).__name__}, all rows of which would be "
                f"fetched into memory: give {remedy} if they fit there; else score block by block "
                "(map_blocks, map_batches, pandas_udf: see the page on scaling out) and learn by "
                "partial_fit."
            )


def refuse_masked(values, name="X"):
    """Refuse a masked array that hides values: as an array it would show them."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        remedy = ", or give X.filled(numpy.nan) to a step that takes gaps" if name == "X" else ""
        raise ValueError(
            f"{name} is a masked array that hides {np.ma.count_masked(values)} values: leave those "
            f"rows out{remedy}."
        )


def refuse_tensor(values, name="X"):
    """Refuse a tensor of torch, or a list of such, of which NumPy makes no array."""
    first = values[0] if isinstance(values, list | tuple) and len(values) else values
    if not (hasattr(type(first), "detach") and hasattr(type(first), "numpy")):
        return
    try:
        first.numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{name} is a tensor, or holds such, of which NumPy makes no array ({error}): give "
            f"{name}.detach().cpu(), and of that .float() where its numbers have half precision or "
            "less, and .to_dense() where it is sparse."
        ) from None


def refuse_axes(X):
    """Refuse rows of more than one axis, of dicts or of records, and say how they become rows."""
    if getattr(getattr(X, "dtype", None), "names", None):
        raise TypeError(
            f"X is an array of records, with the fields {listed(X.dtype.names)}: give "
            "pandas.DataFrame(X), or numpy.lib.recfunctions.structured_to_unstructured(X)."
        )
    if isinstance(X, list | tuple) and len(X) and isinstance(X[0], dict):
        raise TypeError("X is a list of dicts: give pandas.DataFrame(X).")
    shape = getattr(X, "shape", None)
    if isinstance(X, list | tuple) and len(X) and hasattr(X[0], "__array__"):
        shape = (len(X), *np.shape(X[0]))
    if shape is not None and len(shape) > 2:
        raise ValueError(
            f"X has the shape {tuple(shape)}, with dim {len(shape)} where dim <= 2 is needed, one "
            "row each: give np.reshape(X, (len(X), -1)), or, of images, "
            "take make_hrn_pipeline('image'), which has a use for their axes."
        )


def column_names(X):
    """The names of the columns of a data frame or an Arrow table; None of all else."""
    return getattr(X, "column_names", getattr(X, "columns", None))


def refuse_equal_names(X):
    """Refuse a table two columns of which have one name; the names of the others, or None."""
    names = column_names(X)
    if names is not None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"X has more than one column {twice[0]!r}: rename them.")
    return names


def is_sparse_frame(X):
    """Whether X is a frame of pandas of which scikit-learn makes sparse rows."""
    types = X.dtypes if hasattr(X, "iloc") and hasattr(X, "columns") else ()
    return len(types) > 0 and all(str(dtype).startswith("Sparse[") for dtype in types)


def no_numbers(estimator, what, column, value):
    """What is said of a value that is no finite number."""
    return (
        f"X holds {what}{column}, for instance {value!r}, but {type(estimator).__name__} takes "
        f"finite numbers only: {ADVICE[what]}."
    )


def first_that_is_no_number(X):
    """(what, in which column, value) of the first value of X that is no finite number, or None."""
    if sparse.issparse(X):
        columns = [("", X.tocoo().data)]
    elif (names := column_names(X)) is not None and hasattr(X, "shape"):
        series = (X.iloc[:, j] if hasattr(X, "iloc") else X[name] for j, name in enumerate(names))
        columns = [(f" in column {n!r}", np.asarray(c)) for n, c in zip(names, series, strict=True)]
    else:
        try:
            X = np.asarray(X)
        except (ValueError, RuntimeError):  # ragged rows, tensors with a gradient
            return None
        columns = [(f" in column {j}", c) for j, c in enumerate(X.T)] if X.ndim == 2 else []
    for column, values in columns:
        if values.dtype.kind == "f":
            values = values[~np.isfinite(values)][:1]
        elif values.dtype.kind in "biuc":
            continue
        for value in values.tolist() if values.dtype.kind in "fO" else list(values[:1]):
            what = _what_it_is(value)
            if what is not None:
                return what, column, value
    return None


def _what_it_is(value):
    """A key of `ADVICE`, or None for a number."""
    is_date = hasattr(value, "isoformat") or hasattr(value, "start_time")  # of a period
    if is_date or isinstance(value, np.datetime64 | np.timedelta64 | timedelta):
        return "dates" if value == value else "missing values (NaN)"
    if value is None or type(value).__name__ == "NAType":
        return "missing values (NaN)"
    if isinstance(value, float) and not np.isfinite(value):
        return "infinite values (inf)" if value == value else "missing values (NaN)"
    if isinstance(value, str | bytes):
        try:
            return None if np.isfinite(float(value)) else "missing values (NaN)"
        except ValueError:
            return "text"
    try:
        float(value)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        return "values of other types"
    return None


def refuse_scores_of_anomalies(detector, place):
    """Refuse a detector of PyOD in a place where nothing turns its scores round."""
    if scores_anomalies(detector):
        name = type(detector).__name__
        raise TypeError(
            f"{name} is, or ends in, a detector of PyOD, which scores anomalies higher where "
            "scikit-learn scores them lower: give sklearn_hrn.interop.PyODDetector(...) of the "
            f"detector {place}, such as PyODDetector({name}()), which turns it round."
        )


def scores_anomalies(detector):
    """Whether a detector gives anomalies the higher scores: those of PyOD do, wherever they end."""
    while True:
        kinds = {kind.__module__.partition(".")[0] for kind in type(detector).__mro__}
        if "pyod" in kinds or type(detector).__module__.startswith(__package__ + "."):
            return "pyod" in kinds
        is_pipeline = isinstance(detector, Pipeline)
        inner = detector.steps[-1][1] if is_pipeline else getattr(detector, "estimator", None)
        if inner is None:
            return False
        detector = inner


def listed(labels, at_most=6):
    shown = ", ".join(repr(label) for label in labels[:at_most])
    return shown + (f", ... ({len(labels)} different labels)" if len(labels) > at_most else "")
