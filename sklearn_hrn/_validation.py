"""Checks of what comes in: rows, images, seeds and devices."""

from math import isqrt, prod
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from ._base import check_numbers
from .exceptions import warn

# Weights, and the rows they are multiplied with in training, are float32.
LARGEST = np.finfo(np.float32).max


def check_rows(estimator, X, reset):
    """X as a float32 or float64 array, finite in float32; fitting takes two rows and more."""
    dtypes = [np.float32, np.float64]
    X = check_numbers(estimator, X, dtype=dtypes, ensure_min_samples=2 if reset else 1, reset=reset)
    check_range(estimator, X)
    return X


def check_range(estimator, X):
    """Refuse rows that float32 cannot hold."""
    if X.dtype == np.float32:
        return
    largest = max(-X.min(), X.max())
    if largest > LARGEST:
        raise ValueError(
            f"X holds {largest:.3g}, beyond the float32 range of +-3.4e38 in which "
            f"{type(estimator).__name__} computes: rescale X, for instance with "
            "InstanceL2Normalizer or sklearn.preprocessing.StandardScaler."
        )


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
    if any(isinstance(size, bool) or not isinstance(size, Integral) for size in image_shape):
        raise ValueError(
            f"image_shape={image_shape!r} must hold whole numbers: give (height, width) or "
            "(height, width, channels)."
        )
    image_shape = tuple(map(int, image_shape))
    shape = (*image_shape, 1) if len(image_shape) == 2 else image_shape
    known = prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known > 0:
        shape = tuple(n_features // known if size == -1 else size for size in shape)
    if len(shape) != 3 or min(shape) < 1 or prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not fit rows of {n_features} features: give "
            "(height, width) or (height, width, channels) with that product; one may be -1."
        )
    return shape


class TakesImages:
    """Of a `NormalRowsEstimator` with `image_shape`: images in a row each, or with their own axes.

    `fit` sets `image_shape_`, (height, width, channels), from `image_shape`, from the axes of the
    images, or from the length of the rows, in this order.
    """

    image_shape_: tuple[int, int, int] | None

    # Whether rows without a shape are images all the same, square ones.
    _rows_are_images = True

    def _validate(self, X, reset, **options):
        X, axes = without_axes(X)
        X = super()._validate(X, reset, **options)
        if reset:
            shape = axes if self.image_shape is None else self.image_shape
            self.image_shape_ = None
            if shape is not None or self._rows_are_images:
                self.image_shape_ = resolve_image_shape(shape, X.shape[1])
        check_axes(axes, self.image_shape_)
        return X


def check_axes(axes, image_shape):
    """Refuse images of another shape than the fitted one, where rows may be as long."""
    if axes not in (None, image_shape):
        raise ValueError(
            f"images of shape {axes} were given, but such of shape {image_shape} are needed: "
            "(height, width, channels)."
        )


def without_axes(X):
    """Rows, and the (height, width, channels) of images with axes; of other X, X and None."""
    if isinstance(X, list | tuple) and len(X) and np.ndim(X[0]) > 1:
        shapes = {np.shape(image) for image in X}
        if len(shapes) > 1:
            raise ValueError(
                f"X holds images of {len(shapes)} shapes, such as {sorted(shapes)[:2]}: bring them "
                "to one size first."
            )
        X = np.asarray(X)
    shape = tuple(getattr(X, "shape", ()))
    if not 3 <= len(shape) <= 4:
        return X, None
    if 0 in shape:
        raise ValueError(f"X has the shape {shape}: give at least one image, with pixels.")
    return np.reshape(np.asarray(X), (len(X), -1)), (*shape[1:], 1)[:3]


def doubt_image_shape(shape):
    """Warn of a shape that is most likely channels first."""
    if shape[0] in (1, 3) and min(shape[1:]) > 4:
        channels, height, width = shape
        warn(
            f"image_shape={shape} means images of {channels} by {height} pixels with {width} "
            "channels each, as channels come last. Of images as torch has them, channels first, "
            f"give np.moveaxis(X, 1, -1), and image_shape=({height}, {width}, {channels}) where "
            "each is a row.",
            UserWarning,
        )


def draw_seeds(random_state, n_seeds):
    """Integer seeds (n_seeds,); of None, fresh ones that leave NumPy's global generator alone."""
    if random_state is None:
        random_state = np.random.RandomState()  # seeded by the system
    return check_random_state(random_state).randint(np.iinfo(np.int32).max, size=n_seeds)


def resolve_device(device):
    """The name of a device that is there.

    Raises
    ------
    ValueError
        If the name is unknown or the device absent.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    try:
        usable = torch.empty(1, device=device).device.type in ("cpu", "cuda")
    except (RuntimeError, AssertionError, NotImplementedError):
        usable = False
    if not usable:
        raise ValueError(
            f"device={device!r} cannot be used: allowed here are {['auto', 'cpu', *gpus]}."
        )
    return device
