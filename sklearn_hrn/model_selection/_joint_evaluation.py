"""Training and scoring of the candidates of a search, together."""

import time
import traceback
from dataclasses import dataclass

import numpy as np

from .._joint_fit import fit_folds, take
from .._sklearn import _check_method_params, _score


@dataclass(frozen=True)
class Settings:
    """What is the same for all candidates and folds."""

    scorers: object
    fit_params: dict
    score_params: dict
    return_train_score: bool
    error_score: object
    verbose: int


def evaluate(estimators, X, y, splits, how):
    """Train the candidates of a group over some folds, together, and score them.

    `splits` are the rows of each fold: the normal ones to train on, those of the training part, the
    others of which an `anomaly_weight` keeps below, and those of the test part. Returns a list of
    what `_format_results` takes, the candidates of the first fold first.
    """
    start = time.perf_counter()
    outcomes = []
    normal = [rows for rows, _, _ in splits]
    below = [np.setdiff1d(train, rows) for rows, train, _ in splits]
    folds = fit_folds(estimators, X, y, normal, how.fit_params, anomalies=below)
    for fold, (_, train, test) in zip(folds, splits, strict=True):
        outcomes.extend(_score_fold(estimators, X, y, fold, train, test, how))
    if how.verbose > 1:
        seconds = time.perf_counter() - start
        print(f"[HRN] {len(estimators)} candidates, {len(splits)} fold(s): {seconds:.1f} s")
    return outcomes


def _score_fold(estimators, X, y, fold, train, test, how):
    """What `_format_results` takes of each candidate in a fold."""

    outcomes = []
    for error in fold.errors:
        if error is not None and how.error_score == "raise":
            raise error
        message = None if error is None else "".join(traceback.format_exception(error))
        outcomes.append(
            {
                "error": error,
                "fit_error": message,
                "fit_time": fold.seconds / len(estimators),
                "score_time": 0.0,
            }
        )
    parts = {"test_scores": test}
    if how.return_train_score:
        parts["train_scores"] = train
    for part, rows in parts.items():
        X_part, y_part = (*take(X, y, rows), None)[:2]
        params = _check_method_params(X, how.score_params, rows)
        for fitted, outcome in zip(fold.fitted(estimators), outcomes, strict=True):
            if outcome["fit_error"] is not None:
                outcome[part] = how.error_score
                continue
            start = time.perf_counter()
            outcome[part] = _score(fitted, X_part, y_part, how.scorers, params, how.error_score)
            if part == "test_scores":
                outcome["score_time"] = time.perf_counter() - start
    return outcomes
