"""Folds, searches and scorers for one-class learning: train on normal rows, test on all.

Labels are +1 (normal) and -1 (anomaly); `to_inlier_labels` converts any others.
"""

from .._labels import to_inlier_labels
from ._scorer import shuffled_columns_score
from ._search import HRNSearchCV
from ._split import InlierKFold, InlierShuffleSplit

__all__ = [
    "HRNSearchCV",
    "InlierKFold",
    "InlierShuffleSplit",
    "shuffled_columns_score",
    "to_inlier_labels",
]
