"""Closed forms = autograd = central finite difference, in float64."""

import itertools

import numpy as np
import pytest
import torch
from oracles import finite_differences, network, objective

from sklearn_hrn.core.gradients import AnyDepth, Autograd, DirectForm, GramForm, closed_form
from sklearn_hrn.core.perceptrons import forward

DEPTHS = [(5, 1), (5, 4, 1), (5, 4, 3, 1), (6, 5, 4, 3, 1)]
FORMS = [
    (form, sizes)
    for sizes in DEPTHS
    for form in ([AnyDepth, DirectForm, GramForm] if len(sizes) == 3 else [AnyDepth])
]
N_STREAMS, N_PER_STREAM, BATCH_SIZE = 2, 3, 7
N_MODELS = N_STREAMS * N_PER_STREAM


class Perceptron(torch.nn.Module):
    """The same network as a module, for autograd."""

    def __init__(self, layer_sizes, slope):
        super().__init__()
        self.weights = torch.nn.ParameterList(
            [torch.zeros(b, a) for a, b in itertools.pairwise(layer_sizes)]
        )
        self.slope = slope

    def forward(self, x):
        return forward([W[None] for W in self.weights], x, self.slope)[0]


def problem(layer_sizes, n):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = [normal(N_MODELS, b, a) / a**0.5 for a, b in itertools.pairwise(layer_sizes)]
    x = normal(N_STREAMS, BATCH_SIZE, layer_sizes[0])
    lam = torch.rand((N_MODELS, 1), generator=generator, dtype=torch.float64)
    return weights, x, lam, torch.full_like(lam, n)


def evaluate(form, weights, x, lam, n):
    form.bind(weights, lam, n)
    f, norm = torch.empty((2, len(lam), x.shape[1]), dtype=x.dtype)
    return f, norm, form(x, f, norm)


@pytest.mark.parametrize("slope", [0.01, 0.0])
@pytest.mark.parametrize("n", [1, 1.5, 2, 12])
@pytest.mark.parametrize("loss", ["nll", "square"])
@pytest.mark.parametrize(("form", "sizes"), FORMS, ids=str)
def test_closed_forms_equal_double_backward(form, sizes, loss, n, slope):
    weights, x, lam, exponent = problem(sizes, n)
    shape = (N_STREAMS, N_PER_STREAM, BATCH_SIZE)
    closed = form(sizes, shape, slope, loss, dtype=torch.float64)
    f, norm, dW = evaluate(closed, weights, x, lam, exponent)
    for m in range(N_MODELS):
        one = slice(m, m + 1)
        stream = slice(m // N_PER_STREAM, m // N_PER_STREAM + 1)
        autograd = Autograd(Perceptron(sizes, slope), loss)
        expected_f, expected_norm, expected = evaluate(
            autograd, [W[one] for W in weights], x[stream], lam[one], exponent[one]
        )
        # float64 rounding, where a dead row has no gradient but that of rounding.
        torch.testing.assert_close(f[one], expected_f, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(norm[one], expected_norm, rtol=1e-10, atol=1e-7)
        for dW_l, expected_l in zip(dW, expected, strict=True):
            torch.testing.assert_close(dW_l[one], expected_l, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n", [1, 1.5, 2, 12])
@pytest.mark.parametrize("loss", ["nll", "square"])
@pytest.mark.parametrize(("form", "sizes"), FORMS, ids=str)
def test_closed_forms_equal_finite_differences(form, sizes, loss, n):
    weights, x, lam, exponent = problem(sizes, n)
    closed = form(sizes, (N_STREAMS, N_PER_STREAM, BATCH_SIZE), 0.01, loss, dtype=torch.float64)
    f, norm, dW = evaluate(closed, weights, x, lam, exponent)
    m = 4
    X, mine = x[m // N_PER_STREAM].numpy(), [W[m].numpy().copy() for W in weights]
    expected_f, G = network(mine, X, 0.01)
    np.testing.assert_allclose(f[m], expected_f, rtol=1e-12)
    np.testing.assert_allclose(norm[m], np.linalg.norm(G, axis=1), rtol=1e-9)
    expected = finite_differences(
        lambda: objective(mine, X, 0.01, loss=loss, lam=lam[m].item(), n=n), mine
    )
    for dW_l, expected_l in zip(dW, expected, strict=True):
        # A central difference with a step of 1e-6 is right to about eight digits of the largest.
        np.testing.assert_allclose(dW_l[m], expected_l, atol=1e-7 * np.abs(expected_l).max())


@pytest.mark.parametrize("loss", ["nll", "square"])
@pytest.mark.parametrize(("form", "sizes"), FORMS, ids=str)
def test_labelled_anomalies_are_pushed_down_as_the_objective_says(form, sizes, loss):
    weights, x, lam, exponent = problem(sizes, 3)
    omega = torch.linspace(0.2, 2, N_MODELS, dtype=torch.float64)[:, None]
    n_normal, n_anomalies = 5, 2
    shape = (N_STREAMS, N_PER_STREAM, n_normal)
    closed = form(sizes, shape, 0.01, loss, n_anomalies, dtype=torch.float64)
    f, norm = torch.empty((2, N_MODELS, BATCH_SIZE), dtype=x.dtype)
    closed.bind(weights, lam, exponent, omega)
    dW = closed(x, f, norm)
    for m in range(N_MODELS):
        mine = [W[m].clone().requires_grad_() for W in weights]
        rows = x[m // N_PER_STREAM].clone().requires_grad_()
        out = forward([W[None] for W in mine], rows, 0.01)[0]
        (G,) = torch.autograd.grad(out.sum(), rows, create_graph=True)
        value = {"nll": lambda f: -f.sigmoid().log(), "square": lambda f: (1 - f) ** 2}[loss]
        whole = (value(out[:n_normal]) + lam[m] * G[:n_normal].norm(dim=1) ** 3).mean() + omega[
            m, 0
        ] * value(-out[n_normal:]).mean()
        expected = torch.autograd.grad(whole, mine)
        torch.testing.assert_close(f[m], out.detach())
        for dW_l, expected_l in zip(dW, expected, strict=True):
            torch.testing.assert_close(dW_l[m], expected_l, rtol=1e-9, atol=1e-10)

        autograd = Autograd(Perceptron(sizes, 0.01), loss, n_normal)
        autograd.bind([W[m : m + 1] for W in weights], lam[m:], exponent[m:], omega[m:])
        found = autograd(rows.detach()[None], *torch.empty((2, 1, BATCH_SIZE), dtype=x.dtype))
        for dW_l, expected_l in zip(found, expected, strict=True):
            torch.testing.assert_close(dW_l[0], expected_l, rtol=1e-9, atol=1e-10)


def test_the_input_gradient_is_that_of_the_network():
    weights, x, _, _ = problem((5, 4, 3, 1), 12)
    mine, X, step = [W[0].numpy() for W in weights], x[0].numpy(), 1e-6
    _, G = network(mine, X, 0.01)
    for j, e in enumerate(np.eye(5) * step):
        difference = network(mine, X + e, 0.01)[0] - network(mine, X - e, 0.01)[0]
        # Central difference of a piecewise linear function: exact but for rounding.
        np.testing.assert_allclose(G[:, j], difference / (2 * step), atol=1e-8)


@pytest.mark.parametrize("form", [DirectForm, GramForm])
def test_a_unit_whose_outgoing_weight_is_zero_still_learns(form):
    sizes = (5, 4, 1)
    weights, x, lam, exponent = problem(sizes, 12)
    weights[1][:, :, 2] = 0
    shape = (N_STREAMS, N_PER_STREAM, BATCH_SIZE)
    fast, plain = (
        evaluate(f(sizes, shape, 0.01, "nll", dtype=torch.float64), weights, x, lam, exponent)[2]
        for f in (form, AnyDepth)
    )
    assert (plain[1][:, :, 2] != 0).all()
    torch.testing.assert_close(fast[1], plain[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cached", [1, 3 * 5 * N_STREAMS * N_PER_STREAM])
def test_units_are_added_up_some_at_a_time_or_all_at_once(cached, monkeypatch):
    sizes, shape = (5, 7, 1), (N_STREAMS, N_PER_STREAM, BATCH_SIZE)
    given = problem(sizes, 12)
    whole = evaluate(DirectForm(sizes, shape, 0.01, "nll", dtype=torch.float64), *given)[2]
    monkeypatch.setattr("sklearn_hrn.core.gradients.CACHED", cached)
    form = DirectForm(sizes, shape, 0.01, "nll", dtype=torch.float64)
    assert [WdW.shape[1] for _, WdW in form.blocks] == ([1] * 7 if cached == 1 else [3, 3, 1])
    torch.testing.assert_close(evaluate(form, *given)[2], whole, rtol=0, atol=0)


def test_the_form_is_chosen_by_shape():
    def chosen(*layer_sizes):
        return type(closed_form(layer_sizes, (1, 1, 100), 0.01, "nll"))

    assert chosen(20, 100, 1) is DirectForm
    assert chosen(20, 49, 1) is GramForm
    assert chosen(20, 1) is chosen(20, 5, 5, 1) is AnyDepth


@pytest.mark.parametrize("n", [1.0, 1.5])
def test_a_vanishing_gradient_gives_no_nan_below_an_exponent_of_two(n):
    shape = (1, 1, 3)
    weights = [torch.zeros(1, 4, 5), torch.zeros(1, 1, 4)]
    lam = torch.ones(1, 1)
    for form in (AnyDepth, DirectForm, GramForm):
        _, norm, dW = evaluate(
            form((5, 4, 1), shape, 0.01, "nll"), weights, torch.ones(1, 3, 5), lam, n * lam
        )
        assert norm.max() < 1e-12
        assert all(d.isfinite().all() for d in dW)


def test_a_gradient_that_cancels_is_no_nan():
    # The gradient is the difference of two weights that are nearly equal: what `GramForm` takes
    # the root of is the rounding of float32, and as often as not below zero.
    generator, sizes, n_models = torch.Generator().manual_seed(0), (5, 2, 1), 50
    W = torch.randn((n_models, 1, 5), generator=generator)
    W = W + 1e-6 * torch.randn((n_models, 2, 5), generator=generator)
    w = torch.tensor([1.0, -1.0]).expand(n_models, 1, 2).contiguous()
    lam = torch.ones(n_models, 1)
    x = torch.randn((1, BATCH_SIZE, 5), generator=generator)
    form = GramForm(sizes, (1, n_models, BATCH_SIZE), 0.01, "nll")
    _, norm, dW = evaluate(form, [W, w], x, lam, 2 * lam)
    assert norm.max() < 0.01
    assert norm.isfinite().all() and all(d.isfinite().all() for d in dW)
