"""What is fitted many times, for folds and for candidates, is trained together where it can be."""

import time
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from ._calibration import switched_off
from ._reference import joined
from ._sklearn import (
    _check_method_params,
    _num_samples,
    _safe_indexing,
    has_callbacks,
)
from ._steps import last_step
from ._threads import each_at_once, few_threads, n_at_once
from .exceptions import quietly

# Bytes of transformed rows that folds may hold while they wait to be trained together.
WAITING_BYTES = 2**28


@dataclass
class Fold:
    """The rows that a fold fits on, and what is fitted on them.

    Parameters
    ----------
    rows : ndarray of int or None
        None is all.
    anomalies : ndarray of int or None, default=None
        Labelled anomalies, for last steps with an `anomaly_weight`.
    is_final : bool, default=False
        Whether what is fitted is to be kept, with a calibration of its own if it has one.
    is_quiet : bool, default=False
        Whether it does not warn.

    Attributes
    ----------
    front_steps : list of (str, estimator) tuples
        The fitted earlier steps, which all candidates have in common.
    models : list of estimator
        The last step of each candidate, fitted.
    errors : list of (Exception or None)
        Why the last step of a candidate is not.
    seconds : float
    """

    rows: np.ndarray | None
    anomalies: np.ndarray | None = None
    is_final: bool = False
    is_quiet: bool = False
    front_steps: list = field(default_factory=list)
    models: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    seconds: float = 0.0

    def fitted(self, candidates):
        """The candidates as they stand after the fold: copies; those that failed are not fitted."""
        if not isinstance(candidates[0], Pipeline):
            return self.models
        found = [copy(candidate) for candidate in candidates]
        for pipeline, candidate, model in zip(found, candidates, self.models, strict=True):
            pipeline.steps = [*self.front_steps, (candidate.steps[-1][0], model)]
        return found


class _Remembered:
    """A transform that does not compute its last answer twice: candidates score the same rows."""

    def __init__(self, transform):
        self.transform = transform
        self.asked = self.answer = None

    def __call__(self, X, **params):
        if params:
            return self.transform(X, **params)
        if X is not self.asked:
            self.asked, self.answer = X, self.transform(X)
        return self.answer


def take(X, y, rows):
    """Some rows of X, and of y where there is one; None takes all."""
    given = [array for array in (X, y) if array is not None]
    return given if rows is None else [_safe_indexing(array, rows) for array in given]


def at_most(rows, X, most):
    """Numbers of the rows to fit on: `most` of some rows of X, drawn at random; None for all.

    Parameters
    ----------
    rows : ndarray of int or None
        None stands for all rows of X.
    X : array-like of shape (n_samples, ...)
    most : int or None
        None takes them all.
    """
    if most is None:
        return rows
    n_rows = _num_samples(X) if rows is None else len(rows)
    if n_rows <= most:
        return rows
    drawn = np.random.default_rng(0).choice(n_rows, most, replace=False, shuffle=False)
    return np.sort(drawn) if rows is None else rows[np.sort(drawn)]


def fit_folds(candidates, X, y, folds, fit_params=None, *, anomalies=None, whole_first=False):
    """Fit candidates in each fold, and generate the folds in their order.

    The earlier steps are fitted anew in each fold, once for all candidates; the last steps of all
    candidates and folds then train together, if they can. What fails is kept as an error.

    Parameters
    ----------
    candidates : list of estimators
        Pipelines that differ in the parameters of their last step alone, or estimators. They are
        not changed.
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,) or None
        Handed to the earlier steps.
    folds : list of ndarray of int
        The rows that each fold fits on, or as many of them as the `subsample` of a pipeline.
    fit_params : dict, default=None
        Handed to the earlier steps.
    anomalies : list of ndarray of int, default=None
        The labelled anomalies that each fold keeps below, by models with an `anomaly_weight`. The
        earlier steps see none of them.
    whole_first : bool, default=False
        Fit on all rows, too, and generate that first. The folds then warn of nothing.

    Yields
    ------
    fold : Fold
    """
    how = {"anomalies": anomalies, "whole_first": whole_first}
    for waiting in prepare_folds(candidates, X, y, folds, fit_params, **how):
        yield from fit_last(waiting)


def prepare_folds(candidates, X, y, folds, fit_params=None, *, anomalies=None, whole_first=False):
    """As `fit_folds`, which it leaves to be finished by `fit_last`: maybe with folds of other fits.

    Yields
    ------
    waiting : list of (Fold, array-like, ndarray of int or None, ndarray of int or None)
        Folds whose earlier steps are fitted, and what their last step trains on: an array, its
        rows, and those that are anomalies. As many at a time as memory should hold.
    """
    subsample = isinstance(candidates[0], Pipeline) and getattr(candidates[0], "subsample", None)
    asks = any(getattr(last_step(each), "anomaly_weight", 0) for each in candidates)
    labelled = anomalies if anomalies is not None and asks else [None] * len(folds)
    folds = [
        Fold(
            at_most(rows, X, subsample or None),
            below if below is not None and len(below) else None,
            is_quiet=whole_first,
        )
        for rows, below in zip(folds, labelled, strict=True)
    ]
    if whole_first:
        folds.insert(0, Fold(None, is_final=True))
    waiting, fit_params = [], fit_params or {}
    n_threads = n_at_once(candidates[0], X)
    for first in range(0, len(folds), n_threads):
        some = folds[first : first + n_threads]
        fronts = _fit_fronts(candidates[0], X, y, some, fit_params, n_threads)
        for fold, (*transformed, error) in zip(some, fronts, strict=True):
            if len(candidates) > 1:
                for _, step in fold.front_steps:
                    if hasattr(step, "transform"):
                        step.transform = _Remembered(step.transform)
            fold.models = [clone(last_step(candidate)) for candidate in candidates]
            if not fold.is_final:
                fold.models = [switched_off(model, "calibration") for model in fold.models]
            fold.errors = [error] * len(candidates)
            waiting.append((fold, *transformed))
        if _n_bytes(waiting) > WAITING_BYTES:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _n_bytes(waiting):
    """What folds hold while they wait; rows of an array that is there anyway are nothing."""
    return sum(getattr(Z, "nbytes", 0) for fold, Z, *_ in waiting if fold.front_steps)


def finished(fit):
    """What a fit returns that yields the folds it waits for; they are trained alone."""
    while True:
        try:
            fit_last(next(fit))
        except StopIteration as end:
            return end.value


def fit_side_by_side(estimator, arrays):
    """Fit a clone of an estimator to each of some arrays, each as it is fitted alone.

    What they have to train is trained together, as much at a time as memory should hold. Whatever
    fails before that, such as an array of one row, ends it all.

    Parameters
    ----------
    estimator : estimator
        It is not changed. One with a method `_fitting`, as a `OneClassPipeline`, says itself what
        it waits for.
    arrays : iterable of array-like

    Yields
    ------
    place : int
        Of the array.
    fitted : estimator or None
    error : Exception or None
        Why it is not fitted.
    """
    begun, waiting, n_bytes = [], [], 0
    for place, X in enumerate(arrays):
        fit = _fitting(estimator, X)
        with few_threads(X):
            folds, fitted, error = _advanced(fit)
        if error is not None:
            yield place, None, error
            return
        if fitted is not None:
            yield place, fitted, None
            continue
        begun.append((place, X, fit))
        waiting += folds
        n_bytes += getattr(X, "nbytes", 0) + _n_bytes(folds)
        if n_bytes > WAITING_BYTES:
            yield from _finished_together(begun, waiting)
            begun, waiting, n_bytes = [], [], 0
    yield from _finished_together(begun, waiting)


def _finished_together(begun, waiting):
    fit_last(waiting)
    for place, X, fit in begun:
        fitted = error = None
        with few_threads(X):
            while fitted is None and error is None:
                folds, fitted, error = _advanced(fit)
                fit_last(folds)
        yield place, fitted, error


def _advanced(fit):
    """The folds that a fit waits for next; else what it has fitted, or why it has not."""
    try:
        return next(fit), None, None
    except StopIteration as end:
        return [], end.value, None
    except Exception as error:
        return [], None, error


def _fitting(estimator, X):
    """Fit a clone; yield the folds that it waits for."""
    if hasattr(estimator, "_fitting"):
        fitted = clone(estimator)
        yield from fitted._fitting(X)
        return fitted
    if has_callbacks(estimator) or not hasattr(last_step(estimator), "fit_together"):
        return clone(estimator).fit(X)
    (waiting,) = prepare_folds([estimator], X, None, [], whole_first=True)
    yield waiting
    ((fold, *_),) = waiting
    if fold.errors[0] is not None:
        raise fold.errors[0]
    return fold.fitted([estimator])[0]


def fitted_by_folds(detector, X, folds, fit_params):
    """A detector fitted on the rows of each fold, with parameters of its fit if there are any."""
    if fit_params or getattr(detector, "outlier_share", 0):  # which a fit alone knows how to use
        return [
            clone(detector).fit(
                _safe_indexing(X, rows), **_check_method_params(X, fit_params, rows)
            )
            for rows in folds
        ]
    models = []
    for fold in fit_folds([detector], X, None, folds):
        if fold.errors[0] is not None:
            raise fold.errors[0]
        models.extend(fold.fitted([detector]))
    return models


def _fit_fronts(candidate, X, y, folds, fit_params, n_threads):
    """For each fold what its last step trains on, as of `prepare_folds`, and an error if any."""

    def fit_front(fold):
        start = time.perf_counter()
        try:
            with _quietly_if(fold.is_quiet):
                return *_fit_front(candidate, X, y, fold, fit_params), None
        except Exception as error:
            return None, None, None, error
        finally:
            fold.seconds = time.perf_counter() - start

    return list(each_at_once(fit_front, folds, n_threads))


def _fit_front(candidate, X, y, fold, fit_params):
    """What the last step trains on: an array, its rows, all if None, and its anomalies."""
    if not isinstance(candidate, Pipeline) or len(candidate.steps) == 1:
        return X, fold.rows, fold.anomalies
    front = clone(candidate)
    if not fold.is_final:
        front = switched_off(front, "calibration", "outlier_share")
    front.steps = front.steps[:-1]
    params = _check_method_params(X, fit_params, fold.rows)
    transformed = front.fit_transform(*take(X, y, fold.rows), **params)
    fold.front_steps = front.steps
    if fold.anomalies is None:
        return transformed, None, None
    below = front.transform(_safe_indexing(X, fold.anomalies))
    n_normal = _num_samples(transformed)
    every = np.arange(n_normal + len(fold.anomalies))
    return joined([transformed, below]), every[:n_normal], every[n_normal:]


def fit_last(waiting):
    """Fit the last steps of some folds that wait for it; the folds."""
    start = time.perf_counter()
    pending = [
        (fold, i, *transformed)
        for fold, *transformed in waiting
        for i, error in enumerate(fold.errors)
        if error is None
    ]
    models = [fold.models[i] for fold, i, *_ in pending]
    errors = fit_each(
        models,
        [Z for _, _, Z, _, _ in pending],
        [rows for *_, rows, _ in pending],
        [fold.is_quiet for fold, *_ in pending],
        [anomalies for *_, anomalies in pending],
    )
    for (fold, i, *_), error in zip(pending, errors, strict=True):
        fold.errors[i] = error
    for fold, *_ in waiting:
        fold.seconds += (time.perf_counter() - start) / len(waiting)
    return [fold for fold, *_ in waiting]


def fit_each(models, arrays, rows, quiet=None, anomalies=None):
    """Fit models, together if they can be; the error of each that cannot be fitted, or None.

    Parameters
    ----------
    models : list of unfitted estimators
    arrays : list of array-like
        What each trains on.
    rows : list of (ndarray of int or None)
        The rows of its array; None is all.
    quiet : list of bool, default=None
        Which do not warn; None is none of them.
    anomalies : list of (ndarray of int or None), default=None
        Rows of its array that are labelled anomalies; None is none of them.
    """
    if not models:
        return []
    quiet = [False] * len(models) if quiet is None else quiet
    anomalies = [None] * len(models) if anomalies is None else anomalies
    given = models, arrays, rows, quiet, anomalies
    try:
        fit_together(*given)
    except Exception as error:
        if len(models) == 1:
            return [error]
        half = len(models) // 2
        return [
            *fit_each(*(each[:half] for each in given)),
            *fit_each(*(each[half:] for each in given)),
        ]
    return [None] * len(models)


def fit_together(models, arrays, rows, quiet=None, anomalies=None):
    """Fit models of one class, by its method `fit_together` if it has one, else one by one."""
    quiet = [False] * len(models) if quiet is None else quiet
    if hasattr(models[0], "fit_together"):
        besides = {"quiet": quiet} if any(quiet) else {}
        if anomalies is not None and any(each is not None for each in anomalies):
            besides["anomalies"] = anomalies
        models[0].fit_together(models, arrays, rows, **besides)
        return
    for model, X, chosen, is_quiet in zip(models, arrays, rows, quiet, strict=True):
        with _quietly_if(is_quiet):
            model.fit(*take(X, None, chosen))


def _quietly_if(is_quiet):
    return quietly() if is_quiet else nullcontext()
