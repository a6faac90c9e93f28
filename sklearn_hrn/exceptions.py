"""What can go wrong, by name.

Every warning and error that a caller may want to catch or silence on its own has a class here.
"""

import contextlib
import os
import pickle
import sys
import warnings
from contextvars import ContextVar
from pathlib import Path

import joblib
import sklearn

__all__ = [
    "CalibrationError",
    "CentredRowsWarning",
    "ConstantScoresWarning",
    "DominantColumnWarning",
    "DriftWarning",
    "FarRowsPassWarning",
    "LabelConventionWarning",
    "NonFiniteLossWarning",
    "NumbersAsTextWarning",
    "ResolutionWarning",
    "RowCounterWarning",
    "RowLengthWarning",
    "TrainingDivergedError",
    "VersionMismatchWarning",
]

# Frames of these stand between a caller and the line that warns.
_INNER_FILES = (
    *(str(Path(file).parent) + os.sep for file in (__file__, sklearn.__file__, joblib.__file__)),
    contextlib.__file__,
    pickle.__file__,
)

# Whether `warn` is silent here. Filters of warnings belong to the whole process: a thread that set
# them for a while would change, or lose, those of all others.
_IS_QUIET = ContextVar("is quiet", default=False)


# Where warnings are gathered that are not to be given yet.
_GATHERED = ContextVar("gathered", default=None)


class NonFiniteLossWarning(RuntimeWarning):
    """A training loss exploded; the round was repeated with half the step.

    It became infinite or NaN, or more than 100 times that of an untrained network.
    """


class TrainingDivergedError(RuntimeError):
    """The loss exploded however small the step was made."""


class ConstantScoresWarning(RuntimeWarning):
    """All training rows score the same, so the fitted model tells nothing apart."""


class RowLengthWarning(UserWarning):
    """Training rows differ in length, and score by it: the longer, the more normal."""


class CentredRowsWarning(UserWarning):
    """Training rows lie around zero in all directions, where a network without biases is blind."""


class FarRowsPassWarning(UserWarning):
    """Rows that are far from all training rows score no lower than the threshold, and pass."""


class NumbersAsTextWarning(UserWarning):
    """Columns of text, taken for categories, read as numbers or dates."""


class RowCounterWarning(UserWarning):
    """A column goes one way from row to row, as numbers and times of rows do."""


class DominantColumnWarning(UserWarning):
    """One column makes up so much of the rows that normalising each leaves little of the others."""


class DriftWarning(UserWarning):
    """More rows of a stream fall below the threshold than its rate says, chunk after chunk."""


class LabelConventionWarning(UserWarning):
    """``y`` does not follow scikit-learn's convention for detectors (+1 normal, -1 anomaly)."""


class VersionMismatchWarning(UserWarning):
    """An estimator was pickled by another version of this package than the one that reads it."""


class ResolutionWarning(UserWarning):
    """Too few calibration rows for the wanted false-alarm rate.

    `ConformalOutlierDetector`, which promises the rate, then flags nothing; a calibrated pipeline
    flags what scores below all calibration rows. Also chunks of a stream so small that nobody knows
    where the threshold belongs.
    """


class CalibrationError(ValueError):
    """The rows or the folds do not allow to calibrate, or a fold could not be trained."""


@contextlib.contextmanager
def quietly():
    """Within the block nothing is warned about, as it has been told already; in this thread."""
    token = _IS_QUIET.set(True)
    try:
        yield
    finally:
        _IS_QUIET.reset(token)


@contextlib.contextmanager
def gathered():
    """Within the block warnings are gathered: a list of (message, category). In this thread."""
    found = []
    token = _GATHERED.set(found)
    try:
        yield found
    finally:
        _GATHERED.reset(token)


def warn_once_a_kind(found):
    """Give the first of each kind of gathered warnings, which says how many there are."""
    kinds = {}
    for message, category in found:
        kinds.setdefault(category, []).append(message)
    for category, (first, *others) in kinds.items():
        warn(f"{first} ({len(others)} more of this kind.)" if others else first, category)


@contextlib.contextmanager
def once_a_kind():
    """Within the block warnings wait, and the first of each kind is given at its end."""
    found = []  # for an interrupt before there is another list
    try:
        with gathered() as found:
            yield
    finally:
        warn_once_a_kind(found)


def warn(message, category):
    """Warn at the line outside this package, scikit-learn, joblib and pickle that led here."""
    if _IS_QUIET.get():
        return
    if _GATHERED.get() is not None:
        _GATHERED.get().append((message, category))
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INNER_FILES):
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
