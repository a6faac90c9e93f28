"""Conformal p-values and thresholds: what they promise, and for which detectors."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import coo_array, csr_array
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import RBFSampler
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import check_estimator

from sklearn_hrn import HRNOneClassClassifier
from sklearn_hrn.conformal import (
    ConformalOutlierDetector,
    conformal_p_values,
    false_alarm_threshold,
)
from sklearn_hrn.exceptions import LabelConventionWarning, ResolutionWarning
from sklearn_hrn.model_selection import InlierKFold


class DistanceToMean(OutlierMixin, BaseEstimator):
    """Minus the distance to the mean of the training rows, rounded to make ties if asked for."""

    def __init__(self, decimals=None):
        self.decimals = decimals

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        self.n_rows_ = len(X)
        return self

    def decision_function(self, X):
        scores = -np.linalg.norm(X - self.mean_, axis=1)
        return scores if self.decimals is None else np.round(scores, self.decimals)


class FirstColumn(DistanceToMean):
    """Gives every row the value of its first column, whatever it was trained on."""

    def score_samples(self, X):
        return np.asarray(X)[:, 0]


def forest():
    return IsolationForest(n_estimators=10, random_state=0)


@pytest.fixture
def X(rng):
    return rng.normal(size=(400, 3))


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checks bring a handful of rows
@pytest.mark.parametrize(
    "estimator",
    [
        ConformalOutlierDetector(forest()),
        ConformalOutlierDetector(OneClassSVM(), false_alarm_rate=0.1, random_state=0),
        ConformalOutlierDetector(LocalOutlierFactor(novelty=True), calibration_size=0.4),
        ConformalOutlierDetector(make_pipeline(StandardScaler(), OneClassSVM())),
    ],
    ids=["forest", "svm", "lof", "pipeline"],
)
def test_the_detector_keeps_scikit_learns_contract(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) > 40
    assert [r["check_name"] for r in results if r["status"] in ("failed", "xfail")] == []


# --- the promises, by simulation ------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.05, 0.25])
@pytest.mark.parametrize("decimals", [None, 1], ids=["no ties", "ties"])
def test_the_mean_false_alarm_rate_of_many_repetitions_keeps_its_promise(rng, rate, decimals):
    realised = []
    for _ in range(300):
        X = rng.normal(size=(100, 2))
        detector = ConformalOutlierDetector(
            DistanceToMean(decimals), false_alarm_rate=rate, calibration_size=0.39, random_state=0
        ).fit(X)
        realised.append(np.mean(detector.predict(rng.normal(size=(200, 2))) == -1))
    assert len(detector.calibration_scores_) == 39
    standard_error = np.std(realised) / np.sqrt(300)
    # Three standard errors: a right procedure fails one seed in 700.
    assert np.mean(realised) <= rate + 3 * standard_error
    if decimals is None:  # without ties the bound is met: 40 times each rate is whole
        assert np.mean(realised) >= rate - 3 * standard_error


@pytest.mark.parametrize("decimals", [None, 0], ids=["no ties", "ties"])
def test_p_values_of_fresh_normal_rows_are_uniform_or_larger(rng, decimals):
    p_values = []
    for _ in range(300):
        X = rng.normal(size=(60, 2))
        detector = ConformalOutlierDetector(
            DistanceToMean(decimals), calibration_size=19, false_alarm_rate=0.1, random_state=0
        ).fit(X)
        p_values.append(detector.p_values(rng.normal(size=(20, 2))))
    p_values = np.array(p_values)
    for rate in np.arange(1, 20) / 20:
        share = np.mean(p_values <= rate, axis=1)
        standard_error = np.std(share) / np.sqrt(300)
        # Four standard errors: nineteen rates are looked at.
        assert share.mean() <= rate + 4 * standard_error
        if decimals is None:
            assert share.mean() >= rate - 4 * standard_error


@pytest.mark.parametrize("method", ["bh", "by"])
def test_the_false_discovery_rate_is_controlled_over_batches(rng, method):
    share_of_false, n_found = [], []
    for _ in range(150):
        detector = ConformalOutlierDetector(FirstColumn(), false_alarm_rate=0.5)
        detector.estimator.fit(np.zeros((1, 1)))
        detector.calibrate(rng.normal(size=(300, 1)))
        batch = np.concatenate([rng.normal(size=(80, 1)), rng.normal(loc=-4, size=(20, 1))])
        flagged = detector.predict_fdr(batch, fdr=0.2, method=method) == -1
        share_of_false.append(flagged[:80].sum() / max(flagged.sum(), 1))
        n_found.append(flagged[80:].sum())
    standard_error = np.std(share_of_false) / np.sqrt(150)
    assert np.mean(share_of_false) <= 0.2 * 0.8 + 3 * standard_error  # fdr x share of normal rows
    assert np.mean(n_found) > 5  # and it does find anomalies


@pytest.mark.parametrize("strategy", ["cross", "bootstrap"])
@pytest.mark.parametrize("rate", [0.05, 0.25])
def test_strategies_that_waste_no_row_come_close_to_the_rate(rng, strategy, rate):
    realised = []
    for _ in range(30):
        detector = ConformalOutlierDetector(
            DistanceToMean(),
            false_alarm_rate=rate,
            strategy=strategy,
            n_models=10,
            random_state=rng.integers(1000),
        ).fit(rng.normal(size=(60, 2)))
        realised.append(np.mean(detector.predict(rng.normal(size=(200, 2))) == -1))
    assert len(detector.calibration_scores_) >= 59
    standard_error = np.std(realised) / np.sqrt(30)
    assert 0.5 * rate - 3 * standard_error < np.mean(realised) < rate + 3 * standard_error


def test_the_false_discovery_rate_is_controlled_online(rng):
    share_of_false, n_found = [], []
    for _ in range(200):
        detector = ConformalOutlierDetector(FirstColumn(), false_alarm_rate=0.5)
        detector.estimator.fit(np.zeros((1, 1)))
        detector.calibrate(rng.normal(size=(3000, 1)))
        is_normal = rng.permutation(np.arange(100) < 60)
        stream = rng.normal(size=(100, 1)) - 6 * ~is_normal[:, None]
        flagged = detector.predict_fdr(stream, fdr=0.2, method="lond") == -1
        # What has been decided stays so, whatever comes after.
        half = detector.predict_fdr(stream[:50], fdr=0.2, method="lond") == -1
        np.testing.assert_array_equal(flagged[:50], half)
        share_of_false.append((flagged & is_normal).sum() / max(flagged.sum(), 1))
        n_found.append((flagged & ~is_normal).sum())
    assert np.mean(share_of_false) <= 0.2 + 3 * np.std(share_of_false) / np.sqrt(200)
    assert np.mean(n_found) > 10


# --- the functions --------------------------------------------------------------------------------


def test_flagging_below_the_threshold_is_flagging_small_p_values(rng):
    for n in [1, 2, 19, 20, 28, 99, 100, 999]:
        calibration = np.round(rng.normal(size=n), 1)  # with ties
        fresh = np.round(rng.normal(size=500), 1)
        p_values = conformal_p_values(fresh, calibration)
        # rates that rounding makes difficult: 0.29 * 100 is 28.999999999999996
        for rate in [
            0.05,
            0.07,
            0.1,
            0.28,
            0.29,
            0.57,
            0.58,
            0.9,
            *np.arange(1, n + 1)[:40] / (n + 1),
        ]:
            if rate < 1 / (n + 1):
                continue
            flagged = fresh < false_alarm_threshold(calibration, rate)
            np.testing.assert_array_equal(flagged, p_values <= rate)


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [(99, 0.05, 5), (99, 0.29, 29), (19, 0.05, 1), (20, 0.05, 1), (1, 0.5, 1)],
)
def test_the_threshold_is_the_calibration_score_of_the_right_rank(rng, n, rate, rank):
    assert false_alarm_threshold(rng.permutation(n), rate) == rank - 1
    assert isinstance(false_alarm_threshold(rng.permutation(n), rate), float)


def test_a_higher_threshold_would_break_the_promise(rng):
    # Of n + 1 exchangeable scores each is the fresh one with the same probability.
    scores = rng.normal(size=40)
    for shift, keeps_promise in [(0, True), (1, False)]:
        alarms = []
        for fresh in range(40):
            others = np.sort(np.delete(scores, fresh))
            threshold = others[np.searchsorted(others, false_alarm_threshold(others, 0.1)) + shift]
            alarms.append(scores[fresh] < threshold)
        assert (np.mean(alarms) <= 0.1) == keeps_promise


def test_ties_count_against_flagging():
    calibration = [0.0] * 50 + [1.0] * 49
    assert conformal_p_values([-1.0, 0.0, 0.5, 1.0], calibration).tolist() == [0.01, 0.51, 0.51, 1]
    assert false_alarm_threshold(calibration, 0.5) == 0.0  # no score lies below it
    assert false_alarm_threshold(calibration, 0.51) == 1.0


def test_a_rate_below_the_resolution_warns_and_flags_nothing():
    with pytest.warns(ResolutionWarning, match="at least 19 normal rows"):
        assert false_alarm_threshold(range(18), 0.05) == -np.inf
    with pytest.warns(ResolutionWarning, match="at least 999 normal rows"):
        assert false_alarm_threshold(range(100), 0.001) == -np.inf


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, np.nan])
def test_a_rate_outside_of_0_and_1_is_refused(rate):
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        false_alarm_threshold([1.0, 2.0], rate)


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ([], "0 NaN among 0"),
        ([1.0, np.nan], "1 NaN among 2"),
        ([[1.0, 2.0], [3.0, 4.0]], "1d array"),
    ],
)
def test_calibration_scores_must_be_numbers_one_a_row(scores, problem):
    with pytest.raises(ValueError, match=problem):
        false_alarm_threshold(scores, 0.5)
    with pytest.raises(ValueError, match=problem):
        conformal_p_values([1.0], scores)


def test_infinite_scores_have_their_place():
    assert conformal_p_values([-np.inf, np.inf], [0.0, 1.0, -np.inf]).tolist() == [0.5, 1.0]


# --- the detector ---------------------------------------------------------------------------------


DETECTORS = {
    "forest": forest(),
    "svm": OneClassSVM(gamma=0.1),
    "lof": LocalOutlierFactor(novelty=True),
    "density": KernelDensity(),
    "decision only": DistanceToMean(),
    "pipeline": make_pipeline(StandardScaler(), forest()),
    "search": GridSearchCV(
        OneClassSVM(),
        {"nu": [0.1, 0.2]},
        cv=2,
        scoring=lambda detector, X, y=None: detector.decision_function(X).mean(),
    ),
}


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
def test_any_detector_gets_a_threshold(X, rng, detector):
    conformal = ConformalOutlierDetector(detector, false_alarm_rate=0.1, random_state=0).fit(X)
    fresh = np.concatenate([rng.normal(size=(200, 3)), np.full((5, 3), 9.0)])
    labels, p_values = conformal.predict(fresh), conformal.p_values(fresh)
    assert np.all(labels[200:] == -1) and np.all(p_values[200:] == 1 / 81)
    assert np.mean(labels[:200] == -1) < 0.2  # 0.1 +- 0.034 (80 calibration rows, 200 rows)
    np.testing.assert_array_equal(labels == -1, p_values <= 0.1)
    decision = conformal.decision_function(fresh)
    np.testing.assert_array_equal(decision, conformal.score_samples(fresh) - conformal.offset_)
    np.testing.assert_array_equal(labels, np.where(decision < 0, -1, 1))


def test_the_detector_is_trained_on_the_rows_that_are_not_set_aside(X):
    given = DistanceToMean()
    conformal = ConformalOutlierDetector(given, calibration_size=0.25, random_state=0).fit(X)
    assert conformal.estimator_.n_rows_ == 300 and len(conformal.calibration_scores_) == 100
    assert not hasattr(given, "mean_")
    conformal.set_params(calibration_size=7, false_alarm_rate=0.2).fit(X)
    assert conformal.estimator_.n_rows_ == 393 and len(conformal.calibration_scores_) == 7
    # the two parts are disjoint and together all rows
    first_column = ConformalOutlierDetector(FirstColumn(), random_state=0).fit(X)
    calibration = first_column.calibration_scores_
    training = np.setdiff1d(X[:, 0], calibration)
    assert len(training) == 320
    assert first_column.estimator_.mean_[0] == pytest.approx(training.mean(), rel=1e-12)


def test_cross_scores_every_row_by_the_detector_that_left_it_out(X):
    conformal = ConformalOutlierDetector(
        DistanceToMean(), strategy="cross", n_models=4, random_state=0
    ).fit(X)
    assert [model.n_rows_ for model in conformal.estimators_] == [300] * 4
    assert not hasattr(conformal, "estimator_")
    assert len(conformal.calibration_scores_) == 400
    mean = np.mean([model.decision_function(X) for model in conformal.estimators_], axis=0)
    np.testing.assert_array_equal(conformal.score_samples(X), mean)
    each = np.sort([model.decision_function(X) for model in conformal.estimators_], axis=0)
    # no row has the score of all four models, and each has that of one
    assert np.isin(conformal.calibration_scores_, each).all()


def test_bootstrap_scores_every_row_by_the_detectors_that_did_not_draw_it(X):
    conformal = ConformalOutlierDetector(
        FirstColumn(), strategy="bootstrap", n_models=30, random_state=0
    ).fit(X)
    assert len(conformal.estimators_) == 30
    np.testing.assert_allclose(conformal.calibration_scores_, np.sort(X[:, 0]), rtol=1e-12)
    means = [model.mean_[0] for model in conformal.estimators_]
    assert len(set(means)) == 30


def test_folds_of_our_detector_train_together_as_they_would_alone(X):
    hrn = HRNOneClassClassifier(max_updates=5, batch_size=50, random_state=0)
    detector = make_pipeline(StandardScaler(), hrn)
    conformal = ConformalOutlierDetector(detector, strategy="cross", n_models=2, random_state=0)
    conformal.fit(X)
    rng = check_random_state(0)
    parts = np.array_split(rng.permutation(400), 2)
    for part, model in zip(parts, conformal.estimators_, strict=True):
        alone = clone(detector).fit(np.delete(X, part, axis=0))
        # float32 products of another size are summed in another order
        np.testing.assert_allclose(model.score_samples(X), alone.score_samples(X), rtol=1e-4)


@pytest.mark.parametrize(
    ("strategy", "n_models", "n_rows"), [("cross", 12, 10), ("cross", None, 1), ("bootstrap", 3, 1)]
)
def test_too_few_rows_for_the_models_are_refused(X, strategy, n_models, n_rows):
    conformal = ConformalOutlierDetector(DistanceToMean(), strategy=strategy, n_models=n_models)
    with pytest.raises(ValueError, match=f"n_samples={n_rows}"):
        conformal.fit(X[:n_rows])


@pytest.mark.parametrize("strategy", ["cross", "bootstrap"])
def test_all_that_can_be_done_with_a_split_can_be_done_with_the_others(X, strategy):
    weight = np.linspace(0.1, 1, len(X))
    conformal = ConformalOutlierDetector(
        OneClassSVM(gamma=0.1), strategy=strategy, n_models=3, random_state=0
    )
    offset = clone(conformal).fit(X).offset_
    assert clone(conformal).fit(X, sample_weight=weight).offset_ != offset
    conformal.fit(X)
    assert conformal.n_features_in_ == 3
    models = conformal.estimators_
    assert conformal.calibrate(2 * X).estimators_ is models and conformal.offset_ < offset
    assert conformal.set_false_alarm_rate(0.2).false_alarm_rate == 0.2
    with pytest.raises(ValueError, match="infinity"):
        conformal.fit(np.full((30, 3), np.inf))
    assert conformal.estimators_ is models


def test_a_seed_repeats_the_split_and_global_random_state_is_left_alone(X):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - what must not move
    offsets = [
        ConformalOutlierDetector(DistanceToMean(), random_state=seed).fit(X).offset_
        for seed in (0, 0, 1)
    ]
    assert offsets[0] == offsets[1] != offsets[2]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_a_seed_reaches_the_steps_of_the_detector_that_have_none(X):
    def fitted(random_state, forest_seed):
        detector = make_pipeline(
            RBFSampler(random_state=7), IsolationForest(n_estimators=10, random_state=forest_seed)
        )
        return ConformalOutlierDetector(detector, random_state=random_state).fit(X)

    def seeds(conformal):
        return [step.random_state for _, step in conformal.estimator_.steps]

    assert fitted(0, None).offset_ == fitted(0, None).offset_ != fitted(1, None).offset_
    assert seeds(fitted(0, None)) == seeds(fitted(0, None)) != seeds(fitted(1, None))
    assert seeds(fitted(0, 3)) == [7, 3]
    assert seeds(fitted(None, None)) == [7, None]


def test_rows_labelled_as_anomalies_neither_train_nor_calibrate(X):
    y = np.where(np.arange(len(X)) % 10 == 3, -1, 1)
    wild = np.where((y == -1)[:, None], 1e6, X)
    conformal = ConformalOutlierDetector(DistanceToMean(), random_state=0)
    offset = clone(conformal).fit(wild, y).offset_
    assert offset == clone(conformal).fit(X[y == 1]).offset_
    labels = clone(conformal).fit_predict(wild, y)
    assert labels.shape == y.shape and np.all(labels[y == -1] == -1)
    conformal.fit(X)
    assert conformal.calibrate(wild, y).offset_ == conformal.calibrate(X[y == 1]).offset_


def test_zero_one_labels_warn(X):
    with pytest.warns(LabelConventionWarning):
        ConformalOutlierDetector(DistanceToMean()).fit(X, np.arange(len(X)) % 2)


def test_a_frozen_detector_is_calibrated_on_all_rows(X):
    fitted = DistanceToMean().fit(X[:200])
    mean = fitted.mean_.copy()
    conformal = ConformalOutlierDetector(FrozenEstimator(fitted)).fit(X[200:])
    assert len(conformal.calibration_scores_) == 200
    np.testing.assert_array_equal(fitted.mean_, mean)
    assert conformal.offset_ == ConformalOutlierDetector(fitted).calibrate(X[200:]).offset_
    with pytest.raises(NotFittedError):
        ConformalOutlierDetector(FrozenEstimator(DistanceToMean())).fit(X)


def test_a_fitted_detector_is_calibrated_without_training(X):
    fitted = forest().fit(X[:200])
    conformal = ConformalOutlierDetector(fitted).calibrate(X[200:])
    assert conformal.estimator_ is fitted
    assert conformal.n_features_in_ == 3
    expected = false_alarm_threshold(fitted.score_samples(X[200:]), 0.05)
    assert conformal.offset_ == expected
    with pytest.raises(NotFittedError):
        ConformalOutlierDetector(forest()).calibrate(X)


def test_calibrating_after_a_fit_replaces_the_calibration_rows_only(X, rng):
    conformal = ConformalOutlierDetector(DistanceToMean(), random_state=0).fit(X)
    detector, scores = conformal.estimator_, conformal.score_samples(X)
    conformal.calibrate(3 * rng.normal(size=(50, 3)))
    assert conformal.estimator_ is detector
    np.testing.assert_array_equal(conformal.score_samples(X), scores)
    assert len(conformal.calibration_scores_) == 50
    assert np.mean(conformal.predict(3 * rng.normal(size=(300, 3))) == -1) < 0.15


def test_the_rate_can_be_moved_without_training(X):
    conformal = ConformalOutlierDetector(DistanceToMean(), random_state=0).fit(X)
    detector = conformal.estimator_
    for rate in (0.2, 0.05, 0.5):
        assert conformal.set_false_alarm_rate(rate) is conformal
        assert conformal.false_alarm_rate == rate and conformal.estimator_ is detector
        direct = ConformalOutlierDetector(DistanceToMean(), false_alarm_rate=rate, random_state=0)
        assert conformal.offset_ == direct.fit(X).offset_


def test_a_refused_rate_changes_nothing(X):
    conformal = ConformalOutlierDetector(DistanceToMean(), random_state=0)
    with pytest.raises(NotFittedError):
        conformal.set_false_alarm_rate(0.1)
    offset = conformal.fit(X).offset_
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        conformal.set_false_alarm_rate(1)
    assert (conformal.false_alarm_rate, conformal.offset_) == (0.05, offset)


def test_a_rate_too_small_for_the_rows_warns_and_flags_nothing(X):
    conformal = ConformalOutlierDetector(DistanceToMean(), false_alarm_rate=0.001)
    with pytest.warns(ResolutionWarning, match="with 80 calibration rows"):
        conformal.fit(X)
    far = np.full((3, 3), 1e9)
    assert conformal.predict(far).tolist() == [1, 1, 1]
    assert np.all(conformal.decision_function(far) == np.inf)
    assert np.all(conformal.p_values(far) == 1 / 81)


def test_ten_rows_give_scores_and_a_warning():
    X = np.arange(20.0).reshape(10, 2)
    with pytest.warns(ResolutionWarning, match="2 calibration rows"):
        conformal = ConformalOutlierDetector(DistanceToMean(), random_state=0).fit(X)
    assert np.all(conformal.predict(X) == 1)
    assert conformal.set_false_alarm_rate(0.4).predict([[1e3, 1e3]]).tolist() == [-1]


@pytest.mark.parametrize(("n_rows", "size"), [(1, 0.2), (2, 2), (50, 50), (50, 60), (3, 0.9)])
def test_too_few_rows_for_training_and_calibration_are_refused(X, n_rows, size):
    conformal = ConformalOutlierDetector(DistanceToMean(), calibration_size=size)
    with pytest.raises(ValueError, match=f"calibration_size={size} of n_samples={n_rows} normal"):
        conformal.fit(X[:n_rows])


@pytest.mark.parametrize(
    "params",
    [
        {"false_alarm_rate": 0},
        {"false_alarm_rate": 1.0},
        {"false_alarm_rate": "auto"},
        {"calibration_size": 0},
        {"calibration_size": 1.0},
        {"calibration_size": -3},
        {"random_state": "seed"},
        {"strategy": "jackknife"},
        {"n_models": 1},
        {"estimator": "forest"},
    ],
)
def test_bad_parameters_are_refused_by_name(X, params):
    conformal = ConformalOutlierDetector(DistanceToMean())
    vars(conformal).update(params)
    (name,) = params
    with pytest.raises(ValueError, match=name):
        conformal.fit(X)


def test_a_detector_without_scores_is_refused(X):
    for without_scores in (StandardScaler(), LocalOutlierFactor()):
        with pytest.raises(
            TypeError, match=r"neither score_samples nor decision_function.*novelty"
        ):
            ConformalOutlierDetector(without_scores).fit(X)


def test_scores_that_are_not_numbers_are_refused(X):
    conformal = ConformalOutlierDetector(FirstColumn()).fit(X)
    offset = conformal.offset_
    bad = X.copy()
    bad[::4, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"scores of FirstColumn must be numbers.*100 NaN among 400"
    ):
        conformal.calibrate(bad)
    with pytest.raises(ValueError, match="100 NaN among 400"):
        conformal.predict(bad)
    assert conformal.offset_ == offset


def test_infinite_values_are_refused_wherever_they_fall(X):
    for row in range(0, 400, 40):  # some in the training part, some in the calibration part
        bad = X.copy()
        bad[row, 1] = np.inf
        with pytest.raises(ValueError, match="infinity"):
            ConformalOutlierDetector(OneClassSVM(), random_state=0).fit(bad)


def test_scores_of_minus_infinity_are_flagged_or_on_the_threshold(X):
    density = KernelDensity(kernel="tophat", bandwidth=0.5)
    far = [[99.0, 99.0, 99.0]]
    conformal = ConformalOutlierDetector(density, false_alarm_rate=0.9, random_state=0).fit(X)
    assert np.isfinite(conformal.offset_) and conformal.predict(far).tolist() == [-1]
    conformal.set_false_alarm_rate(1 / 81)  # the least dense calibration row has no neighbour
    assert conformal.offset_ == -np.inf
    assert conformal.decision_function(far).tolist() == [0.0]
    assert conformal.predict(far).tolist() == [1]


@pytest.mark.parametrize("bad_y", [[1, -1], np.full(400, -1)])
def test_a_refit_that_fails_leaves_the_fit_before_it(X, bad_y):
    conformal = ConformalOutlierDetector(OneClassSVM(), random_state=0).fit(X)
    before = dict(vars(conformal))
    with pytest.raises(ValueError):
        conformal.fit(X, bad_y)
    with pytest.raises(ValueError):
        conformal.fit(np.full((30, 3), np.inf))
    assert vars(conformal) == before


def test_predictions_before_any_fit_are_refused(X):
    conformal = ConformalOutlierDetector(forest())
    for method in ("predict", "p_values", "predict_fdr", "score_samples", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(conformal, method)(X)


def test_data_frames_keep_their_names(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    conformal = ConformalOutlierDetector(make_pipeline(StandardScaler(), forest())).fit(frame)
    assert conformal.feature_names_in_.tolist() == ["a", "b", "c"]
    assert conformal.predict(frame).shape == (400,)
    with pytest.raises(ValueError, match="feature names should match"):
        conformal.predict(frame[["c", "b", "a"]])


@pytest.mark.parametrize("container", [csr_array, coo_array])
def test_sparse_rows_are_taken_where_the_detector_takes_them(X, container):
    conformal = ConformalOutlierDetector(OneClassSVM(), random_state=0)
    dense = clone(conformal).fit(X).calibrate(X).p_values(X)
    sparse = clone(conformal).fit(container(X)).calibrate(container(X)).p_values(csr_array(X))
    np.testing.assert_allclose(sparse, dense, atol=0.02)  # libsvm stops at tol=1e-3


def test_fit_parameters_follow_the_rows_they_belong_to(X):
    weight = np.linspace(0.1, 1, len(X))
    y = np.where(np.arange(len(X)) < 50, -1, 1)
    conformal = ConformalOutlierDetector(OneClassSVM(), random_state=0)
    weighted = clone(conformal).fit(X, y, sample_weight=weight)
    assert weighted.offset_ == clone(conformal).fit(X[50:], sample_weight=weight[50:]).offset_
    assert weighted.offset_ != clone(conformal).fit(X[50:]).offset_
    with sklearn.config_context(enable_metadata_routing=True):
        detector = OneClassSVM().set_fit_request(sample_weight=True)
        routed = ConformalOutlierDetector(detector, random_state=0)
        assert routed.fit(X, y, sample_weight=weight).offset_ == weighted.offset_


def test_false_discovery_control_warns_when_no_batch_could_be_flagged(X):
    conformal = ConformalOutlierDetector(DistanceToMean(), random_state=0).fit(X)
    far = np.full((10, 3), 99.0)
    assert np.all(conformal.predict_fdr(far, fdr=0.1) == -1)
    with pytest.warns(ResolutionWarning, match="80 calibration rows"):
        assert np.all(conformal.predict_fdr(far, fdr=0.01) == 1)
    with pytest.warns(ResolutionWarning):  # "by" pays a factor of 1 + 1/2 + ... + 1/10 = 2.9
        conformal.predict_fdr(far, fdr=0.03, method="by")
    for bad in ({"fdr": 0}, {"fdr": 1}, {"method": "bonferroni"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            conformal.predict_fdr(far, **bad)


def test_it_can_be_searched_cloned_and_pickled(X):
    y = np.where(np.arange(len(X)) % 20 == 0, -1, 1)
    X = X + 6 * (y == -1)[:, None]
    search = GridSearchCV(
        ConformalOutlierDetector(OneClassSVM(), random_state=0),
        {"estimator__gamma": [1e-9, 0.1], "false_alarm_rate": [0.05]},
        cv=InlierKFold(4),
        scoring="roc_auc",
    ).fit(X, y)
    assert search.best_score_ > 0.99
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copy.p_values(X), search.best_estimator_.p_values(X))
    assert not hasattr(clone(copy), "offset_")


def test_rows_that_change_in_place_are_scored_anew(rng):
    # As a buffer of a stream does, and an explanation that alters column after column.
    X = rng.normal(size=(60, 3))
    pipeline = make_pipeline(StandardScaler(), IsolationForest(n_estimators=5, random_state=0))
    detector = ConformalOutlierDetector(pipeline, strategy="cross", random_state=0).fit(X)
    buffer = X[:5].copy()
    before = detector.score_samples(buffer)
    buffer += 9.0
    assert not np.allclose(detector.score_samples(buffer), before)
