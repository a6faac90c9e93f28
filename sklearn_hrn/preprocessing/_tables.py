"""Data frames as they come: columns of any type as numbers."""

from collections import Counter
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import TransformerMixin
from sklearn.utils.sparsefuncs import min_max_axis
from sklearn.utils.validation import validate_data

from .._base import (
    NormalRowsEstimator,
    check_fitted,
    dense,
    plain_numbers,
    rows_of_list,
    validate_as_numpy,
)
from .._labels import is_missing
from .._refusals import refuse_axes, refuse_equal_names, refuse_lazy, refuse_masked
from .._sklearn import _check_feature_names_in
from .._typing import Floats, Integers, Rows
from ..exceptions import NumbersAsTextWarning, RowCounterWarning, warn
from ._columns import (
    INFINITE,
    READS_AS,
    dtype_name,
    is_category_type,
    read_column,
    text_reads_as,
    zones,
)

# The most frequent categories, which get a column of their own.
OWN_COLUMNS = 10

# Share of the training rows from which on a category is no surprise.
RARE = 0.05

# How far above the largest number a gap lies if training had none, in ranges of the column.
RANGES = 10

# Fewer rows than these may have been sorted by chance, or typed in that way.
COUNTED = 30

# What makes of text what it reads as.
REMEDIES = {
    "numbers": "pandas.to_numeric(..., errors='coerce'), where separators of thousands and units "
    "are taken out before",
    "dates": "pandas.to_datetime",
}

WITH_ZONE = {True: "with a time zone", False: "without a time zone"}


class TableEncoder(TransformerMixin, NormalRowsEstimator):
    """Columns of numbers, booleans, text, categories and dates, with gaps or not, as numbers.

    Takes frames of pandas, polars and PyArrow, arrays and lists. What a column holds is found in
    `fit`:

    - *Numbers* and booleans stay as they are. *Dates* become days since 1970, as does the start of
      a period; durations become days, and times of day their share of one. Moments of a time zone
      count in UTC; those of a column have one or have none, in `fit` and ever after.
    - *Categories* are text, categorical types, and mixtures. The ten most frequent ones of those
      that occur twice get a column of 0 and 1 each, and all together a column of *surprise*: zero
      for a category of at least a twentieth of the training rows, and the logarithm of how many
      times rarer it is for others. Identifiers, all of them different, become a column that is
      constant, and do not drown the rest.
    - *Gaps* among numbers and dates become the median where training had some, as they are then
      no news. Among categories they are one more.

    What never occurred in training is strange, and not zero. A new category has the surprise of
    how rare new ones were, the logarithm of the rows over the categories that occur once, and that
    of one of these at least; where all occur twice or more, it is twice the logarithm of the rows
    (and one more). The latter is that of a first gap among categories as well, and a first gap
    among numbers lies ten ranges above the largest. A column of nothing but gaps takes whatever
    comes later, of which words and dates have the surprise of a new category.

    Rows of numbers without gaps pass as they are, bit for bit, sparse ones, too. Text that reads as
    numbers or dates is text, but `NumbersAsTextWarning` names the column where most of it does, and
    there are too many of them for a column of their own each. `RowCounterWarning` names a column of
    numbers or dates that goes one way from each training row to the next, as what counts the rows
    does: all rows to come lie outside of it.

    Attributes
    ----------
    kinds_ : list of {"number", "date", "category"}
        What each column holds.
    zoned_ : list of {True, False, None}
        Whether the moments of a column have a time zone; None where it holds no moments.
    gaps_ : ndarray of shape (`n_features_in_`,), bool
        Columns of numbers or dates that had gaps.
    fill_ : ndarray of shape (`n_features_in_`,)
        What a gap among numbers and dates becomes.
    categories_ : list of list
        For each column the categories that have a column of their own.
    surprise_ : list of dict
        For each column the surprise of its categories.
    gap_surprise_ : ndarray of shape (`n_features_in_`,)
        That of a gap, for columns of categories.
    unseen_ : ndarray of shape (`n_features_in_`,)
        Surprise of a category that `fit` has not seen; 0 for columns of numbers and dates, but for
        those that held nothing but gaps.
    columns_out_ : ndarray of shape (`n_features_in_`,), int
        How many columns each one becomes.
    n_features_in_ : int
        Columns seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    NormalScoreTransformer : The step behind it in ``make_hrn_pipeline("tabular")``.
    sklearn.compose.ColumnTransformer : Columns treated one by one, as you say.

    Notes
    -----
    A date later than all of training is far outside, as a number would be. Where time moves on,
    give the detector what repeats, such as the hour or the weekday.

    Examples
    --------
    >>> from sklearn_hrn import TableEncoder
    >>> X = [[1.5, "red"], [2.0, "red"], [None, "blue"], [3.0, "blue"]]
    >>> encoder = TableEncoder().fit(X)
    >>> encoder.kinds_
    ['number', 'category']
    >>> encoder.get_feature_names_out()
    array(['x0', 'x1_blue', 'x1_red', 'x1_surprise'], dtype=object)
    >>> encoder.transform([[None, "green"]]).round(2)
    array([[2.  , 0.  , 0.  , 3.22]])
    """

    kinds_: list[Literal["number", "date", "category"]]
    zoned_: list[bool | None]
    gaps_: NDArray[np.bool_]
    fill_: Floats
    categories_: list[list[Any]]
    surprise_: list[dict[Any, float]]
    gap_surprise_: Floats
    unseen_: Floats
    columns_out_: Integers

    _parameter_constraints: dict = {}  # noqa: RUF012 - scikit-learn's way of declaring parameters

    def transform(self, X: Rows) -> Any:
        """All columns as numbers.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)

        Returns
        -------
        Xt : {ndarray, sparse matrix} of shape (n_samples, n_features_out)
            X itself if it is an array of numbers that needs nothing, else float64.

        Raises
        ------
        TypeError
            For a column of another kind than in `fit`, of categories of another type, or of moments
            with a time zone where those of `fit` have none, or the reverse; it is named.
        ValueError
            For an infinite value.
        """
        X = self._checked(X)
        if X.ndim == 2 and not _has_gaps(X):
            return X
        if sparse.issparse(X):
            X = X.astype(np.float64)
            gaps = np.isnan(X.data)
            X.data[gaps] = self.fill_[X.indices[gaps]]
            return X
        parts = [part for j, column in enumerate(_columns(X)) for part in self._encode(j, column)]
        return np.column_stack(parts).astype(np.float64, copy=False)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the columns that come out: ``name``, ``name_category``, ``name_surprise``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Checked against the names seen in `fit`, if there were any.

        Returns
        -------
        names : ndarray of str
        """
        check_fitted(self)
        names = []
        for j, name in enumerate(_check_feature_names_in(self, input_features)):
            if self.kinds_[j] == "category":
                own = [f"{name}_{category}" for category in self.categories_[j]]
                added = [*own, f"{name}_surprise"]
            else:
                added = [name]
            for new in added:
                while new in names:
                    new += "_"
                names.append(new)
        return np.array(names, dtype=object)

    def _validate(self, X, reset):
        refuse_lazy(X)
        refuse_masked(X)
        refuse_axes(X)
        try:
            return self._records(X, reset)
        except (RuntimeError, OverflowError, AttributeError) as error:
            raise ValueError(
                "X must be rows of numbers, text, dates and gaps, but cannot be read as such "
                f"({type(X).__name__}: {error})."
            ) from error

    def _records(self, X, reset):
        """Rows of numbers as they are, others as a record array with a field for each column."""
        if not reset and set(self.kinds_) == {"number"}:
            plain = plain_numbers(self, X, (np.float64, np.float32))
            if plain is not None:
                return plain
        names = refuse_equal_names(X)
        if names is None:
            X = validate_as_numpy(
                self,
                rows_of_list(X),
                accept_sparse="csr",
                dtype=None,
                ensure_all_finite=False,
                reset=reset,
            )
            self._refuse_infinite(X)
            if sparse.issparse(X) and not X.has_canonical_format:
                X = X.copy()
                X.sum_duplicates()
            is_numeric = sparse.issparse(X) or X.dtype.kind in "biuf"
            if is_numeric and (reset or set(self.kinds_) == {"number"}):
                if reset:
                    self.kinds_, self.zoned_ = ["number"] * X.shape[1], [None] * X.shape[1]
                return X
            columns = _columns(X)
        else:
            validate_data(self, X, skip_check_array=True, reset=reset)
            if not min(X.shape):
                raise ValueError(f"X has the shape {X.shape}: give at least a row and a column.")
            columns = [X[name] for name in names]
        wanted = [None] * len(columns) if reset else self.kinds_
        known = [()] * len(columns) if reset else self.surprise_
        read = [
            self._read_empty(j, column)
            if wanted[j] == "number" and self.unseen_[j]
            else read_column(column, self._name(j), wanted[j], known[j])
            for j, column in enumerate(columns)
        ]
        self._check_zones(columns, [kind for kind, _ in read], reset)
        if reset:
            self.kinds_ = [kind for kind, _ in read]
            self._doubt_text(columns, [values for _, values in read])
        fields = [(f"{j}", values.dtype) for j, (_, values) in enumerate(read)]
        records = np.empty(len(read[0][1]), dtype=fields)
        for j, (_, values) in enumerate(read):
            records[f"{j}"] = values
        return records

    def _read_empty(self, j, column):
        """What follows a column that held gaps alone, of which nobody knows what it is to hold."""
        kind, values = read_column(column, self._name(j))
        if kind != "number":
            values = np.where([is_missing(value) for value in values], np.nan, self.unseen_[j])
        return "number", values

    def _check_zones(self, columns, kinds, reset):
        """Refuse moments of which some have a time zone: without one they may be hours off."""
        known = [None] * len(columns) if reset else self.zoned_
        zoned = []
        for j, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
            found = zones(column) if kind == "date" else set()
            if len(found | {known[j]} - {None}) > 1:
                where = "with a time zone beside some without"
                if len(found) == 1:
                    where = f"{WITH_ZONE[found == {True}]}, but in fit {WITH_ZONE[known[j]]}"
                raise TypeError(
                    f"{self._name(j)} holds moments {where}: give all of them one, as by "
                    "pandas.Series.dt.tz_localize, or none, by tz_convert(None), which leaves UTC."
                )
            zoned.append(next(iter(found), None))
        if reset:
            self.zoned_ = zoned

    def _refuse_infinite(self, X):
        if X.dtype.kind != "f":
            return
        infinite = np.isinf(X.data if sparse.issparse(X) else X)
        if infinite.any():
            columns = X.indices[infinite] if sparse.issparse(X) else np.nonzero(infinite)[1]
            raise ValueError(f"{self._name(columns[0])} {INFINITE}")

    def _doubt_text(self, columns, read):
        """Warn of columns of text that were probably meant to be numbers or dates."""
        doubtful = {what: [] for what in READS_AS}
        for j, (column, values) in enumerate(zip(columns, read, strict=True)):
            if self.kinds_[j] == "category" and not is_category_type(dtype_name(column)):
                what = text_reads_as(values.tolist(), OWN_COLUMNS)
                if what is not None:
                    doubtful[what].append(self._name(j))
        for what, names in doubtful.items():
            if names:
                others = f" and {len(names) - 1} more" if len(names) > 1 else ""
                warn(
                    f"most values of {names[0]}{others} are text that reads as {what}, and are "
                    "taken for categories, of which the rare ones are all alike: make "
                    f"{what} of them first, such as by {REMEDIES[what]}. If they are names, say "
                    "so by a categorical type, or leave them out.",
                    NumbersAsTextWarning,
                )

    def _doubt_counters(self, X):
        """Warn of columns that go one way from row to row, so that all later rows lie outside."""
        counters = [
            self._name(j)
            for j, values in enumerate(_columns(X))
            if self.kinds_[j] != "category" and _goes_one_way(values)
        ]
        if counters:
            others = f" and {len(counters) - 1} more" if len(counters) > 1 else ""
            warn(
                f"{counters[0]}{others} grows, or falls, from each row to the next, as the numbers "
                "and times of rows do: rows to come lie beyond all training rows, and are strange "
                "for that alone. Leave it out, or give what repeats, such as the hour of a "
                "time. If you have sorted the rows by it, all is well: shuffle them.",
                RowCounterWarning,
            )

    def _takes_sparse(self):
        return True

    def _name(self, j):
        names = getattr(self, "feature_names_in_", None)
        return f"column {j}" if names is None else f"column {names[j]!r}"

    def _learn(self, X):
        n_columns = self.n_features_in_
        self.gaps_ = np.zeros(n_columns, dtype=bool)
        self.fill_, self.unseen_ = np.zeros(n_columns), np.zeros(n_columns)
        self.categories_ = [[] for _ in range(n_columns)]
        self.surprise_ = [{} for _ in range(n_columns)]
        self.gap_surprise_ = np.zeros(n_columns)
        if sparse.issparse(X):
            self._learn_sparse(X)
        for j, column in enumerate(() if sparse.issparse(X) else _columns(X)):
            if self.kinds_[j] == "category":
                self._learn_categories(j, column.tolist())
            else:
                self._learn_gaps(j, column)
        if not sparse.issparse(X) and len(X) >= COUNTED and n_columns > 1:
            self._doubt_counters(X)
        more = [len(own) for own in self.categories_]
        self.columns_out_ = 1 + np.array(more, dtype=int)

    def _learn_categories(self, j, values):
        counts = Counter(values)
        never = _never(len(values))
        surprise = {value: _surprise(count, len(values)) for value, count in counts.items()}
        # What share of rows new ones are among, as Good and Turing estimate it.
        n_once = sum(count == 1 for count in counts.values())
        new = np.log(len(values) / n_once) if n_once else never
        self.unseen_[j] = max(new, _surprise(1, len(values)))
        self.gap_surprise_[j] = surprise.pop(None, never)
        self.surprise_[j] = surprise
        frequent = [value for value, count in counts.items() if count > 1 and value is not None]
        frequent.sort(key=lambda value: (-counts[value], str(value)))
        self.categories_[j] = frequent[:OWN_COLUMNS]

    def _learn_gaps(self, j, values):
        known = values[~np.isnan(values)]
        self.gaps_[j] = len(known) < len(values)
        if not self.gaps_[j]:
            self.fill_[j] = _far_above(float(known.min()), float(known.max()))
        elif len(known):
            self.fill_[j] = np.median(known)
        else:
            self.unseen_[j] = _never(len(values))

    def _learn_sparse(self, X):
        X = X.astype(np.float64).tocsc()
        self.fill_ = _far_above(*min_max_axis(X, axis=0, ignore_nan=True))
        for j in np.unique(np.repeat(np.arange(X.shape[1]), np.diff(X.indptr))[np.isnan(X.data)]):
            self._learn_gaps(j, dense(X[:, [j]]).ravel())

    def _encode(self, j, values):
        """What a column becomes: some arrays (n_samples,)."""
        if self.kinds_[j] != "category":
            gaps = np.isnan(values)
            return [np.where(gaps, self.fill_[j], values)]
        code = {category: i for i, category in enumerate(self.categories_[j])}
        codes = np.array([code.get(value, -1) for value in values.tolist()])
        known = {None: self.gap_surprise_[j], **self.surprise_[j]}
        surprise = np.array([known.get(value, self.unseen_[j]) for value in values.tolist()])
        return [*(codes == i for i in range(len(code))), surprise]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _far_above(bottom, top):
    """What a first gap becomes in columns from bottom to top."""
    with np.errstate(over="ignore"):
        width = top - bottom
        above = top + RANGES * np.where(width > 0, width, np.maximum(1.0, np.abs(top)))
    return np.minimum(above, np.finfo(float).max)


def _never(n_rows):
    """The surprise of what has not occurred once."""
    return 2 * np.log(n_rows + 1)


def _surprise(count, n_rows):
    return np.log(max(1.0, RARE * n_rows / count))


def _goes_one_way(values):
    return (values[1:] > values[:-1]).all() or (values[1:] < values[:-1]).all()


def _columns(X):
    """The columns of a record array, or of a matrix."""
    if X.dtype.names is not None:
        return [X[name] for name in X.dtype.names]
    return list(dense(X).T)


def _has_gaps(X):
    return np.isnan(X.data if sparse.issparse(X) else X).any()
