"""What the table of speed measures on real sets, and the medians it shows."""

from functools import partial
from timeit import timeit

import numpy as np
import pytest

from sklearn_hrn.benchmark import data, peers, speed, speed_core, speed_recipes, timing


def record(settings, figures):
    return {"settings": settings, "figures": figures}


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
    assert "mnist" in speed.render([record({"part": "images", "name": "mnist"}, {"HRN": 1.5})])


def test_medians_are_shown_over_all_sets_and_over_those_of_few_rows():
    figures = [(100, 0.2), (299, 0.4), (300, 3.0), (1500, 5.0)]
    records = [
        record({"part": "sets", "name": str(n)}, {"rows": n, "HRN": seconds})
        for n, seconds in figures
    ]
    lines = [line.split() for line in speed.render(records).splitlines()]
    assert ["all", "4", "HRN:", "1.700"] in lines
    assert ["fewer", "than", "300", "rows", "2", "HRN:", "0.300"] in lines


def test_times_are_medians_of_rounds_after_one_that_does_not_count(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def work(name, seconds):
        calls.append(name)
        clock[0] += seconds.pop(0)

    slow, fast = partial(work, "slow", [90, 3, 9, 4]), partial(work, "fast", [70, 1, 2, 5])
    assert timing.in_turns({"slow": slow, "fast": fast}, repeats=3) == {"slow": 4, "fast": 2}
    assert calls == 4 * ["slow", "fast"]


@pytest.mark.usefixtures("few_updates", "few_trees")
@pytest.mark.parametrize(
    "part",
    [
        *("epoch", "short", "float32", "many", "models", "search", "scoring", "scaling"),
        *("tuning", "fit", "row"),
    ],
)
def test_every_part_of_the_speed_table_is_rendered(part, monkeypatch):
    monkeypatch.setattr(speed_core, "ROWS", 300)
    monkeypatch.setattr(speed_core, "SHORT_UPDATES", 20)
    monkeypatch.setattr(peers, "find_spec", lambda name: None)  # PyOD's networks take seconds

    def once(functions, repeats):
        return {name: timeit(function, number=1) for name, function in functions.items()}

    for module in (speed_core, speed_recipes):
        monkeypatch.setattr(module, "in_turns", once)
    setting = {
        "epoch": {"hidden": 10, "repeats": 1},
        "short": {"rows": 60, "repeats": 1},
        "float32": {"rows": 1000, "repeats": 1},
        "many": {
            "classes": 2,
            "settings": 2,
            "seeds": 1,
            "epochs": 1,
            "rows": 60,
            "device": "cpu",
        },
        "models": {"features": 6, "repeats": 1},
        "search": {"lengths": [1, 2], "repeats": 1},
        "scoring": {"rows": 2000, "features": 10, "repeats": 1},
        "scaling": {"axis": "hidden", "size": 10},
        "tuning": {"rows": 30, "repeats": 1},
        "fit": {"kind": "tabular", "rows": 30, "features": 3, "repeats": 1},
        "row": {"kind": "tabular", "features": 3, "repeats": 3},
    }[part]
    figures = speed.measure(part, **setting)
    difference = figures.get("largest_difference", 0.0)
    assert difference < 1e-3
    assert all(value > 0 for name, value in figures.items() if name != "largest_difference")
    text = speed.render([record({"part": part, **setting}, figures)])
    assert speed.RENDERED[part][0] in text


def test_what_takes_a_gpu_or_data_without_a_public_source_is_not_measured_unless_named():
    assert set(speed.PARTS) - set(speed.DEFAULT_PARTS) == {"many", "sets"}


def test_scaling_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is the extra [plot]")
    setting = {"part": "scaling", "axis": "rows", "size": 1000}
    runs = [record({**setting, "size": size}, {"seconds": size / 1e5}) for size in (1000, 10_000)]
    speed.plot(runs, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 1000
