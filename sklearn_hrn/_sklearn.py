"""Every private name of scikit-learn that this package uses: what a new version may move."""

import sys
from numbers import Integral

import numpy as np
from sklearn.base import _fit_context
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import _param_validation, _safe_indexing
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metadata_routing import _routing_enabled
from sklearn.utils.validation import _check_feature_names_in, _check_method_params, _num_samples

__all__ = [
    "N_JOBS",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_check_feature_names_in",
    "_check_method_params",
    "_fit_context",
    "_insert_error_scores",
    "_num_samples",
    "_routing_enabled",
    "_safe_indexing",
    "_score",
    "_warn_or_raise_about_fit_failures",
]


class Interval(_param_validation.Interval):
    """An interval of numbers, which True and whole numbers beyond 64 bits are not.

    Nor are fractions and other kinds of numbers that NumPy does not compute with.
    """

    def is_satisfied_by(self, val):
        """Whether a value is allowed."""
        is_number = isinstance(val, int | float | np.integer | np.floating)
        if not is_number or isinstance(val, bool) or (isinstance(val, int) and abs(val) > sys.maxsize):
            return False
        return super().is_satisfied_by(val)


# Numbers of processes, as far as joblib counts them.
N_JOBS = Interval(Integral, -(2**15), 2**15, closed="both")
