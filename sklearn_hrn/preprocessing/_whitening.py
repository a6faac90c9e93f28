"""Whitening: the directions that rows have in common count for less."""

from numbers import Real

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from .._base import NormalRowsEstimator, row_blocks
from .._sklearn import Interval
from .._typing import Floats, Rows


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
    whitening_ : ndarray of shape (`n_features_in_`, `n_features_in_`)
        The symmetric matrix.
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
    `fit` takes a time that grows with the cube of the columns: half a second for 1000.

    Rows that are all alike have no covariance, and are centred only. Without a ridge, `fit` raises
    a ValueError if the rows do not vary in every direction.

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
    mean_: Floats | None

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "ridge": [Interval(Real, 0, None, closed="left")],
        "center": ["boolean"],
    }

    def __init__(self, ridge: float = 3.0, *, center: bool = True) -> None:
        self.ridge = ridge
        self.center = center

    def _learn(self, X):
        mean = X.mean(axis=0, dtype=np.float64)
        variances, axes, unit = _principal_axes(X, mean)
        variances = variances + self.ridge * variances.mean()
        if variances[-1] == 0:
            variances = np.ones_like(variances)
        elif variances[0] <= len(variances) * np.finfo(np.float64).eps * variances[-1]:
            raise ValueError(
                f"ridge={self.ridge!r} is too small: {len(X)} rows do not vary in each of "
                f"{X.shape[1]} directions. Give a larger one, such as 3."
            )
        self.whitening_ = (axes / np.sqrt(variances) @ axes.T) / unit
        self.mean_ = mean if self.center else None

    def transform(self, X: Rows) -> NDArray[np.floating]:
        """Rows in whitened coordinates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Xt : ndarray of shape (n_samples, n_features)
            float32 for float32 input, else float64.
        """
        X = self._checked(X)
        out = np.empty(X.shape, dtype=X.dtype)
        for block in row_blocks(len(X), X.shape[1]):
            rows = X[block] if self.mean_ is None else X[block] - self.mean_
            np.matmul(rows, self.whitening_, out=out[block], casting="same_kind")
        return out

    @property
    def _n_features_out(self):
        return len(self.whitening_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _principal_axes(X, mean):
    """Variances (d,), ascending, and axes (d, d) of rows in a unit in which no square overflows."""
    unit = np.maximum(X.max(axis=0) - mean, mean - X.min(axis=0)).max()
    if unit < np.finfo(np.float64).tiny:  # whose inverse would overflow
        unit = 1.0
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for block in row_blocks(len(X), X.shape[1]):
        centred = (X[block] - mean) / unit
        scatter += centred.T @ centred
    variances, axes = np.linalg.eigh(scatter / len(X))
    return variances.clip(0), axes, unit
