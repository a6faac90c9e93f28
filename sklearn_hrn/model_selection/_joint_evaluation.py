"""Training and scoring of the candidates of a search, together."""

import time
import traceback
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .._base import intact_after_failure
from .._sklearn import _check_method_params, _num_samples, _safe_indexing, _score
from .._training import fit_models


@dataclass(frozen=True)
class Settings:
    """What is the same for all candidates and folds."""

    scorers: object
    fit_params: dict
    score_params: dict
    return_train_score: bool
    error_score: object
    verbose: int


@dataclass
class _Fold:
    """The rows of a fold, and what is fitted on `fit_rows`."""

    fit_rows: np.ndarray
    train: np.ndarray
    test: np.ndarray
    front_steps: list = field(default_factory=list)
    columns: dict = field(default_factory=dict)
    models: list = field(default_factory=list)
    error: Exception | None = None
    errors: list = field(default_factory=list)
    seconds: float = 0.0


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


def last_step(estimator):
    """The last step of a pipeline; any other estimator as it is."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def take(X, y, rows):
    """Some rows of X, and of y where there is one."""
    return [_safe_indexing(array, rows) for array in (X, y) if array is not None]


def evaluate(estimators, X, y, splits, how):
    """Train the candidates of a group over some folds, together, and score them.

    `splits` are the rows of each fold: the normal ones to train on, those of the training part, and
    those of the test part. Returns a list of what `_format_results` takes, the candidates of the
    first fold first.
    """
    start = time.perf_counter()
    outcomes = []
    for rows, together in _joint_rows(estimators, X, y, splits, how.fit_params):
        _train(estimators, rows, together)
        for fold in together:
            outcomes.extend(_score_fold(estimators, X, y, fold, how))
    if how.verbose > 1:
        seconds = time.perf_counter() - start
        print(f"[HRN] {len(estimators)} candidates, {len(splits)} fold(s): {seconds:.1f} s")
    return outcomes


def _joint_rows(estimators, X, y, splits, fit_params):
    """Fit the earlier steps, and generate (rows, folds) to train together, the folds in order.

    The rows keep their numbers in X. Folds whose earlier steps disagree about a row that they have
    in common cannot share an array.
    """
    model = last_step(estimators[0])
    folds = (_Fold(*split) for split in splits)
    if not isinstance(estimators[0], Pipeline) or len(estimators[0].steps) == 1:
        folds = list(folds)
        yield _checked(model, X, folds), folds
        return
    shared, is_known, together = None, None, []
    for fold in folds:
        start = time.perf_counter()
        try:
            rows = _transformed(estimators[0], X, y, fold, fit_params)
            rows = _checked(model, rows, [fold])
        except Exception as error:
            fold.error = error
        fold.seconds = time.perf_counter() - start
        if fold.error is None:
            if shared is not None and not _agree(shared, is_known, rows, fold.fit_rows):
                yield shared, together
                shared, together = None, []
            if shared is None:
                shared = np.zeros((_num_samples(X), rows.shape[1]), rows.dtype)
                is_known = np.zeros(len(shared), dtype=bool)
            shared[fold.fit_rows] = rows
            is_known[fold.fit_rows] = True
        together.append(fold)
    yield shared, together


def _transformed(estimator, X, y, fold, fit_params):
    """What the earlier steps, fitted on the rows of a fold, make of them."""
    front = clone(estimator)
    front.steps = front.steps[:-1]
    params = _check_method_params(X, fit_params, fold.fit_rows)
    rows = front.fit_transform(*take(X, y, fold.fit_rows), **params)
    for _, step in front.steps:
        if hasattr(step, "transform"):
            step.transform = _Remembered(step.transform)
    fold.front_steps = front.steps
    return rows


def _checked(model, rows, folds):
    """Rows as the classifier takes them, and in the folds what it has learned of their columns."""
    model = clone(model)
    rows = model._validate_rows(rows, reset=True)
    for fold in folds:
        fold.columns = {name: value for name, value in vars(model).items() if name[-4:] == "_in_"}
    return rows


def _agree(shared, is_known, rows, numbers):
    """Whether rows are those that an array has under their numbers, wherever it has any."""
    common = is_known[numbers]
    return shared.dtype == rows.dtype and np.array_equal(shared[numbers[common]], rows[common])


def _train(estimators, rows, folds):
    """Fit a model for each candidate in each fold, or keep the error of those that fail."""
    start = time.perf_counter()
    pending = []
    for fold in folds:
        fold.models = [clone(last_step(estimator)) for estimator in estimators]
        fold.errors = [fold.error] * len(estimators)
        for i, model in enumerate(fold.models):
            vars(model).update(fold.columns)
            try:
                model._validate_params()
            except ValueError as error:
                fold.errors[i] = fold.errors[i] or error
            if fold.errors[i] is None:
                pending.append((fold, i))
    if not pending:
        return
    models = [fold.models[i] for fold, i in pending]
    errors = _fit_each(models, rows, [fold.fit_rows for fold, _ in pending])
    for (fold, i), error in zip(pending, errors, strict=True):
        fold.errors[i] = error
    for fold in folds:
        fold.seconds += (time.perf_counter() - start) / len(folds)


def _fit_each(models, X, subsets):
    """Fit models together; the error of each that cannot be fitted, or None."""
    try:
        with intact_after_failure(models):
            fit_models(models, X, subsets)
    except Exception as error:
        if len(models) == 1:
            return [error]
        half = len(models) // 2
        return [
            *_fit_each(models[:half], X, subsets[:half]),
            *_fit_each(models[half:], X, subsets[half:]),
        ]
    return [None] * len(models)


def _score_fold(estimators, X, y, fold, how):
    """What `_format_results` takes of each candidate in a fold."""

    outcomes = []
    for error in fold.errors:
        if error is not None and how.error_score == "raise":
            raise error
        message = None if error is None else "".join(traceback.format_exception(error))
        outcomes.append(
            {"fit_error": message, "fit_time": fold.seconds / len(estimators), "score_time": 0.0}
        )
    parts = {"test_scores": fold.test}
    if how.return_train_score:
        parts["train_scores"] = fold.train
    for part, rows in parts.items():
        X_part, y_part = (*take(X, y, rows), None)[:2]
        params = _check_method_params(X, how.score_params, rows)
        for estimator, model, outcome in zip(estimators, fold.models, outcomes, strict=True):
            if outcome["fit_error"] is not None:
                outcome[part] = how.error_score
                continue
            fitted = _fitted(estimator, model, fold)
            start = time.perf_counter()
            outcome[part] = _score(fitted, X_part, y_part, how.scorers, params, how.error_score)
            if part == "test_scores":
                outcome["score_time"] = time.perf_counter() - start
    return outcomes


def _fitted(estimator, model, fold):
    """A candidate as it stands after training in a fold."""
    if not isinstance(estimator, Pipeline):
        return model
    fitted = copy(estimator)
    fitted.steps = [*fold.front_steps, (estimator.steps[-1][0], model)]
    return fitted
