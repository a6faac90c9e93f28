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
