"""Verdicts on alarms: what they do to a threshold, and what a network learns from them."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, OutlierMixin, clone

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNOneClassClassifier,
    InstanceL2Normalizer,
    _training,
)
from sklearn_hrn._folds import make_folds
from sklearn_hrn._verdicts import _after_verdicts, _moved, after_feedback, first_lessons
from sklearn_hrn.kernel_approximation import LandmarkFeatures
from sklearn_hrn.pipelines import OneClassPipeline


class NearestRow(OutlierMixin, BaseEstimator):
    """Minus the distance to the nearest training row; it learns from no verdict."""

    def __init__(self, contamination=0.05):
        self.contamination = contamination

    def fit(self, X, y=None):
        self.rows_ = X
        return self

    def predict(self, X):
        return np.ones(len(X))

    def score_samples(self, X):
        return -np.linalg.norm(np.asarray(X)[:, None] - self.rows_, axis=2).min(axis=1)


def calibrated():
    return OneClassPipeline([("nearest", NearestRow())], calibration="cross")


@pytest.fixture
def X(rng):
    return rng.normal(size=(300, 2))


@pytest.mark.parametrize("kind", ["pipeline", "conformal"])
def test_ten_rounds_of_verdicts_keep_the_rate_and_make_it_steadier(rng, kind):
    realised, before = [], []
    for _ in range(6):
        if kind == "pipeline":
            detector = calibrated()
        else:
            detector = ConformalOutlierDetector(NearestRow(), strategy="cross", random_state=0)
        detector.fit(rng.normal(size=(60, 2)))
        test = rng.normal(size=(1000, 2))
        before.append(np.mean(detector.predict(test) == -1))
        for _ in range(10):
            X = np.concatenate([rng.normal(size=(100, 2)), rng.normal(loc=5, size=(5, 2))])
            flagged = detector.predict(X) == -1
            verdicts = np.where(np.arange(105) < 100, 1, -1)[flagged]
            detector.feedback(X[flagged], verdicts, n_screened=105)
        realised.append(np.mean(detector.predict(test) == -1))
    assert 0.5 * 0.05 < np.mean(realised) < 1.5 * 0.05
    assert np.std(realised) < np.std(before)


def test_flagged_rows_alone_would_move_the_threshold_far_down(X):
    pipeline = calibrated().fit(X)
    offset = pipeline.offset_
    flagged = np.array([[5.0, 5.0], [6.0, 6.0], [-7.0, 5.0]])
    pipeline.feedback(flagged, [1, 1, 1], n_screened=30)
    assert len(pipeline.calibration_scores_) == 330
    assert abs(pipeline.offset_ - offset) < 0.1  # three alarms of 30 are what was asked for
    pipeline.feedback(flagged, [-1, -1, -1], n_screened=3)
    assert len(pipeline.calibration_scores_) == 330


@pytest.mark.parametrize(
    ("y", "n_screened", "message"),
    [
        ([1, 0], 9, "-1 for anomalies"),
        ([1, -1], 1, "less than the 2"),
        ([1], 9, "inconsistent"),
        ([1, -1], 10**7 + 1, "more than 10000000 rows"),
    ],
)
def test_verdicts_that_cannot_be_are_refused(X, y, n_screened, message):
    pipeline = calibrated().fit(X)
    offset = pipeline.offset_
    with pytest.raises(ValueError, match=message):
        pipeline.feedback([[9.0, 9.0], [8.0, 8.0]], y, n_screened=n_screened)
    with pytest.raises(ValueError, match="1 of the normal rows were not flagged"):
        pipeline.feedback(X[:1], [1], n_screened=9)
    assert pipeline.offset_ == offset


def teach(n_rows, max_updates, calibration):
    """A calibrated pipeline that can learn, and rows of a second normal mode and of anomalies."""
    rng = np.random.default_rng(0)
    hrn = HRNOneClassClassifier(
        50, batch_size=50, preconditioning=10.0, contamination=0.05, random_state=0
    )
    hrn.set_params(max_updates=max_updates)
    steps = [("lift", LandmarkFeatures(100, random_state=0)), ("hrn", hrn)]
    X = rng.normal(size=(n_rows, 4)) * 0.3
    modes = [rng.normal(size=(200, 4)) * 0.1 + place for place in ([1, 0, 0, 0], [0, 1, 0, 0])]
    return OneClassPipeline(steps, calibration=calibration).fit(X), X, *modes


@pytest.fixture(scope="module")
def taught():
    """Taught for so long that what is learned can be told from its scores and its rates."""
    return teach(400, 200, "cross")


@pytest.fixture(scope="module")
def started():
    """Taught for a moment: what is equal of two detectors is so at every length."""
    return teach(100, 20, 2)


def as_it_is(pipeline, X):
    return deepcopy(pipeline)


def guarded(pipeline, X):
    return ConformalOutlierDetector(pipeline, strategy="cross", random_state=0).fit(X)


@pytest.mark.parametrize("make", [as_it_is, guarded])
def test_verdicts_teach_what_is_normal_and_what_is_not(taught, make):
    pipeline, X, normal, anomalies = taught
    detector = make(pipeline, X)
    n_calibration = len(detector.calibration_scores_)
    before = [np.median(detector.p_values(rows[20:])) for rows in (normal, anomalies)]
    shown, verdicts = np.r_[normal[:20], anomalies[:20]], np.repeat([1, -1], 20)
    detector.feedback(shown, verdicts)
    after = [np.median(detector.p_values(rows[20:])) for rows in (normal, anomalies)]
    assert after[0] > 2 * before[0]
    assert after[1] < 0.5 * before[1]
    assert len(detector.calibration_scores_) == n_calibration
    fresh = np.random.default_rng(1).normal(size=(2000, 4)) * 0.3
    assert 0.02 < (detector.predict(fresh) == -1).mean() < 0.09


@pytest.mark.parametrize("make", [as_it_is, guarded])
def test_verdicts_in_two_parts_teach_what_they_teach_at_once(started, make):
    pipeline, X, normal, anomalies = started
    at_once, in_parts = (make(pipeline, X) for _ in range(2))
    at_once.feedback(np.r_[normal[:9], anomalies[:9]], np.repeat([1, -1], 9))
    in_parts.feedback(normal[:9], [1] * 9)
    in_parts.feedback(anomalies[:9], [-1] * 9)
    assert_array_equal(in_parts.score_samples(X), at_once.score_samples(X))
    assert_array_equal(in_parts.calibration_scores_, at_once.calibration_scores_)
    again = pickle.loads(pickle.dumps(in_parts)).feedback(normal[9:12], [1] * 3)
    assert_array_equal(again.p_values(X), in_parts.feedback(normal[9:12], [1] * 3).p_values(X))


def test_ten_rounds_in_which_a_network_learns_keep_the_rate(taught):
    pipeline, _, _, anomalies = taught
    pipeline, rng = deepcopy(pipeline), np.random.default_rng(2)
    realised = []
    for _ in range(10):
        X = np.r_[rng.normal(size=(200, 4)) * 0.3, rng.choice(anomalies[:100], 4)]
        is_flagged = pipeline.predict(X) == -1
        verdicts = np.repeat([1, -1], [200, 4])[is_flagged]
        pipeline.feedback(X[is_flagged], verdicts, n_screened=204)
        realised.append(np.mean(pipeline.predict(rng.normal(size=(1000, 4)) * 0.3) == -1))
    assert 0.5 * 0.05 < np.mean(realised) < 1.5 * 0.05
    assert len(pipeline.calibration_scores_) > 2000
    assert np.mean(pipeline.predict(anomalies[100:]) == -1) > 0.9


def test_verdicts_on_rows_of_a_data_frame_teach_the_same(started):
    pd = pytest.importorskip("pandas")
    pipeline, X, normal, _ = started
    in_frames = clone(pipeline).fit(pd.DataFrame(X, columns=list("abcd")))
    in_frames.feedback(pd.DataFrame(normal[:9], columns=list("abcd")), [1] * 9)
    in_arrays = deepcopy(pipeline).feedback(normal[:9], [1] * 9)
    assert_array_equal(in_frames.calibration_scores_, in_arrays.calibration_scores_)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("is_alone", [True, False])
@pytest.mark.filterwarnings("error:X does not have valid feature names")
def test_a_network_that_sees_frames_learns_from_verdicts_on_them(started, library, is_alone):
    frame = pytest.importorskip(library).DataFrame
    pipeline, X, *_ = started
    frames, answers = (lambda X: frame(dict(zip("abcd", X.T, strict=True)))), []
    for output, make in (("default", np.asarray), (library, frames)):
        detector = clone(pipeline["hrn"] if is_alone else pipeline)
        if not is_alone:
            detector.set_output(transform=output)
        guarded = ConformalOutlierDetector(detector, false_alarm_rate=0.1, random_state=0)
        guarded.fit(make(X)).feedback(make(X[:5] + 9), [1] * 5).feedback(make(X[:2] - 9), [-1] * 2)
        answers.append(guarded.p_values(make(X)))
    assert_array_equal(*answers)


@pytest.mark.parametrize("last", ["nearest row", "network"])
def test_verdicts_from_which_nothing_can_be_learned_are_refused(started, X, last):
    if last == "network":
        pipeline, X, *_ = started
        pipeline = clone(pipeline).set_params(reference_rows=0).fit(X)
    else:
        pipeline = calibrated().fit(X)
    offset, far = pipeline.offset_, np.full((2, X.shape[1]), 9.0)
    with pytest.raises(ValueError, match=r"give n_screened.*reference_rows"):
        pipeline.feedback(far, [1, -1])
    assert pipeline.offset_ == offset
    scores = pipeline.score_samples(X)
    pipeline.feedback(far, [1, -1], n_screened=50)
    assert len(pipeline.calibration_scores_) == len(X) + 49
    assert_array_equal(pipeline.score_samples(X), scores)


def test_no_verdicts_on_no_number_of_rows_are_refused(started):
    pipeline, X, *_ = started
    with pytest.raises(ValueError, match=r"nothing can be learned.*give n_screened"):
        deepcopy(pipeline).feedback(X[:0], [])


def test_a_new_fit_forgets_the_verdicts_and_a_new_calibration_keeps_what_was_learned(started):
    pipeline, X, normal, _ = started
    again = deepcopy(pipeline).feedback(normal[:9], [1] * 9).fit(X)
    assert_array_equal(again.score_samples(X), pipeline.score_samples(X))
    assert_array_equal(
        again.feedback(normal[9:18], [1] * 9).score_samples(X),
        deepcopy(pipeline).feedback(normal[9:18], [1] * 9).score_samples(X),
    )
    detector = guarded(pipeline, X).feedback(normal[:9], [1] * 9)
    scores = detector.score_samples(X)
    assert_array_equal(detector.calibrate(normal).score_samples(X), scores)
    assert len(detector.calibration_scores_) == len(normal)


def test_the_threshold_follows_a_network_whose_scores_move(taught):
    pipeline, X, _, anomalies = taught
    pipeline = clone(pipeline).set_params(hrn__anomaly_weight=0.3).fit(X)
    fresh = np.random.default_rng(3).normal(size=(2000, 4)) * 0.3
    before = pipeline.offset_
    pipeline.feedback(anomalies * 0.4, [-1] * len(anomalies))
    assert np.mean(pipeline.score_samples(fresh) < before) > 0.08
    assert 0.02 < np.mean(pipeline.predict(fresh) == -1) < 0.06


def test_a_row_that_was_kept_is_scored_by_a_network_that_went_on_without_it(started):
    pipeline, X, normal, _ = started
    kept, shown = (pipeline["lift"].transform(rows) for rows in (X[:40], normal[:5]))
    hrn, verdicts = pipeline["hrn"], np.ones(5)
    _, before, after = hrn._learn_verdicts(kept, [shown], verdicts)
    assert_array_equal(before, hrn.score_samples(kept))
    changed = kept.copy()
    changed[0] = kept[1]
    _, _, then = hrn._learn_verdicts(changed, [shown], verdicts)
    ((first, second),) = [half for half in make_folds(2, 40) if 0 in half[0]]
    assert_array_equal(then[first[first > 0]], after[first[first > 0]])
    assert (then[second] != after[second]).all()


@pytest.mark.parametrize("make", [as_it_is, guarded])
def test_verdicts_stay_what_they_were_when_their_array_is_written_to(started, make):
    pipeline, X, normal, _ = started
    expected = make(pipeline, X).feedback(normal[:9], [1] * 9).feedback(normal[9:18], [1] * 9)
    detector, buffer = make(pipeline, X), normal[:9].copy()
    detector.feedback(buffer, [1] * 9)
    buffer[:] = normal[9:18]
    detector.feedback(buffer, [1] * 9)
    assert_array_equal(detector.score_samples(X), expected.score_samples(X))


def test_a_first_step_that_works_in_place_leaves_all_rows_as_they_were():
    X = np.random.default_rng(0).normal(1, 1, size=(60, 5))
    hrn = HRNOneClassClassifier(8, max_updates=50, contamination=0.1, random_state=0)
    norm = InstanceL2Normalizer(copy=False, center=None)
    pipeline = OneClassPipeline([("norm", norm), ("hrn", hrn)], calibration=2).fit(X.copy())
    kept, shown = pipeline.reference_rows_.copy(), X[:5].copy()
    pipeline.feedback(shown, [1, -1, 1, 1, 1]).feedback(shown, [1] * 5)
    assert_array_equal(shown, X[:5])
    assert_array_equal(pipeline.reference_rows_, kept)


def test_a_new_calibration_and_a_stream_begin_without_earlier_verdicts(started):
    pipeline, X, normal, _ = started
    told = guarded(pipeline, X).feedback(normal[:9], [1] * 9).calibrate(X)
    scores = told.score_samples(X)
    told.feedback(normal[:1], [-1])  # from where it stands, not from before the first verdicts
    assert_array_equal(told._lessons["labels"], [[-1]])
    before = zip(told._lessons["lasts"], told.estimators_, strict=True)
    before = [last.score_samples(model["lift"].transform(X)) for last, model in before]
    assert_array_equal(np.mean(before, axis=0), scores)
    stream = deepcopy(pipeline).feedback(normal[:9], [1] * 9).partial_fit(X)
    assert_array_equal(stream.feedback(normal[:1], [-1])._lessons["labels"], [[-1]])


def test_too_few_rows_kept_are_none(started):
    pipeline, X, normal, _ = started
    pipeline = clone(pipeline).set_params(reference_rows=1).fit(X)
    with pytest.raises(ValueError, match="at least 4 reference_rows"):
        pipeline.feedback(normal[:2], [1, 1])


@pytest.mark.parametrize("kind", ["pipeline", "conformal"])
def test_a_round_without_alarms_counts_the_rows_that_passed(X, kind):
    detector = calibrated()
    if kind == "conformal":
        detector = ConformalOutlierDetector(NearestRow(), random_state=0)
    detector.fit(X)
    n_before, offset = len(detector.calibration_scores_), detector.offset_
    for none in (X[:0], []):
        with pytest.raises(ValueError, match="give n_screened"):
            detector.feedback(none, [])
    assert detector.offset_ == offset
    detector.feedback(X[:0], np.array([]), n_screened=100)
    assert len(detector.calibration_scores_) == n_before + 100
    assert (detector.calibration_scores_ >= offset).sum() >= 100
    assert detector.offset_ > offset  # as fewer rows were flagged than the rate allows


@pytest.mark.parametrize("make", [as_it_is, guarded])
def test_a_round_without_alarms_keeps_what_a_network_has_learned(started, make):
    pipeline, X, normal, _ = started
    detector = make(pipeline, X)
    n_before = len(detector.calibration_scores_)
    detector.feedback(X[:0], [], n_screened=10)
    assert_array_equal(detector.score_samples(X), make(pipeline, X).score_samples(X))
    scores = detector.feedback(normal[:9], [1] * 9).score_samples(X)
    detector.feedback([], [], n_screened=20)
    assert_array_equal(detector.score_samples(X), scores)
    assert len(detector.calibration_scores_) == n_before + 30


def test_rows_that_passed_are_spread_as_the_calibration_rows_above_the_threshold():
    scores, verdicts = np.array([-3.0, 1.5, 3.0, 8.0]), np.array([1, -1, 1, -1])
    flagged = np.array([True, True, True, False])
    found = _after_verdicts(np.arange(10.0), 4.0, scores, verdicts, 7, flagged)
    # Of seven rows three passed unseen: sixths of the six scores from 4 to 9.
    passed = 4 + 5 * np.array([1, 3, 5]) / 6
    np.testing.assert_allclose(found, np.sort([*range(10), -3.0, 3.0, *passed]))


def test_calibration_scores_move_as_the_quantiles_of_normal_rows_do():
    before = np.linspace(-2, 2, 401)
    after = np.where(before < 0, 3 * before, before)
    scores = np.quantile(before, (np.arange(20) + 0.5) / 20)
    expected = np.where(scores < 0, 3 * scores, scores)
    np.testing.assert_allclose(_moved(scores, before, after), expected, atol=1e-12)


def flags(X):
    return np.ones(len(X), bool)


class Told:
    """A last step that says what it would learn from verdicts."""

    def __init__(self, before, after):
        self.told, self.seen = (before, after), []

    def _learn_verdicts(self, kept, chunks, y):
        self.seen.append(np.concatenate(chunks).ravel().tolist())
        return (self, *self.told)


def test_a_step_that_writes_to_its_rows_leaves_those_of_the_verdicts():
    def doubled(X):
        X *= 2
        return X

    told = Told(np.zeros(9), np.zeros(9))
    lessons, fronts = first_lessons([told, told], np.arange(9.0)), [doubled, doubled]
    for _ in "12":
        X, kept = np.array([[1.0]]), np.ones((4, 1))
        lessons, *_ = after_feedback(lessons, fronts, kept, X, [1], None, flags, np.min)
        assert (X[0, 0], kept[0, 0]) == (1, 1)
    assert told.seen == [[2], [2], [2, 2], [2, 2]]


def test_the_scores_of_several_networks_move_as_their_mean_does():
    before, after = np.random.default_rng(0).normal(size=(2, 3, 30))
    kept, scores = np.zeros((4, 1)), np.arange(9.0)
    lessons = first_lessons([Told(*each) for each in zip(before, after, strict=True)], scores)
    fronts = [lambda X: X] * 3
    *_, found = after_feedback(lessons, fronts, kept, [[0.0]], [1], None, flags, np.min)
    assert_array_equal(found, _moved(scores, before.mean(axis=0), after.mean(axis=0)))


@pytest.mark.parametrize(("given", "weight"), [(0.0, 0.1), (0.7, 0.7)])
def test_verdicts_are_trained_for_forty_updates_at_the_weight_of_the_fit_if_it_had_one(
    started, monkeypatch, given, weight
):
    pipeline, X, normal, anomalies = started
    pipeline = clone(pipeline).set_params(hrn__anomaly_weight=given, hrn__tol=0.5).fit(X)
    asked, train = [], _training.train

    def spy(tasks):
        names = ("max_updates", "tol", "anomaly_weight")
        asked.extend(tuple(task.parameters[name] for name in names) for task in tasks)
        return train(tasks)

    monkeypatch.setattr(_training, "train", spy)
    pipeline.feedback(np.r_[normal[:3], anomalies[:3]], [1] * 3 + [-1] * 3)
    assert asked == [(40, 0.0, weight)] * 3


@pytest.mark.parametrize("make", [as_it_is, guarded])
def test_a_feedback_that_fails_has_counted_nothing(started, make, monkeypatch):
    pipeline, X, normal, anomalies = started
    detector, other = (make(pipeline, X).feedback(normal[:9], [1] * 9) for _ in "12")

    def fails(*_):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(HRNOneClassClassifier, "_learn_verdicts", fails)
        with pytest.raises(RuntimeError, match="no memory"):
            detector.feedback(anomalies[:9], [-1] * 9, n_screened=30)
    for each in (detector, other):
        each.feedback(anomalies[9:18], [-1] * 9, n_screened=20)
    assert_array_equal(detector.calibration_scores_, other.calibration_scores_)
    assert_array_equal(detector.score_samples(X), other.score_samples(X))


@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_rows_that_passed_lie_above_the_threshold_of_the_rate_that_was_asked_for(X, rate):
    detector = ConformalOutlierDetector(NearestRow(), false_alarm_rate=rate, random_state=0).fit(X)
    offset, before = detector.offset_, detector.calibration_scores_
    detector.feedback([], [], n_screened=50)
    assert (detector.calibration_scores_ < offset).sum() == (before < offset).sum()


def test_a_row_on_the_threshold_was_not_flagged(X):
    detector = ConformalOutlierDetector(NearestRow(), random_state=0).fit(X)
    scores = detector.score_samples(X)
    (on_threshold,) = X[scores == detector.offset_]
    assert detector.predict([on_threshold]) == 1
    with pytest.raises(ValueError, match="1 of the normal rows were not flagged"):
        detector.feedback([on_threshold], [1], n_screened=9)
