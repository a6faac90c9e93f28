"""Instance normalisation: every row on its own, in contrast to scalers, which treat columns."""

from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from ._labels import normal_rows

__all__ = ["InstanceL2Normalizer", "InstanceStandardizer"]

# Bytes of float64 rows worked on at once: they stay in the cache between passes, and the copies of
# them weigh nothing beside a large input.
BLOCK_BYTES = 2**20

# A row is constant if centring leaves less than this many roundings of its largest entry.
ROUNDINGS = 8


class _InstanceTransformer(TransformerMixin, BaseEstimator):
    """Checks, blocks and names, which all row-wise normalisations share."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check X, and learn what depends on the training rows, if anything does.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Sparse only where the result stays sparse.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out.

        Returns
        -------
        self : object
        """
        X = self._validate(X, reset=True)
        self._learn(X, normal_rows(X, y))
        return self

    def transform(self, X):
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
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        n_out = len(self.get_feature_names_out())
        if sparse.issparse(X):
            return self._sparse_rows(X)
        in_place = not self.copy and n_out == X.shape[1]
        out = X if in_place else np.empty((X.shape[0], n_out), dtype=X.dtype)
        for block in _blocks(X):
            out[block] = self._rows(X[block].astype(np.float64), np.finfo(X.dtype).eps)
        return out

    def get_feature_names_out(self, input_features=None):
        """Names of the output columns: those of the input, and one for an appended constant.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Checked against the names seen in `fit`, if there were any.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.concatenate([names, np.array(self._appended_names(), dtype=object)])

    def _validate(self, X, reset):
        return validate_data(
            self,
            X,
            accept_sparse="csr" if self._keeps_sparse() else False,
            dtype=[np.float64, np.float32],
            force_writeable=not self.copy and not reset,
            reset=reset,
        )

    def _keeps_sparse(self):
        return False

    def _appended_names(self):
        return []

    def _learn(self, X, rows):
        pass

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._keeps_sparse()
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
        when centred first, one feature leaves zero. On images "before" was the better choice.
    append : float, "median" or None, default=None
        A positive constant appended as one more feature just before dividing. It acts as a bias,
        and keeps the length of a row visible. "median" is the median length of the training rows
        as they stand just before appending.
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

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "center": [StrOptions({"after", "before"}), None],
        "append": [Interval(Real, 0, None, closed="neither"), StrOptions({"median"}), None],
        "power": [Interval(Real, 0, None, closed="neither")],
        "copy": ["boolean"],
    }

    def __init__(self, *, center="after", append=None, power=1.0, copy=True):
        self.center = center
        self.append = append
        self.power = power
        self.copy = copy

    def _validate(self, X, reset):
        if sparse.issparse(X) and not self._keeps_sparse():
            raise TypeError(
                f"X is sparse, but center={self.center!r} makes its zeros non-zero: use "
                "center=None, which keeps X sparse, or X.toarray()."
            )
        return super()._validate(X, reset)

    def _keeps_sparse(self):
        return self.center is None

    def _appended_names(self):
        return [] if self.append is None else ["instancel2normalizer_constant"]

    def _learn(self, X, rows):
        if self.append != "median":
            self.append_ = self.append
            return
        rows = np.arange(X.shape[0]) if rows is None else rows
        log_lengths = np.concatenate([self._log_lengths(X[rows[b]]) for b in _blocks(X, rows)])
        with np.errstate(over="ignore"):
            median = float(np.exp(np.median(log_lengths)))
        if not np.isfinite(median):
            raise ValueError(
                "append='median' is not finite: the median row has a length of "
                f"10^{np.median(log_lengths) / np.log(10):.0f}. Rescale X, or give a number."
            )
        # Rows that are mostly zero have no length to go by.
        self.append_ = median if median > 0 else 1.0

    def _log_lengths(self, X):
        """Logarithm of the length of each row just before the constant is appended."""
        X = X.toarray() if sparse.issparse(X) else X
        rows, log_size = self._powers(X.astype(np.float64), np.finfo(X.dtype).eps)
        with np.errstate(divide="ignore"):
            return np.log(np.linalg.norm(rows, axis=1)) + log_size

    def _powers(self, rows, eps):
        """Rows to the power and centred if that comes first, over their size; and log(size)."""
        size = _divide_by_largest(rows)
        if self.power != 1:
            rows = np.sign(rows) * np.abs(rows) ** self.power
        if self.center == "before":
            _subtract_means(rows, eps)
        with np.errstate(divide="ignore"):
            return rows, self.power * np.log(size)

    def _rows(self, rows, eps):
        rows, log_size = self._powers(rows, eps)
        constant = None
        if self.append_ is not None:
            row_scale, constant = _scales(log_size, self.append_)
            rows *= row_scale[:, None]
        length = np.sqrt(
            np.einsum("ij,ij->i", rows, rows) + (0 if constant is None else constant**2)
        )
        length[length == 0] = 1
        rows /= length[:, None]
        if self.center == "after":
            _subtract_means(rows, eps)
        return rows if constant is None else np.column_stack([rows, constant / length])

    def _sparse_rows(self, X):
        n_stored = np.diff(X.indptr)
        row_of = np.repeat(np.arange(X.shape[0]), n_stored)
        values = X.data.astype(np.float64)
        size = np.zeros(X.shape[0])
        np.maximum.at(size, row_of, np.abs(values))
        size[size == 0] = 1
        values /= size[row_of]
        values = np.sign(values) * np.abs(values) ** self.power
        squares = np.bincount(row_of, values**2, minlength=X.shape[0])
        if self.append_ is None:
            length = np.sqrt(squares)
        else:
            row_scale, constant = _scales(self.power * np.log(size), self.append_)
            values *= row_scale[row_of]
            length = np.sqrt(squares * row_scale**2 + constant**2)
        length[length == 0] = 1
        values = (values / length[row_of]).astype(X.dtype)
        if not self.copy:
            X.data[:] = values
        else:
            X = sparse.csr_array((values, X.indices.copy(), X.indptr.copy()), shape=X.shape)
        if self.append_ is None:
            return X
        column = sparse.csr_array((constant / length).astype(X.dtype)[:, None])
        return sparse.hstack([X, column], format="csr")


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

    def __init__(self, *, copy=True):
        self.copy = copy

    def _rows(self, rows, eps):
        _divide_by_largest(rows)
        _subtract_means(rows, eps)
        deviation = np.sqrt(np.einsum("ij,ij->i", rows, rows) / rows.shape[1])
        deviation[deviation == 0] = 1
        rows /= deviation[:, None]
        return rows


def _blocks(X, rows=None):
    """Slices that cut the rows of X, or a list of rows, into blocks of bounded memory."""
    n_rows = X.shape[0] if rows is None else len(rows)
    n_at_once = max(1, BLOCK_BYTES // (8 * X.shape[1]))
    return [slice(start, start + n_at_once) for start in range(0, n_rows, n_at_once)]


def _divide_by_largest(rows):
    """Divide rows in place by their largest magnitude, which is returned; zero rows by one."""
    size = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    size[size == 0] = 1
    rows /= size[:, None]
    return size


def _subtract_means(rows, eps):
    """Centre rows in place; those that are constant up to rounding become zero."""
    largest = np.abs(rows).max(axis=1)
    rows -= rows.mean(axis=1, keepdims=True)
    rows[np.abs(rows).max(axis=1) <= ROUNDINGS * eps * largest] = 0


def _scales(log_size, constant):
    """Factors of a row of size exp(log_size) and of the constant, the larger of which is one."""
    log_ratio = np.log(constant) - log_size
    return np.exp(-np.maximum(log_ratio, 0)), np.exp(np.minimum(log_ratio, 0))
