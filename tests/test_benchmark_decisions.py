"""The benchmark of decisions: what is fresh, what is counted, and over which sets."""

import numpy as np
import pytest

from sklearn_hrn.benchmark import data, decisions


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
