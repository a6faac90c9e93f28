"""The benchmark of streams, on rows of a moment."""

import warnings

import numpy as np
import pytest
from recorders import Recorder
from sklearn.metrics import roc_auc_score
from sklearn.utils import Bunch

from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer, OneClassPipeline
from sklearn_hrn.benchmark import protocol, streams
from sklearn_hrn.benchmark.__main__ import main, make_parser
from sklearn_hrn.exceptions import DriftWarning


@pytest.fixture
def quick(monkeypatch):
    """A detector of a moment, on few rows."""

    def detector(seed):
        hrn = HRNOneClassClassifier(8, init=0.1, max_updates=50, random_state=seed)
        return OneClassPipeline([("norm", InstanceL2Normalizer(append=1.0)), ("hrn", hrn)])

    monkeypatch.setattr(streams, "_detector", detector)
    monkeypatch.setattr(streams, "MIN_TRAIN", 100)
    monkeypatch.setattr(streams, "CHUNKS", 12)
    monkeypatch.setattr(streams, "ROWS", 300)


@pytest.mark.usefixtures("few_updates")
def test_a_stream_and_a_fit_see_as_many_updates_and_a_drift_is_counted(quick, tmp_path, capsys):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(400, 4)), rng.normal(5, 1, size=(10, 4))]
    for name, rows in {"1_toy": slice(None), "2_small": slice(300, None)}.items():
        np.savez(tmp_path / f"{name}.npz", X=X[rows], y=np.repeat([0, 1], [400, 10])[rows])
    out = tmp_path / "streams.jsonl"
    options = ["--data-home", tmp_path, "--output", out, "--fast", "--quiet"]
    main(["streams", *map(str, options)])
    text = capsys.readouterr().out
    assert "1_toy" in text and "2_small" not in text
    # The last fit, of 160 rows, and four more chunks of ten rows, an update each.
    assert [line.split()[1] for line in text.splitlines() if line.startswith("1_toy")] == ["9"]
    assert all(f"\n{case}  " in text for case in ("moves, chunks of 300", "stays, chunks of 60"))


def test_a_normal_class_that_moves_away_is_flagged_by_a_frozen_detector(quick):
    moved, stayed = (streams.measure(what, "", 0) for what in ("drift", "still"))
    assert moved["false_alarms_frozen_last"] > 4 * stayed["false_alarms_frozen_last"]
    assert moved["false_alarms"] < moved["false_alarms_frozen_last"]


def test_both_halves_of_a_set_count_for_its_size(quick, tmp_path):
    for n_normal in (199, 200):
        X, y = np.zeros((n_normal + 5, 2)), np.repeat([0, 1], [n_normal, 5])
        np.savez(tmp_path / f"1_of_{n_normal}.npz", X=X, y=y)
    args = make_parser().parse_args(["streams", "--data-home", str(tmp_path)])
    assert {s["name"] for s in streams.settings(args)} == {"1_of_200", ""}


class Streamed(Recorder):
    """Keeps its chunks, too; after one fit it scores rows by minus their first column."""

    def __init__(self, seed):
        super().__init__(seed)
        self.chunks = []

    def __getitem__(self, step):
        return Bunch(n_updates_=54)

    def partial_fit(self, X):
        self.chunks.append(X)
        return self

    def score_samples(self, X):
        return X[:, 0] if self.chunks else -X[:, 0]


def test_a_stream_and_one_fit_see_the_same_rows_of_a_split_as_often(rng, monkeypatch):
    X, y = rng.normal(size=(100, 2)), np.repeat([1, -1], [80, 20])
    monkeypatch.setattr(streams.data, "adbench", lambda name, data_home: (X, y))
    made = []
    monkeypatch.setattr(streams, "_detector", lambda seed: made.append(Streamed(seed)) or made[-1])
    figures = streams.measure("equal", "any", 3)
    stream, whole = made
    train, test = protocol.one_class_split(y, 3)
    assert [len(chunk) for chunk in stream.chunks] == [2] * 20
    assert np.array_equal(np.concatenate(stream.chunks), X[train])
    assert np.array_equal(whole.learned, X[train])
    assert stream.seed == whole.seed == 3
    assert stream.parameters == {"calibration": None}
    assert whole.parameters == {"calibration": None, "hrn__max_updates": 54}
    auc = 100 * roc_auc_score(y[test], X[test, 0])
    assert figures == {
        "stream": pytest.approx(auc),
        "whole": pytest.approx(100 - auc),
        "n_updates": 54,
    }


class Subspace(Streamed):
    """Flags what lies off the four directions of the normal rows, and tells of drift once."""

    def fit(self, X):
        self.directions = np.linalg.svd(X, full_matrices=False)[2][:4]
        assert not self._is_off(X).any()  # anomalies are of the chunks alone
        return self

    def _is_off(self, X):
        return np.linalg.norm(X - X @ self.directions.T @ self.directions, axis=1) > 2

    def predict(self, X):
        if len(X) == 2000:  # anomalies before the first chunk
            self.before.append(X)
        else:
            assert not any(X is chunk for chunk in self.chunks), "flagged after it was learned"
        return np.where(self._is_off(X), -1, 1)

    def partial_fit(self, X):
        warnings.warn("told", DriftWarning if len(self.chunks) == 3 else UserWarning, stacklevel=2)
        return super().partial_fit(X)


def test_a_detector_that_knows_the_subspace_finds_all_anomalies_and_gives_no_false_alarm(
    quick, monkeypatch
):
    made, Subspace.before = [], []
    monkeypatch.setattr(streams, "_detector", lambda seed: made.append(Subspace(seed)) or made[-1])
    figures = streams.measure("still", "", 3)
    ((detector,), (anomalies,)) = made, Subspace.before
    assert detector.seed == 3
    assert detector.parameters == {"hrn__contamination": streams.RATE}
    assert [len(chunk) for chunk in detector.chunks] == [300] * 12
    found = figures.pop("found"), figures.pop("found_frozen_before")
    assert min(found) > 97
    assert figures == {"false_alarms": 0, "false_alarms_frozen_last": 0, "told": [3]}
    rows = np.concatenate(detector.chunks)
    is_off = detector._is_off(rows)
    assert 0.005 < is_off.mean() < 0.015
    # Columns of anomalies are those of other rows, one and a half times as far off.
    ratio = anomalies.std(axis=0) / rows[~is_off].std(axis=0)
    assert ratio == pytest.approx(np.full(10, 1.5), abs=0.1)
