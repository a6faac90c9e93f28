"""Features whose products are Gaussian kernels: of random frequencies, and of landmarks."""

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg.lapack import dpstrf, dtrtri
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.extmath import row_norms

from ._base import NormalRowsEstimator, dense, derived, row_blocks
from ._sklearn import Interval, StrOptions
from ._typing import Floats, Rows, Seed

__all__ = ["FourierFeatures", "LandmarkFeatures"]

# Of a landmark that is explained by the others up to this share, what is left is rounding.
SMALLEST_SHARE = 1e-8

# Share of values other than zero up to which landmarks stay sparse, as products then take less.
SPARSE_SHARE = 0.1

# Squared lengths up to which the differences of such are numbers; any kernel is 0 long before.
LARGEST = 1e300

# Columns of a triangle that are multiplied at once, without the zeros below them.
STRIP = 125


class FourierFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NormalRowsEstimator):
    r"""Random Fourier features of a sum of Gaussian kernels of several widths.

    Feature j is :math:`\sqrt{2/D} \cos(w_j^\top x + b_j)` with :math:`w_j` normal of variance
    :math:`2 \gamma_j` and :math:`b_j` uniform, so that the product of two rows is close to the mean
    of :math:`\exp(-\gamma \|x - x'\|^2)` over the :math:`\gamma` (Rahimi and Recht, 2007). All rows
    then have a length near one, which is what the bias-free network of HRN wants, and a network
    that is almost linear in them tells dense regions from empty ones.

    In contrast to :class:`sklearn.kernel_approximation.RBFSampler` there can be several widths, the
    frequencies are orthogonal, which makes the approximation better for nothing (Yu et al., 2016),
    and the result is always float32.

    Parameters
    ----------
    n_components : int, default=1000
        Number of features D.
    gammas : array-like of float, default=(0.25, 1.0, 4.0)
        Widths :math:`\gamma` of the kernels, in units of one over the number of columns times the
        variance of the training rows (what ``gamma="scale"`` is elsewhere). The features take them
        in turn. Three widths, each four times the one before, need no search for the right one.
    random_state : int, RandomState instance or None, default=None
        Of the frequencies and offsets.

    Attributes
    ----------
    random_weights_ : ndarray of shape (`n_features_in_`, n_components)
        The frequencies w, one a column.
    random_offset_ : ndarray of shape (n_components,)
        The offsets b.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    sklearn.kernel_approximation.RBFSampler : One width, independent frequencies.

    References
    ----------
    Rahimi, A. and Recht, B. (2007). Random features for large-scale kernel machines. NeurIPS.

    Yu, F. X., Suresh, A. T., Choromanski, K., Holtmann-Rice, D. and Kumar, S. (2016). Orthogonal
    random features. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import FourierFeatures
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0], [2.1, 3.0]])
    >>> Z = FourierFeatures(random_state=0).fit_transform(X)
    >>> Z.shape
    (3, 1000)
    >>> bool(Z[1] @ Z[2] > Z[0] @ Z[1])
    True
    """

    random_weights_: Floats
    random_offset_: Floats

    _makes_dense = True

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "gammas": ["array-like", Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 1000,
        *,
        gammas: ArrayLike = (0.25, 1.0, 4.0),
        random_state: Seed = None,
    ) -> None:
        self.n_components = n_components
        self.gammas = gammas
        self.random_state = random_state

    def _learn(self, X):
        try:
            gammas = np.atleast_1d(np.asarray(self.gammas, dtype=float))
        except (TypeError, ValueError):
            gammas = np.empty(0)
        if gammas.ndim > 1 or not len(gammas) or not (np.isfinite(gammas) & (gammas > 0)).all():
            raise ValueError(
                f"gammas={self.gammas!r} is not allowed: give one positive number, or several."
            )
        gammas = gammas * _per_variance(X)
        rng = check_random_state(self.random_state)
        weights = _orthogonal(X.shape[1], self.n_components, rng)
        self.random_weights_ = weights * np.sqrt(2 * np.resize(gammas, self.n_components))
        self.random_offset_ = rng.uniform(0, 2 * np.pi, size=self.n_components)

    def transform(self, X: Rows) -> NDArray[np.float32]:
        """The features of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), float32
        """
        X = self._checked(X)
        weights = self.random_weights_.astype(X.dtype, copy=False)
        offset = self.random_offset_.astype(X.dtype, copy=False)
        scale = X.dtype.type(np.sqrt(2 / self._n_features_out))
        out = np.empty((X.shape[0], self._n_features_out), dtype=np.float32)
        for block in row_blocks(X.shape[0], self._n_features_out):
            with np.errstate(over="ignore", invalid="ignore"):
                angles = X[block] @ weights
                angles += offset
            if not np.isfinite(angles).all():
                raise ValueError(_too_large(X[block]))
            np.cos(angles, out=angles)
            np.multiply(angles, scale, out=out[block], casting="same_kind")
        return out

    @property
    def _n_features_out(self):
        return len(self.random_offset_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class LandmarkFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NormalRowsEstimator):
    r"""Features of a Gaussian kernel around rows of the training set (Nystroem's method).

    .. math:: \phi(x) = L^{-1} k(x), \qquad k_j(x) = \exp(-\gamma \|x - x_j\|^2),
              \qquad K_{ij} = k_j(x_i) = (L L^\top)_{ij}

    for landmarks :math:`x_j` drawn from the training rows, and the triangular Cholesky factor L.
    The length of :math:`\phi(x)` is at most one, and says how much of a row its landmarks explain:
    it is one at a landmark and goes to zero far from all of them. So these rows are ready for HRN
    as they are; dividing them by their length would take away what it says. Distances are
    differences of squares, of which nothing is left where rows lie some ten million times as far
    from zero as from each other: centre such columns first.

    In contrast to `FourierFeatures` they have no noise of the random draw, which drowns a narrow
    kernel in many dimensions; but they know the neighbourhood of the landmarks alone.

    In contrast to :class:`sklearn.kernel_approximation.Nystroem`, fewer rows than `n_components`
    are no reason to warn, repeated rows leave no rounding behind, and the result is float32.

    Parameters
    ----------
    n_components : int, default=1000
        Landmarks at most; all training rows if there are fewer. As many as `FourierFeatures` makes.
    gamma : float or "scale", default=4.0
        Inverse width of the kernel, for rows of length one. On development parts of image features
        and sentences 2 was a tenth of a point of AUC worse, 8 up to one
        (``python -m sklearn_hrn.benchmark table4 --choice``). "scale" is one over the number of
        columns times the variance of the training rows, for rows of any length, as for
        :class:`sklearn.svm.OneClassSVM`.
    random_state : int, RandomState instance or None, default=None
        Of the rows drawn.

    Attributes
    ----------
    landmarks_ : {ndarray, sparse matrix} of shape (n_landmarks, `n_features_in_`)
        Rows of the training set, each the one that those before it explain least. Rows that these
        explain altogether, such as any that occur twice, are left out. Sparse where the training
        rows are, and a tenth of their values at most is not zero.
    gamma_ : float
        The inverse width.
    normalization_ : ndarray of shape (n_landmarks, n_landmarks)
        The transposed inverse of L: ``k(x) @ normalization_`` is :math:`\phi(x)`.
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

    landmarks_: Any
    gamma_: float
    normalization_: Floats

    _makes_dense = True

    # Whether rows that are far from all of training become zero.
    _vanishes_far_away = True

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 1000,
        *,
        gamma: float | Literal["scale"] = 4.0,
        random_state: Seed = None,
    ) -> None:
        self.n_components = n_components
        self.gamma = gamma
        self.random_state = random_state

    @np.errstate(under="ignore")
    def _learn(self, X):
        drawn = check_random_state(self.random_state).permutation(X.shape[0])[: self.n_components]
        drawn = X[drawn].astype(np.float64)
        few = sparse.issparse(drawn) and drawn.nnz <= SPARSE_SHARE * drawn.shape[0] * drawn.shape[1]
        self.landmarks_ = drawn if few else dense(drawn)
        self.gamma_ = _per_variance(X) if self.gamma == "scale" else float(self.gamma)
        columns, squares = _weighted(self.landmarks_, self.gamma_)
        if squares.max() > LARGEST:
            raise ValueError(_too_large(X))
        kernel = _kernel(self.landmarks_, self.gamma_, columns, squares)
        # Or rounding would say which landmark is the first.
        np.fill_diagonal(kernel, 1.0)
        factor, order, rank, _ = dpstrf(kernel, tol=SMALLEST_SHARE, lower=1)
        self.landmarks_ = self.landmarks_[order[:rank] - 1]
        inverse, _ = dtrtri(np.tril(factor[:rank, :rank]), lower=1)
        self.normalization_ = inverse.T

    @np.errstate(under="ignore")  # what is far away is 0
    def transform(self, X: Rows) -> NDArray[np.float32]:
        """The features of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out), float32
        """
        X = self._checked(X)
        weighted = derived(self, _weighted, self.landmarks_, self.gamma_)
        n = self._n_features_out
        out = np.empty((X.shape[0], n), dtype=np.float32)
        # One row reads the triangle no faster in strips than all of it at once.
        width = STRIP if X.shape[0] > 1 else n
        for block in row_blocks(X.shape[0], n):
            kernel = _kernel(X[block].astype(np.float64), self.gamma_, *weighted)
            for start in range(0, n, width):
                end = start + width  # below it are zeros
                out[block, start:end] = kernel[:, :end] @ self.normalization_[:end, start:end]
        return out

    @property
    def _n_features_out(self):
        return self.normalization_.shape[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _weighted(landmarks, gamma):
    """What the kernel takes of the landmarks: ``2 gamma x_j``, one a column, and their squares."""
    with np.errstate(over="ignore"):
        return 2 * gamma * landmarks.T, gamma * row_norms(landmarks, squared=True)


def _kernel(X, gamma, columns, squares):
    # As `rbf_kernel`, whose checks take several times as long as one row.
    X = X if sparse.issparse(columns) else dense(X)
    with np.errstate(over="ignore", invalid="ignore"):
        kernel = dense(X @ columns)
        own = gamma * _squared_lengths(X)[:, None]
        kernel -= own
        kernel -= squares
    if own.max() > LARGEST:  # as far as that from any landmark
        kernel[own[:, 0] > LARGEST] = -np.inf
    np.minimum(kernel, 0, out=kernel)
    return np.exp(kernel, out=kernel)


def _squared_lengths(X):
    # `row_norms` does the same, after a check that takes longer than one row.
    return row_norms(X, squared=True) if sparse.issparse(X) else np.einsum("ij,ij->i", X, X)


def _too_large(X):
    values = X.data if sparse.issparse(X) else X
    return (
        f"X holds {values.flat[np.abs(values).argmax()]:.3g}, of which float64 cannot hold the "
        "squares and sums: rescale X, for instance with sklearn.preprocessing.StandardScaler."
    )


def _per_variance(X):
    """One over the number of columns times the variance."""
    if sparse.issparse(X):
        n_values = X.shape[0] * X.shape[1]
        stored = X.data.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = stored.sum() / n_values
            variance = (((stored - mean) ** 2).sum() + (n_values - X.nnz) * mean**2) / n_values
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            variance = np.var(X, dtype=np.float64)
    if not np.isfinite(variance):
        raise ValueError(_too_large(X))
    # Rows that are all alike have no width of their own.
    return 1 / (X.shape[1] * (float(variance) if variance > 0 else 1.0))


def _orthogonal(n_features, n_components, rng):
    """Columns with the length of normal vectors, orthogonal in blocks of up to n_features."""
    # All at once, so that more than the memory holds is refused before the work.
    try:
        directions = np.empty((n_features, n_components))
    except (MemoryError, ValueError) as error:
        raise MemoryError(
            f"n_components={n_components} frequencies of {n_features} columns do not fit into "
            "memory: give fewer."
        ) from error
    width = min(n_features, n_components)
    for start in range(0, n_components, width):
        q, r = np.linalg.qr(rng.normal(size=(n_features, width)))
        # The signs make the distribution that of all rotations (Haar's).
        block = directions[:, start : start + width]
        block[:] = (q * np.sign(np.diag(r)))[:, : block.shape[1]]
    return directions * np.sqrt(rng.chisquare(n_features, size=n_components))
