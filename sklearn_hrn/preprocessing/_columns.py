"""Columns of tables of any library: what kind they are of, and their values."""

import re
from collections import Counter
from collections.abc import Hashable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Real

import numpy as np

from .._arrow import decoded
from .._labels import is_missing, without_pandas

INFINITE = "holds infinity: put a gap (NaN) or a large number in its place."

# Share of the texts of a column that are numbers or dates from which on these were probably meant.
MOSTLY = 0.8
# How they are written: a number with its thousands set off, the sign of a currency or per cent; a
# date by numbers alone, maybe with the time of day; a time of day.
READS_AS = {
    "numbers": r"[$€£¥]?\s?[-+]?[$€£¥]?\s?(\d{1,3}([,.'\s]\d{3})+|\d+)?([.,]\d+)?\s?[%‰$€£¥]?",
    "dates": r"(\d{4}([-/.])\d\d?\2\d\d?|\d\d?([-/.])\d\d?\3(\d{4}|\d\d))([T ,].*)?"
    r"|\d\d?:\d\d(:\d\d([.,]\d+)?)?",
}

# Kind of a column -> what it holds, in messages.
KINDS = {"number": "numbers", "date": "dates", "category": "text or categories"}


def read_column(column, name, wanted=None, known=()):
    """Kind of a column, and its values.

    Parameters
    ----------
    column : ndarray, or a column of a frame, of shape (n_samples,)
    name : str
        For messages.
    wanted : str, default=None
        The kind it had in `fit`.
    known : collection, default=()
        The categories that it had in `fit`.

    Returns
    -------
    kind : {"number", "date", "category"}
    values : ndarray of shape (n_samples,)
        float64 with NaN for gaps; of categories objects, with None for gaps.
    """
    dtype = dtype_name(column)
    is_category = is_category_type(dtype)
    values = column if isinstance(column, np.ndarray) else decoded(column).to_numpy()
    if values.ndim != 1:
        raise TypeError(
            f"{name} ({dtype}) holds several values a row: make columns of its parts, or leave it "
            "out."
        )
    is_plain = values.dtype.kind in "biufmM"
    if not is_category and wanted != "category" and is_plain:
        kind, values = _from_array(values)
        if kind == "number" and np.isnan(values).all():  # what a file makes of empty cells
            kind = None
    else:
        kind, values = _from_objects(values, name, dtype, is_category or wanted == "category")
    if kind is None:
        kind = wanted or "number"
    if is_plain and kind == "category" and known:
        # Text in fit and numbers now: "1" is not 1, and each row would have a category that is new.
        of_values = {_kind_of(type(value)) for value in values.tolist() if value is not None}
        if of_values and of_values.isdisjoint(_kind_of(type(value)) for value in known):
            kind = of_values.pop()
    if wanted not in (None, kind):
        raise TypeError(
            f"{name} held {KINDS[wanted]} in fit, but now holds {KINDS[kind]} ({dtype}): convert "
            "it to the type it had."
        )
    if kind == "category" and known:
        _refuse_other_types(values, name, dtype, known)
    if kind != "category" and np.isinf(values).any():
        raise ValueError(f"{name} {INFINITE}")
    return kind, values


def dtype_name(column):
    return str(getattr(column, "dtype", getattr(column, "type", None))).lower()


def is_category_type(dtype):
    return dtype.startswith(("categor", "enum", "dictionary"))


def _refuse_other_types(values, name, dtype, known):
    """Refuse categories none of which could be one of those in `fit`, as of b"a" and "a"."""
    of_fit = {_type_of(value): value for value in known}
    now = {_type_of(value): value for value in values.tolist() if value is not None}
    if now and of_fit.keys().isdisjoint(now):
        before, after = next(iter(of_fit.values())), next(iter(now.values()))
        raise TypeError(
            f"{name} held categories such as {before!r} in fit, but now such as {after!r} "
            f"({dtype}), of another type, so that all are new: convert it to the type it had."
        )


def _type_of(value):
    """What kind of category a value is; those of two kinds are never equal."""
    if isinstance(value, str | bytes):
        return str if isinstance(value, str) else bytes
    return _kind_of(type(value))


def _from_array(values):
    if values.dtype.kind in "biuf":
        return "number", values.astype(np.float64)
    since = values - np.datetime64(0, "D") if values.dtype.kind == "M" else values
    return "date", since / np.timedelta64(1, "D")


def _from_objects(values, name, dtype, is_category):
    if values.dtype.kind in "mM":
        values = values.astype(f"{values.dtype.kind}8[us]")
    values = [_of_python(value) for value in values.tolist()]
    for value in values:
        if not isinstance(value, Hashable) or isinstance(value, complex):
            raise TypeError(
                f"{name} ({dtype}) holds a {type(value).__name__}, which is neither a number, a "
                "date nor a category: make columns of its parts, or leave it out."
            )
    values = [None if is_missing(value) else value for value in values]
    types = {type(value) for value in values if value is not None}
    if not types and not is_category:
        return None, np.full(len(values), np.nan)
    kinds = set(map(_kind_of, types))
    if not is_category and kinds == {"number"}:
        return "number", _floats(values, float)
    if not is_category and kinds == {"date"}:
        return "date", _floats(values, _days)
    return "category", np.fromiter(values, dtype=object, count=len(values))


def _of_python(value):
    """A moment or duration of NumPy or pandas among objects as Python's, all else as it is."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value.astype(f"{value.dtype.kind}8[us]").item()
    return without_pandas(value)


def _kind_of(of_type):
    """Which kind of column values of a type make, if all are of it."""
    if issubclass(of_type, (Real, Decimal, np.bool_)):
        return "number"
    # `pandas.Period` is known by name so that pandas need not be there.
    is_date = issubclass(of_type, (date, time, timedelta)) or of_type.__name__ == "Period"
    return "date" if is_date else "category"


def zones(column):
    """Whether the moments of a column have a time zone: {True}, {False}, both, or empty."""
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    if getattr(dtype, "tz", None) or getattr(dtype, "time_zone", None):  # Arrow and polars give UTC
        return {True}
    values = column if isinstance(column, np.ndarray) else column.to_numpy()
    if values.dtype.kind == "M" and np.datetime_data(values.dtype)[0] != "D":
        return set() if np.isnat(values).all() else {False}
    values = map(_of_python, values.tolist() if values.dtype.kind == "O" else ())
    moments = [value for value in values if isinstance(value, datetime) and not is_missing(value)]
    return {moment.tzinfo is not None for moment in moments}


def _floats(values, convert):
    return np.array([np.nan if value is None else convert(value) for value in values])


def _days(value):
    if isinstance(value, time):
        value = timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour)
    if isinstance(value, timedelta):
        return value / timedelta(days=1)
    value = getattr(value, "start_time", value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (zoned - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)


def text_reads_as(values, more_than):
    """What most text among values reads as, if it is more than so many different ones; or None."""
    counts = Counter(value for value in values if isinstance(value, str | bytes))
    texts = [(t if isinstance(t, str) else t.decode("latin-1"), n) for t, n in counts.items()]
    for what, form in READS_AS.items():
        found = [n for text, n in texts if _is_read(text.strip(), what, form)]
        if len(found) > more_than and sum(found) > MOSTLY * counts.total():
            return what
    return None


def _is_read(text, what, form):
    if what == "numbers":
        try:
            return bool(np.isfinite(float(text)))
        except ValueError:
            pass
    return any(map(str.isdigit, text)) and re.fullmatch(form, text) is not None
