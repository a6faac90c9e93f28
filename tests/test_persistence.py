"""Fitted estimators through files: pickle, joblib and skops, whole or broken."""

import copy
import datetime
import io
import pickle
import subprocess
import sys
import warnings
import zipfile
from datetime import UTC
from decimal import Decimal

import joblib
import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.datasets import load_digits
from sklearn.model_selection import PredefinedSplit, StratifiedKFold
from test_sklearn_contract import instance, public_estimators

from sklearn_hrn import (
    ChannelNetwork,
    ConformalOutlierDetector,
    HRNContinualClassifier,
    HRNGroupedDetector,
    HRNOneClassClassifier,
    HRNSearchCV,
    InstanceL2Normalizer,
    OneClassPipeline,
    TableEncoder,
    TorchFeatures,
    make_hrn_pipeline,
)
from sklearn_hrn.exceptions import ResolutionWarning
from sklearn_hrn.inspection import feature_attribution, nearest_normal
from sklearn_hrn.interop import trusted_types
from sklearn_hrn.recipes import RECIPES


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def through_skops(estimator, also_trusted=()):
    files = pytest.importorskip("skops.io", reason="needs the extra skops")
    return files.loads(files.dumps(estimator), trusted=[*trusted_types(), *also_trusted])


WAYS = [through_pickle, through_joblib, through_skops]


def answer(estimator, X):
    methods = ("score_samples", "predict", "transform")
    return getattr(estimator, next(name for name in methods if hasattr(estimator, name)))(X)


@pytest.fixture(scope="module", params=public_estimators(), ids=lambda c: c.__name__)
def fitted(request):
    X = np.random.default_rng(0).normal(size=(40, 4))
    estimator = instance(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResolutionWarning)
        return X, estimator.fit(X, np.arange(40) % 3 if is_classifier(estimator) else None)


@pytest.mark.parametrize("through", WAYS)
def test_every_estimator_comes_back_bit_for_bit(through, fitted):
    X, estimator = fitted
    more = {"also_trusted": ["test_sklearn_contract.AbsoluteValues"]}
    again = through(estimator, **more if through is through_skops else {})
    assert np.array_equal(answer(again, X), answer(estimator, X))
    assert vars(again).keys() == vars(estimator).keys()


@pytest.fixture(scope="module")
def fitted_recipes():
    X = load_digits(return_X_y=True)[0][:40]
    small = {"words__transformer__n_words": 10, "hrn__max_updates": 5, "calibration": 2}
    small["hrn__contamination"] = 0.1
    recipes = [make_hrn_pipeline(kind, random_state=0) for kind in RECIPES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_hrn.image._visual_words.N_PATCHES", 500)
        for recipe in recipes:
            recipe.set_params(**{k: v for k, v in small.items() if k in recipe.get_params()}).fit(X)
    return X, recipes


@pytest.mark.parametrize("through", WAYS)
def test_every_recipe_comes_back_bit_for_bit(through, fitted_recipes):
    X, recipes = fitted_recipes
    for recipe in recipes:
        assert np.array_equal(through(recipe).decision_function(X), recipe.decision_function(X))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("through", WAYS)
def test_a_recipe_of_a_table_of_words_comes_back_with_the_rows_it_compares_with(through, library):
    frames = pytest.importorskip(library, reason="a table is a data frame")
    colours = ["red", "blue", None, "green"] * 10
    days = np.datetime64("2026-01-01") + np.arange(40)
    columns = {"size": np.arange(40.0), "colour": colours, "day": days.astype("datetime64[ms]")}
    columns |= {"flag": [None, True, False, True] * 10, "price": [Decimal("1.5"), None] * 20}
    columns["due"] = [datetime.date(2026, 1, 1 + i % 9) for i in range(40)]
    columns["seen"] = [datetime.datetime(2026, 1, 1 + i % 9, tzinfo=UTC) for i in range(40)]
    table = (frames.table if library == "pyarrow" else frames.DataFrame)(columns)
    if library == "pandas":
        table["kind"] = frames.Categorical(["a", "b"] * 20)
        table["level"] = frames.Categorical([1, 2] * 20)
        table["count"] = frames.array([1, 2, None, 4] * 10, dtype="Int64")
    if library == "pyarrow":
        words = frames.array(["a", "b"] * 20).dictionary_encode()
        table = table.append_column("kind", words)
    recipe = make_hrn_pipeline("tabular", random_state=0)
    recipe.set_params(hrn__max_updates=5, calibration=None).fit(table)
    again = through(recipe)
    assert np.array_equal(again.score_samples(table), recipe.score_samples(table))
    kept = again.reference_rows_
    names = [getattr(t, "column_names", t.columns) for t in (kept, table)]
    assert type(kept) is type(table) and list(names[0]) == list(names[1])
    assert 1 < len(kept) <= 40
    # They are rows of the table, and read as such.
    assert set(again.score_samples(kept)) <= set(again.score_samples(table))
    some = table.slice(0, 5) if library == "pyarrow" else table[:5]
    expected = feature_attribution(recipe, some)
    assert np.array_equal(feature_attribution(again, some), expected)
    near = nearest_normal(again, some)
    assert type(near) is type(table) and np.isfinite(again.score_samples(near)).all()


def test_moments_of_pandas_wherever_they_are_hold_up_no_file_of_skops(rng):
    pandas = pytest.importorskip("pandas")
    moments = pandas.date_range("2026-01-01", periods=40, tz="Europe/Berlin")
    columns = {"a": rng.normal(size=40), "of_objects": moments.astype(object)}
    columns["of_words"] = pandas.Categorical(moments[[0, 1] * 20])
    columns["durations"] = (moments - moments[0]).astype(object)
    table = pandas.DataFrame(columns, index=moments)
    recipe = make_hrn_pipeline("tabular", random_state=0)
    recipe = recipe.set_params(calibration=None, hrn__max_updates=5)
    detector = HRNGroupedDetector(recipe).fit(table, groups=columns["of_words"])
    again = through_skops(detector)
    expected = detector.score_samples(table, groups=columns["of_words"])
    assert np.array_equal(again.score_samples(table, groups=columns["of_words"]), expected)
    by_moment = pandas.DataFrame(rng.normal(size=(40, 2)), columns=moments[:2])
    assert through_skops(recipe.fit(by_moment)).reference_rows_.columns.equals(by_moment.columns)


# Of skops, whose files make text of the keys of a dict: True and False, 1 and "1" would be one.
MIXTURES = [[True, False], [1, "1"], [b"a", "b"], [datetime.date(2026, 1, 1), "b"]]


@pytest.mark.parametrize("words", MIXTURES, ids=str)
@pytest.mark.parametrize("through", WAYS)
def test_categories_of_any_type_come_back_with_their_surprise(through, words):
    X = np.array([[words[0]]] * 37 + [[words[1]]] * 2 + [["other"]], dtype=object)
    encoder = TableEncoder().fit(X)
    again = through(encoder)
    assert again.surprise_ == encoder.surprise_
    assert np.array_equal(again.transform(X), encoder.transform(X))


NAMES = [[True, False], [1, 0], [b"a", b"b"], [datetime.date(2026, 1, d) for d in (1, 2)]]


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize("through", WAYS)
def test_groups_and_classes_of_any_type_come_back(through, names, rng):
    X, groups = rng.normal(1, 0.5, size=(40, 3)), [names[0]] * 20 + [names[1]] * 20
    head = HRNOneClassClassifier(max_iter=1, random_state=0)
    detector = HRNGroupedDetector(head).fit(X, groups=groups)
    again = through(detector)
    assert list(again.detectors_) == list(detector.detectors_)
    assert np.array_equal(*(d.score_samples(X, groups=groups) for d in (again, detector)))
    calibrated = ConformalOutlierDetector(head, false_alarm_rate=0.2).fit(X, groups=groups)
    again = through(calibrated)
    assert again.offset_ == calibrated.offset_
    assert np.array_equal(*(d.p_values(X, groups=groups) for d in (again, calibrated)))
    if not isinstance(names[0], bytes | datetime.date):
        classes = HRNContinualClassifier(head).fit(X, groups)
        assert np.array_equal(through(classes).predict(X), classes.predict(X))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_holds_what_it_was_copied_from(copied):
    rates = {True: 0.1, False: 0.2}
    detector = ConformalOutlierDetector(HRNOneClassClassifier(), false_alarm_rate=rates)
    again = copied(detector)
    assert again.false_alarm_rate == rates and again.estimator.get_params()
    assert (again.false_alarm_rate is rates) == (copied is copy.copy)


@pytest.mark.parametrize("through", WAYS)
def test_what_was_learned_from_verdicts_comes_back_and_goes_on(through):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"size": np.arange(40.0), "colour": ["red", None, "blue", "red"] * 10})
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(hrn__max_updates=5)
    recipe.set_params(hrn__contamination=0.1).fit(table).feedback(table[:3], [1, -1, 1])
    again = through(recipe)
    assert np.array_equal(again.p_values(table), recipe.p_values(table))
    told = [detector.feedback(table[5:6], [-1]).p_values(table) for detector in (recipe, again)]
    assert np.array_equal(*told)


@pytest.mark.parametrize("through", WAYS)
def test_a_network_of_ours_in_place_of_the_perceptron_comes_back(through, rng):
    X = rng.normal(size=(20, 12))
    network = ChannelNetwork(branch_size=3, hidden_size=2)
    detector = HRNOneClassClassifier(module=network, max_iter=2, random_state=0).fit(X)
    assert np.array_equal(through(detector).score_samples(X), detector.score_samples(X))


@pytest.mark.parametrize("scoring", [None, "average_precision", ["roc_auc", "f1"]])
def test_what_a_search_has_chosen_by_comes_back(scoring, rng):
    X, y = rng.normal(1, 0.5, size=(60, 3)), np.where(np.arange(60) % 6, 1, -1)
    hrn = HRNOneClassClassifier(max_iter=1, random_state=0)
    folds, refit = PredefinedSplit(np.arange(50) % 2), "f1" if isinstance(scoring, list) else True
    detector = OneClassPipeline([("hrn", hrn)], calibration=folds)
    cv = StratifiedKFold(2)
    search = HRNSearchCV(detector, {"hrn__max_iter": [1]}, scoring=scoring, cv=cv, refit=refit)
    search.fit(X, y)
    assert np.array_equal(through_skops(search).predict(X), search.predict(X))


def test_skops_refuses_a_torch_module_with_weights_by_name(rng):
    files = pytest.importorskip("skops.io", reason="needs the extra skops")
    import torch

    with pytest.raises(Exception, match="TensorBase"):
        files.loads(
            files.dumps(TorchFeatures(torch.nn.Linear(4, 2)).fit(rng.normal(size=(5, 4)))),
            trusted=[*trusted_types(), "torch.nn.modules.linear.Linear"],
        )


def test_skops_makes_nothing_that_is_not_trusted(rng):
    files = pytest.importorskip("skops.io", reason="needs the extra skops")
    data = files.dumps(InstanceL2Normalizer(append=print).set_params(center=subprocess.run))
    with pytest.raises(Exception, match=r"subprocess\.run"):
        files.loads(data, trusted=trusted_types())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("way", ["pickle", "skops"])
def test_a_truncated_file_is_an_error(way, share, rng):
    detector = InstanceL2Normalizer().fit(rng.normal(size=(5, 3)))
    if way == "pickle":
        data = pickle.dumps(detector)
        with pytest.raises((pickle.UnpicklingError, EOFError)):
            pickle.loads(data[: int(share * len(data))])
        return
    files = pytest.importorskip("skops.io", reason="needs the extra skops")
    data = files.dumps(detector)
    with pytest.raises(zipfile.BadZipFile):
        files.loads(data[: int(share * len(data))], trusted=trusted_types())


SERVE = """
import multiprocessing, pickle, sys
import numpy as np

def score(X):
    return detector.score_samples(X)

detector = pickle.load(open(sys.argv[1], "rb"))
X = np.load(sys.argv[2])
here = score(X)
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[3]).Pool(2) as pool:
        there = pool.map(score, [X, X])
    assert all(np.array_equal(scores, here) for scores in there)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_loaded_detector_serves_in_processes_forked_or_spawned(method, tmp_path, rng):
    X = rng.normal(size=(50, 4))
    steps = [("norm", InstanceL2Normalizer()), ("hrn", HRNOneClassClassifier(max_iter=2))]
    (tmp_path / "detector.pkl").write_bytes(pickle.dumps(OneClassPipeline(steps).fit(X)))
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "serve.py").write_text(SERVE)
    paths = [str(tmp_path / name) for name in ("serve.py", "detector.pkl", "X.npy")]
    subprocess.run([sys.executable, *paths, method], check=True, timeout=100)
