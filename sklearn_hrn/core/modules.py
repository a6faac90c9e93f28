"""A user's own torch module in place of the perceptron: what is accepted, its weights as NumPy.

The input gradient of a row must depend on that row alone, and on nothing random, for
``||grad_x f(x)||`` to be what Eq. 3 says.
"""

import numpy as np
import torch

from .scoring import score_in_blocks

# The activations of a module of unknown width are bounded by the rows it sees at once.
ROWS_AT_ONCE = 1024

# Torch's base classes of all batch normalisations and of all dropouts.
_MIXES_ROWS = torch.nn.modules.batchnorm._BatchNorm
_IS_RANDOM = torch.nn.modules.dropout._DropoutNd


def make_module(factory, n_features, seed):
    """``factory(n_features)`` with torch's global generator seeded, and restored afterwards.

    Raises
    ------
    TypeError, ValueError
        If it is no module, or not one of independent, deterministic rows with one output.
    """
    if isinstance(factory, torch.nn.Module):
        raise TypeError(
            f"module is an instance of {type(factory).__name__}, but every fit and every estimator "
            "of an ensemble needs a fresh one: give a factory, a function module(n_features) that "
            "returns a new torch.nn.Module."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = factory(n_features)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"module(n_features={n_features}) returned {type(module).__name__}; it must return a "
            "torch.nn.Module."
        )
    _check_kind(module)
    module = module.to(device="cpu", dtype=torch.float32)
    _check_output(module, n_features)
    return module


def trainable(module):
    """The parameters that training moves, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def module_states(modules, weights):
    """All parameters and buffers of M modules, by name: NumPy arrays (M, ...).

    `weights` is what training made of the parameters it moves, in their order.
    """
    states = [module.state_dict() for module in modules]
    arrays = {name: np.stack([s[name].cpu().numpy() for s in states]) for name in states[0]}
    return {**arrays, **dict(zip(trainable(modules[0]), weights, strict=True))}


def score_with_modules(factory, states, X, subset=None):
    """Mean output over the modules of `states`, in float64, (n_rows,)."""
    modules = _all_restored(factory, states, X.shape[1])

    def outputs(block):
        with torch.no_grad():
            return sum(module(torch.from_numpy(block)).reshape(-1) for module in modules).numpy()

    return score_in_blocks(outputs, X, subset, ROWS_AT_ONCE) / len(modules)


def input_gradients(factory, states, X):
    """Gradients in X of the mean output over the modules of `states`, in float64, (n_rows, d)."""
    modules = _all_restored(factory, states, X.shape[1])
    gradients = np.empty(X.shape)
    for start in range(0, len(X), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        rows = torch.from_numpy(np.array(X[block], dtype=np.float64)).requires_grad_()
        gradients[block] = sum(_gradient(module(rows), rows) for module in modules).numpy()
    return gradients / len(modules)


def _all_restored(factory, states, n_features):
    n_modules = len(next(iter(states.values())))
    return [
        _restored(factory, n_features, {name: array[m] for name, array in states.items()})
        for m in range(n_modules)
    ]


def _restored(factory, n_features, state):
    """The module of a saved state, in double precision and ready to score."""
    module = make_module(factory, n_features, seed=0).double()
    # Arrays are copied: torch refuses to share memory that is read-only, as in a memory map.
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in state.items()})
    return module.eval()


def _check_kind(module):
    for name, part in module.named_modules():
        if isinstance(part, _MIXES_ROWS):
            raise ValueError(
                f"module contains {type(part).__name__} ({name or 'itself'}): batch normalisation "
                "makes the output of a row depend on the other rows of its batch, so that the "
                "gradient of the summed outputs is not the gradient of each. Use LayerNorm or "
                "GroupNorm."
            )
        if isinstance(part, _IS_RANDOM) and part.p > 0:
            raise ValueError(
                f"module contains {type(part).__name__} ({name or 'itself'}): with dropout the "
                "penalised gradient is not that of the network that scores. Remove it; the "
                "H-penalty is the regularisation."
            )
    if not trainable(module):
        raise ValueError(
            "module has no parameter that requires a gradient, so there is nothing to train."
        )


def _check_output(module, n_features):
    x = torch.zeros(2, n_features, requires_grad=True)
    try:
        output = module(x)
    except Exception as error:
        raise ValueError(
            f"module cannot process a float32 batch of shape (2, {n_features}): {error}"
        ) from error
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape not in [(2,), (2, 1)]:
        raise ValueError(
            f"module maps a batch of shape (2, {n_features}) to {shape}; it must return one number "
            "a row, of shape (batch,) or (batch, 1)."
        )
    if not output.requires_grad or _gradient(output, x) is None:
        raise ValueError(
            "module's output does not depend differentiably on its input, so ||grad_x f(x)|| does "
            "not exist. Do not detach the input or convert it to another type."
        )


def _gradient(output, x):
    return torch.autograd.grad(output.sum(), x, allow_unused=True)[0]
