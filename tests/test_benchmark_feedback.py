"""The benchmark of verdicts, on rows of a moment."""

import numpy as np
import pytest
from recorders import Recorder
from sklearn.metrics import roc_auc_score

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


class Known(Recorder):
    """Flags rows whose first column is negative, and keeps the verdicts."""

    def __init__(self, seed):
        super().__init__(seed)
        self.verdicts = []

    def predict(self, X):
        return np.where(X[:, 0] < 0, -1, 1)

    def feedback(self, X, y, *, n_screened):
        self.verdicts.append((X, y, n_screened))


@pytest.mark.parametrize("method", feedback.METHODS)
def test_what_is_flagged_of_306_rows_gets_its_true_label_and_rates_are_of_other_rows(
    method, rng, monkeypatch
):
    y = np.repeat([1, -1], [900, 60])
    X = np.column_stack([rng.normal(size=960) + 0.5 * y, np.arange(960)])
    made = []
    monkeypatch.setattr(feedback.data, "adbench", lambda name, data_home: (X, y))
    monkeypatch.setattr(feedback, "_detector", lambda seed: made.append(Known(seed)) or made[-1])
    figures = feedback.measure("any", True, method, 3)
    (detector,) = made
    train, screened, (normal, anomalous) = feedback.parts(y, 3)
    assert detector.seed == 3
    assert detector.parameters == {"reference_rows": {"threshold": 0, "trained": 500}[method]}
    assert np.array_equal(detector.learned, X[train])
    assert len(detector.verdicts) == 10
    for rows, labels, n_screened in detector.verdicts:
        assert (rows[:, 0] < 0).all() and n_screened == 306
        places = rows[:, 1].astype(int)
        assert set(places) <= set(np.concatenate(screened))
        assert np.array_equal(labels, y[places])
        assert (labels == -1).sum() <= 6 < (labels == 1).sum()
    tested = np.r_[normal, anomalous]
    expected = {
        "auc": 100 * roc_auc_score(y[tested], X[tested, 0]),
        "false_alarms": 100 * (X[normal, 0] < 0).mean(),
        "found": 100 * (X[anomalous, 0] < 0).mean(),
    }
    # Before the first round and after each.
    assert figures == {name: pytest.approx([value] * 11) for name, value in expected.items()}
