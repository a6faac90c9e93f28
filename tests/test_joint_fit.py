"""What is fitted many times is fitted together, each as it is fitted alone."""

import threading
import time
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer, OneClassPipeline
from sklearn_hrn._joint_fit import _Remembered, fit_each, fit_folds, fit_together
from sklearn_hrn._threads import each_at_once, n_at_once
from sklearn_hrn.exceptions import _IS_QUIET, DominantColumnWarning, RowLengthWarning, quietly, warn


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(0.5, 0.5, size=(90, 4))


def hrn(**parameters):
    few = {"max_iter": 3, "batch_size": 20, "hidden_layer_sizes": (6,), "random_state": 0}
    return HRNOneClassClassifier(**{**few, **parameters})


FOLDS = [np.arange(60), np.arange(30, 90), np.r_[:30, 60:90]]


def test_each_estimator_gets_what_it_gets_alone(X, loops):
    models = [hrn(), hrn(random_state=1), hrn(hidden_layer_sizes=9), hrn(max_iter=5)]
    arrays, rows = [X, 2 * X, X, X], [None, FOLDS[1], FOLDS[0], FOLDS[0]]
    fit_together(models, arrays, rows)
    assert loops == [3, 1]
    for model, array, chosen in zip(models, arrays, rows, strict=True):
        alone = clone(model).fit(array if chosen is None else array[chosen])
        for ours, theirs in zip(model.coefs_, alone.coefs_, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)  # other float32 sums
        np.testing.assert_allclose(model.offset_, alone.offset_, rtol=1e-5)
        assert model.n_features_in_ == 4


def test_rows_of_two_widths_train_apart(X):
    models, arrays = [hrn(), hrn()], [X, X[:, :2]]
    HRNOneClassClassifier.fit_together(models, arrays, [None, None])
    for model, array in zip(models, arrays, strict=True):
        assert np.array_equal(model.score_samples(array), hrn().fit(array).score_samples(array))


def test_the_same_rows_beside_other_anomalies_make_another_network(X):
    normal, below = FOLDS[0], [np.arange(60, 75), np.arange(75, 90)]
    models, alone = ([hrn(anomaly_weight=1.0) for _ in below] for _ in "12")
    HRNOneClassClassifier.fit_together(models, [X, X], [normal, normal], below)
    for model, expected, anomalies in zip(models, alone, below, strict=True):
        HRNOneClassClassifier.fit_together([expected], [X], [normal], [anomalies])
        np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_models_of_two_shapes_are_dealt_out_to_threads_and_stay_the_same(X, loops, n_estimators):
    models = [hrn(random_state=k, n_estimators=n_estimators) for k in range(5)]
    models.insert(2, hrn(hidden_layer_sizes=9))
    rows = [None, FOLDS[0], None, FOLDS[1], FOLDS[2], FOLDS[0]]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sklearn_hrn.core.training.SHARED_PRODUCTS", 0)
            fit_together(models, [X] * 6, rows)
    finally:
        torch.set_num_threads(before)
    assert sorted(loops) == sorted([3 * n_estimators, 2 * n_estimators, 1])
    for model, chosen in zip(models, rows, strict=True):
        alone = clone(model).fit(X if chosen is None else X[chosen])
        for ours, theirs in zip(model.coefs_, alone.coefs_, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


LONG = 25  # epochs of five updates, three rounds of fifty: some parameters act between rounds


@pytest.fixture(scope="module")
def one_of_two_alone(X):
    return hrn(max_iter=LONG).fit(X)


# Calibration is what `fit` does around training; what trains together trains without it.
@pytest.mark.parametrize(
    "name", sorted(HRNOneClassClassifier().get_params().keys() - {"calibration"})
)
def test_no_parameter_is_ever_taken_from_another_estimator(X, name, one_of_two_alone):
    other = {
        "hidden_layer_sizes": 3, "reg_lambda": 0.9, "anomaly_weight": 1.0, "reg_exponent": 2,
        "loss": "square", "regularizer": None, "activation": "relu", "n_estimators": 2, "init": 0.3,
        "learning_rate_init": 0.01, "momentum": 0.5, "batch_size": 7, "max_iter": 1,
        "max_updates": 2, "tol": 0.9, "contamination": 0.4, "score_dtype": "float32",
        "preconditioning": 3.0,
        "warm_start": True, "device": "cpu",
        "random_state": 5, "verbose": 1, "module": _linear,
    }  # fmt: skip
    different = hrn(max_iter=LONG).set_params(**{name: other[name]})
    both, y, rows = [hrn(max_iter=LONG), different], None, (None, None)
    if name == "anomaly_weight":  # which is one of labelled rows
        y = np.where(np.arange(len(X)) < len(X) // 4, -1, 1)
        rows = np.flatnonzero(y == 1), np.flatnonzero(y == -1)
        one_of_two_alone = hrn(max_iter=LONG).fit(X, y)
    HRNOneClassClassifier.fit_together(both, [X, X], *([of_kind] * 2 for of_kind in rows))
    for model, alone in zip(both, (one_of_two_alone, clone(different).fit(X, y)), strict=True):
        np.testing.assert_allclose(model.score_samples(X), alone.score_samples(X), rtol=1e-4)
        assert model.offset_ == pytest.approx(alone.offset_, rel=1e-4)
        assert (model.n_iter_, model.n_updates_) == (alone.n_iter_, alone.n_updates_)


def _linear(n_features):
    import torch

    return torch.nn.Linear(n_features, 1)


@pytest.mark.parametrize("done", [(0, 0), (2, 6)], ids=["ends elsewhere", "begins elsewhere"])
def test_networks_take_their_own_steps_beside_others(X, done):
    models = [hrn(warm_start=True, random_state=k) for k in range(2)]
    for model, n_done, n_more in zip(models, done, (6, 4 if done[0] == 0 else 2), strict=True):
        if n_done:
            model.set_params(max_updates=n_done).fit(X)
        model.set_params(max_updates=n_more)
    together = deepcopy(models)
    HRNOneClassClassifier.fit_together(together, [X, X], [None, None])
    assert [model.n_updates_ for model in together] == ([6, 4] if done[0] == 0 else [8, 8])
    for model, alone in zip(together, models, strict=True):
        np.testing.assert_allclose(model.coefs_[0], alone.fit(X).coefs_[0], rtol=1e-5, atol=1e-7)
        assert model.n_iter_ == alone.n_iter_


def test_either_all_are_fitted_or_none(X):
    models = [hrn(), hrn(learning_rate_init=1e30)]
    before = [vars(model).copy() for model in models]
    with pytest.raises(RuntimeError, match="explodes"):
        fit_together(models, [X, X], [None, None])
    assert [vars(model) for model in models] == before


def test_the_error_of_one_does_not_keep_the_others(X):
    models = [hrn(), hrn(reg_exponent=0), hrn(random_state=1)]
    errors = fit_each(models, [X] * 3, [None] * 3)
    assert [type(error) for error in errors] == [type(None), errors[1].__class__, type(None)]
    assert "'reg_exponent' parameter" in str(errors[1])
    assert hasattr(models[0], "coefs_") and hasattr(models[2], "coefs_")


def test_those_beside_one_that_fails_are_fitted_on_their_own_rows(X):
    models = [hrn(), hrn(reg_exponent=0), hrn(), hrn(), hrn()]
    arrays, rows = [X, X, 2 * X, X, 3 * X], [FOLDS[0], None, FOLDS[1], FOLDS[2], None]
    errors = fit_each(models, arrays, rows)
    assert [error is None for error in errors] == [True, False, True, True, True]
    for k in (0, 2, 3, 4):
        alone = clone(models[k]).fit(arrays[k] if rows[k] is None else arrays[k][rows[k]])
        np.testing.assert_allclose(models[k].score_samples(X), alone.score_samples(X), rtol=1e-4)
        assert models[k].offset_ == pytest.approx(alone.offset_, rel=1e-4)


def test_every_fold_fits_all_steps_anew(X, loops):
    candidates = [make_pipeline(StandardScaler(), hrn(reg_lambda=lam)) for lam in (0.1, 0.9)]
    folds = list(fit_folds(candidates, X, None, FOLDS))
    assert loops == [2 * 3]
    for fold, rows in zip(folds, FOLDS, strict=True):
        assert fold.errors == [None, None]
        for fitted, candidate in zip(fold.fitted(candidates), candidates, strict=True):
            alone = clone(candidate).fit(X[rows])
            np.testing.assert_allclose(fitted.score_samples(X), alone.score_samples(X), rtol=1e-5)
    assert not hasattr(candidates[0][-1], "coefs_")


def test_a_step_computes_the_last_rows_it_is_asked_for_once_and_all_others_anew(X):
    asked = []
    remembered = _Remembered(lambda X, factor=2: asked.append(len(X)) or factor * X)
    some, others = X[:5], X[5:]
    for rows in (some, some, others, others, some):
        np.testing.assert_array_equal(remembered(rows), 2 * rows)
    assert asked == [5, 85, 5]
    np.testing.assert_array_equal(remembered(some, factor=3), 3 * some)
    np.testing.assert_array_equal(remembered(some), 2 * some)


@pytest.mark.parametrize(
    ("given", "n_seen"), [({"outlier_share": 0.2}, 60), ({"subsample": 20}, 20)]
)
def test_a_fold_sees_all_its_rows_or_a_subsample_and_leaves_no_share_out(X, given, n_seen):
    pipeline = OneClassPipeline([("scale", StandardScaler()), ("hrn", hrn())], **given)
    start = time.perf_counter()
    folds = list(fit_folds([pipeline], X, None, FOLDS))
    assert sum(fold.seconds for fold in folds) <= time.perf_counter() - start
    assert [fold.errors for fold in folds] == [[None]] * 3
    assert [fold.front_steps[0][1].n_samples_seen_ for fold in folds] == [n_seen] * 3
    assert [fold.models[0].n_updates_ for fold in folds] == [3 * n_seen // 20] * 3


def test_the_fit_on_all_rows_comes_first_and_alone_says_what_there_is_to_say(X, loops):
    long = 10.0 ** np.linspace(-3, 3, len(X))[:, None] * np.abs(X)
    model = hrn(calibration=2, max_iter=30)
    with pytest.warns(RowLengthWarning) as said:
        whole, *folds = fit_folds([model], long, None, FOLDS, whole_first=True)
    assert loops == [1 + 2 + 3]
    assert [w.category for w in said].count(RowLengthWarning) == 1
    assert whole.is_final and not any(fold.is_final for fold in folds)
    (fitted,) = whole.fitted([model])
    alone = clone(model).fit(long)
    np.testing.assert_allclose(fitted.calibration_scores_, alone.calibration_scores_, rtol=1e-5)
    for fold, rows in zip(folds, FOLDS, strict=True):
        (fitted,) = fold.fitted([model])
        assert not hasattr(fitted, "calibration_scores_")
        alone = clone(model).set_params(calibration=None).fit(long[rows])
        np.testing.assert_allclose(fitted.offset_, alone.offset_, rtol=1e-5)


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr("sklearn_hrn._threads.LARGE", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class WhereFitted(StandardScaler):
    """A scaler of ours that says in which thread it was fitted, with what settings."""

    __module__ = "sklearn_hrn.tests"

    def fit(self, X, y=None):
        warn("the scaler speaks", RowLengthWarning)
        self.seen_ = threading.current_thread(), get_config()["working_memory"]
        return super().fit(X)


def test_large_fronts_are_fitted_in_threads_as_they_are_one_by_one(X, two_threads, monkeypatch):
    candidate = make_pipeline(WhereFitted(), hrn())
    spoilt = X.copy()
    spoilt[70] = np.nan
    with config_context(working_memory=7), pytest.warns(RowLengthWarning) as said:
        in_threads = list(fit_folds([candidate], spoilt, None, FOLDS, whole_first=True))
    assert [w.category for w in said] == [RowLengthWarning]  # of the fit on all rows
    monkeypatch.setattr("sklearn_hrn._threads.LARGE", 10**9)
    with pytest.warns(RowLengthWarning):
        one_by_one = list(fit_folds([candidate], spoilt, None, FOLDS, whole_first=True))
    for ours, theirs in zip(in_threads, one_by_one, strict=True):
        assert repr(ours.errors) == repr(theirs.errors)
        if ours.errors[0] is None:
            (_, scaler), own = ours.front_steps[0], threading.current_thread()
            assert scaler.seen_[0] is not own and scaler.seen_[1] == 7
            assert theirs.front_steps[0][1].seen_[0] is own
            (ours,), (theirs,) = ours.fitted([candidate]), theirs.fitted([candidate])
            np.testing.assert_array_equal(ours.score_samples(X), theirs.score_samples(X))


def test_what_a_thread_warns_of_points_at_the_callers_line(X, two_threads):
    one_column = X * [100, 1, 1, 1]
    candidate = make_pipeline(InstanceL2Normalizer(), hrn())
    with pytest.warns(DominantColumnWarning) as said:
        list(fit_folds([candidate], one_column, None, FOLDS, whole_first=True))
    assert [w.filename for w in said if w.category is DominantColumnWarning] == [__file__]


class ThreadsOfProducts(StandardScaler):
    """Says how many threads a product of NumPy may take while it is fitted."""

    def fit(self, X, y=None):
        self.threads_ = _threads_of_products()
        return super().fit(X)


def _threads_of_products():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_products_on_small_rows_take_one_thread_for_the_time_of_a_fit(X, monkeypatch):
    steps = [("look", ThreadsOfProducts()), ("hrn", hrn())]
    with threadpool_limits(2, "blas"):
        allowed = _threads_of_products()  # where the library has threads at all
        assert OneClassPipeline(steps).fit(X)["look"].threads_ == {1}
        assert _threads_of_products() == allowed
        monkeypatch.setattr("sklearn_hrn._threads.LARGE", 0)
        assert OneClassPipeline(steps).fit(X)["look"].threads_ == allowed


def test_steps_of_the_user_and_steps_with_functions_are_fitted_one_by_one(X, two_threads):
    class OfTheUser(StandardScaler):
        pass

    class Extra(StandardScaler):
        __module__ = "sklearn_extra.preprocessing"

    assert n_at_once(make_pipeline(StandardScaler(), hrn()), X) == 2
    for front in (OfTheUser(), Extra(), FunctionTransformer(np.exp), make_pipeline(OfTheUser())):
        assert n_at_once(make_pipeline(front, hrn()), X) == 1
    assert n_at_once(make_pipeline(StandardScaler(), IsolationForest()), X) == 1
    assert n_at_once(make_pipeline(StandardScaler(), hrn(), memory="cache"), X) == 1
    for first in ([], ["passthrough"]):
        in_place = make_pipeline(*first, StandardScaler(copy=False), hrn())
        assert n_at_once(in_place, X) == 1
    assert n_at_once(hrn(), X) == 1


def test_what_is_quiet_and_how_scikit_learn_is_set_hold_in_every_thread():
    def look(_):
        return _IS_QUIET.get(), get_config()["working_memory"]

    with quietly(), config_context(working_memory=7):
        assert list(each_at_once(look, range(3), 2)) == [(True, 7)] * 3


def test_any_detector_is_fitted_in_folds(X):
    forest = IsolationForest(n_estimators=5, random_state=0)
    for candidate in (forest, make_pipeline(StandardScaler(), forest)):
        for fold, rows in zip(fit_folds([candidate], X, None, FOLDS), FOLDS, strict=True):
            (fitted,) = fold.fitted([candidate])
            alone = clone(candidate).fit(X[rows])
            np.testing.assert_array_equal(fitted.score_samples(X), alone.score_samples(X))


def test_a_fold_whose_first_step_fails_says_so_and_the_others_are_fitted(X):
    spoilt = X.copy()
    spoilt[0] = np.nan
    folds = list(fit_folds([make_pipeline(StandardScaler(), hrn())], spoilt, None, FOLDS))
    assert [fold.errors[0] is None for fold in folds] == [False, True, False]
    assert "NaN" in str(folds[0].errors[0])


@pytest.mark.parametrize("place", ["rows", "anomalies"])
@pytest.mark.parametrize("numbers", [[0, 10**6], [-1, 0, 1], [2**40, 1], [-(2**40), 1]])
def test_rows_that_an_array_does_not_have_are_refused_by_name(X, place, numbers):
    model = HRNOneClassClassifier(max_iter=2, anomaly_weight=1.0)
    given = {"rows": [None], "anomalies": [None], place: [np.array(numbers)]}
    with pytest.raises(ValueError, match=rf"{place} holds numbers from .* 0 to {len(X) - 1}\."):
        HRNOneClassClassifier.fit_together([model], [X], **given)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64, ">i4"])
def test_numbers_of_rows_may_be_of_any_whole_type_and_come_twice(X, kind):
    models = [HRNOneClassClassifier(max_iter=2, random_state=0) for _ in range(2)]
    numbers = np.array([0, 0, 1, 1, 2, 40])
    HRNOneClassClassifier.fit_together(models[:1], [X], [numbers.astype(kind)])
    models[1].fit(X[numbers])
    np.testing.assert_array_equal(models[0].score_samples(X), models[1].score_samples(X))


@pytest.mark.parametrize(
    "rows", [[[0, 1], [2]], [0.0, 1.0], 3, np.ones((2, 2), int), np.ones(3, bool), np.zeros(3)]
)
def test_what_are_no_numbers_of_rows_is_refused_by_name(X, rows):
    model = HRNOneClassClassifier(max_iter=2)
    with pytest.raises(TypeError, match="rows must hold an array of the numbers of rows"):
        HRNOneClassClassifier.fit_together([model], [X], [rows])
    assert not hasattr(model, "coefs_")
