"""The one-class classifier: what it learns, what it refuses, and what it leaves alone."""

import pickle
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import network
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler
from sklearn.utils.extmath import row_norms

from sklearn_hrn import (
    HRNOneClassClassifier,
    HRNSearchCV,
    InlierKFold,
    InstanceL2Normalizer,
    LandmarkFeatures,
)
from sklearn_hrn._folds import make_folds
from sklearn_hrn._lengths import doubt_lengths
from sklearn_hrn.exceptions import (
    CentredRowsWarning,
    ConstantScoresWarning,
    LabelConventionWarning,
    NonFiniteLossWarning,
    RowLengthWarning,
    TrainingDivergedError,
)


@pytest.fixture(scope="module")
def digits():
    """Normalised pictures of all digits, and +1 for the zeros."""
    X, digit = load_digits(return_X_y=True)
    return InstanceL2Normalizer().fit_transform(X), np.where(digit == 0, 1, -1)


@pytest.fixture(scope="module")
def X(digits):
    X, y = digits
    return X[y == 1]


def hrn(max_iter=3, **parameters):
    return HRNOneClassClassifier(max_iter=max_iter, random_state=0, device="cpu", **parameters)


def learned(estimator):
    """All that a fit has left behind, as something that can be compared."""
    return pickle.dumps({k: v for k, v in sorted(vars(estimator).items()) if k[-1] == "_"})


def assert_equal_fits(a, b):
    assert all(np.array_equal(*pair) for pair in zip(a.coefs_, b.coefs_, strict=True))
    assert a.offset_ == b.offset_
    for name in a.history_:
        assert np.array_equal(a.history_[name], b.history_[name], equal_nan=True)


# What is learned


@pytest.mark.parametrize("hidden", [(), 7, (9, 5)])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu"])
def test_the_score_is_the_mean_output_of_the_networks(X, hidden, activation):
    fitted = hrn(hidden_layer_sizes=hidden, activation=activation, n_estimators=2).fit(X)
    slope = {"leaky_relu": 0.01, "relu": 0.0}[activation]
    outputs = [
        network([coef[m].T.astype(float) for coef in fitted.coefs_], X[:20], slope)[0]
        for m in range(2)
    ]
    scores = fitted.score_samples(X[:20])
    assert scores.dtype == np.float64
    assert np.allclose(scores, np.mean(outputs, axis=0), rtol=1e-12)  # float64 rounding


def test_fitted_attributes_have_the_documented_shapes(X):
    fitted = hrn(hidden_layer_sizes=(9, 5), n_estimators=3, max_iter=4).fit(X)
    assert [c.shape for c in fitted.coefs_] == [(3, 64, 9), (3, 9, 5), (3, 5, 1)]
    assert {c.dtype for c in fitted.coefs_} == {np.dtype(np.float32)}
    assert fitted.n_iter_ == 4
    assert fitted.n_updates_ == -(-4 * len(X) // 100)
    assert set(fitted.history_) == {"loss", "penalty", "gradient_norm", "learning_rate"}
    assert {h.shape for h in fitted.history_.values()} == {(4, 3)}
    assert fitted.device_ == "cpu"
    assert np.array_equal(
        fitted.train_scores_, np.quantile(fitted.score_samples(X), np.linspace(0, 1, 1001))
    )


def test_the_history_tells_how_the_loss_fell(X):
    history = hrn(max_iter=20).fit(X).history_
    assert history["loss"][-1] < history["loss"][0]
    assert (history["penalty"] >= 0).all()
    assert (history["gradient_norm"] > 0).all()
    assert np.allclose(history["learning_rate"], 0.1)


def test_decisions_follow_from_scores(digits, X):
    everything, _ = digits
    fitted = hrn(max_iter=20).fit(X)
    decision = fitted.decision_function(everything)
    assert np.array_equal(decision, fitted.score_samples(everything) - fitted.offset_)
    assert np.array_equal(fitted.predict(everything), np.where(decision >= 0, 1, -1))


def test_zeros_score_above_other_digits(digits, X):
    everything, y = digits
    scores = hrn(max_iter=50).fit(X[:90]).score_samples(everything)
    assert np.median(scores[y == 1][90:]) > np.quantile(scores[y == -1], 0.9)


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.5])
def test_contamination_is_the_share_of_training_rows_below_the_threshold(X, contamination):
    fitted = hrn(contamination=contamination).fit(X)
    assert abs((fitted.predict(X) == -1).mean() - contamination) <= 1 / len(X)
    assert np.array_equal(fitted.coefs_[0], hrn().fit(X).coefs_[0])


def test_without_contamination_no_training_row_is_flagged(X):
    fitted = hrn(contamination=None).fit(X)
    assert (fitted.predict(X) == 1).all()
    lowest = fitted.score_samples(X).min()
    assert np.isclose(fitted.offset_, lowest, rtol=1e-12)
    assert fitted.offset_ < lowest  # which is rounded otherwise beside other rows


def test_several_networks_differ_in_their_seed_alone(X):
    fitted = hrn(n_estimators=2).fit(X)
    assert not np.array_equal(fitted.coefs_[0][0], fitted.coefs_[0][1])
    assert_equal_fits(fitted, hrn(n_estimators=2).fit(X))
    other = HRNOneClassClassifier(max_iter=3, n_estimators=2, random_state=1, device="cpu").fit(X)
    assert not np.array_equal(fitted.coefs_[0], other.coefs_[0])


# Labels


def test_anomalies_are_left_out_bit_for_bit(digits, X):
    everything, y = digits
    assert_equal_fits(hrn().fit(everything, y), hrn().fit(X))
    labels = hrn().fit_predict(everything, y)
    assert np.array_equal(labels, hrn().fit(X).predict(everything))


@pytest.mark.parametrize("loss", ["nll", "square"])
def test_a_weight_of_anomalies_keeps_them_below(digits, X, loss):
    everything, y = digits
    some = np.r_[np.flatnonzero(y == 1), np.flatnonzero(y == -1)[:60]]
    calm = {"max_iter": 60, "learning_rate_init": 0.05}
    without, warned = (
        hrn(loss=loss, anomaly_weight=weight, **calm).fit(everything[some], y[some])
        for weight in (0.0, 1.0)
    )
    assert_equal_fits(without, hrn(loss=loss, **calm).fit(X))
    # Even anomalies that were not seen: these are other pictures of the same digits.
    unseen = everything[np.flatnonzero(y == -1)[60:]]
    gaps = [np.median(fit.score_samples(X)) - np.median(fit.score_samples(unseen))
            for fit in (without, warned)]  # fmt: skip
    assert gaps[1] > 1.2 * gaps[0]
    assert abs((warned.predict(X) == -1).mean() - 0.01) <= 1 / len(X)
    assert_equal_fits(warned, hrn(loss=loss, anomaly_weight=1.0, **calm).fit(
        everything[some], y[some]))  # fmt: skip


def test_as_many_anomalies_as_normal_rows_in_a_batch_are_kept_below(rng):
    y = np.repeat([1, -1], 200)  # two batches of 100 each
    X = InstanceL2Normalizer(center=None).fit_transform(rng.normal(size=(400, 5)) + y[:, None])
    scores = hrn(max_iter=30, anomaly_weight=0.5).fit(X, y).score_samples(X)
    assert roc_auc_score(y, scores) > 0.99
    assert np.median(scores[y == -1]) < 0 < np.median(scores[y == 1])


def test_a_single_anomaly_is_enough_and_none_is_no_error(digits, X):
    everything, y = digits
    one = np.r_[np.flatnonzero(y == 1), np.flatnonzero(y == -1)[:1]]
    fitted = hrn(max_iter=30, anomaly_weight=1.0).fit(everything[one], y[one])
    assert fitted.decision_function(everything[one[-1:]])[0] < 0
    assert_equal_fits(hrn(anomaly_weight=1.0).fit(X), hrn().fit(X))


def test_zeros_and_ones_are_called_another_convention(digits):
    everything, y = digits
    with pytest.warns(LabelConventionWarning, match=r"\+1 for normal rows"):
        hrn().fit(everything, (y == -1).astype(int))


# How long


def test_a_budget_of_updates_replaces_the_epochs(X):
    fitted = hrn(max_iter=1, max_updates=7).fit(X)
    assert fitted.n_updates_ == 7
    assert fitted.n_iter_ == -(-7 * 100 // len(X))
    # 178 rows in batches of 100: nine updates are just five epochs and a little.
    assert_equal_fits(hrn(max_updates=9).fit(X), hrn(max_iter=50, max_updates=9).fit(X))


def test_a_fit_that_continues_within_an_epoch_has_a_line_of_its_own_in_the_history(X):
    fitted = hrn(warm_start=True, batch_size=10, max_updates=2).fit(X)
    first = fitted.history_["loss"][0, 0]
    assert fitted.fit(X).n_iter_ == 2 and fitted.history_["loss"][0, 0] == first


def test_a_plateau_ends_the_training_where_the_formula_says(X):
    # 178 rows in batches of 10: three epochs make a round of 54 updates.
    tol, size = 0.05, {"batch_size": 10, "max_iter": 60}
    whole = hrn(**size).fit(X).history_["loss"][:, 0]
    rounds = whole.reshape(-1, 3).mean(axis=1)
    is_flat = rounds[:-1] - rounds[1:] < tol * (np.log(2) - rounds[1:])
    expected = 3 * (np.flatnonzero(is_flat)[0] + 2)
    stopped = hrn(tol=tol, **size).fit(X)
    assert 6 < expected < 60
    assert stopped.n_iter_ == expected
    assert np.array_equal(stopped.history_["loss"][:, 0], whole[:expected])
    # Where a round is cut in two by a warm start, its whole counts.
    warm = hrn(tol=tol, warm_start=True, batch_size=10, max_iter=int(expected) - 4).fit(X)
    assert warm.set_params(max_iter=60).fit(X).n_iter_ == expected


def test_epochs_and_updates_are_those_of_the_network_that_trained_longest(X):
    fitted = hrn(100, n_estimators=6, batch_size=20, tol=0.02).fit(X)
    lengths = np.isfinite(fitted.history_["loss"]).sum(axis=0)
    assert lengths.min() < lengths.max() == fitted.n_iter_
    assert fitted.n_updates_ == np.ceil(lengths.max() * len(X) / 20)


@pytest.mark.parametrize("parameters", [{}, {"n_estimators": 3}, {"momentum": 0.0}, {"tol": 1e-9}])
def test_forty_epochs_and_sixty_are_a_hundred(X, parameters):
    whole = hrn(max_iter=10, **parameters).fit(X)
    warm = hrn(max_iter=4, warm_start=True, **parameters).fit(X)
    warm = pickle.loads(pickle.dumps(warm)).set_params(max_iter=6).fit(X)
    assert_equal_fits(warm, whole)
    assert (warm.n_iter_, warm.n_updates_) == (whole.n_iter_, whole.n_updates_)


def test_a_warm_start_cannot_change_the_network(X):
    warm = hrn(warm_start=True).fit(X)
    before = learned(warm)
    with pytest.raises(ValueError, match=r"would go on with 1 network.*with warm_start=False"):
        warm.set_params(n_estimators=2).fit(X)
    assert learned(warm) == before


def test_a_warm_start_goes_on_with_the_columns_that_it_began_with(X):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    for first, later, words in [
        (frame, frame.iloc[:, ::-1], "feature names should match"),
        (X, X[:, 1:], f"expecting {X.shape[1]} features"),
    ]:
        warm = hrn(warm_start=True).fit(first)
        before = learned(warm)
        with pytest.raises(ValueError, match=words):
            warm.fit(later)
        assert learned(warm) == before


def test_without_a_warm_start_a_fit_begins_anew(X):
    fitted = hrn()
    fitted.fit(X[:50])
    assert_equal_fits(fitted.fit(X), hrn().fit(X))


# What can go wrong


def test_a_non_finite_loss_halves_the_step_and_says_so_once(X):
    with pytest.warns(NonFiniteLossWarning, match="repeated with half the step") as caught:
        fitted = hrn(reg_exponent=2, learning_rate_init=1e3, max_iter=5).fit(X)
    assert sum(issubclass(w.category, NonFiniteLossWarning) for w in caught) == 1
    assert fitted.n_iter_ == 5
    assert fitted.history_["learning_rate"][-1, 0] < 1e3
    assert np.isfinite(fitted.score_samples(X)).all()
    # A fit that continues has the step with which this one ended.
    again = fitted.set_params(warm_start=True, max_iter=1).fit(X).history_["learning_rate"][:, 0]
    assert len(again) == 6 and again[5] == again[4]


def test_a_loss_that_no_step_can_save_is_an_error_with_advice(X):
    fitted = hrn().fit(X)
    before = learned(fitted)
    with pytest.raises(TrainingDivergedError, match="InstanceL2Normalizer, or lower learning_rate"):
        fitted.set_params(learning_rate_init=1e30).fit(X)
    assert learned(fitted) == before


def test_scores_that_are_all_equal_are_loud(X):
    with pytest.warns(ConstantScoresWarning, match="tells nothing apart"):
        fitted = hrn().fit(np.repeat(X[:1], 20, axis=0))
    assert np.isfinite(fitted.decision_function(X)).all()
    place = np.linspace(0, 1, 20)
    with pytest.warns(ConstantScoresWarning, match="all 20 training rows score 7"):
        hrn()._set_threshold(7 + 1e-10 * place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hrn()._set_threshold(7 + 1e-7 * place)


BAD_ROWS = {
    "NaN": (np.array([[1.0, np.nan], [1.0, 2.0]]), "NaN"),
    "infinity": (np.array([[1.0, np.inf], [1.0, 2.0]]), "infinite"),
    "beyond float32": (np.array([[1.0, 1e39], [1.0, 2.0]]), r"1e\+39, beyond the float32 range"),
    "below float32": (np.array([[1.0, -1e39], [1.0, 2.0]]), r"1e\+39, beyond the float32 range"),
    "no rows": (np.empty((0, 3)), "0 sample"),
    "one row": (np.ones((1, 3)), "1 sample"),
    "no columns": (np.empty((5, 0)), "0 feature"),
    "text": (np.array([["a", "b"], ["c", "d"]]), "holds text.*OneHotEncoder"),
    "one dimension": (np.ones(5), "1D array"),
    "complex": (np.ones((5, 2)) * 1j, "Complex data"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_refused_and_the_last_fit_stays(X, kind):
    rows, message = BAD_ROWS[kind]
    fitted = hrn().fit(X)
    before = learned(fitted)
    with pytest.raises(ValueError, match=message):
        fitted.fit(rows)
    assert learned(fitted) == before
    with pytest.raises(ValueError, match=message):
        hrn().fit(rows)


def batch_normalised(n_features):
    return torch.nn.Sequential(torch.nn.BatchNorm1d(n_features), torch.nn.Linear(n_features, 1))


def two_outputs(n_features):
    return torch.nn.Linear(n_features, 2)


BAD_PARAMETERS = {
    "reg_lambda": (-0.1, "'reg_lambda' parameter"),
    "reg_exponent": (0.5, "'reg_exponent' parameter"),
    "loss": ("hinge", "'loss' parameter"),
    "regularizer": ("l1", "'regularizer' parameter"),
    "activation": ("tanh", "'activation' parameter"),
    "hidden_layer_sizes": ((10, 0), r"hidden_layer_sizes=\(10, 0\)"),
    "contamination": (0.6, "'contamination' parameter"),
    "n_estimators": (0, "'n_estimators' parameter"),
    "momentum": (1.0, "'momentum' parameter"),
    "max_updates": (0, "'max_updates' parameter"),
    "init": (0.0, "'init' parameter"),
    "device": ("tpu", "device='tpu' cannot be used: allowed here are"),
}
# What is just beyond the numbers that are allowed; parameters above may have two such ends.
ENDS = {
    **{"reg_lambda": -1e-9, "anomaly_weight": -1e-9, "contamination": 0.0, "batch_size": 0},
    **{"learning_rate_init": 0.0, "momentum": -1e-9, "preconditioning": 0.99, "max_iter": 0},
    **{"tol": -1e-9, "calibration": 1},
}


@pytest.mark.parametrize("name", ENDS)
def test_numbers_just_beyond_those_that_are_allowed_are_refused_by_name(X, name):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        HRNOneClassClassifier().set_params(**{name: ENDS[name]}).fit(X)


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters_are_refused_by_name(X, name):
    value, message = BAD_PARAMETERS[name]
    fitted = hrn().fit(X)
    before = learned(fitted)
    with pytest.raises(ValueError, match=message):
        fitted.set_params(**{name: value}).fit(X)
    assert learned(fitted) == before


@pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu"])
def test_an_absent_device_is_refused(X, device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used"):
        hrn().set_params(device=device).fit(X)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (torch.nn.Linear(64, 1), TypeError, "give a factory"),
        (batch_normalised, ValueError, "batch normalisation"),
        (two_outputs, ValueError, "one number a row"),
    ],
)
def test_modules_that_do_not_fit_are_refused_with_the_reason(X, module, error, message):
    with pytest.raises(error, match=message):
        hrn(module=module).fit(X)


def test_labels_that_leave_nothing_to_train_on_are_refused(X):
    with pytest.raises(ValueError, match="-1 \\(anomaly\\)"):
        hrn().fit(X, -np.ones(len(X)))
    with pytest.raises(ValueError, match="1 normal row"):
        hrn().fit(X, np.r_[1, -np.ones(len(X) - 1)])


def test_another_number_of_features_is_refused_at_scoring(X):
    with pytest.raises(ValueError, match="X has 3 features"):
        hrn().fit(X).score_samples(X[:, :3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39, -1e39])
def test_a_single_bad_value_is_refused_at_scoring(X, bad):
    rows = X.copy()
    rows[3, 7] = bad
    with pytest.raises(ValueError, match=r"NaN|missing|infinite|beyond the float32 range"):
        hrn().fit(X).score_samples(rows)
    with pytest.raises(ValueError, match="0 sample"):
        hrn().fit(X).score_samples(X[:0])


def test_scoring_before_fitting_says_so(X):
    with pytest.raises(NotFittedError):
        hrn().score_samples(X)


# What is handled


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ConstantScoresWarning")
@pytest.mark.parametrize(
    "rows",
    [
        np.linspace(0, 1, 30)[:, None],
        np.full((30, 4), 0.5),
        np.zeros((30, 4)),
        np.eye(30, 4, dtype=bool),
        np.eye(30, 4, dtype=np.float16),
        np.eye(30, 4, dtype=np.int8),
        np.eye(30, 4, dtype=np.uint64),
        np.asfortranarray(np.eye(30, 4)),
    ],
    ids=["one feature", "constant", "zero", "bool", "float16", "int8", "uint64", "Fortran"],
)
def test_unusual_rows_get_finite_scores(rows):
    fitted = hrn(batch_size=1000).fit(rows)
    assert fitted.n_updates_ == 3
    assert np.isfinite(fitted.decision_function(rows)).all()


def test_float32_rows_are_read_in_place(X):
    rows = np.tile(X, (200, 1)).astype(np.float32)  # 9 MB
    estimator = hrn(max_iter=1, hidden_layer_sizes=(5,))
    estimator.fit(rows[:500])
    tracemalloc.start()
    estimator.fit(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Less than a copy in float64, or two in float32; scores and the order of rows take 1 MB.
    assert peak < rows.nbytes / 2


class Fixed(HRNOneClassClassifier):
    """A subclass with parameters of its own, that fixes some of those of its base."""

    def __init__(self, hidden_layer_sizes=(10,), *, max_iter=2, random_state=0, note=""):
        super().__init__(hidden_layer_sizes, max_iter=max_iter, random_state=random_state)
        self.note = note


def test_a_subclass_may_have_other_parameters(X):
    plain = HRNOneClassClassifier((10,), max_iter=2, random_state=0)
    np.testing.assert_array_equal(
        Fixed(note="ours").fit(X).score_samples(X), plain.fit(X).score_samples(X)
    )
    assert Fixed().partial_fit(X).offset_ == clone(plain).partial_fit(X).offset_
    assert HRNSearchCV(Fixed(), {"max_iter": [1, 2]}, cv=2).fit(X).best_estimator_.note == ""


def test_a_read_only_memory_map_is_read_in_place(X, tmp_path):
    np.save(tmp_path / "rows.npy", X.astype(np.float32))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert_equal_fits(hrn().fit(rows), hrn().fit(X.astype(np.float32)))


def test_names_of_columns_are_kept_and_checked(X):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    fitted = hrn().fit(frame)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(fitted.score_samples(frame), hrn().fit(X).score_samples(X))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.score_samples(frame.iloc[:, ::-1])


def test_a_mask_that_hides_nothing_is_no_mask(X):
    shown = np.ma.masked_array(X, mask=np.zeros_like(X, bool))
    assert_equal_fits(hrn().fit(shown), hrn().fit(X))


# The neighbourhood


@pytest.mark.slow
def test_it_is_searched_in_a_pipeline_by_several_processes(digits):
    _, y = digits
    images = load_digits().data
    pipeline = Pipeline([("norm", InstanceL2Normalizer()), ("hrn", hrn())])
    grid = {"hrn__reg_lambda": [0.1, 0.5], "hrn__reg_exponent": [4, 12]}
    results = [
        GridSearchCV(pipeline, grid, scoring="roc_auc", cv=InlierKFold(2), n_jobs=n_jobs)
        .fit(images, y)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    assert results[0].min() > 0.5
    assert np.allclose(*results, atol=1e-4)  # processes may use other numbers of threads


def test_a_clone_is_unfitted_and_a_pickle_is_not(X):
    fitted = hrn(n_estimators=2).fit(X)
    assert not hasattr(clone(fitted), "coefs_")
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.score_samples(X), fitted.score_samples(X))


def test_fitting_is_silent_unless_asked(X, capsys):
    hrn().fit(X)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    hrn(verbose=2).fit(X)
    text = capsys.readouterr().err
    assert "epoch 3/3" in text
    assert "loss" in text
    assert "rows/s" in text


def test_global_generators_are_not_touched(X):
    def state():
        return pickle.dumps((np.random.get_state(), torch.get_rng_state().numpy()))  # noqa: NPY002

    before = state()
    HRNOneClassClassifier(max_iter=1, n_estimators=2).fit(X).score_samples(X)
    assert state() == before


def test_threads_change_no_more_than_rounding(X):
    rows = np.tile(X, (3, 2))
    before = torch.get_num_threads()
    scores = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            fitted = hrn(hidden_layer_sizes=(400,), max_iter=10).fit(rows)
            scores.append(fitted.score_samples(rows))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert np.abs(scores[0] - scores[1]).max() < 1e-5 * scores[0].std()


# Invariances of scoring

FITTED = hrn().fit(np.random.default_rng(0).normal(size=(50, 4)))
ROWS = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.just(4)),
    elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_score_of_a_row_does_not_depend_on_the_rows_around_it(rows, random):
    order = np.array(random.sample(range(len(rows)), len(rows)))
    whole = FITTED.score_samples(rows)
    scale = np.abs(rows).max() + 1e-30
    # A product of another number of rows may sum in another order, in float64.
    assert np.allclose(FITTED.score_samples(rows[order]), whole[order], rtol=0, atol=1e-13 * scale)
    one_by_one = np.concatenate([FITTED.score_samples(row[None]) for row in rows])
    assert np.allclose(one_by_one, whole, rtol=0, atol=1e-13 * scale)


@given(ROWS, st.integers(-20, 20))
def test_the_score_grows_as_the_row_grows(rows, exponent):
    # Powers of two are exact in floating point, so that nothing but the order of sums can differ.
    factor = np.float32(2.0**exponent)
    scale = factor * (np.abs(rows).max() + 1e-30)
    grown = FITTED.score_samples(factor * rows)
    assert np.allclose(grown, factor * FITTED.score_samples(rows), rtol=0, atol=1e-13 * scale)


@given(ROWS)
def test_float32_and_float64_of_the_same_values_score_alike(rows):
    assert np.array_equal(FITTED.score_samples(rows), FITTED.score_samples(rows.astype(float)))


# --- a threshold from rows that did not train -----------------------------------------------------


def test_calibration_places_the_threshold_by_networks_that_did_not_see_the_row(rng):
    X = rng.normal(size=(60, 20))
    calibrated = hrn(calibration=3, contamination=0.1, max_updates=50, n_estimators=2).fit(X)
    plain = hrn(contamination=0.1, max_updates=50, n_estimators=2).fit(X)
    # float32 products of another number of models are summed in another order
    np.testing.assert_allclose(calibrated.score_samples(X), plain.score_samples(X), rtol=1e-5)
    expected = []
    for train, held_out in make_folds(3, 60):
        expected.append(clone(plain).fit(X[train]).score_samples(X[held_out]))
    expected = np.sort(np.concatenate(expected))
    np.testing.assert_allclose(calibrated.calibration_scores_, expected, rtol=1e-4, atol=1e-6)
    low, high = calibrated.calibration_scores_[[6 - 1, 7 - 1]]  # 0.1 * 61 is 6.1
    assert calibrated.offset_ == pytest.approx(low + 0.1 * (high - low))
    assert calibrated.offset_ < plain.offset_


def test_calibration_of_many_rows_holds_out_as_many_as_the_rate_asks_for(rng):
    X = 2 + rng.normal(size=(4500, 2))
    for rate, n_scored in ((0.01, 1500), (0.005, 3000)):
        fitted = hrn(calibration="cross", contamination=rate, max_updates=2).fit(X)
        assert len(fitted.calibration_scores_) == n_scored


def test_calibration_leaves_anomalies_out_and_nothing_behind(rng):
    X = rng.normal(size=(60, 5))
    y = np.where(np.arange(60) < 10, -1, 1)
    fitted = hrn(calibration="cross", contamination=None, max_updates=20).fit(X, y)
    assert len(fitted.calibration_scores_) == 50
    assert fitted.offset_ == fitted.calibration_scores_[0]
    fitted.set_params(calibration=None).fit(X, y)
    assert not hasattr(fitted, "calibration_scores_")


def test_the_networks_of_the_folds_keep_the_labelled_anomalies_below_too(rng):
    X = rng.normal(0.5, 1, size=(60, 5))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    settings = {"anomaly_weight": 1.0, "contamination": 0.1, "max_updates": 40, "batch_size": 10}
    fitted = hrn(calibration=2, **settings).fit(X, np.repeat([-1, 1], [10, 50]))
    expected = []
    for train, held_out in make_folds(2, 50):
        rows = np.r_[X[:10], X[10:][train]]
        alone = hrn(**settings).fit(rows, np.repeat([-1, 1], [10, 25]))
        expected.append(alone.score_samples(X[10:][held_out]))
    expected = np.sort(np.concatenate(expected))
    np.testing.assert_allclose(fitted.calibration_scores_, expected, rtol=1e-3, atol=1e-5)


def test_a_fit_that_continues_cannot_be_calibrated(rng):
    fitted = hrn(calibration=2, contamination=0.1, max_updates=20, warm_start=True)
    fitted.fit(rng.normal(size=(60, 5)))
    offset = fitted.offset_
    with pytest.raises(ValueError, match="warm_start=False"):
        fitted.fit(rng.normal(size=(60, 5)))
    assert fitted.offset_ == offset


@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler(), RobustScaler(), "passthrough"]
)
def test_a_table_without_the_recipe_is_told_that_length_is_the_score(scaler):
    X, is_benign = load_breast_cancer(return_X_y=True)
    detector = make_pipeline(scaler, HRNOneClassClassifier(max_iter=20, random_state=0))
    with pytest.warns(RowLengthWarning, match=r"rank correlation (0\.9|1\.0).*make_hrn_pipeline"):
        detector.fit(X[is_benign == 1])


def test_lengths_that_say_how_near_a_row_is_are_not_told_so():
    X = np.random.default_rng(0).normal(size=(2000, 60))
    rows = LandmarkFeatures(100, gamma="scale", random_state=0).fit_transform(X)
    assert np.quantile(row_norms(rows), 0.05) < 0.6
    detector = HRNOneClassClassifier(max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RowLengthWarning)
        detector.fit(rows)
    with pytest.warns(RowLengthWarning):
        detector.fit(2 * rows)


def test_rows_of_one_length_are_not_told_so():
    X, digit = load_digits(return_X_y=True)
    rows = InstanceL2Normalizer().fit_transform(X[digit == 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HRNOneClassClassifier(max_iter=20, random_state=0).fit(rows)


@pytest.mark.parametrize("scaler", [StandardScaler(), PowerTransformer(), PCA(whiten=True)])
@pytest.mark.parametrize("norm", [InstanceL2Normalizer(center=None), InstanceL2Normalizer(), None])
def test_rows_on_all_sides_of_zero_are_told_so(scaler, norm):
    X, kind = load_wine(return_X_y=True)
    detector = make_pipeline(scaler, norm, HRNOneClassClassifier(max_iter=5, random_state=0))
    with pytest.warns((CentredRowsWarning, RowLengthWarning), match="make_hrn_pipeline") as said:
        detector.fit(X[kind == 0])
    told = [w.category for w in said if w.category in (CentredRowsWarning, RowLengthWarning)]
    assert len(told) == 1
    if norm is not None and norm.center is None:  # all rows are of one length
        assert told == [CentredRowsWarning]


def test_features_of_a_kernel_are_not_told_that_they_lie_on_all_sides():
    X = np.random.default_rng(0).normal(size=(300, 900))
    rows = LandmarkFeatures(500, gamma=0.01, random_state=0).fit_transform(X)
    assert np.linalg.norm(rows.mean(axis=0)) < 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HRNOneClassClassifier(max_iter=2, random_state=0).fit(rows)


def along_one_direction(rng, ratio, correlation, n_rows=400):
    """Rows whose lengths span a ratio from 5 % to 95 %, and scores with that rank correlation.

    The shortest and the longest fiftieth are much shorter and longer, which is to change nothing.
    """
    lengths = np.geomspace(1, ratio ** (1 / 0.9), n_rows)
    lengths[: n_rows // 50] /= 9
    lengths[-(n_rows // 50) :] *= 9
    place = np.linspace(-1, 1, n_rows)
    noise = rng.permutation(place)
    noise -= noise @ place / (place @ place) * place
    scores = correlation * place + np.sqrt(1 - correlation**2) * noise
    return lengths[:, None] * [0.6, 0.8, 0.0], scores


def told_of_rows(X, scores, rows=None):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        doubt_lengths(X, rows, scores)
    return [w.category for w in said]


def test_scores_that_are_all_equal_follow_no_length(rng):
    X = rng.normal(size=(50, 3)) * np.linspace(1, 9, 50)[:, None]
    assert told_of_rows(X, np.ones(50)) == []


@pytest.mark.parametrize(
    ("ratio", "correlation", "is_told"),
    [
        *((2.0, 0.75, True), (2.0, 0.55, False), (1.6, 0.75, False), (1.6, 0.92, True)),
        *((1.25, 0.92, True), (1.25, 0.8, False), (1.1, 0.95, False)),
    ],
)
def test_lengths_and_scores_that_go_together_are_told_of_from_a_ratio_and_a_correlation_on(
    rng, ratio, correlation, is_told
):
    X, scores = along_one_direction(rng, ratio, correlation)
    assert told_of_rows(X, scores) == [RowLengthWarning] * is_told
    # Of some rows of an array only these count, and of sorted ones not the first alone.
    others = np.r_[np.full((400, 3), 1.0), X]
    assert told_of_rows(others, scores, np.arange(400, 800)) == [RowLengthWarning] * is_told
    many, scores = along_one_direction(rng, ratio, correlation, 4000)
    assert told_of_rows(many, scores) == [RowLengthWarning] * is_told


@pytest.mark.parametrize("longest", [0.5, 0.99, 1.0, 1.01])
def test_lengths_say_how_near_rows_are_where_the_longest_is_one(longest, rng):
    X, scores = along_one_direction(rng, 2.0, 0.95)
    X *= longest / row_norms(X).max()
    told = [] if longest == 1 else [RowLengthWarning]
    assert told_of_rows(X, scores) == told
    # Other rows of the array have no say.
    assert told_of_rows(np.r_[3 * X, X], scores, np.arange(400, 800)) == told


@pytest.mark.parametrize(("mean", "is_told"), [(0.1, True), (0.2, False)])
def test_rows_are_on_all_sides_of_zero_where_their_directions_have_a_short_mean(mean, is_told):
    signs = np.where(np.arange(1000) % 20 < 10 * (1 + mean), 1.0, -1.0)
    X, scores = signs[:, None] * [1.0, 0.0], np.arange(1000.0)
    assert told_of_rows(X, scores) == [CentredRowsWarning] * is_told


@pytest.mark.parametrize(("n_rows", "is_told"), [(40, False), (41, True)])
def test_as_many_rows_as_lie_on_one_side_by_chance_are_not_told_so(n_rows, is_told):
    X, scores = np.resize(np.r_[np.eye(20), -np.eye(20)], (n_rows, 20)), np.arange(n_rows)
    assert told_of_rows(X, scores) == [CentredRowsWarning] * is_told
    others = np.r_[np.ones((100, 20)), X]  # which have no say
    rows = np.arange(100, 100 + n_rows)
    assert told_of_rows(others, scores, rows) == [CentredRowsWarning] * is_told


def test_of_a_module_it_is_not_known_what_the_length_of_a_row_does():
    X = np.geomspace(1, 9, 60)[:, None] * [0.6, 0.8, 0.0]
    for module, is_told in ((None, True), (partial(torch.nn.Linear, out_features=1), False)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            HRNOneClassClassifier(module=module, max_iter=20, random_state=0).fit(X)
        assert [w.category for w in said] == [RowLengthWarning] * is_told


@pytest.mark.parametrize("first", ["partial_fit", "fit"])
def test_a_fit_that_continues_leaves_no_calibration_of_another_network(X, first):
    continued = hrn(calibration=None if first == "partial_fit" else "cross", max_iter=3)
    getattr(continued, first)(X)
    assert hasattr(continued, "calibration_scores_")
    continued.set_params(warm_start=True, calibration=None).fit(X)
    left = {name for name in vars(continued) if name.startswith(("calibration_s", "drift_"))}
    assert not left
