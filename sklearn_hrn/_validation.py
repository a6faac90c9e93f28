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


def doubt_image_shape(shape):
    """Warn of a shape that is most likely channels first."""
    if shape[0] in (1, 3) and min(shape[1:]) > 4:
        channels, height, width = shape
        warn(
            f"image_shape={shape} means images of {channels} by {height} pixels with {width} "
            "channels each, as channels come last. Of images as torch has them, channels first, "
            "give np.moveaxis(X, 1, -1), flattened, and "
            f"image_shape=({height}, {width}, {channels}).",
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
