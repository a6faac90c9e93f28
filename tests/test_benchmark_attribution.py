"""What the benchmark of attributions alters, counts and compares."""

import numpy as np
import pytest
from recorders import Recorder

from sklearn_hrn.benchmark import attribution, data


def test_one_to_three_columns_of_a_row_take_the_values_of_one_other_row():
    # Row i, column j holds 100 i + j: a value says where it comes from.
    X = 100.0 * np.arange(300)[:, None] + np.arange(6)
    rows, changed = attribution.altered(X, np.random.default_rng(0))
    assert changed.sum(axis=1).tolist() == [1, 2, 3] * (attribution.N_ROWS // 3)
    for row, is_changed in zip(rows, changed, strict=True):
        own, donors = np.unique(row[~is_changed] // 100), np.unique(row[is_changed] // 100)
        assert len(own) == len(donors) == 1
        assert own != donors
        assert np.array_equal(row % 100, np.arange(6))


def test_a_column_whose_value_stays_the_same_is_none_that_was_changed():
    X = np.random.default_rng(0).integers(0, 2, size=(300, 5)).astype(float)
    rows, changed = attribution.altered(X, np.random.default_rng(1))
    originals = {tuple(row) for row in X}
    assert len(originals) == 32  # every row there can be, so that each altered one is among them
    assert changed.any(axis=1).all()
    rng = np.random.default_rng(1)
    before = X[rng.choice(len(X), attribution.N_ROWS, replace=False)]
    assert np.array_equal(rows != before, changed)


def test_the_share_found_is_that_of_the_lowest_numbers():
    numbers = [[-3.0, -2.0, 1.0, 0.0], [-3.0, -2.0, 1.0, 0.0], [0.5, 0.0, -1.0, 2.0]]
    changed = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
    assert list(attribution._found(numbers, changed)) == [0.5, 1.0, 0.0]


def test_the_share_inside_a_patch_is_compared_with_its_area():
    inside = np.array([[True, False, False, False]] * 2)
    assert attribution._concentration(np.ones((2, 4)), inside) == 1
    assert attribution._concentration(np.array([[-2.0, 0, 0, 0], [0, 3, 0, 0]]), inside) == 2


def test_fresh_normal_rows_are_explained_and_only_others_are_learned(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    y = np.r_[np.ones(400, int), -np.ones(100, int)]
    X[y == -1] += 100
    X[:, 0] += np.arange(500) * 1e-9  # every row is one of a kind
    seen = {}

    class Detector:
        def fit(self, X):
            seen["train"] = X
            return self

    def explained(detector, rows):
        seen["rows"] = rows
        return np.zeros(rows.shape)

    monkeypatch.setattr(data, "adbench", lambda name, data_home: (X, y))
    monkeypatch.setattr(attribution, "_detector", lambda kind, split: Detector())
    monkeypatch.setattr(attribution, "feature_attribution", explained)
    monkeypatch.setattr(attribution, "_occlusion", explained)
    monkeypatch.setattr(attribution.importlib.util, "find_spec", lambda name: None)
    figures = attribution.measure("causes", "any", 0)
    assert len(seen["train"]) == 200
    assert seen["rows"].max() < 50, "an anomaly is among the rows that are explained"
    assert not np.isin(seen["rows"], seen["train"]).any()
    assert figures["found"]["chance"] == pytest.approx(100 * 2 / 6)


def test_patches_of_a_split_are_of_its_own_images_and_all_are_explained_by_both(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.random((400, 784)), np.repeat([2, 3], 200)
    monkeypatch.setattr(data, "pixels", lambda name, data_home: (X, y, X, y))
    monkeypatch.setattr(attribution, "_detector", lambda kind, split: Recorder(split))
    monkeypatch.setattr(attribution, "nearest_normal", lambda detector, rows: rows + 1)
    seen = {"ours": [], "occlusion": []}

    def keeps(name):
        return lambda detector, rows: seen[name].append(rows) or np.ones(rows.shape)

    monkeypatch.setattr(attribution, "feature_attribution", keeps("ours"))
    monkeypatch.setattr(attribution, "_occlusion", keeps("occlusion"))
    for split in (0, 1):
        attribution.measure("patch", "2", split)
    for ours, occlusion in zip(*seen.values(), strict=True):
        assert len(ours) == attribution.N_IMAGES
        np.testing.assert_array_equal(ours, occlusion)
    assert not np.array_equal(*seen["ours"])


def _record(what, name, split, figures):
    return {"settings": {"what": what, "name": name, "split": split}, "figures": figures}


def test_the_lead_over_occlusion_is_paired_and_has_a_standard_error():
    shares = [(2, 0, 6.0, 5.0), (2, 1, 8.0, 5.0), (3, 0, 4.0, 2.0)]
    records = [
        _record("patch", str(d), s, {"concentration": {"ours": a, "occlusion": b}})
        for d, s, a, b in shares
    ]
    text = attribution.render(records)
    assert "ours                                    7.0      4.0      6.0" in text
    assert "2 split(s); ours minus occlusion +2.00 ± 0.58 (standard error over runs)" in text
    found = {"a": (50.0, 40.0), "b": (30.0, 40.0)}
    records = [
        _record("causes", name, 0, {"found": dict(zip(("ours", "occlusion"), f, strict=True))})
        for name, f in found.items()
    ]
    for r in records:
        r["figures"]["seconds_a_row"] = {"ours": 0.001, "occlusion": 0.002}
    text = attribution.render(records)
    assert "ours minus occlusion +0.00 ± 10.00 (standard error over sets)" in text
