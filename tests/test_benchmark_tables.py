"""The benchmark of tables as they come, on rows of a moment."""

import numpy as np
import pytest

from sklearn_hrn.benchmark import tables
from sklearn_hrn.benchmark.__main__ import main


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(80, 4)), rng.normal(5, 1, size=(10, 4))]
    np.savez(tmp_path / "1_toy.npz", X=X, y=np.repeat([0, 1], [80, 10]))
    return tmp_path


def test_every_task_has_a_table(folder, capsys, monkeypatch):
    monkeypatch.setattr(tables, "WIDE", [(30, 50)])
    out = folder / "tables.jsonl"
    options = ["--data-home", folder, "--output", out, "--methods", "IsolationForest", "--fast"]
    main(["tables", *map(str, options), "--quiet"])
    text = capsys.readouterr().out
    for task in {*tables.TASKS} - {"labels"}:  # too few anomalies here
        assert f"{task}: AUC" in text


def test_a_glitch_is_one_value_of_one_training_row(folder, monkeypatch):
    seen = []

    def evaluate(method, seed, X_train, X_test, y_test):
        seen.append(X_train)
        return {"auc": 100.0}

    monkeypatch.setattr(tables.protocol, "evaluate", evaluate)
    tables.measure("glitch", "IsolationForest", 3, folder, dataset="1_toy", deviations=1e3)
    with_it, without = seen
    assert (with_it != without).sum() == 1
    assert np.abs(with_it).max() > 500 > np.abs(without).max()


def test_words_are_cut_at_quantiles_of_the_training_rows():
    X = np.arange(40.0).reshape(20, 2)
    rows, edges = tables.recoded(X, 0)
    assert rows.shape == (20, 3)
    assert len(set(rows[:, 0])) == 20
    assert {value for value in rows[:, 2] if value is not None} <= {
        *("none", "low", "some", "high", "most")
    }
    later, _ = tables.recoded(1e6 + X, 1, edges)
    assert {value for value in later[:, 2] if value is not None} == {"most"}


@pytest.mark.parametrize(("share", "n_hidden"), [("natural", 4), (0.05, 2)])
def test_some_unlabelled_anomalies_train_and_only_others_test(folder, monkeypatch, share, n_hidden):
    class Peer:
        def fit(self, X):
            self.known = X

        def score_samples(self, X):
            # As rows that trained and others would be told apart, and nothing else.
            return (X[:, None] == self.known).all(axis=2).any(axis=1).astype(float)

    peer = Peer()
    monkeypatch.setattr(tables, "make_peer", lambda method, seed: peer)
    figures = tables.measure("unlabelled", "any", 0, folder, dataset="1_toy", share=share)
    X = np.load(folder / "1_toy.npz")["X"]
    assert np.isclose(peer.known[:, None], X[80:]).all(axis=2).any(axis=0).sum() == n_hidden
    assert len(peer.known) == 40 + n_hidden == figures["n_train"]
    assert figures["auc"] == 50  # no row of the test has trained
    # All training rows score 1, which is the threshold; all others lie below.
    assert figures["found"] == figures["false_alarms"] == 100


def test_labels_are_of_anomalies_that_are_not_tested_on(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(80, 4)), rng.normal(5, 1, size=(90, 4))].astype(np.float32)
    np.savez(tmp_path / "1_toy.npz", X=X, y=np.repeat([0, 1], [80, 90]))
    seen = []

    def scores(method, seed, X, y, X_test):
        seen.append((X[y == -1], X_test))
        return X_test.sum(axis=1)

    monkeypatch.setattr(tables, "_with_labels", scores)
    for n_labels in tables.LABELS:
        tables.measure("labels", "any", 0, tmp_path, dataset="1_toy", n_labels=n_labels)
    for (labelled, tested), n_labels in zip(seen, tables.LABELS, strict=True):
        assert len(labelled) == n_labels
        assert not (tested[:, None] == labelled).all(axis=2).any()
        np.testing.assert_array_equal(tested, seen[0][1])  # one test half for all counts


@pytest.mark.parametrize("method", ["HRN tabular", "random forest"])
def test_labelled_anomalies_are_learned(method):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(60, 3)), rng.normal(2, 0.3, size=(20, 3))]
    y, X_test = np.repeat([1, -1], [60, 20]), np.r_[rng.normal(size=(50, 3)), np.full((50, 3), 2.0)]
    scores = tables._with_labels(method, 0, X, y, X_test)
    assert scores[:50].mean() > scores[50:].mean() + 0.1
