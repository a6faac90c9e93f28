"""What the table of speed measures on real sets, and the medians it shows."""

import numpy as np

from sklearn_hrn.benchmark import data, speed, speed_recipes


def record(part, name, figures):
    return {"settings": {"part": part, "name": name, "repeats": 1}, "figures": figures}


def seen_by_fits(monkeypatch):
    """The rows that each fit would be timed on."""
    seen = {}

    def in_turns(functions, repeats):
        for name, fit in functions.items():
            bound = fit.func.__self__
            seen[name] = (fit.args[0], vars(bound).get("calibration", "none"))
        return dict.fromkeys(functions, 1.0)

    monkeypatch.setattr(speed_recipes, "in_turns", in_turns)
    return seen


def test_a_set_of_adbench_is_timed_on_its_training_rows_with_and_without_a_threshold(monkeypatch):
    X = np.arange(130.0)[:, None] * [1, -1]
    y = np.repeat([1, -1], [100, 30])
    monkeypatch.setattr(data, "adbench", lambda name, data_home: (X, y))
    seen = seen_by_fits(monkeypatch)
    figures = speed.measure("sets", name="any", repeats=1)
    assert figures["rows"] == 50
    assert list(seen) == ["HRN", "HRN, scores only", *speed_recipes.PEERS_OF_RECIPES[:4]]
    assert [seen[name][1] for name in ("HRN", "HRN, scores only")] == ["cross", None]
    for rows, _ in seen.values():
        assert len(rows) == 50
        assert rows[:, 0].max() < 100, "an anomaly is among the rows that train"


def test_images_are_timed_on_one_class(monkeypatch):
    X, y = np.zeros((20, 4)), np.repeat([0, 1], 10)
    X[y == 1] = 1
    monkeypatch.setattr(data, "pixels", lambda name, data_home: (X, y, X, y))
    seen = seen_by_fits(monkeypatch)
    speed.measure("images", name="mnist", repeats=1)
    assert all(len(rows) == 10 and rows.max() == 0 for rows, _ in seen.values())
    assert "mnist" in speed.render([record("images", "mnist", {"HRN": 1.5})])


def test_medians_are_shown_over_all_sets_and_over_those_of_few_rows():
    figures = [(100, 0.2), (299, 0.4), (300, 3.0), (1500, 5.0)]
    records = [record("sets", str(n), {"rows": n, "HRN": seconds}) for n, seconds in figures]
    lines = [line.split() for line in speed.render(records).splitlines()]
    assert ["all", "4", "HRN:", "1.700"] in lines
    assert ["fewer", "than", "300", "rows", "2", "HRN:", "0.300"] in lines
