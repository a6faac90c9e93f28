"""The benchmark of streams, on rows of a moment."""

import numpy as np
import pytest

from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer, OneClassPipeline
from sklearn_hrn.benchmark import streams
from sklearn_hrn.benchmark.__main__ import main


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
