"""Texts with classes."""

import csv

import numpy as np
from sklearn.utils import Bunch

from ._local import local_copy


def fetch_dbpedia14(*, data_home=None):
    """DBPedia-14: first sentences of encyclopaedia articles of 14 kinds, a subset.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder that holds ``dbpedia14/train.csv`` and ``dbpedia14/test.csv``, rows of a class number
        and a text; None is what ``SKLEARN_HRN_DATA`` names.

    Returns
    -------
    data : Bunch
        `X_train` and `X_test`, lists of str; `y_train` and `y_test`, int64, 1 to 14.
    """
    parts = {}
    for part in ("train", "test"):
        reason = "The subset has no other source."
        path = local_copy(f"dbpedia14/{part}.csv", data_home, required_because=reason)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        parts[f"X_{part}"] = [text for _, text in rows]
        parts[f"y_{part}"] = np.array([int(label) for label, _ in rows])
    return Bunch(**parts)
