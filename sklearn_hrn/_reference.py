"""A few training rows, and how what is fitted keeps them."""

from contextlib import suppress
from importlib import import_module

import numpy as np
from scipy import sparse
from sklearn.utils import indexable

from ._base import rows_of_list
from ._labels import is_missing
from ._sklearn import _num_samples, _safe_indexing


def drawn_rows(X, most):
    """A copy of at most so many rows, the same of the same rows."""
    (X,) = indexable(X)
    rows = np.random.default_rng(0).permutation(_num_samples(X))[:most]
    return _safe_indexing(X, np.sort(rows))


def copied(X):
    """Rows that stay as they are whatever becomes of X: its owner or a first step may change it."""
    (X,) = indexable(X)
    return _safe_indexing(X, np.arange(_num_samples(X)))


def joined(chunks):
    """Chunks of rows of one kind, one below the other."""
    library = library_of(chunks[0])
    if len(chunks) == 1:
        return chunks[0]
    if library == "pandas":
        return import_module(library).concat(chunks)
    if library == "polars":
        return import_module(library).concat(chunks, how="vertical_relaxed")
    if library == "pyarrow":
        return import_module(library).concat_tables(chunks, promote_options="permissive")
    if any(map(sparse.issparse, chunks)):
        return sparse.vstack(chunks)
    return np.concatenate([rows_of_list(chunk) for chunk in chunks])


def as_columns(X):
    """A data frame as arrays, which every file can hold, and how it is made again of them.

    A single column, such as one of texts, becomes an array.
    """
    library = library_of(X)
    if library is None:
        return X
    if not hasattr(X, "columns"):
        return X.to_numpy()
    names = X.column_names if library == "pyarrow" else X.columns
    arrays = []
    for j in range(X.shape[1]):
        values = (X.iloc[:, j] if library == "pandas" else X[names[j]]).to_numpy()
        if values.dtype.kind == "O":  # gaps as pandas writes them, which are objects of its own
            values = np.array([None if is_missing(v) else v for v in values], dtype=object)
        arrays.append(values)
    index = X.index.to_numpy() if library == "pandas" else None
    return {"library": library, "names": list(names), "arrays": arrays, "index": index}


def library_of(X):
    """Whose data frame X is; None where it is none."""
    library = type(X).__module__.partition(".")[0]
    return library if library in ("pandas", "polars", "pyarrow") else None


def as_pandas(X):
    """A frame of polars or Arrow as one of pandas, where that is there; all else as it is."""
    if library_of(X) not in (None, "pandas"):
        with suppress(ImportError):
            return as_frame({**as_columns(X), "library": "pandas"})
    return X


def as_frame(kept):
    """What `as_columns` was given; a categorical column comes back as the words in it."""
    if not isinstance(kept, dict):
        return kept
    library = import_module(kept["library"])
    if kept["library"] != "pandas":
        make = library.table if kept["library"] == "pyarrow" else library.DataFrame
        return make(dict(zip(kept["names"], kept["arrays"], strict=True)))
    columns = dict(enumerate(kept["arrays"]))
    return library.DataFrame(columns, index=kept["index"]).set_axis(kept["names"], axis=1)
