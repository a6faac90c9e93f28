"""A user's own torch module in place of the perceptron."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sklearn_hrn import (
    ChannelNetwork,
    HRNOneClassClassifier,
    OneClassPipeline,
    PatchDictionary,
    TorchFeatures,
)
from sklearn_hrn.exceptions import NonFiniteLossWarning
from sklearn_hrn.inspection import feature_attribution


def bias_free(n_features):
    return nn.Sequential(
        nn.Linear(n_features, 20, bias=False), nn.LeakyReLU(0.01), nn.Linear(20, 1, bias=False)
    )


def convolutional(n_features):
    return nn.Sequential(
        nn.Unflatten(1, (1, n_features)), nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(3 * (n_features - 2), 1), nn.Flatten(0),
    )  # fmt: skip


class Frozen(nn.Module):
    """A frozen first layer, a buffer, and a head that is trained."""

    def __init__(self, n_features):
        super().__init__()
        self.first = nn.Linear(n_features, 8).requires_grad_(False)
        self.register_buffer("shift", torch.ones(8))
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)) + self.shift)


@pytest.fixture
def X(rng):
    X = rng.normal(1, 1, size=(120, 9))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def detector(module, **parameters):
    parameters = {"max_iter": 5, "batch_size": 40, "random_state": 0, **parameters}
    return HRNOneClassClassifier(module=module, **parameters)


@pytest.mark.parametrize("module", [bias_free, convolutional, Frozen])
def test_any_module_trains_and_scores(X, module):
    fitted = detector(module, max_iter=20, n_estimators=2).fit(X)
    assert fitted.history_["loss"].shape == (20, 2)
    assert (fitted.history_["loss"][-1] < fitted.history_["loss"][0]).all()
    scores = fitted.score_samples(X)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(fitted.score_samples(X[:1]), scores[:1], rtol=1e-12)
    assert not hasattr(fitted, "coefs_")
    assert all(len(array) == 2 for array in fitted.module_state_.values())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(X), scores)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that of torch on rows that must not be written
        rows = X.astype(np.float64)
        rows.flags.writeable = False
        np.testing.assert_array_equal(fitted.score_samples(rows), scores)


class OfCategory(nn.Module):
    """The number of a category in the first column, and positive columns behind it."""

    def __init__(self, n_features):
        super().__init__()
        self.embedding, self.head = nn.Embedding(3, 2), nn.Linear(n_features + 1, 1)

    def forward(self, x):
        category = self.embedding(x[:, 0].long())
        return self.head(torch.cat([x[:, 1:].log(), category], 1))


def test_a_module_may_take_numbers_of_categories_and_logarithms(rng):
    X = rng.uniform(0.5, 2, size=(60, 5))
    X[:, 0] = rng.integers(3, size=60)
    fitted = detector(OfCategory, max_iter=20).fit(X)
    assert np.isfinite(fitted.score_samples(X)).all()
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0]


def half_precision():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode, half_precision])
def test_a_module_trains_where_the_caller_has_switched_gradients_or_digits_off(X, off):
    X, brief = X[:40], {"max_iter": 1, "calibration": 2, "score_dtype": "float32"}
    expected = detector(bias_free, **brief).fit(X)
    with off():
        fitted = detector(bias_free, **brief).fit(X)
        scores = fitted.score_samples(X)
        back = feature_attribution(fitted, X[:2], reference=X[:1])
        fitted.partial_fit(X)
    np.testing.assert_array_equal(scores, expected.score_samples(X))
    again = feature_attribution(expected, X[:2], reference=X[:1])
    np.testing.assert_array_equal(back, again)


@pytest.mark.parametrize("step", ["words", "torch features"])
def test_a_step_has_gradients_where_the_caller_has_switched_them_off(X, step):
    if step == "words":
        front = PatchDictionary(image_shape=(3, 3, 1), n_words=4, random_state=0)
    else:
        front = TorchFeatures(nn.Linear(9, 4))
    pipeline = OneClassPipeline([("front", front), ("hrn", detector(None))]).fit(X)
    expected = feature_attribution(pipeline, X[:2])
    with torch.inference_mode():
        np.testing.assert_array_equal(feature_attribution(pipeline, X[:2]), expected)


def test_a_module_is_made_in_float32_on_the_cpu_wherever_tensors_else_are(X):
    expected = detector(ChannelNetwork()).fit(X).score_samples(X)
    with torch.device("meta"):
        np.testing.assert_array_equal(detector(ChannelNetwork()).fit(X).score_samples(X), expected)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(detector(ChannelNetwork()).fit(X).score_samples(X), expected)
        detector(convolutional).fit(X)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_module_that_is_the_perceptron_trains_as_the_perceptron(X):
    module = detector(bias_free).fit(X)
    perceptron = detector(None, hidden_layer_sizes=20).fit(X)
    start = {"0.weight": 0, "2.weight": 1}
    # Same equation from another start: continue the perceptron from the module's weights.
    perceptron.coefs_ = [np.swapaxes(module.module_state_[name], 1, 2).copy() for name in start]
    perceptron._loop = module._loop
    for either in (module, perceptron):
        either.set_params(warm_start=True).fit(X)
    for name, layer in start.items():
        np.testing.assert_allclose(
            np.swapaxes(module.module_state_[name], 1, 2),
            perceptron.coefs_[layer],
            atol=1e-5,  # float32: double backward against the closed form
        )


def test_frozen_parameters_and_buffers_stay(X):
    with torch.random.fork_rng():
        fitted = detector(Frozen).fit(X)
        longer = detector(Frozen, max_iter=9).fit(X)
    for name in ("first.weight", "first.bias", "shift"):
        np.testing.assert_array_equal(fitted.module_state_[name], longer.module_state_[name])
    assert (fitted.module_state_["head.weight"] != longer.module_state_["head.weight"]).any()


def test_making_a_module_leaves_the_global_generator_where_it_was(X):
    before = torch.get_rng_state()
    detector(bias_free).fit(X)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_is_a_function_of_the_seed(X):
    a, b, c = (detector(bias_free, random_state=s).fit(X).score_samples(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_a_module_continues_bit_for_bit(X):
    whole = detector(convolutional, max_iter=6).fit(X)
    parts = detector(convolutional, max_iter=2, warm_start=True).fit(X)
    parts = pickle.loads(pickle.dumps(parts)).set_params(max_iter=4).fit(X)
    np.testing.assert_array_equal(parts.score_samples(X), whole.score_samples(X))


def returning(value):
    return lambda n_features: value


class Lambda(nn.Module):
    def __init__(self, function, n_features=9):
        super().__init__()
        self.function, self.linear = function, nn.Linear(n_features, 1)

    def forward(self, x):
        return self.function(self, x)


class Recurrent(nn.Module):
    """Features are steps in time, or, as the layer has it by default, rows are."""

    def __init__(self, n_features, batch_first=False):
        super().__init__()
        self.recurrent = nn.GRU(1, 4, batch_first=batch_first)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.recurrent(x.unsqueeze(-1))[0][:, -1])


def centred(self, x):
    return self.linear(x) - self.linear(x).mean()


class Attention(nn.Module):
    def __init__(self, n_features, backend):
        super().__init__()
        self.into, self.head, self.backend = nn.Linear(1, 4), nn.Linear(4, 1), backend
        self.layer = nn.TransformerEncoderLayer(4, 2, 4, dropout=0.0, batch_first=True)

    def forward(self, x):
        with sdpa_kernel(self.backend):
            return self.head(self.layer(self.into(x.unsqueeze(-1))).mean(1))


def weight_normed(n_features):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that it is of old
        return nn.utils.weight_norm(nn.Linear(n_features, 1))


BAD_MODULES = {
    "an instance": (lambda: bias_free(9), TypeError, "is an instance of Sequential.*factory"),
    "no module": (lambda: returning(3), TypeError, r"module\(n_features=9\) returned int"),
    "batch norm": (
        lambda: returning(nn.Sequential(nn.BatchNorm1d(9), nn.Linear(9, 1))),
        ValueError,
        "BatchNorm1d.*other rows of its batch.*LayerNorm",
    ),
    "dropout": (
        lambda: returning(nn.Sequential(nn.Dropout(0.5), nn.Linear(9, 1))),
        ValueError,
        "Dropout.*Remove it",
    ),
    "two outputs": (lambda: returning(nn.Linear(9, 2)), ValueError, r"to \(2, 2\); it must"),
    "wrong width": (lambda: returning(nn.Linear(8, 1)), ValueError, r"shape \(2, 9\)"),
    "nothing to train": (lambda: returning(nn.Flatten(0)), ValueError, "no parameter"),
    "detached": (
        lambda: returning(Lambda(lambda self, x: self.linear(x.detach()))),
        ValueError,
        "does not depend differentiably on its input",
    ),
    "rows as steps in time": (lambda: Recurrent, ValueError, "other rows.*batch_first=True"),
    "centred on the batch": (lambda: lambda d: Lambda(centred), ValueError, "depends on the other"),
    "float32 alone": (
        lambda: lambda d: Lambda(lambda self, x: self.linear(x.float())),
        ValueError,
        r"cannot process float64 rows.*no fixed type",
    ),
    "a gradient without one": (
        lambda: lambda d: Attention(d, SDPBackend.FLASH_ATTENTION),
        ValueError,
        "differentiated twice.*SDPBackend.MATH",
    ),
    "weight norm of old": (lambda: weight_normed, ValueError, "torch.nn.utils.parametrizations"),
}


@pytest.mark.parametrize("case", BAD_MODULES)
def test_modules_of_the_wrong_kind_are_refused_with_the_reason(X, case):
    make, error, message = BAD_MODULES[case]
    with pytest.raises(error, match=message):
        detector(make()).fit(X)


# What comes back otherwise than it was trained


class Tied(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.into, self.back = nn.Linear(n_features, 4, False), nn.Linear(n_features, 4, False)
        self.back.weight = self.into.weight
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(self.into(x)) + self.back(x))


class Unsaved(nn.Module):
    """A random projection that is no part of the state."""

    def __init__(self, n_features, as_buffer):
        super().__init__()
        projection = torch.randn(n_features, 4)
        if as_buffer:
            self.register_buffer("projection", projection, persistent=False)
        else:
            self.projection = projection
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.tanh(x @ self.projection.to(x) / 10))


class FunctionalDropout(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.head = nn.Linear(n_features, 1)

    def forward(self, x):
        return self.head(nn.functional.dropout(x, training=self.training))


def of_one(module):
    return lambda n_features: module


DIFFERENT = {
    "tied weights": (lambda: Tied, ValueError, r"tied \(into.weight = back.weight\)"),
    "an unsaved buffer": (
        lambda: lambda d: Unsaved(d, as_buffer=True), ValueError, "buffers projection are not part",
    ),
    "a random attribute": (
        lambda: lambda d: Unsaved(d, as_buffer=False), ValueError, "attribute that is drawn",
    ),
    "functional dropout": (lambda: FunctionalDropout, ValueError, "draws random numbers"),
    "one module for all": (lambda: of_one(bias_free(9)), TypeError, "same torch.nn.Module twice"),
}  # fmt: skip


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize("case", DIFFERENT)
def test_a_module_that_would_score_as_another_is_refused_by_name(X, case, n_estimators):
    make, error, message = DIFFERENT[case]
    before = torch.get_rng_state()
    with pytest.raises(error, match=message):
        detector(make(), n_estimators=n_estimators).fit(X)
    if case != "one module for all":  # which is made here
        assert torch.equal(torch.get_rng_state(), before)


def normed(n_features):
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(n_features, 5)),
        nn.LeakyReLU(),
        nn.Linear(5, 1),
    )


def lazy(n_features):
    return nn.Sequential(nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(1))


class Following(nn.Module):
    """A buffer follows the rows that are trained on, as it was before them."""

    def __init__(self, n_features):
        super().__init__()
        self.first, self.head = nn.Linear(n_features, 4), nn.Linear(4, 1)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        mean, hidden = self.mean.clone(), self.first(x)
        if self.training:
            self.mean.lerp_(hidden.detach().mean(0), 0.1)
        return self.head(torch.tanh(hidden - mean))


@pytest.mark.parametrize("factory", [normed, lazy, Following])
def test_modules_with_a_memory_are_a_function_of_the_seed_and_continue(X, factory):
    before = torch.get_rng_state()
    whole = detector(factory, max_iter=6).fit(X)
    parts = detector(factory, max_iter=2, warm_start=True).fit(X)
    parts = pickle.loads(pickle.dumps(parts)).set_params(max_iter=4).fit(X)
    np.testing.assert_array_equal(parts.score_samples(X), whole.score_samples(X))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("factory", [normed, Following])
def test_modules_with_a_memory_train_beside_longer_ones_as_alone(X, factory):
    lengths = [2, 6]
    together = [detector(factory, max_iter=n) for n in lengths]
    HRNOneClassClassifier.fit_together(together, [X, X], [None, None])
    for one, n in zip(together, lengths, strict=True):
        alone = detector(factory, max_iter=n).fit(X).score_samples(X)
        np.testing.assert_array_equal(one.score_samples(X), alone)


def test_the_memory_of_a_module_goes_back_with_a_round_that_is_repeated(X):
    with pytest.warns(NonFiniteLossWarning):
        fitted = detector(Following, learning_rate_init=1e3, max_iter=20).fit(X)
    assert np.abs(fitted.module_state_["mean"]).max() < 10


def test_modules_made_in_several_threads_keep_their_seeds(X):
    expected = detector(bias_free, max_iter=1).fit(X).score_samples(X)
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(detector(bias_free, max_iter=1).fit, X) for _ in range(12)]
    for fit in fits:
        np.testing.assert_array_equal(fit.result().score_samples(X), expected)


def test_making_a_module_queues_no_seed_for_a_gpu(X, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded"))
    detector(bias_free, max_iter=1).fit(X).score_samples(X)
