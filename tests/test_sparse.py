"""Sparse rows: through the recipes and their steps, with the answers that dense rows have."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from sklearn_hrn import (
    ConformalOutlierDetector,
    FourierFeatures,
    HRNContinualClassifier,
    HRNGroupedDetector,
    HRNOneClassClassifier,
    HRNSearchCV,
    InstanceL2Normalizer,
    InstanceStandardizer,
    LandmarkFeatures,
    NormalScoreTransformer,
    OneClassPipeline,
    PatchDictionary,
    RidgeWhitener,
    TableEncoder,
    make_hrn_pipeline,
)
from sklearn_hrn.inspection import feature_attribution, nearest_normal
from sklearn_hrn.interop import to_onnx, trusted_types


def counts(n_rows, n_columns, seed=0):
    """Counts of words: few, one word that no row has, and one row without words."""
    X = sparse.random(n_rows, n_columns, density=0.05, random_state=seed, format="csr")
    X.data = 1.0 + np.round(9 * X.data)
    X = X.tolil()
    X[:, 1], X[-1] = 0, 0
    return X.tocsr()


def twice_stored(X):
    """Each entry in two halves, and some zeros: what coo may hold."""
    rows, columns = X.nonzero()
    values = np.asarray(X[rows, columns]).ravel()
    data = np.r_[values - 1, np.ones(len(values)), np.zeros(3)].astype(X.dtype)
    rows, columns = np.r_[rows, rows, 0, 1, 2], np.r_[columns, columns, 1, 1, 1]
    return sparse.coo_array((data, (rows, columns)), shape=X.shape)


def out_of_order(X):
    """Each entry in two halves in csr, which nobody has summed."""
    X = sparse.csr_array(X)
    return sparse.csr_array(
        (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape
    )


@pytest.fixture
def few_directions(monkeypatch):
    """Ten directions of rows of more than 100 columns."""
    monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.MAX_COLUMNS", 100)
    monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.N_DIRECTIONS", 10)


RECIPES = [("tabular", 40), ("embedding", 40), ("embedding", 1000)]


def quick(kind, **parameters):
    recipe = make_hrn_pipeline(kind, random_state=0).set_params(calibration=2)
    size = {"tabular": "lift__n_components", "embedding": "landmarks__n_components"}[kind]
    recipe.set_params(hrn__max_updates=20, hrn__hidden_layer_sizes=20, hrn__contamination=0.1)
    return recipe.set_params(**{size: 30} | parameters)


FORMS = [
    (sparse.csr_array, np.float64),
    (sparse.csr_matrix, np.float32),
    (sparse.csc_array, np.int64),
    (sparse.lil_matrix, bool),
    (twice_stored, np.float64),
]
# Every form meets both recipes, and every other one of them that of many columns.
CASES = [
    (*recipe, *form) for i, form in enumerate(FORMS) for recipe in (RECIPES[0], RECIPES[1 + i % 2])
]


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize(("kind", "n_columns", "form", "dtype"), CASES)
def test_a_recipe_answers_for_sparse_rows_as_for_dense_ones(kind, n_columns, form, dtype):
    X, fresh = (counts(n, n_columns, n).astype(dtype) for n in (90, 25))
    dense = quick(kind).fit(X.toarray())
    detector = quick(kind).fit(form(X))
    expected = dense.score_samples(fresh.toarray())
    np.testing.assert_allclose(detector.score_samples(form(fresh)), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(detector.score_samples(fresh.toarray()), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(detector.offset_, dense.offset_, rtol=0, atol=1e-5)
    away = np.abs(expected - dense.offset_) > 1e-4
    labels = dense.predict(fresh.toarray())
    np.testing.assert_array_equal(detector.predict(form(fresh))[away], labels[away])
    without_words = detector.score_samples(sparse.csr_array(fresh[-1:]))
    np.testing.assert_allclose(without_words, expected[-1:], rtol=0, atol=1e-5)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize("kind", ["tabular", "embedding"])
@pytest.mark.parametrize(
    "around",
    [
        lambda recipe: HRNSearchCV(
            recipe, {"hrn__reg_lambda": [0.01, 0.1]}, cv=2, scoring=first_score
        ),
        lambda recipe: ConformalOutlierDetector(recipe, false_alarm_rate=0.1, random_state=0),
        lambda recipe: recipe.set_params(outlier_share="auto"),
        lambda recipe: recipe.set_params(hrn__anomaly_weight=0.3),
        lambda recipe: make_pipeline(TableEncoder(), recipe),
    ],
)
def test_what_stands_around_a_recipe_hands_sparse_rows_on(kind, around):
    X, y = counts(90, 120), np.repeat([1, -1], [80, 10])
    answers = [
        around(quick(kind, calibration=None)).fit(rows, y).decision_function(rows)
        for rows in (sparse.csr_array(X), X.toarray())
    ]
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-5)


def first_score(detector, X, y=None):
    return detector.score_samples(X)[0]


def test_groups_of_sparse_rows_are_told_apart():
    X, groups = counts(90, 30), np.repeat(["a", "b", "c"], 30)
    fits = [
        HRNGroupedDetector(quick("embedding", calibration=None)).fit(rows, groups=groups)
        for rows in (sparse.csr_array(X), X.toarray())
    ]
    answers = [
        fit.score_samples(rows, groups=groups)
        for fit, rows in zip(fits, (X, X.toarray()), strict=True)
    ]
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-5)


# Steps


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "step",
    [
        FourierFeatures(50, random_state=0),
        LandmarkFeatures(20, gamma="scale", random_state=0),
        LandmarkFeatures(20, gamma=0.01, random_state=0),
        NormalScoreTransformer(subsample=60, random_state=0),
        RidgeWhitener(),
        RidgeWhitener(center=False),
        InstanceL2Normalizer(center=None, append="median"),
        TableEncoder(),
    ],
)
@pytest.mark.parametrize("n_columns", [30, 300])
@pytest.mark.usefixtures("few_directions")
def test_a_step_makes_of_sparse_rows_what_it_makes_of_dense_ones(step, n_columns, dtype):
    X, fresh = counts(90, n_columns).astype(dtype), counts(25, n_columns, 1).astype(dtype)
    expected = step.fit(X.toarray()).transform(fresh.toarray())
    for form in (sparse.csr_array, twice_stored, out_of_order):
        Z = step.fit(form(X)).transform(form(fresh))
        assert Z.dtype == expected.dtype
        Z = Z.toarray() if sparse.issparse(Z) else Z
        np.testing.assert_allclose(Z, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert get_tags(step).input_tags.sparse


def test_landmarks_stay_sparse_where_few_values_are_not_zero():
    X = counts(90, 300)
    fitted = LandmarkFeatures(20, gamma=0.01, random_state=0).fit(sparse.csr_array(X))
    assert isinstance(fitted.landmarks_, sparse.csr_array)
    for density, kind in ((0.09, sparse.csr_array), (0.12, np.ndarray)):
        X_of = sparse.random_array((90, 300), density=density, rng=0, format="csr")
        assert isinstance(LandmarkFeatures(90, gamma=0.01).fit(X_of).landmarks_, kind)
    full = sparse.csr_array(1 + X.toarray())
    assert isinstance(fitted.fit(full).landmarks_, np.ndarray)
    dense = LandmarkFeatures(20, gamma=0.01, random_state=0).fit(X.toarray())
    assert isinstance(dense.landmarks_, np.ndarray)
    np.testing.assert_array_equal(fitted.fit(X).landmarks_.toarray(), dense.landmarks_)


def test_rounding_does_not_choose_the_first_landmark():
    X = np.random.default_rng(0).normal(size=(200, 30))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    for seed in range(5):
        fitted = LandmarkFeatures(50, random_state=seed).fit(X)
        drawn = np.random.RandomState(seed).permutation(200)
        np.testing.assert_array_equal(fitted.landmarks_[0], X[drawn[0]])


def test_scores_of_sparse_rows_are_refused_where_they_would_fill_the_memory(monkeypatch):
    X = sparse.csr_array(counts(20, 30))
    scores = NormalScoreTransformer().fit(X)
    monkeypatch.setattr("sklearn_hrn.preprocessing._normal_scores.DENSE_BYTES", 8 * 20 * 30 - 1)
    for refused in (scores.fit, scores.transform, quick("tabular").fit):
        with pytest.raises(MemoryError, match=r"20 rows of 30 columns .*\"embedding\""):
            refused(X)
    assert scores.transform(X[:10]).shape == (10, 30)
    assert scores.transform(X.toarray()).shape == (20, 30)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
def test_gaps_among_sparse_numbers_are_filled_as_among_dense_ones(form):
    X = counts(30, 6).toarray()
    fresh = X.copy()
    X[[3, 7, 9], 2] = np.nan
    fresh[4] = np.nan
    expected = TableEncoder().fit(X)
    encoder = TableEncoder().fit(form(X))
    np.testing.assert_array_equal(encoder.gaps_, expected.gaps_)
    np.testing.assert_array_equal(encoder.fill_, expected.fill_)
    assert encoder.fill_[1] == 10  # ten above a column of zeros
    given = form(fresh)
    Z = encoder.transform(given)
    assert sparse.issparse(Z)
    np.testing.assert_array_equal(given.toarray(), fresh)
    np.testing.assert_array_equal(Z.toarray(), expected.transform(fresh))


@pytest.mark.parametrize("form", [sparse.csr_matrix, twice_stored, out_of_order])
def test_sparse_rows_given_are_left_as_they_were(form):
    X = form(counts(60, 40))
    before = X.copy()
    quick("embedding", calibration=None).fit(X).score_samples(X)
    quick("tabular", calibration=None).fit(X).score_samples(X)
    assert X.nnz == before.nnz
    np.testing.assert_array_equal(X.data, before.data)


# Whitening of many columns


def lengths_and_distances(Z, n_training):
    return np.linalg.norm(Z, axis=1), np.linalg.norm(Z[:, None] - Z[None, :n_training], axis=2)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("ridge", [0.5, 3.0])
def test_few_rows_of_many_columns_lie_as_they_do_behind_the_matrix(form, ridge, monkeypatch):
    X = counts(40, 150).toarray()
    exact = RidgeWhitener(ridge).fit(X[:30]).transform(X)
    monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.MAX_COLUMNS", 100)
    whitener = RidgeWhitener(ridge).fit(form(X[:30]))
    Z = whitener.transform(form(X))
    assert Z.shape == (40, 31) == (40, len(whitener.get_feature_names_out()))
    # Training rows have no rest, so that the distances to them are kept, too.
    for found, expected in zip(*(lengths_and_distances(A, 30) for A in (Z, exact)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("center", [True, False])
def test_many_rows_lie_as_a_covariance_of_ten_directions_says(form, center):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 10)) * np.arange(10, 0, -1) @ rng.normal(size=(10, 120))
    X += rng.normal(size=X.shape) + 2
    whitener = RidgeWhitener(center=center).fit(form(X))
    covariance = np.cov(X, rowvar=False, ddof=0)
    variances, axes = np.linalg.eigh(covariance)
    variances[:110] = variances[:110].mean()
    variances += 3 * np.trace(covariance) / 120
    rows = X - X.mean(axis=0) if center else X
    expected = np.linalg.norm(rows @ axes / np.sqrt(variances), axis=1)
    Z = whitener.transform(form(X))
    assert Z.shape == (400, 11)
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), expected, rtol=1e-6)
    top = np.abs(rows @ axes[:, :-11:-1]) / np.sqrt(variances[:-11:-1])
    np.testing.assert_allclose(np.abs(Z[:, :10]), top, atol=1e-3 * top.max())


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_whitening_of_many_columns_does_not_depend_on_units(form, unit):
    X = counts(60, 150).toarray()
    expected = RidgeWhitener().fit_transform(X)
    Z = RidgeWhitener().fit_transform(form(unit * X))
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), np.linalg.norm(expected, axis=1))


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_rows_of_many_columns_may_be_all_alike_or_too_few(form):
    X = np.ones((5, 150))
    Z = RidgeWhitener().fit(form(X)).transform(form(np.vstack([X, X + 1])))
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), np.repeat([0, np.sqrt(150)], 5))
    with pytest.raises(ValueError, match=r"ridge=0 is too small: 8 rows do not vary .* 150 dir"):
        RidgeWhitener(0).fit(form(counts(8, 150).toarray()))


# What is told, refused, explained and kept


@pytest.mark.parametrize(
    "estimator",
    [
        HRNOneClassClassifier(),
        HRNContinualClassifier(),
        InstanceStandardizer(),
        PatchDictionary(),
    ],
)
def test_what_takes_dense_rows_only_says_what_to_put_in_front(estimator):
    assert not get_tags(estimator).input_tags.sparse
    name = type(estimator).__name__
    with pytest.raises(TypeError, match=rf"X is sparse, but {name} .* LandmarkFeatures"):
        estimator.fit(sparse.csr_array(counts(20, 16)), np.repeat([0, 1], 10))


def test_a_frame_of_which_some_columns_are_sparse_is_read_as_one_of_dense_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.random.default_rng(0).poisson(1.0, (20, 3)), columns=list("abc"))
    some = frame.astype({"b": pd.SparseDtype(int, 0)})
    fitted = HRNOneClassClassifier(max_iter=1, random_state=0).fit(some)
    assert np.array_equal(fitted.score_samples(some), fitted.score_samples(frame))


def test_recipes_say_which_of_them_take_sparse_rows():
    told = {
        kind: get_tags(make_hrn_pipeline(kind)).input_tags.sparse
        for kind in ("paper", "image", "tabular", "embedding")
    }
    assert told == {"paper": False, "image": False, "tabular": True, "embedding": True}
    kept = [("norm", InstanceL2Normalizer(center=None)), ("hrn", HRNOneClassClassifier())]
    assert not get_tags(OneClassPipeline(kept)).input_tags.sparse
    conformal = ConformalOutlierDetector(make_hrn_pipeline("tabular"))
    assert get_tags(conformal).input_tags.sparse


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize(("kind", "n_columns"), RECIPES)
def test_scores_of_a_detector_of_sparse_rows_are_explained(kind, n_columns):
    X = sparse.csr_array(counts(60, n_columns))
    rows = counts(3, n_columns, 1).toarray()
    detector = quick(kind, calibration=None).fit(X)
    nearest = nearest_normal(detector, rows)
    assert isinstance(nearest, np.ndarray)
    rise = detector.score_samples(rows) - detector.score_samples(nearest)
    attributions = feature_attribution(detector, rows)
    np.testing.assert_allclose(attributions.sum(axis=1), rise, atol=1e-6)
    assert np.abs(rise).max() > 1e-3
    with pytest.raises(TypeError, match=r"X is sparse: give X.toarray\(\)"):
        feature_attribution(detector, X)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize(("kind", "n_columns"), RECIPES)
def test_a_detector_of_sparse_rows_becomes_an_onnx_graph(kind, n_columns):
    pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    X = sparse.csr_array(counts(60, n_columns))
    detector = quick(kind, calibration=None).fit(X)
    model = to_onnx(detector).SerializeToString()
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(["score"], {"X": X.toarray()})
    np.testing.assert_allclose(scores, detector.score_samples(X), atol=1e-5)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize(("kind", "n_columns"), RECIPES)
def test_a_detector_of_sparse_rows_travels(kind, n_columns, form):
    skops = pytest.importorskip("skops.io")
    X = form(counts(60, n_columns))
    detector = quick(kind).fit(X)
    for again in (
        pickle.loads(pickle.dumps(detector)),
        skops.loads(skops.dumps(detector), trusted=trusted_types()),
    ):
        np.testing.assert_array_equal(again.score_samples(X), detector.score_samples(X))
        assert abs(again.reference_rows_ - detector.reference_rows_).nnz == 0


def test_words_of_another_topic_are_strange():
    rng = np.random.default_rng(0)
    topics = [[f"{name}{i}" for i in range(60)] for name in ("fish", "tax")]
    both = [f"and{i}" for i in range(40)]

    def texts(topic, n):
        return [" ".join(rng.choice(topics[topic] + both, 12)) for _ in range(n)]

    normal, fresh, strange = texts(0, 150), texts(0, 40), texts(1, 40)
    vectorizer = TfidfVectorizer()
    vectorizer.fit(normal + strange)
    for kind in ("tabular", "embedding"):
        detector = quick(kind, calibration=None).fit(vectorizer.transform(normal))
        scores = [detector.score_samples(vectorizer.transform(t)) for t in (fresh, strange)]
        assert (scores[0][:, None] > scores[1]).mean() > 0.9
