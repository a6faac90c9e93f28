"""The terms of the loss, each beside its derivative."""

import math

import numpy as np
import pytest
import torch

from sklearn_hrn.core.objective import (
    DATA_TERMS,
    SMALLEST_SLOPE,
    h_penalty,
    h_penalty_slope,
    nll,
    square,
)

F = torch.linspace(-6, 6, 25, dtype=torch.float64)


def test_the_data_terms_are_those_of_the_paper():
    np.testing.assert_allclose(nll(F), -np.log(1 / (1 + np.exp(-F.numpy()))), rtol=1e-12)
    np.testing.assert_allclose(square(F), (1 - F.numpy()) ** 2)


@pytest.mark.parametrize("name", DATA_TERMS)
def test_a_slope_is_the_derivative_of_its_term(name):
    value, slope, untrained = DATA_TERMS[name]
    f = F.clone().requires_grad_()
    (expected,) = torch.autograd.grad(value(f).sum(), f)
    # At 1 the square loss is flat, and its slope is held away from 0.
    torch.testing.assert_close(slope(F), expected, rtol=1e-12, atol=2 * SMALLEST_SLOPE)
    assert value(torch.zeros(1)).item() == pytest.approx(untrained)
    assert DATA_TERMS["nll"][2] == math.log(2)


@pytest.mark.parametrize("name", DATA_TERMS)
@pytest.mark.parametrize("f", [1.0, 200.0])
def test_a_slope_is_never_zero(name, f):
    slope = DATA_TERMS[name][1](torch.tensor([f]))
    assert slope.abs().item() >= SMALLEST_SLOPE * 0.99
    assert slope.isfinite().all()


@pytest.mark.parametrize("n", [1.0, 1.5, 2.0, 12.0])
def test_the_slope_of_the_penalty_times_the_gradient_is_its_derivative(n):
    lam, n = torch.tensor([[0.1], [0.7]], dtype=torch.float64), torch.tensor(n, dtype=torch.float64)
    G = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    G.requires_grad_()
    norm = G.norm(dim=2)
    torch.testing.assert_close(h_penalty(norm, lam, n), lam * norm**n)
    (expected,) = torch.autograd.grad(h_penalty(norm, lam, n).sum(), G)
    slope = h_penalty_slope(lam, n * torch.ones_like(lam))(norm)
    torch.testing.assert_close(slope[:, :, None] * G, expected)


@pytest.mark.parametrize("n", [[1.0], [1.5], [12.0, 1.0]], ids=str)
def test_below_an_exponent_of_two_the_slope_at_zero_is_finite(n):
    n = torch.tensor(n)[:, None]  # of models that train together, each with its own
    slope = h_penalty_slope(torch.ones_like(n), n)(torch.zeros(len(n), 4))
    assert slope.isfinite().all()
