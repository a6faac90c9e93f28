"""Features of images: a dictionary of patches learned from normal rows, or a frozen network."""

from copy import deepcopy
from math import isqrt
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ._fitting import resolve_device
from ._labels import normal_rows

__all__ = ["PatchDictionary", "TorchFeatures"]

# Bytes of the responses of one block of images.
BLOCK_BYTES = 2**25

# Patches from which the words are learned.
N_PATCHES = 60_000

# Added to the variance of a patch, in units of that of all training pixels: noise is not blown up
# to full contrast.
FLAT = 0.01

# Added to the variances along which patches are whitened.
RIDGE = 0.1

# Of float32: pixels that spread over less are all alike.
ROUNDING = 1e-7


class PatchDictionary(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """How much of each word of a dictionary of patches is in each part of an image.

    A patch is freed of its mean, brought to one contrast, and whitened; the words are k-means
    centres of such patches of the training images, of length one. The response of word w to patch
    p of d values is

        max(0, w . p / sqrt(d) - threshold),

    which is zero for most words; features are the mean responses over the parts of a grid, to a
    power. A detector of digits sees strokes in this way rather than pixels.

    Rows are flattened images, channels last, of any scale: 0 to 1 and 0 to 255 give the same
    features.

    Parameters
    ----------
    n_words : int, default=200
        Words of the dictionary.
    patch_size : int, default=7
        Height and width of a patch, at most those of the image.
    threshold : float, default=0.2
        What a response must exceed.
    grid : int, default=4
        Parts of an image in each direction.
    power : float, default=1.0
        Of the mean responses. The image recipe takes roots, 0.5: without them the strongest strokes
        outweigh all others.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels), of which one may be -1, what is left. None
        takes rows for square images of one channel, or else of three.
    random_state : int, RandomState instance or None, default=None
        Of the patches drawn, and of k-means.

    Attributes
    ----------
    words_ : ndarray of shape (n_words, height, width, channels)
        The words, whitening included: filters of patches that are mean-free and of one contrast.
        There are no more of them than distinct patches.
    bias_ : ndarray of shape (n_words,)
        Responses to the mean patch, which whitening takes away.
    scale_ : float
        Standard deviation of the pixels of training patches, the unit of contrast.
    image_shape_ : tuple of int
        (height, width, channels).
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    TorchFeatures : Features from a network that was trained before.

    References
    ----------
    Coates, A., Lee, H. and Ng, A. Y. (2011). An analysis of single-layer networks in unsupervised
    feature learning. AISTATS.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_hrn import PatchDictionary
    >>> X, _ = load_digits(return_X_y=True)
    >>> words = PatchDictionary(20, patch_size=3, grid=2, random_state=0).fit(X)
    >>> words.image_shape_
    (8, 8, 1)
    >>> words.transform(X).shape
    (1797, 80)
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_words": [Interval(Integral, 1, None, closed="left")],
        "patch_size": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "grid": [Interval(Integral, 1, None, closed="left")],
        "power": [Interval(Real, 0, None, closed="neither")],
        "image_shape": [tuple, list, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_words=200,
        *,
        patch_size=7,
        threshold=0.2,
        grid=4,
        power=1.0,
        image_shape=None,
        random_state=None,
    ):
        self.n_words = n_words
        self.patch_size = patch_size
        self.threshold = threshold
        self.grid = grid
        self.power = power
        self.image_shape = image_shape
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the words.

        Parameters
        ----------
        X : array-like of shape (n_samples, height * width * channels)
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out.

        Returns
        -------
        self : PatchDictionary

        Raises
        ------
        ValueError
            If rows are no images of `image_shape`.
        """
        X = validate_data(self, X, dtype=[np.float32, np.float64])
        rows = normal_rows(X, y)
        shape = resolve_image_shape(self.image_shape, X.shape[1])
        images = X.reshape(-1, *shape) if rows is None else X[rows].reshape(-1, *shape)
        rng = check_random_state(self.random_state)
        patches = _random_patches(images, self.patch_size, rng)
        scale = float(patches.std())
        if scale <= ROUNDING * np.abs(patches).max():
            scale = 1.0
        patches = (patches / scale).reshape(N_PATCHES, -1)
        patches -= patches.mean(axis=1, keepdims=True)
        patches /= np.sqrt(patches.var(axis=1, keepdims=True) + FLAT)
        mean = patches.mean(axis=0)
        covariance = np.cov(patches, rowvar=False, ddof=0).reshape(mean.size, mean.size)
        variances, axes = np.linalg.eigh(covariance)
        whiten = axes / np.sqrt(variances.clip(0) + RIDGE) @ axes.T
        whitened = (patches - mean) @ whiten
        k_means = MiniBatchKMeans(
            min(self.n_words, len(np.unique(whitened, axis=0))),
            batch_size=2048,
            n_init=1,
            max_iter=20,
            random_state=rng.randint(2**31 - 1),
        )
        words = _of_length_one(k_means.fit(_of_length_one(whitened)).cluster_centers_) @ whiten
        self.bias_ = -words @ mean
        # Patches are free of their mean, so that only this part of a word matters.
        words -= words.mean(axis=1, keepdims=True)
        height, width = (min(self.patch_size, size) for size in shape[:2])
        self.words_ = words.reshape(-1, height, width, shape[2])
        self.image_shape_, self.scale_ = shape, scale
        return self

    def transform(self, X):
        """Mean responses of the words over the parts of each image, to the power.

        Parameters
        ----------
        X : array-like of shape (n_samples, height * width * channels)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_words * n_parts), float32
            At least 0; the parts of one word stand together.
        """
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        words = torch.from_numpy(self.words_.astype(np.float32)).permute(0, 3, 1, 2)
        bias = torch.from_numpy(self.bias_.astype(np.float32))[:, None, None]
        out = np.empty((len(X), self._n_features_out), dtype=np.float32)
        height, width, _ = self.image_shape_
        n_rows = max(1, BLOCK_BYTES // (4 * len(words) * height * width))
        with torch.no_grad():
            for block in gen_batches(len(X), n_rows):
                images = (X[block] / self.scale_).astype(np.float32).reshape(-1, *self.image_shape_)
                images = torch.from_numpy(images).permute(0, 3, 1, 2)
                responses = _responses(images, words, bias, self.threshold)
                out[block] = adaptive_avg_pool2d(responses, self._parts()).flatten(1).numpy()
        return out if self.power == 1 else np.power(out, self.power, out=out)

    def _parts(self):
        """Parts of the grid in each direction: at most one a place of a patch."""
        height, width, _ = self.image_shape_
        patch_height, patch_width, _ = self.words_.shape[1:]
        return min(self.grid, height - patch_height + 1), min(self.grid, width - patch_width + 1)

    @property
    def _n_features_out(self):
        return len(self.words_) * int(np.prod(self._parts()))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _random_patches(images, patch_size, rng):
    """Patches (n, height, width, channels), float64, from random places of random images."""
    n_images, height, width, _ = images.shape
    patch_height, patch_width = min(patch_size, height), min(patch_size, width)
    image = rng.randint(n_images, size=N_PATCHES)[:, None, None]
    top = rng.randint(height - patch_height + 1, size=N_PATCHES)[:, None, None]
    left = rng.randint(width - patch_width + 1, size=N_PATCHES)[:, None, None]
    rows, columns = np.arange(patch_height)[:, None], np.arange(patch_width)
    return images[image, top + rows, left + columns].astype(np.float64)


def _of_length_one(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _responses(images, words, bias, threshold):
    """Responses (n, n_words, rows, columns) to all patches of images (n, channels, height, width).

    The words are mean-free: their product with a patch is that with the patch freed of its mean,
    and what is left of bringing the patch to one contrast is a division.
    """
    from torch.nn.functional import avg_pool2d, conv2d

    size = tuple(words.shape[2:])
    mean = avg_pool2d(images, size, stride=1).mean(dim=1, keepdim=True)
    square = avg_pool2d(images**2, size, stride=1).mean(dim=1, keepdim=True)
    variance = (square - mean**2).clamp_min_(0)
    responses = conv2d(images, words).div_((variance + FLAT).sqrt()).add_(bias)
    return responses.div_(words[0].numel() ** 0.5).sub_(threshold).clamp_min_(0)


def resolve_image_shape(image_shape, n_features):
    """(height, width, channels) of rows of flattened images, channels last.

    Parameters
    ----------
    image_shape : tuple of int or None
        (height, width) or (height, width, channels), of which one may be -1: what is left, as for
        :func:`numpy.reshape`. None stands for square images of one channel, or else of three.
    n_features : int

    Returns
    -------
    shape : tuple of int

    Raises
    ------
    ValueError
        If no image of that shape has so many values.
    """
    if image_shape is None:
        for channels in (1, 3):
            side = isqrt(n_features // channels)
            if side * side * channels == n_features:
                return side, side, channels
        raise ValueError(
            f"X has {n_features} features, which make no square image of one or three channels: "
            "give image_shape=(height, width, channels)."
        )
    shape = (*image_shape, 1) if len(image_shape) == 2 else tuple(image_shape)
    known = int(np.prod([size for size in shape if size != -1]))
    if shape.count(-1) == 1 and known > 0:
        shape = tuple(n_features // known if size == -1 else size for size in shape)
    if len(shape) != 3 or min(shape) < 1 or np.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not fit rows of {n_features} features: give "
            "(height, width) or (height, width, channels) with that product; one may be -1."
        )
    return shape


class TorchFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Output of a frozen torch module, batch by batch on a device.

    Parameters
    ----------
    module : torch.nn.Module
        Maps a float32 batch, of rows or of images, to one array each; what is behind the first axis
        is flattened. Its weights are the user's own. A copy of it runs, in evaluation mode and
        without gradients: the module given stays as it is.
    image_shape : tuple of int, default=None
        (height, width, channels) of the flattened images in the rows, channels last; one may be
        -1. The module then gets batches of shape (batch, channels, height, width). None passes
        rows on as they are.
    batch_size : int, default=256
        Rows the module sees at once.
    device : str, default="auto"
        "auto" is the first GPU if there is one, else the CPU.

    Attributes
    ----------
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    HRNOneClassClassifier : Its `module` is trained; this one is not.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_hrn import TorchFeatures
    >>> X = np.arange(16.0).reshape(1, 16)
    >>> TorchFeatures(torch.nn.AvgPool2d(2), image_shape=(4, 4, 1)).fit_transform(X)
    array([[ 2.5,  4.5, 10.5, 12.5]], dtype=float32)
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "module": "no_validation",
        "image_shape": [tuple, list, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
    }

    def __init__(self, module, *, image_shape=None, batch_size=256, device="auto"):
        self.module = module
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check that the module takes the rows, and how many features it makes of one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : object, default=None
            Not used.

        Returns
        -------
        self : TorchFeatures

        Raises
        ------
        TypeError
            If `module` is no torch.nn.Module.
        ValueError
            If rows are no images of `image_shape`, or the device is not there.
        """
        import torch

        if not isinstance(self.module, torch.nn.Module):
            raise TypeError(
                f"module is {type(self.module).__name__}, but a torch.nn.Module is needed, whose "
                "weights are those to be used."
            )
        X = validate_data(self, X, dtype=[np.float32, np.float64])
        if self.image_shape is not None:
            resolve_image_shape(self.image_shape, X.shape[1])
        self._n_features_out = self._outputs(X[:1]).shape[1]
        return self

    def transform(self, X):
        """The module's output.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_outputs), float32
        """
        check_is_fitted(self, "n_features_in_")
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return self._outputs(X)

    def _outputs(self, X):
        import torch

        device = resolve_device(self.device)
        module = deepcopy(self.module).to(device).eval()
        out = []
        with torch.no_grad():
            for block in gen_batches(len(X), self.batch_size):
                rows = torch.from_numpy(X[block].astype(np.float32)).to(device)
                if self.image_shape is not None:
                    shape = resolve_image_shape(self.image_shape, X.shape[1])
                    rows = rows.reshape(-1, *shape).permute(0, 3, 1, 2)
                out.append(module(rows).flatten(1).cpu().numpy())
        return np.concatenate(out)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
