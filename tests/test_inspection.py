"""Attributions sum to what they explain, are the gradient where it is one, and refuse by name."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from sklearn_hrn import (
    ConformalOutlierDetector,
    FourierFeatures,
    HRNContinualClassifier,
    HRNGroupedDetector,
    HRNOneClassClassifier,
    InstanceL2Normalizer,
    InstanceStandardizer,
    LandmarkFeatures,
    NormalScoreTransformer,
    OneClassPipeline,
    PatchDictionary,
    RidgeWhitener,
    RotationWhitening,
    TorchFeatures,
    make_hrn_pipeline,
)
from sklearn_hrn.inspection import _attribution, feature_attribution, nearest_normal
from sklearn_hrn.inspection._columns import sources, transformed
from sklearn_hrn.inspection._slopes import _perceptron, pull_back


def words(**parameters):
    return PatchDictionary(
        5, patch_size=3, grid=2, image_shape=(4, 4), random_state=0, **parameters
    )


def convolution():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Tanh())


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    monkeypatch.setattr("sklearn_hrn.image._visual_words.N_PATCHES", 2000)


# Steps of rows of 16 positive values.
SMOOTH = {
    "Fourier": FourierFeatures(20, random_state=0),
    "landmarks": LandmarkFeatures(10, gamma=0.1, random_state=0),
    "divide, then centre": InstanceL2Normalizer(),
    "centre, then divide": InstanceL2Normalizer(center="before"),
    "constant": InstanceL2Normalizer(center="before", append=2.0),
    "constant, centred after": InstanceL2Normalizer(append="median"),
    "root": InstanceL2Normalizer(center=None, power=0.5),
    "standardised": InstanceStandardizer(),
    "length one": Normalizer(),
    "ridge": RidgeWhitener(),
    "PCA": PCA(4, whiten=True),
    "SVD": TruncatedSVD(4),
    "scaler": StandardScaler(),
    "range": MinMaxScaler(),
    "nested": make_pipeline(RidgeWhitener(), InstanceL2Normalizer(center=None, copy=False)),
    "union": FeatureUnion(
        [("a", InstanceStandardizer()), ("b", PCA(3)), ("c", "passthrough"), ("d", "drop")],
        transformer_weights={"b": 3.0},
    ),
    "module": TorchFeatures(convolution(), image_shape=(4, 4, 1)),
}
KINKED = {
    "normal scores": NormalScoreTransformer(),
    "words": words(),
    "roots of words": words(power=0.5),
    "whitened words": RotationWhitening(words(), threshold=1.0, image_shape=(4, 4)),
    "words as they are": RotationWhitening(words(), threshold=0.0, image_shape=(4, 4)),
    "roots, then landmarks": RotationWhitening(
        words(power=0.5), otherwise=LandmarkFeatures(10), threshold=0.0, image_shape=(4, 4)
    ),
}
STEPS = SMOOTH | KINKED


@pytest.fixture
def rows(rng):
    return rng.uniform(0.5, 2.0, size=(40, 16)) ** 2


@pytest.mark.parametrize("name", STEPS)
def test_a_mean_slope_times_the_way_is_the_difference(name, rows, rng):
    step = STEPS[name].fit(rows)
    a, b = rows[:20], rows[20:]
    rise = transformed(step, b) - transformed(step, a)
    g = rng.normal(size=rise.shape)
    back = pull_back(step, a, b, g)
    assert back.shape == a.shape
    assert_allclose((back * (b - a)).sum(1), (g * rise).sum(1), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    "name", ["divide, then centre", "centre, then divide", "standardised", "length one"]
)
def test_so_it_is_from_and_to_a_row_of_zeros(name, rows, rng):
    step = STEPS[name].fit(rows)
    a, b = rows[:2].copy(), rows[2:4].copy()
    a[0] = b[1] = 0
    rise = transformed(step, b) - transformed(step, a)
    g = rng.normal(size=rise.shape)
    assert_allclose((pull_back(step, a, b, g) * (b - a)).sum(1), (g * rise).sum(1))


@pytest.mark.parametrize("name", SMOOTH)
def test_a_mean_slope_becomes_the_derivative(name, rows, rng):
    step = SMOOTH[name].fit(rows)
    a, way = rows[:20], rng.normal(size=(20, 16))
    g = rng.normal(size=transformed(step, a).shape)
    near = pull_back(step, a, a + 1e-4 * way, g)
    other = rng.normal(size=(20, 16))
    step_size = 1e-2 if name in ("Fourier", "landmarks", "module") else 1e-4  # float32 rows
    ahead, behind = (transformed(step, a + s * step_size * other) for s in (1, -1))
    expected = (g * (ahead - behind)).sum(1) / (2 * step_size)
    assert_allclose((near * other).sum(1), expected, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", ["Fourier", "landmarks"])
def test_without_a_way_a_mean_slope_is_the_derivative(name, rows, rng):
    step = SMOOTH[name].fit(rows)
    g = rng.normal(size=transformed(step, rows).shape)
    near = pull_back(step, rows, rows + 1e-6 * rng.normal(size=rows.shape), g)
    assert_allclose(pull_back(step, rows, rows, g), near, rtol=1e-3, atol=1e-5)


def test_a_unit_that_stays_where_it_is_has_the_slope_of_that_place():
    # The sum that the unit takes is the same at both ends: below zero, above it, and on it.
    a, b = (
        np.array([[-3.0, 1.0], [3.0, -1.0], [1.0, -1.0]]),
        np.array([[1.0, -3], [-1, 3], [-1, 1]]),
    )
    weights = [np.ones((2, 1)), np.ones((1, 1))]
    assert_array_equal(_perceptron(weights, a, b, 0.1), [[0.1, 0.1], [1, 1], [0.1, 0.1]])


@pytest.mark.parametrize("step", [InstanceL2Normalizer(center=None), InstanceStandardizer()])
def test_rows_of_zeros_have_a_mean_slope(step, rows):
    a, b = np.zeros((20, 16)), rows[20:]
    step.fit(rows)
    for u, v in [(a, b), (b, a), (a, a)]:
        rise = transformed(step, v) - transformed(step, u)
        back = pull_back(step, u, v, np.ones_like(rise))
        assert_allclose((back * (v - u)).sum(1), rise.sum(1), atol=1e-12)


DIGITS, DIGIT = load_digits(return_X_y=True)
SMALL = {"hrn__max_updates": 100, "hrn__hidden_layer_sizes": 20}
RECIPES = {
    "paper": {},
    "image": {"words__transformer__patch_size": 3},
    "image, whitened": {"words__threshold": 1.0, "words__transformer__patch_size": 3},
    "tabular": {"lift__n_components": 100},
    "embedding": {"landmarks__n_components": 50},
}


def recipe(name, **parameters):
    pipeline = make_hrn_pipeline(name.split(",")[0], random_state=0)
    pipeline.set_params(**SMALL, **RECIPES[name], **parameters)
    return pipeline if name == "paper" else pipeline.set_params(calibration=None)


@pytest.mark.parametrize("name", RECIPES)
def test_attributions_of_every_recipe_sum_to_the_difference_of_the_scores(name):
    train, X = DIGITS[DIGIT == 3][:100], DIGITS[DIGIT != 3][:30]
    detector = recipe(name).fit(train)
    attributions = feature_attribution(detector, X, reference=train[:20])
    nearest = nearest_normal(detector, X, reference=train[:20])
    rise = detector.score_samples(X) - detector.score_samples(nearest)
    is_image = name.startswith("image")
    assert attributions.shape == ((30, 8, 8) if is_image else (30, 64))
    sums = attributions.reshape(30, -1).sum(axis=1)
    assert_allclose(sums, rise, atol=1e-3 * detector.score_samples(train).std(), rtol=1e-3)


def test_few_pieces_are_close_to_the_integral(monkeypatch, rng):
    train = rng.lognormal(size=(200, 6))
    detector = recipe("tabular").fit(train)
    X = rng.lognormal(size=(50, 6)) * 3
    found = feature_attribution(detector, X, reference=train[0])
    monkeypatch.setattr(_attribution, "N_PIECES", 100)
    limit = feature_attribution(detector, X, reference=train[0])
    assert np.abs(found - limit).sum() < 0.05 * np.abs(limit).sum()


def test_of_a_linear_score_each_column_gets_its_term(rng):
    X = rng.normal(size=(50, 4))
    detector = HRNOneClassClassifier((), n_estimators=3, max_iter=5, random_state=0).fit(X)
    weights = detector.coefs_[0].mean(axis=0)[:, 0]
    found = feature_attribution(detector, X, reference=X[7])
    assert_allclose(found, (X - X[7]) * weights, rtol=1e-5, atol=1e-9)


def test_networks_of_several_layers_and_the_mean_of_several_networks(rng):
    X = rng.normal(size=(50, 4))
    detector = HRNOneClassClassifier((6, 5), n_estimators=3, init=0.7, max_iter=2, random_state=0)
    detector.fit(X)
    found = feature_attribution(detector, X, reference=X[0])
    f = detector.score_samples(X)
    assert_allclose(found.sum(axis=1), f - f[0], atol=1e-9)


def test_a_module_of_the_users_own(rng):
    def module(n_features):
        return torch.nn.Sequential(
            torch.nn.Linear(n_features, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )

    X = rng.normal(size=(50, 4))
    detector = HRNOneClassClassifier(module=module, max_iter=3, n_estimators=2, random_state=0)
    detector.fit(X)
    found = feature_attribution(detector, X, reference=X[0])
    f = detector.score_samples(X)
    assert_allclose(found.sum(axis=1), f - f[0], atol=1e-9)
    j, step = 2, 1e-4
    near = X.copy()
    near[:, j] += step
    slope = feature_attribution(detector, near[:1], reference=X[:1])[0, j] / step
    f_near = detector.score_samples(near)
    assert_allclose(slope, (f_near - f)[0] / step, rtol=1e-4)


def test_units_of_columns_do_not_matter(rng):
    X = rng.lognormal(size=(100, 3))
    units = np.array([1.0, 64.0, 1 / 1024])
    plain, scaled = (
        feature_attribution(recipe("tabular").fit(X * c), X * c, reference=X[:5] * c)
        for c in (1.0, units)
    )
    assert_allclose(plain, scaled, rtol=1e-3, atol=1e-5)


def test_the_rows_stay_as_they_are(rng):
    X = rng.normal(size=(60, 3))
    kept = X.copy()
    detector = make_pipeline(
        InstanceL2Normalizer(center=None, append=1.0, copy=False),
        InstanceL2Normalizer(copy=False),
        HRNOneClassClassifier(max_iter=2, random_state=0),
    ).fit(X.copy())
    feature_attribution(detector, X, reference=X[:3])
    assert_array_equal(X, kept)


COLUMN_BY_COLUMN = {
    "rare words": OneHotEncoder(min_frequency=8, sparse_output=False),
    "rare words, one left out": OneHotEncoder(max_categories=3, drop="first", sparse_output=False),
    "words of two kinds": OneHotEncoder(drop="if_binary", sparse_output=False),
    "gaps": SimpleImputer(add_indicator=True),
    "spread": VarianceThreshold(0.3),
    "parts": make_column_transformer(
        ("drop", [1]), (StandardScaler(), [3, 0]), ("passthrough", slice(2, 3))
    ),
    "chain": make_pipeline(VarianceThreshold(0.3), OneHotEncoder(sparse_output=False)),
}


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("name", COLUMN_BY_COLUMN)
def test_a_column_that_comes_out_changes_with_its_source_alone(name, rng):
    X = np.column_stack([rng.poisson(m, 60) for m in (0.2, 1, 2, 4)]).astype(float)
    if name == "gaps":
        X[rng.random(X.shape) < 0.2] = np.nan
        X[:, 2] = np.nan
    step = clone(COLUMN_BY_COLUMN[name]).fit(X)
    found, Z = sources(step, 4), step.transform(X)
    assert len(found) == Z.shape[1]
    for j in range(4):
        other = X.copy()
        other[:, j] = 1.0 if np.isnan(X[:, j]).all() else rng.permutation(X[:, j])
        changed = np.flatnonzero((step.transform(other) != Z).any(axis=0))
        assert_array_equal(changed, np.flatnonzero(found == j))


def mixed_table(rng, n=120):
    table = pd.DataFrame(
        {
            "kind": rng.choice(["a", "b", "c"], n),
            "size": rng.normal(size=n),
            "weight": rng.normal(size=n),
            "grade": rng.choice(["low", "high"], n),
        }
    )
    table.loc[::7, "weight"] = np.nan
    return table


def mixed_detector(last):
    columns = make_column_transformer(
        (OneHotEncoder(drop="if_binary", sparse_output=False), ["kind"]),
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["weight", "size"]),
        (OrdinalEncoder(), ["grade"]),
    )
    return make_pipeline(columns, FourierFeatures(50, random_state=0), last)


def test_encoded_columns_are_summed_by_the_column_they_come_from(rng):
    table = mixed_table(rng)
    detector = mixed_detector(HRNOneClassClassifier(max_iter=5, random_state=0)).fit(table)
    assert_array_equal(sources(detector[0], 4), [0, 0, 0, 2, 1, 2, 3])
    reference = table.iloc[[1]]
    x = reference.copy()
    x["kind"] = "a" if x["kind"].iloc[0] != "a" else "b"
    x["weight"] = np.nan
    found = feature_attribution(detector, x, reference=reference)
    assert found.shape == (1, 4)
    assert (found[0, [0, 2]] != 0).all()
    assert_array_equal(found[0, [1, 3]], 0)
    rise = detector.score_samples(x) - detector.score_samples(reference)
    assert_allclose(found.sum(axis=1), rise, rtol=1e-4)
    nearest = nearest_normal(detector, x, reference=table)
    assert list(nearest.columns) == list(table.columns)


@pytest.mark.parametrize(
    "last", [IsolationForest(n_estimators=10, random_state=0), LocalOutlierFactor(novelty=True)]
)
def test_any_other_detector_is_asked_for_scores_alone(last, rng):
    table = mixed_table(rng)
    detector = mixed_detector(last).fit(table)
    found = feature_attribution(detector, table[:4], reference=table.iloc[20])
    f = detector.score_samples(table)
    assert_allclose(found.sum(axis=1), f[:4] - f[20], atol=1e-9)


class Product(OutlierMixin, BaseEstimator):
    """Scores whose Shapley values are known: a product of two columns, and a third one."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        return X[:, 0] * X[:, 1] - np.abs(X[:, 2])


def test_without_slopes_columns_share_what_they_do_together():
    X = np.array([[2.0, 3.0, -1.0, 9.0]])
    found = feature_attribution(Product().fit(X), X, reference=np.zeros(4))
    assert_allclose(found, [[3.0, 3.0, -1.0, 0.0]])


class Whole(Product):
    """The product of all columns, of which orders tell more or less."""

    def decision_function(self, X):
        return X.prod(axis=1)


def test_orders_of_columns_are_the_same_at_every_call(rng):
    X = rng.uniform(1, 2, size=(1, 9))
    found = [feature_attribution(Whole().fit(X), X, reference=X[0] - 1) for _ in "12"]
    assert_array_equal(*found)


class Pairs(Product):
    """The sum of the products of all pairs of columns, of which each has a half."""

    def decision_function(self, X):
        return (X.sum(axis=1) ** 2 - (X**2).sum(axis=1)) / 2


def test_of_every_pair_of_columns_either_comes_first_as_often_as_the_other():
    X = np.array([[1.0, 2.0, 3.0, 4.0]])
    found = feature_attribution(Pairs().fit(X), X, reference=np.zeros(4))
    assert_allclose(found, X * (X.sum() - X) / 2)


@pytest.mark.parametrize(
    "step",
    [FunctionTransformer(np.cumsum, kw_args={"axis": 1}), Normalizer("l1"), Normalizer("max")],
)
def test_a_step_without_a_slope_leaves_the_model_free_way(step, rng):
    X = rng.normal(size=(60, 3))
    hrn = HRNOneClassClassifier(max_iter=2, random_state=0)
    detector = make_pipeline(step, hrn).fit(X)
    f = detector.score_samples(X)
    found = feature_attribution(detector, X, reference=X[0])
    assert_allclose(found.sum(axis=1), f - f[0], atol=1e-9)


def test_detectors_of_pyod_are_turned_round(rng):
    iforest = pytest.importorskip("pyod.models.iforest").IForest(n_estimators=10, random_state=0)
    X = rng.normal(size=(100, 3))
    iforest.fit(X)
    found = feature_attribution(iforest, [[0.0, 9.0, 0.0]], reference=np.zeros(3))
    assert found[0].argmin() == 1 and found[0, 1] < 0


def test_wrapped_detectors_are_explained_as_what_they_wrap(rng):
    X = rng.normal(size=(100, 3))
    detector = recipe("tabular").fit(X)
    wrapped = ConformalOutlierDetector(FrozenEstimator(detector)).fit(X)
    plain = feature_attribution(detector, X[:5], reference=X[9])
    assert_array_equal(feature_attribution(wrapped, X[:5], reference=X[9]), plain)


def test_the_mean_of_several_detectors_is_explained_by_its_scores(rng):
    X = rng.normal(size=(60, 3))
    forest = IsolationForest(n_estimators=5, random_state=0)
    detector = ConformalOutlierDetector(forest, strategy="cross", random_state=0).fit(X)
    f = detector.score_samples(X)
    found = feature_attribution(detector, X[:4], reference=X[9])
    assert_allclose(found.sum(axis=1), f[:4] - f[9], atol=1e-9)


def test_the_nearest_of_several_references_is_taken():
    X = np.random.default_rng(0).normal(size=(80, 2)) * [1.0, 1000.0]
    detector = make_pipeline(StandardScaler(), HRNOneClassClassifier(max_iter=2)).fit(X)
    # In units of the columns the first reference is nearer, in plain numbers the second.
    reference = np.array([[0.0, 1000.0], [3.0, 900.0]])
    assert_array_equal(nearest_normal(detector, [[0.0, 500.0]], reference=reference), reference[:1])


def test_a_one_class_pipeline_keeps_training_rows_to_compare_with(rng):
    table = mixed_table(rng)
    y = np.where(np.arange(len(table)) < 10, -1, 1)
    plain = mixed_detector(HRNOneClassClassifier(max_iter=2, random_state=0))
    pipeline = OneClassPipeline(plain.steps, reference_rows=7).fit(table, y)
    kept = pipeline.reference_rows_
    assert 1 < len(kept) <= 7 and kept.index.min() >= 10
    pd.testing.assert_frame_equal(kept, table.loc[kept.index])
    found = feature_attribution(pipeline, table[:5])
    kept = kept[pipeline.predict(kept) == 1]
    assert_array_equal(found, feature_attribution(pipeline, table[:5], reference=kept))
    assert nearest_normal(pipeline, table[:5]).index.isin(kept.index).all()
    pipeline.set_params(reference_rows=0).fit(table)
    assert not hasattr(pipeline, "reference_rows_")


def test_a_row_that_is_flagged_itself_is_none_to_compare_with(rng):
    X = np.r_[rng.normal(size=(60, 2)), [[30.0, 30.0]]]
    forest = IsolationForest(contamination=0.05, random_state=0)
    pipeline = OneClassPipeline([("forest", forest)]).fit(X)
    assert (pipeline.reference_rows_ == 30.0).any()
    assert (nearest_normal(pipeline, [[29.0, 31.0]]) < 10).all()
    given = nearest_normal(pipeline, [[29.0, 31.0]], reference=X)
    assert_array_equal(given, [[30.0, 30.0]])


def test_rows_on_the_threshold_are_compared_with_and_all_where_all_are_flagged(rng):
    X = rng.normal(size=(60, 2))
    pipeline = OneClassPipeline([("forest", IsolationForest(random_state=0))]).fit(X)
    scores = pipeline.score_samples(X)
    pipeline["forest"].offset_ = scores.max()
    assert_array_equal(nearest_normal(pipeline, [[9.0, 9.0]]), X[[scores.argmax()]])
    pipeline["forest"].offset_ = 1.0
    assert_array_equal(nearest_normal(pipeline, X), X)


def test_the_columns_in_which_a_row_is_strange_do_not_choose_its_reference():
    x = np.array([[0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0, 0.1, 9.0, 9.0]])
    alike_elsewhere, near_in_total = x[0].copy(), x[0] + 0.5
    alike_elsewhere[8:] = -9.0
    reference = np.array([near_in_total, alike_elsewhere])
    steps = StandardScaler(with_std=False, with_mean=False), IsolationForest(n_estimators=5)
    detector = make_pipeline(*steps).fit(np.repeat(reference, 20, axis=0))
    assert_array_equal(nearest_normal(detector, x, reference=reference), reference[1:])
    of_numbers = _attribution._distances(x, reference)
    np.testing.assert_allclose(of_numbers, [[8 * 0.5, 0.0]])
    of_objects = _attribution._distances(x.astype(object), reference)
    np.testing.assert_allclose(of_objects, of_numbers)
    # Of three columns all count; a gap and a number differ by one.
    few = _attribution._distances(np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(few, [[6.0]])
    gaps = np.array([[0.0, 3.0, 0.0], [np.nan, 3.0, 0.0], [np.nan, np.nan, 0.0]])
    np.testing.assert_allclose(_attribution._distances(gaps[1:2], gaps), [[1.0, 0.0, 1.0]])
    words = np.array([["a", "b", "c", None, "e"]], dtype=object)
    others = np.array([["a", "x", "y", None, "e"], ["a", "b", "c", "d", "x"]], dtype=object)
    np.testing.assert_allclose(_attribution._distances(words, others), [[1.0, 1.0]])


def test_a_first_step_that_works_in_place_leaves_the_kept_rows_as_they_were(rng):
    X = rng.normal(size=(80, 3))
    hrn = HRNOneClassClassifier(max_iter=2, random_state=0)
    steps = [("norm", InstanceL2Normalizer(copy=False)), ("hrn", hrn)]
    pipeline = OneClassPipeline(steps, reference_rows=5)
    kept = pipeline.fit(X.copy()).reference_rows_
    assert all((row == X).all(axis=1).any() for row in kept)


def test_words_and_gaps_have_a_distance(rng):
    table = mixed_table(rng)
    table.loc[0, "weight"] = np.nan
    detector = mixed_detector(IsolationForest(n_estimators=10, random_state=0)).fit(table)
    plain = make_pipeline(FunctionTransformer(detector[0].transform), *detector[1:]).fit(table)
    nearest = nearest_normal(plain, table[:1], reference=table[::-1])
    assert nearest.index[0] == 0
    filled = make_pipeline(FunctionTransformer(np.nan_to_num), detector[-1]).fit([[1.0, 1.0]] * 9)
    nearest = nearest_normal(filled, [[1.0, 1.0]], reference=[[np.nan, 1.0], [1.0, 1.5]])
    assert nearest.tolist() == [[1.0, 1.5]]


def test_gaps_of_pandas_are_explained_by_the_scores_of_several_detectors(rng):
    table = mixed_table(rng, 60).convert_dtypes()
    table.loc[::5, ["kind", "weight"]] = pd.NA
    guarded = ConformalOutlierDetector(
        recipe("tabular"), strategy="cross", n_models=2, false_alarm_rate=0.2, random_state=0
    ).fit(table)
    some = table[:3].assign(grade="of a new kind")
    near = nearest_normal(guarded, some)
    assert near["kind"].isna()[0] and near["weight"].isna()[0]
    rise = guarded.score_samples(some) - guarded.score_samples(near)
    assert_allclose(feature_attribution(guarded, some).sum(axis=1), rise, atol=1e-8)


@pytest.mark.parametrize("strategy", ["split", "cross"])
@pytest.mark.parametrize("groups", [None, np.repeat(["a", "b"], 30)])
def test_a_conformal_detector_compares_with_the_rows_that_it_has_kept(strategy, groups, rng):
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=["x", "y", "z"])
    guarded = ConformalOutlierDetector(
        recipe("tabular"), strategy=strategy, false_alarm_rate=0.2, random_state=0
    ).fit(table, groups=groups)
    strange = table[:1].assign(x=9.0)
    nearest = nearest_normal(guarded, strange)
    assert nearest.to_numpy()[0].tolist() in table.to_numpy().tolist()
    assert_array_equal(
        feature_attribution(guarded, strange),
        feature_attribution(guarded, strange, reference=nearest),
    )


def test_a_detector_without_a_reference_says_what_to_do(rng):
    X = rng.normal(size=(50, 3))
    with pytest.raises(ValueError, match="give reference="):
        feature_attribution(IsolationForest(n_estimators=10, random_state=0).fit(X), X)


def test_a_reference_of_another_width_is_named(rng):
    X = rng.normal(size=(50, 3))
    detector = IsolationForest(n_estimators=10, random_state=0).fit(X)
    with pytest.raises(ValueError, match="reference has 2 columns, but X has 3"):
        feature_attribution(detector, X, reference=X[:, :2])


@pytest.mark.parametrize("bad", [np.zeros((1, 2)), np.full((1, 3), np.nan)])
def test_rows_that_the_detector_refuses_are_refused(bad, rng):
    X = rng.normal(size=(50, 3))
    detector = HRNOneClassClassifier(max_iter=2).fit(X)
    with pytest.raises(ValueError, match=r"2 features|NaN"):
        feature_attribution(detector, bad, reference=bad)


def test_a_detector_that_is_not_fitted_is_refused(rng):
    with pytest.raises(NotFittedError):
        feature_attribution(recipe("tabular"), [[0.0]], reference=[[0.0]])


def test_a_detector_without_scores_is_refused(rng):
    X = rng.normal(size=(50, 3))
    with pytest.raises(TypeError, match="nothing to explain"):
        feature_attribution(StandardScaler().fit(X), X, reference=X[0])


def test_rows_without_columns_are_refused():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["one two", "two three", "three one"]
    pipeline = make_pipeline(TfidfVectorizer(), HRNOneClassClassifier(max_iter=2))
    vectors = pipeline[0].fit_transform(texts).toarray()
    pipeline[1].fit(vectors)
    with pytest.raises(TypeError, match="explain the steps behind the vectorizer"):
        feature_attribution(pipeline, texts, reference=texts)
    assert feature_attribution(pipeline[1:], vectors, reference=vectors[0]).shape == vectors.shape


@pytest.mark.parametrize("explain", [feature_attribution, nearest_normal])
def test_a_row_without_its_second_axis_is_told_how_it_gets_it(explain, rng):
    X = rng.normal(size=(50, 3))
    detector = IsolationForest(n_estimators=10, random_state=0).fit(X)
    with pytest.raises(TypeError, match=r"X is one row, of shape \(3,\): give X\[None\]"):
        explain(detector, X[0], reference=X)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("way", ["slopes", "orders"])
def test_a_frame_of_any_library_is_explained_by_its_names_without_a_warning(library, way, rng):
    frames = pytest.importorskip(library)
    days = np.datetime64("2026-01-01", "us") + np.arange(60) * np.timedelta64(1, "D")
    words = np.where(np.arange(60) % 3, "a", "b")
    columns = {"x": rng.normal(size=60), "word": words, "day": days}
    table = (frames.table if library == "pyarrow" else frames.DataFrame)(columns)
    some = table.slice(0, 4) if library == "pyarrow" else table[:4]
    detector = make_hrn_pipeline("tabular", random_state=0)
    detector.set_params(hrn__max_updates=5, calibration=None)
    if way == "orders":  # of the mean of several detectors scores alone are asked
        detector = ConformalOutlierDetector(
            detector, strategy="cross", false_alarm_rate=0.1, random_state=0
        )
    detector.fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nearest = nearest_normal(detector, some, reference=table)
        attributions = feature_attribution(detector, some, reference=table)
    assert type(nearest) is type(some)
    assert attributions.shape == (4, 3)
    rise = detector.score_samples(some) - detector.score_samples(nearest)
    assert np.allclose(attributions.sum(axis=1), rise)


def test_a_classifier_has_no_score_to_explain_but_its_heads_have(rng):
    X = rng.normal(size=(60, 4))
    classifier = HRNContinualClassifier(HRNOneClassClassifier(4, max_iter=2), random_state=0)
    classifier.fit(X, np.arange(60) % 3)
    with pytest.raises(TypeError, match=r"heads_\[label\]"):
        feature_attribution(classifier, X[:2], reference=X)
    assert feature_attribution(classifier.heads_[1], X[:2], reference=X).shape == (2, 4)


def test_the_detector_of_one_group_is_explained_where_rows_do_not_name_theirs(rng):
    X, group = rng.normal(size=(60, 4)), np.arange(60) % 2
    forest = IsolationForest(n_estimators=5, random_state=0)
    detector = HRNGroupedDetector(forest).fit(X, groups=group)
    with pytest.raises(TypeError, match=r"explain that of one, such as detectors_\[group\]"):
        feature_attribution(detector, X[:2], reference=X)
    assert feature_attribution(detector.detectors_[1], X[:2], reference=X).shape == (2, 4)
    X[:, 3] = group
    detector = HRNGroupedDetector(forest, group_column=3).fit(X)
    assert feature_attribution(detector, X[:2], reference=X).shape == (2, 4)


@pytest.mark.parametrize(("keeps", "expected"), [(True, [0, 1, 2, 1]), (False, [0, 2, 1])])
def test_an_empty_column_that_an_imputer_keeps_is_one_of_those_that_come_out(keeps, expected):
    X = np.array([[1.0, np.nan, 2.0], [3.0, np.nan, 4.0]])
    step = SimpleImputer(add_indicator=True, keep_empty_features=keeps).fit(X)
    assert_array_equal(sources(step, 3), expected)


def test_parameters_that_are_set_after_a_fit_explain_nothing(rng):
    X = rng.normal(size=(60, 3))
    hrn = HRNOneClassClassifier(5, init=0.5, max_iter=5, random_state=0)
    fourier = FourierFeatures(40, random_state=0)
    pipeline = OneClassPipeline([("fourier", fourier), ("hrn", hrn)]).fit(X)
    before = feature_attribution(pipeline, X[:5], reference=X[5:])
    pipeline["fourier"].set_params(n_components=10)
    assert before.any() and np.array_equal(
        before, feature_attribution(pipeline, X[:5], reference=X[5:])
    )
