"""Initialisation and forward pass of the perceptrons."""

import math

import numpy as np
import pytest
import torch
from oracles import network

from sklearn_hrn.core.perceptrons import forward, half_width, initial_weights


def test_the_half_width_is_the_authors_for_their_network():
    assert half_width((784, 100, 1)) == pytest.approx(1 / math.sqrt(2000))


@pytest.mark.parametrize(
    "layer_sizes",
    [(784, 100, 1), (6, 100, 1), (50, 1), (20, 1000, 1), (100, 60, 40, 1), (30, 50, 50, 50, 1)],
)
def test_every_shape_begins_with_the_same_gradient_norm(layer_sizes, rng):
    weights = [w.double().numpy() for w in initial_weights(layer_sizes, range(60))]
    X = rng.normal(size=(4, layer_sizes[0]))
    squares = [
        (network([w[m] for w in weights], X, 0.0)[1] ** 2).sum(axis=1).mean() for m in range(60)
    ]
    # 60 draws of the weights of a narrow network leave the mean square uncertain by about 15 %.
    assert math.sqrt(np.mean(squares)) == pytest.approx(0.033, rel=0.3)


def test_the_weights_are_a_function_of_the_seed_alone():
    together, alone = initial_weights((5, 4, 1), [3, 8]), initial_weights((5, 4, 1), [8])
    for both, one in zip(together, alone, strict=True):
        assert torch.equal(both[1], one[0])
        assert not torch.equal(both[0], one[0])


def test_a_given_half_width_bounds_the_weights():
    (W, w) = initial_weights((50, 40, 1), [0], init=0.2)
    assert 0.19 < W.abs().max() <= 0.2
    assert w.abs().max() <= 0.2


def test_the_forward_pass_is_that_of_the_oracle(rng):
    weights = initial_weights((5, 4, 3, 1), [0, 1], init=1.0)
    X = rng.normal(size=(6, 5))
    f = forward([w.double() for w in weights], torch.from_numpy(X), 0.01)
    for m in range(2):
        expected, _ = network([w[m].double().numpy() for w in weights], X, 0.01)
        np.testing.assert_allclose(f[m], expected, rtol=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.01, 1.0])
def test_the_size_of_f_is_bounded_as_equation_6_says(slope, rng):
    weights = initial_weights((20, 30, 1), [0], init=1.0)
    hidden, out = (w[0].double().numpy() for w in weights)
    X = rng.normal(size=(200, 20)) * np.exp(rng.normal(size=(200, 1)))
    f = forward([w.double() for w in weights], torch.from_numpy(X), slope)[0].numpy()
    norms = np.linalg.norm(out), np.linalg.norm(hidden, 2)
    bound = norms[0] * norms[1] * np.linalg.norm(X, axis=1)
    assert (np.abs(f) <= bound).all()
    # It can be reached: by the row and the outgoing weights that belong to the spectral norm.
    left, size, right = np.linalg.svd(hidden)
    unit = left[:, 0] @ (hidden @ right[0])
    assert unit == pytest.approx(norms[1]) == pytest.approx(size[0])


@pytest.mark.parametrize("slope", [0.0, 0.01])
@pytest.mark.parametrize("layer_sizes", [(6, 1), (6, 9, 1), (6, 9, 7, 1)])
def test_f_is_the_inner_product_of_its_gradient_and_the_row(layer_sizes, slope, rng):
    weights = [w.double() for w in initial_weights(layer_sizes, [0], init=1.0)]
    X = rng.normal(size=(50, 6))
    f = forward(weights, torch.from_numpy(X), slope)[0].numpy()
    _, G = network([w[0].numpy() for w in weights], X, slope)
    np.testing.assert_allclose(f, (G * X).sum(axis=1), rtol=1e-10, atol=1e-12)
    # It follows from f(c x) = c f(x) for positive c.
    twice = forward(weights, torch.from_numpy(2 * X), slope)[0].numpy()
    np.testing.assert_allclose(twice, 2 * f, rtol=1e-10)
    assert (np.abs(f) <= np.linalg.norm(G, axis=1) * np.linalg.norm(X, axis=1) * (1 + 1e-12)).all()
