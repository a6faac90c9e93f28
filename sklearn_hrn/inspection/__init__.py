"""Why a row is strange: attributions to columns, the nearest normal row, and displays."""

from ._attribution import feature_attribution, nearest_normal
from ._attribution_display import AttributionDisplay
from ._displays import AnomalyScoreDisplay, FalseAlarmDisplay
from ._training_display import TrainingCurveDisplay

__all__ = [
    "AnomalyScoreDisplay",
    "AttributionDisplay",
    "FalseAlarmDisplay",
    "TrainingCurveDisplay",
    "feature_attribution",
    "nearest_normal",
]
