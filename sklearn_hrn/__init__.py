"""HRN: one-class learning with holistic regularisation, as scikit-learn estimators."""

from .continual import HRNContinualClassifier
from .embeddings import LandmarkFeatures, RidgeWhitener
from .feature_extraction import PatchDictionary, TorchFeatures
from .model_selection import (
    InlierKFold,
    InlierShuffleSplit,
    shuffled_columns_score,
    to_inlier_labels,
)
from .networks import ChannelNetwork
from .one_class import HRNOneClassClassifier
from .pipelines import OneClassPipeline
from .preprocessing import InstanceL2Normalizer, InstanceStandardizer
from .recipes import make_hrn_pipeline
from .search import HRNSearchCV
from .tabular import FourierFeatures, NormalScoreTransformer
from .thresholds import ConformalOutlierDetector
from .whitening import RotationWhitening

__version__ = "0.1.0"

__all__ = [
    "ChannelNetwork",
    "ConformalOutlierDetector",
    "FourierFeatures",
    "HRNContinualClassifier",
    "HRNOneClassClassifier",
    "HRNSearchCV",
    "InlierKFold",
    "InlierShuffleSplit",
    "InstanceL2Normalizer",
    "InstanceStandardizer",
    "LandmarkFeatures",
    "NormalScoreTransformer",
    "OneClassPipeline",
    "PatchDictionary",
    "RidgeWhitener",
    "RotationWhitening",
    "TorchFeatures",
    "make_hrn_pipeline",
    "shuffled_columns_score",
    "to_inlier_labels",
]
