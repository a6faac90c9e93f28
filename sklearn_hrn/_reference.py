"""A few training rows, and how what is fitted keeps them."""

from contextlib import suppress
from importlib import import_module
from itertools import repeat

import numpy as np
from scipy import sparse
from sklearn.utils import indexable

from ._arrow import decoded
from ._base import rows_of_list
from ._labels import is_missing, without_pandas
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
        whole = import_module(library).concat(chunks)
        # Columns of categories that differ from chunk to chunk have become what these are.
        return whole.astype({name: "category" for name in set.intersection(*map(_words, chunks))})
    if library == "polars":
        return import_module(library).concat(chunks, how="vertical_relaxed")
    if library == "pyarrow":
        return import_module(library).concat_tables(chunks, promote_options="permissive")
    if any(map(sparse.issparse, chunks)):
        return sparse.vstack([c if sparse.issparse(c) else np.asarray(c, float) for c in chunks])
    return np.concatenate([rows_of_list(chunk) for chunk in chunks])


def _words(frame):
    """The columns of categories of a frame of pandas."""
    return {name for name, dtype in frame.dtypes.items() if dtype == "category"}


def as_columns(X):
    """A data frame as arrays, which every file can hold, and how it is made again of them.

    A single column, such as one of texts, becomes an array.
    """
    library = library_of(X)
    if library is None:
        return X
    if not hasattr(X, "columns"):
        return decoded(X).to_numpy()
    if library != "pyarrow":
        return column_arrays(X)
    # As Arrow writes it: no array of NumPy tells all of its types.
    stream = import_module(library).BufferOutputStream()
    with import_module("pyarrow.ipc").new_stream(stream, X.schema) as writer:
        writer.write_table(X)
    return {"library": library, "stream": np.frombuffer(stream.getvalue(), dtype=np.uint8)}


def column_arrays(X):
    """The columns of a data frame as arrays, of moments of a time zone in UTC, and the zone."""
    library = library_of(X)
    names = X.column_names if library == "pyarrow" else X.columns
    columns = [X.iloc[:, j] if library == "pandas" else X[name] for j, name in enumerate(names)]
    kept = {"library": library, "names": list(map(without_pandas, names)), **_arrays(columns)}
    if library == "pandas":
        levels = [X.index.get_level_values(i).to_series() for i in range(X.index.nlevels)]
        kept["index"] = {"names": list(X.index.names), **_arrays(levels)}
        kept["are_words"] = [dtype == "category" for dtype in X.dtypes]
    return kept


def _arrays(columns):
    zones, arrays = [_zone(column) for column in columns], []
    for column, zone in zip(columns, zones, strict=True):
        column = column.dt.tz_convert(None) if zone and hasattr(column, "iloc") else column
        values = decoded(column).to_numpy()
        if values.dtype.kind == "O":  # without what pandas has of its own, which skops refuses
            plain = (None if is_missing(value) else without_pandas(value) for value in values)
            values = np.fromiter(plain, dtype=object, count=len(values))
        arrays.append(values)
    return {"arrays": arrays, "zones": zones}


def _zone(column):
    """The name of the time zone of a column of moments, or None."""
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    dtype = getattr(dtype, "pyarrow_dtype", dtype)  # in a frame of pandas
    zone = getattr(dtype, "tz", getattr(dtype, "time_zone", None))
    return None if zone is None else str(zone)


def library_of(X):
    """Whose data frame X is; None where it is none."""
    library = type(X).__module__.partition(".")[0]
    return library if library in ("pandas", "polars", "pyarrow") else None


def as_pandas(X):
    """A frame of polars or Arrow as one of pandas, where that is there; all else as it is."""
    if library_of(X) not in (None, "pandas"):
        with suppress(ImportError):
            return as_frame_of("pandas", X)
    return X


def as_frame_of(library, X):
    """A data frame as one of another library."""
    return as_frame({"index": None, "are_words": (), **column_arrays(X), "library": library})


def as_frame(kept):
    """What `as_columns` was given."""
    if not isinstance(kept, dict):
        return kept
    library = import_module(kept["library"])
    if "stream" in kept:
        return import_module("pyarrow.ipc").open_stream(kept["stream"]).read_all()
    columns = map(_of_library, repeat(library), kept["arrays"], kept["zones"])
    if kept["library"] != "pandas":
        make = library.table if kept["library"] == "pyarrow" else library.DataFrame
        return make(dict(zip(kept["names"], columns, strict=True)))
    frame = library.DataFrame(dict(enumerate(columns)))
    if kept["index"] is not None:
        frame.index = _index(library, **kept["index"])
    frame = frame.astype({j: "category" for j, are in enumerate(kept["are_words"]) if are})
    return frame.set_axis(kept["names"], axis=1)


def _index(pandas, names, arrays, zones):
    """The index of a frame of pandas, of one level or several."""
    levels = list(map(_of_library, repeat(pandas), arrays, zones))
    if len(levels) == 1:
        return pandas.Index(levels[0], name=names[0])
    return pandas.MultiIndex.from_arrays(levels, names=names)


def _of_library(library, values, zone):
    """An array as a column of a data frame."""
    if library.__name__ == "polars":
        if values.dtype.kind in "mM" and np.datetime_data(values.dtype)[0] == "s":
            values = values.astype(f"{values.dtype.kind}8[ms]")  # the coarsest that it has
        # Of objects it finds the type in a list alone.
        column = library.Series(values.tolist() if values.dtype.kind == "O" else values)
        return column.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else column
    if zone is None:
        return values
    if library.__name__ == "pyarrow":
        return library.array(values, library.timestamp(np.datetime_data(values.dtype)[0], zone))
    return library.Series(values).dt.tz_localize("UTC").dt.tz_convert(zone).array
