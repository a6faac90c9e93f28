"""A grid search whose candidates train together."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches, indexable
from sklearn.utils.parallel import Parallel, delayed

from .._base import VersionedMixin, learning_on_copy
from .._calibration import SWITCHED_OFF, switched_on
from .._joint_fit import take
from .._labels import as_labels, inlier_mask, judged_labels, normal_rows
from .._refusals import refuse_lazy
from .._sklearn import (
    N_JOBS,
    StrOptions,
    _check_method_params,
    _fit_context,
    _insert_error_scores,
    _num_samples,
    _warn_or_raise_about_fit_failures,
)
from .._steps import last_step
from .._typing import Estimator, Rows, Splitter
from .._validation import draw_seeds
from ..exceptions import gathered, once_a_kind, warn
from ..one_class import HRNOneClassClassifier
from ..pipelines import OneClassPipeline
from ._joint_evaluation import Settings, evaluate
from ._scorer import shuffled_columns_score
from ._split import InlierKFold

# The values that the paper tries (its supplement searches one parameter after the other).
PAPER_GRID = {
    "reg_lambda": [i / 20 for i in range(21)],
    "reg_exponent": list(range(1, 21)),
}

# Networks trained in one go: of 784-100-1, with their velocities and copies, about a gigabyte.
MAX_NETWORKS = 1000


class HRNSearchCV(VersionedMixin, GridSearchCV):
    """Cross-validated search over parameters, used like `GridSearchCV`, that trains jointly.

    Candidates that differ in nothing but `reg_lambda`, `reg_exponent`, `learning_rate_init`,
    `anomaly_weight`, `max_iter`, `max_updates`, `tol`, `n_estimators` or `random_state` of the
    classifier train together, over all folds: they share matrix products, and with one seed
    batches. Of candidates that differ in `max_iter` or `max_updates` alone only the longest is
    trained. Other candidates are grouped by what they differ in. The earlier steps of a pipeline
    are fitted once a fold for all candidates in whose parameters they agree, and transform the rows
    they are scored on once.

    Rows with ``y == -1`` are left out of all training, before the first step of a pipeline and at
    the refit as well. Where a candidate has an `anomaly_weight`, its network keeps those of the
    training part below, as in a fit, and all of them at the refit; there have to be some, as by
    ``InlierKFold(train_anomalies=True)``, which a number of folds stands for then.

    Parameters
    ----------
    estimator : HRNOneClassClassifier or Pipeline
        The classifier, or a pipeline (:class:`~sklearn.pipeline.Pipeline`, `OneClassPipeline`) that
        ends in one. If its `random_state` is None, one seed is drawn for the whole search and the
        refit, so that candidates see the same batches.
    param_grid : dict, list of dict, or "paper"
        Names to lists of values, as for `GridSearchCV`. "paper" stands for the paper's values of
        the classifier: `reg_lambda` 0, 0.05, ..., 1 and `reg_exponent` 1, 2, ..., 20.
    strategy : {"grid", "coordinate"}, default="grid"
        "grid" tries all combinations. "coordinate" tries the values of one parameter after the
        other in the order of the dict: those before it at the best values found, those after it at
        the values of `estimator`. The paper's search is ``param_grid="paper"`` with
        ``strategy="coordinate"``: 41 candidates instead of 420.
    scoring : str, callable, list, tuple or dict, default=None
        As for `GridSearchCV`. Detectors have no `score` of their own: None means "roc_auc" where
        y marks anomalies, and else :func:`~sklearn_hrn.shuffled_columns_score`, which needs no
        labels. Named scorers compare with y; a callable ``scoring(estimator, X, y)`` may do
        without.
    n_jobs : int, default=None
        Groups and folds that train at a time, in processes of their own. None means 1 (unless in a
        :obj:`joblib.parallel_backend` context), where all folds of a group train together; torch
        then uses all threads where that helps. Keep it for one GPU.
    refit : bool, str or callable, default=True
        As for `GridSearchCV`: fit the best candidate on all normal rows; the metric by which it is
        the best if there are several; or a function of `cv_results_` that returns its index.
    cv : int, splitter or iterable, default=None
        None means :class:`~sklearn_hrn.InlierKFold` with five folds, an int the
        same with as many. All else is as for `GridSearchCV`.
    verbose : int, default=0
        1 prints the number of fits, 2 a line for each group as well. The progress of the training
        itself is the classifier's `verbose`.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs handed to the processes at a time.
    error_score : "raise" or float, default=nan
        Score of a candidate that cannot be fitted in a fold, after a warning. The candidates it
        trained with are not affected. If all fail, a ValueError is raised.
    return_train_score : bool, default=False
        Score the training rows of each fold, too.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        As for `GridSearchCV`, one row a candidate in the order they were tried. A fit time is an
        equal share of the time of those that trained together.
    best_estimator_ : estimator
        The best candidate, fitted on all normal rows. Only if `refit` is not False.
    best_score_ : float
        Its mean score over the folds. Only if there is one metric, or `refit` names one.
    best_params_ : dict
        Its parameters. Only if there is one metric or `refit` is not False.
    best_index_ : int
        Its row in `cv_results_`. Only if there is one metric or `refit` is not False.
    scorer_ : callable or dict of str to callable
        What scored the candidates.
    offset_ : float
        Threshold of the best estimator. Only if `refit` is not False.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the refit. Only if `refit` is not False.
    multimetric_ : bool
        Whether there are several metrics.
    n_features_in_ : int
        Features seen in `fit`. Only if `refit` is not False.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Only if `refit` is not False and X had names that are all strings.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : One fit after the other, of any estimator.
    InlierKFold : The folds.

    Notes
    -----
    Scores are those of `GridSearchCV` up to float32 rounding, of candidates without the
    `calibration` and the `outlier_share` that the refit has again. Folds in which the earlier steps
    of a pipeline map the rows in common to the same values (instance normalisation does) train
    together; the others train fold by fold. scikit-learn's callbacks are not called.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_hrn import HRNSearchCV, make_hrn_pipeline
    >>> X, digit = load_digits(return_X_y=True)
    >>> y = np.where(digit == 0, 1, -1)
    >>> detector = make_hrn_pipeline("paper", random_state=0)
    >>> grid = {"hrn__reg_lambda": [0.01, 0.1], "hrn__max_iter": [5, 20]}
    >>> search = HRNSearchCV(detector, grid, cv=3).fit(X, y)
    >>> len(search.cv_results_["mean_test_score"])
    4
    >>> bool(search.best_score_ > 0.9)
    True
    """

    cv_results_: dict[str, Any]
    best_estimator_: Any
    best_score_: float
    best_params_: dict[str, Any]
    best_index_: int
    scorer_: Any
    n_splits_: int
    refit_time_: float
    multimetric_: bool
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints: ClassVar[dict] = {
        **GridSearchCV._parameter_constraints,
        "param_grid": [dict, list, StrOptions({"paper"})],
        "strategy": [StrOptions({"grid", "coordinate"})],
        "n_jobs": [N_JOBS, None],
    }

    def __init__(
        self,
        estimator: Estimator,
        param_grid: Mapping[str, Sequence[Any]]
        | Sequence[Mapping[str, Sequence[Any]]]
        | Literal["paper"],
        *,
        strategy: Literal["grid", "coordinate"] = "grid",
        scoring: str | Callable[..., Any] | Sequence[str] | Mapping[str, Any] | None = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        cv: int | Splitter | Iterable[Any] | None = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Literal["raise"] | float = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.strategy = strategy

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Rows, y: ArrayLike | None = None, **params: Any) -> Self:
        """Try all candidates, and fit the best one on all normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Whatever the estimator takes.
        y : array-like of shape (n_samples,), default=None
            +1 for normal rows, -1 for anomalies, which are scored and never trained on.
        **params : dict
            Passed to the `fit` of the estimator, the splitter and the scorers as by `GridSearchCV`;
            values given by row are split like X.

        Returns
        -------
        self : HRNSearchCV

        Raises
        ------
        TypeError
            If the estimator does not end in an HRNOneClassClassifier.
        ValueError
            If a scorer needs labels and y has none, if no candidate can be fitted, or if the mean
            score of every candidate is NaN, so that none is the best.
        """
        _model(self.estimator)
        refuse_lazy(X)
        needs_labels = self._check_labels(y)
        scorers, metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        normal = normal_rows(X, y, self)
        if y is not None and np.asarray(y).dtype == object:  # of which a scorer has no use
            y = as_labels(y)
            if needs_labels and normal is not None:
                inlier_mask(X, y)
        if self.scoring is None:
            needs_labels = normal is not None
            scorers = scorers if needs_labels else shuffled_columns_score
        # A callable may make of y what it likes; a named scorer takes +1 and -1 by their word.
        labels = y if needs_labels else _inlier_labels(X, normal)
        folds = self._folds(X, y, labels, normal, routed.splitter.split)
        how = Settings(
            scorers,
            routed.estimator.fit,
            routed.scorer.score,
            self.return_train_score,
            self.error_score,
            self.verbose,
        )
        seed = cache(lambda: int(draw_seeds(None, 1)[0]))
        tried, outcomes, results = [], [], {}

        def evaluate_candidates(candidates):
            nonlocal results
            candidates = list(candidates)
            if self.verbose > 0:
                print(
                    f"Fitting {len(folds)} folds for each of {len(candidates)} candidates, "
                    f"totalling {len(candidates) * len(folds)} fits"
                )
            estimators = [_candidate(self.estimator, params, seed) for params in candidates]
            self._check_switches(estimators, candidates, scorers)
            if normal is not None and any(_model(e).anomaly_weight for e in estimators):
                self._check_anomalies(estimators, folds)
            outcomes.extend(self._outcomes(estimators, candidates, X, y, folds, how))
            tried.extend(candidates)
            results = self._format_results(tried, len(folds), outcomes)
            return results

        with once_a_kind(), judged_labels():
            self._run_search(evaluate_candidates)
            # Scorers given by several names stand in a dict.
            fitted = {
                "cv_results_": results,
                "n_splits_": len(folds),
                "scorer_": getattr(scorers, "_scorers", scorers),
                **self._choice(results, outcomes[0]["test_scores"], metric, normal is not None),
            }
            if self.refit:
                start = time.time()
                best = _candidate(self.estimator, fitted["best_params_"], seed)
                _fit_normal(best, X, y, normal, how.fit_params)
                fitted |= {"refit_time_": time.time() - start, "best_estimator_": best}
                if hasattr(best, "feature_names_in_"):
                    fitted["feature_names_in_"] = best.feature_names_in_
        with learning_on_copy(self) as learner:
            vars(learner).update(fitted)
        return self

    @property
    def offset_(self) -> float:
        """Threshold of the best estimator."""
        best = self.best_estimator_
        return (best if hasattr(best, "offset_") else last_step(best)).offset_

    def _get_scorers(self):
        if self.scoring is not None:
            return super()._get_scorers()
        return get_scorer("roc_auc"), "score"

    def _check_labels(self, y):
        """Refuse named scorers without labels; whether y must be +1 and -1."""
        scoring = self.scoring
        several = scoring.values() if isinstance(scoring, dict) else scoring
        named = [scoring] if isinstance(scoring, str) or not np.iterable(scoring) else several
        needs_labels = any(isinstance(scorer, str) for scorer in named)
        if y is None and needs_labels:
            raise ValueError(
                f"scoring={scoring!r} requires y to be passed, but the target y is None: give +1 "
                "for normal rows and -1 for anomalies, or scoring=None, or a callable "
                "scoring(estimator, X, y) that needs no labels."
            )
        return needs_labels

    def _folds(self, X, y, labels, normal, split_params):
        """The rows of each fold: the normal ones to train on, the training part, the test part."""
        cv = 5 if self.cv is None else self.cv
        if isinstance(cv, Integral):
            cv, y = InlierKFold(cv, train_anomalies=self._may_keep_anomalies_below()), labels
        every = np.arange(_num_samples(X))
        normal = every if normal is None else normal
        is_splitter = hasattr(cv, "split")
        try:
            pairs = check_cv(cv, y).split(X, y, **split_params)
            folds = [(every[train], every[test]) for train, test in pairs]
        except (TypeError, IndexError, ValueError) as error:
            if is_splitter and isinstance(error, ValueError):
                raise  # which says what is wrong
            raise ValueError(
                f"cv={self.cv!r} gives no folds of these rows ({error}): give a number of folds, a "
                "splitter, or pairs of the rows to train and those to test on."
            ) from error
        if not folds:
            raise ValueError(f"cv={self.cv!r} gives no folds: at least one is needed.")
        return [(train[np.isin(train, normal)], train, test) for train, test in folds]

    def _may_keep_anomalies_below(self):
        """Whether the estimator has, or a candidate may get, an `anomaly_weight`."""
        grids = self.param_grid if isinstance(self.param_grid, list | tuple) else [self.param_grid]
        name = f"{_prefix(self.estimator)}anomaly_weight"
        in_grid = any(isinstance(grid, dict) and name in grid for grid in grids)
        return in_grid or _model(self.estimator).anomaly_weight > 0

    def _run_search(self, evaluate_candidates):
        """Call `evaluate_candidates` with lists of parameters; it returns the results so far."""
        grid = self.param_grid
        if isinstance(grid, str):
            prefix = _prefix(self.estimator)
            grid = {prefix + name: values for name, values in PAPER_GRID.items()}
        try:
            all_candidates = ParameterGrid(grid)
        except (TypeError, ValueError) as error:
            raise type(error)(f"param_grid={grid!r} is not allowed: {error}") from error
        if not len(all_candidates):
            raise ValueError(f"param_grid={grid!r} holds no candidate: give at least one.")
        if any(not isinstance(name, str) for grid in all_candidates.param_grid for name in grid):
            raise ValueError(f"param_grid={grid!r} must have names of parameters for its keys.")
        if self.strategy == "grid":
            evaluate_candidates(all_candidates)
            return
        if not isinstance(grid, dict):
            raise ValueError(
                "strategy='coordinate' searches the parameters of one dict in their order, but "
                "param_grid is a list: give a dict, or strategy='grid'."
            )
        for name, values in grid.items():
            _candidate(self.estimator, {name: values[0]}, lambda: 0)  # which knows the names
        given = self.estimator.get_params()
        best = {name: given[name] for name in grid if name in given}
        for name, values in grid.items():
            results = evaluate_candidates([{**best, name: value} for value in values])
            metric = self.refit if f"rank_test_{self.refit}" in results else "score"
            if f"rank_test_{metric}" not in results and not callable(self.refit):
                raise ValueError(
                    "strategy='coordinate' with several metrics needs refit to name the one by "
                    f"which a value is the best, but refit={self.refit!r}."
                )
            best = results["params"][self._select_best_index(self.refit, metric, results)]

    def _choice(self, results, score, metric, has_anomalies):
        """The attributes that name the best candidate, if there is one."""
        choice = {"multimetric_": isinstance(score, dict)}
        if callable(self.scoring) and choice["multimetric_"]:
            self._check_refit_for_multimetric(score)
            metric = self.refit
        scores = results.get(f"mean_test_{metric}")
        if not callable(self.refit) and scores is not None and np.isnan(scores).all():
            raise ValueError(
                f"the mean score of every candidate is NaN (scoring={self.scoring!r}), so none is "
                "the best. "
                + (
                    "The warnings before say which fit or scorer failed."
                    if has_anomalies or self.scoring is None
                    else "y marks no anomalies, without which most scores have no value; the "
                    "training part of an outer cross-validation by InlierKFold holds none. "
                    "scoring=None needs no labels."
                )
            )
        if self.refit or not choice["multimetric_"]:
            best = choice["best_index_"] = self._select_best_index(self.refit, metric, results)
            choice["best_params_"] = results["params"][best]
            if not callable(self.refit):
                choice["best_score_"] = results[f"mean_test_{metric}"][best]
        return choice

    def _check_anomalies(self, estimators, folds):
        """Refuse an `anomaly_weight` that no anomaly serves, or that earlier steps would see."""
        if all(len(train) == len(normal) for normal, train, _ in folds):
            raise ValueError(
                "anomaly_weight keeps labelled anomalies of the training parts below, but "
                f"cv={self.cv!r} has none there: give InlierKFold(train_anomalies=True), or a "
                "number of folds."
            )
        if any(isinstance(e, Pipeline) and not isinstance(e, OneClassPipeline) for e in estimators):
            raise TypeError(
                "anomaly_weight needs a pipeline whose earlier steps see no anomaly: give "
                "OneClassPipeline(steps) in place of Pipeline(steps)."
            )

    def _check_switches(self, estimators, candidates, scorers):
        """Refuse to compare what candidates are tried without, and doubt scorers that need it."""
        on = {name for estimator in estimators for name in switched_on(estimator, *SWITCHED_OFF)}
        for name in sorted(on):
            if len({repr(params.get(name)) for params in candidates}) > 1:
                raise ValueError(
                    f"candidates differ in {name}, but HRNSearchCV tries them without it, so that "
                    "all would score alike: GridSearchCV(estimator, param_grid, "
                    "cv=InlierKFold(5), scoring=...) tries them with it."
                )
        asked = getattr(scorers, "_scorers", {"score": scorers}).values()
        by_threshold = any(getattr(scorer, "_response_method", "") == "predict" for scorer in asked)
        if by_threshold and any(name.endswith("calibration") for name in on):
            warn(
                f"scoring={self.scoring!r} judges what predict answers, but candidates are tried "
                "without calibration, by thresholds of the rows that trained them: GridSearchCV "
                "tries them with it; roc_auc and average_precision need no threshold.",
                UserWarning,
            )

    def _outcomes(self, estimators, candidates, X, y, folds, how):
        """A list of what `_format_results` takes, the folds of the first candidate first."""

        groups = defaultdict(list)
        for i, (estimator, params) in enumerate(zip(estimators, candidates, strict=True)):
            groups[_group(estimator, params)].append(i)
        numbers = list(range(len(folds)))
        parts = [numbers] if effective_n_jobs(self.n_jobs) == 1 else [[k] for k in numbers]
        jobs = []
        for group in groups.values():
            networks = len(parts[0]) * max(_model(estimators[i]).n_estimators for i in group)
            for batch in gen_batches(len(group), max(1, MAX_NETWORKS // networks)):
                jobs.extend((group[batch], part) for part in parts)
        done = Parallel(n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch)(
            delayed(_evaluated)([estimators[i] for i in group], X, y, [folds[k] for k in part], how)
            for group, part in jobs
        )
        of = {}
        for (group, part), (outcomes, told) in zip(jobs, done, strict=True):
            for message, category in told:
                warn(message, category)
            of.update(zip([(i, k) for k in part for i in group], outcomes, strict=True))
        outcomes = [of[i, k] for i in range(len(candidates)) for k in numbers]
        errors = [outcome.pop("error") for outcome in outcomes]
        if all(errors) and len(set(map(repr, errors))) == 1:
            raise errors[0]  # what is wrong is not the candidates
        _warn_or_raise_about_fit_failures(outcomes, self.error_score)
        _insert_error_scores(outcomes, self.error_score)
        return outcomes


def _model(estimator):
    """The classifier at the end of an estimator."""
    last = last_step(estimator)
    if not isinstance(last, HRNOneClassClassifier):
        raise TypeError(
            "HRNSearchCV takes an HRNOneClassClassifier, or a pipeline that ends in one, but was "
            f"given {estimator!r}; GridSearchCV(estimator, param_grid, cv=InlierKFold(5), "
            'scoring="roc_auc") takes any detector.'
        )
    return last


def _inlier_labels(X, normal):
    """+1 for the normal rows and -1 for the others; None if all are normal."""
    if normal is None:
        return None
    labels = np.full(_num_samples(X), -1)
    labels[normal] = 1
    return labels


def _prefix(estimator):
    """What the parameters of the classifier begin with."""
    return f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""


def _candidate(estimator, params, seed):
    """An unfitted estimator with the parameters of a candidate; `seed()` gives a missing seed."""
    # Parameters can be estimators themselves.
    candidate = clone(estimator).set_params(**clone(params, safe=False))
    model = _model(candidate)
    if model.random_state is None:
        model.set_params(random_state=seed())
    return candidate


def _group(estimator, params):
    """A key that is equal for candidates whose earlier steps are."""
    prefix = _prefix(estimator)
    last = prefix.removesuffix("__")

    def identity(value):
        try:
            hash(value)
        except TypeError:
            return id(value)
        return type(value), value

    return frozenset(
        (name, identity(value))
        for name, value in params.items()
        if name != last and not name.startswith(prefix)
    )


def _evaluated(*arguments):
    """What `evaluate` returns, and the warnings given: a process of its own knows no caller."""
    with judged_labels(), gathered() as told:
        return evaluate(*arguments), told


def _fit_normal(estimator, X, y, normal, fit_params):
    """Fit on the normal rows; what drops the others by itself is handed all, and need not copy.

    So is what keeps the others below.
    """
    drops_others = not isinstance(estimator, Pipeline) or _model(estimator).anomaly_weight > 0
    if normal is None or drops_others:
        estimator.fit(X, y, **fit_params)
        return
    estimator.fit(*take(X, y, normal), **_check_method_params(X, fit_params, normal))
