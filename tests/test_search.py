"""The search that trains its candidates together, against one fit after the other."""

import time
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sklearn_hrn import (
    HRNOneClassClassifier,
    InlierKFold,
    InstanceL2Normalizer,
    OneClassPipeline,
    shuffled_columns_score,
)
from sklearn_hrn.core.training import Trainer
from sklearn_hrn.exceptions import DominantColumnWarning, LabelConventionWarning
from sklearn_hrn.model_selection._search import PAPER_GRID, HRNSearchCV, _group

# AUC moves in steps of one pair, and float32 rounding may swap a few; the best is compared by rank.
SAME_SCORE = 1e-3


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture
def rows(digits):
    """80 eights and 60 other digits, of length one, in mixed order."""
    X, digit = digits
    y = np.where(digit == 8, 1, -1)
    chosen = np.sort(np.r_[np.flatnonzero(y == 1)[:80], np.flatnonzero(y == -1)[:60]])
    X = X[chosen]
    return X / np.linalg.norm(X, axis=1, keepdims=True), y[chosen]


class Counting(TransformerMixin, BaseEstimator):
    """Passes rows on, and counts."""

    fits, transforms, seen = 0, 0, ()

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y=None, sample_weight=None):
        Counting.fits += 1
        Counting.seen = (*Counting.seen, (len(X), None if y is None else set(np.unique(y))))
        Counting.weights = sample_weight
        self.fitted_ = True
        return self

    def transform(self, X):
        Counting.transforms += 1
        return X + self.shift


@pytest.fixture
def counting():
    Counting.fits, Counting.transforms, Counting.seen, Counting.weights = 0, 0, (), None
    return Counting


def hrn(**parameters):
    """A short fit in which the penalty counts."""
    few = {"max_iter": 8, "batch_size": 10, "reg_exponent": 4, "hidden_layer_sizes": (20,)}
    return HRNOneClassClassifier(**{**few, "random_state": 0, **parameters})


def fit_all(models, X):
    HRNOneClassClassifier.fit_together(models, [X] * len(models), [None] * len(models))


def mean_score(estimator, X, y=None):
    """A scorer that needs no labels."""
    return float(estimator.score_samples(X).mean())


def assert_same_search(estimator, grid, X, y, cv=None, **parameters):
    """Keys, shapes, scores and choice of `GridSearchCV`; returns our search."""
    cv = InlierKFold(2) if cv is None else cv
    parameters = {"scoring": "roc_auc", **parameters}
    theirs = GridSearchCV(clone(estimator), grid, cv=cv, **parameters).fit(X, y)
    ours = HRNSearchCV(clone(estimator), grid, cv=cv, **parameters).fit(X, y)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for key, column in theirs.cv_results_.items():
        mine = ours.cv_results_[key]
        assert np.shape(mine) == np.shape(column)
        assert getattr(mine, "dtype", None) == getattr(column, "dtype", None)
        if key.startswith(("split", "mean_t")):
            np.testing.assert_allclose(mine, column, atol=SAME_SCORE)
    np.testing.assert_array_equal(
        np.argmax(ours.cv_results_[_mean(ours)]), np.argmax(theirs.cv_results_[_mean(theirs)])
    )
    for name in vars(theirs).keys() - vars(ours).keys():
        assert name.startswith("_"), f"{name} is missing"
    return ours


def _mean(search):
    return "mean_test_score" if "mean_test_score" in search.cv_results_ else "mean_test_roc_auc"


@pytest.mark.parametrize(
    "grid",
    [
        {"reg_lambda": [0.05, 0.1, 0.5], "reg_exponent": [2, 12]},
        {"learning_rate_init": [0.05, 0.1], "max_iter": [3, 9], "random_state": [0, 1]},
        [{"hidden_layer_sizes": [[10], [20, 5]]}, {"batch_size": [20], "tol": [0, 0.1]}],
        {"n_estimators": [1, 3], "max_iter": [4, 8], "regularizer": ["h", "l2", None]},
        {"max_updates": [None, 7], "contamination": [0.01, 0.1], "loss": ["nll", "square"]},
    ],
)
def test_scores_and_choice_are_those_of_a_grid_search(rows, grid):
    search = assert_same_search(hrn(), grid, *rows)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0


@pytest.mark.parametrize("pipeline", [Pipeline, OneClassPipeline])
def test_pipelines_are_searched_like_a_grid_search_does(rows, pipeline):
    steps = [("scale", StandardScaler()), ("norm", InstanceL2Normalizer()), ("hrn", hrn())]
    grid = {
        "hrn__reg_lambda": [0.1, 0.5],
        "norm__center": [None, "before"],
        "scale": ["passthrough", PCA(5, random_state=0)],
    }
    search = assert_same_search(pipeline(steps), grid, *rows)
    assert type(search.best_estimator_) is pipeline


def test_several_metrics_and_training_scores_are_those_of_a_grid_search(rows):
    X, y = rows
    metrics = {"roc_auc": "roc_auc", "mean": mean_score}
    search = assert_same_search(
        hrn(),
        {"reg_lambda": [0.1, 0.5], "max_iter": [2, 9]},
        X,
        y,
        cv=ShuffleSplit(2, random_state=0),
        scoring=metrics,
        refit="roc_auc",
        return_train_score=True,
    )
    assert search.multimetric_ and set(search.scorer_) == set(metrics)
    assert search.score(X, y) == pytest.approx(search.scorer_["roc_auc"](search, X, y))


def test_a_scorer_that_returns_a_dict_makes_several_metrics(rows):
    def scores(estimator, X, y):
        return {"a": mean_score(estimator, X), "b": -mean_score(estimator, X)}

    grid = {"reg_lambda": [0.1, 0.5]}
    best = {
        metric: HRNSearchCV(hrn(), grid, cv=3, scoring=scores, refit=metric).fit(*rows).best_index_
        for metric in "ab"
    }
    assert sorted(best.values()) == [0, 1]
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        HRNSearchCV(hrn(), grid, cv=3, scoring=scores).fit(*rows)


def test_refit_can_be_a_function_or_left_out(rows):
    grid = {"reg_lambda": [0.1, 0.5, 0.9]}
    chosen = HRNSearchCV(hrn(), grid, cv=3, refit=lambda results: 2).fit(*rows)
    assert chosen.best_index_ == 2 and chosen.best_params_ == {"reg_lambda": 0.9}
    assert chosen.best_estimator_.reg_lambda == 0.9 and not hasattr(chosen, "best_score_")
    scored = HRNSearchCV(hrn(), grid, cv=3, refit=False).fit(*rows)
    assert scored.best_score_ == scored.cv_results_["mean_test_score"].max()
    assert not hasattr(scored, "best_estimator_") and not hasattr(scored, "predict")


def test_candidates_that_differ_in_the_penalty_train_in_one_go_over_all_folds(rows, loops):
    grid = {"reg_lambda": [0.1, 0.5], "max_iter": [2, 4], "tol": [0, 0.1], "random_state": [0, 1]}
    HRNSearchCV(hrn(), grid, cv=3, refit=False).fit(*rows)
    assert loops == [8 * 3]  # of the two lengths the longer


def test_the_times_of_candidates_that_train_together_are_equal_shares(rows):
    X, y = rows

    def slow(estimator, X, y):
        time.sleep(0.002)
        return 0.0

    start = time.perf_counter()
    search = HRNSearchCV(hrn(), {"reg_lambda": [0.1, 0.5]}, cv=3, scoring=slow).fit(X, y)
    results, seconds = search.cv_results_, time.perf_counter() - start
    assert results["mean_fit_time"][0] == results["mean_fit_time"][1] > 0
    assert (results["mean_score_time"] >= 0.002).all()
    assert search.refit_time_ + 3 * results["mean_fit_time"].sum() < seconds


def test_values_that_are_equal_and_of_two_types_are_not_taken_for_one():
    groups = [
        _group(make_pipeline(PCA(), hrn()), {"pca__n_components": value})
        for value in (1, 1.0, True, 1)
    ]
    assert len(set(groups)) == 3 and groups[0] == groups[3]


def test_candidates_that_differ_in_the_network_train_apart(rows, loops):
    grid = {"reg_lambda": [0.1, 0.5], "hidden_layer_sizes": [[5], [9]], "momentum": [0, 0.5]}
    HRNSearchCV(hrn(), grid, cv=3, refit=False).fit(*rows)
    assert loops == [2 * 3] * 4


def test_folds_train_together_while_their_rows_have_room(rows, loops, monkeypatch):
    grid = {"hrnoneclassclassifier__reg_lambda": [0.1, 0.5]}
    search = HRNSearchCV(make_pipeline(StandardScaler(), hrn()), grid, cv=3, refit=False)
    together = search.fit(*rows).cv_results_["mean_test_score"]
    assert loops == [2 * 3]
    loops.clear()
    monkeypatch.setattr("sklearn_hrn._joint_fit.WAITING_BYTES", 0)
    apart = search.fit(*rows).cv_results_["mean_test_score"]
    assert loops == [2, 2, 2]
    np.testing.assert_allclose(together, apart, atol=SAME_SCORE)


def test_more_networks_than_fit_into_memory_are_trained_in_batches(rows, loops, monkeypatch):
    monkeypatch.setattr("sklearn_hrn.model_selection._search.MAX_NETWORKS", 12)
    grid = {"reg_lambda": [0.1, 0.2, 0.3]}
    HRNSearchCV(hrn(n_estimators=2), grid, cv=3, refit=False).fit(*rows)
    assert loops == [2 * 2 * 3, 2 * 1 * 3]


def test_earlier_steps_are_fitted_and_asked_once_a_fold_and_group(rows, counting):
    pipeline = Pipeline([("count", Counting()), ("hrn", hrn())])
    grid = {"hrn__reg_lambda": [0.1, 0.2, 0.3], "count__shift": [0.0, 0.01]}
    HRNSearchCV(pipeline, grid, cv=3, refit=False, scoring=["roc_auc", "average_precision"]).fit(
        *rows
    )
    assert counting.fits == 2 * 3
    assert counting.transforms == 2 * 3 * 2  # the training rows and the test rows


def test_no_step_sees_an_anomaly_while_it_is_fitted(rows, counting):
    X, y = rows
    pipeline = Pipeline([("count", Counting()), ("hrn", hrn())])
    folds = KFold(2, shuffle=True, random_state=0)
    HRNSearchCV(pipeline, {"hrn__reg_lambda": [0.1]}, cv=folds).fit(X, y)
    expected = [int((y[train] == 1).sum()) for train, _ in folds.split(X)]
    assert list(counting.seen) == [(n, {1}) for n in [*expected, (y == 1).sum()]]


def test_the_refit_is_a_fit_of_the_best_candidate_on_the_normal_rows(rows):
    X, y = rows
    search = HRNSearchCV(
        make_pipeline(StandardScaler(), hrn()), {"hrnoneclassclassifier__max_iter": [2, 6]}, cv=3
    ).fit(X, y)
    again = clone(search.best_estimator_).fit(X[y == 1])
    np.testing.assert_array_equal(search.score_samples(X), again.score_samples(X))
    np.testing.assert_array_equal(search.predict(X), again.predict(X))
    assert search.offset_ == again[-1].offset_
    np.testing.assert_array_equal(
        search.decision_function(X), search.score_samples(X) - search.offset_
    )


def test_the_threshold_is_that_of_the_calibration_of_the_refit(rows):
    X, y = rows
    calibrated = OneClassPipeline([("hrn", hrn())], calibration=2)
    search = HRNSearchCV(calibrated, {"hrn__reg_lambda": [0.1]}, cv=2).fit(X, y)
    decision = search.decision_function(X)
    np.testing.assert_array_equal(decision, search.score_samples(X) - search.offset_)


def test_lengths_of_one_path_are_trained_once_and_end_where_a_fit_alone_ends(rows, monkeypatch):
    X, _ = rows
    n_rows = []
    run = Trainer.run

    def counted(self, n_updates, after_round):
        def count(n, n_halvings):
            n_rows.append(n)
            after_round(n, n_halvings)

        run(self, n_updates, count)

    lengths = [4, 9, 1, 9]
    alone = [hrn(max_iter=n, batch_size=100, tol=1e-9).fit(X) for n in lengths]
    together = [clone(model) for model in alone]
    monkeypatch.setattr(Trainer, "run", counted)
    fit_all(together, X)
    # Updates are full batches, so that nine epochs of 140 rows are 13 updates of 100 rows.
    assert sum(n_rows) == alone[1].n_updates_ * 100 == 1300
    for model, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])
        assert (model.n_iter_, model.n_updates_) == (other.n_iter_, other.n_updates_)
        for name in model.history_:
            np.testing.assert_array_equal(model.history_[name], other.history_[name])


def test_numbers_of_updates_of_one_path_are_trained_once_whatever_epochs_they_cut(rows, loops):
    X, _ = rows
    # Of 140 rows in batches of 10, an epoch is 14 updates: 3 and 17 end within one.
    settings = [(None, 5), (3, 8), (28, 8), (17, 8), (None, 2), (40, 8)]
    alone = [hrn(max_updates=n, max_iter=m, n_estimators=2).fit(X) for n, m in settings]
    together = [clone(model) for model in alone]
    loops.clear()
    fit_all(together, X)
    assert loops == [4]  # two seeds, each by epochs and by updates
    for model, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])
        assert (model.n_iter_, model.n_updates_) == (other.n_iter_, other.n_updates_)
        for name in model.history_:
            # Means of float64, of an epoch in one piece and in two.
            np.testing.assert_allclose(model.history_[name], other.history_[name], rtol=1e-12)


def test_a_stop_on_the_plateau_is_the_same_on_both_sides_of_a_length(rows):
    X, _ = rows
    # Of 140 rows in batches of 10, four epochs make a round.
    tolerances, lengths = [0.0, 0.05, 0.5], [7, 8, 9, 60]
    models = [hrn(tol=t, max_iter=n) for t in tolerances for n in lengths]
    alone = [clone(model).fit(X) for model in models]
    fit_all(models, X)
    assert len({model.n_iter_ for model in alone if model.max_iter == 60}) == 3
    for model, other in zip(models, alone, strict=True):
        assert model.n_iter_ == other.n_iter_
        # float32 rounding of other batch shapes, grown over some fifty updates
        np.testing.assert_allclose(model.history_["loss"], other.history_["loss"], rtol=1e-3)


def test_a_trained_length_can_be_continued(rows):
    X, _ = rows
    models = [hrn(max_iter=n, warm_start=True) for n in (3, 8)]
    fit_all(models, X)
    models[0].set_params(max_iter=5).fit(X)
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_the_papers_search_tries_41_settings_in_one_call(rows):
    search = HRNSearchCV(hrn(max_iter=1), "paper", strategy="coordinate", cv=2).fit(*rows)
    lambdas, exponents = (
        np.array([p[name] for p in search.cv_results_["params"]])
        for name in ("reg_lambda", "reg_exponent")
    )
    np.testing.assert_allclose(lambdas[:21], np.arange(21) * 0.05, atol=1e-12)  # rounding of 0.05
    assert (exponents[:21] == 4).all()
    np.testing.assert_array_equal(exponents[21:], np.arange(1, 21))
    best = lambdas[search.cv_results_["mean_test_score"][:21].argmax()]
    assert (lambdas[21:] == best).all()
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_the_papers_values_reach_the_classifier_of_a_pipeline(rows, monkeypatch):
    monkeypatch.setitem(PAPER_GRID, "reg_lambda", [0.1, 0.2])
    monkeypatch.setitem(PAPER_GRID, "reg_exponent", [4, 12])
    search = HRNSearchCV(make_pipeline(InstanceL2Normalizer(), hrn()), "paper", cv=2).fit(*rows)
    assert len(search.cv_results_["params"]) == 4
    assert set(search.best_params_) == {
        "hrnoneclassclassifier__reg_lambda",
        "hrnoneclassclassifier__reg_exponent",
    }


def test_a_coordinate_search_keeps_the_best_value_so_far(rows):
    grid = {"reg_lambda": [0.2, 0.9], "max_iter": [1, 12], "batch_size": [10, 50]}
    search = HRNSearchCV(hrn(max_iter=12), grid, strategy="coordinate", cv=3, scoring=mean_score)
    results = search.fit(*rows).cv_results_
    assert len(results["params"]) == 6
    stages = [results["params"][:2], results["params"][2:4], results["params"][4:]]
    assert [{p["max_iter"] for p in stage} for stage in stages[:2]] == [{12}, {1, 12}]
    for n, stage in zip((2, 4), stages[1:], strict=True):
        best = results["params"][int(np.argmax(results["mean_test_score"][:n]))]
        assert all(p["reg_lambda"] == best["reg_lambda"] for p in stage)


def test_without_a_random_state_one_seed_serves_all_candidates_and_the_refit(rows):
    X, y = rows
    grid = {"reg_lambda": [0.1, 0.1], "max_iter": [3]}
    search = HRNSearchCV(hrn(random_state=None), grid, cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == scores[1]
    seed = search.best_estimator_.random_state
    with_seed = HRNSearchCV(hrn(random_state=seed), grid, cv=3).fit(X, y)
    np.testing.assert_array_equal(with_seed.cv_results_["mean_test_score"], scores)
    assert (
        HRNSearchCV(hrn(random_state=None), grid, cv=3).fit(X, y).best_estimator_.random_state
        != seed
    )


def test_with_a_seed_the_global_generator_is_not_moved(rows):
    state = np.random.get_state
    _, keys, position, *_ = state()
    keys = keys.copy()
    HRNSearchCV(hrn(), {"reg_lambda": [0.1]}, cv=2).fit(*rows)
    assert state()[2] == position and (state()[1] == keys).all()


def test_verbose_tells_the_fits_and_the_groups(rows, capsys):
    grid = {"reg_lambda": [0.1, 0.5], "batch_size": [10, 20]}
    HRNSearchCV(hrn(), grid, cv=3, verbose=2).fit(*rows)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "Fitting 3 folds for each of 4 candidates, totalling 12 fits"
    assert [line.split(":")[0] for line in others] == ["[HRN] 4 candidates, 3 fold(s)"]


def test_a_candidate_that_cannot_be_fitted_leaves_the_others_their_scores(rows, monkeypatch):
    grid = {"reg_lambda": [0.1, -1.0, 0.2, 0.3]}
    good = HRNSearchCV(hrn(), {"reg_lambda": [0.1, 0.2, 0.3]}, cv=3).fit(*rows)
    with pytest.warns(FitFailedWarning, match=r"(?s)3 fits failed .* 12.*reg_lambda"):
        search = HRNSearchCV(hrn(), grid, cv=3, error_score=-7).fit(*rows)
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] == -7
    np.testing.assert_allclose(
        scores[[0, 2, 3]], good.cv_results_["mean_test_score"], atol=SAME_SCORE
    )


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.NonFiniteLossWarning")
def test_a_diverging_candidate_does_not_take_the_others_down(rows, monkeypatch):
    monkeypatch.setattr("sklearn_hrn.core.training.MAX_HALVINGS", 3)
    X, y = rows
    # 1e30 overflows float32 whatever the step, and a linear network is scale free otherwise.
    grid = {"reg_lambda": [0.1, 1e300, 0.3]}
    with pytest.warns(FitFailedWarning, match="TrainingDivergedError"):
        search = HRNSearchCV(hrn(), grid, cv=3, scoring=["roc_auc"], refit="roc_auc").fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_roc_auc"]).tolist() == [False, True, False]


def test_failing_steps_fail_their_fold_alone_and_all_failures_are_an_error(rows):
    X, y = rows
    pipeline = make_pipeline(PCA(), hrn())
    grid = {"pca__n_components": [3, 1000], "hrnoneclassclassifier__reg_lambda": [0.1, 0.2]}
    with pytest.warns(FitFailedWarning, match="n_components=1000"):
        search = HRNSearchCV(pipeline, grid, cv=2, error_score=0).fit(X, y)
    assert (search.cv_results_["mean_test_score"] > 0).tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match="All the 4 fits failed"):
        HRNSearchCV(pipeline, {"pca__n_components": [999, 1000]}, cv=2).fit(X, y)
    with pytest.raises(ValueError, match="n_components=1000"):
        HRNSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)


def test_a_failed_search_leaves_the_previous_one_as_it_was(rows):
    X, y = rows
    search = HRNSearchCV(hrn(), {"reg_lambda": [0.1]}, cv=2).fit(X, y)
    before = search.score_samples(X)
    with pytest.raises(ValueError, match="NaN"):
        search.fit(np.full_like(X, np.nan), y)
    np.testing.assert_array_equal(search.score_samples(X), before)


def test_processes_change_no_score(rows):
    X, y = rows
    grid = {"reg_lambda": [0.1, 0.5], "hidden_layer_sizes": [[5], [9]]}
    one, two = (HRNSearchCV(hrn(), grid, cv=2, n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_allclose(
        two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"], atol=SAME_SCORE
    )


def test_five_inlier_folds_are_the_default_and_a_number_means_as_many(rows):
    X, y = rows
    grid = {"reg_lambda": [0.1]}
    search = HRNSearchCV(hrn(), grid).fit(X, y)
    same = HRNSearchCV(hrn(), grid, cv=list(InlierKFold(5).split(X, y))).fit(X, y)
    assert search.n_splits_ == 5
    assert search.cv_results_["mean_test_score"] == same.cv_results_["mean_test_score"]
    assert HRNSearchCV(hrn(), grid, cv=3).fit(X, y).n_splits_ == 3


def test_a_scorer_without_labels_needs_none(rows):
    X, y = rows
    search = HRNSearchCV(hrn(), {"reg_lambda": [0.1, 0.5]}, scoring=mean_score).fit(X[y == 1])
    assert search.cv_results_["mean_test_score"].shape == (2,)


def test_a_scorer_without_labels_takes_the_labels_that_a_fit_takes(rows):
    X, y = rows
    grid = {"reg_lambda": [0.1, 0.5]}
    with pytest.warns(LabelConventionWarning):
        search = HRNSearchCV(hrn(), grid, scoring=mean_score).fit(X, (y == 1).astype(int))
    unlabelled = HRNSearchCV(hrn(), grid, scoring=mean_score).fit(X)
    means = [s.cv_results_["mean_test_score"] for s in (search, unlabelled)]
    assert np.array_equal(*means)
    with pytest.raises(ValueError, match="holds 0, 1"), pytest.warns(LabelConventionWarning):
        HRNSearchCV(hrn(), grid, scoring="roc_auc").fit(X, (y == 1).astype(int))


@pytest.mark.filterwarnings("error:.*feature names:UserWarning")
def test_names_of_features_are_kept_and_checked(rows):
    pd = pytest.importorskip("pandas")
    X, y = rows
    X = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    for estimator, prefix in (
        (hrn(), ""),
        (Pipeline([("s", StandardScaler()), ("h", hrn())]), "h__"),
    ):
        search = HRNSearchCV(estimator, {f"{prefix}reg_lambda": [0.1]}, cv=2).fit(X, y)
        assert list(search.feature_names_in_) == list(X.columns) and search.n_features_in_ == 64
        with pytest.raises(ValueError, match="feature names"):
            search.predict(X.rename(columns={"pixel 0": "x"}))


@pytest.mark.parametrize("routing", [False, True])
def test_values_given_by_row_reach_the_steps_and_are_split_like_the_rows(rows, counting, routing):
    X, y = rows
    with config_context(enable_metadata_routing=routing):
        step = Counting().set_fit_request(sample_weight=True) if routing else Counting()
        scorer = get_scorer("roc_auc")
        scorer = scorer.set_score_request(sample_weight=False) if routing else scorer
        pipeline = Pipeline([("c", step), ("h", hrn())])
        search = HRNSearchCV(pipeline, {"h__reg_lambda": [0.1]}, cv=2, scoring=scorer)
        name = "sample_weight" if routing else "c__sample_weight"
        search.fit(X, y, **{name: np.arange(len(X))})
        np.testing.assert_array_equal(counting.weights, np.flatnonzero(y == 1))
        folds = KFold(2, shuffle=True, random_state=0)
        search.set_params(cv=folds, refit=False).fit(X, y, **{name: np.arange(len(X))})
    *_, (last, _) = folds.split(X)
    np.testing.assert_array_equal(counting.weights, last[y[last] == 1])


def test_values_given_by_row_reach_the_scorers_with_the_rows_that_are_scored(rows):
    X, y = rows
    weight = np.random.default_rng(0).uniform(size=len(X))
    folds = KFold(2, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("roc_auc").set_score_request(sample_weight=True)
        search = HRNSearchCV(hrn(), {"reg_lambda": [0.1]}, cv=folds, scoring=scorer)
        search.fit(X, y, sample_weight=weight)
    for i, (train, test) in enumerate(folds.split(X)):
        fitted = hrn(reg_lambda=0.1).fit(X[train], y[train])
        expected = roc_auc_score(y[test], fitted.score_samples(X[test]), sample_weight=weight[test])
        assert search.cv_results_[f"split{i}_test_score"] == pytest.approx([expected])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"estimator": OneClassSVM()}, TypeError, "takes an HRNOneClassClassifier.*GridSearchCV"),
        ({"strategy": "random"}, ValueError, "strategy"),
        ({"param_grid": "mine"}, ValueError, "param_grid"),
        ({"param_grid": {"lambda": [1]}}, ValueError, "Invalid parameter 'lambda'"),
        ({"param_grid": [{"tol": [0]}], "strategy": "coordinate"}, ValueError, "one dict"),
        (
            {"scoring": ["roc_auc"], "refit": False, "strategy": "coordinate"},
            ValueError,
            "needs refit to name",
        ),
        (
            {"param_grid": {"calibration": [None, 2]}},
            ValueError,
            "differ in calibration, but HRNSearchCV tries them without it.*GridSearchCV",
        ),
        (
            {
                "estimator": OneClassPipeline([("hrn", hrn(max_iter=1))]),
                "param_grid": {"outlier_share": [0.0, 0.1]},
            },
            ValueError,
            "differ in outlier_share",
        ),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(rows, arguments, error, message):
    arguments = {"estimator": hrn(max_iter=1), "param_grid": {"tol": [0]}, **arguments}
    with pytest.raises(error, match=message):
        HRNSearchCV(**arguments).fit(*rows)


@pytest.mark.parametrize("scoring", ["balanced_accuracy", ["roc_auc", "f1"]])
def test_a_scorer_of_thresholds_that_a_calibration_would_move_is_doubted(rows, scoring):
    options = {"scoring": scoring, "refit": False, "cv": 2}
    with pytest.warns(UserWarning, match="judges what predict answers, but .* without calibration"):
        HRNSearchCV(hrn(max_iter=1, calibration=2), {"reg_lambda": [0.1]}, **options).fit(*rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        HRNSearchCV(hrn(max_iter=1), {"reg_lambda": [0.1]}, **options).fit(*rows)
        options["scoring"] = ["roc_auc", "average_precision"]
        HRNSearchCV(hrn(max_iter=1, calibration=2), {"tol": [0]}, **options).fit(*rows)


def test_a_named_scorer_without_labels_is_refused(rows):
    with pytest.raises(ValueError, match="requires y to be passed"):
        HRNSearchCV(hrn(), {"tol": [0]}, scoring="roc_auc").fit(rows[0])


def test_what_scores_by_default_depends_on_whether_there_are_anomalies(rows):
    X, y = rows
    grid = {"reg_lambda": [0.1, 0.5]}
    for labels, scoring in ((y, "roc_auc"), (None, shuffled_columns_score)):
        default = HRNSearchCV(hrn(), grid, cv=2).fit(X, labels)
        named = HRNSearchCV(hrn(), grid, cv=2, scoring=scoring).fit(X, labels)
        means = [search.cv_results_["mean_test_score"] for search in (default, named)]
        assert np.array_equal(*means)


def test_an_unfitted_search_says_so(rows):
    with pytest.raises(NotFittedError):
        HRNSearchCV(hrn(), {"tol": [0]}).predict(rows[0])


def test_a_search_whose_every_score_is_nan_raises(rows):
    X, _ = rows
    search = HRNSearchCV(hrn(), {"reg_lambda": [0.1, 0.2]}, cv=2, scoring="roc_auc")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"NaN.*marks no anomalies"):
        search.fit(X, np.ones(len(X)))


def test_a_misspelt_parameter_is_refused_before_anything_is_trained(rows, monkeypatch):
    monkeypatch.setattr("sklearn_hrn.model_selection._search.evaluate", None)
    grid = {"reg_lambda": [0.1], "reg_exponents": [2]}
    for strategy in ("grid", "coordinate"):
        with pytest.raises(ValueError, match="reg_exponents"):
            HRNSearchCV(hrn(), grid, cv=2, strategy=strategy).fit(*rows)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("cv", [2, InlierKFold(2, train_anomalies=True)])
def test_labelled_anomalies_are_kept_below_as_by_a_grid_search(rows, piped, cv):
    model, grid = hrn(max_iter=9), {"anomaly_weight": [0, 1], "reg_lambda": [0.1, 0.5]}
    if piped:
        model = OneClassPipeline([("scale", StandardScaler()), ("hrn", model)])
        grid = {f"hrn__{name}": values for name, values in grid.items()}
    search = HRNSearchCV(model, grid, cv=cv).fit(*rows)
    one_by_one = GridSearchCV(
        model, grid, scoring="roc_auc", cv=InlierKFold(2, train_anomalies=True)
    ).fit(*rows)
    scores, expected = (s.cv_results_["mean_test_score"] for s in (search, one_by_one))
    assert np.abs(scores[2:] - scores[:2]).min() > 10 * SAME_SCORE  # some learned from anomalies
    assert_allclose(scores, expected, atol=SAME_SCORE)
    assert_allclose(search.score_samples(rows[0]), one_by_one.score_samples(rows[0]), rtol=1e-5)


def test_a_search_by_anomalies_that_nothing_could_learn_from_is_refused(rows):
    weighted = hrn(anomaly_weight=1.0)
    with pytest.raises(ValueError, match=r"(?s)cv=InlierKFold.* has none there: give .*=True"):
        HRNSearchCV(weighted, {"reg_lambda": [0.1]}, cv=InlierKFold(2)).fit(*rows)
    one_anomaly = [*np.flatnonzero(rows[1] == 1), np.flatnonzero(rows[1] == -1)[0]]
    few = rows[0][one_anomaly], rows[1][one_anomaly]  # which one training part of two holds
    pairs = [(np.arange(40, 81), np.arange(40)), (np.arange(40), np.arange(40, 81))]
    for grid in ({"anomaly_weight": [1.0]}, [{"anomaly_weight": [1.0]}]):
        assert HRNSearchCV(hrn(), grid, cv=pairs, scoring=mean_score).fit(*few).n_splits_ == 2
        HRNSearchCV(hrn(), grid, cv=2).fit(*rows)  # a number of folds leaves some there
    steps = [("scale", StandardScaler()), ("hrn", weighted)]
    search = HRNSearchCV(OneClassPipeline(steps), {"hrn__reg_lambda": [0.1]}, cv=pairs)
    assert np.isfinite(search.set_params(scoring=mean_score).fit(*few).best_score_)
    with pytest.raises(TypeError, match=r"give OneClassPipeline\(steps\)"):
        HRNSearchCV(Pipeline(steps), {"hrn__reg_lambda": [0.1]}, cv=2).fit(*rows)
    normal = rows[0][rows[1] == 1]
    search = HRNSearchCV(weighted, {"reg_lambda": [0.1]}, cv=2, scoring=mean_score).fit(normal)
    assert np.isfinite(search.best_score_)  # without labels there is nothing to keep below


def test_what_other_processes_warn_of_is_told_once_and_here(capfd):
    X = np.random.default_rng(0).uniform(1, 2, size=(60, 3)) * [50, 1, 1]
    pipeline = make_pipeline(InstanceL2Normalizer(), HRNOneClassClassifier(max_iter=1))
    pipeline = OneClassPipeline(pipeline.steps)
    grid = {"hrnoneclassclassifier__max_iter": [1, 2]}
    search = HRNSearchCV(pipeline, grid, cv=2, scoring=shuffled_columns_score, n_jobs=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        search.fit(X, np.arange(60) % 2)
    kinds = [warning.category for warning in told]
    assert kinds.count(DominantColumnWarning) == kinds.count(LabelConventionWarning) == 1
    (column,) = (w for w in told if w.category is DominantColumnWarning)
    assert column.filename == __file__ and "(2 more of this kind.)" in str(column.message)
    assert "Warning" not in capfd.readouterr().err


def test_a_search_that_took_no_labels_is_not_told_that_it_needs_none(rows, monkeypatch):
    def nothing(detector, X, y=None):
        return np.nan

    monkeypatch.setattr("sklearn_hrn.model_selection._search.shuffled_columns_score", nothing)
    search = HRNSearchCV(hrn(), {"reg_lambda": [0.1, 0.2]}, cv=2)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="warnings before say"):
        search.fit(rows[0])
