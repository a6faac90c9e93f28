"""The one-class loss, one function per equation.

    L(theta) = E_x[ -log sigma(f(x)) ]  +  lambda * E_x[ ||grad_x f(x)||_2^n ]              (Eq. 3)

The two terms are functions of f(x) and of g = ``||grad_x f(x)||_2`` alone, so each comes with its
derivative: the closed forms of ``gradients`` need nothing else, and autograd needs only the values.
All functions take and return tensors of one shape, an entry a row, and do not average.
"""

import math

import torch
import torch.nn.functional as F

# The derivative of a data term is a divisor in `gradients`; below this it is held, in float32 far
# from underflow and of no weight in any sum.
SMALLEST_SLOPE = 1e-30


def nll(f):
    """Negative log-likelihood of the one class, ``-log sigma(f)``."""
    return F.softplus(-f)


def nll_slope(f):
    """Derivative of `nll`: ``-(1 - sigma(f))``."""
    return torch.sigmoid(-f).clamp_(min=SMALLEST_SLOPE).neg_()


def square(f):
    """Square loss ``(1 - f)^2``. The paper names it without defining it; this is ours."""
    return (1 - f).square()


def square_slope(f):
    """Derivative of `square`: ``-2 (1 - f)``."""
    slope = 2 * (f - 1)
    return torch.where(slope.abs() < SMALLEST_SLOPE, SMALLEST_SLOPE, slope)


def h_penalty(norm, reg_lambda, reg_exponent):
    """H-regularization ``lambda g^n`` of a gradient norm g."""
    return reg_lambda * norm.pow(reg_exponent)


def h_penalty_slope(reg_lambda, reg_exponent):
    """The function g -> ``lambda n g^(n-2)``, which times the gradient is the derivative by it.

    For n < 2 the power is singular at g = 0, where the gradient it multiplies vanishes: g is held
    above the root of the smallest normal number.
    """
    factor, power = reg_lambda * reg_exponent, reg_exponent - 2
    if (power >= 0).all():
        return lambda norm: norm.pow(power).mul_(factor)
    smallest = math.sqrt(torch.finfo(power.dtype).tiny)
    return lambda norm: norm.clamp(min=smallest).pow_(power).mul_(factor)


# name -> (value, derivative, value of an untrained network, whose f is 0)
DATA_TERMS = {"nll": (nll, nll_slope, math.log(2)), "square": (square, square_slope, 1.0)}
