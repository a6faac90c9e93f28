"""The paper's network for colour images, and its two penalties."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_hrn import ChannelNetwork, HRNOneClassClassifier, InstanceL2Normalizer
from sklearn_hrn.core.channels import ChannelForm, ChannelModule
from sklearn_hrn.core.gradients import Autograd

N_PIXELS, N_CHANNELS = 16, 3
N_FEATURES = N_PIXELS * N_CHANNELS


def network(**parameters):
    return ChannelNetwork(**{"branch_size": 7, "hidden_size": 5, "init": 0.4, **parameters})


def made(**parameters):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return network(**parameters)(N_FEATURES).double()


@pytest.fixture
def X(rng):
    X = rng.uniform(size=(60, N_FEATURES))
    return InstanceL2Normalizer().fit_transform(X)


def leaky(z):
    return np.maximum(z, 0.01 * z)


def test_every_channel_has_a_branch_of_its_own(X):
    module = made()
    branches, joined, output = (p.detach().numpy() for p in module.parameters())
    parts = [leaky(X[:, c::N_CHANNELS] @ branches[c]) for c in range(N_CHANNELS)]
    expected = leaky(np.concatenate(parts, axis=1) @ joined) @ output
    f = module(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(f, expected, rtol=1e-10)


def penalties(G, exponent):
    """Mean penalty of gradients (B, d) by name, without lambda: the definitions, word for word."""
    pixels = G.unflatten(1, (N_PIXELS, N_CHANNELS)).norm(dim=2)
    return {"row": G.norm(dim=1).pow(exponent).mean(), "pixel": pixels.pow(exponent).mean()}


@pytest.mark.parametrize("form", [Autograd, ChannelForm])
@pytest.mark.parametrize("exponent", [1.5, 2.0, 12.0])
@pytest.mark.parametrize("penalty", ["row", "pixel"])
@pytest.mark.parametrize(("loss", "n_normal"), [("nll", 60), ("nll", 45), ("square", 45)])
def test_the_derivatives_are_those_of_the_objective_as_it_is_written(
    X, form, penalty, exponent, loss, n_normal
):
    # Weights of a size at which the 12th power of a norm counts.
    module = made(penalty=penalty, init=1.0 if penalty == "row" else 2.0)
    x = torch.from_numpy(X).requires_grad_()
    f = module(x)[:, 0]
    (G,) = torch.autograd.grad(f.sum(), x, create_graph=True)
    value = {"nll": lambda f: torch.nn.functional.softplus(-f), "square": lambda f: (1 - f) ** 2}
    normal, anomalies = value[loss](f[:n_normal]), value[loss](-f[n_normal:])
    whole = normal.mean() + 0.1 * penalties(G[:n_normal], exponent)[penalty]
    whole = whole + 0.7 * anomalies.sum() / max(1, len(anomalies))
    expected = torch.autograd.grad(whole, list(module.parameters()))

    closed = form(module, loss, n_normal)
    weights = [p.detach()[None] for p in module.parameters()]
    lam, n, omega = (torch.tensor([[v]], dtype=torch.float64) for v in (0.1, exponent, 0.7))
    closed.bind(weights, lam, n, omega)
    out, norm = (torch.empty(1, len(X), dtype=torch.float64) for _ in range(2))
    for got, wanted in zip(closed(x.detach()[None], out, norm), expected, strict=True):
        torch.testing.assert_close(got[0], wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(out[0], f.detach())
    mean = norm[0, :n_normal].pow(exponent).mean()
    torch.testing.assert_close(mean, penalties(G[:n_normal], exponent)[penalty])


@pytest.mark.parametrize("penalty", ["row", "pixel"])
def test_it_trains_by_its_closed_form(X, penalty, monkeypatch):
    size = {"module": network(penalty=penalty), "max_iter": 5, "batch_size": 20, "random_state": 0}
    closed = HRNOneClassClassifier(**size).fit(X).module_state_
    monkeypatch.setattr(ChannelForm, "__call__", lambda *arguments: pytest.fail("called"))
    with pytest.raises(BaseException, match="called"):
        HRNOneClassClassifier(**size).fit(X)
    monkeypatch.delattr(ChannelModule, "closed_form")
    by_autograd = HRNOneClassClassifier(**size).fit(X).module_state_
    for name, weight in closed.items():
        np.testing.assert_allclose(weight, by_autograd[name], atol=1e-5)  # float32


def test_a_faint_gradient_keeps_its_pixel_norm():
    # Its twelfth power is below the smallest float32.
    gradient = torch.full((2, N_FEATURES), 1e-10)
    g = made(penalty="pixel").gradient_norm(gradient, torch.tensor(12.0))
    torch.testing.assert_close(g, torch.full((2,), 3**0.5 * 1e-10))
    assert made(penalty="pixel").gradient_norm(0 * gradient, torch.tensor(12.0)).isfinite().all()


@pytest.mark.parametrize("penalty", ["row", "pixel"])
def test_it_trains_scores_and_is_pickled_inside_the_classifier(X, penalty):
    detector = HRNOneClassClassifier(
        module=network(penalty=penalty), max_iter=30, batch_size=20, random_state=0
    ).fit(X)
    assert detector.history_["loss"][-1, 0] < detector.history_["loss"][0, 0]
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.score_samples(X), detector.score_samples(X))
    np.testing.assert_array_equal(clone(detector).fit(X).score_samples(X), copy.score_samples(X))


def test_the_penalty_by_pixel_restrains_less(X):
    def gradient_of_the_row(penalty):
        detector = HRNOneClassClassifier(
            module=network(penalty=penalty), max_iter=200, batch_size=20, random_state=0
        ).fit(X)
        state = {k: torch.from_numpy(v[0]).double() for k, v in detector.module_state_.items()}
        x = torch.from_numpy(X).requires_grad_()
        f = torch.func.functional_call(made(), state, (x,))
        return torch.autograd.grad(f.sum(), x)[0].norm(dim=1).mean()

    assert gradient_of_the_row("pixel") > 2 * gradient_of_the_row("row")


@pytest.mark.parametrize(
    ("parameters", "n_features", "message"),
    [
        ({}, 47, "47 features.*n_channels=3"),
        ({"penalty": "image"}, 48, "penalty='image' is unknown.*row.*pixel"),
        ({"branch_size": 0}, 48, "branch_size=0.*at least 1"),
        ({"init": 0.0}, 48, "init=0.0.*above 0"),
    ],
)
def test_what_is_no_network_of_channels_is_refused(parameters, n_features, message):
    with pytest.raises(ValueError, match=message):
        network(**parameters)(n_features)
