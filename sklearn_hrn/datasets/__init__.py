"""The data sets of the paper's tables, as NumPy arrays.

Each fetcher first looks for a local copy, in ``data_home`` or else in the folder that the
environment variable ``SKLEARN_HRN_DATA`` names; without one it downloads through scikit-learn from
where users get the data, as far as there is such a place (OpenML's files are read with pandas).
"""

from ._images import (
    fetch_cifar10,
    fetch_cifar100,
    fetch_emnist47,
    fetch_fashion_mnist,
    fetch_gtsrb32,
    fetch_mnist,
)
from ._local import resolve_data_home
from ._tables import (
    fetch_arrhythmia,
    fetch_dbpedia14,
    fetch_kddcup99,
    fetch_thyroid,
    load_adbench,
    load_features,
)

__all__ = [
    "fetch_arrhythmia",
    "fetch_cifar10",
    "fetch_cifar100",
    "fetch_dbpedia14",
    "fetch_emnist47",
    "fetch_fashion_mnist",
    "fetch_gtsrb32",
    "fetch_kddcup99",
    "fetch_mnist",
    "fetch_thyroid",
    "load_adbench",
    "load_features",
    "resolve_data_home",
]
