"""Tables of numbers with anomalies: float32 rows, and targets of +1 (normal) and -1 (anomaly)."""

import numpy as np
from scipy.io import loadmat
from sklearn.datasets import fetch_kddcup99 as fetch_raw_kddcup99
from sklearn.datasets import fetch_openml
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import Bunch

from ._local import downloaded, local_copy


def fetch_kddcup99(*, data_home=None):
    """Network connections, 494 021 rows of the 10 % file, one-hot encoded.

    As in the literature on one-class learning, the attacks, which are the majority, are the normal
    class, and ordinary connections the anomalies.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``kddcup99.npz``; None is what ``SKLEARN_HRN_DATA`` names, or a download
        by :func:`sklearn.datasets.fetch_kddcup99`.

    Returns
    -------
    data : Bunch
        `data` (494021, 118) and `target` (494021,).
    """
    path = local_copy("kddcup99.npz", data_home)
    if path is not None:
        with np.load(path) as file:
            table = file["kdd"]
        return _bunch(table[:, :-1], table[:, -1] == 1)
    raw = downloaded(fetch_raw_kddcup99, percent10=True)
    kinds = [1, 2, 3]  # protocol, service, flag
    encoded = OneHotEncoder(sparse_output=False, dtype=np.float32).fit_transform(raw.data[:, kinds])
    numbers = np.delete(raw.data, kinds, axis=1).astype(np.float32)
    return _bunch(np.hstack([numbers, encoded]), raw.target == b"normal.")


def fetch_thyroid(*, data_home=None):
    """Thyroid disease (ODDS): 3772 rows of 6 columns, 93 of them anomalies.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``thyroid.mat``; None is what ``SKLEARN_HRN_DATA`` names, or a download
        from OpenML, whose table has the same rows in other units.

    Returns
    -------
    data : Bunch
        `data` (3772, 6) and `target` (3772,).
    """
    path = local_copy("thyroid.mat", data_home)
    if path is not None:
        return _from_mat(path)
    table = downloaded(fetch_openml, "thyroid-ann", version=1, as_frame=False)
    # Age and five hormone levels; the other columns are answers of yes and no.
    X = table.data.astype(np.float32)[:, [0, 16, 17, 18, 19, 20]]
    labels, counts = np.unique(table.target, return_counts=True)
    return _bunch(X, table.target == labels[counts.argmin()])


def fetch_arrhythmia(*, data_home=None):
    """Cardiac arrhythmia (ODDS): 452 rows of 274 columns, 66 of them anomalies.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``arrhythmia.mat``; None is what ``SKLEARN_HRN_DATA`` names, or a download
        from OpenML.

    Returns
    -------
    data : Bunch
        `data` (452, 274) and `target` (452,).
    """
    path = local_copy("arrhythmia.mat", data_home)
    if path is not None:
        return _from_mat(path)
    table = downloaded(fetch_openml, "arrhythmia", version=1, as_frame=False)
    X = table.data.astype(np.float32)
    is_rare = np.isin(table.target.astype(int), [3, 4, 5, 7, 8, 9, 14, 15])
    return _bunch(X[:, ~np.isnan(X).any(axis=0)], is_rare)


def _from_mat(path):
    table = loadmat(path)
    return _bunch(table["X"], table["y"].ravel() == 1)


def _bunch(X, is_anomaly):
    return Bunch(data=X.astype(np.float32), target=np.where(is_anomaly, -1, 1))
