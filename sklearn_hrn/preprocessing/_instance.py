"""Instance normalisation: every row on its own, in contrast to scalers, which treat columns."""

from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import TransformerMixin
from sklearn.utils.extmath import row_norms
from sklearn.utils.sparsefuncs import min_max_axis

from .._base import NormalRowsEstimator, check_fitted, row_blocks
from .._sklearn import Interval, StrOptions, _check_feature_names_in
from .._typing import Rows
from ..exceptions import DominantColumnWarning, warn

__all__ = ["InstanceL2Normalizer", "InstanceStandardizer"]

# A row is constant if its features spread over less than this many roundings of the largest.
ROUNDINGS = 8

# exp(-150) to exp(150): magnitudes whose squares, summed over any row, are normal float64 numbers.
SAFE_LOG = 150

# Rows looked at, and the largest share of the squared length of normalised rows that one column may
# have without a warning: where rows are not centred, and where they are. MNIST, Fashion-MNIST and
# features of networks have up to 0.10; tables on which the published method fails 0.16 and more,
# but for those whose rows also differ in length, which the classifier sees.
COLUMN_ROWS, SHARE = 1000, (0.9, 0.15)


class _InstanceTransformer(TransformerMixin, NormalRowsEstimator):
    """Checks, blocks and names, which all row-wise normalisations share."""

    def transform(self, X: Rows) -> Any:
        """Normalise each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Sparse only where the result stays sparse.

        Returns
        -------
        Xt : {ndarray, sparse matrix} of shape (n_samples, n_features_out)
            float32 for float32 input, else float64.
        """
        X = self._checked(X)
        if sparse.issparse(X):
            return self._transform_sparse(X)
        n_out = X.shape[1] + len(self._appended_names())
        in_place = not self.copy and n_out == X.shape[1]
        out = X if in_place else np.empty((X.shape[0], n_out), dtype=X.dtype)
        for block in row_blocks(X.shape[0], X.shape[1]):
            self._normalize(X[block], out[block])
        return out

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Names of the output columns: those of the input, and one for an appended constant.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Checked against the names seen in `fit`, if there were any.

        Returns
        -------
        names : ndarray of str
        """
        check_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.concatenate([names, np.array(self._appended_names(), dtype=object)])

    def _validate(self, X, reset):
        return super()._validate(X, reset, force_writeable=not self.copy and not reset)

    def _to_distances(self):
        """The rows as they leave are rows between which distances tell what is far."""
        return self

    def _appended_names(self):
        return []

    def _learn(self, X):
        pass

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class InstanceL2Normalizer(_InstanceTransformer):
    """2-norm instance normalisation: rows of length one, centred (section 3.2 of the paper).

    By default ``x <- x / ||x||_2`` and then ``x <- x - mean(x)``, the mean being that of the row.
    HRN's network has no biases, so that the length of a row would otherwise be its score.

    Parameters
    ----------
    center : {"after", "before"} or None, default="after"
        Subtract the mean of a row's features after dividing, as in the paper; before; or not at
        all. With few features, centring destroys the signal: two features leave two distinct rows
        when centred first, one feature leaves zero. On Fashion-MNIST "before" is the better choice,
        on MNIST the two are alike.
    append : float, "median" or None, default=None
        A positive constant appended as one more feature just before dividing. It acts as a bias,
        and keeps the length of a row visible. "median" is the median length of the training rows
        as they stand just before appending, or 1 if that is zero.
    power : float, default=1.0
        First of all, ``x <- sign(x) |x|^power``; 0.5 lifts dark pixels.
    copy : bool, default=True
        False writes into X where its type and layout allow it and nothing is appended.

    Attributes
    ----------
    append_ : float or None
        The appended constant.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    InstanceStandardizer : Zero mean and unit variance in each row.
    sklearn.preprocessing.Normalizer : Division alone.

    Notes
    -----
    A row of zeros stays zero, and so does a row whose features are all equal once it is centred, up
    to rounding; with `append` their last feature is positive. The appended constant is divided but
    not centred. Sparse X is taken with ``center=None`` only, which keeps its zeros.

    A transformed row depends on that row and `append_` alone.

    References
    ----------
    Hu, W., Wang, M., Qin, Q., Ma, J., and Liu, B. (2020). HRN: A holistic approach to one class
    learning. Advances in Neural Information Processing Systems 33, section 3.2.

    Examples
    --------
    >>> from sklearn_hrn import InstanceL2Normalizer
    >>> InstanceL2Normalizer().fit_transform([[3.0, 4.0], [0.0, 0.0]])
    array([[-0.1,  0.1],
           [ 0. ,  0. ]])
    >>> InstanceL2Normalizer(center=None, append=12.0).fit_transform([[3.0, 4.0]]).round(3)
    array([[0.231, 0.308, 0.923]])
    """

    append_: float | None

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "center": [StrOptions({"after", "before"}), None],
        "append": [Interval(Real, 0, None, closed="neither"), StrOptions({"median"}), None],
        "power": [Interval(Real, 0, None, closed="neither")],
        "copy": ["boolean"],
    }

    def __init__(
        self,
        *,
        center: Literal["after", "before"] | None = "after",
        append: float | Literal["median"] | None = None,
        power: float = 1.0,
        copy: bool = True,
    ) -> None:
        self.center = center
        self.append = append
        self.power = power
        self.copy = copy

    def _validate(self, X, reset):
        if sparse.issparse(X) and not self._takes_sparse():
            raise TypeError(
                f"X is sparse, but center={self.center!r} makes its zeros non-zero: use "
                "center=None, which keeps X sparse, or X.toarray()."
            )
        return super()._validate(X, reset)

    def _takes_sparse(self):
        return self.center is None

    def _appended_names(self):
        return [] if self.append_ is None else ["instancel2normalizer_constant"]

    def _learn(self, X):
        if self.append is None:
            self._check_columns(X[:: -(-X.shape[0] // COLUMN_ROWS)])
        if self.append != "median":
            self.append_ = None if self.append is None else float(self.append)
            return
        blocks = row_blocks(X.shape[0], _stored_per_row(X))
        self.append_ = _median_length(np.concatenate([self._log_lengths(X[b]) for b in blocks]))

    def _check_columns(self, X):
        """Warn where one column makes up most of the rows."""
        rows, _, _ = _prepare(X, float(self.power))
        lengths = row_norms(rows)
        lengths[lengths == 0] = 1
        squares = rows.power(2) if sparse.issparse(rows) else rows**2
        shares = np.asarray(squares.T @ lengths**-2.0).ravel()
        share, allowed = shares.max() / max(shares.sum(), 1), SHARE[self.center is not None]
        if share > allowed:
            warn(
                f"column {shares.argmax()} makes up {share:.0%} of the squared length of the rows, "
                f"more than {allowed:.0%}: rows divided by their length are mostly that column, "
                'the others hardly count. Take make_hrn_pipeline("tabular") for a table of columns '
                'in different units, or center=None and append="median" for few columns.',
                DominantColumnWarning,
            )

    def _log_lengths(self, block):
        """Logarithm of the length of each row just before the constant is appended."""
        rows, log_scale, is_constant = _prepare(block, float(self.power))
        if self.center == "before":
            _centre(rows, is_constant)
        with np.errstate(divide="ignore"):
            return np.log(row_norms(rows)) + log_scale

    def _normalize(self, block, out):
        rows, log_scale, is_constant = _prepare(block, float(self.power))
        if self.center == "before":
            _centre(rows, is_constant)
        divisor, constant = self._divisors(row_norms(rows), log_scale)
        if self.center == "after":
            _centre(rows, is_constant)
        n_features = rows.shape[1]
        np.divide(rows, divisor[:, None], out=out[:, :n_features], casting="same_kind")
        if constant is not None:
            out[:, n_features] = constant

    def _divisors(self, lengths, log_scale):
        """What to divide rows of these lengths by, and the appended constant once divided."""
        if self.append_ is None:
            return np.where(lengths == 0, 1, lengths), None
        # The row and the constant on one scale, on which the larger of the two is near one.
        log_ratio = np.log(self.append_) - log_scale
        row_scale, constant = np.exp(-np.maximum(log_ratio, 0)), np.exp(np.minimum(log_ratio, 0))
        constant[lengths == 0] = 1
        whole = np.hypot(lengths * row_scale, constant)
        with np.errstate(divide="ignore", over="ignore"):
            return whole / row_scale, constant / whole

    def _transform_sparse(self, X):
        out = X if not self.copy and self.append_ is None else X.copy()
        constants = []
        for block in row_blocks(X.shape[0], _stored_per_row(X)):
            rows, log_scale, _ = _prepare(X[block], float(self.power))
            divisor, constant = self._divisors(row_norms(rows), log_scale)
            stored = slice(X.indptr[block.start], X.indptr[block.stop])
            out.data[stored] = rows.data / np.repeat(divisor, np.diff(rows.indptr))
            constants.append(constant)
        if self.append_ is None:
            return out
        n_rows, n_features = X.shape
        data = np.insert(out.data, out.indptr[1:], np.concatenate(constants))
        indices = np.insert(out.indices, out.indptr[1:], n_features)
        indptr = out.indptr + np.arange(n_rows + 1)
        return type(X)((data, indices, indptr), shape=(n_rows, n_features + 1))


class InstanceStandardizer(_InstanceTransformer):
    """Zero mean and unit variance in each row: the other instance normalisation of Table 3.

    The paper compares it, as the usual contrast normalisation, with its own 2-norm one.

    Parameters
    ----------
    copy : bool, default=True
        False writes into X where its type and layout allow it.

    Attributes
    ----------
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    InstanceL2Normalizer : The paper's normalisation.
    sklearn.preprocessing.StandardScaler : Zero mean and unit variance in each column.

    Notes
    -----
    A row whose features are all equal, up to rounding, becomes zero.

    Examples
    --------
    >>> from sklearn_hrn import InstanceStandardizer
    >>> InstanceStandardizer().fit_transform([[1.0, 3.0], [5.0, 5.0]])
    array([[-1.,  1.],
           [ 0.,  0.]])
    """

    _parameter_constraints: dict = {"copy": ["boolean"]}  # noqa: RUF012 - as above

    def __init__(self, *, copy: bool = True) -> None:
        self.copy = copy

    def _normalize(self, block, out):
        rows, _, is_constant = _prepare(block)
        _centre(rows, is_constant)
        deviation = row_norms(rows) / np.sqrt(rows.shape[1])
        deviation[deviation == 0] = 1
        np.divide(rows, deviation[:, None], out=out, casting="same_kind")


def _stored_per_row(X):
    return (X.nnz if sparse.issparse(X) else X.size) / X.shape[0]


def _prepare(block, power=1.0):
    """A float64 copy of rows, at a scale that bears squaring, to the power.

    Parameters
    ----------
    block : {ndarray, CSR} of shape (n_rows, n_features)
    power : float, default=1.0

    Returns
    -------
    rows : {ndarray, CSR} of shape (n_rows, n_features), float64
        ``sign(x) |x|^power`` over ``exp(log_scale)``. In C order, so that a row is summed alike in
        whatever layout it came.
    log_scale : ndarray of shape (n_rows,)
        Zero for all rows but those of extreme magnitude.
    is_constant : ndarray of shape (n_rows,), bool
        Whether the features are equal up to rounding.
    """
    if sparse.issparse(block):
        extremes = np.array(min_max_axis(block, axis=1), dtype=np.float64)
        rows = block.astype(np.float64)
        values = rows.data
    else:
        extremes = np.array([block.min(axis=1), block.max(axis=1)], dtype=np.float64)
        rows = values = block.astype(np.float64, order="C")
    scale = _scales(np.maximum(-extremes[0], extremes[1]), power)
    if (scale != 1).any():
        values /= scale[:, None] if values is rows else np.repeat(scale, np.diff(rows.indptr))
        extremes /= scale
    is_constant = _is_constant(extremes, np.finfo(block.dtype).eps)
    if power != 1:
        values[:] = np.copysign(np.abs(values) ** power, values)
        extremes = np.copysign(np.abs(extremes) ** power, extremes)
        is_constant |= _is_constant(extremes, np.finfo(np.float64).eps)
    return rows, power * np.log(scale), is_constant


def _scales(largest, power):
    """One where the power and the square of the largest magnitude are safe, else that magnitude."""
    largest = np.where(largest == 0, 1, largest)
    is_safe = np.abs(np.log(largest)) * max(1, power) < SAFE_LOG
    return np.where(is_safe, 1, largest)


def _is_constant(extremes, eps):
    lowest, highest = extremes
    return highest - lowest <= ROUNDINGS * eps * np.maximum(-lowest, highest)


def _centre(rows, is_constant):
    """Subtract from each row its mean, in place; of constant rows nothing but zeros is left."""
    rows -= rows.mean(axis=1, keepdims=True)
    rows[is_constant] = 0


def _median_length(log_lengths):
    middle = [(len(log_lengths) - 1) // 2, len(log_lengths) // 2]
    log_median = np.logaddexp(*np.partition(log_lengths, middle)[middle]) - np.log(2)
    if log_median == -np.inf:
        # Rows that are mostly zero have no length to go by.
        return 1.0
    with np.errstate(over="ignore", under="ignore"):
        median = float(np.exp(log_median))
    if not 0 < median < np.inf:
        raise ValueError(
            "append='median' is beyond float64: the median row has a length of "
            f"10^{log_median / np.log(10):.0f}. Rescale X, or give a number."
        )
    return median
