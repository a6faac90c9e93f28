"""The benchmark of verdicts, on rows of a moment."""

import numpy as np
import pytest

from sklearn_hrn import HRNOneClassClassifier, OneClassPipeline
from sklearn_hrn.benchmark import feedback
from sklearn_hrn.benchmark.__main__ import main
from sklearn_hrn.kernel_approximation import LandmarkFeatures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A set, another with too few anomalies, and a detector of a moment."""

    def detector(seed):
        hrn = HRNOneClassClassifier(
            20, max_updates=10, preconditioning=10.0, contamination=0.05, random_state=seed
        )
        steps = [("lift", LandmarkFeatures(50, random_state=seed)), ("hrn", hrn)]
        return OneClassPipeline(steps, calibration="cross")

    monkeypatch.setattr(feedback, "_detector", detector)
    monkeypatch.setattr(feedback, "ROUNDS", 2)
    rng = np.random.default_rng(0)
    for name, n_anomalies in {"1_toy": 60, "2_few": 59}.items():
        X = np.r_[rng.normal(size=(900, 3)), rng.normal(3, 0.5, size=(n_anomalies, 3))]
        np.savez(tmp_path / f"{name}.npz", X=X, y=np.repeat([0, 1], [900, n_anomalies]))
    return tmp_path


def test_sets_that_are_too_small_have_no_row_and_both_methods_have_one(folder, capsys):
    out = folder / "feedback.jsonl"
    options = ["--data-home", folder, "--output", out, "--splits", 1, "--quiet"]
    main(["feedback", *map(str, options)])
    text = capsys.readouterr().out
    assert [line.split()[2:5] for line in text.splitlines() if line.startswith("all sets")] == [
        ["threshold", "1", "1"],
        ["trained", "1", "1"],
    ]
    assert "not chosen on" not in text  # the set is at an odd place


def test_no_verdict_is_given_on_a_row_that_is_tested():
    y = np.repeat([1, -1], [900, 60])
    train, screened, tested = feedback.parts(y, 1)
    of_each = [train, *screened, *tested]
    assert sum(map(len, of_each)) == len(np.unique(np.concatenate(of_each))) == 960
    assert [set(y[rows]) for rows in of_each] == [{1}, {1}, {-1}, {1}, {-1}]


def test_labels_of_tested_rows_change_no_threshold_and_no_score(folder, monkeypatch):
    seen, measured = [], []
    original = OneClassPipeline.feedback

    def spy(self, X, y, **options):
        seen.append(len(X))
        original(self, X, y, **options)
        measured.append(self.offset_)
        return self

    monkeypatch.setattr(OneClassPipeline, "feedback", spy)
    for method in feedback.METHODS:
        feedback.measure("1_toy", True, method, 1, data_home=folder)
    first = list(measured)
    load = feedback.data.adbench

    def altered(name, data_home):
        X, y = load(name, data_home)
        _, _, (_, held_out) = feedback.parts(y, 1)
        X = X.copy()
        X[held_out] += 100
        return X, y

    monkeypatch.setattr(feedback.data, "adbench", altered)
    measured.clear()
    for method in feedback.METHODS:
        feedback.measure("1_toy", True, method, 1, data_home=folder)
    assert measured == first and all(seen)
