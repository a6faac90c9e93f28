"""Whitening: the directions that rows have in common count for less."""

from numbers import Real

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.extmath import row_norms
from sklearn.utils.sparsefuncs import min_max_axis

from .._base import NormalRowsEstimator, dense, row_blocks
from .._sklearn import Interval
from .._typing import Floats, Rows

# Columns up to which every direction is told apart, and directions that are where there are more:
# of few rows, more of them say how these rows differ, and not how fresh ones do.
MAX_COLUMNS, N_DIRECTIONS = 2048, 50

# Of the search for these: directions looked at beside them, and how often all are followed.
N_MORE, N_ROUNDS = 10, 4


class RidgeWhitener(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NormalRowsEstimator):
    r"""Whitening by the covariance of the training rows with a ridge on it.

    .. math::

        x \leftarrow \Bigl(\Sigma + r \, \frac{\operatorname{tr} \Sigma}{d} I\Bigr)^{-1/2}
        (x - \mu)

    with mean :math:`\mu` and covariance :math:`\Sigma` of the training rows, d columns and
    ``ridge`` r. The few directions that hold most of the variance, in which normal rows differ
    anyway, count for less afterwards. The ridge keeps all others nearly alike: fewer rows than
    columns leave directions of no variance, along which anything would be infinitely far away
    without it.

    In contrast to ``PCA(whiten=True)`` these directions are kept, as anomalies lie there.

    *More than 2048 columns*, such as words, would make the matrix too large. Then :math:`\Sigma`
    is taken to have one variance in all directions but the 50 of the largest variance, the mean
    variance of what is left (probabilistic principal components [1]_). A row becomes its
    coordinates in these 50, whitened, and, last, the length of all the rest of it in its
    deviation: 51 columns, in which a row has the length that it has by the equation. Sparse rows
    are taken, and not made dense.

    Parameters
    ----------
    ridge : float, default=3.0
        Ridge in units of the mean eigenvalue. On development parts of image features 1 and 3 were
        within three tenths of a point of AUC, each ahead on one set
        (``python -m sklearn_hrn.benchmark table4 --choice``).
    center : bool, default=True
        Subtract the mean. Where rows of other classes come later, the mean of the first is no
        centre.

    Attributes
    ----------
    whitening_ : ndarray of shape (`n_features_in_`, `n_features_in_` or n_directions)
        The symmetric matrix; of more than 2048 columns, the directions over their deviations: 50,
        or as many as there are rows.
    deviations_ : ndarray of shape (n_directions + 1,) or None
        Deviations, ridge included, of these directions and of the rest; None for 2048 columns or
        fewer.
    mean_ : ndarray of shape (`n_features_in_`,) or None
        The mean of the training rows; None if they are not centred.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    sklearn.decomposition.PCA : Whitening without a ridge, of the directions that vary.

    Notes
    -----
    Of up to 2048 columns `fit` takes a time that grows with their cube, or, of fewer rows than
    columns, with the rows times the square of the columns.

    Rows that are all alike have no covariance, and are centred only. Without a ridge, `fit` raises
    a ValueError if the rows do not vary in every direction.

    The 50 directions are found by power iterations on random ones [2]_, the same for the same
    rows.

    References
    ----------
    .. [1] M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis", Journal of
       the Royal Statistical Society B 61(3), 611-622, 1999.
    .. [2] N. Halko, P.-G. Martinsson and J. A. Tropp, "Finding structure with randomness:
       probabilistic algorithms for constructing approximate matrix decompositions", SIAM Review
       53(2), 217-288, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import RidgeWhitener
    >>> X = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    >>> RidgeWhitener(ridge=0.0).fit_transform(X).round(2)
    array([[-1.41,  0.  ],
           [ 1.41,  0.  ],
           [ 0.  , -1.41],
           [ 0.  ,  1.41]])
    >>> RidgeWhitener(ridge=3.0).fit_transform(X).round(2)
    array([[-0.87,  0.  ],
           [ 0.87,  0.  ],
           [ 0.  , -0.35],
           [ 0.  ,  0.35]])
    """

    whitening_: Floats
    deviations_: Floats | None
    mean_: Floats | None

    _makes_dense = True

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "ridge": [Interval(Real, 0, None, closed="left")],
        "center": ["boolean"],
    }

    def __init__(self, ridge: float = 3.0, *, center: bool = True) -> None:
        self.ridge = ridge
        self.center = center

    def _learn(self, X):
        n_rows, n_columns = X.shape
        with np.errstate(over="ignore"):  # which is refused by name
            mean = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
            unit = _unit(X, mean)
        is_wide = n_columns > MAX_COLUMNS
        has_few_rows = not is_wide and n_rows < n_columns
        principal = _axes_of_few_rows if has_few_rows else _principal_axes
        variances, axes = (_leading_axes if is_wide else principal)(X, mean, unit)
        n_axes = axes.shape[1]
        total = variances[:n_axes].sum() + (n_columns - n_axes) * variances[-1]
        variances = variances + self.ridge * (total / n_columns)
        largest = variances.max()
        if largest == 0:
            variances = np.ones_like(variances)
        elif variances.min() <= n_columns * np.finfo(np.float64).eps * largest:
            raise ValueError(
                f"ridge={self.ridge!r} is too small: {n_rows} rows do not vary in each of "
                f"{n_columns} directions. Give a larger one, such as 3."
            )
        deviations = np.sqrt(variances)
        if is_wide:
            self.whitening_ = axes / (deviations[:-1] * unit)
            self.deviations_ = deviations * unit
        elif has_few_rows:
            self.whitening_ = _of_few_rows(axes, deviations) / unit
            self.deviations_ = None
        else:
            self.whitening_ = (axes / deviations @ axes.T) / unit
            self.deviations_ = None
        self.mean_ = mean if self.center else None

    @np.errstate(under="ignore")
    def transform(self, X: Rows) -> NDArray[np.floating]:
        """Rows in whitened coordinates.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Xt : ndarray of shape (n_samples, n_features), or (n_samples, 51) of wide rows
            float32 for float32 input, else float64.
        """
        X = self._checked(X)
        out = np.empty((X.shape[0], self._n_features_out), dtype=X.dtype)
        is_sparse = self.deviations_ is not None and sparse.issparse(X)
        for block in row_blocks(X.shape[0], self._n_features_out if is_sparse else X.shape[1]):
            if self.deviations_ is not None:
                out[block] = self._wide(X[block])
                continue
            rows = dense(X[block])
            rows = rows if self.mean_ is None else rows - self.mean_
            np.matmul(rows, self.whitening_, out=out[block], casting="same_kind")
        return out

    def _wide(self, X):
        """Rows in some directions, and the length of what is left of them."""
        unit = self.deviations_[-1]
        rows = _Centred(X, np.zeros(X.shape[1]) if self.mean_ is None else self.mean_, unit)
        along = rows.times(self.whitening_)
        rest = rows.squared_lengths() - row_norms(along * self.deviations_[:-1], squared=True)
        return np.column_stack([along * unit, np.sqrt(rest.clip(0))])

    @property
    def _n_features_out(self):
        return self.whitening_.shape[1] + (self.deviations_ is not None)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Centred:
    """Rows less a mean, in some unit; sparse ones stay sparse, and their products are centred."""

    def __init__(self, X, mean, unit):
        self.is_sparse = sparse.issparse(X)
        self.mean = mean / unit
        self.rows = X / unit if self.is_sparse else (X - mean) / unit

    def times(self, B):
        return self.rows @ B - self.mean @ B if self.is_sparse else self.rows @ B

    def transposed_times(self, B):
        product = self.rows.T @ B
        return product - np.outer(self.mean, B.sum(axis=0)) if self.is_sparse else product

    def squared_lengths(self):
        squares = row_norms(self.rows, squared=True)
        if self.is_sparse:
            squares += self.mean @ self.mean - 2 * (self.rows @ self.mean)
        return squares


def _unit(X, mean):
    """A unit in which no square overflows."""
    if sparse.issparse(X):
        lowest, highest = min_max_axis(X, axis=0)
    else:
        lowest, highest = X.min(axis=0), X.max(axis=0)
    unit = np.maximum(highest - mean, mean - lowest).max()
    if not np.isfinite(unit):
        raise ValueError(
            f"X holds numbers from {lowest.min():.3g} to {highest.max():.3g}, whose sums float64 "
            "cannot hold: rescale X."
        )
    # That of a smaller one would overflow when inverted.
    return unit if unit >= np.finfo(np.float64).tiny else 1.0


def _principal_axes(X, mean, unit):
    """Variances (d,), ascending, and axes (d, d) of rows in a unit."""
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for block in row_blocks(*X.shape):
        centred = (dense(X[block]) - mean) / unit
        scatter += centred.T @ centred
    variances, axes = np.linalg.eigh(scatter / X.shape[0])
    return variances.clip(0), axes


def _axes_of_few_rows(X, mean, unit):
    """Variances of n axes and the 0 of all others (n + 1,), and axes times deviations (d, n).

    With U s^2 U' = Y Y' / n of the centred rows Y (n, d), the axes times s are Y' U / sqrt(n).
    """
    centred = (dense(X) - mean) / unit
    variances, turns = np.linalg.eigh(centred @ centred.T / len(centred))
    return np.append(variances.clip(0), 0.0), centred.T @ turns / np.sqrt(len(centred))


def _of_few_rows(axes, deviations):
    """(sum_j s_j^2 q_j q_j' + r^2 I)^-1/2 of axes s_j q_j (d, n); deviations sqrt(s_j^2 + r^2), r.

    Along q_j it is less than 1 / r, by s_j^2 / (r d_j (r + d_j)) with the deviation d_j, which
    divides by no s_j.
    """
    along, rest = deviations[:-1], deviations[-1]
    axes = axes / np.sqrt(along * (rest + along))
    return (np.eye(len(axes)) - axes @ axes.T) / rest


def _leading_axes(X, mean, unit):
    """Variances of the first axes and the mean one of the rest (k + 1,), and these axes (d, k)."""
    n_rows, n_columns = X.shape
    rows = _Centred(X.astype(np.float64), mean, unit)
    sketch = np.random.default_rng(0).normal(size=(n_columns, N_DIRECTIONS + N_MORE))
    range_ = np.linalg.qr(rows.times(sketch))[0]
    for _ in range(N_ROUNDS):
        range_ = np.linalg.qr(rows.times(rows.transposed_times(range_)))[0]
    basis, coordinates = np.linalg.qr(rows.transposed_times(range_))
    turns, scales, _ = np.linalg.svd(coordinates)
    variances, axes = scales[:N_DIRECTIONS] ** 2 / n_rows, basis @ turns[:, :N_DIRECTIONS]
    rest = rows.squared_lengths().mean() - variances.sum()
    return np.append(variances, max(rest, 0.0) / (n_columns - len(variances))), axes
