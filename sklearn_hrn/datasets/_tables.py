"""Tables: float32 rows with targets of +1 (normal) and -1 (anomaly), and texts with classes."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from sklearn.datasets import fetch_kddcup99 as fetch_raw_kddcup99
from sklearn.datasets import fetch_openml
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder
from sklearn.utils import Bunch

from .._typing import Folder, Integers
from ._local import VARIABLE, downloaded, local_copy, reading, resolve_data_home


def fetch_kddcup99(*, data_home: Folder | None = None) -> Bunch:
    """Network connections, 494 021 rows of the 10 % file, one-hot encoded.

    As in the literature on one-class learning, the attacks, which are the majority, are the normal
    class, and ordinary connections the anomalies. The first 80 columns are protocol, service and
    flag; the other 38, numbers scaled to the range of the attacks. That range is taken over all
    attacks, as in the copies that published figures rest on: scale again on the training rows.

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
        with reading(path), np.load(path) as file:
            table = file["kdd"]
            return _bunch(table[:, :-1], table[:, -1] == 1)
    raw = downloaded("kddcup99.npz", fetch_raw_kddcup99, percent10=True)
    is_anomaly = raw.target == b"normal."
    words = [1, 2, 3]  # protocol, service, flag
    encoded = OneHotEncoder(sparse_output=False, dtype=np.float32).fit_transform(raw.data[:, words])
    numbers = np.delete(raw.data, words, axis=1).astype(np.float64)
    numbers = MinMaxScaler().fit(numbers[~is_anomaly]).transform(numbers)
    return _bunch(np.hstack([encoded, numbers], dtype=np.float32), is_anomaly)


def fetch_thyroid(*, data_home: Folder | None = None) -> Bunch:
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
    table = downloaded("thyroid.mat", fetch_openml, "thyroid-ann", version=1, as_frame=False)
    # Age and five hormone levels; the other columns are answers of yes and no.
    X = table.data.astype(np.float32)[:, [0, 16, 17, 18, 19, 20]]
    labels, counts = np.unique(table.target, return_counts=True)
    return _bunch(X, table.target == labels[counts.argmin()])


def fetch_arrhythmia(*, data_home: Folder | None = None) -> Bunch:
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
    table = downloaded("arrhythmia.mat", fetch_openml, "arrhythmia", version=1, as_frame=False)
    X = table.data.astype(np.float32)
    is_rare = np.isin(table.target.astype(int), [3, 4, 5, 7, 8, 9, 14, 15])
    return _bunch(X[:, ~np.isnan(X).any(axis=0)], is_rare)


def fetch_dbpedia14(*, data_home: Folder | None = None) -> Bunch:
    """DBPedia-14: first sentences of encyclopaedia articles of 14 kinds, a subset.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``dbpedia14/train.csv`` and ``dbpedia14/test.csv``, rows of a class number
        and a text; None is what ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    data : Bunch
        `X_train` (5000,) and `X_test` (5000,), str objects; `y_train` and `y_test`, int64, 1 to 14.
    """
    parts = {}
    for part in ("train", "test"):
        reason = "The subset has no other source."
        path = local_copy(f"dbpedia14/{part}.csv", data_home, required_because=reason)
        with reading(path), path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
            parts[f"X_{part}"] = np.array([text for _, text in rows], dtype=object)
            parts[f"y_{part}"] = np.array([label for label, _ in rows], dtype=np.int64)
    return Bunch(**parts)


def load_features(name: str, *, data_home: Folder | None = None) -> Bunch:
    """Features of images from a pre-trained network, with anomalies.

    Parameters
    ----------
    name : str
        Of a file in the folder `features`, without its ending: ``"mvtec_resnet18_bottle"``.
    data_home : path-like, default=None
        Folder that holds ``features``; None is what ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    data : Bunch
        `data` (n, d), float32, and `target` (n,) of +1 (normal) and -1 (anomaly).
    """
    home = resolve_data_home(data_home)
    names = sorted(path.stem for path in (home / "features").glob("*.npz")) if home else []
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ValueError(f"name={name!r} is not the name of a file: leave out folders.")
    reason = f"Features at hand: {', '.join(names) or 'none'}."
    X, y = labelled(local_copy(f"features/{name}.npz", data_home, required_because=reason))
    return Bunch(data=X, target=y)


def load_adbench(
    data_home: Folder | None = None,
) -> Iterator[tuple[str, NDArray[np.float32], Integers]]:
    """The sets of a folder of ADBench files, one after the other.

    Every ``.npz`` file is taken for one, with rows `X`, and `y` of 1 for anomalies and 0 for the
    rest. There are no checksums.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds the files, or a folder ``adbench`` with them; None is what
        ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    sets : iterator of (str, ndarray, ndarray)
        Name of a file without its ending, `X` (n, d), float32, and `y` (n,) of +1 (normal) and -1
        (anomaly), in the order of the names. A file is read when its turn comes.

    Raises
    ------
    FileNotFoundError
        If no folder is given, or it holds no such files.
    ValueError
        On the turn of a file that holds something else.
    """
    return ((path.stem, *labelled(path)) for path in adbench_paths(data_home))


def adbench_paths(data_home):
    """The files of `load_adbench`, by name."""
    home = resolve_data_home(data_home)
    if home is None:
        raise FileNotFoundError(
            "ADBench needs a folder of ADBench files (.npz): give it as data_home or in the "
            f"environment variable {VARIABLE}."
        )
    folder = home / "adbench" if (home / "adbench").is_dir() else home
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no .npz files: give the folder of the ADBench files as data_home or "
            f"in the environment variable {VARIABLE}."
        )
    return paths


def labelled(path):
    """Rows in float32, and +1 (normal) and -1 (anomaly), of a file with labels 0 and 1."""
    with reading(path), np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    if not {"X", "y"} <= set(arrays):
        raise ValueError(
            f"{path} holds {list(arrays)}: X (rows) and y (1 for anomalies) are needed."
        )
    X, y = arrays["X"], arrays["y"].ravel()
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{path} has X of type {X.dtype}: real numbers are needed.")
    if X.ndim != 2 or not X.size or len(X) != len(y) or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"{path} has X of shape {X.shape} and {len(y)} labels like {np.unique(y)[:5]}: "
            "X (n, d) and n labels of 0 (normal) or 1 (anomaly) are needed."
        )
    return X.astype(np.float32), np.where(y == 1, -1, 1)


def _from_mat(path):
    with reading(path):
        table = loadmat(path)
        return _bunch(table["X"], table["y"].ravel() == 1)


def _bunch(X, is_anomaly):
    return Bunch(data=X.astype(np.float32), target=np.where(is_anomaly, -1, 1))
