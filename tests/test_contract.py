"""What every public estimator promises beyond scikit-learn's own contract.

A fit that fails leaves what was fitted; a warning is told once, at the caller's line; labels and
parameters of odd kinds are taken for what they are or refused by name; a pickle says who wrote it.
"""

import copy
import functools
import gc
import io
import linecache
import os
import pickle
import re
import sys
import warnings
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    KFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.validation import check_is_fitted
from test_sklearn_contract import instance, public_estimators

import sklearn_hrn
import sklearn_hrn.datasets
import sklearn_hrn.inspection
import sklearn_hrn.interop
from sklearn_hrn import (
    ChannelNetwork,
    ConformalOutlierDetector,
    HRNContinualClassifier,
    HRNGroupedDetector,
    HRNOneClassClassifier,
    HRNSearchCV,
    InstanceL2Normalizer,
    LandmarkFeatures,
    NormalScoreTransformer,
    OneClassPipeline,
    _base,
    make_hrn_pipeline,
)
from sklearn_hrn.exceptions import (
    CentredRowsWarning,
    ConstantScoresWarning,
    FarRowsPassWarning,
    LabelConventionWarning,
    NonFiniteLossWarning,
    NumbersAsTextWarning,
    ResolutionWarning,
    RowCounterWarning,
    TrainingDivergedError,
    VersionMismatchWarning,
)

PACKAGE = str(Path(sklearn_hrn.__file__).parent)
ESTIMATORS = {kind.__name__: kind for kind in public_estimators()}
DETECTORS = {name for name, kind in ESTIMATORS.items() if name != "HRNContinualClassifier"}

# Short fits, the same at every call.
QUICK = {"max_iter": 3, "random_state": 0}
RNG = np.random.default_rng(0)
X, OTHER_X = RNG.normal(size=(40, 9)), RNG.normal(size=(30, 9)) + 1


def make(name):
    """A small, seeded estimator."""
    estimator = instance(ESTIMATORS[name])
    for path in estimator.get_params():
        parameter = path.split("__")[-1]
        if parameter in QUICK and not isinstance(estimator.get_params()[path], dict):
            estimator.set_params(**{path: QUICK[parameter]})
    if name == "ConformalOutlierDetector":
        estimator.set_params(false_alarm_rate=0.2)  # which so few rows can keep
    return estimator


def born(name):
    """An estimator as its life begins; a pipeline with a threshold that takes feedback."""
    estimator = make(name)
    return estimator.set_params(calibration=2) if name == "OneClassPipeline" else estimator


def labels_for(estimator, rows):
    is_detector = type(estimator).__name__ in DETECTORS
    return None if is_detector else np.arange(len(rows)) % 2


def fit(estimator, rows):
    return estimator.fit(rows, labels_for(estimator, rows))


def answer(estimator):
    """What a fitted estimator says of some rows: features of a transformer, scores of others."""
    for method in ("score_samples", "decision_function", "transform"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(X))
    raise AssertionError(f"{estimator} answers nothing")


@functools.cache
def fitted_once(name):
    return fit(make(name), X)


def fitted_copy(name):
    """A copy of its own of an estimator fitted to X, and what that one answers."""
    estimator = copy.deepcopy(fitted_once(name))
    return estimator, answer(estimator)


def is_fitted(estimator):
    try:
        check_is_fitted(estimator)
        answer(estimator)
    except NotFittedError:
        return False
    return True


@pytest.fixture(autouse=True)
def few_patches(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where a cache of an odd name may lie
    monkeypatch.setattr("sklearn_hrn.image._visual_words.N_PATCHES", 500)


@pytest.fixture(params=sorted(ESTIMATORS))
def name(request):
    return request.param


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_transformer_gives_frames_where_it_is_asked_for_them(name, library):
    frames = pytest.importorskip(library, reason="it is asked for its frames")
    if not hasattr(make(name), "fit_transform") or name == "OneClassPipeline":
        pytest.skip("no transformer of its own")
    transformer = make(name).fit(X)
    expected = np.asarray(transformer.transform(X))
    found = transformer.set_output(transform=library).transform(X)
    assert isinstance(found, frames.DataFrame)
    assert list(found.columns) == list(transformer.get_feature_names_out())
    assert np.array_equal(found.to_numpy(), expected)
    again = make(name).set_output(transform=library).fit_transform(X)
    assert list(again.columns) == list(found.columns)


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


# What a process may have set for itself, torch and NumPy and scikit-learn being its own as well.
SETTINGS = {
    "torch computes in float64": default_dtype,
    # As on a GPU that is not here, tensors that are not told where to lie are of no use.
    "torch puts tensors elsewhere": lambda: torch.device("meta"),
    "torch keeps no gradients": torch.no_grad,
    "torch only infers": torch.inference_mode,
    "torch multiplies with few digits": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "nothing is checked": lambda: config_context(
        assume_finite=True, skip_parameter_validation=True
    ),
    "transformers give frames": lambda: config_context(transform_output="pandas"),
    "metadata are routed": lambda: config_context(enable_metadata_routing=True),
    "little working memory": lambda: config_context(working_memory=1),
}
FAR = np.vstack([X, 1e3 * X, 1e9 * X[:5], 1e-9 * X[:5], np.zeros((1, 9))])


def all_answers(estimator, rows):
    methods = ("score_samples", "decision_function", "predict", "predict_proba", "transform")
    asked = [getattr(estimator, method, None) for method in methods]
    return [np.asarray(ask(rows)) for ask in asked if ask is not None]


@pytest.mark.parametrize("kind", SETTINGS)
def test_no_setting_of_the_process_changes_an_answer(name, kind):
    expected = all_answers(fitted_once(name), FAR)
    with SETTINGS[kind]():
        answers = all_answers(fit(make(name), X), FAR)
    assert len(answers) == len(expected) > 0
    for found, wanted in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.skipif(os.environ.get("SCIPY_ARRAY_API") != "1", reason="scikit-learn asks for it")
@pytest.mark.parametrize("dispatch", [False, True])
def test_tensors_are_rows_whether_scikit_learn_dispatches_by_them_or_not(name, dispatch):
    _, expected = fitted_copy(name)
    tensor = torch.from_numpy(X.copy())
    with config_context(array_api_dispatch=dispatch):
        fitted = fit(make(name), tensor)
        methods = ("score_samples", "decision_function", "transform")
        ask = next(getattr(fitted, method) for method in methods if hasattr(fitted, method))
        np.testing.assert_array_equal(ask(tensor), expected)


T = torch.from_numpy(X.copy())
NO_ARRAYS = {
    "bfloat16": T.bfloat16(),
    "8 bits": T.to(torch.float8_e5m2),
    "no data": T.to("meta"),
    "sparse": T.to_sparse(),
    "compressed": T.to_sparse_csr(),
    "a gradient": T.clone().requires_grad_(),
    "a parameter": torch.nn.Parameter(T.clone()),
    "a list": list(T.bfloat16()),
    "a list of parameters": list(torch.nn.Parameter(T.clone())),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_a_tensor_of_which_numpy_makes_no_array_is_refused_by_name(name, kind):
    (fitted, before), tensor = fitted_copy(name), NO_ARRAYS[kind]
    y = labels_for(fitted, X)
    methods = ("fit", "partial_fit", "score_samples", "predict", "p_values", "transform")
    for method in (m for m in methods if hasattr(fitted, m)):
        given = (tensor, y) if method.endswith("fit") else (tensor,)
        with pytest.raises(TypeError, match=r"X is a tensor, .*give X\.detach\(\)\.cpu\(\)"):
            getattr(fitted, method)(*given)
    np.testing.assert_array_equal(answer(fitted), before)


def test_labels_and_groups_that_are_tensors_without_an_array_are_refused_by_name(name):
    labels = torch.ones(40, requires_grad=True)
    with pytest.raises(TypeError, match="y is a tensor"):
        make(name).fit(X, labels)
    with pytest.raises(TypeError, match="groups is a tensor"):
        make("HRNGroupedDetector").fit(X, groups=labels)


class LazyRows:
    """Rows of a collection such as Dask's, which become an array when asked."""

    shape, ndim, dtype = X.shape, 2, X.dtype

    def __len__(self):
        return len(X)

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("all rows were fetched")

    def __dask_graph__(self):
        return {}


def test_rows_that_lie_elsewhere_are_refused_rather_than_fetched(name):
    y = np.arange(40) % 2 if name == "HRNContinualClassifier" else None
    for labels in (y, np.ones(40)):
        with pytest.raises(TypeError, match="lazy collection of Dask, LazyRows"):
            make(name).fit(LazyRows(), labels)
    fitted = fit(make(name), X)
    methods = ("score_samples", "decision_function", "predict", "p_values", "transform")
    for method in (m for m in methods if hasattr(fitted, m)):
        with pytest.raises(TypeError, match="lazy collection of Dask, LazyRows"):
            getattr(fitted, method)(LazyRows())


def test_a_pipeline_refuses_rows_that_lie_elsewhere_before_steps_that_would_fetch_them():
    fitted = OneClassPipeline(
        [("scale", StandardScaler()), ("hrn", make("HRNOneClassClassifier"))]
    ).fit(X)
    with pytest.raises(TypeError, match="lazy collection of Dask, LazyRows"):
        fitted.score_samples(LazyRows())


@pytest.mark.parametrize("kind", ["toPandas", "iter_batches", "collect"])
def test_lazy_collections_are_told_by_what_they_offer(kind):
    rows = type("Rows", (LazyRows,), {kind: None, "__dask_graph__": property()})()
    with pytest.raises(TypeError, match=r"lazy collection of (Spark|Ray Data|polars), Rows"):
        make_hrn_pipeline("tabular").fit(rows)


def test_a_column_may_have_the_name_of_what_a_lazy_collection_offers():
    frame = pd.DataFrame(X[:, :2], columns=["collect", "toPandas"])
    fitted = NormalScoreTransformer().fit(frame)
    assert np.array_equal(fitted.transform(frame), fitted.transform(frame.copy()))


def test_names_of_parameters_are_those_of_the_class_and_read_once():
    class Narrow(LandmarkFeatures):
        def __init__(self, gamma=1.0):
            super().__init__(5, gamma=gamma)

    assert LandmarkFeatures().get_params().keys() == {"n_components", "gamma", "random_state"}
    assert Narrow().get_params() == {"gamma": 1.0}
    assert Narrow._get_param_names() is Narrow._get_param_names()


# A few rows, for which some things are kept from call to call


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.RowLengthWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        HRNOneClassClassifier(random_state=0),
        HRNOneClassClassifier(module=ChannelNetwork(1, 3, 2, init=0.4), random_state=0),
        LandmarkFeatures(random_state=0),
        NormalScoreTransformer(),
    ],
)
def test_one_row_follows_what_has_been_fitted_since(estimator):
    answer = "score_samples" if hasattr(estimator, "score_samples") else "transform"
    one, other = (clone(estimator).fit(rows) for rows in (X, 2 * X + 1))
    ask, row = getattr(one, answer), X[:1]
    # Products of one row and of many are rounded differently.
    np.testing.assert_allclose(ask(row), ask(X)[:1], rtol=1e-6, atol=1e-9)
    one.fit(2 * X + 1)
    np.testing.assert_array_equal(ask(row), getattr(other, answer)(row))
    names = ("coefs_", "gamma_", "landmarks_", "normalization_", "quantiles_", "scores_")
    for name in (n for n in (*names, "module_state_") if n in vars(one)):
        value = vars(one)[name]
        if isinstance(value, dict):
            setattr(one, name, {key: 2 * v for key, v in value.items()})
        else:
            setattr(one, name, [2 * v for v in value] if isinstance(value, list) else 2 * value)
        np.testing.assert_allclose(ask(row), ask(X)[:1], rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.RowLengthWarning")
@pytest.mark.parametrize("module", [None, ChannelNetwork(1, 3, 2, init=0.4)])
def test_one_row_is_scored_in_the_precision_asked_for(module):
    fitted = HRNOneClassClassifier(module=module, random_state=0, max_iter=1).fit(X)
    double = fitted.score_samples(X[:1])
    single = fitted.set_params(score_dtype="float32").score_samples(X[:1])
    assert single != double
    assert single == np.float32(single)
    np.testing.assert_array_equal(
        fitted.set_params(score_dtype="float64").score_samples(X[:1]), double
    )


def test_what_is_kept_for_the_next_row_is_not_part_of_the_estimator():
    fitted = make_hrn_pipeline("tabular", random_state=0).set_params(calibration=None).fit(X)
    size, steps = len(pickle.dumps(fitted)), [fitted["scale"], fitted["lift"], fitted["hrn"]]
    names = [sorted(vars(step)) for step in steps]
    fitted.score_samples(X[:1])
    assert len(pickle.dumps(fitted)) == size
    assert [sorted(vars(step)) for step in steps] == names


def with_values_for_equals(name):
    """An estimator of a user's own kind, which is equal to others and has no hash."""
    kind = ESTIMATORS[name]
    own = type(name, (kind,), {"__eq__": lambda self, other: True, "__hash__": None})
    return own(**make(name).get_params(deep=False))


def test_an_estimator_without_a_hash_answers_as_any_other(name):
    frame = pd.DataFrame(X, columns=list("abcdefghi"))
    for rows in (X, frame):
        expected, fitted = fit(make(name), rows), fit(with_values_for_equals(name), rows)
        for few in (rows, rows[:1], rows[:1]):
            for found, wanted in zip(
                *(all_answers(e, few) for e in (fitted, expected)), strict=True
            ):
                np.testing.assert_array_equal(found, wanted)


def test_what_is_kept_for_the_next_row_goes_with_the_estimator():
    gc.collect()
    kept = [len(found._kept) for found in (_base._DERIVED, _base._COLUMNS)]
    for rows in (X, pd.DataFrame(X, columns=list("abcdefghi"))):
        fitted = NormalScoreTransformer().fit(rows)
        fitted.transform(rows[:1])
        fitted.fit(2 * rows).transform(rows[:1])
    assert [len(found._kept) for found in (_base._DERIVED, _base._COLUMNS)] > kept
    del fitted
    gc.collect()
    assert [len(found._kept) for found in (_base._DERIVED, _base._COLUMNS)] == kept


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.RowLengthWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_row_with_a_bad_value_is_refused(value):
    for kind in (HRNOneClassClassifier, LandmarkFeatures, NormalScoreTransformer):
        fitted, row = kind().fit(X), np.where(np.arange(9) == 4, value, X[:1])
        with pytest.raises(ValueError, match=r"X holds .* in column 4"):
            (fitted.score_samples if hasattr(fitted, "offset_") else fitted.transform)(row)


def test_one_row_of_large_numbers_is_none():
    fitted, row = NormalScoreTransformer().fit(X), np.full((1, 9), 1e200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fitted.transform(row), fitted.transform([*row, *X])[:1])


# A fit that fails


BAD_ROWS = {
    "NaN": np.where(np.eye(40, 9) > 0, np.nan, X),
    "infinite": np.where(np.eye(40, 9) > 0, np.inf, X),
    "text": np.where(np.eye(40, 9) > 0, "a", X.astype(object)),
    "dates": pd.DataFrame(X, columns=list("abcdefghi")).assign(day=pd.Timestamp("2020-01-01")),
    "pandas.NA": np.where(np.eye(40, 9) > 0, pd.NA, X.astype(object)),
    "None": np.where(np.eye(40, 9) > 0, None, X.astype(object)),
    "no rows": X[:0],
    "no columns": X[:, :0],
    "one axis": X[0],
    "five axes": X[None, None, None],
    "complex": X + 1j,
    "ragged": [[1.0, 2.0], [1.0]],
    "nothing": None,
    "dictionaries": np.full((40, 9), {}, dtype=object),
    "masked": np.ma.masked_array(X, mask=np.eye(40, 9) > 0),
    "beyond float64": np.full((40, 9), 10**400, dtype=object),
    "a tensor with a gradient": torch.ones(40, 9, requires_grad=True),
    "words": "a b c",
    "one number": 1.0,
    "a set": {1.0, 2.0},
    "a dictionary": {"a": [1.0, 2.0, 3.0]},
    "a list of dictionaries": [{"a": 1.0, "b": 2.0}] * 40,
    "records": np.array([tuple(row) for row in X], dtype=[(name, float) for name in "abcdefghi"]),
    "equal names": pd.DataFrame(X, columns=list("abcdefgha")),
    "lists": pd.DataFrame({"a": [[1.0, 2.0]] * 40}),
}


# Values that are no numbers; an encoder of tables is there to take them.
ONLY_NUMBERS = ["dictionaries", "lists"]
DAYS = np.arange(360).reshape(40, 9).astype("m8[s]")
OF_TIME = {  # of which NumPy makes numbers in whatever unit they are kept, or none
    "durations": DAYS,
    "moments": DAYS + np.datetime64(0, "s"),
    "a list of durations": DAYS.tolist(),
    "a frame of durations": pd.DataFrame(DAYS),
    "moments of a zone": pd.DataFrame(DAYS + np.datetime64(0, "s")).apply(
        lambda column: column.dt.tz_localize("UTC")
    ),
    "periods": pd.DataFrame(X, columns=list("abcdefghi")).assign(
        a=pd.period_range("2020", periods=40)
    ),
    "intervals": pd.DataFrame(X, columns=list("abcdefghi")).assign(a=pd.interval_range(0, 40)),
}
if find_spec("pyarrow") is not None:
    OF_TIME["moments of Arrow"] = pd.DataFrame(DAYS + np.datetime64(0, "s")).convert_dtypes(
        dtype_backend="pyarrow"
    )
    of_arrow = import_module("pyarrow").Table.from_pandas
    OF_TIME["a table of Arrow"] = of_arrow(pd.DataFrame(DAYS + np.datetime64(0, "s")))
    BAD_ROWS["a batch of Arrow"] = of_arrow(pd.DataFrame(X)).to_batches()[0]
    OF_TIME["text of Arrow"] = of_arrow(pd.DataFrame(np.full((40, 9), "a")))
BAD_ROWS |= OF_TIME
NO_NUMBERS = ["NaN", "infinite", "text", "dates", "pandas.NA", "None", *OF_TIME]


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_leave_what_was_fitted(name, kind):
    if name == "TableEncoder" and kind in (*NO_NUMBERS, *ONLY_NUMBERS):
        pytest.skip("an encoder of tables takes them")
    (fitted, before), fresh = fitted_copy(name), make(name)
    y = labels_for(fresh, X)
    for estimator in (fitted, fresh):
        with pytest.raises((ValueError, TypeError)):
            estimator.fit(BAD_ROWS[kind], y)
    assert not is_fitted(fresh)
    np.testing.assert_array_equal(answer(fitted), before)


SAID = {
    "a dictionary": "X is a dict, which has no rows: give",
    "a list of dictionaries": r"X is a list of dicts: give pandas\.DataFrame\(X\)",
    "records": r"X is an array of records, with the fields 'a', .*: give pandas\.DataFrame\(X\)",
    "equal names": "X has more than one column 'a': rename them",
    "lists": "X holds values of other types in column 'a'|column 'a' .* holds a list",
}
if "a batch of Arrow" in BAD_ROWS:
    SAID["a batch of Arrow"] = r"X is a batch of Arrow: give .* pyarrow\.Table\.from_batches"


@pytest.mark.parametrize("kind", SAID)
def test_what_holds_no_rows_of_numbers_is_told_in_words_of_its_own(name, kind):
    y = labels_for(make(name), X)
    with pytest.raises((TypeError, ValueError), match=SAID[kind]):
        make(name).fit(BAD_ROWS[kind], y)
    fitted = fitted_once(name)
    ask = getattr(fitted, "score_samples", getattr(fitted, "transform", None))
    if ask is not None and kind != "equal names":  # of a fit without names
        with pytest.raises((TypeError, ValueError), match=SAID[kind] + "|features"):
            ask(BAD_ROWS[kind])


def test_a_row_or_a_column_of_a_frame_is_no_frame(name):
    frame = pd.DataFrame(X, columns=list("abcdefghi"))
    fitted = make(name)
    fitted.fit(frame, labels_for(fitted, X))
    ask = getattr(fitted, "score_samples", getattr(fitted, "transform", None))
    for series in (frame.iloc[0], frame["a"]) if ask is not None else ():
        with pytest.raises(ValueError, match=r"(?s)(2D|2-dimensional).*(single|reshape)"):
            ask(series)


IMAGES = {
    "arrays": np.zeros((6, 3, 3)),
    "channels first": np.zeros((6, 3, 4, 4)),
    "a list": [np.zeros((3, 3))] * 6,
    "tensors": torch.zeros(6, 3, 3),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_are_refused_with_how_they_become_rows(name, kind):
    estimator = make(name)
    if hasattr(estimator, "image_shape"):
        pytest.skip("a step for images takes them")
    with pytest.raises(ValueError, match=r"np\.reshape\(X, .*make_hrn_pipeline\('image'\)"):
        estimator.fit(IMAGES[kind], labels_for(estimator, np.zeros((6, 1))))


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_values_that_are_no_numbers_are_named_with_their_column_and_a_remedy(name, kind):
    if name == "TableEncoder":
        pytest.skip("an encoder of tables takes them")
    with pytest.raises((ValueError, TypeError), match=r"in column .*(first|finite bound)") as told:
        make(name).fit(BAD_ROWS[kind], labels_for(make(name), X))
    assert "supervised" not in str(told.value)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e150, 1e200, 1.7e308])
def test_numbers_at_the_ends_of_float64_give_finite_answers_or_are_refused_by_name(name, scale):
    rows = X / np.abs(X).max() * scale
    for fitted_to in (rows, X):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                found = all_answers(fit(make(name), fitted_to), rows)
                one = all_answers(fit(make(name), fitted_to), rows[:1])
            except ValueError as error:
                assert scale > 1
                assert re.search("rescale X|beyond the float32 range", str(error))
                continue
        assert all(np.isfinite(answers).all() for answers in [*found, *one])


def test_a_frame_of_sparse_columns_is_read_or_refused_by_name(name):
    counts = pd.DataFrame(np.random.default_rng(0).poisson(1, (40, 9)) + 0.5 * (X > 1))
    counts.columns = list("abcdefghi")
    frame = counts.astype(pd.SparseDtype("float", 0))
    try:
        fitted = fit(make(name), frame)
    except TypeError as error:
        assert "give X.sparse.to_dense() if" in str(error)
        fitted = fit(make(name), counts)
        with pytest.raises(TypeError, match=r"X is sparse.*give X\.sparse\.to_dense\(\) if"):
            all_answers(fitted, frame)
        assert not make(name).__sklearn_tags__().input_tags.sparse
        return
    for some in (frame, frame.iloc[:20], frame.iloc[:1]):
        expected = all_answers(fit(make(name), counts), counts.loc[some.index])
        for found, wanted in zip(all_answers(fitted, some), expected, strict=True):
            found = found.item().toarray() if found.dtype == object else found
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_bad_parameters_leave_what_was_fitted(name):
    for parameter in make(name).get_params(deep=False):
        (fitted, before), fresh = fitted_copy(name), make(name)
        for estimator in (fitted, fresh):
            given = estimator.get_params(deep=False)[parameter]
            setattr(estimator, parameter, object())
            with pytest.raises((ValueError, TypeError)):
                fit(estimator, OTHER_X)
            setattr(estimator, parameter, given)
        assert not is_fitted(fresh)
        np.testing.assert_array_equal(answer(fitted), before)


class InjectedError(Exception):
    """Raised where no error is expected."""


def run_until(step, error, call):
    """Make a call, raising `error` at the step-th call of a function of this package in it.

    Returns the number of such calls that there were.
    """
    n_calls = 0

    def count(frame, event, argument):
        nonlocal n_calls
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            n_calls += 1
            if n_calls == step:
                raise error

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return n_calls


def check_that_faults_are_harmless(name, n_faults=None):
    """Interrupt first fits and refits at some of their steps, or at all; how often that was."""
    fitted = fit(make(name), X)
    before = answer(fitted)
    after = answer(fit(make(name), OTHER_X))
    n_steps = run_until(0, None, lambda: fit(make(name), OTHER_X))
    steps = np.unique(np.linspace(1, n_steps, n_faults or n_steps).astype(int))
    errors = [InjectedError(), MemoryError(), KeyboardInterrupt()]
    for i, step in enumerate(steps):
        error = errors[i % 3]
        for estimator in (copy.deepcopy(fitted), make(name)):
            was_fitted = is_fitted(estimator)
            try:
                run_until(step, error, lambda: fit(estimator, OTHER_X))  # noqa: B023
            except type(error):
                pass
            except (ValueError, RuntimeError):  # searches and unions tell it in their own words
                pass
            if is_fitted(estimator):
                now = answer(estimator)
                allowed = [after, before] if was_fitted else [after]
                assert any(np.array_equal(now, one) for one in allowed), f"step {step}, {error!r}"
            else:
                assert not was_fitted, f"step {step}, {error!r}"
    return 2 * len(steps)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_an_error_or_interrupt_anywhere_in_a_fit_leaves_all_or_nothing(name):
    assert check_that_faults_are_harmless(name, n_faults=6) >= 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_an_error_or_interrupt_at_any_call_in_a_fit_leaves_all_or_nothing(name, record_property):
    record_property("faults", check_that_faults_are_harmless(name))


def test_a_fit_forgets_what_an_earlier_one_has_learned_and_the_new_one_has_not():
    words = sklearn_hrn.RotationWhitening(
        sklearn_hrn.InstanceStandardizer(), threshold=1.0, image_shape=(3, 3), random_state=0
    ).fit(X)
    assert hasattr(words, "whitening_")
    words.set_params(threshold=0.0).fit(X)
    assert not hasattr(words, "whitening_")


# Warnings


def told_by(call):
    """The warnings of a call, each of which must point at a line of this file marked so."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    for warning in told:
        line = linecache.getline(warning.filename, warning.lineno)
        assert warning.filename == __file__, warning
        assert "# the caller's line" in line, line
    return [warning.category for warning in told]


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_doubtful_y_is_told_once_at_the_callers_line(name):
    y = np.arange(40) % 2
    estimator = make(name)
    told = told_by(lambda: estimator.fit(X, y))  # the caller's line
    assert [kind for kind in told if kind is LabelConventionWarning] == [LabelConventionWarning]
    if hasattr(estimator, "fit_transform"):
        told = told_by(lambda: make(name).fit_transform(X, y))  # the caller's line
        assert told.count(LabelConventionWarning) == 1


NESTED = {
    "recipe": lambda: make_hrn_pipeline("tabular").set_params(hrn__max_updates=2),
    "pipeline in a search": lambda: sklearn_hrn.HRNSearchCV(
        OneClassPipeline([("norm", InstanceL2Normalizer()), ("hrn", HRNOneClassClassifier())]),
        {"hrn__max_iter": [1, 2]},
        scoring=sklearn_hrn.shuffled_columns_score,
        cv=2,
    ),
    "union in a pipeline": lambda: OneClassPipeline(
        [
            ("views", FeatureUnion([(n, InstanceL2Normalizer()) for n in "ab"])),
            ("hrn", HRNOneClassClassifier(max_iter=1)),
        ]
    ),
    "conformal": lambda: ConformalOutlierDetector(
        HRNOneClassClassifier(max_iter=1), false_alarm_rate=0.2
    ),
}


@pytest.mark.parametrize("kind", NESTED)
def test_a_doubtful_y_is_told_once_however_many_estimators_see_it(kind):
    estimator = NESTED[kind]()
    told = told_by(lambda: estimator.fit(X, np.arange(40) % 2))  # the caller's line
    assert told.count(LabelConventionWarning) == 1


@pytest.mark.parametrize("kind", ["recipe", "pipeline in a search", "union in a pipeline"])
def test_minus_ones_among_zeros_are_left_out_without_a_false_word(kind):
    estimator = NESTED[kind]()
    y = -(np.arange(40) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LabelConventionWarning)
        estimator.fit(X, y)


OTHER_WARNINGS = {
    "few calibration rows": (
        ResolutionWarning,
        lambda: make("ConformalOutlierDetector").set_params(false_alarm_rate=0.001).fit,
    ),
    "another rate": (
        ResolutionWarning,
        lambda: lambda X: fit(make("ConformalOutlierDetector"), X).set_false_alarm_rate(0.001),
    ),
    "a discovery rate": (
        ResolutionWarning,
        lambda: lambda X: fit(make("ConformalOutlierDetector"), X).predict_fdr(X, fdr=0.001),
    ),
    "a threshold": (
        ResolutionWarning,
        lambda: lambda X: sklearn_hrn.false_alarm_threshold(X[:, 0], 0.001),
    ),
    "equal rows": (
        ConstantScoresWarning,
        lambda: lambda X: make("HRNOneClassClassifier").fit(0 * X),
    ),
    "columns that were centred": (
        CentredRowsWarning,
        lambda: lambda X: HRNOneClassClassifier(max_iter=2).fit(normalize(X - X.mean(axis=0))),
    ),
    "text that reads as numbers": (
        NumbersAsTextWarning,
        lambda: lambda X: sklearn_hrn.TableEncoder().fit(X.astype(str)),
    ),
    "a column that counts the rows": (
        RowCounterWarning,
        lambda: lambda X: sklearn_hrn.TableEncoder().fit(np.c_[np.arange(30), np.zeros(30)]),
    ),
    "far rows": (
        FarRowsPassWarning,
        lambda: (
            lambda X: (
                sklearn_hrn.make_hrn_pipeline("tabular", random_state=0)
                .set_params(calibration=2, hrn__max_updates=2)
                .fit(np.geomspace(1, 1e30, 8)[:, None])
            )
        ),
    ),
    "a long step": (
        NonFiniteLossWarning,
        lambda: lambda X: HRNOneClassClassifier(max_iter=5, random_state=0).fit(100 * X),
    ),
    "another version, pickle": (
        VersionMismatchWarning,
        lambda: lambda X: pickle.loads(of_version()),
    ),
    "another version, joblib": (
        VersionMismatchWarning,
        lambda: lambda X: joblib.load(io.BytesIO(of_version())),
    ),
}


def of_version(version=b"0.0.0"):
    """A pickle as another version would have written it."""
    return pickle.dumps(InstanceL2Normalizer(), protocol=2).replace(
        sklearn_hrn.__version__.encode(), version
    )


@pytest.mark.parametrize("kind", OTHER_WARNINGS)
def test_every_other_warning_points_at_the_callers_line_too(kind):
    category, make_call = OTHER_WARNINGS[kind]
    call = make_call()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call(X)
    lines = {(w.filename, linecache.getline(w.filename, w.lineno).strip()) for w in told}
    assert [w.category for w in told].count(category) == 1, told
    assert {filename for filename, _ in lines} == {__file__}


OF_MANY_FITS = {
    "a search": lambda hrn, y: HRNSearchCV(hrn, {"reg_lambda": [0.1, 0.5]}, cv=2).fit,
    "folds": lambda hrn, y: (
        ConformalOutlierDetector(hrn, strategy="cross", false_alarm_rate=0.1, random_state=0).fit
    ),
    "classes": lambda hrn, y: lambda X: HRNContinualClassifier(hrn).fit(X, y),
    "groups": lambda hrn, y: lambda X: HRNGroupedDetector(hrn).fit(X, groups=y),
}


@pytest.mark.parametrize("kind", OF_MANY_FITS)
def test_a_warning_of_many_fits_is_told_once_with_the_number_of_the_others(kind):
    rows = normalize(np.random.default_rng(0).normal(size=(400, 3)))
    fit = OF_MANY_FITS[kind](HRNOneClassClassifier(max_iter=5, random_state=0), np.arange(400) % 2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(rows)
    (warning,) = told
    assert warning.category is CentredRowsWarning
    assert re.search(r"\(\d+ more of this kind\.\)$", str(warning.message))
    assert warning.filename == __file__


def test_a_warning_is_silenced_by_the_module_that_called():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=re.escape(__name__) + "$")
        InstanceL2Normalizer().fit(X, np.arange(40) % 2)


# Labels


ODD_LABELS = {
    "two columns": np.ones((40, 2)),
    "a number": 1,
    "too few": np.ones(39),
    "None among them": [None] + [1] * 39,
    "pandas.NA among them": pd.Series([pd.NA] + [1] * 39, dtype="Int64"),
    "NaN among them": np.r_[np.nan, np.ones(39)],
    "NaT": np.full(40, np.datetime64("NaT")),
    "anomalies alone": -np.ones(40),
}
DOUBTFUL_LABELS = {
    "booleans": np.arange(40) % 2 == 0,
    "0 and 1": np.arange(40) % 2,
    "0 alone": np.zeros(40),
    "text": np.array(["normal", "attack"] * 20),
    "text, some of it -1": np.array(["1", "-1"] * 20),
    "bytes": np.array([b"normal", b"attack"] * 20),
    "dates": pd.to_datetime(["2020-01-01"] * 40),
    "dates of Python": [date(2020, 1, 1)] * 40,
    "categories": pd.Categorical(["a", "b"] * 20),
}
PLAIN_LABELS = {
    "0 and -1": np.r_[-np.ones(10), np.zeros(30)],
    "1 and -1": np.r_[-np.ones(10), np.ones(30)],
    "objects": np.r_[-np.ones(10, int), np.ones(30, int)].astype(object),
    "Int64": pd.Series(np.r_[-np.ones(10), np.ones(30)], dtype="Int64"),
    "a column": np.r_[-np.ones(10), np.ones(30)][:, None],
    "beyond the digits of float64": np.r_[[-1] * 10, [2**53 + 1] * 30],
    "beyond 64 bits": np.array([-1] * 10 + [2**70] * 30, dtype=object),
    "-1 beside text": np.array([-1] * 10 + ["normal"] * 30, dtype=object),
}


@pytest.mark.parametrize("name", sorted(DETECTORS - {"HRNSearchCV"}))
def test_labels_are_refused_or_doubted_or_taken_by_their_word(name):
    for kind, y in ODD_LABELS.items():
        with pytest.raises(ValueError, match=r"\by\b"):
            make(name).fit(X, y)
            pytest.fail(kind)
    everything = answer(make(name).fit(X))
    for kind, y in DOUBTFUL_LABELS.items():
        with pytest.warns(LabelConventionWarning) as told:
            estimator = make(name).fit(X, y)
        assert [w.category for w in told].count(LabelConventionWarning) == 1, kind
        np.testing.assert_array_equal(answer(estimator), everything, err_msg=kind)
    normal = answer(make(name).fit(X[10:]))
    for kind, y in PLAIN_LABELS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error", LabelConventionWarning)
            estimator = make(name).fit(X, y)
        np.testing.assert_allclose(answer(estimator), normal, rtol=1e-6, err_msg=kind)


# The same labels by other types; and groups, classes and verdicts.
TYPES = {
    "objects": lambda values: values.astype(object),
    "numbers of NumPy as objects": lambda values: np.array([*values, None])[:-1],
    "Decimal": lambda values: np.array([Decimal(int(value)) for value in values]),
    "Int64": lambda values: pd.Series(values, dtype="Int64"),
    "Arrow": lambda values: pd.Series(values, dtype="int64[pyarrow]"),
    "categories": lambda values: pd.Series(pd.Categorical(values)),
    "a list": lambda values: values.tolist(),
    "a tensor": torch.from_numpy,
}
SCORINGS = [None, "roc_auc", {"auc": "roc_auc"}, sklearn_hrn.shuffled_columns_score]


@pytest.mark.parametrize("kind", TYPES)
def test_labels_of_a_search_are_plain_ones_of_whatever_type_they_come(kind):
    pytest.importorskip("pyarrow", reason="one type is its own")
    y = np.r_[-np.ones(10, int), np.ones(30, int)]
    for scoring in SCORINGS:
        for cv in (2, StratifiedKFold(2)):
            search = HRNSearchCV(
                make("HRNOneClassClassifier"), {"max_iter": [1, 2]}, scoring=scoring, cv=cv
            ).set_params(refit=not isinstance(scoring, dict))
            expected = clone(search).fit(X, y).cv_results_
            found = search.fit(X, TYPES[kind](y)).cv_results_
            for key in (key for key in expected if "test" in key):
                np.testing.assert_array_equal(found[key], expected[key])
                assert not np.isnan(expected[key]).any()


def test_a_search_refuses_labels_that_a_named_scorer_cannot_take():
    y = PLAIN_LABELS["-1 beside text"]
    search = HRNSearchCV(make("HRNOneClassClassifier"), {"max_iter": [1]}, scoring="roc_auc")
    for cv in (2, StratifiedKFold(2), KFold(2)):
        with pytest.raises(ValueError, match="y must hold the labels 1 and -1 only"):
            search.set_params(cv=cv).fit(X, y)


@pytest.mark.parametrize("kind", TYPES)
def test_classes_groups_and_verdicts_may_be_of_any_type_and_keep_all_digits(kind):
    pytest.importorskip("pyarrow", reason="one type is its own")
    values = TYPES[kind](np.array([2**53, 2**53 + 1] * 20))
    if kind != "Decimal":  # which float64 does not hold
        assert make("HRNContinualClassifier").fit(X, values).classes_.tolist() == [2**53, 2**53 + 1]
        assert list(make("HRNGroupedDetector").fit(X, groups=values).detectors_) == [
            2**53,
            2**53 + 1,
        ]
        assert sklearn_hrn.to_inlier_labels(values, normal=2**53).sum() == 0
    expected = born("OneClassPipeline").fit(X)
    found = copy.deepcopy(expected)
    expected.feedback(X[:5] + 9, -np.ones(5, int))
    found.feedback(X[:5] + 9, TYPES[kind](-np.ones(5, int)))
    np.testing.assert_array_equal(answer(found), answer(expected))
    with pytest.raises(ValueError, match="verdicts must be"):
        found.feedback(X[:2] + 9, [True, True], n_screened=9)


MOMENTS = pd.Series(pd.date_range("2020-01-01", periods=2).tolist() * 20)
SAME_MOMENTS = {
    "datetime": lambda: MOMENTS.dt.to_pydatetime().tolist(),
    "Timestamp": MOMENTS.tolist,
    **{unit: lambda unit=unit: MOMENTS.dt.as_unit(unit) for unit in ("s", "us", "ns")},
    "datetime64": lambda: MOMENTS.to_numpy("M8[m]"),
    "Arrow": lambda: MOMENTS.astype("timestamp[ns][pyarrow]"),
}


@pytest.mark.parametrize("kind", SAME_MOMENTS)
def test_moments_of_any_type_are_the_same_labels_and_groups(kind):
    pytest.importorskip("pyarrow", reason="one type is its own")
    given, (first, second) = SAME_MOMENTS[kind](), MOMENTS[:2].dt.to_pydatetime()
    assert sklearn_hrn.to_inlier_labels(given, normal=first).tolist() == [1, -1] * 20
    with pytest.warns(LabelConventionWarning, match="labels that are no numbers"):
        make("HRNOneClassClassifier").fit(X, given)
    grouped = make("HRNGroupedDetector").set_params(unknown="error")
    expected = grouped.fit(X, groups=MOMENTS.tolist()).score_samples(X, MOMENTS.tolist())
    np.testing.assert_array_equal(grouped.score_samples(X, given), expected)
    fitted = clone(grouped).fit(X, groups=given)
    assert list(fitted.detectors_) == [first, second]
    np.testing.assert_array_equal(fitted.score_samples(X, MOMENTS.tolist()), expected)
    # Any moment may be a new group; those of a time zone are never equal to the others.
    fitted = clone(grouped).set_params(unknown="pooled").fit(X, groups=given)
    assert np.isfinite(fitted.score_samples(X, MOMENTS + pd.Timedelta(days=9))).all()
    with pytest.raises(ValueError, match=r"are moments of a time zone, but those of fit are .*out"):
        fitted.score_samples(X, MOMENTS.dt.tz_localize("UTC"))


def test_moments_that_differ_by_a_nanosecond_are_two_groups():
    groups = MOMENTS.dt.as_unit("ns") + pd.to_timedelta(np.arange(40) % 2, unit="ns")
    groups[1::2] -= pd.Timedelta(days=1)
    assert len(make("HRNGroupedDetector").fit(X, groups=groups).detectors_) == 2


def test_numbers_of_mixed_kinds_stay_apart():
    y = np.array([2**53 + 1, 2**53, 0.5], dtype=object)
    assert sklearn_hrn.to_inlier_labels(y, normal=2**53).tolist() == [-1, 1, -1]


def test_the_classifier_refuses_labels_that_are_none_and_keeps_apart_those_that_differ():
    for kind in ("two columns", "a number", "too few", "None among them", "NaN among them"):
        with pytest.raises(ValueError, match=r"label|y should be|Found|inconsistent|NaN"):
            make("HRNContinualClassifier").fit(X, ODD_LABELS[kind])
    with pytest.raises(ValueError, match="y contains NaN, which is no class"):
        make("HRNContinualClassifier").fit(X, np.array([np.nan] + [1] * 39, dtype=object))
    y = np.array([2**53, 2**53 + 1] * 20)
    assert make("HRNContinualClassifier").fit(X, y).classes_.tolist() == [2**53, 2**53 + 1]


# Meta-estimators for classifiers


FOR_CLASSIFIERS = {
    "BaggingClassifier": lambda d: BaggingClassifier(d, n_estimators=2),
    "OneVsRestClassifier": OneVsRestClassifier,
    "OneVsOneClassifier": OneVsOneClassifier,
    "OutputCodeClassifier": lambda d: OutputCodeClassifier(d, random_state=0),
    "StackingClassifier": lambda d: StackingClassifier([("d", d)], cv=2),
    "CalibratedClassifierCV": lambda d: CalibratedClassifierCV(d, cv=2),
    "SelfTrainingClassifier": SelfTrainingClassifier,
    "MultiOutputClassifier": MultiOutputClassifier,
    "ClassifierChain": ClassifierChain,
    "FixedThresholdClassifier": FixedThresholdClassifier,
    "TunedThresholdClassifierCV": lambda d: TunedThresholdClassifierCV(d, cv=2),
}
MEMBERS = {
    "classifier": lambda: make("HRNOneClassClassifier"),
    "recipe": lambda: make_hrn_pipeline("tabular").set_params(hrn__max_updates=2),
    "pipeline": lambda: Pipeline([("s", StandardScaler()), ("d", make("HRNOneClassClassifier"))]),
    "conformal": lambda: make("ConformalOutlierDetector"),
    "groups": lambda: make("HRNGroupedDetector"),
}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("kind", FOR_CLASSIFIERS)
def test_a_meta_estimator_for_classifiers_is_refused_by_name(kind, member):
    y = np.r_[-np.ones(10, int), np.ones(30, int)]
    y = np.c_[y, y] if kind in ("MultiOutputClassifier", "ClassifierChain") else y
    with pytest.raises(ValueError, match=f"{kind} is made for classifiers"):
        FOR_CLASSIFIERS[kind](MEMBERS[member]()).fit(X, y)


# Each of them calls the detector from a function of its own, at the bottom of the stack of a thread
# as of a process; an error ends the processes, so that each would start them anew.
@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        ("BaggingClassifier", "loky"),
        ("OneVsRestClassifier", "threading"),
        ("StackingClassifier", "threading"),
    ],
)
def test_and_in_processes_and_threads_of_their_own(kind, backend):
    y = np.arange(40) % 2 * 2 - 1
    meta = FOR_CLASSIFIERS[kind](make("HRNOneClassClassifier")).set_params(n_jobs=2)
    with (
        joblib.parallel_config(backend),
        pytest.raises(ValueError, match="is made for classifiers"),
    ):
        meta.fit(X, y)


@pytest.mark.parametrize("kind", [VotingClassifier, AdaBoostClassifier])
def test_scikit_learn_refuses_the_others_itself(kind):
    detector = make("HRNOneClassClassifier")
    meta = kind([("d", detector)]) if kind is VotingClassifier else kind(detector)
    with pytest.raises(ValueError, match="HRNOneClassClassifier"):
        meta.fit(X, np.arange(40) % 2 * 2 - 1)


class Sorter(ClassifierMixin, BaseEstimator):
    """A classifier of a user's own, which knows what it tells its detector."""

    def fit(self, X, y):
        """Take the class that is more frequent for normal."""
        self.classes_, counts = np.unique(y, return_counts=True)
        labels = np.where(y == self.classes_[counts.argmax()], 1, -1)
        self.detector_ = make("HRNOneClassClassifier").fit(X, labels)
        return self

    def predict(self, X):
        """One of two classes."""
        return self.classes_[(self.detector_.predict(X) + 1) // 2]


def test_meta_estimators_that_leave_labels_alone_and_classifiers_of_ones_own_work():
    y = np.r_[-np.ones(10, int), np.ones(30, int)]
    alone = make("HRNOneClassClassifier").fit(X, y)
    found = TransformedTargetRegressor(make("HRNOneClassClassifier")).fit(X, y)
    np.testing.assert_array_equal(answer(found.regressor_), answer(alone))
    bagged = BaggingRegressor(make("HRNOneClassClassifier"), n_estimators=2).fit(X, y)
    assert bagged.predict(X).max() > 0
    np.testing.assert_array_equal(answer(Sorter().fit(X, y).detector_), answer(alone))
    OneVsRestClassifier(Sorter()).fit(X, y)


def test_a_classifier_that_is_only_near_is_no_reason_to_refuse():
    def compared(ensemble, X, y):
        self = ensemble  # by that name
        return self, make("HRNOneClassClassifier").fit(X, y)

    y = np.r_[-np.ones(10, int), np.ones(30, int)]
    compared(BaggingClassifier(n_estimators=2).fit(X, y), X, y)
    script = "from sklearn_hrn import HRNOneClassClassifier as H\nH(max_iter=1).fit(X, y)"
    names = {"X": X, "y": y, "ensemble": BaggingClassifier(), "self": BaggingClassifier()}
    exec(script, {"__name__": "__main__", **names})


def test_transformers_serve_classifiers_whose_labels_are_recoded():
    pipeline = Pipeline([("norm", InstanceL2Normalizer()), ("last", LogisticRegression())])
    with pytest.warns(LabelConventionWarning):
        BaggingClassifier(pipeline, n_estimators=2).fit(X, np.arange(40) % 2)


# Parameters


def scalars_of_numpy(value):
    """The same number or text as NumPy has it, in the narrowest and the widest kinds."""
    if isinstance(value, bool):
        return [np.bool_(value)]
    if isinstance(value, int):
        kinds = [np.int64, *([np.int8] if abs(value) < 128 else [np.int16])]
        return [kind(value) for kind in (*kinds, *([np.uint64] if value >= 0 else []))]
    if isinstance(value, float):
        return [np.float64(value), np.float32(value), np.float16(value)]
    return [np.str_(value)] if isinstance(value, str) else []


def test_scalars_of_numpy_are_the_numbers_and_words_they_stand_for(name):
    n_tried, unchanged = 0, answer(fit(make(name), X))
    for parameter, value in make(name).get_params(deep=False).items():
        for scalar in scalars_of_numpy(value):
            given = fit(make(name).set_params(**{parameter: scalar}), X)
            plain = unchanged
            if scalar.item() != value:  # float16 and float32 round
                plain = answer(fit(make(name).set_params(**{parameter: scalar.item()}), X))
            np.testing.assert_array_equal(answer(given), plain, err_msg=parameter)
            assert np.isfinite(plain[plain != np.inf]).all(), parameter
            assert getattr(given, parameter) is scalar  # a parameter stays as it was given
            n_tried += 1
    assert n_tried or name in ("OneClassPipeline", "TableEncoder")  # which have none


class Text(str):
    """Text by another name."""


class Whole(int):
    """A number by another name."""


ODD_VALUES = [
    *(b"auto", "no such word", "", 1j, -1, np.nan, np.inf, -np.inf, 2**70, -(2**70), True),
    *(np.datetime64("2020-01-01"), date(2020, 1, 1), {}, [], (), [None], ["a"], object(), pd.NA),
    *(np.array(3), np.array("auto"), np.array([[1.0]]), np.void(b"a"), lambda: None, print, int),
    *(Fraction(1, 3), Decimal("0.5"), Text("auto"), Text("cross"), Whole(3), np.longdouble(0.5)),
    *(np.uint8(200), np.int8(-5), np.float16(np.inf), 1e308, 1e-320, 2**63 - 1, [2**70], pd.NaT),
    *([[1, 2], [3]], range(3), slice(3), ..., bytearray(b"a"), pd.Series([1]), {1: [2]}, {"a": 1}),
    *(np.array([]), np.ma.masked, frozenset({1}), np.random.default_rng(0), ValueError("x"), sys),
]


# What scikit-learn calls these parameters, and what is wrong with a step that lacks an answer.
OTHER_WORDS = {
    "cv": ["n_splits"],
    "scoring": ["scorer", "An empty dict"],
    "steps": ["pipeline"],
    "group_column": ["The detector of group"],  # of a single row
}


def check_that_odd_values_are_taken_or_named(name):
    """Fit with each odd value of each parameter; how many were taken, and how many refused."""
    taken = refused = 0
    for parameter in make(name).get_params(deep=False):
        for value in ODD_VALUES:
            if callable(value) and parameter in ("module", "refit", "scoring"):
                continue  # a function of one's own raises errors of its own
            if parameter == "n_jobs" and isinstance(value, np.integer | Whole):
                continue  # so many processes would be started
            estimator = make(name)
            setattr(estimator, parameter, value)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fit(estimator, X)
                    if parameter != "refit" or estimator.refit:
                        assert not np.isnan(answer(estimator)).any(), (parameter, value)
                taken += 1
            except TrainingDivergedError:  # such as of a step of 1e308
                refused += 1
            except (TypeError, ValueError, AttributeError, MemoryError) as error:
                words = (parameter, parameter.rstrip("s"), *OTHER_WORDS.get(parameter, ()))
                told = " ".join([str(error), *getattr(error, "__notes__", ())])
                named = any(word in told for word in words)
                assert named, f"{parameter}={value!r}: {error!r}"
                refused += 1
    return taken, refused


@pytest.mark.slow
def test_a_parameter_of_an_odd_type_works_or_is_refused_by_its_name(name, record_property):
    record_property("taken, refused", check_that_odd_values_are_taken_or_named(name))


# Arguments of functions, of methods and of displays


def calls():
    """Right calls by name: what is called, and the arguments of which one at a time is odd."""
    y = np.r_[np.ones(30), -np.ones(10)]
    groups = np.arange(40) % 2
    pipeline = born("OneClassPipeline").fit(X)
    conformal, groupwise = (
        fit(make(f"{n}Detector"), X) for n in ("ConformalOutlier", "HRNGrouped")
    )
    heads = fit(make("HRNContinualClassifier"), X)
    seen = {"X": X[:2] + 9, "y": [-1, -1], "n_screened": 50}
    history = pipeline[-1].history_
    hrn, show = sklearn_hrn, sklearn_hrn.inspection
    numbers = {"attributions": X[:2], "X": X[:2], "feature_names": list("abcdefghi"), "ax": None}

    def on_copy(estimator, method):
        return lambda **arguments: getattr(copy.deepcopy(estimator), method)(**arguments)

    def splits(kind):
        return lambda X, y, **options: list(kind(**options).split(X, y))

    def network(**options):
        return make("HRNOneClassClassifier").set_params(module=hrn.ChannelNetwork(**options)).fit(X)

    return {
        "p-values": (hrn.conformal_p_values, {"scores": [1.0], "calibration_scores": [1.0]}),
        "weighted p-values": (
            hrn.conformal_p_values,
            {"scores": [1], "calibration_scores": [1], "calibration_weights": [1], "weights": [1]},
        ),
        "threshold": (
            hrn.false_alarm_threshold,
            {"scores": [1.0, 2.0], "rate": 0.5, "weights": [1.0, 1.0]},
        ),
        "ratios": (
            hrn.likelihood_ratios,
            {"X_calibration": X, "X_new": OTHER_X, "classifier": None, "cv": 2},
        ),
        "recipe": (
            hrn.make_hrn_pipeline,
            {"kind": "image", "random_state": 0, "device": "cpu", "image_shape": None},
        ),
        "shuffled": (hrn.shuffled_columns_score, {"estimator": pipeline, "X": X, "y": y}),
        "labels": (hrn.to_inlier_labels, {"y": [0, 1], "normal": 0}),
        "folds": (splits(hrn.InlierKFold), {"X": X, "y": y, "train_anomalies": True}),
        "splits": (splits(hrn.InlierShuffleSplit), {"X": X, "y": y, "train_anomalies": True}),
        "rate": (on_copy(conformal, "set_false_alarm_rate"), {"false_alarm_rate": 0.2}),
        "calibration": (
            on_copy(conformal, "calibrate"),
            {"X": X, "y": y, "sample_weight": np.ones(40), "groups": groups},
        ),
        "rows of groups": (
            copy.deepcopy(conformal).calibrate(X, groups=groups).predict,
            {"X": X, "groups": groups},
        ),
        "discoveries": (conformal.predict_fdr, {"X": X, "fdr": 0.1, "method": "bh"}),
        "feedback": (on_copy(conformal, "feedback"), seen),
        "feedback of a pipeline": (on_copy(pipeline, "feedback"), seen),
        "scores": (pipeline.score_samples, {"X": X}),
        "stream": (on_copy(make("HRNOneClassClassifier"), "partial_fit"), {"X": X, "y": y}),
        "stream of a pipeline": (on_copy(pipeline, "partial_fit"), {"X": X, "y": y}),
        "more classes": (
            on_copy(heads, "partial_fit"),
            {"X": X, "y": groups, "classes": [0, 1]},
        ),
        "forget": (on_copy(heads, "forget"), {"label": 1}),
        "groups": (on_copy(groupwise, "fit"), {"X": X, "y": y, "groups": groups}),
        "network": (
            network,
            {"n_channels": 3, "branch_size": 4, "hidden_size": 4, "init": 0.01, "penalty": "row"},
        ),
        "attribution": (show.feature_attribution, {"detector": pipeline, "X": X, "reference": X}),
        "score display": (
            show.AnomalyScoreDisplay.from_predictions,
            {"scores": {"a": [1.0]}, "threshold": 0.5, "ax": None},
        ),
        "rate display": (
            show.FalseAlarmDisplay.from_predictions,
            {"p_values": [0.5], "anomaly_p_values": [0.1], "kind": "rates", "ax": None},
        ),
        "curve display": (show.TrainingCurveDisplay, {"history": history}),
        "attribution display": (show.AttributionDisplay.from_predictions, numbers),
        "bars": (
            show.AttributionDisplay(X).plot,
            {"ax": None, "kind": "bars", "row": 0, "max_features": 2},
        ),
        "folder": (sklearn_hrn.datasets.resolve_data_home, {"data_home": "."}),
        "features": (sklearn_hrn.datasets.load_features, {"name": "a", "data_home": "."}),
    }


# How else an argument is called in what scikit-learn says of it.
IN_OTHER_WORDS = {
    "init": ["draws random numbers"],  # whose rounding is as large as they are
    "X": ["array", "sample", "Complex", "feature", "dimension", "rows"],
    "y": ["label", "target", "samples", "verdict", "Complex"],
    "estimator": ["instance", "fitted"],
    "detector": ["instance", "fitted"],
    "label": ["class"],
    "name": ["not found"],
    "random_state": ["seed"],
    "false_alarm_rate": ["rate"],
}


@pytest.mark.slow
def test_an_argument_of_an_odd_type_works_or_is_refused_by_its_name(record_property):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="displays are drawn")
    pyplot.switch_backend("Agg")
    taken, refused, raw = 0, 0, []
    for name, (call, arguments) in calls().items():
        for argument in arguments:
            for value in ODD_VALUES:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        found = call(**{**arguments, argument: value})
                    if isinstance(found, np.ndarray) and found.dtype.kind == "f":
                        assert not np.isnan(found).any(), (name, argument, value)
                    taken += 1
                except TrainingDivergedError:
                    refused += 1
                except (TypeError, ValueError, FileNotFoundError, MemoryError) as error:
                    words = [argument, *IN_OTHER_WORDS.get(argument, ())]
                    refused += 1
                    if not any(word in str(error) for word in words):
                        raw.append((name, argument, value, error))
                except Exception as error:
                    raw.append((name, argument, value, error))
                pyplot.close("all")
    record_property("taken, refused", (taken, refused))
    assert not raw, "\n".join(map(repr, raw))


# Travel


def test_a_pickle_names_the_version_that_wrote_it(name):
    estimator = fit(make(name), X)
    assert estimator.__getstate__()["_sklearn_hrn_version"] == sklearn_hrn.__version__
    with warnings.catch_warnings():
        warnings.simplefilter("error", VersionMismatchWarning)
        copies = [pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)]
        copies.append(fit(clone(estimator), X))
    for one in copies:
        np.testing.assert_array_equal(answer(one), answer(estimator))
        assert not [key for key in vars(one) if "version" in key]


@pytest.mark.parametrize("state_of", [dict, lambda state: {"_sklearn_hrn_version": "9.9", **state}])
def test_a_pickle_of_another_version_or_of_none_warns_by_name(name, state_of):
    estimator = fit(make(name), X)
    state = state_of(vars(estimator).copy())
    with pytest.warns(VersionMismatchWarning, match=f"{name} was pickled by"):
        other = ESTIMATORS[name].__new__(ESTIMATORS[name])
        other.__setstate__(state)
    np.testing.assert_array_equal(answer(other), answer(estimator))


def test_rows_that_must_not_be_written_are_read(name):
    rows = X.astype(np.float32)
    expected = answer(fit(make(name), rows.copy()))
    rows.setflags(write=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The given NumPy array is not writable")
        np.testing.assert_array_equal(answer(fit(make(name), rows)), expected)


def test_rows_given_are_left_as_they_were(name):
    rows = X.copy()
    answer(fit(make(name), rows))
    np.testing.assert_array_equal(rows, X)


def test_sparse_gaps_are_named_as_well():
    rows = sparse.csr_array(BAD_ROWS["NaN"])
    with pytest.raises(ValueError, match="NaN"):
        InstanceL2Normalizer(center=None).fit(rows)


# Detectors of other kinds


class BaseDetector(BaseEstimator):
    """What detectors of PyOD have in common: the higher the score, the less normal."""

    def fit(self, X, y=None):
        """Remember the middle."""
        self.centre_ = X.mean(axis=0)
        return self

    def decision_function(self, X):
        """The distance from the middle."""
        return np.linalg.norm(X - self.centre_, axis=1)


BaseDetector.__module__ = "pyod.models.base"


class Distance(BaseDetector):
    """A detector of PyOD."""


PYOD = {
    "alone": Distance(),
    "frozen": FrozenEstimator(Distance().fit(X)),
    "at the end of a pipeline": Pipeline([("scale", StandardScaler()), ("end", Distance())]),
}


@pytest.mark.parametrize("kind", PYOD)
def test_detectors_of_pyod_are_turned_round_wherever_they_end(kind):
    detector = ConformalOutlierDetector(PYOD[kind], false_alarm_rate=0.2, random_state=0).fit(X)
    assert (detector.predict(X + 100) == -1).all()
    assert (detector.predict(X) == 1).mean() > 0.7
    again = OneClassPipeline([("conformal", detector)]).fit(X)
    assert (again.predict(X + 100) == -1).all()


def test_a_pipeline_refuses_a_detector_of_pyod_as_its_last_step_and_says_what_to_do():
    pipeline = OneClassPipeline([("norm", InstanceL2Normalizer()), ("end", Distance())])
    with pytest.raises(TypeError, match=r"PyODDetector\(Distance\(\)\)"):
        pipeline.fit(X)


@pytest.mark.parametrize("kind", ["alone", "at the end of a pipeline"])
def test_a_grouped_detector_refuses_one_of_pyod_and_says_what_to_do(kind):
    with pytest.raises(TypeError, match=r"PyODDetector\(.*\) of the detector as the estimator"):
        HRNGroupedDetector(PYOD[kind]).fit(X)


def test_knn_of_pyod_finds_anomalies():
    knn = pytest.importorskip("pyod.models.knn", reason="PyOD is not installed")
    detector = ConformalOutlierDetector(knn.KNN(), false_alarm_rate=0.2, random_state=0).fit(X)
    assert (detector.predict(X + 100) == -1).all()
    assert (detector.predict(X) == 1).mean() > 0.7


# A life of an estimator in any order


ROWS = (X, OTHER_X)
OPERATIONS = {
    "fit": fit,
    "partial_fit": lambda estimator, rows: estimator.partial_fit(rows, labels_for(estimator, rows)),
    "feedback": lambda estimator, rows: estimator.feedback(
        rows[:5] + 9, -np.ones(5), n_screened=100
    ),
}


def standing(estimator):
    """What a fitted estimator says, and where its threshold is."""
    offset = getattr(estimator, "offset_", 0.0)
    return np.append(answer(estimator), offset)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_no_order_of_calls_breaks_an_estimator(name):
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        invariant,
        precondition,
        rule,
        run_state_machine_as_test,
    )

    def has(method):
        return precondition(lambda life: hasattr(life.estimator, method) and len(life.past) < 5)

    @functools.cache
    def due(past):
        """What is due after some operations: an estimator says it that has never seen another."""
        estimator = born(name)
        for operation, which in past:
            OPERATIONS[operation](estimator, ROWS[which])
        return standing(estimator)

    which_rows = hypothesis.strategies.integers(0, 1)
    bad_rows = hypothesis.strategies.sampled_from(["no rows", "one axis", "ragged", "complex"])

    class Life(RuleBasedStateMachine):
        """Fits, failures and travels; the model of it is what it has been through."""

        def __init__(self):
            super().__init__()
            self.estimator, self.past = born(name), ()

        def goes_through(self, operation, which, step=0):
            after = (*(() if operation == "fit" else self.past), (operation, which))
            try:
                run_until(
                    step,
                    KeyboardInterrupt(),
                    lambda: OPERATIONS[operation](self.estimator, ROWS[which]),
                )
            except KeyboardInterrupt:
                is_as_before = is_fitted(self.estimator) == bool(self.past)
                if is_as_before and self.past:
                    is_as_before = np.array_equal(standing(self.estimator), due(self.past))
                if is_as_before:
                    return
            self.past = after

        @rule(which=which_rows)
        def fits(self, which):
            self.goes_through("fit", which)

        @has("partial_fit")
        @rule(which=which_rows)
        def learns_more(self, which):
            self.goes_through("partial_fit", which)

        @precondition(lambda life: life.past)
        @has("feedback")
        @rule(which=which_rows)
        def hears_verdicts(self, which):
            self.goes_through("feedback", which)

        @rule(kind=bad_rows)
        def fails_for_its_rows(self, kind):
            with pytest.raises((ValueError, TypeError)):
                self.estimator.fit(BAD_ROWS[kind], labels_for(self.estimator, X))

        @has("partial_fit")
        @rule(kind=bad_rows)
        def fails_to_learn_more(self, kind):
            with pytest.raises((ValueError, TypeError)):
                self.estimator.partial_fit(BAD_ROWS[kind], labels_for(self.estimator, X))

        @precondition(lambda life: life.past)
        @has("feedback")
        @rule(verdicts=hypothesis.strategies.sampled_from([[2], [1, -1], [None], ["a"], []]))
        def refuses_verdicts(self, verdicts):
            with pytest.raises((ValueError, TypeError)):
                self.estimator.feedback(X[:1] + 9, verdicts, n_screened=100)

        @rule(which=which_rows, step=hypothesis.strategies.integers(1, 60))
        def is_interrupted(self, which, step):
            self.goes_through("fit", which, step)

        @has("partial_fit")
        @rule(which=which_rows, step=hypothesis.strategies.integers(1, 60))
        def is_interrupted_as_it_learns_more(self, which, step):
            self.goes_through("partial_fit", which, step)

        @precondition(lambda life: life.past)
        @has("feedback")
        @rule(which=which_rows, step=hypothesis.strategies.integers(1, 20))
        def is_interrupted_as_it_hears_verdicts(self, which, step):
            self.goes_through("feedback", which, step)

        @rule()
        def is_cloned(self):
            self.estimator, self.past = clone(self.estimator), ()

        @rule()
        def travels(self):
            self.estimator = pickle.loads(pickle.dumps(self.estimator))

        @rule()
        def is_copied(self):
            self.estimator = copy.deepcopy(self.estimator)

        @rule()
        def is_set_to_what_it_is(self):
            self.estimator.set_params(**self.estimator.get_params(deep=False))

        @invariant()
        def answers_what_is_due(self):
            assert is_fitted(self.estimator) == bool(self.past)
            if self.past:
                np.testing.assert_array_equal(standing(self.estimator), due(self.past))

    few = hypothesis.settings(max_examples=10, stateful_step_count=12, deadline=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_state_machine_as_test(Life, settings=few)


@pytest.mark.parametrize("kind", ["HRNOneClassClassifier", "HRNGroupedDetector", "PyODDetector"])
def test_a_row_on_the_threshold_is_normal(kind, monkeypatch):
    kind = getattr(sklearn_hrn, kind, None) or getattr(sklearn_hrn.interop, kind)
    decisions = np.array([-1e-300, 0.0, 1e-300])
    monkeypatch.setattr(kind, "decision_function", lambda self, X, *groups: decisions)
    assert kind.__new__(kind).predict(None).tolist() == [-1, 1, 1]
