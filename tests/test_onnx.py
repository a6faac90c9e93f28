"""ONNX models against the Python detectors they were made from."""

import datetime
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

import sklearn_hrn
from sklearn_hrn import (
    ConformalOutlierDetector,
    FourierFeatures,
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
    RotationWhitening,
    TableEncoder,
    make_hrn_pipeline,
)
from sklearn_hrn.benchmark.__main__ import main as benchmark
from sklearn_hrn.interop import to_onnx
from sklearn_hrn.interop._onnx import _spread
from sklearn_hrn.interop._onnx_steps import MeanOfScores
from sklearn_hrn.recipes import RECIPES

pytest.importorskip("skl2onnx", reason="to_onnx needs the extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="to_onnx is compared with onnxruntime")


def answers(model, X, **inputs):
    """Label, decision and score of a model, by onnxruntime."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # it warns of every constant that is an input as well
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["label", "decision", "score"], {**X, **inputs})


def assert_same(detector, X, model=None, inputs=None):
    """1e-5 of the spread is what is promised; most agree to 1e-12."""
    model = to_onnx(detector) if model is None else model
    label, decision, score = answers(model, {"X": X} if inputs is None else inputs)
    expected = detector.score_samples(X)
    tolerance = 1e-5 * np.ptp(expected)
    assert np.abs(score - expected).max() <= tolerance
    expected = detector.decision_function(X)
    assert np.abs(decision - expected).max() <= tolerance
    assert np.array_equal(label, detector.predict(X))


def quick(**parameters):
    return HRNOneClassClassifier(20, init=0.1, max_updates=30, random_state=0, **parameters)


@pytest.fixture(scope="module")
def wine():
    return load_wine(return_X_y=True)[0]


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)[0]


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_every_recipe_agrees_with_python(kind, digits, few_patches):
    detector = make_hrn_pipeline(kind, random_state=0).set_params(hrn__max_updates=30)
    small = {"words__transformer__n_words": 20, "landmarks__n_components": 50}
    small |= {"hrn__init": 0.1, "hrn__hidden_layer_sizes": 20}
    small = {name: value for name, value in small.items() if name in detector.get_params()}
    small["calibration"] = None if kind == "paper" else 2
    assert_same(detector.set_params(**small).fit(digits[:100]), digits[:300])


@pytest.mark.parametrize("power", [1.0, 0.5])
@pytest.mark.parametrize("append", [None, "median", 100.0, 1e-170])
@pytest.mark.parametrize("center", [None, "before", "after"])
def test_every_instance_normalisation_agrees_on_rows_of_any_kind(center, append, power, wine):
    norm = InstanceL2Normalizer(center=center, append=append, power=power)
    detector = make_pipeline(norm, quick()).fit(wine)
    strange = [np.zeros(13), np.full(13, 0.1), -wine[0], 1e200 * wine[0], 1e-200 * wine[0]]
    rounded = np.where(np.arange(13) == 5, np.nextafter(0.1, 1), 0.1)
    assert_same(detector, np.vstack([wine, strange, rounded]))


@pytest.mark.parametrize(
    "step",
    [
        InstanceStandardizer(),
        NormalScoreTransformer(),
        RidgeWhitener(),
        RidgeWhitener(center=False),
        FourierFeatures(50, random_state=0),
        LandmarkFeatures(50, gamma=0.1, random_state=0),
        FeatureUnion([("a", RidgeWhitener()), ("b", StandardScaler())]),
        MinMaxScaler(),
        MaxAbsScaler(),
        RobustScaler(),
        StandardScaler(),
        StandardScaler(with_mean=False),
        SimpleImputer(),
        PCA(5),
    ],
    ids=lambda step: f"{type(step).__name__}",
)
def test_every_step_of_ours_and_the_usual_ones_of_scikit_learn_agree(step, wine):
    scaled = StandardScaler().fit_transform(wine)
    X = np.vstack([scaled, 50 * scaled[:9], np.zeros((1, 13))])  # far outside, and nothing at all
    steps = [("step", clone(step)), ("norm", InstanceL2Normalizer(append=1.0)), ("hrn", quick())]
    assert_same(OneClassPipeline(steps).fit(scaled), X)


def test_normal_scores_beyond_columns_below_zero_agree(wine):
    train = StandardScaler().fit_transform(wine) - 500  # and so are all marks
    train[:, 0] = train[:, 0].round()  # with fewer values than the others
    steps = [("step", NormalScoreTransformer()), ("norm", InstanceL2Normalizer(append=1.0))]
    detector = OneClassPipeline([*steps, ("hrn", quick())]).fit(train)
    assert_same(detector, np.vstack([train, train[:20] + 300]))


def test_rows_with_nothing_beside_the_leading_directions_agree(rng, monkeypatch):
    monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.MAX_COLUMNS", 10)
    monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.N_DIRECTIONS", 5)
    X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 20))  # in three directions, up to rounding
    detector = make_pipeline(RidgeWhitener(), InstanceL2Normalizer(append=1.0), quick()).fit(X)
    assert detector[0].deviations_ is not None
    assert_same(detector, X)


def test_whitened_photographs_that_are_not_square_agree(rng):
    shape = (9, 11, 3)
    X = rng.uniform(0, 255, size=(80, np.prod(shape))).round()
    words = PatchDictionary(20, patch_size=4, grid=3, power=0.5, image_shape=shape, random_state=0)
    view = RotationWhitening(words, threshold=1, image_shape=shape, random_state=0)
    detector = make_pipeline(view, quick()).fit(X)
    assert detector[0].is_whitened_
    assert_same(detector, np.vstack([X, np.zeros_like(X[:1]), np.full_like(X[:1], 255)]))


def test_an_ensemble_a_deep_network_and_another_activation_agree(wine):
    X = InstanceL2Normalizer().fit_transform(wine)
    for parameters in ({"n_estimators": 3}, {"activation": "relu"}):
        assert_same(quick(**parameters).fit(X), X)
    deep = HRNOneClassClassifier((8, 6, 4), init=0.5, max_updates=30, random_state=0)
    assert_same(deep.fit(X), X)


def test_a_table_of_words_and_numbers_has_an_input_a_column(wine):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(wine[:, :3], columns=["acid", "ash", "a space"])
    table["colour"] = np.where(wine[:, 9] > 5, "deep", "pale")
    table["grade"] = np.where(wine[:, 0] > 13, "high", "low")
    table["year"] = 1990 + np.arange(len(wine)) % 3
    table.loc[3, "ash"] = np.nan
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["acid", "ash", "a space"]),
        (OneHotEncoder(handle_unknown="ignore"), ["colour", "year"]),
        (OrdinalEncoder(), ["grade"]),
    )
    detector = OneClassPipeline(
        [("columns", columns), ("norm", InstanceL2Normalizer()), ("hrn", quick())]
    ).fit(table)
    table.loc[7, "colour"] = "none ever seen"
    inputs = {
        name.replace(" ", "_"): table[[name]].to_numpy(
            object if name in ("colour", "grade") else float
        )
        for name in table
    }
    assert_same(detector, table, to_onnx(detector, table), inputs)


def test_the_threshold_is_an_input_with_a_default(wine):
    detector = make_pipeline(InstanceL2Normalizer(), quick(contamination=0.1)).fit(wine)
    label, decision, score = answers(to_onnx(detector), {"X": wine})
    assert (label == -1).sum() == (detector.predict(wine) == -1).sum() > 0
    middle = np.median(score)
    label, decision, _ = answers(to_onnx(detector), {"X": wine}, threshold=np.array(middle))
    assert np.array_equal(label, np.where(score >= middle, 1, -1))
    assert np.allclose(decision, score - middle, rtol=1e-12)
    near = score[0] + 1e-4 * np.ptp(score)  # further than rounding
    assert answers(to_onnx(detector), {"X": wine}, threshold=np.array(near))[0][0] == -1


def test_whatever_chose_the_detector_or_its_threshold_is_seen_through(wine):
    pipeline = OneClassPipeline([("norm", InstanceL2Normalizer()), ("hrn", quick())])
    search = HRNSearchCV(pipeline, {"hrn__reg_lambda": [0.1, 0.3]}, cv=2).fit(wine)
    calibrating = clone(search).set_params(estimator__calibration=2).fit(wine)
    fitted = clone(pipeline).fit(wine)
    conformal = ConformalOutlierDetector(pipeline, false_alarm_rate=0.2, random_state=0)
    calibrated = ConformalOutlierDetector(FrozenEstimator(fitted), false_alarm_rate=0.1).fit(wine)
    mean = clone(conformal).set_params(strategy="cross").fit(wine)
    assert len(mean.estimators_) > 1
    searches = search, calibrating
    for detector in (*searches, conformal.fit(wine), mean, calibrated, FrozenEstimator(fitted)):
        assert_same(detector, wine)


def test_of_several_detectors_the_widest_spread_says_what_is_near_a_threshold(wine):
    narrow, wide = quick().fit(wine / 1000), quick().fit(wine)
    widths = [np.ptp(each.train_scores_) for each in (narrow, wide)]
    assert widths[0] < 0.1 * widths[1]
    for both in ([narrow, wide], [wide, narrow]):
        assert _spread(MeanOfScores(both)) == widths[1]


@pytest.mark.parametrize("offset", [0, 1e3, 1e7])
def test_bright_images_agree(offset, digits, few_patches):
    words = PatchDictionary(10, patch_size=3, random_state=0)
    detector = make_pipeline(words, InstanceL2Normalizer(), quick())
    assert_same(detector.fit(digits[:100] + offset), digits[:300] + offset)


@pytest.mark.parametrize("gaps", ["from the first", "only later"])
def test_gaps_among_numbers_are_filled_as_in_python(gaps, wine):
    X = np.where(np.arange(wine.size).reshape(wine.shape) % 11, wine, np.nan)
    recipe = make_hrn_pipeline("tabular", random_state=0)
    recipe.set_params(hrn__max_updates=20, hrn__contamination=0.1, calibration=2)
    assert_same(recipe.fit(X if gaps == "from the first" else wine), X)


def test_rows_on_the_threshold_are_on_it_in_both(wine):
    conformal = ConformalOutlierDetector(
        OneClassPipeline([("norm", InstanceL2Normalizer()), ("hrn", quick())]),
        false_alarm_rate=0.2,
        random_state=0,
    ).fit(wine)
    on_it = np.flatnonzero(conformal.decision_function(wine) == 0)
    assert len(on_it) > 0
    model = to_onnx(conformal)
    for n_rows in range(40):  # products are summed in another order
        label, decision, _ = answers(model, {"X": np.concatenate([wine[on_it], wine[:n_rows]])})
        assert label[0] == 1 and decision[0] == 0


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_of_any_library_have_an_input_a_column(library, wine):
    frames = pytest.importorskip(library)
    columns = {"acid": wine[:, 0], "variable": wine[:, 1], "scores": wine[:, 2]}
    table = (frames.table if library == "pyarrow" else frames.DataFrame)(columns)
    detector = make_pipeline(TableEncoder(), StandardScaler(), InstanceL2Normalizer(), quick())
    inputs = {name: values[:, None] for name, values in columns.items()}
    assert_same(detector.fit(table), table, to_onnx(detector, table), inputs)


@pytest.mark.parametrize("gap", [False, True])
def test_numbers_among_objects_are_numbers(gap, wine):
    # As a database hands them over, or a column that once held text.
    table = pytest.importorskip("pandas").DataFrame(wine[:, :3], columns=["acid", "ash", "year"])
    table = table.astype({"ash": object})
    if gap:
        table.loc[::5, "ash"] = None
    detector = make_pipeline(TableEncoder(), StandardScaler(), InstanceL2Normalizer(), quick())
    inputs = {name: table[[name]].to_numpy(float) for name in table}
    assert_same(detector.fit(table), table, to_onnx(detector, table), inputs)


def test_a_frame_of_other_columns_than_in_fit_or_in_another_order_is_refused(wine):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(wine[:, :2], columns=["acid", "ash"])
    fitted = make_pipeline(TableEncoder(), quick()).fit(table)
    several = ConformalOutlierDetector(fitted, strategy="cross", false_alarm_rate=0.2).fit(table)
    for detector in (fitted, several):
        for other in (table[["ash", "acid"]], table[["acid"]], table.assign(magnesium=1)):
            with pytest.raises(ValueError, match="feature names should match"):
                to_onnx(detector, other)
    numbered = pd.DataFrame(wine[:, :2])
    model = to_onnx(make_pipeline(TableEncoder(), quick()).fit(numbered), numbered)
    assert [given.name for given in model.graph.input] == ["_0", "_1", "threshold"]


@pytest.mark.parametrize("name", ["label", "decision", "score", "threshold", "end_near"])
def test_a_column_with_the_name_of_an_output_is_refused_by_name(name, wine):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(wine[:, :2], columns=[name, "ash"])
    detector = make_pipeline(TableEncoder(), StandardScaler(), quick()).fit(table)
    with pytest.raises(ValueError, match=f"column '{name}'"):
        to_onnx(detector, table)


def test_thresholds_by_group_are_refused_by_name(wine):
    pipeline = OneClassPipeline([("norm", InstanceL2Normalizer()), ("hrn", quick())])
    conformal = ConformalOutlierDetector(pipeline, false_alarm_rate=0.2, random_state=0)
    conformal.fit(wine, groups=np.arange(len(wine)) % 2)
    with pytest.raises(TypeError, match="a threshold for each group"):
        to_onnx(conformal)
    scores = conformal.score_samples(wine)
    assert np.allclose(answers(to_onnx(conformal.estimator_), {"X": wine})[2], scores)


class Narrow:
    """A factory of a module that can be pickled."""

    def __call__(self, n_features):
        import torch

        return torch.nn.Linear(n_features, 1, bias=False)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (
            IsolationForest(n_estimators=2),
            "or a pipeline that ends in one, but got IsolationForest",
        ),
        (HRNOneClassClassifier(module=Narrow(), max_iter=1), "torch.onnx.export"),
        (make_pipeline(FunctionTransformer(np.abs), quick()), "cannot be converted to ONNX"),
        (make_pipeline(PowerTransformer(), quick()), "cannot be converted to ONNX"),
        (HRNGroupedDetector(quick()), "but got HRNGroupedDetector"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(detector, message, wine):
    with pytest.raises(TypeError, match=message):
        to_onnx(detector.fit(wine / 1000))


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(missing_values=0.0),
        SimpleImputer(add_indicator=True),
        SimpleImputer(),
    ],
    ids=["another value", "an indicator", "an empty column"],
)
@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_an_imputer_that_does_more_than_fill_gaps_is_refused_by_name(imputer, wine):
    X = np.where(np.arange(wine.size).reshape(wine.shape) % 11, wine, np.nan)
    if imputer.missing_values == 0.0:
        X = np.nan_to_num(X)
    elif not imputer.add_indicator:
        X[:, 3] = np.nan
    detector = make_pipeline(imputer, InstanceL2Normalizer(), quick()).fit(X)
    with pytest.raises(TypeError, match="converted to ONNX: SimpleImputer of"):
        to_onnx(detector)


@pytest.mark.parametrize("colour", ["deep", datetime.date(2020, 1, 1)], ids=["text", "dates"])
def test_a_table_that_does_not_hold_numbers_alone_is_refused_by_name(colour, wine):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"acid": wine[:, 0], "colour": [colour] * len(wine)})
    detector = make_pipeline(TableEncoder(), StandardScaler(), quick()).fit(table)
    with pytest.raises(TypeError, match="converted to ONNX: TableEncoder of anything but numbers"):
        to_onnx(detector, table)


def test_a_frozen_network_in_the_pipeline_is_refused_by_name(wine):
    import torch

    frozen = sklearn_hrn.TorchFeatures(torch.nn.Linear(13, 4, bias=False))
    with pytest.raises(TypeError, match="TorchFeatures"):
        to_onnx(make_pipeline(frozen, InstanceL2Normalizer(), quick()).fit(wine))


def test_a_detector_that_is_not_fitted_is_refused():
    with pytest.raises(NotFittedError):
        to_onnx(HRNOneClassClassifier())


def test_a_missing_package_is_named(monkeypatch, wine):
    detector = make_pipeline(InstanceL2Normalizer(), quick()).fit(wine)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-hrn\[onnx\]'"):
        to_onnx(detector)


def test_the_benchmark_puts_graphs_beside_python(tmp_path, capsys):
    command = ["onnx", "--fast", "--quiet", "--output", str(tmp_path / "onnx.jsonl")]
    benchmark(command)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("paper")]
    assert "0 of 1705" in row


def test_parameters_that_are_set_after_a_fit_are_in_no_graph(rng):
    X = rng.normal(size=(60, 3))
    hrn = HRNOneClassClassifier(5, init=0.5, n_estimators=2, max_iter=5, random_state=0)
    fourier = FourierFeatures(40, random_state=0)
    pipeline = OneClassPipeline([("fourier", fourier), ("hrn", hrn)]).fit(X)
    before = to_onnx(pipeline).graph.initializer
    pipeline["fourier"].set_params(n_components=10)
    pipeline["hrn"].set_params(n_estimators=1)
    assert list(to_onnx(pipeline).graph.initializer) == list(before)
