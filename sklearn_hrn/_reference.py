"""A few training rows, and how what is fitted keeps them."""

from importlib import import_module

import numpy as np
from sklearn.utils import indexable

from ._labels import is_missing
from ._sklearn import _num_samples, _safe_indexing


def drawn_rows(X, most):
    """A copy of at most so many rows, the same of the same rows."""
    (X,) = indexable(X)
    rows = np.random.default_rng(0).permutation(_num_samples(X))[:most]
    return _safe_indexing(X, np.sort(rows))


def as_columns(X):
    """A data frame as arrays, which every file can hold, and how it is made again of them."""
    library = type(X).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return X
    columns = (X.iloc[:, j] if library == "pandas" else X[:, j] for j in range(X.shape[1]))
    arrays = []
    for column in columns:
        values = column.to_numpy()
        if values.dtype.kind == "O":  # gaps as pandas writes them, which are objects of its own
            values = np.array([None if is_missing(v) else v for v in values], dtype=object)
        arrays.append(values)
    index = X.index.to_numpy() if library == "pandas" else None
    return {"library": library, "names": list(X.columns), "arrays": arrays, "index": index}


def as_frame(kept):
    """What `as_columns` was given; a categorical column comes back as the words in it."""
    if not isinstance(kept, dict):
        return kept
    library = import_module(kept["library"])
    if kept["library"] == "polars":
        return library.DataFrame(dict(zip(kept["names"], kept["arrays"], strict=True)))
    columns = dict(enumerate(kept["arrays"]))
    return library.DataFrame(columns, index=kept["index"]).set_axis(kept["names"], axis=1)
