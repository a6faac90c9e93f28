"""Conformal p-values and thresholds: what they promise, and for which detectors."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import coo_array, csr_array
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from sklearn_hrn import HRNOneClassClassifier, OneClassPipeline, TableEncoder, to_inlier_labels
from sklearn_hrn._group_calibration import GroupCalibration, discoveries
from sklearn_hrn.conformal import (
    ConformalOutlierDetector,
    conformal_p_values,
    false_alarm_threshold,
    likelihood_ratios,
)
from sklearn_hrn.exceptions import CalibrationError, LabelConventionWarning, ResolutionWarning
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # the checks bring a handful of rows
@pytest.mark.parametrize(
    "estimator",
    [
        ConformalOutlierDetector(OneClassSVM(), false_alarm_rate=0.1, random_state=0),
        ConformalOutlierDetector(LocalOutlierFactor(novelty=True), calibration_size=0.4),
        ConformalOutlierDetector(make_pipeline(StandardScaler(), OneClassSVM())),
    ],
    ids=["svm", "lof", "pipeline"],
)
def test_the_detector_keeps_scikit_learns_contract(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) > 40
    assert [r["check_name"] for r in results if r["status"] in ("failed", "xfail")] == []


# --- the promises, by simulation ------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "decimals"), [(0.05, None), (0.25, 1)], ids=["no ties", "ties"])
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
    for _ in range(120):
        X = rng.normal(size=(60, 2))
        detector = ConformalOutlierDetector(
            DistanceToMean(decimals), calibration_size=19, false_alarm_rate=0.1, random_state=0
        ).fit(X)
        p_values.append(detector.p_values(rng.normal(size=(20, 2))))
    p_values = np.array(p_values)
    for rate in np.arange(1, 20) / 20:
        share = np.mean(p_values <= rate, axis=1)
        standard_error = np.std(share) / np.sqrt(120)
        # Four standard errors: nineteen rates are looked at.
        assert share.mean() <= rate + 4 * standard_error
        if decimals is None:
            assert share.mean() >= rate - 4 * standard_error


@pytest.mark.parametrize("method", ["bh", "by"])
def test_the_false_discovery_rate_is_controlled_over_batches(rng, method):
    share_of_false, n_found = [], []
    for _ in range(60):
        detector = ConformalOutlierDetector(FirstColumn(), false_alarm_rate=0.5)
        detector.estimator.fit(np.zeros((1, 1)))
        detector.calibrate(rng.normal(size=(300, 1)))
        batch = np.concatenate([rng.normal(size=(80, 1)), rng.normal(loc=-4, size=(20, 1))])
        flagged = detector.predict_fdr(batch, fdr=0.2, method=method) == -1
        share_of_false.append(flagged[:80].sum() / max(flagged.sum(), 1))
        n_found.append(flagged[80:].sum())
    standard_error = np.std(share_of_false) / np.sqrt(60)
    assert np.mean(share_of_false) <= 0.2 * 0.8 + 3 * standard_error  # fdr x share of normal rows
    assert np.mean(n_found) > 5  # and it does find anomalies


@pytest.mark.parametrize(("strategy", "rate"), [("cross", 0.05), ("bootstrap", 0.25)])
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
    for _ in range(80):
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
    assert np.mean(share_of_false) <= 0.2 + 3 * np.std(share_of_false) / np.sqrt(80)
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
    two = make_pipeline(RBFSampler(), IsolationForest(n_estimators=10))
    assert len(set(seeds(ConformalOutlierDetector(two, random_state=0).fit(X)))) == 2


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
    at_once = clone(conformal)
    at_once.fit_predict(X, y, sample_weight=weight)
    assert at_once.offset_ == weighted.offset_
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


# --- weights: the mix of rows has changed ---------------------------------------------------------


def shifted(rng, n_rows, mean):
    """Scores and loads of normal rows: the higher the load, the wider what is normal for it."""
    load = rng.normal(mean, 1, size=n_rows)
    return -np.abs(rng.normal(size=n_rows)) * np.exp(load / 2), load


def test_weights_keep_the_rate_where_the_mix_of_rows_has_changed(rng):
    rate, realised = 0.1, {"none": [], "true": [], "own": [], "estimated": []}
    for repetition in range(80):
        scores, load = shifted(rng, 1000, mean=0)
        fresh, fresh_load = shifted(rng, 200, mean=1)
        ratios = np.exp(load - 0.5)  # of two normal distributions, one apart
        flagged = {
            "none": fresh < false_alarm_threshold(scores, rate),
            "true": fresh < false_alarm_threshold(scores, rate, weights=ratios),
            "own": rate
            >= conformal_p_values(
                fresh, scores, calibration_weights=ratios, weights=np.exp(fresh_load - 0.5)
            ),
        }
        if repetition < 12:
            new_load = rng.normal(1, 1, size=(500, 1))
            estimated = likelihood_ratios(load[:, None], new_load)
            flagged["estimated"] = fresh < false_alarm_threshold(scores, rate, weights=estimated)
        for name, labels in flagged.items():
            realised[name].append(labels.mean())
    mean = {name: np.mean(shares) for name, shares in realised.items()}
    error = {name: np.std(shares) / np.sqrt(len(shares)) for name, shares in realised.items()}
    # Three standard errors: a right procedure fails one seed in 700.
    assert mean["none"] - 3 * error["none"] > 1.5 * rate
    for name in ("true", "own"):
        assert rate / 2 < mean[name] <= rate + 3 * error[name]
    # That of the row itself is smaller than the largest, nearly always.
    assert mean["own"] > mean["true"]
    assert rate / 2 < mean["estimated"] <= rate + 0.01 + 3 * error["estimated"]


def test_weighted_p_values_are_the_formula(rng):
    known, weights = np.round(rng.normal(size=30), 1), rng.exponential(size=30)
    fresh, own = np.round(rng.normal(size=50), 1), rng.exponential(3, size=50)
    found = conformal_p_values(fresh, known, calibration_weights=weights, weights=own)
    expected = [
        (w + weights[known <= score].sum()) / (w + weights.sum())
        for score, w in zip(fresh, own, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    largest = conformal_p_values(fresh, known, calibration_weights=weights)
    expected = conformal_p_values(
        fresh, known, calibration_weights=weights, weights=np.full(50, weights.max())
    )
    np.testing.assert_array_equal(largest, expected)
    assert np.all(largest[own <= weights.max()] >= found[own <= weights.max()])


@pytest.mark.parametrize("weight", [1, 0.3, 1e-320, 1e308])
def test_equal_weights_are_none_bit_for_bit(rng, weight):
    known, fresh = np.round(rng.normal(size=99), 1), np.round(rng.normal(size=200), 1)
    weights = np.full(99, weight)
    np.testing.assert_array_equal(
        conformal_p_values(fresh, known, calibration_weights=weights),
        conformal_p_values(fresh, known),
    )
    for rate in (0.01, 0.05, 0.29, 0.57):
        assert false_alarm_threshold(known, rate, weights=weights) == false_alarm_threshold(
            known, rate
        )


def test_flagging_below_a_weighted_threshold_is_flagging_small_weighted_p_values(rng):
    n_flagged = 0
    for n in (1, 2, 19, 100, 400):
        known, fresh = np.round(rng.normal(size=n), 1), np.round(rng.normal(size=500), 1)
        weights = rng.exponential(size=n) * (rng.uniform(size=n) < 0.8)
        weights[0] = 1.0
        p_values = conformal_p_values(fresh, known, calibration_weights=weights)
        for rate in [0.05, 0.29, 0.9, *p_values[p_values < 1][:40]]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResolutionWarning)
                flagged = fresh < false_alarm_threshold(known, rate, weights=weights)
            np.testing.assert_array_equal(flagged, p_values <= rate)
            n_flagged += flagged.sum()
    assert n_flagged > 1000


def test_few_heavy_rows_support_no_small_rate():
    weights = np.r_[np.ones(5), np.full(95, 1e-9)]
    with pytest.warns(ResolutionWarning, match=r"as much as 5 of the heaviest.*is 0\.17.*least 19"):
        assert false_alarm_threshold(range(100), 0.05, weights=weights) == -np.inf
    assert false_alarm_threshold(range(100), 0.2, weights=weights) == 0.0


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([1.0], "has 1 entries, but .* has 2"),
        ([1.0, -1.0], "not negative"),
        ([1.0, np.nan], "finite"),
        ([1.0, np.inf], "finite"),
        ([0.0, 0.0], "not be 0 for all"),
        (["a", "b"], "must be numbers"),
    ],
)
def test_weights_that_are_none_are_refused_by_name(weights, problem):
    with pytest.raises(ValueError, match=f"^calibration_weights .*{problem}"):
        conformal_p_values([1.0], [1.0, 2.0], calibration_weights=weights)
    with pytest.raises(ValueError, match=f"^weights .*{problem}"):
        false_alarm_threshold([1.0, 2.0], 0.5, weights=weights)
    with pytest.raises(ValueError, match=f"^sample_weight .*{problem}"):
        fixed().calibrate([[1.0], [2.0]], sample_weight=weights)


def test_weights_of_fresh_rows_need_those_they_are_relative_to():
    with pytest.raises(ValueError, match="calibration_weights"):
        conformal_p_values([1.0], [1.0, 2.0], weights=[1.0])
    for own in (0.0, 1e308):
        p_value = conformal_p_values([0.0], [1.0], calibration_weights=[1e-300], weights=[own])
        assert p_value == [own > 0]


def fixed(**params):
    """A conformal detector whose scores are the first column, so that it needs no fit."""
    return ConformalOutlierDetector(FirstColumn().fit(np.zeros((1, 1))), **params)


def test_a_weighted_calibration_is_honoured_by_all_that_decides(rng):
    scores, load = shifted(rng, 500, mean=0)
    fresh, _ = shifted(rng, 300, mean=1)
    ratios, order = np.exp(load / 2), np.argsort(scores)
    y = np.where(np.arange(500) < 100, -1, 1)
    detector = fixed(false_alarm_rate=0.1).calibrate(scores[:, None], sample_weight=ratios)
    np.testing.assert_array_equal(detector.calibration_scores_, scores[order])
    np.testing.assert_array_equal(detector.calibration_weights_, ratios[order])
    p_values = conformal_p_values(fresh, scores, calibration_weights=ratios)
    np.testing.assert_array_equal(detector.p_values(fresh[:, None]), p_values)
    for rate in (0.1, 0.3, 0.05):
        detector.set_false_alarm_rate(rate)
        assert detector.offset_ == false_alarm_threshold(scores, rate, weights=ratios)
        np.testing.assert_array_equal(detector.predict(fresh[:, None]) == -1, p_values <= rate)
    batch = np.r_[fresh[:50], np.full(50, -99.0)]
    p_values = conformal_p_values(batch, scores, calibration_weights=ratios)
    expected = false_discovery_control(p_values, method="by") <= 0.3
    assert expected[-50:].all() and not expected.all()
    found = detector.predict_fdr(batch[:, None], fdr=0.3, method="by") == -1
    np.testing.assert_array_equal(found, expected)
    with pytest.warns(ResolutionWarning, match="500 calibration rows the smallest p-value is 0"):
        detector.predict_fdr(batch[:, None], fdr=0.001, method="by")
    # rows that are left out take their weights with them
    ratios[y == -1] = 1e6
    detector.calibrate(scores[:, None], y, sample_weight=ratios)
    assert detector.offset_ == false_alarm_threshold(scores[100:], 0.05, weights=ratios[100:])
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.p_values(fresh[:, None]), detector.p_values(fresh[:, None]))
    assert detector.calibrate(scores[:, None]).calibration_weights_ is None


def test_verdicts_are_refused_where_there_is_more_than_one_threshold(X):
    detector = fixed(false_alarm_rate=0.1)
    group = np.arange(400) % 2
    for given in ({"sample_weight": np.ones(400)}, {"groups": group}):
        detector.calibrate(X, **given)
        with pytest.raises(ValueError, match=r"weights and groups.*calibrate anew"):
            detector.feedback(X[:1] - 99, [-1], n_screened=10)
    detector.calibrate(X).feedback(X[:1] - 99, [-1], n_screened=10)


def test_ratios_are_those_of_the_distributions(rng):
    old, new = rng.normal(0, 1, size=(4000, 1)), rng.normal(1, 1, size=(2000, 1))
    ratios = likelihood_ratios(old, new)
    true = np.exp(old[:, 0] - 0.5)
    assert np.median(np.abs(np.log(ratios / true))) < 0.1
    assert ratios.mean() == pytest.approx(1, abs=0.1)
    again = likelihood_ratios(csr_array(old), new, classifier=LogisticRegression())
    np.testing.assert_allclose(again, ratios, rtol=0.02)  # the penalty is that of other columns


def test_rows_are_judged_by_classifiers_that_were_not_trained_on_them(rng):
    # A tree knows each row that it has seen; of rows that differ in nothing it may not.
    old, new = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    ratios = likelihood_ratios(old, new, classifier=DecisionTreeClassifier(random_state=0))
    # A tree is certain, and counts of 600 rows say no more than 1 / 602.
    assert set(np.round(ratios, 6)) == {round(1 / 601, 6), 601}
    assert 0.35 < np.mean(ratios > 1) < 0.65
    splits = KFold(3, shuffle=True, random_state=1)
    assert not np.array_equal(likelihood_ratios(old, new, cv=splits), likelihood_ratios(old, new))


def test_frames_are_told_apart_by_their_columns(rng):
    old = pd.DataFrame({"site": ["a", "b"] * 50, "load": rng.normal(size=100)})
    new = pd.DataFrame({"site": ["a"] * 100, "load": rng.normal(size=100)})
    classifier = make_pipeline(TableEncoder(), LogisticRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of labels that are 0 and 1
        ratios = likelihood_ratios(old, new, classifier=classifier)
    assert ratios[::2].min() > ratios[1::2].max()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_frames_are_compared_by_their_names(rng, library):
    frames = pytest.importorskip(library)
    columns = {"a": rng.normal(size=60), "b": rng.normal(5, 1, size=60)}
    old, new = frames.DataFrame(columns), frames.DataFrame({"b": columns["b"], "a": columns["a"]})
    np.testing.assert_array_equal(likelihood_ratios(old, new), likelihood_ratios(old, old))
    other = frames.DataFrame({"a": columns["a"], "c": columns["b"]})
    with pytest.raises(ValueError, match="have the columns 'a', 'b' and 'a', 'c'"):
        likelihood_ratios(old, other)


def test_ratios_of_tables_with_text_take_a_classifier_that_takes_it(rng):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": rng.normal(size=60), "b": rng.choice(["x", "y"], 60)})
    with pytest.raises(ValueError, match=r"text in column 'b'.* give another classifier, such as"):
        likelihood_ratios(table, table[table["b"] == "x"])
    takes_text = make_pipeline(TableEncoder(), StandardScaler(), LogisticRegression())
    ratios = likelihood_ratios(table, table[table["b"] == "x"], classifier=takes_text)
    assert ratios[table["b"] == "x"].min() > ratios[table["b"] == "y"].max()


def test_what_cannot_be_told_apart_is_refused_by_name(rng):
    X = rng.normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"X_calibration has 20 and X_new 4"):
        likelihood_ratios(X, X[:4])
    with pytest.raises(ValueError, match=r"\(20, 2\) and \(20, 1\)"):
        likelihood_ratios(X, X[:, :1])
    for bad in ({"cv": 1}, {"cv": "cross"}, {"classifier": OneClassSVM()}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            likelihood_ratios(X, X, **bad)


# --- groups: a rate for each ----------------------------------------------------------------------


def machines(rng, n_rows):
    """Rows of two machines, of which the old one, a quarter of them, varies three times as much."""
    machine = np.where(np.arange(n_rows) % 4 == 0, "old", "new")
    return rng.normal(size=(n_rows, 2)) * np.where(machine == "old", 3, 1)[:, None], machine


@pytest.mark.parametrize("strategy", ["split", "cross", "bootstrap"])
def test_every_group_has_the_rate_where_one_threshold_flags_one_far_too_often(rng, strategy):
    rate, n_repetitions = 0.1, 40 if strategy == "split" else 12
    realised = {True: [], False: []}
    for _ in range(n_repetitions):
        X, machine = machines(rng, 400)
        fresh, fresh_machine = machines(rng, 400)
        for has_groups, shares in realised.items():
            groups, fresh_groups = (machine, fresh_machine) if has_groups else (None, None)
            detector = ConformalOutlierDetector(
                DistanceToMean(),
                false_alarm_rate=rate,
                strategy=strategy,
                n_models=5,
                random_state=rng.integers(1000),
            ).fit(X, groups=groups)
            flagged = detector.predict(fresh, groups=fresh_groups) == -1
            shares.append([flagged[fresh_machine == name].mean() for name in ("new", "old")])
    assert np.mean(realised[False], axis=0)[1] > 3 * rate
    assert np.mean(realised[False], axis=0)[0] < 0.5 * rate
    mean = np.mean(realised[True], axis=0)
    error = np.std(realised[True], axis=0) / np.sqrt(n_repetitions)
    # 20 old rows calibrate a split: their rate is 2 / 21. Of the others the rate is usual.
    assert np.all(mean <= rate + 3 * error) and np.all(mean >= 0.8 * rate - 3 * error)


def test_a_group_is_calibrated_by_its_rows_alone(X, rng):
    group = np.repeat(["a", "b"], 200)
    fresh = rng.normal(size=(100, 3))
    fresh_group = np.where(np.arange(100) % 3 == 0, "a", "b")
    detector = fixed(false_alarm_rate={"a": 0.1, "b": 0.3}).calibrate(X, groups=group)
    assert set(detector.offset_) == set(detector.calibration_scores_) == {"a", "b"}
    assert detector.calibration_weights_ is None
    p_values = detector.p_values(fresh, groups=fresh_group)
    labels = detector.predict(fresh, groups=fresh_group)
    decision = detector.decision_function(fresh, groups=fresh_group)
    for name, rate in (("a", 0.1), ("b", 0.3)):
        alone = fixed(false_alarm_rate=rate).calibrate(X[group == name])
        rows = fresh_group == name
        assert detector.offset_[name] == alone.offset_
        np.testing.assert_array_equal(detector.calibration_scores_[name], alone.calibration_scores_)
        np.testing.assert_array_equal(p_values[rows], alone.p_values(fresh[rows]))
        np.testing.assert_array_equal(labels[rows], alone.predict(fresh[rows]))
        np.testing.assert_array_equal(decision[rows], alone.decision_function(fresh[rows]))
    batch = np.r_[fresh[:40], np.full((20, 3), -99.0)]
    of = np.r_[fresh_group[:40], ["a", "b"] * 10]
    found = detector.predict_fdr(batch, groups=of, fdr=0.3) == -1
    p_values = detector.p_values(batch, groups=of)
    np.testing.assert_array_equal(found, false_discovery_control(p_values) <= 0.3)
    assert found[40:].all() and not found.all()
    with pytest.warns(ResolutionWarning, match="200 calibration rows a group at most"):
        detector.predict_fdr(batch[:5], groups=of[:5], fdr=0.001)


def test_weights_and_groups_go_together(X, rng):
    group, weight = np.repeat([1, 2], 200), rng.exponential(size=400)
    detector = fixed(false_alarm_rate=0.1).calibrate(X, sample_weight=weight, groups=group)
    for name in (1, 2):
        alone = fixed(false_alarm_rate=0.1).calibrate(
            X[group == name], sample_weight=weight[group == name]
        )
        assert detector.offset_[name] == alone.offset_
        np.testing.assert_array_equal(
            detector.calibration_weights_[name], alone.calibration_weights_
        )
    with pytest.raises(ValueError, match="sample_weight of group 2 must not be 0"):
        detector.calibrate(X, sample_weight=group == 1, groups=group)


@pytest.mark.parametrize("groups", [None, np.repeat([1, 2], 200)])
def test_discoveries_by_weights_are_those_of_the_procedure_that_is_proven_for_them(X, rng, groups):
    detector, weight = fixed(false_alarm_rate=0.1), rng.exponential(size=400)
    plain = detector.calibrate(X, groups=groups)
    expected = plain.predict_fdr(X[:9] - 9, groups=None if groups is None else groups[:9])
    for equal in (np.ones(400), np.full(400, 7.0)):
        detector.calibrate(X, sample_weight=equal, groups=groups)
        found = detector.predict_fdr(X[:9] - 9, groups=None if groups is None else groups[:9])
        np.testing.assert_array_equal(found, expected)
    detector.calibrate(X, sample_weight=weight, groups=groups)
    for method in ("bh", "lond"):
        with pytest.raises(ValueError, match=f'"?{method}.* is not proven .* take method="by"'):
            detector.predict_fdr(X, method=method, groups=groups)
    assert set(detector.predict_fdr(X, method="by", groups=groups)) <= {-1, 1}


@pytest.mark.parametrize("size", [0.2, 0.05, 20, 7])
def test_a_split_sets_aside_the_share_of_each_group(X, size):
    group = np.repeat(["a", "b", "c", "d"], [300, 60, 39, 1])
    y = np.where(np.arange(400) < 100, -1, 1)
    detector = ConformalOutlierDetector(
        DistanceToMean(), calibration_size=size, false_alarm_rate=0.6, random_state=0
    ).fit(X, y, groups=group)
    n_rows = {name: len(scores) for name, scores in detector.calibration_scores_.items()}
    total = size if size >= 1 else size * 300
    assert sum(n_rows.values()) == total
    assert detector.estimator_.n_rows_ == 300 - total
    for name, n_of in {"a": 200, "b": 60, "c": 39, "d": 1}.items():
        assert 1 <= n_rows[name] <= np.ceil(total * n_of / 300) + 1
        assert n_rows[name] >= np.floor(total * n_of / 300) - 2


def test_one_group_of_all_rows_is_calibrated_as_none(X):
    for strategy in ("split", "cross", "bootstrap"):
        detector = ConformalOutlierDetector(DistanceToMean(), strategy=strategy, random_state=0)
        plain = clone(detector).fit(X)
        grouped = detector.fit(X, groups=["all"] * 400)
        assert grouped.offset_ == {"all": plain.offset_}
        np.testing.assert_array_equal(grouped.p_values(X, groups=["all"] * 400), plain.p_values(X))


def test_a_frozen_detector_is_calibrated_on_the_rows_of_each_group(X):
    group = np.arange(400) % 2
    frozen = ConformalOutlierDetector(FrozenEstimator(forest().fit(X[:200])), false_alarm_rate=0.1)
    y = np.where(np.arange(400) < 200, -1, 1)
    frozen.fit(X, y, groups=group)
    expected = frozen.calibrate(X[200:], groups=group[200:]).offset_
    assert frozen.fit(X, y, groups=group).offset_ == expected


def test_rates_of_groups_are_moved_without_training(X):
    group = np.repeat(["a", "b"], 200)
    detector = ConformalOutlierDetector(
        DistanceToMean(), false_alarm_rate={"a": 0.1, "b": 0.2}, random_state=0
    )
    assert clone(detector).get_params()["false_alarm_rate"] == {"a": 0.1, "b": 0.2}
    first = detector.fit(X, groups=group).offset_
    model = detector.estimator_
    detector.set_false_alarm_rate(0.2)
    assert detector.false_alarm_rate == 0.2 and detector.estimator_ is model
    assert detector.offset_["b"] == first["b"] and detector.offset_["a"] > first["a"]
    detector.set_false_alarm_rate({"a": 0.1, "b": 0.2, "a spare": 0.5})
    assert detector.offset_ == first
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.predict(X, groups=group), detector.predict(X, groups=group))
    labels = clone(detector).fit_predict(X, groups=group)
    np.testing.assert_array_equal(labels, detector.predict(X, groups=group))


@pytest.mark.parametrize(
    ("rates", "problem"),
    [
        ({"a": 0.1}, "no rate for 1 group.*'b'.*rates for 'a'"),
        ({"a": 0.1, "b": 1.0}, "group 'b' must lie between 0 and 1, got 1.0"),
        ({"a": 0.1, "b": "x"}, "group 'b' must lie between 0 and 1, got 'x'"),
        ({}, "no rate for 2 group.*'a'"),
    ],
)
def test_rates_that_leave_a_group_without_one_are_refused_and_change_nothing(X, rates, problem):
    group = np.repeat(["a", "b"], 200)
    with pytest.raises(ValueError, match=f"false_alarm_rate.*{problem}"):
        ConformalOutlierDetector(None, false_alarm_rate=rates).set_params(
            estimator=DistanceToMean()
        ).fit(X, groups=group)
    detector = ConformalOutlierDetector(DistanceToMean(), random_state=0).fit(X, groups=group)
    before = dict(vars(detector))
    with pytest.raises(ValueError, match=f"false_alarm_rate.*{problem}"):
        detector.set_false_alarm_rate(rates)
    with pytest.raises(ValueError, match=problem):
        detector.set_params(false_alarm_rate=rates).calibrate(X, groups=group)
    assert vars(detector.set_params(false_alarm_rate=0.05)) == before


def test_rates_by_group_need_groups(X):
    detector = ConformalOutlierDetector(DistanceToMean(), false_alarm_rate={"a": 0.1})
    with pytest.raises(ValueError, match=r"false_alarm_rate.*without groups"):
        detector.fit(X)
    with pytest.raises(ValueError, match=r"false_alarm_rate.*without groups"):
        ConformalOutlierDetector(DistanceToMean()).fit(X).set_false_alarm_rate({"a": 0.1})


def test_groups_that_do_not_fit_the_calibration_are_refused_with_what_is_known(X):
    plain, group = fixed().calibrate(X), np.repeat(["a", "b"], 200)
    grouped = fixed().calibrate(X, groups=group)
    for method in ("decision_function", "predict", "p_values", "predict_fdr"):
        with pytest.raises(ValueError, match="give groups=, which of 'a', 'b'"):
            getattr(grouped, method)(X)
        with pytest.raises(ValueError, match=r"such as 'c'; known groups are 'a', 'b'"):
            getattr(grouped, method)(X[:2], groups=["a", "c"])
        with pytest.raises(
            ValueError, match="groups are given, but the calibration rows have none"
        ):
            getattr(plain, method)(X, groups=group)
        with pytest.raises(ValueError, match="2 entries, but X has 3 rows"):
            getattr(grouped, method)(X[:3], groups=["a", "b"])
        with pytest.raises(ValueError, match="missing"):
            getattr(grouped, method)(X[:2], groups=np.array(["a", None], dtype=object))
        with pytest.raises(NotFittedError):
            getattr(ConformalOutlierDetector(forest()), method)(X, groups=group)


@pytest.mark.parametrize(
    ("params", "n_rows"),
    [({"calibration_size": 1}, 5), ({"strategy": "bootstrap", "n_models": 2}, 1)],
)
def test_a_group_without_calibration_rows_is_named(X, params, n_rows):
    group = np.where(np.arange(400) < n_rows, "rare", "common")
    offsets = []
    for seed in range(10):  # of two draws with replacement, both hold a row in 4 of 10
        detector = ConformalOutlierDetector(DistanceToMean(), random_state=seed, **params)
        detector.set_params(false_alarm_rate=0.6)
        try:
            offsets.append(set(detector.fit(X, groups=group).offset_))
        except CalibrationError as error:
            assert re.search(f"group '(rare|common)' has no rows.*{n_rows}|395", str(error))
            assert not hasattr(detector, "estimators_")
    assert len(offsets) < 10 and all(names == {"rare", "common"} for names in offsets)


def test_groups_with_too_few_rows_are_named_by_one_warning(X):
    group = np.repeat(["a", "b", "c"], [380, 10, 10])
    with pytest.warns(ResolutionWarning) as told:
        detector = fixed().calibrate(X, groups=group)
    assert len(told) == 1
    assert re.search("in 2 group.*such as 'b': with 10 calibration rows", str(told[0].message))
    assert detector.offset_["b"] == -np.inf and np.isfinite(detector.offset_["a"])
    assert detector.predict(X[:1] - 99, groups=["b"]).tolist() == [1]


class Grouped(FirstColumn):
    """Remembers which groups it was fitted with."""

    def fit(self, X, y=None, groups=None):
        self.groups_ = groups
        return super().fit(X)


def test_the_detector_gets_groups_where_routing_is_enabled_and_it_requests_them(X):
    group = np.arange(400) % 2
    for grouped in (Grouped(), make_pipeline(StandardScaler(), Grouped())):
        plain = ConformalOutlierDetector(grouped, random_state=0)
        with pytest.warns(UserWarning, match="Grouped takes groups in its fit, but does not get"):
            plain.fit(X, groups=group)
    plain = ConformalOutlierDetector(Grouped(), random_state=0).fit(X)
    assert plain.estimator_.groups_ is None
    with pytest.warns(UserWarning, match="Grouped takes groups"):
        plain = plain.fit(X, groups=group)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = Grouped().set_fit_request(groups=True)
        routed = ConformalOutlierDetector(asking, random_state=0).fit(X, groups=group)
        assert len(routed.estimator_.groups_) == routed.estimator_.n_rows_ == 320
        unasked = Grouped().set_fit_request(groups=False)
        unasked = ConformalOutlierDetector(unasked, random_state=0).fit(X, groups=group)
        assert unasked.estimator_.groups_ is None
        outer = ConformalOutlierDetector(unasked.estimator).set_fit_request(groups=True)
        search = InlierSearch(outer).fit(X, groups=group)
        assert set(search.detector_.offset_) == {0, 1}
    assert routed.offset_ == unasked.offset_ == plain.offset_


class InlierSearch(BaseEstimator):
    """A meta-estimator that hands on what is requested of it."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None, **params):
        routed = process_routing(self, "fit", **params)
        self.detector_ = clone(self.detector).fit(X, **routed.detector.fit)
        return self

    def get_metadata_routing(self):
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(detector=self.detector, method_mapping=mapping)


def by_half():
    return ConformalOutlierDetector(OneClassSVM(), false_alarm_rate=0.5)


HIDDEN = np.ma.masked_array([1.0, 1.0, -1.0, 1.0], mask=[0, 1, 0, 0])


@pytest.mark.parametrize(
    "call",
    [
        lambda X: false_alarm_threshold(HIDDEN, 0.5),
        lambda X: false_alarm_threshold(X[:, 0], 0.5, weights=HIDDEN),
        lambda X: conformal_p_values(HIDDEN, [1.0, 2.0]),
        lambda X: to_inlier_labels(HIDDEN, normal=1),
        lambda X: by_half().fit(X, HIDDEN),
        lambda X: ConformalOutlierDetector(OneClassSVM(), false_alarm_rate=0.5).fit(
            X, groups=HIDDEN
        ),
        lambda X: by_half().fit(X).feedback(X, HIDDEN, n_screened=9),
    ],
)
def test_values_that_a_mask_hides_are_not_taken_for_scores_weights_labels_or_groups(call, rng):
    with pytest.raises(ValueError, match="masked array that hides 1 values"):
        call(rng.normal(size=(4, 2)))


class Learning(FirstColumn):
    """Could learn from verdicts."""

    _learn_verdicts = None


@pytest.mark.parametrize("strategy", ["split", "cross"])
def test_rows_that_are_kept_for_feedback_are_normal_and_have_trained(X, strategy):
    y = np.where(np.arange(400) < 200, -1, 1)
    conformal = ConformalOutlierDetector(
        Learning(), strategy=strategy, reference_rows=100, random_state=0
    ).fit(X, y)
    kept = conformal._reference
    assert len(kept) == 100 and np.isin(kept[:, 0], X[200:, 0]).all()
    if strategy == "split":
        assert not np.isin(kept[:, 0], conformal.calibration_scores_).any()


def test_a_frozen_detector_does_not_learn_from_rows_of_an_earlier_fit(X):
    conformal = ConformalOutlierDetector(Learning(), random_state=0).fit(X)
    conformal.set_params(estimator=FrozenEstimator(Learning().fit(X))).fit(X)
    with pytest.raises(ValueError, match="nothing can be learned"):
        conformal.feedback(np.full((1, 3), -9.0), [-1])


def test_groups_and_weights_of_normal_rows_are_those_that_count(X):
    group, weight = np.arange(400) % 2, np.linspace(1, 2, 400)
    y = np.where(np.arange(400) % 5 == 0, -1, 1)
    normal = y == 1
    for of_fit in (True, False):
        conformal = ConformalOutlierDetector(forest(), false_alarm_rate=0.1, random_state=0)
        all_rows, alone = clone(conformal), clone(conformal)
        all_rows.fit(X, y, groups=group)
        alone.fit(X[normal], groups=group[normal])
        if not of_fit:
            all_rows.calibrate(X, y, sample_weight=weight, groups=group)
            alone.calibrate(X[normal], sample_weight=weight[normal], groups=group[normal])
        assert all_rows.offset_ == alone.offset_


def test_a_stream_of_p_values_is_decided_by_the_levels_of_lond():
    # Of a rate of 0.1 they are 0.0608, 0.0152, 0.00675 and 0.0038, times one and the number found.
    found = discoveries([0.05, 0.03, 0.0203, 0.0113], 0.1, "lond")
    assert found.tolist() == [True, True, False, True]
    assert not discoveries([0.0609, 0.0153, 0.0068, 0.0039], 0.1, "lond").any()


def test_without_a_number_of_models_a_bootstrap_draws_twenty(X):
    conformal = ConformalOutlierDetector(FirstColumn(), strategy="bootstrap", random_state=0)
    assert len(conformal.fit(X).estimators_) == 20
    # Of three rows some draws leave none out: they score none, and train no model.
    with pytest.warns(ResolutionWarning):
        n_models = len(conformal.fit(X[:3]).estimators_)
    assert 0 < n_models < 20


def test_a_parameter_of_another_library_is_not_taken_for_a_calibration_of_ours(X):
    class Own(FirstColumn):
        def __init__(self, calibration="isotonic", decimals=None):
            super().__init__(decimals)
            self.calibration = calibration

    assert ConformalOutlierDetector(Own()).fit(X).estimator_.calibration == "isotonic"


@pytest.mark.parametrize("fit_params", [{}, {"standardscaler__sample_weight": np.ones(400)}])
def test_a_calibration_of_ours_is_switched_off_for_the_models_alone(X, fit_params):
    hrn = HRNOneClassClassifier(max_updates=1, calibration=2, random_state=0)
    conformal = ConformalOutlierDetector(make_pipeline(StandardScaler(), hrn), random_state=0)
    fitted = conformal.fit(X, **fit_params).estimator_[-1]
    assert fitted.calibration is None and not hasattr(fitted, "calibration_scores_")
    assert hrn.calibration == 2


@pytest.mark.parametrize("strategy", ["split", "cross"])
def test_an_outlier_share_of_ours_is_left_out_of_the_rows_of_every_model(X, strategy):
    pipeline = OneClassPipeline([("svm", OneClassSVM())], outlier_share=0.25)
    conformal = ConformalOutlierDetector(pipeline, strategy=strategy, random_state=0).fit(X)
    assert all(len(model.left_out_) > len(X) // 10 for model in conformal.estimators_)


@pytest.mark.parametrize("method", ["bh", "by", "lond"])
def test_a_p_value_at_the_level_itself_is_a_discovery(method):
    level = 6 * 0.25 / np.pi**2 if method == "lond" else 0.25
    assert discoveries(np.array([level]), 0.25, method).all()


def test_few_heavy_rows_are_said_to_be_too_few_for_a_discovery():
    weights = np.r_[1, np.full(98, 0.001)]  # 1.098 rows like the heaviest
    calibration = GroupCalibration.of_rows(np.arange(99.0), weights, None)
    with pytest.warns(
        ResolutionWarning, match=r"99 calibration rows the smallest p-value is 0\.48"
    ):
        assert not calibration.discoveries(np.array([0.48]), {None: [0]}, 0.1, "by").any()
    with warnings.catch_warnings():  # of enough rows, a batch without a discovery is one
        warnings.simplefilter("error")
        enough = GroupCalibration.of_rows(np.arange(99.0), None, None)
        assert not enough.discoveries(np.array([0.48]), {None: [0]}, 0.1, "bh").any()


def test_the_scores_of_a_detector_are_its_score_samples_where_it_has_them(X):
    class Both(FirstColumn):
        def decision_function(self, X):
            return -self.score_samples(X)

    conformal = ConformalOutlierDetector(Both(), random_state=0).fit(X)
    np.testing.assert_array_equal(conformal.score_samples(X), X[:, 0])


def test_a_fit_that_fails_while_it_keeps_rows_for_feedback_leaves_the_one_before(X, monkeypatch):
    conformal = ConformalOutlierDetector(Learning(), random_state=0).fit(X)
    before = dict(vars(conformal))

    def full(kept):
        raise MemoryError

    monkeypatch.setattr("sklearn_hrn.conformal.as_columns", full)
    with pytest.raises(MemoryError):
        conformal.fit(X + 1)
    assert all(vars(conformal)[name] is value for name, value in before.items())
