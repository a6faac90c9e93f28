"""What can go wrong, by name.

Every warning and error that a caller may want to catch or silence on its own has a class here.
"""

__all__ = [
    "ConstantScoresWarning",
    "LabelConventionWarning",
    "NonFiniteLossWarning",
    "ResolutionWarning",
    "TrainingDivergedError",
]


class NonFiniteLossWarning(RuntimeWarning):
    """A training loss became infinite or NaN; the epoch was repeated with half the step."""


class TrainingDivergedError(RuntimeError):
    """The loss stayed non-finite however small the step was made."""


class ConstantScoresWarning(RuntimeWarning):
    """All training rows score the same, so the fitted model tells nothing apart."""


class LabelConventionWarning(UserWarning):
    """``y`` does not follow scikit-learn's convention for detectors (+1 normal, -1 anomaly)."""


class ResolutionWarning(UserWarning):
    """Too few calibration rows for the wanted false-alarm rate: nothing can be flagged."""
