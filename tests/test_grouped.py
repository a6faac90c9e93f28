"""A detector for each group."""

import os
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
from joblib import parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_hrn import (
    HRNGroupedDetector,
    HRNOneClassClassifier,
    InstanceL2Normalizer,
    OneClassPipeline,
)
from sklearn_hrn._training import train
from sklearn_hrn.exceptions import ResolutionWarning, TrainingDivergedError


def pipeline(**parameters):
    hrn = HRNOneClassClassifier(8, init=0.1, max_updates=20, contamination=0.1, random_state=0)
    steps = [("scale", StandardScaler()), ("norm", InstanceL2Normalizer(append=1.0)), ("hrn", hrn)]
    return OneClassPipeline(steps, **parameters)


@pytest.fixture
def pumps(rng):
    """Rows (90, 4), around another point for each of three pumps of unequal share."""
    pump = rng.choice(["a", "b", "c"], size=90, p=[0.5, 0.3, 0.2])
    centre = {"a": 0.0, "b": 5.0, "c": -3.0}
    return rng.normal(size=(90, 4)) + [[centre[p]] for p in pump], pump


def classifier(**parameters):
    return HRNOneClassClassifier(8, init=0.1, max_updates=20, random_state=0, **parameters)


class Kept(BaseEstimator):
    """Keeps the rows that it is fitted on."""

    def fit(self, X, y=None):
        self.rows_ = X
        return self

    def decision_function(self, X):
        return np.zeros(len(X))


def forest():
    return IsolationForest(n_estimators=5, contamination=0.1, random_state=0)


@pytest.mark.parametrize(
    "estimator",
    [
        pipeline(),
        pipeline(calibration=2),
        pipeline(calibration="cross", outlier_share=0.1),
        pipeline(outlier_share=0.1, subsample=12),
        pipeline(calibration=KFold(3, shuffle=True, random_state=0), subsample=12),
        pipeline().set_params(hrn__calibration=2),
        make_pipeline(StandardScaler(), classifier(calibration=2)),
        classifier(),
        classifier(calibration=2),
        forest(),
        OneClassPipeline([("forest", forest())], calibration=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.RowLengthWarning")
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ResolutionWarning")
def test_each_group_is_fitted_as_it_would_be_alone(estimator, pumps):
    X, pump = pumps
    grouped = HRNGroupedDetector(estimator).fit(X, groups=pump)
    scores, decision = grouped.score_samples(X, pump), grouped.decision_function(X, pump)
    for name in "abc":
        mine = pump == name
        alone = clone(estimator).fit(X[mine])
        assert np.allclose(scores[mine], alone.score_samples(X[mine]), rtol=0, atol=1e-6)
        if hasattr(alone, "offset_"):
            assert grouped.detectors_[name].offset_ == pytest.approx(alone.offset_, abs=1e-6)
        assert np.allclose(decision[mine], alone.decision_function(X[mine]), rtol=0, atol=1e-6)
        for kept in ("reference_rows_", "left_out_"):
            if hasattr(alone, kept):
                assert np.array_equal(getattr(grouped.detectors_[name], kept), getattr(alone, kept))
        if hasattr(alone, "calibration_scores_"):
            ours = grouped.detectors_[name].calibration_scores_
            assert np.allclose(ours, alone.calibration_scores_, rtol=0, atol=1e-6)
    assert np.array_equal(grouped.predict(X, pump), np.where(decision >= 0, 1, -1))


@pytest.mark.parametrize("waiting_bytes", [2**28, 0])
@pytest.mark.parametrize("calibration", [None, 2])
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ResolutionWarning")
def test_all_folds_of_all_groups_train_in_one_loop_for_which_there_is_memory(
    waiting_bytes, calibration, pumps, monkeypatch
):
    tasks = []

    def spy(some):
        tasks.append(len(some))
        return train(some)

    monkeypatch.setattr("sklearn_hrn._training.train", spy)
    monkeypatch.setattr("sklearn_hrn._joint_fit.WAITING_BYTES", waiting_bytes)
    X, pump = pumps
    detector = HRNGroupedDetector(pipeline(calibration=calibration), unknown="error")
    detector.fit(X, groups=pump)
    n_fits = 3 * (1 + (calibration or 0))
    assert tasks == [n_fits] if waiting_bytes else tasks == [1] * n_fits


def test_a_kind_of_warning_is_told_once_with_the_number_of_the_others(pumps):
    X, pump = pumps
    detector = HRNGroupedDetector(pipeline(calibration=2), unknown="error")
    detector.set_params(estimator__hrn__contamination=0.001)
    with pytest.warns(ResolutionWarning, match=r"2 more of this kind") as told:
        detector.fit(X, groups=pump)
    assert [w.category for w in told] == [ResolutionWarning] and told[0].filename == __file__
    with pytest.warns(ResolutionWarning) as told:
        detector.fit(X)
    assert len(told) == 1 and "of this kind" not in str(told[0].message)


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ResolutionWarning")
@pytest.mark.parametrize("calibration", [None, 2])
def test_a_group_that_cannot_be_trained_is_named_with_or_without_calibration(calibration, pumps):
    X, pump = pumps
    detector = HRNGroupedDetector(pipeline(calibration=calibration), random_state=0)
    detector.fit(X, groups=pump)
    before = detector.score_samples(X, pump)
    # Values whose steps are right and whose training is not.
    broken = clone(detector.estimator).set_params(scale="passthrough", norm=Exploding())
    broken.set_params(hrn__max_updates=2)  # each of which is tried with thirty steps
    with pytest.raises(TrainingDivergedError) as error:
        detector.set_params(estimator=broken).fit(X, groups=pump)
    assert "group 'b'" in "".join(error.value.__notes__)
    assert np.array_equal(detector.score_samples(X, pump), before)


class Exploding(BaseEstimator):
    """Makes rows around 5 longer than training can follow."""

    def fit(self, X, y=None):
        self.factor_ = 1e30 if np.mean(X) > 3 else 0.1
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X)

    def transform(self, X):
        return X * self.factor_


@pytest.mark.slow
@pytest.mark.parametrize("calibration", [None, 2])
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ResolutionWarning")
def test_processes_that_share_the_groups_change_nothing(calibration, pumps):
    X, pump = pumps
    alone, shared = (
        HRNGroupedDetector(pipeline(calibration=calibration), n_jobs=n_jobs, random_state=0)
        for n_jobs in (1, 2)
    )
    expected = alone.fit(X, groups=pump).decision_function(X, pump)
    found = shared.fit(X, groups=pump).decision_function(X, pump)
    assert np.allclose(found, expected, rtol=0, atol=1e-6)
    unknown = ["new"] * 90
    expected = alone.score_samples(X, unknown)
    assert np.allclose(shared.score_samples(X, unknown), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"row|sample") as error:
        shared.fit(X, groups=np.where(np.arange(len(pump)) == 0, "d", pump))
    assert "group 'd'" in "".join(error.value.__notes__)


class Dying(BaseEstimator):
    """A detector that takes its process with it."""

    def fit(self, X, y=None):
        os._exit(1)

    def decision_function(self, X):
        return np.zeros(len(X))


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_and_leaves_what_was_fitted(pumps):
    X, pump = pumps
    detector = HRNGroupedDetector(pipeline(), n_jobs=2, random_state=0).fit(X, groups=pump)
    expected = detector.score_samples(X, pump)
    with pytest.raises(TerminatedWorkerError):
        detector.set_params(estimator=Dying()).fit(X, groups=pump)
    assert np.array_equal(detector.score_samples(X, pump), expected)


def test_the_group_is_an_argument_or_a_column_by_number_or_name(pumps):
    pd = pytest.importorskip("pandas")
    X, pump = pumps
    number = np.unique(pump, return_inverse=True)[1]
    expected = HRNGroupedDetector(pipeline(), random_state=0).fit(X, groups=number)
    expected = expected.score_samples(X, number)
    array = np.c_[X[:, :2], number, X[:, 2:]]
    table = pd.DataFrame(X, columns=list("wxyz")).assign(pump=number)
    for data, column in ((array, 2), (table, "pump"), (table, -1)):
        detector = HRNGroupedDetector(pipeline(), group_column=column).fit(data)
        # Sums of a frame's columns run in another order.
        assert np.allclose(detector.score_samples(data), expected, rtol=0, atol=1e-5)
    assert list(detector.feature_names_in_) == [*"wxyz", "pump"]
    with pytest.raises(ValueError, match="given twice"):
        detector.predict(data, number)


def test_rows_of_an_unknown_group_get_the_answer_of_all_groups_together(pumps):
    X, pump = pumps
    detector = HRNGroupedDetector(pipeline(), random_state=0).fit(X, groups=pump)
    scores = detector.score_samples(X[:5], ["new"] * 5)
    assert np.array_equal(scores, detector.pooled_.score_samples(X[:5]))
    strict = HRNGroupedDetector(pipeline(), unknown="error").fit(X, groups=pump)
    assert strict.pooled_ is None
    with pytest.raises(ValueError, match="such as 'new'"):
        strict.predict(X[:5], ["new"] * 5)


def test_a_single_group_is_all_groups_together(pumps):
    X, _ = pumps
    detector = HRNGroupedDetector(Kept()).fit(X, groups=["a"] * 90)
    assert detector.pooled_ is detector.detectors_["a"]


def test_unknown_groups_get_the_answer_to_rows_drawn_as_many_as_the_largest_has(pumps):
    X, pump = pumps

    def drawn(seed):
        rows = HRNGroupedDetector(Kept(), random_state=seed).fit(X, groups=pump).pooled_.rows_
        return np.flatnonzero((X[:, None] == rows).all(axis=2).any(axis=1))

    assert len(drawn(0)) == max(np.unique(pump, return_counts=True)[1])
    assert np.array_equal(drawn(0), drawn(0)) and not np.array_equal(drawn(0), drawn(1))


def test_anomalies_teach_no_detector(pumps):
    X, pump = pumps
    y = np.where(X[:, 0] > np.median(X[:, 0]), -1, 1)
    y[:10] = 1
    with_them = HRNGroupedDetector(pipeline(), random_state=0).fit(X, y, groups=pump)
    without = HRNGroupedDetector(pipeline(), random_state=0).fit(X[y == 1], groups=pump[y == 1])
    for groups in (pump, ["new"] * 90):
        expected = without.score_samples(X, groups)
        assert np.array_equal(with_them.score_samples(X, groups), expected)


@pytest.mark.parametrize("kind", [OneClassPipeline, Pipeline, "the last step alone"])
def test_a_group_that_cannot_be_fitted_is_named_and_nothing_is_changed(kind, pumps):
    X, pump = pumps
    steps = pipeline().steps
    estimator = kind(steps) if isinstance(kind, type) else steps[-1][1]
    detector = HRNGroupedDetector(estimator, random_state=0).fit(X, groups=pump)
    before = detector.score_samples(X, pump)
    alone = np.where(np.arange(len(pump)) == 0, "d", pump)
    with pytest.raises(ValueError, match=r"row|sample") as error:
        detector.fit(X, groups=alone)
    assert "group 'd'" in "".join(error.value.__notes__)
    assert np.array_equal(detector.score_samples(X, pump), before)


def test_a_frame_without_rows_is_refused(pumps):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(pumps[0], columns=list("wxyz"))
    detector = HRNGroupedDetector(forest())
    with pytest.raises(ValueError, match="X has no rows"):
        detector.fit(table[:0])
    with pytest.raises(ValueError, match="X has no rows"):
        detector.fit(table).predict(table[:0])


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_row_without_a_group_is_an_error(missing, pumps):
    X, pump = pumps
    groups = pump.astype(object)
    groups[3] = missing
    with pytest.raises(ValueError, match="missing"):
        HRNGroupedDetector(pipeline()).fit(X, groups=groups)
    with pytest.raises(ValueError, match="89 entries, but X has 90"):
        HRNGroupedDetector(pipeline()).fit(X, groups=pump[1:])


def test_the_threshold_is_one_number_only_of_one_group(pumps):
    X, pump = pumps
    alone = HRNGroupedDetector(pipeline()).fit(X)
    assert alone.offset_ == alone.detectors_[0].offset_
    with pytest.raises(AttributeError, match="2 groups"):
        _ = HRNGroupedDetector(pipeline()).fit(X, groups=pump == pump[0]).offset_


@pytest.mark.parametrize("column", [4, -5, "pump"])
def test_a_column_of_groups_that_is_not_there_is_refused_by_name(pumps, column):
    with pytest.raises(
        ValueError, match=f"group_column={column!r} names 0 columns of X: .* 0 to 3"
    ):
        HRNGroupedDetector(pipeline(), group_column=column).fit(pumps[0])


def test_what_is_kept_is_small_and_comes_back_from_a_pickle(pumps):
    X, pump = pumps
    detector = HRNGroupedDetector(pipeline(), random_state=0).fit(X, groups=pump)
    scores = detector.score_samples(X, pump)
    again = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(again.score_samples(X, pump), scores)
    for fitted in detector.detectors_.values():
        assert "transform" not in vars(fitted["scale"])


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_without_groups_no_detector_of_several_answers(method, pumps):
    X, pump = pumps
    for groups in (pump, np.unique(pump, return_inverse=True)[1]):  # one of them is called 0
        detector = HRNGroupedDetector(forest()).fit(X, groups=groups)
        with pytest.raises(ValueError, match="groups are missing: fit has seen 3"):
            getattr(detector, method)(X)
    assert len(getattr(HRNGroupedDetector(forest()).fit(X), method)(X)) == 90


@pytest.mark.parametrize("kind", ["list", "object", "pandas", "polars", "pyarrow"])
def test_the_column_of_the_groups_is_found_in_rows_of_any_kind(kind, pumps):
    X, pump = pumps
    columns = {**{f"x{j}": X[:, j] for j in range(4)}, "pump": pump}
    mixed = np.array([*columns.values()], dtype=object).T
    column = 4 if kind in ("list", "object") else "pump"
    if kind == "list":
        rows = mixed.tolist()
    elif kind == "object":
        rows = mixed
    elif kind == "pyarrow":
        rows = pytest.importorskip("pyarrow").table(columns)
    else:
        rows = pytest.importorskip(kind).DataFrame(columns)
    detector = HRNGroupedDetector(pipeline(), group_column=column, random_state=0).fit(rows)
    expected = HRNGroupedDetector(pipeline(), random_state=0).fit(X, groups=pump)
    assert list(detector.detectors_) == ["a", "b", "c"]
    scores = expected.score_samples(X, groups=pump)
    assert np.allclose(detector.score_samples(rows), scores, rtol=1e-9)


@pytest.mark.parametrize("unknown", ["pooled", "error"])
@pytest.mark.parametrize("of_fit", [[0, 1], ["0", "1"], [(0,), (1,)]])
def test_groups_of_another_type_than_in_fit_are_refused_rather_than_unknown(unknown, of_fit):
    X = np.random.default_rng(0).normal(1, 1, size=(40, 3))
    groups = np.empty(40, dtype=object)
    groups[:] = of_fit * 20
    detector = HRNGroupedDetector(HRNOneClassClassifier(max_iter=1), unknown=unknown)
    detector.fit(X, groups=groups)
    for strange in ([0, 1], [b"0", b"1"], ["0", "1"]):
        if type(strange[0]) is type(of_fit[0]):
            continue
        for method in ("score_samples", "decision_function", "predict"):
            with pytest.raises(ValueError, match=r"but those of fit are .*: give groups as in fit"):
                getattr(detector, method)(X[:2], groups=strange)
    assert len(detector.predict(X[:2], groups=groups[:2])) == 2


def test_groups_given_to_fit_predict_are_those_of_both(pumps):
    X, pump = pumps
    y = np.where(np.arange(len(X)) % 7, 1, -1)
    estimator = HRNOneClassClassifier(max_iter=1, contamination=0.2, random_state=0)
    labels = HRNGroupedDetector(estimator).fit_predict(X, y, groups=pump)
    fitted = HRNGroupedDetector(estimator).fit(X, y, groups=pump)
    assert (labels == -1).any() and np.array_equal(labels, fitted.predict(X, groups=pump))


def test_moments_of_a_time_zone_are_no_groups_of_moments_without_one():
    X = np.random.default_rng(0).normal(1, 1, size=(40, 3))
    days = [datetime(2026, 1, day) for day in (1, 2)]
    detector = HRNGroupedDetector(HRNOneClassClassifier(max_iter=1))
    detector.fit(X, groups=np.array(days * 20, dtype=object))
    zoned = np.array([day.replace(tzinfo=UTC) for day in days], dtype=object)
    with pytest.raises(ValueError, match=r"moments of a time zone, .* moments without a time zone"):
        detector.predict(X[:2], groups=zoned)


def test_a_row_on_the_threshold_is_normal(pumps):
    X, pump = pumps
    labels = HRNGroupedDetector(Kept(), random_state=0).fit(X, groups=pump).predict(X, pump)
    assert (labels == 1).all()


def test_a_group_that_cannot_be_fitted_is_named_by_whichever_worker_has_it(pumps):
    X, pump = pumps
    alone = np.where(np.arange(len(pump)) == 0, "d", pump)
    detector = HRNGroupedDetector(pipeline(), n_jobs=2, random_state=0)
    with parallel_config("threading"), pytest.raises(ValueError, match=r"row|sample") as error:
        detector.fit(X, groups=alone)
    assert "group 'd'" in "".join(error.value.__notes__)
