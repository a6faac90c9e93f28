"""A user's own torch module in place of the perceptron: what is accepted, its weights as NumPy.

The input gradient of a row must depend on that row alone, and on nothing random, for
``||grad_x f(x)||`` to be what Eq. 3 says.
"""

import threading
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import numpy as np
import torch
from torch.func import functional_call

from .scoring import score_in_blocks
from .threads import threads

# The activations of a module of unknown width are bounded by the rows it sees at once.
ROWS_AT_ONCE = 1024

# Torch's base classes of all batch normalisations and of all dropouts.
_MIXES_ROWS = torch.nn.modules.batchnorm._BatchNorm
_IS_RANDOM = torch.nn.modules.dropout._DropoutNd


# Torch's global generator is one for all threads: who seeds it must be alone until it is restored.
_GENERATOR = threading.RLock()


@contextmanager
def with_gradients():
    """Derivatives are taken inside the block, also where the caller has switched them off."""
    with torch.inference_mode(False), torch.enable_grad(), in_full_precision():
        yield


@contextmanager
def in_full_precision():
    """Products inside the block are of the type of their factors, also in an autocast."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def seeded(seed):
    """Torch's global generator with a seed of our own inside the block, and as it was behind it.

    A user's threads that draw from it meanwhile get numbers of that seed: torch has no other.
    """
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds the generators of all GPUs as well.
        torch.default_generator.manual_seed(seed)
        yield


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
    # On the CPU, wherever tensors of the caller's are made unless told otherwise.
    with seeded(seed), with_gradients(), torch.device("cpu"):
        module = factory(n_features)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"module(n_features={n_features}) returned {type(module).__name__}; it must return "
                "a torch.nn.Module."
            )
        _check_kind(module)
        module = module.to(device="cpu", dtype=torch.float32)
        # A lazy module draws its weights here.
        _check_output(module, n_features)
    return module


def make_modules(factory, n_features, seeds, states=None):
    """A module for each seed, in the state that is given as `module_states` returns it.

    Raises
    ------
    TypeError, ValueError
        As by `make_module`, or if the factory hands out one module twice.
    """
    modules = [make_module(factory, n_features, int(seed)) for seed in seeds]
    if len(set(map(id, modules))) < len(modules):
        raise TypeError(_SAME_MODULE)
    with seeded(0), with_gradients(), torch.device("cpu"):
        _check_function(modules[0], n_features)
    for m, module in enumerate(modules if states is not None else []):
        module.load_state_dict(_of_model(states, m))
    return tuple(modules)


def check_rebuilt(factory, modules, states, X):
    """Refuse modules that, rebuilt from their saved states, are other functions than were trained.

    Parameters
    ----------
    factory : callable
    modules : sequence of torch.nn.Module
        As they were trained, apart from what training moves.
    states : dict of str to ndarray
        As `module_states` returns them.
    X : ndarray (n_rows, d)
        Some rows.

    Raises
    ------
    TypeError
        If the factory hands out a module that it has handed out before.
    ValueError
        If the outputs differ.
    """
    x = torch.from_numpy(X.astype(np.float64))
    for m, module in enumerate(modules):
        rebuilt = make_module(factory, X.shape[1], seed=m + 1)
        if rebuilt is module:
            raise TypeError(_SAME_MODULE)
        state = _of_model(states, m)
        trained = deepcopy(module).cpu().double().eval()
        weights = {name: state[name].double() for name in trainable(module)}
        with torch.no_grad():
            before = functional_call(trained, weights, (x,)).reshape(-1)
            after = _restored(rebuilt, state)(x).reshape(-1)
        if not torch.allclose(before, after, rtol=1e-6, atol=1e-9):
            raise ValueError(
                "module does not come back as it was trained: rebuilt from its parameters and "
                f"buffers, it differs by {(before - after).abs().max():.3g} on a training row. "
                f"{_why_different(module)}"
            )


_SAME_MODULE = (
    "module(n_features) returned the same torch.nn.Module twice, but every fit and every network "
    "of an ensemble needs one of its own: make it inside the function."
)


def _why_different(module):
    """What a module has that its saved state lacks, by name."""
    of_tensor = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        of_tensor.setdefault(id(parameter), []).append(name)
    tied = [" = ".join(names) for names in of_tensor.values() if len(names) > 1]
    if tied:
        return (
            f"Its parameters are tied ({', '.join(tied)}), which only a user's own loop can train."
        )
    unsaved = [name for name, _ in module.named_buffers() if name not in module.state_dict()]
    if unsaved:
        return (
            f"Its buffers {', '.join(unsaved)} are not part of its state: register them with "
            "persistent=True."
        )
    return (
        "Something that is neither differs from one call of the function to the next, such as an "
        "attribute that is drawn at random: register it as a buffer, or draw it from a fixed seed."
    )


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


def restored(dtype, factory, states, n_features):
    """The modules of `states`, ready to compute in `dtype`."""
    modules = _all_restored(factory, states, n_features)
    return modules if dtype == np.float64 else [module.float() for module in modules]


def score_with_modules(modules, X, subset=None, dtype=np.float64):
    """Mean output over modules that compute in `dtype`, as float64 (n_rows,)."""

    def outputs(block):
        with torch.no_grad():
            rows = torch.from_numpy(block.copy())  # which X may not be: a module may write
            return sum(module(rows).reshape(-1) for module in modules).numpy()

    with threads(None), in_full_precision():
        return score_in_blocks(outputs, X, subset, ROWS_AT_ONCE, dtype) / len(modules)


def input_gradients(factory, states, X):
    """Gradients in X of the mean output over the modules of `states`, in float64, (n_rows, d)."""
    gradients = np.empty(X.shape)
    with threads(None), with_gradients():
        modules = _all_restored(factory, states, X.shape[1])
        for start in range(0, len(X), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            rows = torch.from_numpy(np.array(X[block], dtype=np.float64)).requires_grad_()
            gradients[block] = sum(_gradient(module(rows), rows) for module in modules).numpy()
    return gradients / len(modules)


def _all_restored(factory, states, n_features):
    n_modules = len(next(iter(states.values())))
    return [
        _restored(make_module(factory, n_features, seed=0), _of_model(states, m))
        for m in range(n_modules)
    ]


def _of_model(states, m):
    """The saved state of one module as tensors: copies, as torch shares no read-only memory."""
    return {name: torch.from_numpy(np.array(array[m])) for name, array in states.items()}


def _restored(module, state):
    """A fresh module in a saved state, in double precision and ready to score."""
    module = module.double()
    module.load_state_dict(state)
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


def _probe(n_features):
    """Two rows that are not alike, of small positive numbers: a module may take logarithms."""
    x = torch.arange(1, 2 * n_features + 1, dtype=torch.float32) / (2 * n_features)
    return torch.stack([x[:n_features], x[n_features:].flip(0)])


def _check_output(module, n_features):
    x = _probe(n_features).requires_grad_()
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


def _check_function(module, n_features):
    """Refuse a module of rows that are not by themselves, or one that cannot train or score."""
    x = _probe(n_features)

    def output(rows, seed=0):
        torch.default_generator.manual_seed(seed)
        with torch.no_grad():
            return deepcopy(module)(rows).reshape(-1)  # a copy, as some modules count calls

    try:
        expected = output(x)
    except Exception as error:
        raise ValueError(
            f"a copy of the module cannot process rows: {error} Of torch.nn.utils.weight_norm and "
            "spectral_norm, take those of torch.nn.utils.parametrizations."
        ) from error
    if not all(_is_same(output(x, seed), expected) for seed in range(1, 4)):
        raise ValueError(
            "module's output differs from call to call on the same rows: it draws random numbers, "
            "as torch.nn.functional.dropout does. The penalised gradient would not be that of the "
            "network that scores: remove it."
        )
    beside_itself = [output(row.repeat(len(x), 1))[i] for i, row in enumerate(x)]
    if not _is_same(torch.stack(beside_itself), expected):
        raise ValueError(
            "module's output for a row depends on the other rows of its batch, so that neither the "
            "penalised gradient nor the score would be that of the row. A recurrent layer or an "
            "attention needs batch_first=True, or it takes rows for steps in time; statistics over "
            "the first axis are those of the batch: take them over the others."
        )
    try:
        rows = x.clone().requires_grad_()
        outputs = deepcopy(module)(rows)
        (gradient,) = torch.autograd.grad(outputs.sum(), rows, create_graph=True)
        (outputs.sum() + gradient.square().sum()).backward()
    except RuntimeError as error:
        raise ValueError(
            f"module cannot be differentiated twice, as its penalty needs: {error}. Of "
            "attention, only the plain form can: compute it in forward within `with "
            "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)`."
        ) from error
    try:
        with torch.no_grad():
            deepcopy(module).double().eval()(x.double())
    except Exception as error:
        raise ValueError(
            "module cannot process float64 rows, in which it scores once its weights are float64, "
            f"too: {error}. Make what is made in forward of the type of the rows, as by "
            "torch.zeros(..., dtype=x.dtype), and convert to no fixed type, as by x.float()."
        ) from error


def _is_same(a, b):
    # Of large terms that cancel, little but rounding may be left.
    largest = float(torch.nan_to_num(b).abs().max())
    return torch.allclose(a, b, rtol=0, atol=1e-4 * largest, equal_nan=True)


def _gradient(output, x):
    return torch.autograd.grad(output.sum(), x, allow_unused=True)[0]
