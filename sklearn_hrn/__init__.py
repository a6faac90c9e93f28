"""HRN: one-class learning with holistic regularisation, as scikit-learn estimators."""

from ._calibration import conformal_p_values, false_alarm_threshold
from ._likelihood_ratios import likelihood_ratios
from .conformal import ConformalOutlierDetector
from .continual import HRNContinualClassifier
from .grouped import HRNGroupedDetector
from .image import PatchDictionary, RotationWhitening
from .kernel_approximation import FourierFeatures, LandmarkFeatures
from .model_selection import (
    HRNSearchCV,
    InlierKFold,
    InlierShuffleSplit,
    shuffled_columns_score,
    to_inlier_labels,
)
from .networks import ChannelNetwork, TorchFeatures
from .one_class import HRNOneClassClassifier
from .pipelines import OneClassPipeline
from .preprocessing import (
    InstanceL2Normalizer,
    InstanceStandardizer,
    NormalScoreTransformer,
    RidgeWhitener,
    TableEncoder,
)
from .recipes import make_hrn_pipeline

__version__ = "0.1.0"

__all__ = [
    "ChannelNetwork",
    "ConformalOutlierDetector",
    "FourierFeatures",
    "HRNContinualClassifier",
    "HRNGroupedDetector",
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
    "TableEncoder",
    "TorchFeatures",
    "conformal_p_values",
    "false_alarm_threshold",
    "likelihood_ratios",
    "make_hrn_pipeline",
    "shuffled_columns_score",
    "to_inlier_labels",
]
