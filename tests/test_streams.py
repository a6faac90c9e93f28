"""Rows that come in chunks."""

import datetime
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import betabinom
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_hrn import (
    HRNContinualClassifier,
    HRNOneClassClassifier,
    InstanceL2Normalizer,
    LandmarkFeatures,
    OneClassPipeline,
    TableEncoder,
    _training,
)
from sklearn_hrn._calibration import usual_threshold
from sklearn_hrn._drift import (
    RESERVOIR_SIZE,
    TOLERATED,
    carried_over,
    decaying_reservoir,
    drift_evidence,
    error_of_carrying,
    marks,
    training_gain,
)
from sklearn_hrn._reference import as_columns, as_frame, joined
from sklearn_hrn._streams import BEGINNING, _beginning_with
from sklearn_hrn.exceptions import DriftWarning, ResolutionWarning


def classifier(**parameters):
    settings = {"init": 0.1, "batch_size": 50, "contamination": 0.05, "random_state": 0}
    return HRNOneClassClassifier(20, **{**settings, **parameters})


def pipeline(**parameters):
    steps = [("scale", StandardScaler()), ("norm", InstanceL2Normalizer(append=1.0))]
    return OneClassPipeline([*steps, ("hrn", classifier())], **parameters)


@pytest.fixture
def chunks(rng):
    """Twelve chunks of 300 rows of length one."""
    X = rng.normal(1, 0.5, size=(12, 300, 6))
    return X / np.linalg.norm(X, axis=2, keepdims=True)


def test_chunks_of_the_same_rows_are_the_epochs_of_one_fit(chunks):
    X = chunks[0]
    stream = classifier()
    for _ in range(4):
        stream.partial_fit(X)
    whole = classifier(max_iter=4).fit(X)
    for ours, theirs in zip(stream.coefs_, whole.coefs_, strict=True):
        assert np.array_equal(ours, theirs)
    assert stream.n_updates_ == whole.n_updates_ == 24
    assert len(stream.history_["loss"]) == 4


def test_a_stream_goes_on_from_a_fit(chunks):
    detector = classifier(max_iter=3).fit(chunks[0])
    before = detector.score_samples(chunks[1])
    detector.partial_fit(chunks[1])
    assert detector.n_updates_ == 24
    assert len(detector.calibration_scores_) == 300
    assert not np.allclose(detector.calibration_scores_, np.sort(before))
    scores = detector.score_samples(chunks[1])  # of what it has trained on last
    ends = detector.train_scores_[[0, -1]]
    np.testing.assert_allclose(ends, [scores.min(), scores.max()], rtol=1e-5)


def test_chunks_come_in_halves_that_can_train(chunks):
    stream = classifier(batch_size=2).partial_fit(chunks[0])
    before = pickle.dumps(stream)
    with pytest.raises(ValueError, match=r"3 normal row\(s\) in the chunk, but at least 4"):
        stream.partial_fit(chunks[1][:3])
    assert pickle.dumps(stream) == before
    assert stream.partial_fit(chunks[1][:4]).n_updates_ == 152


def test_the_first_chunk_is_scored_by_networks_that_did_not_train_on_it(chunks):
    stream = classifier().partial_fit(chunks[0])
    assert stream.calibration_scores_.shape == (300,)
    assert not np.allclose(stream.calibration_scores_, np.sort(stream.score_samples(chunks[0])))


def test_the_rate_is_kept_on_rows_to_come(rng):
    X = rng.normal(1, 0.5, size=(30, 300, 6))
    stream, flagged = classifier(), []
    for i, chunk in enumerate(X / np.linalg.norm(X, axis=2, keepdims=True)):
        if i > 9:
            flagged.append((stream.predict(chunk) == -1).mean())
        with warnings.catch_warnings():
            warnings.simplefilter("error", DriftWarning)
            stream.partial_fit(chunk)
    assert 0.5 * 0.05 < np.mean(flagged) < 2 * 0.05
    assert len(stream.calibration_scores_) == RESERVOIR_SIZE
    assert stream.drift_evidence_.mean() < 1000


def test_drift_is_told_and_followed(chunks):
    stream = classifier(max_iter=20).fit(chunks[0])
    for chunk in chunks[1:8]:
        stream.partial_fit(chunk)
    moved = chunks[8:] * [1, 1, 1, 1, 1, -0.2]
    before = (stream.predict(moved[0]) == -1).mean()
    with pytest.warns(DriftWarning, match="the stream has drifted"):
        for chunk in np.concatenate([moved] * 6):
            stream.partial_fit(chunk)
    assert before > 0.2
    assert (stream.predict(moved[0]) == -1).mean() < 0.1


@pytest.mark.parametrize("make", [classifier, pipeline])
def test_a_chunk_that_is_wrong_changes_nothing(make, chunks):
    stream = make().partial_fit(chunks[0]).partial_fit(chunks[1])
    before = pickle.dumps(stream)
    for wrong in (chunks[2][:, :5], chunks[2][:0], np.full((9, 6), np.nan), chunks[2][:1]):
        with pytest.raises(ValueError, match=r"features|sample|NaN|row"):
            stream.partial_fit(wrong)
        assert pickle.dumps(stream) == before


def test_a_chunk_is_trained_on_to_its_end_however_little_it_teaches(chunks):
    stream = classifier(batch_size=1, tol=1e6)
    # The last one is longer: what counts as a round ends within it.
    for n_rows, n_updates in ((30, 30), (30, 60), (80, 140)):
        assert stream.partial_fit(chunks[0][:n_rows]).n_updates_ == n_updates


def test_of_a_chunk_that_fills_the_reservoir_scores_from_all_its_rows_stay(rng):
    kept = decaying_reservoir(np.full(9, -1.0), np.arange(3.0 * RESERVOIR_SIZE), rng)
    assert len(kept) == RESERVOIR_SIZE and kept.min() >= 0
    assert np.mean(kept > 2 * RESERVOIR_SIZE) == pytest.approx(1 / 3, abs=0.05)
    older = decaying_reservoir(kept, np.full(RESERVOIR_SIZE // 2, -1.0), rng)[RESERVOIR_SIZE // 2 :]
    assert older.mean() == pytest.approx(kept.mean(), rel=0.05)


def test_scores_are_moved_as_far_as_rows_that_all_score_alike():
    assert np.array_equal(
        carried_over(np.array([1.0, 2.0]), np.full(4, 5.0), np.full(4, 6.0)), [2, 3]
    )


def test_scores_of_every_chunk_are_drawn_anew(chunks, monkeypatch):
    draws = []

    def spy(reservoir, scores, rng):
        draws.append(rng.random())
        return decaying_reservoir(reservoir, scores, np.random.default_rng(0))

    monkeypatch.setattr("sklearn_hrn._continued.decaying_reservoir", spy)
    for _ in range(2):
        stream = classifier()
        for chunk in chunks[:3]:
            stream.partial_fit(chunk[:40])
    assert len(set(draws)) == 3 and draws[:3] == draws[3:]


@pytest.mark.parametrize("kind", ["pipeline", "classifier"])
def test_labelled_anomalies_are_left_out(kind, chunks):
    y = np.where(np.arange(300) % 3 == 0, -1, 1)
    with_them, without = (pipeline() if kind == "pipeline" else classifier() for _ in "12")
    for chunk in chunks[:2]:
        with_them.partial_fit(chunk, y)
        without.partial_fit(chunk[y == 1])
    assert np.array_equal(with_them.score_samples(chunks[2]), without.score_samples(chunks[2]))
    assert with_them.offset_ == without.offset_


def axes_pipeline(**parameters):
    steps = [("scale", StandardScaler()), ("axes", PCA(4)), ("norm", InstanceL2Normalizer())]
    return OneClassPipeline([*steps, ("hrn", classifier(max_iter=2))], **parameters)


def test_a_stream_begins_with_fits_of_all_that_has_come_whenever_that_has_doubled(chunks):
    stream, X = axes_pipeline(calibration=3), np.concatenate(chunks)
    for n, fits in enumerate([True, True, False, True, False, False, False], start=1):
        before = stream["axes"]
        stream.partial_fit(chunks[n - 1])
        assert (stream["axes"] is not before) == fits
        if fits:
            whole = axes_pipeline(calibration=3).fit(X[: 300 * n])
            assert np.array_equal(stream.score_samples(X), whole.score_samples(X))
            assert stream.offset_ == whole.offset_
            assert np.array_equal(stream.reference_rows_, whole.reference_rows_)
        assert stream["scale"].n_samples_seen_ == 300 * n
        # 2000 rows are kept and no more.
        kept = vars(stream).get("_beginning", {"chunks": []})["chunks"]
        assert len(kept) == (n if n < 7 else 0)
    assert not hasattr(dict(vars(stream)["steps"])["scale"], "mean_")  # which stays as given


def test_the_beginning_has_a_threshold_by_rows_that_did_not_train(chunks):
    stream = axes_pipeline().partial_fit(chunks[0]).partial_fit(chunks[1])
    hrn = stream["hrn"]
    assert hrn.calibration is None and dict(vars(stream)["steps"])["hrn"].calibration is None
    assert len(hrn.calibration_scores_) == 600
    trained = np.sort(stream.score_samples(np.concatenate(chunks[:2])))
    assert not np.allclose(hrn.calibration_scores_, trained)
    assert stream.offset_ == usual_threshold(hrn.calibration_scores_, hrn.contamination)


def test_steps_stay_as_a_first_chunk_made_them_that_is_large(chunks, monkeypatch):
    monkeypatch.setattr("sklearn_hrn._streams.BEGINNING", 299)
    stream = axes_pipeline().partial_fit(chunks[0])
    axes = stream["axes"].components_
    assert stream["hrn"].n_updates_ == 6  # an epoch
    stream.partial_fit(3 * chunks[1])
    assert stream["axes"].components_ is axes
    assert stream["scale"].n_samples_seen_ == 600
    # Without a calibration of the pipeline, scores are those of the last step alone.
    assert (
        "calibration_scores_" not in vars(stream) and len(stream["hrn"].calibration_scores_) == 600
    )


def test_a_beginning_holds_so_many_rows_and_not_one_more():
    for n_rows, n_chunks in ((BEGINNING, 1), (BEGINNING + 1, 0)):
        assert len(_beginning_with(axes_pipeline(), np.zeros((n_rows, 1)))) == n_chunks


@pytest.mark.parametrize("why", ["no rows are kept", "a warm start", "a fit", "verdicts"])
def test_a_stream_goes_on_where_it_must_not_begin_anew(why, chunks):
    stream = axes_pipeline(calibration=None if why == "a warm start" else 3)
    if why == "no rows are kept":
        stream.set_params(reference_rows=0)
    if why == "a warm start":
        stream.set_params(hrn__warm_start=True)
    if why == "a fit":
        stream.partial_fit(chunks[2]).fit(chunks[0])
    else:
        stream.partial_fit(chunks[0])
    if why == "verdicts":
        stream.feedback(chunks[0][:2], [-1, -1])
    assert "_beginning" not in vars(stream)
    axes = stream["axes"]
    assert stream.partial_fit(chunks[1])["axes"] is axes


def test_rows_of_the_beginning_are_copies(chunks):
    X = chunks[0].copy()
    stream = axes_pipeline().partial_fit(X)
    X[:] = 7.0
    stream.partial_fit(chunks[1])
    alone = axes_pipeline().partial_fit(chunks[0]).partial_fit(chunks[1])
    assert np.array_equal(stream.score_samples(chunks[2]), alone.score_samples(chunks[2]))


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "sparse", "lists"])
def test_a_stream_begins_with_rows_of_any_kind(kind, rng):
    numbers = rng.normal(1, 0.5, size=(3, 60, 3)).round(1)
    if kind == "sparse":
        chunks = [sparse.csr_array(chunk) for chunk in numbers]
        steps = [("scale", StandardScaler(with_mean=False)), ("lift", LandmarkFeatures(20))]
    elif kind == "lists":
        chunks, steps = numbers.tolist(), [("scale", StandardScaler())]
    else:
        library = pytest.importorskip(kind)
        words = np.array(["red", "blue"])[(numbers[..., 0] > 1).astype(int)]
        make = library.table if kind == "pyarrow" else library.DataFrame
        days = [datetime.datetime(2026, 1, 1 + i % 9, tzinfo=datetime.UTC) for i in range(60)]
        odd = {
            "day": days,
            "flag": [None, True, False] * 20,
            "time": [datetime.time(i % 9) for i in range(60)],
        }
        chunks = [
            make({"a": chunk[:, 0], "b": chunk[:, 1], "word": word, **odd})
            for chunk, word in zip(numbers, words, strict=True)
        ]
        if kind == "pandas":  # of categories that differ from chunk to chunk
            chunks = [c.assign(word=c["a"].round().astype(int).astype("category")) for c in chunks]
        if kind == "pyarrow":
            chunks = [
                chunk.set_column(2, "word", chunk["word"].dictionary_encode()) for chunk in chunks
            ]
        steps = [("columns", TableEncoder()), ("scale", StandardScaler())]
    stream = OneClassPipeline([*steps, ("hrn", classifier(max_iter=2))])
    for chunk in chunks:
        stream.partial_fit(pickle.loads(pickle.dumps(chunk)))
    assert stream["scale"].n_samples_seen_ == 180
    if "columns" in stream.named_steps:
        assert stream["columns"].feature_names_in_.tolist() == ["a", "b", "word", *odd]
        kinds = ["number", "number", "category", "date", "number", "date"]
        assert stream["columns"].kinds_ == kinds and stream["columns"].zoned_[3] is True
    assert np.isfinite(stream.score_samples(chunks[0])).all()
    with pytest.raises((ValueError, TypeError), match=r"feature|column|dimension|data frames"):
        stream.partial_fit(numbers[1, :, :2])


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_a_stream_that_begins_with_frames_is_one_of_frames(kind, rng):
    library = pytest.importorskip(kind)
    numbers = rng.normal(1, 0.5, size=(3, 60, 2))
    make = library.table if kind == "pyarrow" else library.DataFrame
    frames = [make({"a": chunk[:, 0], "b": chunk[:, 1]}) for chunk in numbers]
    stream = OneClassPipeline([("columns", TableEncoder()), ("hrn", classifier(max_iter=2))])
    before = pickle.dumps(stream.partial_fit(frames[0]))
    for few in (20, 60):  # less than the beginning doubles by, and as much
        for other in (numbers[1, :few], numbers[1, :few].tolist(), sparse.csr_array(numbers[1])):
            with pytest.raises(TypeError, match=f"those before it are data frames of {kind}"):
                stream.partial_fit(other)
    assert pickle.dumps(stream) == before
    stream.partial_fit(frames[1])


@pytest.mark.parametrize("is_first", [True, False])
def test_a_stream_of_sparse_rows_takes_objects_that_are_numbers(is_first, chunks):
    numbers = [sparse.csr_array(chunks[0, :60]), np.asarray(chunks[1, :60], dtype=object)]
    stream = OneClassPipeline([("columns", TableEncoder()), ("lift", LandmarkFeatures(20))])
    stream.steps.append(("hrn", classifier(max_iter=2)))
    for chunk in numbers if is_first else numbers[::-1]:
        stream.partial_fit(chunk)
    assert stream.reference_rows_.shape == (120, 6)


def test_a_calibrated_pipeline_goes_on_from_its_scores(chunks):
    detector = pipeline(calibration="cross").set_params(hrn__max_iter=3).fit(chunks[0])
    known = len(detector.calibration_scores_)
    detector.partial_fit(chunks[1])
    assert len(detector.calibration_scores_) == known + 300
    assert detector.offset_ == detector["hrn"].offset_
    assert np.array_equal(detector.predict(chunks[2]) == -1, detector.p_values(chunks[2]) <= 0.05)


def test_a_chunk_is_one_epoch_for_the_network_and_for_the_networks_of_its_halves(
    chunks, monkeypatch
):
    asked, train = [], _training.train

    def spy(tasks):
        asked.append([task.parameters["max_updates"] for task in tasks])
        return train(tasks)

    monkeypatch.setattr(_training, "train", spy)
    stream = classifier()
    for chunk in chunks[:2]:
        stream.partial_fit(chunk[:230])
    # 230 rows are five batches of fifty, 115 are three. Those that place the first threshold train
    # as long as the network that they stand for.
    assert asked == [[5] * 6, [5, 3, 3]]


def test_the_threshold_follows_scores_from_before_a_chunk_and_what_its_halves_gain(
    chunks, monkeypatch
):
    stream = classifier(max_iter=3).fit(chunks[0])
    before, halves, followed, found = stream.score_samples(chunks[1]), [], [], []
    scores_by = HRNOneClassClassifier._scores_by

    def spy(classifier, task, learned, parts):
        assert np.array_equal(parts[0], task.rows)  # of its own half first
        found.append(scores_by(classifier, task, learned, parts))
        return found[-1]

    monkeypatch.setattr(HRNOneClassClassifier, "_scores_by", spy)
    monkeypatch.setattr("sklearn_hrn._continued.training_gain", lambda some: halves.append(some))
    monkeypatch.setattr("sklearn_hrn._continued._follow", lambda *given: followed.append(given))
    stream.partial_fit(chunks[1])
    ((_, scores, after, gain),) = followed
    assert np.array_equal(scores, before) and gain is None  # as the spy returns
    assert np.array_equal(after, stream.score_samples(chunks[1]))
    assert [[len(part) for part in half] for half in halves[0]] == [[150, 150]] * 2
    assert all(half[k] is found[i][k] for i, half in enumerate(halves[0]) for k in (0, 1))


@pytest.mark.parametrize(("statistics", "is_told"), [((1900, 50), False), ((2100, 50), True)])
def test_drift_is_told_by_the_mean_of_both_statistics_which_then_begin_anew(
    statistics, is_told, rng, monkeypatch
):
    stream = HRNOneClassClassifier(8, batch_size=20, random_state=0, contamination=0.05)
    stream.fit(rng.normal(1, 1, size=(60, 5)))
    monkeypatch.setattr("sklearn_hrn._drift.RESERVOIR_SIZE", 100)
    monkeypatch.setattr("sklearn_hrn._continued.RESERVOIR_SIZE", 100)
    found = np.array(statistics, dtype=float)
    monkeypatch.setattr("sklearn_hrn._continued.drift_evidence", lambda *_: found)
    for chunk in rng.normal(1, 1, size=(2, 50, 5)):  # until then there are few to compare with
        assert np.array_equal(stream.partial_fit(chunk).drift_evidence_, [0, 0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", DriftWarning)
        stream.partial_fit(rng.normal(1, 1, size=(50, 5)))
    assert [w.category for w in said] == [DriftWarning] * is_told
    assert np.array_equal(stream.drift_evidence_, [0, 0] if is_told else found)


def test_what_needs_all_rows_is_refused(chunks):
    with pytest.raises(ValueError, match="outlier_share=0"):
        pipeline(outlier_share=0.1).partial_fit(chunks[0])
    assert not hasattr(
        OneClassPipeline([("scale", StandardScaler()), ("axes", PCA())]), "partial_fit"
    )


def test_old_scores_fade_from_the_reservoir(rng):
    reservoir = np.empty(0)
    for chunk in range(10):
        reservoir = decaying_reservoir(reservoir, np.full(500, float(chunk)), rng)
    counts = np.bincount(reservoir.astype(int), minlength=10)
    assert counts.sum() == RESERVOIR_SIZE
    assert counts[9] == 500
    assert counts[0] < counts[4] < counts[7] < counts[9]


def test_what_rows_gain_by_training_is_seen_whichever_half_is_the_more_normal(rng):
    first, second = rng.normal(size=100), rng.normal(5, size=100)
    gain = training_gain([(first + 0.3, second), (second + 9.3, first + 9.0)])
    assert np.allclose(gain, 0.3)
    scores = carried_over(np.zeros(1), first, first + 1.3, gain)
    assert np.allclose(scores, 1.0)


def test_scores_are_carried_over_by_the_line_between_the_quartiles(rng):
    before = rng.normal(size=50)
    assert np.allclose(carried_over(np.array([0.0, 1.0]), before, 3 * before + 2), [2, 5])
    assert np.allclose(carried_over(np.ones(2), np.ones(50), np.full(50, 4.0)), 4)
    # A gain that leaves nothing between the quartiles does not turn the scores round.
    gain = np.array([0.0, 0.0, 9.0])
    assert np.allclose(carried_over(np.array([0.0, 1.0]), before, before, gain), np.median(before))


def test_the_marks_of_few_scores_begin_at_the_lowest():
    scores, ranks = marks(np.arange(9.0), None)
    assert (scores.tolist(), ranks.tolist()) == ([0, 4], [1, 5])
    assert marks(np.arange(9.0), 0.05)[0].tolist() == [0, 4]
    assert marks(np.arange(28.0), 0.1)[1].tolist() == [2, 14]  # 2.9 and 14.5, rounded down


def test_evidence_beyond_all_that_float64_can_tell_is_a_number():
    with np.errstate(divide="raise", invalid="raise"):
        found = drift_evidence(np.zeros(2), np.full(200, -1.0), np.arange(200.0), 0.02)
    assert np.isfinite(found).all() and found.min() > 1e100


def evidence_of(chunks, reservoir):
    evidence = np.zeros(2)
    for scores in chunks:
        evidence = drift_evidence(evidence, scores, np.sort(reservoir), 0.02)
        yield evidence


def test_evidence_of_drift_is_rare_without_it(rng):
    reservoir = rng.normal(size=2000)
    found = evidence_of(rng.normal(size=(200, 300)), reservoir)
    assert max(evidence.mean() for evidence in found) < 1000


@pytest.mark.parametrize("what", ["all rows fall a little", "a tail grows"])
def test_evidence_of_drift_comes_from_the_middle_and_from_the_tail(what, rng):
    scores = rng.normal(size=(40, 300))
    if what == "a tail grows":
        scores[:, :9] -= 4.0
    else:
        scores -= 0.15
    *_, (tail, middle) = evidence_of(scores, rng.normal(size=2000))
    assert (tail if what == "a tail grows" else middle) > 2000
    assert (middle if what == "a tail grows" else tail) < 2000


def test_drift_is_bet_on_by_beta_binomial_p_values_of_the_threshold_and_of_the_median():
    reservoir, scores = np.arange(99.0), np.array([-3.0, -2.0, -1.0, 10.0, 20.0, 70.0, 80.0, 90.0])
    before = np.array([0.5, 2.0])
    found = drift_evidence(before, scores, reservoir, 0.02)
    # The second lowest of 99 and the median of 100: three and five scores lie below them.
    for i, (rank, n_below) in enumerate([(2, 3), (50, 5)]):
        due = rank * TOLERATED[i]
        p = betabinom(8, due, 100 - due).pmf(np.arange(n_below, 9)).sum()
        assert found[i] == pytest.approx((1 + before[i]) / (2 * np.sqrt(p)))


def test_what_lies_within_three_errors_of_the_reservoir_is_no_drift(rng):
    reservoir, scores = np.sort(rng.normal(size=2000)), rng.normal(size=(40, 300)) - 0.2
    evidence = bold = np.zeros(2)
    for chunk in scores:
        evidence = drift_evidence(evidence, chunk, reservoir, 0.02, np.full(2, 0.1))
        bold = drift_evidence(bold, chunk, reservoir, 0.02, np.full(2, 0.02))
    assert evidence.mean() < 1000 < bold.mean()
    # Of errors beyond all scores, all are due.
    at_most = drift_evidence(np.zeros(2), scores[0], reservoir, 0.02, np.full(2, 9.0))
    np.testing.assert_allclose(at_most, 0.5)


def test_the_error_of_carrying_is_that_of_a_chunk(rng):
    points, errors = np.array([-2.0, 0.0]), []
    before = rng.normal(size=400)
    assert np.allclose(error_of_carrying(points, before, 3 * before + 1, rng), 0)
    for _ in range(300):
        before = rng.normal(size=400)
        after = before + rng.normal(size=400)
        moved = carried_over(points, before, after)
        errors.append([error_of_carrying(points, before, after, rng), moved])
    estimated, moved = np.transpose(errors, (1, 2, 0))
    np.testing.assert_allclose(np.sqrt(np.mean(estimated**2, axis=1)), moved.std(axis=1), rtol=0.2)


@pytest.mark.parametrize(("n_rows", "is_told"), [(10, True), (100, False)])
def test_chunks_too_small_for_the_threshold_are_told(rng, n_rows, is_told):
    norm = InstanceL2Normalizer(center=None, append=3.0).fit(np.ones((2, 5)))
    stream = HRNOneClassClassifier(8, batch_size=20, random_state=0, contamination=0.05)
    stream.fit(norm.transform(rng.normal(1, 1, size=(300, 5))))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResolutionWarning)
        for _ in range(30):
            stream.partial_fit(norm.transform(rng.normal(1, 1, size=(n_rows, 5))))
    spread = np.ptp(np.quantile(stream.calibration_scores_, [0.25, 0.75]))
    assert stream.drift_error_[0] > 0.4 * spread
    told = [each for each in found if f"chunks such as this one, of {n_rows} rows" in str(each)]
    assert bool(told) == is_told
    assert all(each.category is ResolutionWarning for each in told)


def test_errors_of_carrying_add_up_as_long_as_their_scores_are_there(rng, monkeypatch):
    stream = HRNOneClassClassifier(8, batch_size=20, random_state=0, contamination=0.05)
    stream.fit(rng.normal(size=(60, 5)))
    monkeypatch.setattr("sklearn_hrn._continued.error_of_carrying", lambda *_: np.full(2, 3.0))
    monkeypatch.setattr("sklearn_hrn._drift.RESERVOIR_SIZE", 100)
    stream.partial_fit(rng.normal(size=(50, 5)))
    np.testing.assert_allclose(stream.drift_error_, 3)
    stream.partial_fit(rng.normal(size=(50, 5)))  # all scores before are still there
    np.testing.assert_allclose(stream.drift_error_, np.hypot(3, 3))
    stream.partial_fit(rng.normal(size=(75, 5)))  # a quarter is
    np.testing.assert_allclose(stream.drift_error_, np.hypot(np.hypot(3, 3) / 4, 3))
    assert not hasattr(stream.fit(rng.normal(size=(60, 5))), "drift_error_")


def test_a_stream_keeps_the_long_steps_of_its_first_chunk(rng):
    chunks = [scale * rng.normal(size=(60, 5)) for scale in ([9, 1, 1, 1, 1], [1, 1, 1, 1, 9])]
    model = HRNOneClassClassifier(8, preconditioning=10.0, batch_size=20, random_state=0)
    model.partial_fit(chunks[0])
    first = [axes.copy() for axes in model._loop["axes"]]
    assert abs(first[0][0, 0, 0]) > 0.9  # the leading axis is that of the first column
    model.partial_fit(chunks[1])
    for now, then in zip(model._loop["axes"], first, strict=True):
        np.testing.assert_array_equal(now, then)
    # Another factor has axes of its own, and plain descent none.
    model.set_params(preconditioning=5.0).partial_fit(chunks[1])
    assert abs(model._loop["axes"][0][0, 4, 0]) > 0.9
    model.set_params(preconditioning=1.0).partial_fit(chunks[1])
    assert model._loop["axes"] == []


def test_parameters_set_in_a_stream_hold_from_the_next_chunk_on(chunks):
    streams = [make().partial_fit(chunks[0]) for make in (pipeline, classifier)]
    whole, last = streams
    before = whole["scale"]
    whole.set_params(hrn__contamination=0.3, scale__with_mean=False).partial_fit(chunks[1])
    last.set_params(contamination=0.3).partial_fit(chunks[1])
    for stream in streams:
        assert 0.2 < (stream.predict(chunks[2]) == -1).mean() < 0.5
    assert before.with_mean and not whole["scale"].with_mean
    assert whole["hrn"].contamination == 0.3
    # A step of another class begins with the next fit, and lends the one that goes on nothing.
    whole.set_params(scale=MinMaxScaler()).partial_fit(chunks[2])
    assert type(whole["scale"]) is StandardScaler and not whole["scale"].with_mean


@pytest.mark.parametrize("kind", ["classifier", "pipeline", "classes"])
def test_a_parameter_that_is_not_allowed_is_refused_at_any_chunk(kind, chunks):
    classes = HRNContinualClassifier(HRNOneClassClassifier(4, max_iter=2), random_state=0)
    streams = {"classifier": classifier(), "pipeline": pipeline(), "classes": classes}
    wrong = {"classifier": "momentum", "pipeline": "hrn__momentum", "classes": "false_alarm_rate"}
    stream, y = streams[kind], np.arange(300) % 2 if kind == "classes" else None
    stream.partial_fit(chunks[0], y).set_params(**{wrong[kind]: -1.0})
    before = pickle.dumps(stream)
    with pytest.raises(ValueError, match=wrong[kind].removeprefix("hrn__")):
        stream.partial_fit(chunks[1], y)
    assert pickle.dumps(stream) == before


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_chunks_of_whole_numbers_and_of_others_are_joined(library):
    frame = pytest.importorskip(library).DataFrame
    whole = joined([frame({"a": [1, 2]}), frame({"a": [0.5]}), frame({"a": [3]})])
    assert whole["a"].to_list() == [1, 2, 0.5, 3]


def test_chunks_of_sparse_rows_stay_in_their_order():
    whole = joined([sparse.csr_array([[1.0, 0.0]]), sparse.csr_array([[2.0, 0.0], [0.0, 3.0]])])
    assert whole.toarray().tolist() == [[1, 0], [2, 0], [0, 3]]


def test_a_frame_comes_back_from_its_arrays_with_names_and_numbers_of_rows():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[7, 3])
    pandas.testing.assert_frame_equal(as_frame(as_columns(table)), table)
    zoned = pandas.DatetimeIndex(["2026-01-01", "2026-01-03"], tz="Europe/Berlin", name="since")
    for index in (zoned, pandas.MultiIndex.from_product([["x"], zoned], names=["pump", "since"])):
        pandas.testing.assert_frame_equal(
            as_frame(as_columns(table.set_axis(index))), table.set_axis(index)
        )


def test_words_that_are_tuples_stay_tuples():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [(1, "x"), (2, "y")]})
    assert as_frame(as_columns(table))["a"].tolist() == [(1, "x"), (2, "y")]
