"""Rows and columns made fit for a one-class detector."""

from ._instance import InstanceL2Normalizer, InstanceStandardizer
from ._normal_scores import NormalScoreTransformer
from ._tables import TableEncoder
from ._whitening import RidgeWhitener

__all__ = [
    "InstanceL2Normalizer",
    "InstanceStandardizer",
    "NormalScoreTransformer",
    "RidgeWhitener",
    "TableEncoder",
]
