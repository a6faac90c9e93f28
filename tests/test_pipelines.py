"""OneClassPipeline: anomalies are kept out before the first step, and rows are scored in blocks."""

import pickle
import tracemalloc
import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import RBFSampler
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import check_estimator

from sklearn_hrn import (
    HRNOneClassClassifier,
    HRNSearchCV,
    LandmarkFeatures,
    make_hrn_pipeline,
)
from sklearn_hrn._joint_fit import at_most
from sklearn_hrn._steps import with_last_step
from sklearn_hrn.exceptions import CalibrationError, LabelConventionWarning
from sklearn_hrn.model_selection import InlierKFold
from sklearn_hrn.pipelines import OneClassPipeline


class DistanceToMean(OutlierMixin, BaseEstimator):
    """Minus the distance to the mean; counts the rows of every call."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        self.mean_ = np.asarray(X.mean(axis=0))
        self.offset_ = -3.0
        self.calls_ = []
        return self

    def score_samples(self, X):
        self.calls_.append(X.shape[0])
        return -np.linalg.norm(np.asarray(X) - self.mean_, axis=1)

    def decision_function(self, X):
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        return np.where(self.decision_function(X) < 0, -1, 1)


class CountingScaler(StandardScaler):
    """Notes the number of rows of every fit."""

    fitted_on: ClassVar[list] = []

    def fit(self, X, y=None):
        self.fitted_on.append(len(X))
        return super().fit(X)


def steps(detector=None):
    detector = IsolationForest(n_estimators=20, random_state=0) if detector is None else detector
    return [("scale", StandardScaler()), ("detector", detector)]


def small_blocks():
    """A working memory so small that blocks have the fewest rows they may have, 256."""
    return sklearn.config_context(working_memory=0.001)


@pytest.fixture
def wild(rng):
    """300 normal rows, 20 anomalies of a million among them, and their labels."""
    X = rng.normal(size=(320, 3))
    y = np.where(np.arange(320) % 16 == 5, -1, 1)
    X[y == -1] += 1e6
    return X, y


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checks bring labels 0 and 1
@pytest.mark.parametrize(
    "estimator",
    [
        OneClassPipeline(steps(OneClassSVM())),
        OneClassPipeline(
            steps(IsolationForest(n_estimators=2, contamination=0.1, random_state=0)), calibration=2
        ),
    ],
    ids=["svm", "calibrated"],
)
def test_the_pipeline_keeps_scikit_learns_contract(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) > 40
    assert [r["check_name"] for r in results if r["status"] in ("failed", "xfail")] == []


# --- anomalies are kept out -----------------------------------------------------------------------


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, csr_array, csr_matrix, list])
def test_fitting_with_anomalies_is_fitting_without_them_bit_for_bit(wild, container):
    X, y = wild
    X = container(X)
    scaler = StandardScaler(with_mean=container not in (csr_array, csr_matrix))
    pipeline = OneClassPipeline(
        [("scale", scaler), ("rbf", RBFSampler(random_state=0)), ("detector", OneClassSVM())]
    )
    normals = container(wild[0][y == 1])
    labelled, alone = clone(pipeline).fit(X, y), clone(pipeline).fit(normals)
    assert labelled["scale"].scale_.tolist() == alone["scale"].scale_.tolist()
    assert labelled["scale"].scale_.max() < 2
    assert labelled.score_samples(X).tobytes() == alone.score_samples(X).tobytes()
    assert labelled.predict(X).tobytes() == alone.predict(X).tobytes()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize("as_labels", [pd.Series, list, lambda y: y.astype(float)[:, None]])
def test_labels_may_be_a_series_a_list_or_a_column(wild, as_labels):
    X, y = wild
    labels = as_labels(y)
    if isinstance(labels, pd.Series):
        labels.index += 7000  # rows go by position, not by index
    alone = OneClassPipeline(steps()).fit(X[y == 1])
    labelled = OneClassPipeline(steps()).fit(X, labels)
    np.testing.assert_array_equal(labelled.score_samples(X), alone.score_samples(X))


def test_a_plain_pipeline_shows_its_scaler_the_anomalies(wild):
    X, y = wild
    assert Pipeline(steps()).fit(X, y)["scale"].scale_.min() > 1e5
    assert OneClassPipeline(steps()).fit(X, y)["scale"].scale_.max() < 2


@pytest.mark.parametrize("y", [None, np.ones(320)])
def test_without_anomalies_it_is_a_plain_pipeline(wild, y):
    X, _ = wild
    plain, ours = Pipeline(steps()).fit(X, y), OneClassPipeline(steps()).fit(X, y)
    for method in ("score_samples", "decision_function", "predict"):
        np.testing.assert_array_equal(getattr(ours, method)(X), getattr(plain, method)(X))
    np.testing.assert_array_equal(OneClassPipeline(steps()).fit_predict(X, y), plain.predict(X))


def test_fit_predict_fits_on_normals_and_predicts_all_rows(wild):
    X, y = wild
    labels = OneClassPipeline(steps()).fit_predict(X, y)
    np.testing.assert_array_equal(labels, OneClassPipeline(steps()).fit(X[y == 1]).predict(X))
    assert labels.shape == y.shape and np.all(labels[y == -1] == -1)


def test_fit_transform_fits_on_normals_and_transforms_all_rows(wild):
    X, y = wild
    scaling = OneClassPipeline([("scale", StandardScaler())])
    transformed = scaling.fit_transform(X, y)
    np.testing.assert_array_equal(transformed, StandardScaler().fit(X[y == 1]).transform(X))
    np.testing.assert_array_equal(scaling.fit_transform(X), StandardScaler().fit_transform(X))
    # so it can be a step of another pipeline, which needs a row for every row
    nested = Pipeline([("scale", scaling), ("detector", DistanceToMean())]).fit(X, y)
    assert nested["scale"]["scale"].scale_.max() < 2


def test_local_outlier_factor_predicts_the_rows_it_was_fitted_on(wild):
    X, _ = wild
    pipeline = OneClassPipeline(steps(LocalOutlierFactor()))
    assert not hasattr(pipeline, "predict")
    plain = Pipeline(steps(LocalOutlierFactor()))
    np.testing.assert_array_equal(pipeline.fit_predict(X), plain.fit_predict(X))


def test_parameters_of_fit_lose_the_same_rows(wild):
    X, y = wild
    weight = np.linspace(0.1, 1, len(y))
    alone = OneClassPipeline(steps(OneClassSVM()))
    alone.fit(X[y == 1], detector__sample_weight=weight[y == 1])
    expected = alone.score_samples(X)
    pipeline = OneClassPipeline(steps(OneClassSVM()))
    pipeline.fit(X, y, detector__sample_weight=weight)
    np.testing.assert_array_equal(pipeline.score_samples(X), expected)
    assert not np.array_equal(pipeline.fit(X, y).score_samples(X), expected)
    with sklearn.config_context(enable_metadata_routing=True):
        detector = OneClassSVM().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = OneClassPipeline([("scale", scaler), ("detector", detector)])
        routed.fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(routed.score_samples(X), expected)


def test_a_search_is_right_including_its_refit(wild):
    X, y = wild
    grid = {"detector__n_estimators": [2, 20]}
    search = GridSearchCV(
        OneClassPipeline(steps()), grid, cv=InlierKFold(5), scoring="roc_auc"
    ).fit(X, y)
    assert search.best_score_ == 1.0
    best = OneClassPipeline(steps()).set_params(**search.best_params_).fit(X[y == 1])
    np.testing.assert_array_equal(search.best_estimator_["scale"].scale_, best["scale"].scale_)
    np.testing.assert_array_equal(search.decision_function(X), best.decision_function(X))
    plain = GridSearchCV(Pipeline(steps()), grid, cv=InlierKFold(5), scoring="roc_auc").fit(X, y)
    assert plain.best_estimator_["scale"].scale_.min() > 1e5


def test_searches_run_in_parallel_and_under_metadata_routing(wild):
    X, y = wild
    search = GridSearchCV(
        OneClassPipeline(steps(OneClassSVM())),
        {"detector__nu": [0.1, 0.2], "scale": [StandardScaler(), "passthrough"]},
        cv=InlierKFold(3),
        scoring="roc_auc",
        n_jobs=2,
    )
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    with sklearn.config_context(enable_metadata_routing=True):
        np.testing.assert_array_equal(search.fit(X, y).cv_results_["mean_test_score"], alone)


@pytest.mark.parametrize(
    ("y", "message"),
    [([1, -1], "2 labels but X has 320 rows"), (np.full(320, -1), "every one of the 320 labels")],
)
@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_labels_without_normals_or_of_another_length_are_refused(wild, method, y, message):
    X, _ = wild
    with pytest.raises(ValueError, match=message):
        getattr(OneClassPipeline(steps()), method)(X, y)


def test_zero_one_labels_warn_and_all_rows_are_used(wild):
    X, y = wild
    with pytest.warns(LabelConventionWarning, match="to_inlier_labels"):
        pipeline = OneClassPipeline(steps()).fit(X, (y == -1).astype(int))
    assert pipeline["scale"].n_samples_seen_ == 320


# --- scoring in blocks ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_scores_in_blocks_are_those_of_one_block(rng, method):
    pipeline = OneClassPipeline(steps()).fit(rng.normal(size=(200, 4)))
    for n_rows in (1, 255, 256, 257, 1000, 1025):
        X = rng.normal(size=(n_rows, 4))
        whole = getattr(Pipeline(pipeline.steps), method)(X)
        with small_blocks():
            found = getattr(pipeline, method)(X)
        np.testing.assert_array_equal(found, whole, err_msg=str(n_rows))


def test_scores_in_blocks_through_matrix_products_differ_by_rounding_only(rng):
    X = rng.normal(size=(3000, 6))
    pipeline = OneClassPipeline(
        [("lift", RBFSampler(n_components=50, random_state=0)), ("detector", DistanceToMean())]
    ).fit(X)
    whole = pipeline.score_samples(X)
    with small_blocks():
        # 1e-13: a product of 50 terms in float64, summed in another order
        np.testing.assert_allclose(pipeline.score_samples(X), whole, rtol=1e-13)


@pytest.mark.parametrize("container", [pd.DataFrame, csr_array, csr_matrix, np.ndarray.tolist])
def test_blocks_are_cut_from_any_container(rng, container):
    X = container(rng.normal(size=(1000, 3)))
    detector = IsolationForest(n_estimators=5, random_state=0)
    pipeline = OneClassPipeline([("same", "passthrough"), ("detector", detector)]).fit(X)
    whole = Pipeline(pipeline.steps).score_samples(X)
    with small_blocks():
        np.testing.assert_array_equal(pipeline.score_samples(X), whole)


def test_blocks_are_even_and_their_size_follows_the_widest_step(rng):
    X = rng.normal(size=(3000, 2))
    narrow = OneClassPipeline([("detector", DistanceToMean())]).fit(X)
    wide = OneClassPipeline(
        [("lift", RBFSampler(n_components=64, random_state=0)), ("detector", DistanceToMean())]
    ).fit(X)
    with sklearn.config_context(working_memory=8):  # blocks of half a megabyte: 1024 x 64 floats
        narrow.score_samples(X)
        wide.score_samples(X)
    assert narrow["detector"].calls_ == [3000]
    assert wide["detector"].calls_ == [1000, 1000, 1000]


def test_the_memory_of_scoring_is_bounded_by_the_block_and_not_by_the_rows(rng):
    pipeline = OneClassPipeline(
        [("lift", RBFSampler(n_components=500, random_state=0)), ("detector", DistanceToMean())]
    ).fit(rng.normal(size=(100, 2)))
    X = rng.normal(size=(20_000, 2))  # lifted: 80 MB
    with sklearn.config_context(working_memory=64):  # blocks of 4 MB
        tracemalloc.start()
        pipeline.score_samples(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20e6  # a few arrays of a block, and the scores


def test_memory_mapped_rows_are_read_block_by_block(rng, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, rng.normal(size=(1000, 3)))
    X = np.load(path, mmap_mode="r")
    pipeline = OneClassPipeline(steps()).fit(X)
    whole = pipeline.score_samples(X)
    with small_blocks():
        np.testing.assert_array_equal(pipeline.score_samples(X), whole)


def test_text_is_scored_in_blocks(rng):
    words = np.array(["hidden", "unit", "norm", "class", "score"])
    texts = [" ".join(rng.choice(words, size=4)) for _ in range(600)]
    pipeline = OneClassPipeline([("words", TfidfVectorizer()), ("detector", OneClassSVM())])
    pipeline.fit(texts[:100])
    whole = pipeline.score_samples(texts)
    with small_blocks():
        # 1e-9: libsvm sums its kernel values row by row, sparse products do not
        np.testing.assert_allclose(pipeline.score_samples(texts), whole, rtol=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_of_text_is_kept_for_explanations_and_streams(rng, library):
    texts = [" ".join(rng.choice(["hidden", "unit", "norm", "class"], 3)) for _ in range(60)]
    hrn = HRNOneClassClassifier(max_iter=2, contamination=0.1, random_state=0)
    steps = [("words", TfidfVectorizer()), ("lift", LandmarkFeatures(random_state=0)), ("hrn", hrn)]
    pipeline = OneClassPipeline(steps, reference_rows=9)
    column = pytest.importorskip(library).Series(texts)
    expected = clone(pipeline).fit(texts)
    found = clone(pipeline).fit(column)
    np.testing.assert_allclose(found.score_samples(column), expected.score_samples(texts))
    assert list(found.reference_rows_) == list(expected.reference_rows_)
    streams = [clone(pipeline).partial_fit(r[:30]).partial_fit(r) for r in (texts, column)]
    np.testing.assert_allclose(*(stream.score_samples(texts) for stream in streams))


def test_methods_that_the_last_step_lacks_are_absent():
    pipeline = OneClassPipeline([("scale", StandardScaler())])
    for method in ("score_samples", "decision_function", "predict", "fit_predict"):
        assert not hasattr(pipeline, method)
        with pytest.raises(AttributeError, match=method):
            getattr(pipeline, method)
    assert hasattr(pipeline, "fit_transform")
    assert not hasattr(OneClassPipeline(steps()), "fit_transform")


# --- an ordinary pipeline otherwise ---------------------------------------------------------------


def test_the_given_steps_stay_unfitted_and_the_fitted_ones_are_found_by_name(wild):
    X, y = wild
    scaler = StandardScaler()
    pipeline = OneClassPipeline([("scale", scaler), ("detector", DistanceToMean())]).fit(X, y)
    assert not hasattr(scaler, "scale_")
    assert pipeline.get_params()["scale"] is scaler
    for fitted in (pipeline["scale"], pipeline[0], pipeline.named_steps["scale"]):
        assert fitted is pipeline.steps_[0][1] and hasattr(fitted, "scale_")
    assert pipeline.offset_ == -3.0 and pipeline.n_features_in_ == 3


@pytest.mark.parametrize("make", [Pipeline, OneClassPipeline])
def test_another_last_step_belongs_to_another_pipeline(wild, make):
    fitted, other = make(steps()).fit(wild[0]), IsolationForest()
    before = list(fitted.steps)
    changed = with_last_step(fitted, other)
    assert changed.steps == [before[0], ("detector", other)]
    assert fitted.steps == before
    if make is OneClassPipeline:
        assert changed.get_params(deep=False) == fitted.get_params(deep=False)


def test_a_refit_that_fails_leaves_the_fit_before_it(wild):
    X, y = wild
    pipeline = OneClassPipeline(steps(OneClassSVM())).fit(X, y)
    scores = pipeline.score_samples(X)
    bad = X.copy()
    bad[7, 0] = np.nan  # the scaler lets it pass, the detector refuses
    with pytest.raises(ValueError, match="NaN"):
        pipeline.fit(bad, y)
    np.testing.assert_array_equal(pipeline.score_samples(X), scores)


def test_a_fit_that_keeps_no_rows_has_none_of_an_earlier_one(rng):
    pipeline = OneClassPipeline([("hrn", HRNOneClassClassifier(3, max_iter=1))])
    X = rng.normal(size=(20, 2))
    assert len(pipeline.fit(X).reference_rows_) == 20
    assert not hasattr(pipeline.set_params(reference_rows=0).fit(X), "reference_rows_")


def test_a_step_with_a_warm_start_continues_its_fit(wild):
    X, y = wild
    detector = IsolationForest(n_estimators=3, warm_start=True, random_state=0)
    pipeline = OneClassPipeline(steps(detector)).fit(X[:160], y[:160])
    first = [tree.tree_.threshold.tolist() for tree in pipeline["detector"].estimators_]
    pipeline.set_params(detector__n_estimators=5).fit(X[160:], y[160:])
    trees = [tree.tree_.threshold.tolist() for tree in pipeline["detector"].estimators_]
    assert trees[:3] == first and len(trees) == 5
    assert not hasattr(detector, "estimators_")


@pytest.mark.parametrize("method", ["score_samples", "decision_function", "predict"])
def test_scoring_before_any_fit_is_refused(wild, method):
    with pytest.raises(NotFittedError):
        getattr(OneClassPipeline(steps()), method)(wild[0])


def test_steps_that_are_fitted_already_can_score(wild):
    X, y = wild
    pipeline = OneClassPipeline(steps()).fit(X, y)
    again = OneClassPipeline(pipeline.steps)
    np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))
    frozen = OneClassPipeline(
        [("scale", FrozenEstimator(pipeline["scale"])), ("detector", DistanceToMean())]
    ).fit(2 * X, y)
    np.testing.assert_array_equal(frozen["scale"].scale_, pipeline["scale"].scale_)


def test_a_slice_is_a_one_class_pipeline_of_the_fitted_steps(wild):
    X, y = wild
    pipeline = OneClassPipeline(steps()).fit(X, y)
    head = pipeline[:-1]
    assert isinstance(head, OneClassPipeline) and len(head) == 1
    np.testing.assert_array_equal(head.transform(X), pipeline["scale"].transform(X))
    np.testing.assert_array_equal(
        pipeline["detector"].score_samples(head.transform(X)), pipeline.score_samples(X)
    )


def test_parameters_can_be_read_set_and_cloned(wild):
    X, y = wild
    pipeline = OneClassPipeline(steps(OneClassSVM()), verbose=False).fit(X, y)
    ours, plain = (p(steps()).get_params(deep=False) for p in (OneClassPipeline, Pipeline))
    added = {"calibration", "outlier_share", "reference_rows", "subsample"}
    assert set(ours) == {*plain, *added}
    pipeline.set_params(detector__nu=0.2, scale="passthrough")
    assert pipeline.get_params()["detector__nu"] == 0.2
    assert pipeline["detector"].nu == 0.5  # parameters are for the next fit
    copy = clone(pipeline)
    assert copy.steps[0] == ("scale", "passthrough") and not hasattr(copy, "steps_")
    pipeline.fit(X, y)
    assert pipeline["detector"].nu == 0.2 and pipeline["scale"] == "passthrough"
    told = "Invalid parameter 'gamma' for OneClassPipeline.*'detector__gamma'"
    with pytest.raises(ValueError, match=told):
        pipeline.set_params(gamma=1)
    with pytest.raises(ValueError, match="'detektor__nu' for OneClassPipeline"):
        pipeline.set_params(detektor__nu=0.2)


def test_copies_of_a_fitted_pipeline_score_alike(wild):
    X, y = wild
    pipeline = OneClassPipeline(steps()).fit(X, y)
    copy = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(copy.score_samples(X), pipeline.score_samples(X))
    assert copy.get_params()["scale"].get_params() == StandardScaler().get_params()
    assert not hasattr(copy.get_params()["scale"], "scale_")


def test_fitted_transformers_are_cached(wild, tmp_path):
    X, y = wild
    CountingScaler.fitted_on.clear()
    pipeline = OneClassPipeline(
        [("scale", CountingScaler()), ("detector", DistanceToMean())], memory=str(tmp_path)
    )
    first = pipeline.fit(X, y).score_samples(X)
    second = pipeline.fit(X, y).score_samples(X)
    assert CountingScaler.fitted_on == [300]
    np.testing.assert_array_equal(first, second)
    alone = OneClassPipeline(steps(DistanceToMean())).fit(X, y)
    np.testing.assert_array_equal(first, alone.score_samples(X))


def test_output_containers_and_feature_names_go_through_it(wild):
    X, y = wild
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    pipeline = OneClassPipeline(steps(DistanceToMean())).set_output(transform="pandas")
    pipeline.fit(frame, y)
    assert pipeline.feature_names_in_.tolist() == ["a", "b", "c"]
    assert pipeline[:-1].transform(frame).columns.tolist() == ["a", "b", "c"]
    assert pipeline[:-1].get_feature_names_out().tolist() == ["a", "b", "c"]
    pipeline.set_output(transform="default")
    assert isinstance(pipeline[:-1].transform(frame), np.ndarray)
    assert isinstance(pipeline.fit(frame, y)[:-1].transform(frame), np.ndarray)


def test_a_mixed_table_goes_through_it(rng):
    frame = pd.DataFrame({"size": rng.normal(size=900), "kind": rng.choice(["a", "b"], size=900)})
    y = np.where(np.arange(900) % 30 == 0, -1, 1)
    frame.loc[y == -1, "kind"] = "z"  # a category that no normal row has
    columns = make_column_transformer(
        (StandardScaler(), ["size"]), (OneHotEncoder(handle_unknown="ignore"), ["kind"])
    )
    pipeline = OneClassPipeline([("columns", columns), ("detector", OneClassSVM())]).fit(frame, y)
    assert pipeline.n_features_in_ == 2
    assert pipeline["detector"].n_features_in_ == 3  # no column for z
    with small_blocks():
        assert pipeline.predict(frame).shape == (900,)


def test_it_shows_itself_with_its_own_name(wild):
    pipeline = OneClassPipeline(steps())
    for text in (repr(pipeline), pipeline._repr_html_(), repr(pipeline.fit(*wild))):
        assert "OneClassPipeline" in text and "IsolationForest" in text
    assert sklearn.base.is_outlier_detector(pipeline)


def test_malformed_steps_are_refused_by_fit(wild):
    for malformed, error in [
        ([], ValueError),
        ([("scale", StandardScaler()), ("scale", OneClassSVM())], ValueError),
        ([("detector", OneClassSVM()), ("scale", StandardScaler())], TypeError),
        ("steps", ValueError),
    ]:
        with pytest.raises(error):
            OneClassPipeline(malformed).fit(*wild)


def test_ten_rows_are_enough(rng):
    X = rng.normal(size=(10, 2))
    y = np.repeat([1, -1], [8, 2])
    assert OneClassPipeline(steps()).fit_predict(X, y).shape == (10,)


def test_it_nests_in_other_pipelines(wild):
    X, y = wild
    inner = OneClassPipeline(steps(DistanceToMean()))
    outer = make_pipeline(FunctionTransformer(), inner).fit(X, y)
    np.testing.assert_array_equal(outer.predict(X), clone(inner).fit(X, y).predict(X))


# --- a last step that asks for the anomalies ------------------------------------------------------


class Asking(DistanceToMean):
    """Keeps what it was fitted on."""

    def __init__(self, anomaly_weight=1.0, contamination=0.1):
        self.anomaly_weight = anomaly_weight
        self.contamination = contamination

    def fit(self, X, y=None):
        X, y = (X, np.ones(X.shape[0])) if y is None else (X, np.asarray(y))
        self.rows_of_ = {label: int((y == label).sum()) for label in (1, -1)}
        self.anomalies_ = X[y == -1]
        return super().fit(X[y == 1])


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, csr_array])
def test_a_last_step_that_asks_gets_the_anomalies_as_the_others_transform_them(wild, container):
    X, y = wild
    scaler = StandardScaler(with_mean=container is not csr_array)
    pipeline = OneClassPipeline([("scale", scaler), ("detector", Asking())])
    pipeline.fit(container(X), y)
    alone = clone(scaler).fit(container(X[y == 1]))
    np.testing.assert_array_equal(pipeline["scale"].scale_, alone.scale_)
    assert pipeline["detector"].rows_of_ == {1: 300, -1: 20}
    shown, expected = pipeline["detector"].anomalies_, alone.transform(container(X[y == -1]))
    for a, b in zip(
        *(np.asarray(getattr(Z, "todense", lambda Z=Z: Z)()) for Z in (shown, expected)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_anomalies_are_in_every_fold_and_calibrate_nothing(wild):
    X, y = wild
    pipeline = OneClassPipeline(steps(Asking()), calibration=3).fit(X, y)
    quiet = OneClassPipeline(steps(Asking(anomaly_weight=0.0)), calibration=3).fit(X, y)
    assert pipeline["detector"].rows_of_ == {1: 300, -1: 20}
    assert quiet["detector"].rows_of_ == {1: 300, -1: 0}
    np.testing.assert_allclose(pipeline.calibration_scores_, quiet.calibration_scores_, rtol=1e-12)
    pipeline.set_params(outlier_share=0.1).fit(X, y)
    assert pipeline["detector"].rows_of_ == {1: 270, -1: 20}
    assert np.all(y[pipeline.left_out_] == 1)


def test_without_anomalies_or_without_steps_before_it_asking_changes_nothing(wild):
    X, y = wild
    plain = OneClassPipeline(steps(Asking())).fit(X[y == 1])
    assert plain["detector"].rows_of_ == {1: 300, -1: 0}
    alone = OneClassPipeline([("detector", Asking())]).fit(X, y)
    assert alone["detector"].rows_of_ == {1: 300, -1: 20}
    np.testing.assert_array_equal(alone["detector"].anomalies_, X[y == -1])


def test_labelled_anomalies_lower_the_scores_of_their_like(rng):
    X = np.concatenate([rng.normal(size=(200, 3)), rng.normal(loc=1.5, size=(20, 3))])
    y = np.repeat([1, -1], [200, 20])
    fresh = rng.normal(loc=1.5, size=(200, 3))

    def fitted(weight):
        hrn = HRNOneClassClassifier(anomaly_weight=weight, max_updates=300, random_state=0)
        lift = RBFSampler(n_components=50, random_state=0)
        return OneClassPipeline([("lift", lift), ("hrn", hrn)], calibration=2).fit(X, y)

    told, untold = fitted(1.0), fitted(0.0)
    assert told.p_values(fresh).mean() < untold.p_values(fresh).mean()


# --- more rows than a fit needs -------------------------------------------------------------------


@pytest.mark.parametrize("calibration", [None, 2])
def test_a_subsample_is_a_fit_of_these_rows_bit_for_bit(wild, calibration):
    X, y = wild
    detector = IsolationForest(n_estimators=5, contamination=0.1, random_state=0)
    whole = OneClassPipeline(steps(detector), calibration=calibration)
    pipeline = clone(whole).set_params(subsample=100).fit(X, y)
    drawn = at_most(np.flatnonzero(y == 1), X, 100)
    assert len(np.unique(drawn)) == 100 and (y[drawn] == 1).all() and (np.diff(drawn) > 0).all()
    expected = whole.fit(X[drawn])
    np.testing.assert_array_equal(pipeline.score_samples(X), expected.score_samples(X))
    assert pipeline.offset_ == expected.offset_
    np.testing.assert_array_equal(pipeline.fit_predict(X, y), expected.predict(X))
    same = clone(whole).set_params(subsample=300).fit(X[y == 1])
    assert same.offset_ == whole.fit(X[y == 1]).offset_


def test_a_subsample_is_drawn_from_all_rows_and_transforms_them_all(rng):
    X = np.arange(1000.0)[:, None]
    pipeline = OneClassPipeline([("scale", StandardScaler())], subsample=200)
    assert pipeline.fit_transform(X).shape == (1000, 1)
    assert pipeline["scale"].n_samples_seen_ == 200
    assert abs(pipeline["scale"].mean_[0] - 499.5) < 100
    with pytest.raises(ValueError, match="'subsample' parameter"):
        pipeline.set_params(subsample=1).fit(X)


def test_labelled_anomalies_stay_beside_a_subsample(wild):
    X, y = wild
    hrn = HRNOneClassClassifier(5, anomaly_weight=1.0, max_iter=3, random_state=0)
    pipeline = OneClassPipeline([("scale", StandardScaler()), ("hrn", hrn)], subsample=100)
    drawn = at_most(np.flatnonzero(y == 1), X, 100)
    chosen = np.sort(np.r_[drawn, np.flatnonzero(y == -1)])
    whole = clone(pipeline).set_params(subsample=None).fit(X[chosen], y[chosen])
    np.testing.assert_array_equal(pipeline.fit(X, y).score_samples(X), whole.score_samples(X))


def test_a_search_draws_the_same_rows_in_every_fold(wild):
    X, y = wild
    hrn = HRNOneClassClassifier(5, max_iter=3, random_state=0)
    pipeline = OneClassPipeline([("scale", StandardScaler()), ("hrn", hrn)], subsample=50)
    how = {"param_grid": {"hrn__reg_lambda": [0.1, 0.5]}, "cv": InlierKFold(2)}
    searches = [s(pipeline, scoring="roc_auc", **how) for s in (HRNSearchCV, GridSearchCV)]
    scores = [s.fit(X, y).cv_results_["mean_test_score"] for s in searches]
    np.testing.assert_allclose(*scores, atol=1e-6)


@pytest.mark.parametrize("calibration", [None, "cross"])
def test_too_few_rows_are_told_by_the_names_that_the_user_knows(calibration):
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(calibration=calibration)
    X = np.arange(9.0).reshape(3, 3)
    with pytest.raises(ValueError, match="n_samples = 1") as told:
        recipe.fit(X, [1, -1, -1])
    assert "HRNOneClassClassifier" not in str(told.value)
    if calibration is None:
        assert "the last step, 'hrn', takes 2 at least" in str(told.value)
        recipe.fit(X[:2])
        return
    with pytest.raises(CalibrationError, match=r"of 2 normal rows trains on 1.*'hrn', takes 2"):
        recipe.fit(X[:2])


@pytest.mark.parametrize("of_pandas", [True, False])
def test_the_last_step_knows_the_names_of_columns_also_where_it_sees_anomalies(of_pandas):
    X = pd.DataFrame(np.random.default_rng(0).normal(2, 1, size=(40, 2)), columns=["a", "b"])
    y = np.where(np.arange(40) < 5, -1, 1)
    steps = [("scale", StandardScaler().set_output(transform="pandas"))] if of_pandas else []
    hrn = HRNOneClassClassifier(5, anomaly_weight=1.0, max_iter=3, random_state=0)
    pipeline = OneClassPipeline([*steps, ("hrn", hrn)]).fit(X, y)
    assert pipeline["hrn"].feature_names_in_.tolist() == ["a", "b"]


@pytest.mark.parametrize("options", [{}, {"outlier_share": 0.1}, {"subsample": 20}])
@pytest.mark.parametrize("method", ["fit_predict", "fit_transform"])
def test_a_doubtful_y_is_told_once_by_methods_that_fit_and_answer(method, options):
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    is_detector = method == "fit_predict"
    last = IsolationForest(n_estimators=5, random_state=0) if is_detector else StandardScaler()
    pipeline = OneClassPipeline([("scale", StandardScaler()), ("last", last)], **options)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        answers = getattr(pipeline, method)(X, y)
    assert [warning.category for warning in told] == [LabelConventionWarning]
    assert len(answers) == 40
