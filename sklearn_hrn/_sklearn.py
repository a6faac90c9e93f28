"""Every private name of scikit-learn that this package uses: what a new version may move."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn import base
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import _param_validation, _safe_indexing, metaestimators
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metadata_routing import _routing_enabled
from sklearn.utils.parallel import _get_threadpool_controller
from sklearn.utils.validation import _check_feature_names_in, _check_method_params, _num_samples

from ._typing import Function

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:
        """Nothing: this version of scikit-learn calls no callbacks."""


__all__ = [
    "NUMBER",
    "N_JOBS",
    "CallbackSupportMixin",
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
    "available_if",
    "callbacks_of",
    "has_callbacks",
    "one_thread",
    "validate_params",
]


def _fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Function], Function]:
    """scikit-learn's, which for type checkers keeps the types of what it decorates."""
    return base._fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)


def available_if(check: Callable[[Any], bool]) -> Callable[[Function], Function]:
    """scikit-learn's, which for type checkers keeps the types of what it decorates."""
    return metaestimators.available_if(check)


def validate_params(**constraints: Any) -> Callable[[Function], Function]:
    """Check arguments of a function by name, as `_parameter_constraints` do those of estimators."""
    return _param_validation.validate_params(constraints, prefer_skip_nested_validation=False)


def has_callbacks(estimator: Any) -> bool:
    """Whether callbacks follow an estimator, or a step of a pipeline."""
    parts = [estimator, *(step for _, step in getattr(estimator, "steps", ()))]
    return any(hasattr(part, "_skl_callbacks") for part in parts)


@contextmanager
def callbacks_of(estimator: Any, X: Any, y: Any) -> Iterator[Callable[[Callable], bool] | None]:
    """Tell the callbacks of an estimator that its fit begins, and ends.

    Within, each of its rounds is told by a call of what this gives, with a function that makes the
    attributes of the estimator as it stands; the answer is whether to stop. None where there are no
    callbacks.
    """
    if not getattr(estimator, "_skl_callbacks", ()):
        yield None
        return
    whole = estimator._init_callback_context(max_subtasks=None)
    whole.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def after_round(attributes: Callable) -> bool:
        part = whole.subcontext(task_name="round")
        what = {"estimator": estimator, "X": X, "y": y}
        part.call_on_fit_task_begin(**what)
        return part.call_on_fit_task_end(**what, reconstruction_attributes=attributes)

    yield after_round
    whole.call_on_fit_task_end(
        estimator=estimator, X=X, y=y, reconstruction_attributes=lambda: vars(estimator)
    )


def one_thread(what: str | None = None) -> AbstractContextManager:
    """Within it, products of NumPy ("blas"), loops of scikit-learn and torch ("openmp"), or both
    take one thread each.
    """
    return _get_threadpool_controller().limit(limits=1, user_api=what)


class Interval(_param_validation.Interval):
    """An interval of numbers, which True and whole numbers beyond 64 bits are not.

    Nor are fractions and other kinds of numbers that NumPy does not compute with.
    """

    def is_satisfied_by(self, val):
        """Whether a value is allowed."""
        is_number = isinstance(val, int | float | np.integer | np.floating)
        if (
            not is_number
            or isinstance(val, bool)
            or (isinstance(val, int) and abs(val) > sys.maxsize)
        ):
            return False
        return super().is_satisfied_by(val)


NUMBER = Interval(Real, None, None, closed="both")

# Numbers of processes, as far as joblib counts them.
N_JOBS = Interval(Integral, -(2**15), 2**15, closed="both")
