"""Features of images, seen against those of the same images turned."""

from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cholesky, get_blas_funcs, get_lapack_funcs
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import check_random_state

from .._base import NormalRowsEstimator
from .._sklearn import HasMethods, Interval, _fit_context
from .._typing import Floats, Rows, Seed, Transformer
from .._validation import TakesImages

# Upright images, and as many of each turn, by which it is decided: the deviation of their AUC is
# below 0.02.
MAX_COMPARED = 400


class RotationWhitening(
    TakesImages, ClassNamePrefixFeaturesOutMixin, TransformerMixin, NormalRowsEstimator
):
    """Features of images, whitened against the same images turned where that is of use.

    What sets the photographs of a class apart is buried in what all photographs share. Copies of
    the training images, turned by 90, 180 and 270 degrees, have that in common with them, and are
    of the class no longer: with m and S the mean and covariance of the features phi over upright
    and turned images,

        z(x) = L^-1 (phi(x) - m),        L L' = S + ridge * tr(S) / d * I.

    In these coordinates the mean of the upright images is the direction that tells them best from
    the turned ones (Fisher's discriminant), and a one-class learner has it in reach. The rows are
    brought to length one, as it is directions that count.

    Where the features say already which way is up, as strokes of digits do, nothing is whitened,
    and the features go to the transformer `otherwise`: that is where `upright_auc_`, measured on
    images that had no part in the mean, is at least `threshold`.

    Parameters
    ----------
    transformer : transformer
        Makes features of flattened images; a clone of it is fitted.
    otherwise : transformer, default=None
        Of the features where they are not whitened; a clone of it is fitted on them. None passes
        them on as they are.
    threshold : float in [0, 1], default=0.7
        Of `upright_auc_`, from which on nothing is whitened: 0 never whitens, 1 does so unless
        upright and turned images are told apart without error. The default lies in the middle
        between what roots of words reach on five classes of CIFAR-10 at most (0.59) and on five of
        Fashion-MNIST at least (0.83).
    ridge : float, default=0.3
        Added to the variances, in units of their mean; chosen on held-out training images of five
        classes of CIFAR-10, where 0.1 and 1 make little difference.
    max_images : int, default=5000
        Images that are turned at most, drawn at random.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels), of which one may be -1, what is left. None
        takes it from the axes of the images, and rows for square images of one channel, or else
        of three. Images that are not square
        are turned by 180 degrees alone.
    random_state : int, RandomState instance or None, default=None
        Of the images drawn.

    Attributes
    ----------
    transformer_ : transformer
        The fitted transformer.
    otherwise_ : transformer or None
        The fitted transformer of the features; None where rows are whitened, or passed on.
    upright_auc_ : float
        Share of the pairs of an upright and a turned image, neither in the mean, in which the
        features of the upright one are nearer in direction to the mean of upright ones.
    is_whitened_ : bool
        Whether rows are whitened.
    mean_ : ndarray of shape (d,)
        m. Only where rows are whitened.
    whitening_ : ndarray of shape (d, d)
        The transpose of the inverse of L. Only where rows are whitened.
    image_shape_ : tuple of int
        (height, width, channels).
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    PatchDictionary : The words of patches.
    make_hrn_pipeline : Its image recipe begins with this.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_hrn import PatchDictionary, RotationWhitening
    >>> X, digit = load_digits(return_X_y=True)
    >>> words = PatchDictionary(20, patch_size=3, grid=2, random_state=0)
    >>> map = RotationWhitening(words, random_state=0).fit(X[digit == 7])
    >>> map.is_whitened_  # a seven has a way that is up
    False
    >>> map.set_params(threshold=1).fit_transform(X[digit == 7]).shape
    (179, 80)
    """

    transformer_: Any
    otherwise_: Any
    upright_auc_: float
    is_whitened_: bool
    mean_: Floats
    whitening_: Floats
    image_shape_: tuple[int, int, int]

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "transformer": [HasMethods(["fit", "transform"])],
        "otherwise": [HasMethods(["fit", "transform"]), None],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "max_images": [Interval(Integral, 1, None, closed="left")],
        "image_shape": [tuple, list, None],
        "random_state": ["random_state"],
    }

    _dtypes = (np.float32, np.float64)

    def __init__(
        self,
        transformer: Transformer,
        *,
        otherwise: Transformer | None = None,
        threshold: float = 0.7,
        ridge: float = 0.3,
        max_images: int = 5000,
        image_shape: tuple[int, ...] | list[int] | None = None,
        random_state: Seed = None,
    ) -> None:
        self.transformer = transformer
        self.otherwise = otherwise
        self.threshold = threshold
        self.ridge = ridge
        self.max_images = max_images
        self.image_shape = image_shape
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X: Rows, y: ArrayLike | None = None) -> NDArray[np.floating]:
        """Fit, and give the rows of the same images, whose features are computed once.

        Parameters
        ----------
        X : array-like of shape (n_samples, height * width * channels)
            Or (n_samples, height, width[, channels]).
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out of the fit.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        features, rows = self._fit(X, y)
        return self._seen(features) if rows is None else self.transform(X)

    def _learn(self, X):
        """Learn of normal rows, and return their features."""
        rng = check_random_state(self.random_state)
        self.transformer_ = self._unfitted(self.image_shape_).fit(X)
        features = np.asarray(self.transformer_.transform(X))
        drawn = rng.permutation(len(X))[: self.max_images]
        # Two thirds for the mean; of a single image, all.
        n_for_mean = min(max(1, 2 * len(drawn) // 3), len(drawn) - 1)
        compared = drawn[n_for_mean:][:MAX_COMPARED]
        turned = list(self._turned(X[compared]))
        mean = features[drawn[: n_for_mean or 1]].mean(axis=0)
        self.upright_auc_ = _upright_auc(mean, features[compared], turned)
        self.is_whitened_ = self.upright_auc_ < self.threshold
        self.otherwise_ = None
        if self.is_whitened_:
            others = np.setdiff1d(drawn, compared)
            of_others = self._turned(X[others]) if len(others) else ()
            turned = chain([features[drawn]], turned, of_others)
            self.mean_, self.whitening_ = self._whitening(features[drawn].mean(axis=0), turned)
        elif self.otherwise is not None:
            self.otherwise_ = clone(self.otherwise).fit(features)
        return features

    def _turned(self, X):
        """Features of images turned, turn by turn."""
        height, width, _ = self.image_shape_
        images = X.reshape(-1, *self.image_shape_)
        for quarters in (1, 2, 3) if height == width else (2,):
            turned = np.ascontiguousarray(np.rot90(images, quarters, axes=(1, 2)))
            yield np.asarray(self.transformer_.transform(turned.reshape(X.shape)))

    def _whitening(self, shift, parts):
        """m and the transpose of the inverse of L of features, part by part."""
        total, products, n_rows = 0.0, 0.0, 0
        for Z in parts:
            # Squares of what is far from zero would lose the digits that covariances are made of.
            Z = Z - shift
            total = total + Z.sum(axis=0)
            products = products + Z.T @ Z
            n_rows += len(Z)
        mean = total / n_rows
        S = products / n_rows - np.outer(mean, mean)
        variance = np.trace(S) / len(S)
        # All rows alike: there is nothing to be divided by.
        S[np.diag_indices_from(S)] += self.ridge * variance if variance > 0 else 1
        (inverted,) = get_lapack_funcs(("trtri",), (S,))
        inverse, _ = inverted(cholesky(S, lower=True), lower=True)
        return shift + mean, np.ascontiguousarray(inverse.T)

    def transform(self, X: Rows) -> NDArray[np.floating]:
        """Features of images: whitened and of length one, or as `otherwise` makes them.

        Parameters
        ----------
        X : array-like of shape (n_samples, height * width * channels)
            Or (n_samples, height, width[, channels]).

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
        """
        X = self._checked(X)
        return self._seen(np.asarray(self.transformer_.transform(X)))

    def _seen(self, features):
        if self.is_whitened_:
            return _directions(_times_triangle(features - self.mean_, self.whitening_))
        if self.otherwise_ is None:
            return features
        return np.asarray(self.otherwise_.transform(features))

    def _to_distances(self):
        """Steps to rows between which distances tell what is far: features of length one."""
        return make_pipeline(self._unfitted(self.image_shape), Normalizer())

    def _unfitted(self, image_shape):
        """A clone of the transformer, with the shape of the images where it has none of its own."""
        transformer = clone(self.transformer)
        if hasattr(transformer, "image_shape") and transformer.image_shape is None:
            transformer.set_params(image_shape=image_shape)
        return transformer

    @property
    def _n_features_out(self):
        last = self.transformer_ if self.otherwise_ is None else self.otherwise_
        return len(last.get_feature_names_out())


def _times_triangle(Z, triangle):
    """``Z @ triangle`` of an upper one in half the time of a product; Z is written over."""
    (product,) = get_blas_funcs(("trmm",), (Z, triangle))
    return product(1, triangle.T, Z.T, lower=True, overwrite_b=True).T


def _upright_auc(mean, upright, turned):
    """Share of pairs of an upright and a turned image that nearness to the mean tells right."""
    scores = [_directions(Z) @ mean for Z in (upright, *turned)]
    is_upright = np.arange(sum(map(len, scores))) < len(upright)
    return float(roc_auc_score(is_upright, np.concatenate(scores)))


def _directions(Z):
    lengths = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(lengths > 0, lengths, 1)
