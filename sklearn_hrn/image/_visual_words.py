"""Visual words: a dictionary of patches learned from normal images."""

from numbers import Integral, Real

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_random_state

from .._base import NormalRowsEstimator, row_blocks
from .._sklearn import Interval
from .._typing import Floats, Rows, Seed
from .._validation import TakesImages, check_range, doubt_image_shape

# Patches from which the words are learned.
N_PATCHES = 60_000

# Times that k-means sees all patches: more change no score.
N_PASSES = 2

# Added to the variance of a patch, in units of that of all training pixels: noise is not blown up
# to full contrast.
FLAT = 0.01

# Added to the variances along which patches are whitened.
RIDGE = 0.1

# Pixels that spread over less than this many roundings of the largest are all alike.
ROUNDINGS = 8

# An image that lies further from its mean than this many training deviations is refused: responses
# are computed in float32.
FARTHEST = 1e30


class PatchDictionary(
    TakesImages, ClassNamePrefixFeaturesOutMixin, TransformerMixin, NormalRowsEstimator
):
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
        takes it from the axes of the images, and rows for square images of one channel, or else
        of three.
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

    words_: Floats
    bias_: Floats
    scale_: float
    image_shape_: tuple[int, int, int]

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_words": [Interval(Integral, 1, None, closed="left")],
        "patch_size": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "grid": [Interval(Integral, 1, None, closed="left")],
        "power": [Interval(Real, 0, None, closed="neither")],
        "image_shape": [tuple, list, None],
        "random_state": ["random_state"],
    }

    _dtypes = (np.float32, np.float64)

    def __init__(
        self,
        n_words: int = 200,
        *,
        patch_size: int = 7,
        threshold: float = 0.2,
        grid: int = 4,
        power: float = 1.0,
        image_shape: tuple[int, ...] | list[int] | None = None,
        random_state: Seed = None,
    ) -> None:
        self.n_words = n_words
        self.patch_size = patch_size
        self.threshold = threshold
        self.grid = grid
        self.power = power
        self.image_shape = image_shape
        self.random_state = random_state

    def _learn(self, X):
        check_range(self, X)
        shape = self.image_shape_
        doubt_image_shape(shape)
        images = X.reshape(-1, *shape)
        rng = check_random_state(self.random_state)
        patches = _random_patches(images, self.patch_size, rng)
        scale = float(patches.std())
        if scale <= ROUNDINGS * np.finfo(X.dtype).eps * np.abs(patches).max():
            scale = 1.0
        patches = (patches / scale).reshape(N_PATCHES, -1)
        patches = patches - patches.mean(axis=1, keepdims=True)
        patches /= np.sqrt(patches.var(axis=1, keepdims=True) + FLAT)
        mean = patches.mean(axis=0)
        covariance = np.cov(patches, rowvar=False, ddof=0).reshape(mean.size, mean.size)
        variances, axes = np.linalg.eigh(covariance)
        whiten = axes / np.sqrt(variances.clip(0) + RIDGE) @ axes.T
        whitened = (patches - mean) @ whiten
        k_means = MiniBatchKMeans(
            _at_most_distinct(whitened, self.n_words),
            batch_size=2048,
            n_init=1,
            max_iter=N_PASSES,
            compute_labels=False,
            random_state=rng.randint(2**31 - 1),
        )
        words = _of_length_one(k_means.fit(_of_length_one(whitened)).cluster_centers_) @ whiten
        self.bias_ = -words @ mean
        # Patches are free of their mean, so that only this part of a word matters.
        words -= words.mean(axis=1, keepdims=True)
        height, width = (min(self.patch_size, size) for size in shape[:2])
        self.words_ = words.reshape(-1, height, width, shape[2])
        self.scale_ = scale

    @np.errstate(under="ignore")
    def transform(self, X: Rows) -> NDArray[np.float32]:
        """Mean responses of the words over the parts of each image, to the power.

        Parameters
        ----------
        X : array-like of shape (n_samples, height * width * channels)
            Or (n_samples, height, width[, channels]).

        Returns
        -------
        Z : ndarray of shape (n_samples, n_words * n_parts), float32
            At least 0; the parts of one word stand together.
        """
        X = self._checked(X)
        weights, (n_words, *patch_size, _) = self._weights(), self.words_.shape
        sizes = zip(self.image_shape_, patch_size, self._parts(), strict=False)
        parts = [_even_parts(size - patch + 1, n_parts) for size, patch, n_parts in sizes]
        out = np.empty((len(X), self._n_features_out), dtype=np.float32)
        for block in row_blocks(len(X), self.image_shape_[1] * (n_words + len(weights))):
            images = self._contrasts(X[block]).reshape(-1, *self.image_shape_)
            out[block] = _mean_responses(images, weights, patch_size, parts)
        out **= self.power  # for which NumPy takes roots, where it can
        return out

    def _weights(self):
        """Words, and below them what is added to their responses: (n_pixels + 1, n_words)."""
        words = np.moveaxis(self.words_, 3, 1).reshape(len(self.words_), -1).T
        length = len(words) ** 0.5
        return np.vstack([words / length, self.bias_ / length - self.threshold]).astype(np.float32)

    def _contrasts(self, rows):
        """Rows in units of the contrast in training, without their mean: float32, to 1e-7 of it.

        Words are blind to what all pixels of an image have in common, which can be far more.
        """
        with np.errstate(over="ignore"):  # which is refused by name
            rows = (rows - rows.mean(axis=1, keepdims=True, dtype=np.float64)) / self.scale_
        largest = np.abs(rows).max()
        if largest > FARTHEST:
            raise ValueError(
                f"an image has values {largest:.3g} times as far from its mean as training images "
                "spread, beyond what float32 computes with: rescale X, or leave that row out."
            )
        return rows.astype(np.float32)

    def _mean_responses(self, rows):
        """`transform` before the power, of tensors: slower, and torch knows its derivative."""
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        words = torch.from_numpy(self.words_.astype(np.float32)).permute(0, 3, 1, 2)
        bias = torch.from_numpy(self.bias_.astype(np.float32))[:, None, None]
        rows = (rows.double() - rows.double().mean(dim=1, keepdim=True)) / self.scale_
        images = rows.reshape(-1, *self.image_shape_).permute(0, 3, 1, 2)
        responses = _responses_of_tensors(images, words, bias, float(self.threshold))
        return adaptive_avg_pool2d(responses, self._parts()).flatten(1)

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


def _at_most_distinct(rows, n):
    """n, or the number of distinct rows where there are fewer."""
    if len(np.unique(rows[: 2 * n], axis=0)) >= n:
        return n
    return min(n, len(np.unique(rows, axis=0)))


def _of_length_one(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _mean_responses(images, weights, patch_size, parts):
    """Mean responses (n, n_words * n_parts) over the parts of images (n, height, width, channels).

    Images are the last axis of all arrays, so that a pass over them is a few long loops; those over
    a patch would be many of a few pixels. A few rows of places at a time stay in the cache from the
    pixels to the means.
    """
    n_images, n_words = len(images), weights.shape[1]
    images = np.ascontiguousarray(images.transpose(3, 1, 2, 0))
    mean, scale = _of_patches(images, patch_size)
    n_rows, n_columns, _ = mean.shape
    # (channels, *patch_size, n_rows, n_columns, n)
    patches = sliding_window_view(images, patch_size, axis=(1, 2)).transpose(0, 4, 5, 1, 2, 3)
    rows, columns = parts
    sums = np.empty((n_rows, len(columns), n_images * n_words), dtype=np.float32)
    zeros = np.zeros(n_images * n_words, dtype=np.float32)
    for band in row_blocks(n_rows, n_columns * n_images * (n_words + len(weights))):
        inputs = np.ones((len(weights), mean[band].size), dtype=np.float32)
        pixels = inputs[:-1].reshape(*patches.shape[:3], *mean[band].shape)
        np.subtract(patches[:, :, :, band], mean[band], out=pixels)
        np.multiply(pixels, scale[band], out=pixels)
        responses = (inputs.T @ weights).reshape(-1, n_columns, n_images * n_words)
        np.maximum(responses, zeros, out=responses)  # one zero for all takes four times as long
        for k, part in enumerate(columns):
            responses[:, part].sum(axis=1, out=sums[band, k])
    means = np.stack([sums[part].sum(axis=0) for part in rows])
    means /= np.outer(*([part.stop - part.start for part in axis] for axis in parts))[:, :, None]
    return np.moveaxis(means.reshape(-1, n_images, n_words), 0, 2).reshape(n_images, -1)


def _of_patches(images, patch_size):
    """Mean of each patch of images (channels, height, width, n), and its factor to one contrast.

    Both are (n_rows, n_columns, n), float32. Variances are the difference of mean squares, which
    float64 has the digits for.
    """
    images = images.astype(np.float64)
    moments = np.stack([images.mean(axis=0), (images**2).mean(axis=0)], axis=2)
    over_rows, over_columns = map(_windows, moments.shape, patch_size)
    height, width, *rest = moments.shape
    moments = over_rows @ moments.reshape(height, -1)
    moments = over_columns @ moments.reshape(len(over_rows), width, -1)
    mean, square = np.moveaxis(moments.reshape(*moments.shape[:2], *rest), 2, 0)
    variance = np.maximum(square - mean**2, 0)
    return mean.astype(np.float32), (1 / np.sqrt(variance + FLAT)).astype(np.float32)


def _windows(size, window):
    """Means over the windows of so many pixels: (n_places, size)."""
    place, pixel = np.arange(size - window + 1)[:, None], np.arange(size)
    return ((place <= pixel) & (pixel < place + window)) / window


def _even_parts(n_places, n_parts):
    """Slices that cut n_places into equal parts, which share a place where they have to."""
    cuts = [divmod(part * n_places, n_parts) for part in range(n_parts + 1)]
    return [slice(cuts[k][0], cuts[k + 1][0] + (cuts[k + 1][1] > 0)) for k in range(n_parts)]


def _responses_of_tensors(images, words, bias, threshold):
    """Responses (n, n_words, rows, columns) of images (n, channels, height, width) in float64.

    The words are mean-free: their product with a patch is that with the patch freed of its mean,
    and what is left of bringing the patch to one contrast is a division.
    """
    from torch.nn.functional import avg_pool2d, conv2d

    size = tuple(words.shape[2:])
    mean = avg_pool2d(images, size, stride=1).mean(dim=1, keepdim=True)
    square = avg_pool2d(images**2, size, stride=1).mean(dim=1, keepdim=True)
    variance = (square - mean**2).clamp_min(0)
    responses = conv2d(images.float(), words).div_((variance + FLAT).sqrt().float()).add_(bias)
    return responses.div_(words[0].numel() ** 0.5).sub_(threshold).clamp_min_(0)
