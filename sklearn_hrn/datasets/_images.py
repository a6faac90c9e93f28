"""Images: uint8, flattened, channels last."""

import io
from itertools import pairwise

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.utils import Bunch

from .._typing import Folder
from ._local import downloaded, local_copy, reading


def fetch_mnist(*, data_home: Folder | None = None) -> Bunch:
    """MNIST: 70 000 handwritten digits of 28 x 28 pixels.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``mnist.npz``; None is what ``SKLEARN_HRN_DATA`` names, or a download from
        OpenML.

    Returns
    -------
    data : Bunch
        `X_train` (60000, 784) and `X_test` (10000, 784), uint8; `y_train` and `y_test`, int64;
        `image_shape`, (height, width, channels).
    """
    path = local_copy("mnist.npz", data_home)
    if path is None:
        return _from_openml("mnist.npz", "mnist_784", 60_000, (28, 28, 1))
    return _from_npz(path)


def fetch_fashion_mnist(*, data_home: Folder | None = None) -> Bunch:
    """Fashion-MNIST: 70 000 articles of clothing of 28 x 28 pixels.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``fashion_mnist.npz``; None is what ``SKLEARN_HRN_DATA`` names, or a
        download from OpenML.

    Returns
    -------
    data : Bunch
        As of :func:`fetch_mnist`.
    """
    path = local_copy("fashion_mnist.npz", data_home)
    if path is None:
        return _from_openml("fashion_mnist.npz", "Fashion-MNIST", 60_000, (28, 28, 1))
    return _from_npz(path)


def fetch_cifar10(*, data_home: Folder | None = None) -> Bunch:
    """CIFAR-10: 60 000 colour photographs of 32 x 32 pixels.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``cifar10_jpeg.npz``, a JPEG copy (Pillow decodes it; the original has no
        losses); None is what ``SKLEARN_HRN_DATA`` names, or a download from OpenML.

    Returns
    -------
    data : Bunch
        `X_train` (50000, 3072), `X_test` (10000, 3072) and the rest as of :func:`fetch_mnist`.
    """
    path = local_copy("cifar10_jpeg.npz", data_home)
    if path is None:
        data = _from_openml("cifar10_jpeg.npz", "CIFAR_10", 50_000, (32, 32, 3))
        for part in ("X_train", "X_test"):
            # OpenML has the three colour planes one after the other.
            planes = data[part].reshape(-1, 3, 1024)
            data[part] = np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(-1, 3072)
        return data
    with reading(path), np.load(path) as file:
        parts = {}
        for part in ("train", "test"):
            parts[f"X_{part}"] = _decoded(file[f"jpeg_{part}"], file[f"offset_{part}"])
            parts[f"y_{part}"] = file[f"y_{part}"].astype(np.int64)
        _check_lengths(parts)
    return Bunch(**parts, image_shape=(32, 32, 3))


def fetch_cifar100(*, data_home: Folder | None = None) -> Bunch:
    """CIFAR-100: 60 000 colour photographs of 32 x 32 pixels, of 100 classes.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``cifar100.npz`` with the arrays `X_train` (50000, 32, 32, 3) and `X_test`
        (10000, 32, 32, 3), uint8, channels last, and `y_train` and `y_test`, the fine labels from 0
        to 99; None is what ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    data : Bunch
        `X_train` (50000, 3072), `X_test` (10000, 3072) and the rest as of :func:`fetch_mnist`.
    """
    reason = "Pack the arrays of the official archive, its channels last, into it."
    path = local_copy("cifar100.npz", data_home, required_because=reason)
    data = _from_npz(path)
    if data.image_shape != (32, 32, 3) or data.X_train.dtype != np.uint8:
        raise ValueError(
            f"{path} has images of shape {data.image_shape} and type {data.X_train.dtype}: pack "
            "them as uint8 of shape (n, 32, 32, 3). The official archive has the three colour "
            "planes one after the other: X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)."
        )
    return data


def fetch_emnist47(*, data_home: Folder | None = None) -> Bunch:
    """47 classes of handwritten letters and digits of 28 x 28 pixels.

    A part of EMNIST ByMerge with 315 to 900 training images a class and 100 to test on; it is not
    the official Balanced split.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``emnist47.npz``; None is what ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    data : Bunch
        `X_train` (37820, 784), `X_test` (4700, 784) and the rest as of :func:`fetch_mnist`.
    """
    reason = "It is a subset that has no other source."
    return _from_npz(local_copy("emnist47.npz", data_home, required_because=reason))


def fetch_gtsrb32(*, data_home: Folder | None = None) -> Bunch:
    """43 classes of German traffic signs, cropped and resized to 32 x 32 pixels.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``gtsrb32.npz``; None is what ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    data : Bunch
        `X_train` (9600, 3072), `X_test` (3270, 3072) and the rest as of :func:`fetch_mnist`;
        `track_train` (9600,), the photographed sign that a training image is a frame of. Class 14,
        the stop sign, is complete.
    """
    reason = "It is a subset that has no other source."
    return _from_npz(local_copy("gtsrb32.npz", data_home, required_because=reason))


def _from_npz(path):
    with reading(path), np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
        shape = arrays["X_train"].shape[1:]
        for name, array in arrays.items():
            is_images = name.startswith("X_")
            arrays[name] = array.reshape(len(array), -1) if is_images else array.astype(np.int64)
        _check_lengths(arrays)
    return Bunch(**arrays, image_shape=(*shape, 1) if len(shape) == 2 else shape)


def _check_lengths(parts):
    """Every image has a label, and both parts have the same pixels."""
    for part in ("train", "test"):
        X, y = parts[f"X_{part}"], parts[f"y_{part}"]
        if y.shape != (len(X),) or X.shape[1:] != parts["X_train"].shape[1:]:
            raise ValueError(f"X_{part} has the shape {X.shape} and y_{part} {y.shape}")


def _from_openml(file_name, name, n_train, image_shape):
    """A data set whose first rows are the official training part."""
    data = downloaded(file_name, fetch_openml, name, version=1, as_frame=False)
    X, y = data.data.astype(np.uint8), data.target.astype(np.int64)
    return Bunch(
        X_train=X[:n_train],
        y_train=y[:n_train],
        X_test=X[n_train:],
        y_test=y[n_train:],
        image_shape=image_shape,
    )


def _decoded(jpeg, offsets):
    """Images (n, height * width * channels) from JPEGs one behind the other."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'decoding JPEG images needs Pillow: pip install "sklearn-hrn[images]".'
        ) from error
    data = bytes(jpeg)
    images = [
        np.asarray(Image.open(io.BytesIO(data[start:stop]))) for start, stop in pairwise(offsets)
    ]
    return np.stack(images).reshape(len(images), -1)
