r"""Mean slopes of fitted steps between two rows: a chain rule that leaves no remainder.

A *mean slope* of a map F from a row a to a row b is a matrix S with

    F(b) - F(a) = S (b - a),

which becomes the Jacobian as b goes to a. The mean slope of a chain of maps is the product of
theirs, as by the chain rule. So what is pulled back through all steps, times b - a, sums to the
difference of the scores exactly, however far b is from a, and over many short pieces of a path it
is the integral of the gradient along that path.

``pull_back(step, a, b, g)`` gives ``S^T g`` for rows a and b (n, n_in) and g (n, n_out).
"""

from functools import singledispatch

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import Normalizer

from ..image import PatchDictionary, RotationWhitening
from ..kernel_approximation import FourierFeatures, LandmarkFeatures
from ..networks import TorchFeatures
from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer, InstanceStandardizer, RidgeWhitener
from ._columns import fitted_steps, sources, transformed

# Two numbers nearer than this, relative to their size, are taken for one: their difference is
# rounding.
SAME = 1e-9


class NoSlopeError(TypeError):
    """A step whose slope is not known."""


@singledispatch
def pull_back(step, a, b, g):
    """``S^T g`` of a step of a pipeline; of one that takes each column by itself, by its values."""
    if not np.array_equal(sources(step, a.shape[1]), np.arange(a.shape[1])):
        raise NoSlopeError(type(step).__name__)
    return g * _quotient(transformed(step, a), transformed(step, b), a, b)


@pull_back.register
def _(step: HRNOneClassClassifier, a, b, g):
    if hasattr(step, "module_state_"):
        return _module(step, a, b) * g
    n_models = len(step.coefs_[0])
    models = [[W[m].astype(np.float64) for W in step.coefs_] for m in range(n_models)]
    return sum(_perceptron(weights, a, b, step._slope) for weights in models) / n_models * g


def _perceptron(weights, a, b, slope):
    """Mean slopes (n, d) of a perceptron's output: backwards through its layers."""
    slopes = []
    for W in weights[:-1]:
        before, after = a @ W, b @ W
        a, b = (np.maximum(Z, slope * Z) for Z in (before, after))
        at_kink = np.where(before > 0, 1.0, slope)
        slopes.append(_quotient(a, b, before, after, at_kink))
    back = np.broadcast_to(weights[-1][:, 0], (len(a), len(weights[-1])))
    for W, mask in zip(weights[-2::-1], slopes[::-1], strict=True):
        back = (back * mask) @ W.T
    return back


def _module(step, a, b):
    from ..core.modules import input_gradients

    back = input_gradients(step._fitted_module, step.module_state_, (a + b) / 2)
    return _corrected(back, a, b, step.score_samples(b) - step.score_samples(a))


@pull_back.register
def _(step: FourierFeatures, a, b, g):
    # cos v - cos u = -sin((u + v) / 2) sinc((v - u) / 2) (v - u)
    angles = (a + b) / 2 @ step.random_weights_ + step.random_offset_
    half = (b - a) / 2 @ step.random_weights_
    slopes = np.sin(angles)
    slopes *= np.divide(np.sin(half), half, out=np.ones_like(half), where=half != 0)
    slopes *= g
    return slopes @ step.random_weights_.T * -np.sqrt(2 / len(step.random_offset_))


@pull_back.register
def _(step: LandmarkFeatures, a, b, g):
    # exp(-gamma q) has the slope below in q, and q = ||x - l||^2 has a + b - 2 l.
    q_a, q_b = (euclidean_distances(X, step.landmarks_, squared=True) for X in (a, b))
    drop = step.gamma_ * np.abs(q_b - q_a)
    share = np.where(drop > SAME, -np.expm1(-drop) / np.maximum(drop, SAME), 1.0)
    slopes = -step.gamma_ * np.exp(-step.gamma_ * np.minimum(q_a, q_b)) * share
    back = (g @ step.normalization_.T) * slopes
    return back.sum(axis=1, keepdims=True) * (a + b) - 2 * back @ step.landmarks_


@pull_back.register
def _(step: InstanceL2Normalizer, a, b, g):
    u, v = (np.copysign(np.abs(X) ** step.power, X) for X in (a, b))
    centred = [_centred(X) for X in (u, v)] if step.center == "before" else (u, v)
    g_rows = g[:, : a.shape[1]]
    if step.center == "after":
        g_rows = _centred(g_rows)
    back = _divided(*centred, g_rows, step.append_, g[:, a.shape[1] :])
    if step.center == "before":
        back = _centred(back)
    return back if step.power == 1 else back * _quotient(u, v, a, b)


@pull_back.register
def _(step: InstanceStandardizer, a, b, g):
    return _centred(_divided(_centred(a), _centred(b), np.sqrt(a.shape[1]) * g))


@pull_back.register
def _(step: Normalizer, a, b, g):
    if step.norm != "l2":
        raise NoSlopeError(f"Normalizer(norm={step.norm!r})")
    return _divided(a, b, g)


def _divided(u, v, g, constant=None, g_constant=None):
    """Of rows over their lengths: ``x / D`` and ``c / D`` with ``D^2 = ||x||^2 + c^2``."""
    square = (constant or 0.0) ** 2
    D_u, D_v = (np.sqrt(_products(X, X) + square) for X in (u, v))
    # Rows of zeros stay zeros: one over their length counts as zero.
    over_u, over_v = (np.divide(1, D, out=np.zeros_like(D), where=D > 0) for D in (D_u, D_v))
    product = D_u * D_v * (D_u + D_v)
    # Of 1 / D in D^2, whose own slope in x is u + v.
    slope = -np.divide(1, product, out=np.zeros_like(product), where=product > 0)
    only_one = (product == 0) & (D_u + D_v > 0)
    slope[only_one] = np.maximum(D_u, D_v)[only_one] ** -3.0
    along = (_products(g, u) + _products(g, v)) / 2
    if constant is not None:
        along = along + constant * g_constant
    back = (u + v) * (along * slope)
    back += g * ((over_u + over_v) / 2)
    return back


@pull_back.register
def _(step: RidgeWhitener, a, b, g):
    if step.deviations_ is None:
        return g @ step.whitening_.T
    # The last column is sqrt(q) with q = |x - m|^2 - |V'(x - m)|^2, over its deviation.
    *along, of_rest = step.deviations_
    axes = step.whitening_ * along
    middle = a + b - 2 * (0.0 if step.mean_ is None else step.mean_)
    lengths = sum(transformed(step, X)[:, -1:] for X in (a, b)) * of_rest**2
    slopes = np.divide(g[:, -1:], lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return g[:, :-1] @ step.whitening_.T + slopes * (middle - middle @ axes @ axes.T)


@pull_back.register
def _(step: PCA, a, b, g):
    return (g / np.sqrt(step.explained_variance_) if step.whiten else g) @ step.components_


@pull_back.register
def _(step: TruncatedSVD, a, b, g):
    return g @ step.components_


@pull_back.register
def _(step: PatchDictionary, a, b, g):
    import torch

    from ..core.modules import with_gradients

    # The power is taken of features that begin at zero, where its slope is infinite.
    power = step.power
    features = [step.transform(X).astype(np.float64) for X in (a, b)]
    pooled = [Z ** (1 / power) for Z in features]
    g = g * _quotient(*features, *pooled)
    with with_gradients():
        rows = torch.from_numpy((a + b) / 2).requires_grad_()
        back = torch.autograd.grad(step._mean_responses(rows), rows, torch.from_numpy(g).float())
    rise = ((pooled[1] - pooled[0]) * g).sum(axis=1)
    return _corrected(back[0].numpy(), a, b, rise)


@pull_back.register
def _(step: RotationWhitening, a, b, g):
    before, after = (transformed(step.transformer_, X) for X in (a, b))
    if step.is_whitened_:
        u, v = ((Z - step.mean_) @ step.whitening_ for Z in (before, after))
        g = _divided(u, v, g) @ step.whitening_.T
    elif step.otherwise_ is not None:
        g = pull_back(step.otherwise_, before, after, g)
    return pull_back(step.transformer_, a, b, g)


@pull_back.register
def _(step: TorchFeatures, a, b, g):
    back = step._input_gradients((a + b) / 2, g)
    rise = ((transformed(step, b) - transformed(step, a)) * g).sum(axis=1)
    return _corrected(back, a, b, rise)


@pull_back.register
def _(step: Pipeline, a, b, g):
    steps, rows = fitted_steps(step), [(a, b)]
    for part in steps[:-1]:
        rows.append(tuple(transformed(part, X) for X in rows[-1]))
    for part, (u, v) in zip(steps[::-1], rows[::-1], strict=True):
        g = pull_back(part, u, v, g)
    return g


@pull_back.register
def _(step: FeatureUnion, a, b, g):
    back, start = 0.0, 0
    weights = step.transformer_weights or {}
    for name, part in step.transformer_list:
        if part == "drop":
            continue
        stop = start + transformed(part, a[:1]).shape[1]
        back = back + pull_back(part, a, b, g[:, start:stop] * weights.get(name, 1))
        start = stop
    return back


def _products(A, B):
    """Products of the rows of A with those of B, (n, 1)."""
    return np.einsum("ij,ij->i", A, B)[:, None]


def _centred(X):
    return X - X.mean(axis=1, keepdims=True)


def _quotient(F_a, F_b, a, b, at_a=0.0):
    """Mean slopes of a map of single numbers; `at_a` where a and b are the same."""
    change = b - a
    differs = np.abs(change) > SAME * np.maximum(np.abs(a), np.abs(b))
    return np.where(differs, (F_b - F_a) / np.where(differs, change, 1), at_a)


def _corrected(back, a, b, rise):
    """The nearest slopes to those pulled back from the middle of a and b that make up the rise.

    The rest, which goes with the cube of the distance where F is smooth, is spread over the
    directions in which the rows differ (the secant condition of Broyden).
    """
    change = b - a
    length = _products(change, change)
    rest = rise[:, None] - _products(back, change)
    return back + change * np.divide(rest, length, out=np.zeros_like(rest), where=length > 0)
