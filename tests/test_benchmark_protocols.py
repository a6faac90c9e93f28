"""The protocols of the benchmark, as properties of its runners on tiny made-up data.

A row that is tested on never changes what is trained, a row that is trained on does, and the labels
of the test rows change no score. What a runner has scored is seen where it computes its figure.
"""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import FunctionTransformer

from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer
from sklearn_hrn.benchmark import (
    adbench,
    announced,
    choice,
    claims,
    comparison,
    data,
    decisions,
    image_choice,
    images,
    letters,
    protocol,
    search,
    table2,
    table4,
    table6,
    table7,
)
from sklearn_hrn.benchmark.__main__ import load, make_parser
from sklearn_hrn.exceptions import TrainingDivergedError

# What a row does to a fit, it does to a short one.
pytestmark = pytest.mark.usefixtures("few_updates", "few_trees")

N_CLASSES, SIDE = 3, 4


class Spy:
    """Stands for `roc_auc_score`, and keeps what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, labels, scores):
        self.calls.append((np.array(labels), np.array(scores, dtype=float)))
        return roc_auc_score(labels, scores)

    @property
    def scores(self):
        return self.calls[-1][1]


def pictures(rng, n):
    """Images of 16 pixels and their classes, which overlap."""
    y = np.arange(n) % N_CLASSES
    X = 60 * np.eye(N_CLASSES, SIDE * SIDE)[y] + rng.uniform(0, 120, size=(n, SIDE * SIDE))
    return X.astype(np.uint8), y


@pytest.fixture
def sets(rng, monkeypatch):
    """Images in place of every set: X_train, y_train, X_test, y_test, to be altered by a test."""
    parts = [*pictures(rng, 60), *pictures(rng, 45)]

    def pixels(name, data_home=None):
        X_train, y_train, X_test, y_test = parts
        X_train, X_test = (np.asarray(X, dtype=np.float32) / 255 for X in (X_train, X_test))
        return X_train, y_train, X_test, y_test

    monkeypatch.setattr(data, "images", lambda name, data_home=None: tuple(parts))
    monkeypatch.setattr(data, "pixels", pixels)
    return parts


@pytest.fixture
def table(rng, monkeypatch):
    """A table in place of every one: X, and y of +1 and -1."""
    X = np.r_[rng.normal(size=(40, 5)), rng.normal(size=(12, 5)) + 1].astype(np.float32)
    parts = [X, np.r_[np.ones(40, int), -np.ones(12, int)]]
    for name in ("table", "adbench", "features"):
        monkeypatch.setattr(data, name, lambda name, data_home=None: tuple(parts))
    return parts


def altered(X, row):
    X = X.copy()
    X[row] = X[row][::-1] // 2 + 1
    return X


# Runners of images: one class, its training part, the whole test part.

IMAGES = {
    f"table, {variant}": (images, {"variant": variant, "device": "cpu", **details})
    for variant, details in {
        **{
            norm: {"epochs": 3, "loss": "nll", "regularizer": "h", "noise": 0.0, "norm": norm}
            for norm in images.NORMALIZATIONS
        },
        "IsolationForest, raw": {},
        "nearest neighbours, 2-norm": {},
    }.items()
}
IMAGES["claims"] = claims, {"experiment": "H", **claims.H, "epochs": 3}


def scores_of(module, monkeypatch, settings):
    """Scores of the last evaluation, all evaluations, and the figures of a run."""
    spy = Spy()
    holder = protocol if module in (table2, adbench, comparison) else module
    monkeypatch.setattr(holder, "roc_auc_score", spy)
    figures = module.measure(**settings)
    return spy, figures


def run_of_images(name, monkeypatch):
    module, settings = IMAGES[name]
    if module is images:
        settings = {"dataset": "mnist", **settings}
    return scores_of(module, monkeypatch, {**settings, "normal": 1, "seed": 0})


@pytest.mark.parametrize("name", IMAGES)
def test_a_test_image_never_changes_what_is_learned(name, sets, monkeypatch):
    before, _ = run_of_images(name, monkeypatch)
    for row in (0, 1):  # an anomaly, and one of the normal class
        sets[2] = altered(sets[2], row)
        after, _ = run_of_images(name, monkeypatch)
        others = np.arange(len(sets[2])) > row
        assert np.array_equal(before.scores[others], after.scores[others])


@pytest.mark.parametrize("name", IMAGES)
def test_all_training_images_of_the_class_are_learned_and_no_others(name, sets, monkeypatch):
    before, _ = run_of_images(name, monkeypatch)
    original = sets[0]
    for label in range(N_CLASSES):
        rows = np.flatnonzero(sets[1] == label)
        for row in (rows[0], rows[-1]):
            sets[0] = altered(original, row)
            after, _ = run_of_images(name, monkeypatch)
            is_the_same = np.array_equal(before.scores, after.scores)
            # Trees of a forest, which see a sample each, may miss a row.
            assert is_the_same == (label != 1) or (label == 1 and "Forest" in name)


@pytest.mark.parametrize("name", IMAGES)
def test_labels_of_test_images_change_no_score(name, sets, monkeypatch, rng):
    before, figures = run_of_images(name, monkeypatch)
    assert np.array_equal(before.calls[-1][0], sets[3] == 1)
    sets[3] = rng.permutation(sets[3])
    after, _ = run_of_images(name, monkeypatch)
    assert np.array_equal(before.scores, after.scores)
    last = figures.get("last", figures.get("auc"))
    assert last == pytest.approx(100 * roc_auc_score(*before.calls[-1]))


@pytest.mark.parametrize("name", announced.EXPERIMENTS)
def test_what_the_paper_announces_learns_training_rows_alone(name, sets, monkeypatch, rng):
    run = announced.EXPERIMENTS[name]

    def scores():
        spy = Spy()
        monkeypatch.setattr(announced, "roc_auc_score", spy)
        run(1, 0, 2)
        return [scores for _, scores in spy.calls], [labels for labels, _ in spy.calls]

    monkeypatch.setattr(announced, "N_KNOWN", 2)  # of three classes
    before, labels = scores()
    expected = np.isin(sets[3], [1, 2] if name == "open world" else [1])
    assert all(np.array_equal(own, expected) for own in labels)
    kept, sets[3] = sets[3], rng.permutation(sets[3])
    assert all(map(np.array_equal, before, scores()[0]))
    sets[3] = kept
    kept, sets[2] = sets[2], altered(sets[2], 0)
    assert all(
        np.allclose(a[1:], b[1:], atol=1e-6) for a, b in zip(before, scores()[0], strict=True)
    )
    sets[2] = kept
    original = sets[0]
    sets[0] = altered(original, np.flatnonzero(sets[1] == 1)[0])
    assert not all(map(np.array_equal, before, scores()[0]))
    sets[0] = original.copy()
    for row in np.flatnonzero(sets[1] == 0):  # of no class that is learned, but unlabelled there
        sets[0] = altered(sets[0], row)
    is_the_same = list(map(np.array_equal, before, scores()[0]))
    assert is_the_same == ([True, True] if name == "open world" else [True, False, False])


@pytest.mark.parametrize("name", announced.EXPERIMENTS)
def test_what_the_paper_announces_has_the_accuracy_of_known_digits_and_other_seeds(
    name, sets, monkeypatch
):
    monkeypatch.setattr(announced, "N_KNOWN", 2)
    spies, made = [], {"MLPClassifier": [], "HRNContinualClassifier": []}

    def keeping(kind):
        make = getattr(announced, kind)
        return lambda *given, **parameters: (
            made[kind].append(make(*given, **parameters)) or made[kind][-1]
        )

    for kind in made:
        monkeypatch.setattr(announced, kind, keeping(kind))
    learned, fit = [], HRNOneClassClassifier.fit
    monkeypatch.setattr(
        HRNOneClassClassifier, "fit", lambda self, X, *y: learned.append(X) or fit(self, X, *y)
    )
    for seed in (3, 4):
        spies.append(Spy())
        monkeypatch.setattr(announced, "roc_auc_score", spies[-1])
        figures = announced.EXPERIMENTS[name](1, seed, 2)
    for (_, first), (_, second) in zip(spies[0].calls, spies[1].calls, strict=True):
        assert not np.array_equal(first, second)
    assert all([model.random_state for model in models] in ([3, 4], []) for models in made.values())
    if name == "positive-unlabelled":
        assert not np.array_equal(learned[0], learned[2])  # one of each seed
    else:
        known = sets[3] != 0
        X, y = np.float32(sets[2][known]) / 255, sets[3][known]
        X = InstanceL2Normalizer().fit_transform(X)
        classifier, heads = (models[-1] for models in made.values())
        right = heads.classes_[heads.score_heads(X).argmax(axis=1)] == y
        assert figures["accuracy"] == pytest.approx(100 * right.mean())
        assert figures["accuracy_classifier"] == pytest.approx(100 * classifier.score(X, y))


CLAIMED = {
    "H": ("h", 0.1, None),
    "L2, lambda = 0.1": ("l2", 0.1, None),
    "L2, lambda = 0.001": ("l2", 0.001, None),
    "NLL alone": (None, 0.1, None),
    "H, leaky ReLU": ("h", 0.1, None),
    "H, tanh": ("h", 0.1, claims._tanh),
    "H, sigmoid": ("h", 0.1, claims._sigmoid),
}


@pytest.mark.parametrize("name", CLAIMED)
def test_a_claim_is_read_off_the_network_of_its_name(name, sets, monkeypatch):
    made = []

    class Learner(HRNOneClassClassifier):
        def fit(self, X):
            made.append((self, X))
            return super().fit(X)

        def score_samples(self, X):
            return 30 * X[:, 0]

    monkeypatch.setattr(claims, "HRNOneClassClassifier", Learner)
    assert {*CLAIMED, *announced.EXPERIMENTS} == set(claims.EXPERIMENTS)
    figures = claims.measure(name, 1, 3, **{**claims.EXPERIMENTS[name], "epochs": 2})
    ((model, X),) = made
    assert (model.regularizer, model.reg_lambda, model.module) == CLAIMED[name]
    assert (model.max_iter, model.random_state) == (2, 3)
    assert len(X) == 20
    norms = model.history_["gradient_norm"]
    assert norms.shape == (2, 1) and figures["gradient_norm"] == norms[-1, 0]
    assert figures["median_f"] == pytest.approx(np.median(30 * X[:, 0]))
    others = InstanceL2Normalizer().fit_transform(np.float32(sets[2][sets[3] != 1]) / 255)
    # sigma(f) exceeds 0.999 where f exceeds log 999.
    saturated = 100 * (30 * others[:, 0] > np.log(999)).mean()
    assert figures["saturated"] == pytest.approx(saturated) and 0 < saturated < 100


def test_the_best_epoch_is_the_best_and_the_last_one_is_the_last(sets, monkeypatch):
    aucs = iter([0.6, 0.9, 0.7])
    monkeypatch.setattr(images, "roc_auc_score", lambda labels, scores: next(aucs))
    settings = IMAGES["table, none"][1]
    figures = images.measure(dataset="mnist", **settings, normal=1, seed=0)
    assert (figures["last"], figures["best"]) == pytest.approx((70, 90))
    assert (figures["best_epoch"], figures["epochs"]) == (2, 3)


def test_epochs_continue_one_training(sets, monkeypatch):
    spy, _ = run_of_images("table, divide, centre", monkeypatch)
    norm = InstanceL2Normalizer()
    X = norm.fit_transform(sets[0][sets[1] == 1].astype(np.float32) / 255)
    model = HRNOneClassClassifier(max_iter=3, score_dtype="float32", random_state=0).fit(X)
    scores = model.score_samples(norm.transform(sets[2].astype(np.float32) / 255))
    assert np.array_equal(spy.scores, scores)
    assert len(spy.calls) == 3


def test_another_seed_is_another_run(sets, monkeypatch):
    spies = []
    for seed in (0, 0, 1):
        settings = {**IMAGES["table, none"][1], "normal": 1, "seed": seed, "dataset": "mnist"}
        spies.append(scores_of(images, monkeypatch, settings)[0])
    assert np.array_equal(spies[0].scores, spies[1].scores)
    assert not np.array_equal(spies[0].scores, spies[2].scores)


def test_an_attacked_sign_is_not_compared_with_its_original():
    # The one attacked sign loses against its own original, and wins against the other sign.
    assert table6.paired_auc(np.array([1.0, 9.0]), np.array([5.0]), np.array([0])) == 1


def test_noise_is_of_training_images_of_other_classes(sets, monkeypatch):
    learned = []
    fit = HRNOneClassClassifier.fit
    monkeypatch.setattr(
        HRNOneClassClassifier, "fit", lambda self, X: learned.append(X) or fit(self, X)
    )
    settings = {**IMAGES["table, none"][1], "noise": 0.2}
    images.measure(dataset="mnist", **settings, normal=1, seed=0)
    labels = classes_of(learned[0], sets)
    assert len(labels) == 25
    assert labels.count(1) == 20


@pytest.mark.parametrize("variant", ["10% of other classes", list(images.RECIPES)[1]])
def test_every_seed_draws_other_noise(variant, sets, monkeypatch):
    learned = []

    class Learner:
        def __init__(self, **parameters):
            pass

        def fit(self, X):
            learned.append(X)
            return self

        def score_samples(self, X):
            return X[:, 0]

    monkeypatch.setattr(images, "HRNOneClassClassifier", Learner)
    monkeypatch.setitem(images.DETECTORS, variant, lambda *given, **parameters: Learner())
    if variant not in images.RECIPES:
        monkeypatch.delitem(images.DETECTORS, variant)
    arguments = ["table5", "--dataset", "mnist", "--classes", "1", "--seeds", "3", "--epochs", "1"]
    args = make_parser().parse_args([*arguments, "--variants", variant])
    for settings in images.settings(args):
        images.measure(**settings)
    drawn = [set(map(bytes, X)) for X in learned]
    assert len(set(map(frozenset, drawn))) == 3


@pytest.mark.parametrize("regularizer", ["h", "l2", None])
@pytest.mark.parametrize("loss", ["nll", "square"])
def test_a_network_of_images_learns_with_the_loss_and_the_penalty_of_its_variant(
    loss, regularizer, sets, monkeypatch
):
    made = []

    class Learner(HRNOneClassClassifier):
        def fit(self, X):
            made.append((self.loss, self.regularizer))
            return super().fit(X)

    monkeypatch.setattr(images, "HRNOneClassClassifier", Learner)
    settings = {**IMAGES["table, none"][1], "epochs": 1, "loss": loss, "regularizer": regularizer}
    images.measure(dataset="mnist", **settings, normal=1, seed=0)
    assert made == [(loss, regularizer)]


def test_a_training_that_diverges_ends_with_the_epochs_before(sets, monkeypatch):
    class Learner:
        n_fits = 0

        def __init__(self, **parameters):
            pass

        def fit(self, X):
            Learner.n_fits += 1
            if Learner.n_fits == 2:
                raise TrainingDivergedError("no step survives")
            return self

        def score_samples(self, X):
            return X[:, 0]

    monkeypatch.setattr(images, "HRNOneClassClassifier", Learner)
    settings = {"dataset": "mnist", **IMAGES["table, none"][1], "normal": 1, "seed": 0}
    assert images.measure(**settings)["epochs"] == 1
    Learner.n_fits = 1
    with pytest.raises(TrainingDivergedError):
        images.measure(**settings)


def classes_of(rows, sets):
    train = sets[0].astype(np.float32) / 255
    return [int(sets[1][(train == x).all(axis=1)][0]) for x in rows]


@pytest.mark.parametrize("name", images.RECIPES)
def test_the_image_recipe_learns_with_the_noise_and_the_bound_of_its_name(name, sets, monkeypatch):
    asked = []

    class Recipe:
        def set_params(self, **parameters):
            asked.append(parameters)
            return self

        def fit(self, X):
            asked.append(X)
            return self

        def score_samples(self, X):
            return X @ asked[-1].mean(axis=0)

    monkeypatch.setattr(images, "make_hrn_pipeline", lambda kind, **parameters: Recipe())
    args = ["table5", "--dataset", "mnist", "--classes", "1", "--variants", name]
    found = images.settings(make_parser().parse_args(args))
    assert len(found) == (1 if "other classes" in name else 5)  # seeds
    before, _ = scores_of(images, monkeypatch, found[0])
    parameters, rows = asked
    share = 0.2 if name.endswith("outlier_share") else 0.0
    assert parameters == {"calibration": None, "outlier_share": share}
    labels = classes_of(rows, sets)
    assert labels.count(1) == 20
    assert len(labels) == (22 if "10%" in name else 20)
    # Neither the values nor the labels of test rows are learned.
    sets[2], sets[3] = altered(sets[2], 0), sets[3][::-1]
    after, _ = scores_of(images, monkeypatch, found[0])
    np.testing.assert_array_equal(asked[-1], rows)
    np.testing.assert_array_equal(after.scores[1:], before.scores[1:])


def test_table_5_shows_the_image_recipe_of_table_1_on_clean_rows(tmp_path):
    for table, variant in (("table1", images.RECIPE), ("table5", "10% of other classes")):
        settings = {"dataset": "mnist", "variant": variant, "normal": 2, "seed": 0, "device": "cpu"}
        line = json.dumps({"settings": settings, "figures": {"last": 90.0}})
        (tmp_path / f"{table}.jsonl").write_text(f"{line}\n")
    lines = images.render(load("table5", tmp_path / "table5.jsonl")).splitlines()
    shown = [line.split()[-2:] for line in lines if line.startswith("image recipe")]
    assert shown == [["1", "90.00"]]


# Runners of tables: half of the normal rows train.

TABLES = {
    "table2": (table2, {"dataset": "Thyroid", "method": "HRN as published", "split": 0}),
    "table2, peer": (table2, {"dataset": "Thyroid", "method": "nearest neighbours", "split": 0}),
    "adbench": (
        adbench,
        {"dataset": "x", "method": "OneClassSVM", "split": 0, "max_train": 15, "max_test": 30},
    ),
    **{
        f"peers, {method}": (
            comparison,
            {"dataset": "x", "method": method, "split": 0, "max_train": 15, "max_test": 30},
        )
        for method in ("DTE without a network", "nearest neighbours, our features")
    },
    "table4": (table4, {"dataset": "x", "method": "HRN, length one", "split": 0}),
    "table4, peer": (table4, {"dataset": "x", "method": "OneClassSVM", "split": 0}),
}


def split_of(settings, y):
    caps = (settings.get(name) for name in ("max_train", "max_test"))
    return protocol.one_class_split(y, settings["split"], *caps)


@pytest.mark.parametrize("name", TABLES)
def test_a_test_row_never_changes_what_is_learned_and_a_training_row_does(name, table, monkeypatch):
    module, settings = TABLES[name]
    train, test = split_of(settings, table[1])
    before, _ = scores_of(module, monkeypatch, settings)
    original = table[0]
    of_test = [row for row in test if row not in train]
    # Both ends of both parts: training rows, normal test rows, anomalies.
    for row in (*train[:2], *train[-2:], *of_test[:2], *of_test[-2:]):
        table[0] = altered(original, row)
        after, _ = scores_of(module, monkeypatch, settings)
        others = test != row
        is_the_same = np.array_equal(before.scores[others], after.scores[others])
        assert is_the_same == (row not in train)


@pytest.mark.parametrize("name", TABLES)
def test_labels_of_a_table_say_which_rows_train_and_what_the_figure_is(name, table, monkeypatch):
    module, settings = TABLES[name]
    _, test = split_of(settings, table[1])
    spy, figures = scores_of(module, monkeypatch, settings)
    labels, scores = spy.calls[-1]
    is_normal = table[1][test] == 1
    # Higher scores are normal; a figure may be of either class.
    normal_scores = scores if np.array_equal(labels == labels.max(), is_normal) else -scores
    auc = 100 * roc_auc_score(is_normal, normal_scores)
    assert figures["auc"] == pytest.approx(auc, abs=1e-3)
    # On rows like these the published method guesses; the peers know them.
    assert auc > 60 or "HRN" in settings["method"]


# Decisions: fresh rows and anomalies are counted, and teach neither the detector nor its threshold.

DECISIONS = {
    "tables": {"group": "tables", "dataset": "x"},
    "features": {"group": "features", "dataset": "x"},
    "mnist": {"group": "mnist", "dataset": "1"},
}


def decided(group, dataset, monkeypatch):
    """The rows that a calibrated detector learns and is asked about, and the figures of a run."""
    asked = {"learned": [], "scored": []}

    class Detector:
        def fit(self, X):
            asked["learned"].append(X)
            self.calibration_scores_ = np.sort(-X.sum(axis=1))
            return self

        def score_samples(self, X):
            asked["scored"].append(X)
            return -X.sum(axis=1)

    monkeypatch.setattr(decisions, "make_detector", lambda *arguments: Detector())
    figures = decisions.measure(group, dataset, 0, "HRN")
    return asked, figures


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ResolutionWarning")
@pytest.mark.parametrize("name", DECISIONS)
def test_thresholds_are_learned_from_training_rows_and_rates_counted_on_others(
    name, sets, table, monkeypatch
):
    monkeypatch.setitem(decisions.MAX_TRAIN, "mnist", 12)
    asked, figures = decided(**DECISIONS[name], monkeypatch=monkeypatch)
    (train,), (fresh, anomalies, *official, again) = asked["learned"], asked["scored"]
    assert again is train
    known = [set(map(bytes, part)) for part in (train, fresh, anomalies)]
    assert not known[0] & known[1] and not known[0] & known[2] and not known[1] & known[2]
    if name == "mnist":
        rows, labels = np.float32(sets[0]), sets[1]
        others = np.float32(sets[2][sets[3] != 1])
        assert len(train) == 12 and len(fresh) == 8
        assert known[0] | known[1] == set(map(bytes, rows[labels == 1]))
        np.testing.assert_array_equal(official, [np.float32(sets[2][sets[3] == 1])])
        limits = [decisions.usual_threshold(np.sort(-train.sum(axis=1)), r) for r in (0.05, 0.1)]
        expected = [np.mean(-official[0].sum(axis=1) < limit) for limit in limits]
        assert figures["official"][1:] == expected
    else:
        assert not official
        others = table[0][table[1] == -1]
        assert known[0] | known[1] == set(map(bytes, table[0][table[1] == 1]))
    assert known[2] == set(map(bytes, others))
    for rate, share, found in zip(
        decisions.RATES, figures["false_alarms"], figures["found"], strict=True
    ):
        offset = decisions.usual_threshold(np.sort(-train.sum(axis=1)), rate)
        assert share == np.mean(-fresh.sum(axis=1) < offset)
        assert found == np.mean(-anomalies.sum(axis=1) < offset)


def test_the_papers_split_of_kddcup99_trains_on_the_majority_among_450000(monkeypatch):
    monkeypatch.setattr(table2, "N_PAPER_TRAIN", 40)
    y = np.where(np.arange(50) % 5, 1, -1)
    train, test = table2.paper_split(y, 0)
    assert len(test) == 10
    assert (y[train] == 1).all()
    assert not set(train) & set(test)
    assert set(train) | set(test) >= set(np.flatnonzero(y == 1))
    assert not np.array_equal(test, table2.paper_split(y, 1)[1])


def test_both_f1_are_of_the_same_threshold(table, monkeypatch):
    spy, figures = scores_of(table2, monkeypatch, TABLES["table2, peer"][1])
    is_anomaly, minus_scores = spy.calls[-1]
    flagged = np.argsort(-minus_scores, kind="stable")[: is_anomaly.sum()]
    hits = is_anomaly[flagged].sum()
    assert figures["anomaly_f1"] == pytest.approx(100 * hits / 12, abs=1e-3)
    n_normal = (~is_anomaly).sum()
    assert figures["normal_f1"] == pytest.approx(100 * (1 - (12 - hits) / n_normal), abs=1e-3)


def test_rules_of_choice_see_training_rows_alone(table, monkeypatch):
    def candidate(split, width, updates):
        return HRNOneClassClassifier(max_iter=1, random_state=split)

    seen = []
    monkeypatch.setattr(choice, "make_candidate", candidate)
    monkeypatch.setattr(choice, "RULES", {"rule": lambda fitted, X: seen.append(X) or len(X)})
    settings = {"dataset": "x", "split": 0, "max_train": None, "max_test": None}
    settings |= {"width": 1, "updates": 1}
    train, test = protocol.one_class_split(table[1], 0)
    learned, fit = [], HRNOneClassClassifier.fit
    monkeypatch.setattr(
        HRNOneClassClassifier, "fit", lambda self, X: learned.append(X) or fit(self, X)
    )
    before, _ = scores_of(choice, monkeypatch, settings)
    assert [len(X) for X in learned] == [13, 13, 14, 20]
    for fitted, rows in zip(learned, seen, strict=False):
        assert not set(map(bytes, fitted)) & set(map(bytes, rows))
    held_out = np.concatenate(seen)
    assert np.array_equal(np.unique(held_out, axis=0), np.unique(table[0][train], axis=0))
    table[0] = altered(table[0], test[0])
    seen.clear()
    after, _ = scores_of(choice, monkeypatch, settings)
    assert np.array_equal(np.concatenate(seen), held_out)
    assert np.array_equal(before.scores[1:], after.scores[1:])


# Choices and searches on training files: the test part is not touched, held-out rows do not train.


def test_settings_of_the_image_recipe_are_scored_on_rows_that_do_not_train(sets, monkeypatch):
    seeds = set()

    def candidate(parameters, seed, device):
        seeds.add(seed)
        return HRNOneClassClassifier(max_iter=2, random_state=seed)

    monkeypatch.setattr(image_choice, "make_candidate", candidate)
    settings = {"dataset": "mnist", "parameters": {}, "normal": 1, "seed": 3, "device": "cpu"}
    before, _ = scores_of(image_choice, monkeypatch, settings)
    n_held_out, original = int(before.calls[-1][0].sum()), sets[0]
    assert n_held_out == 2
    changes = {}
    for row in range(len(original)):
        sets[0] = altered(original, row)
        after, _ = scores_of(image_choice, monkeypatch, settings)
        changes[row] = int((before.scores != after.scores).sum())
    # A row that trains changes (nearly) all scores, one that is scored its own alone.
    for row, n_changed in changes.items():
        assert n_changed == 1 or (sets[1][row] == 1 and n_changed > 2)
    assert sum(changes[row] == 1 for row in np.flatnonzero(sets[1] == 1)) == n_held_out
    sets[0], sets[2] = original, altered(sets[2], 0)
    after, _ = scores_of(image_choice, monkeypatch, settings)
    assert np.array_equal(before.scores, after.scores)
    assert seeds == {3}


def test_the_search_holds_a_tenth_of_all_rows_out_and_leaves_the_test_part_alone(sets, monkeypatch):
    is_normal = sets[1] == 1
    train, held_out = search.held_out_split(is_normal, 0)
    assert len(held_out) == 6
    assert not set(train) & set(held_out)
    assert set(train) | set(held_out) >= set(np.flatnonzero(is_normal))
    assert is_normal[train].all()
    assert 0 < is_normal[held_out].sum() < 6
    before = search.measure(1, 0, 1)
    assert len(before) == 40  # 41 settings, one of which stands on both axes
    for part, row, changes in [(2, 0, False), (0, train[0], True)]:
        kept, sets[part] = sets[part], altered(sets[part], row)
        assert (search.measure(1, 0, 1) != before) == changes or part == 0
        sets[part] = kept
    norm = InstanceL2Normalizer()
    X = norm.fit_transform(sets[0].astype(np.float32) / 255)
    model = HRNOneClassClassifier(reg_lambda=0.5, max_iter=1, random_state=0).fit(X[train])
    auc = 100 * roc_auc_score(is_normal[held_out], model.score_samples(X[held_out]))
    assert before["lambda = 0.5, n = 12"] == pytest.approx(auc)


def test_the_search_ranks_held_out_rows_whose_labels_and_values_teach_nothing(sets, monkeypatch):
    train, held_out = search.held_out_split(sets[1] == 1, 0)
    given = []
    fit = HRNOneClassClassifier.fit_together
    monkeypatch.setattr(
        HRNOneClassClassifier,
        "fit_together",
        staticmethod(
            lambda models, arrays, rows, *rest: (
                given.append((arrays, rows)) or fit(models, arrays, rows, *rest)
            )
        ),
    )
    search.measure(1, 0, 1)
    rows = np.concatenate([np.ravel(chosen) for _, own in given for chosen in own])
    assert set(rows) <= set(train) and not set(rows) & set(held_out)


# Stop signs.


def test_attacked_signs_and_their_originals_change_nothing_that_is_learned(rng, monkeypatch):
    parts = [rng.uniform(size=(30, 3072)).astype(np.float32) for _ in range(2)]
    parts += [np.arange(5), rng.uniform(size=(5, 3072)).astype(np.float32), 0.9]
    seen = []
    monkeypatch.setattr(table6, "attacked_stop_signs", lambda *arguments: tuple(parts))
    monkeypatch.setattr(table6, "paired_auc", lambda *given: seen.append(given) or 0.5)
    for method, given in (("nearest neighbours", "spectrum"), (table6.HRN, "centre, divide")):
        settings = {"method": method, "input": given, "budget": 5, "seed": 0, "n_attacked": 5}
        kept = list(parts)
        for part, row in ((None, 0), (1, 0), (3, 0), (0, 0)):
            parts[:] = kept
            if part is not None:
                parts[part] = kept[part].copy()
                parts[part][row] = kept[part][row, ::-1] / 2
            table6.measure(**settings)
        plain, of_test, of_attack, of_train = seen[-4:]
        for changed in (of_test, of_attack):
            assert np.array_equal(plain[0][1:], changed[0][1:])
            assert np.array_equal(plain[1][1:], changed[1][1:])
        assert not np.array_equal(plain[0], of_train[0])
        assert np.array_equal(plain[2], parts[2])
        parts[:] = kept


# One class after the other.


class Memory:
    """A learner that keeps what it is given and answers with the first class."""

    def __init__(self, seed):
        self.seed, self.learned, self.asked = seed, [], []
        Memory.last = self

    def learn(self, X, label):
        self.learned.append((label, X))

    def predict(self, X):
        self.asked.append(X)
        return np.full(len(X), self.learned[0][0])


def test_classes_come_one_by_one_and_the_map_knows_the_first_alone(sets, monkeypatch):
    maps = []

    def constant():
        maps.append(InstanceL2Normalizer(center=None, append="median"))
        return maps[-1]

    monkeypatch.setitem(table7.METHODS, "memory", Memory)
    monkeypatch.setitem(table7.INPUTS, "constant", constant)
    settings = {"dataset": "mnist", "input": "constant", "method": "memory", "seed": 0}
    figures = table7.measure(**settings, tasks=None)
    order = np.random.default_rng(0).permutation(N_CLASSES).tolist()
    learned, asked = Memory.last.learned, Memory.last.asked
    assert [label for label, _ in learned] == order
    expected = InstanceL2Normalizer(center=None, append="median")
    expected.fit(sets[0][sets[1] == order[0]].astype(np.float32))
    for label, X in learned:
        own = sets[0][sets[1] == label].astype(np.float32)
        assert np.array_equal(X, expected.transform(own))
    assert np.array_equal(asked[-1], expected.transform(sets[2].astype(np.float32)))
    assert figures["accuracy"] == pytest.approx(100 * (sets[3] == order[0]).mean())
    assert order != sorted(order)
    table7.measure(**settings, tasks=2)
    assert [label for label, _ in Memory.last.learned] == order[:2]
    assert len(Memory.last.asked[-1]) == np.isin(sets[3], order[:2]).sum()


def test_a_curve_counts_the_classes_known_by_then_and_the_accuracy_is_its_end(monkeypatch):
    n_rows = [4, 5, 6, 7, 8, 9]
    y = np.repeat(range(6), n_rows)
    X = np.zeros((len(y), 3), dtype=np.uint8)
    monkeypatch.setattr(data, "images", lambda name, data_home: (X, y, X, y))
    monkeypatch.setitem(table7.METHODS, "memory", Memory)
    monkeypatch.setitem(table7.INPUTS, "as it is", FunctionTransformer)
    for seed in (3, 4):
        # The k-th class takes k seconds.
        clock = iter([0, 1, 10, 12, 20, 23, 30, 34, 40, 45, 50, 56])
        monkeypatch.setattr(table7.time, "perf_counter", lambda clock=clock: next(clock))
        figures = table7.measure("mnist", "as it is", "memory", seed, None)
        order = np.random.default_rng(seed).permutation(6)
        assert Memory.last.seed == seed
        assert [label for label, _ in Memory.last.learned] == order.tolist()
        first, last = n_rows[order[0]], n_rows[order[-1]]
        shares = [100 * first / (39 - last), 100 * first / 39]
        assert figures["curve"] == [[5, pytest.approx(shares[0])], [6, pytest.approx(shares[1])]]
        assert figures["accuracy"] == pytest.approx(shares[1])
        assert figures["first_seconds_a_row"] == pytest.approx(1 / first)
        assert figures["last_seconds_a_row"] == pytest.approx(6 / last)
        assert figures["learn_seconds"] == 21


def test_letters_are_asked_of_heads_that_learned_digits_alone(sets, monkeypatch):
    given = {}

    class Classifier:
        def fit(self, X, y):
            given["fit"] = X, y
            return self

        def predict(self, X):
            given.setdefault("asked", []).append(X)
            return np.where(np.arange(len(X)) < 9, -1, 1)

    def make(seed, parameters):
        given["seed"] = seed
        return Classifier()

    monkeypatch.setattr(letters, "make_classifier", make)
    monkeypatch.setattr(letters, "CHARACTERS", "012")
    figures = letters.measure("paper", 3, None, {})
    assert given["seed"] == 3
    norm = InstanceL2Normalizer()
    rows = np.argsort(sets[1], kind="stable")
    assert np.array_equal(given["fit"][0], norm.fit_transform(sets[0][rows].astype(np.float32)))
    assert np.array_equal(given["fit"][1], sets[1][rows])
    assert np.array_equal(given["asked"][0], norm.transform(sets[2].astype(np.float32)))
    assert figures["rejected"] == pytest.approx(dict.fromkeys("012", 20))
    assert figures["rejected_digits"] == pytest.approx(20)
