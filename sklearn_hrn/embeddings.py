"""Rows that a pre-trained network computed: their common directions taken out, and their kernel."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ._fitting import intact_after_failure
from ._labels import normal_rows

__all__ = ["LandmarkFeatures", "RidgeWhitener"]

# Bytes of float64 values worked on at once.
BLOCK_BYTES = 2**22

# Directions of the kernel that hold less than this share of the largest are rounding.
SMALLEST_SHARE = 1e-8


class RidgeWhitener(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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

    Rows that are all alike have no covariance, and are centred only.

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

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "ridge": [Interval(Real, 0, None, closed="left")],
        "center": ["boolean"],
    }

    def __init__(self, ridge=3.0, *, center=True):
        self.ridge = ridge
        self.center = center

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the covariance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out.

        Returns
        -------
        self : RidgeWhitener

        Raises
        ------
        ValueError
            Without a ridge, if the rows do not vary in every direction.
        """
        with intact_after_failure([self]):
            X = validate_data(self, X, dtype=[np.float64, np.float32])
            rows = normal_rows(X, y)
            X = X if rows is None else X[rows]
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
        return self

    def transform(self, X):
        """Rows in whitened coordinates.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Xt : ndarray of shape (n_samples, n_features)
            float32 for float32 input, else float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        out = np.empty(X.shape, dtype=X.dtype)
        for block in _blocks(len(X), X.shape[1]):
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


class LandmarkFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Features of a Gaussian kernel around rows of the training set (Nystroem's method).

    .. math:: \phi(x) = K^{-1/2} k(x), \qquad k_j(x) = \exp(-\gamma \|x - x_j\|^2),
              \qquad K_{ij} = k_j(x_i)

    for landmarks :math:`x_j` drawn from the training rows. The length of :math:`\phi(x)` is at most
    one, and says how much of a row its landmarks explain: it is one at a landmark and goes to zero
    far from all of them. So these rows are ready for HRN as they are; dividing them by their length
    would take away what it says.

    In contrast to `FourierFeatures` they have no noise of the random draw, which drowns a narrow
    kernel in many dimensions; but they know the neighbourhood of the landmarks alone.

    In contrast to :class:`sklearn.kernel_approximation.Nystroem`, fewer rows than `n_components`
    are no reason to warn, repeated rows leave no rounding behind, and the result is float32.

    Parameters
    ----------
    n_components : int, default=1000
        Landmarks at most; all training rows if there are fewer. As many as `FourierFeatures` makes.
    gamma : float, default=4.0
        Inverse width of the kernel, for rows of length one. On development parts of image features
        and sentences 2 was a tenth of a point of AUC worse, 8 up to one
        (``python -m sklearn_hrn.benchmark table4 --choice``).
    random_state : int, RandomState instance or None, default=None
        Of the rows drawn.

    Attributes
    ----------
    landmarks_ : ndarray of shape (n_landmarks, `n_features_in_`)
        Rows of the training set.
    normalization_ : ndarray of shape (n_landmarks, n_features_out)
        A root of the inverse of K, in its principal axes. Those along which K vanishes, such as of
        rows that occur twice, are left out.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    FourierFeatures : Features of such a kernel that need no landmarks.
    sklearn.kernel_approximation.Nystroem : Any kernel.

    References
    ----------
    Williams, C. and Seeger, M. (2001). Using the Nystroem method to speed up kernel machines.
    Advances in Neural Information Processing Systems 13.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import LandmarkFeatures
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    >>> features = LandmarkFeatures(random_state=0).fit(X)
    >>> Z = features.transform([[0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    >>> np.linalg.norm(Z, axis=1).round(2)
    array([1.  , 0.21, 0.  ], dtype=float32)
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_components=1000, *, gamma=4.0, random_state=None):
        self.n_components = n_components
        self.gamma = gamma
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Draw the landmarks.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out.

        Returns
        -------
        self : LandmarkFeatures
        """
        with intact_after_failure([self]):
            X = validate_data(self, X, dtype=[np.float64, np.float32])
            rows = normal_rows(X, y)
            rows = np.arange(len(X)) if rows is None else rows
            drawn = check_random_state(self.random_state).permutation(rows)[: self.n_components]
            self.landmarks_ = X[drawn].astype(np.float64)
            shares, axes = np.linalg.eigh(rbf_kernel(self.landmarks_, gamma=self.gamma))
            kept = shares > SMALLEST_SHARE * shares[-1]
            self.normalization_ = axes[:, kept] / np.sqrt(shares[kept])
        return self

    def transform(self, X):
        """The features of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out), float32
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        out = np.empty((len(X), self._n_features_out), dtype=np.float32)
        for block in _blocks(len(X), len(self.landmarks_)):
            kernel = rbf_kernel(X[block].astype(np.float64), self.landmarks_, gamma=self.gamma)
            out[block] = kernel @ self.normalization_
        return out

    @property
    def _n_features_out(self):
        return self.normalization_.shape[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _blocks(n_rows, values_per_row):
    return gen_batches(n_rows, max(1, BLOCK_BYTES // (8 * values_per_row)))


def _principal_axes(X, mean):
    """Variances (d,), ascending, and axes (d, d) of rows in a unit in which no square overflows."""
    unit = np.maximum(X.max(axis=0) - mean, mean - X.min(axis=0)).max() or 1.0
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for block in _blocks(len(X), X.shape[1]):
        centred = (X[block] - mean) / unit
        scatter += centred.T @ centred
    variances, axes = np.linalg.eigh(scatter / len(X))
    return variances.clip(0), axes, unit
