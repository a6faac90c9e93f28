"""The benchmark of decisions: what is fresh, what is counted, and over which sets."""

import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from sklearn_hrn import OneClassPipeline
from sklearn_hrn.benchmark import data, decisions
from sklearn_hrn.benchmark.__main__ import make_parser


@pytest.fixture
def tables(monkeypatch):
    """Every table has 240 normal rows and 30 anomalies far from them."""

    def load(name, data_home=None):
        rng = np.random.default_rng(0)
        X = np.concatenate([rng.normal(size=(240, 3)), rng.normal(loc=9, size=(30, 3))])
        return X, np.repeat([1, -1], [240, 30])

    monkeypatch.setattr(data, "adbench", load)


def test_fresh_rows_are_normal_and_were_not_trained_on(tables):
    train, fresh, anomalies, official = decisions._parts("tables", "any", 0, None)
    assert official is None
    assert [len(part) for part in (train, fresh, anomalies)] == [120, 120, 30]
    assert not set(train[:, 0]) & set(fresh[:, 0])
    assert max(train.max(), fresh.max()) < 5 < anomalies.max()


@pytest.mark.parametrize("method", decisions.METHODS)
def test_alarms_are_counted_at_every_rate(tables, method):
    short = {"max_updates": 20} if method == "HRN" else {}
    figures = decisions.measure("tables", "any", 0, method, **short)
    assert (np.diff(figures["false_alarms"]) >= 0).all() and figures["n_train"] == 120
    assert abs(figures["false_alarms"][2] - 0.1) < 0.12  # three standard errors of 120 and 120 rows
    assert figures["found"][2] == 1.0 and figures["auc"] == 100.0
    if method == "HRN":  # the same quantiles of training scores
        assert (np.diff(figures["uncalibrated"]) >= 0).all() and figures["uncalibrated"][2] < 0.5


def record(alarms, n_train, method="HRN", dataset="a", **more):
    figures = {"n_train": n_train, "n_fresh": 100, "false_alarms": alarms, "found": [0.5] * 3}
    figures["uncalibrated"] = [0.9] * 3
    settings = {"group": "tables", "dataset": dataset, "split": 0, "method": method, **more}
    environment = {"commit": "0" * 12}
    return {
        "settings": settings,
        "figures": figures,
        "is_stale": False,
        "environment": environment,
    }


def test_a_mean_is_over_sets_that_are_large_enough_for_the_rate():
    text = decisions.render(
        [record([0.01, 0.02, 0.03], 100), record([0.5, 0.06, 0.07], 50, dataset="b", max_updates=9)]
    )
    row = next(
        line for line in text.splitlines() if line.startswith("tables") and "90.00" not in line
    )
    assert row.split()[2:] == ["2", "1", "1.00", "50.00", "4.00", "50.00", "5.00", "50.00"]
    assert "trained for 9 updates" in text
    # 2 x 1 % + 3 sqrt(0.0099 x 0.02)
    assert "1.00 (at most 6.22)" in text


def test_official_test_rows_have_a_table_of_their_own():
    told = record([0.01, 0.02, 0.03], 100)
    told["figures"]["official"] = [0.015, 0.04, 0.08]
    text = decisions.render([told, record([0.5, 0.6, 0.7], 100, dataset="b")])
    (row,) = (line for line in text.splitlines() if "8.00" in line)
    assert row.split() == ["tables", "HRN", "1", "1.50", "4.00", "8.00"]


def test_images_are_split_within_the_training_file_of_a_class(monkeypatch):
    label = np.arange(6500) % 2
    X = np.arange(6500)[:, None, None] * np.ones((1, 2, 2))
    monkeypatch.setattr(data, "images", lambda name, home: (X, label, -X[:10], label[:10]))
    train, fresh, anomalies, official = decisions._parts("mnist", "1", 0, None)
    assert np.array_equal(official[:, 0], -np.arange(1, 10, 2))
    assert len(train) == 2000 and len(fresh) == 1250 and train.shape[1] == 4
    assert not set(train[:, 0]) & set(fresh[:, 0]) and (anomalies <= 0).all()


# Small tables: strategies of calibration beside each other.

SMALL_METHODS = (decisions.PIPELINE, *decisions.STRATEGIES)


@pytest.fixture
def strategies(tables, monkeypatch):
    """A run of a strategy around a recipe of a moment: its figures, and the fitted detector."""

    def recipe(kind, random_state):
        assert kind == "tabular"
        neighbours = LocalOutlierFactor(novelty=True, contamination=0.1)
        return OneClassPipeline([("hrn", neighbours)], calibration="cross")

    made, make = [], decisions.make_detector
    monkeypatch.setattr(decisions, "make_hrn_pipeline", recipe)
    monkeypatch.setattr(decisions, "make_detector", lambda *a: made.append(make(*a)) or made[-1])

    def run(method):
        return decisions.measure(decisions.SMALL, "any", 0, method), made[-1]

    return run


def test_small_tables_are_those_of_fewer_than_500_training_rows(tmp_path, monkeypatch):
    for name, n_normal in (("1_small", 999), ("2_large", 1000)):
        np.savez(tmp_path / f"{name}.npz", X=np.zeros((n_normal, 1)), y=np.zeros(n_normal))
    args = make_parser().parse_args(
        ["decisions", "--data-home", str(tmp_path), "--groups", decisions.SMALL, "--splits", "2"]
    )
    found = decisions.settings(args)
    assert {s["dataset"] for s in found} == {"1_small"}
    assert [s["method"] for s in found] == 2 * list(SMALL_METHODS)
    assert all(decisions.recipe(s) for s in found)  # each stands on the recipe


@pytest.mark.parametrize("method", SMALL_METHODS)
def test_a_strategy_trains_and_calibrates_on_the_training_rows_alone(
    method, strategies, monkeypatch
):
    X, y = data.adbench("any")
    train, test = decisions.one_class_split(y, 0)
    monkeypatch.setattr(decisions, "one_class_split", lambda *arguments: (train, test))
    parts = [X, y]
    monkeypatch.setattr(data, "adbench", lambda *arguments: tuple(parts))
    figures, before = strategies(method)
    known, scored = before.calibration_scores_, before.score_samples(X[test])

    others = X.copy()
    others[test] = others[test][::-1] + 1
    labels = y.copy()
    labels[test] = labels[test][::-1]
    for parts[:] in ([others, y], [X, labels]):
        _, after = strategies(method)
        np.testing.assert_array_equal(after.calibration_scores_, known)
        np.testing.assert_array_equal(after.score_samples(X[test]), scored)
    trained = X.copy()
    trained[train[:5]] += 3
    parts[:] = [trained, y]
    _, after = strategies(method)
    assert not np.array_equal(after.calibration_scores_, known)
    n_set_aside = 24 if method.endswith("split") else 120
    assert len(known) == n_set_aside and figures["n_train"] == 120


@pytest.mark.parametrize("method", SMALL_METHODS)
def test_equal_alarms_are_so_many_fresh_rows_for_every_strategy(method, strategies, monkeypatch):
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=(240, 3)), rng.normal(loc=1, size=(30, 3))])
    y = np.repeat([1, -1], [240, 30])
    monkeypatch.setattr(data, "adbench", lambda *arguments: (X, y))
    figures, detector = strategies(method)
    _, fresh, anomalies, _ = decisions._parts(decisions.SMALL, "any", 0, None)
    of_fresh, of_anomalies = map(detector.score_samples, (fresh, anomalies))
    for n_flagged, found in zip((1, 6, 12), figures["found_at_equal"], strict=True):
        lower = [(of_fresh <= score).sum() for score in of_anomalies]
        # An anomaly is found that scores below the first fresh row that is not flagged.
        assert found == pytest.approx(np.mean([n <= n_flagged for n in lower]), abs=1e-12)
    if method.endswith("split"):  # 24 calibration rows support no rate of 1 %
        assert figures["found"][0] == figures["false_alarms"][0] == 0


def test_strategies_are_compared_on_the_same_splits():
    def run(method, dataset, split, found, n_train=200):
        told = record([0.01, 0.02, 0.03], n_train, method, dataset, split=split)
        told["settings"]["group"] = decisions.SMALL
        told["figures"]["found_at_equal"] = [found] * 3
        return told

    (split,) = (name for name in decisions.STRATEGIES if name.endswith("split"))
    runs = [run(decisions.PIPELINE, "a", k, found) for k, found in enumerate((0.5, 0.7))]
    runs += [run(split, "a", k, found) for k, found in enumerate((0.4, 0.5))]
    runs += [run(decisions.PIPELINE, "b", 0, 0.9, 50), run(split, "b", 0, 0.4, 50)]
    runs += [run(split, "b", 1, 0.0, 50)]  # without its pair
    lines = decisions.render(runs).splitlines()
    first, fifth = (
        next(x.split() for x in lines if x.startswith(split) and f" {rate} %" in x)[2:]
        for rate in ("1", "5")
    )
    assert first == ["1", "%", "1", "2", "1.00", "50.00", "45.00"]  # one set: no error
    # 15 points on the one set, 50 on the other.
    assert fifth == ["5", "%", "2", "2", "2.00", "50.00", "32.50", "+32.50", "±", "17.50"]
    assert "fewer than 500 training rows" in lines[-1]
