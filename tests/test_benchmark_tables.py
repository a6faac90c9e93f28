"""The benchmark of tables as they come, on rows of a moment."""

import numpy as np
import pytest
from recorders import Recorder
from sklearn.metrics import roc_auc_score

from sklearn_hrn.benchmark import peers, tables
from sklearn_hrn.benchmark.__main__ import main, make_parser


@pytest.fixture
def folder(tmp_path):
    tables._auc_with_glitch.cache_clear()
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(80, 4)), rng.normal(5, 1, size=(10, 4))]
    np.savez(tmp_path / "1_toy.npz", X=X, y=np.repeat([0, 1], [80, 10]))
    return tmp_path


@pytest.mark.usefixtures("few_updates")
def test_every_task_has_a_table(folder, capsys, monkeypatch):
    # PyOD's compile for seconds, and pass the same lines as the other peers.
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    monkeypatch.setattr(tables, "WIDE", [(30, 50, 1)])
    monkeypatch.setattr(tables, "MIN_ROWS", 90)
    out = folder / "tables.jsonl"
    options = ["--data-home", folder, "--output", out, "--methods", "OneClassSVM", "--fast"]
    main(["tables", *map(str, options), "--quiet"])
    text = capsys.readouterr().out
    for task in {*tables.TASKS} - {"labels"}:  # too few anomalies here
        assert f"{task}: AUC" in text
    assert text.count("\ndatasets  ") == 1  # of the glitch, whose rows are means over them


def test_a_glitch_is_one_value_of_one_training_row(folder, monkeypatch):
    seen = []

    def evaluate(method, seed, X_train, X_test, y_test):
        seen.append(X_train)
        return {"auc": 100.0 - len(seen)}

    monkeypatch.setattr(tables.protocol, "evaluate", evaluate)
    case = {"dataset": "1_toy", "deviations": 1e3, "cells": 3}
    figures = tables.measure("glitch", "IsolationForest", 3, folder, **case)
    places = set()
    for with_it, without in zip(seen[::2], seen[1::2], strict=True):
        ((row, column),) = np.argwhere(with_it != without)
        places.add((row, column))
        assert abs(with_it[row, column]) > 500 > np.abs(without).max()
        rest = np.delete(without[:, column], row)
        assert without[row, column] in rest  # another row's value
    assert len(places) == 3
    assert figures.pop("differences") == [1.0] * 3
    assert figures == {"auc": 97.0, "auc_without": 96.0, "difference": 1.0}
    # What trains without a glitch is the same beside another size of one.
    tables.measure("glitch", "IsolationForest", 3, folder, **{**case, "deviations": 10})
    assert len(seen) == 9


def test_test_rows_teach_nothing_of_a_glitch(folder, monkeypatch):
    seen = []

    def evaluate(method, seed, X_train, X_test, y_test):
        seen.append((X_train, X_test))
        return {"auc": 100.0}

    monkeypatch.setattr(tables.protocol, "evaluate", evaluate)
    case = {"dataset": "1_toy", "deviations": 10, "cells": 2}
    tables.measure("glitch", "any", 0, folder, **case)
    X, y = tables.data.adbench("1_toy", folder)
    _, test = tables.protocol.one_class_split(y, 0)
    X = X.copy()
    X[test] += 5
    monkeypatch.setattr(tables.data, "adbench", lambda *arguments: (X, y))
    before = seen[:]
    tables._auc_with_glitch.cache_clear()
    tables.measure("glitch", "any", 0, folder, **case)
    for (train, tested), (train_after, tested_after) in zip(before, seen[4:], strict=True):
        np.testing.assert_array_equal(train, train_after)
        assert (tested != tested_after).all()


def test_glitches_are_of_sets_that_are_large_enough(folder, monkeypatch):
    args = ["tables", "--data-home", str(folder), "--tasks", "glitch", "--seeds", "2"]
    args = make_parser().parse_args(args)
    assert tables.settings(args) == []  # 90 rows
    monkeypatch.setattr(tables, "MIN_ROWS", 90)
    found = tables.settings(args)
    assert len(found) == 2 * len(tables.DEVIATIONS) * len(tables.METHODS)
    assert {s["cells"] for s in found} == {10}


def test_networks_of_labels_take_part_where_they_are_installed_and_there_are_labels(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: True)
    methods = [tables._methods("labels", tables.METHODS, {"n_labels": n}) for n in (0, 1)]
    others = ["random forest", "DeepOD DeepSAD", "DeepOD DevNet"]
    assert methods == [["HRN tabular"], ["HRN tabular", *others]]


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


@pytest.mark.parametrize("method", ["HRN tabular", "random forest", *peers.LABELLED])
def test_labelled_anomalies_are_learned(method):
    if method in peers.LABELLED:
        pytest.importorskip("deepod")
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(60, 3)), rng.normal(2, 0.3, size=(20, 3))]
    y, X_test = np.repeat([1, -1], [60, 20]), np.r_[rng.normal(size=(50, 3)), np.full((50, 3), 2.0)]
    scores = tables._with_labels(method, 0, X, y, X_test)
    assert scores[:50].mean() > scores[50:].mean() + 0.1


@pytest.mark.parametrize("method", peers.LABELLED)
def test_networks_learn_from_labels_and_not_from_distance_alone(method):
    pytest.importorskip("deepod")
    rng = np.random.default_rng(0)

    def rows(n_normal, n_anomalous):
        # A long tail of normal rows goes further out than the anomalies on the other side.
        X = rng.normal(scale=0.3, size=(n_normal + n_anomalous, 3))
        X[n_normal:, 1:] /= 3
        X[:, 0] += np.r_[-rng.exponential(size=n_normal), np.full(n_anomalous, 0.8)]
        return X, np.repeat([1, -1], [n_normal, n_anomalous])

    X_test, y_test = rows(100, 100)
    scores = tables._with_labels(method, 0, *rows(200, 20), X_test)
    assert roc_auc_score(y_test, scores) > 0.9


def test_the_loss_of_devnet_pairs_scores_with_their_own_labels(monkeypatch):
    losses = pytest.importorskip("deepod.models.tabular.devnet")
    pairs = []

    def loss(self, labels, scores):
        pairs.append((labels.shape, scores.shape))
        return scores.mean()

    monkeypatch.setattr(losses.DevLoss, "forward", loss)
    y = np.repeat([1, -1], [40, 8])
    peers.DeepODDetector("DevNet").fit(np.random.default_rng(0).normal(size=(48, 3)), y)
    assert all(of_labels == of_scores == (48,) for of_labels, of_scores in pairs)


def test_wide_anomalies_are_off_in_a_tenth_of_the_columns(monkeypatch):
    seen = []
    monkeypatch.setattr(tables.protocol, "evaluate", lambda *given: seen.append(given) or {})
    tables.measure("wide", "any", 0, n_rows=30, n_columns=50, deviations=2)
    ((_, _, X_train, X_test, y_test),) = seen
    assert X_train.shape == (30, 50)
    off = X_test[y_test == -1].mean(axis=0) - X_test[y_test == 1].mean(axis=0)
    np.testing.assert_allclose(off, 2.0 * (np.arange(50) < 5), atol=0.4)  # four standard errors


def test_a_tenth_of_the_values_of_mixed_tables_is_gone():
    rows, _ = tables.recoded(np.random.default_rng(0).normal(size=(1000, 4)), 0)
    gone = np.array([[value is None for value in row] for row in rows])
    assert not gone[:, 0].any()  # the identifiers
    np.testing.assert_allclose(gone[:, 1:].mean(axis=0), 0.1, atol=0.04)


def test_the_method_with_the_largest_areas_has_rank_one():
    def run(method, dataset, auc):
        settings = {"task": "mixed", "method": method, "seed": 0, "dataset": dataset}
        environment = {"commit": "0" * 12}
        figures = {"auc": auc}
        return {
            **{"settings": settings, "figures": figures},
            **{"is_stale": False, "environment": environment},
        }

    runs = [run("a", "x", 70.0), run("b", "x", 90.0), run("a", "y", 60.0), run("b", "y", 80.0)]
    lines = tables.render(runs).splitlines()
    (ranks,) = (line.split() for line in lines if line.startswith("mean rank"))
    assert ranks[2:] == ["2.00", "1.00"]


@pytest.mark.parametrize("method", ["HRN tabular", "OneClassSVM"])
def test_words_and_medians_of_mixed_tables_are_learned_from_training_rows(
    folder, monkeypatch, method
):
    seen = []
    monkeypatch.setattr(tables.protocol, "evaluate", lambda *given: seen.append(given) or {})
    tables.measure("mixed", method, 0, folder, dataset="1_toy")
    X, y = tables.data.adbench("1_toy", folder)
    _, test = tables.protocol.one_class_split(y, 0)
    X = X.copy()
    X[test[1:]] += 100  # of which edges or medians would know
    monkeypatch.setattr(tables.data, "adbench", lambda *arguments: (X, y))
    tables.measure("mixed", method, 0, folder, dataset="1_toy")
    (_, _, train, tested, _), (_, _, train_after, tested_after, _) = seen
    np.testing.assert_array_equal(train, train_after)
    np.testing.assert_array_equal(tested[0], tested_after[0])
    assert (tested[1:] != tested_after[1:]).any(axis=1).mean() > 0.9  # but for rows of gaps


class Thresholded(Recorder):
    """Its threshold is zero."""

    offset_ = 0.0


@pytest.mark.parametrize(("share", "width"), tables.GROUPS)
def test_a_group_of_its_width_lies_six_deviations_off_and_ours_is_told_its_share(
    share, width, monkeypatch
):
    ours, seen = Thresholded(), []
    monkeypatch.setitem(tables.protocol.OURS, "HRN tabular", lambda seed: ours)
    monkeypatch.setattr(tables.protocol, "evaluate", lambda *given: seen.append(given) or {})
    for method in ("HRN tabular", "OneClassSVM"):
        tables.measure("group", method, 3, share=share, width=width)
    ((_, seed, X_train, X_test, y_test),) = seen
    np.testing.assert_array_equal(ours.learned, X_train)
    assert seed == 3
    assert ours.parameters == {"outlier_share": share}
    assert X_train.shape == X_test.shape == (1000, 5)
    group = X_test[y_test == -1]
    assert len(group) == 500
    assert np.linalg.norm(group.mean(axis=0)) == pytest.approx(6, abs=0.3)
    np.testing.assert_allclose(group.std(axis=0), width, rtol=0.15)
    np.testing.assert_allclose(X_test[y_test == 1].mean(axis=0), 0, atol=0.2)
    along = X_train @ group.mean(axis=0) / 6
    assert (along > 3).mean() == pytest.approx(share, abs=0.003)


def test_the_recipe_flags_unlabelled_anomalies_by_its_own_threshold(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(1, 1, size=(80, 2)), rng.normal(-1, 1, size=(20, 2))]
    np.savez(tmp_path / "1_toy.npz", X=X, y=np.repeat([0, 1], [80, 20]))
    ours, asked = Thresholded(), []
    monkeypatch.setattr(
        tables, "make_hrn_pipeline", lambda *given, **seed: asked.append((given, seed)) or ours
    )
    figures = tables.measure("unlabelled", "HRN tabular", 3, tmp_path, dataset="1_toy", share=0.05)
    assert asked == [(("tabular",), {"random_state": 3})]
    assert ours.parameters == {"outlier_share": "auto", "hrn__contamination": 0.01}
    known = set(map(bytes, np.float32(ours.learned)))
    fresh = [x for x in np.float32(X) if bytes(x) not in known]
    normal = [x[0] for x in fresh if bytes(x) in set(map(bytes, np.float32(X[:80])))]
    assert figures["false_alarms"] == pytest.approx(100 * np.mean(np.array(normal) < 0), abs=1e-3)
    assert len(normal) == 40
    # Half of the anomalies are tested, and each found one is ten per cent.
    assert figures["found"] % 10 == 0 and figures["found"] > figures["false_alarms"] + 20
