"""Parameters of bias-free multi-layer perceptrons: shapes, initialisation, forward pass.

    f(x) = w . a(W_L ... a(W_1 x)),      a(z) = max(z, slope * z)

A network of ``layer_sizes`` (d, h_1, ..., h_L, 1) has L + 1 weights. Each is one tensor of shape
(M, n_out, n_in) over M models: the paper's W_1 is ``weights[0][m]``.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F

# Mean squared ||grad f|| of an untrained 784-100-1 network whose weights are uniform within the
# authors' +-1/sqrt(2000): 784 * 100 / 2 * (1 / 6000)^2, a norm of 0.033.
SQUARED_FIRST_GRADIENT = 784 * 100 / 2 / 6000**2


def half_width(layer_sizes):
    """Half-width of the uniform initialisation that gives every shape the same first gradient.

    Each weight has variance v = a^2 / 3, and each hidden layer halves the mean square of what
    passes it, so E ||grad f||^2 = v^(L+1) * d h_1 ... h_L / 2^L. Solved for a.
    """
    n_hidden = len(layer_sizes) - 2
    variance = (SQUARED_FIRST_GRADIENT * 2**n_hidden / math.prod(layer_sizes)) ** (
        1 / (n_hidden + 1)
    )
    return math.sqrt(3 * variance)


def initial_weights(layer_sizes, seeds, init="auto"):
    """Uniform weights, a function of each model's seed alone and drawn on the CPU.

    Parameters
    ----------
    layer_sizes : tuple of int
    seeds : sequence of int, length M
    init : "auto" or float
        Half-width of the uniform distribution; "auto" takes `half_width`.

    Returns
    -------
    weights : list of L + 1 tensors (M, n_out, n_in), float32
    """
    width = half_width(layer_sizes) if init == "auto" else init
    as_they_come = {"dtype": torch.float32, "device": "cpu"}
    weights = [
        torch.empty(len(seeds), n_out, n_in, **as_they_come)
        for n_in, n_out in pairwise(layer_sizes)
    ]
    for m, seed in enumerate(seeds):
        generator = torch.Generator("cpu").manual_seed(int(seed))
        for weight in weights:
            weight[m].uniform_(-width, width, generator=generator)
    return weights


def forward(weights, x, slope):
    """f(x) of M models: the plain form, and the test oracle of every faster one.

    Parameters
    ----------
    weights : list of tensors (M, n_out, n_in)
    x : tensor of shape (n_rows, d) or (M, n_rows, d)
    slope : float

    Returns
    -------
    f : tensor of shape (M, n_rows)
    """
    for weight in weights[:-1]:
        x = F.leaky_relu(x @ weight.mT, slope)
    return (x @ weights[-1].mT).squeeze(-1)
