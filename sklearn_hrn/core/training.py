"""The training loop: stochastic gradient descent with momentum, M models at once.

    v <- mu v + dL/dW          W <- W - eta v                    (paper: mu = 0.9, eta = 0.1)

Every tensor carries the models on its first axis. Models of equal rows and length stand in one
*group*, whose step is one sequence of batched products; models of equal seed and rows are one
*stream* of batches. What is computed for a model does not depend on which others train beside it.
"""

from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import torch

from .batches import Deck, epochs_of, updates_of
from .gradients import Autograd, closed_form
from .modules import trainable
from .objective import DATA_TERMS, h_penalty
from .perceptrons import initial_weights
from .scoring import SLOPES
from .threads import threads

# Halvings of the step after which a model is given up on: 0.1 has become 1e-10.
MAX_HALVINGS = 30

# An epoch that raises the loss above this multiple of that of an untrained network has failed like
# one that makes it infinite: with an exponent of 12 the next step would overflow, and no step would
# be small enough to lead back.
EXPLOSION = 100

# Multiply-adds of the first product of a step up to which a CPU computes it with one thread,
# because two are no faster (a step of 300-100-1 took 298 us with one and 299 with two, one of
# 784-100-1 614 and 453). Above, it takes all threads, and one model after the other: split among
# threads, the rounding of a product would depend on what stands beside it. With one thread it
# does not, and models are stacked.
SMALL_PRODUCT = 3 * 10**6

# Bytes that stacked models may take: a share of the last-level cache of a CPU (16 models of
# 784-100-1 then take 0.78 of the time they take one by one, those of 6-100-1 0.28), and of the
# memory of a GPU.
CACHE_BYTES = 32 * 2**20
DEVICE_MEMORY_SHARE = 0.4


@dataclass(frozen=True)
class TrainingPlan:
    """What to minimise, and how. Arrays have length M.

    Parameters
    ----------
    layer_sizes : tuple of int
        (d, h_1, ..., h_L, 1). Of a module, the first alone counts.
    reg_lambda, reg_exponent, learning_rate : ndarray of float64
    seed : ndarray of int64
        Of the initialisation and the order of batches, and of nothing else.
    n_updates : ndarray of int64
        Where each model stops, counted from the beginning of its training.
    loss : {"nll", "square"}
    regularizer : {"h", "l2"} or None
        ``lambda E ||grad f||^n``, ``lambda ||theta||^2`` or nothing.
    activation : {"leaky_relu", "relu"}
    momentum : float
    batch_size : int
    init : "auto" or float
    modules : tuple of torch.nn.Module or None
        The freshly made module of each model, in place of a perceptron.
    """

    layer_sizes: tuple
    reg_lambda: np.ndarray
    reg_exponent: np.ndarray
    learning_rate: np.ndarray
    seed: np.ndarray
    n_updates: np.ndarray
    loss: str = "nll"
    regularizer: str | None = "h"
    activation: str = "leaky_relu"
    momentum: float = 0.9
    batch_size: int = 100
    init: float | str = "auto"
    modules: tuple | None = None


@dataclass(frozen=True)
class State:
    """Where M models stand: NumPy arrays with M first."""

    weights: list
    velocities: list
    n_updates: np.ndarray
    step_scale: np.ndarray


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of all models: arrays of length M, NaN where a model did not train.

    Means over the epoch's rows as they were trained on. `loss` is the whole objective, `penalty`
    its second term. `n_halvings` counts how often the epoch was repeated with half the step;
    `n_rows` is the number of rows trained on, over all models.
    """

    loss: np.ndarray
    penalty: np.ndarray
    gradient_norm: np.ndarray
    learning_rate: np.ndarray
    n_halvings: np.ndarray
    n_rows: int


class NonFiniteLossError(RuntimeError):
    """The loss of a model stayed non-finite through all halvings of its step."""


def train(rows, plan, *, start=None, device="cpu"):
    """Train M models, epoch by epoch.

    A generator of one `EpochRecord` an epoch, to which ``send(stop)`` tells by a boolean array (M,)
    which models shall train no longer. It returns the `State`. ``train(p1)`` followed by
    ``train(p2, start=state)`` is ``train(p1 + p2)``, bit for bit.

    Parameters
    ----------
    rows : Rows
    plan : TrainingPlan
    start : State, default=None
    device : str

    Raises
    ------
    NonFiniteLossError
        If an epoch fails however small its step.
    """
    trainer = _Trainer(rows, plan, start, torch.device(device))
    running = trainer.n_updates < plan.n_updates
    while running.any():
        stop = yield trainer.epoch(np.flatnonzero(running))
        running &= trainer.n_updates < plan.n_updates
        if stop is not None:
            running &= ~stop
    return trainer.state()


class _Trainer:
    """All models as of the last complete epoch; a group trains on copies of its own."""

    def __init__(self, rows, plan, start, device):
        self.rows, self.plan, self.device = rows, plan, device
        n_models = len(plan.seed)
        if start is None:
            weights = self._initial_weights()
            velocities = [torch.zeros_like(w) for w in weights]
            start = State(weights, velocities, np.zeros(n_models, np.int64), np.ones(n_models))
        self.weights = [torch.as_tensor(w).clone().to(device) for w in start.weights]
        self.velocities = [torch.as_tensor(v).clone().to(device) for v in start.velocities]
        self.n_updates = start.n_updates.copy()
        self.step_scale = start.step_scale.copy()
        self.n_rows = rows.counts
        self.batch_size = np.minimum(plan.batch_size, self.n_rows)
        self.deck = Deck(rows, device)
        self.closed_forms = {}

    def _initial_weights(self):
        plan = self.plan
        if plan.modules is None:
            return initial_weights(plan.layer_sizes, plan.seed, plan.init)
        return [
            torch.stack([p.detach() for p in parameters])
            for parameters in zip(*(trainable(m).values() for m in plan.modules), strict=True)
        ]

    def state(self):
        """Copies of all that a continued run needs."""
        weights, velocities = (
            [tensor.cpu().numpy() for tensor in tensors]
            for tensors in (self.weights, self.velocities)
        )
        return State(weights, velocities, self.n_updates, self.step_scale)

    def epoch(self, running):
        """Train the models of the index array `running` to the end of their epoch.

        A model whose epoch was not finite goes back to the start of it and takes half the step.
        """
        n_models = len(self.plan.seed)
        means = np.full((3, n_models), np.nan)
        n_halvings = np.zeros(n_models, dtype=np.int64)
        n_rows = 0
        pending = running
        while len(pending):
            failed = []
            for group in self._groups(pending):
                n_rows += self._train_group(group, means)
                models = group.ravel()
                failed.append(models[~np.isfinite(means[0, models])])
            pending = np.concatenate(failed)
            self.step_scale[pending] /= 2
            n_halvings[pending] += 1
            if (self.step_scale[pending] < 0.5**MAX_HALVINGS).any():
                raise NonFiniteLossError
        learning_rate = np.full(n_models, np.nan)
        learning_rate[running] = (self.plan.learning_rate * self.step_scale)[running]
        return EpochRecord(*means, learning_rate, n_halvings, n_rows)

    def _train_group(self, group, means):
        """One epoch of an (S, K) array of models; their columns of `means` are written."""
        plan, models = self.plan, group.ravel()
        leader = models[0]
        batch_size, first = self.batch_size[leader], self.n_updates[leader]
        epoch = epochs_of(first, self.n_rows[leader], batch_size)
        last = min(updates_of(epoch + 1, self.n_rows[leader], batch_size), plan.n_updates[leader])
        streams = [(plan.seed[m], self.rows.subset_of[m]) for m in group[:, 0]]

        weights, velocities = self._copies(models)
        terms = _Terms(plan, models, self.device)
        # The velocities are kept as their moving average (1 - mu) v, which is one pass a step.
        step = terms.column(
            -plan.learning_rate[models] * self.step_scale[models] / (1 - plan.momentum)
        )
        descent = [(W, v, _beside(step, W)) for W, v in zip(weights, velocities, strict=True)]
        network = self._network(group, batch_size)
        network.bind(weights, terms.reg_lambda, terms.exponent)
        shape = (last - first + 1, len(models), batch_size)
        f, norm = (torch.empty(shape, device=self.device) for _ in range(2))
        with threads(1 if self._is_small(batch_size) else None):
            batches = self.deck.batches(streams, first, last, batch_size)
            for t, (x, f_t, norm_t) in enumerate(zip(batches, f[:-1], norm[:-1], strict=True)):
                if t == 0:
                    first_batch = x.clone()
                derivatives = network(x, f_t, norm_t)
                if terms.decay is not None:
                    terms.add_decay(weights, derivatives)
                for (W, v, minus_eta), dW in zip(descent, derivatives, strict=True):
                    v.lerp_(dW, 1 - plan.momentum)
                    W.addcmul_(v, minus_eta)
            # What the last step has left behind, or its damage would show an epoch too late.
            network(first_batch, f[-1], norm[-1])
            means[:, models] = terms.means(f[:-1], norm[:-1])
            loss_before, loss_after = (terms.means(f[t, None], norm[t, None])[0] for t in (0, -1))
            limit = np.maximum(loss_before, EXPLOSION * DATA_TERMS[plan.loss][2])
        # Not "greater": NaN has not stayed below either.
        means[:, models[~(loss_after <= limit)]] = np.nan
        self._keep(models, np.isfinite(means[:, models]).all(0), weights, velocities, last)
        return f[:-1].numel()

    def _copies(self, models):
        chosen = torch.from_numpy(models).to(self.device)
        return (
            [tensor.index_select(0, chosen) for tensor in tensors]
            for tensors in (self.weights, self.velocities)
        )

    def _keep(self, models, finite, weights, velocities, n_updates):
        """Make the epoch of the models that are finite count."""
        kept = torch.from_numpy(np.flatnonzero(finite)).to(self.device)
        at = torch.from_numpy(models[finite]).to(self.device)
        for whole, part in zip(self.weights + self.velocities, weights + velocities, strict=True):
            whole.index_copy_(0, at, part.index_select(0, kept))
        self.n_updates[models[finite]] = n_updates

    def _network(self, group, batch_size):
        plan = self.plan
        if plan.modules is not None:
            return Autograd(plan.modules[group[0, 0]].to(self.device), plan.loss)
        shape = (*group.shape, int(batch_size))
        if shape not in self.closed_forms:
            self.closed_forms[shape] = closed_form(
                plan.layer_sizes, shape, SLOPES[plan.activation], plan.loss, device=self.device
            )
        return self.closed_forms[shape]

    def _is_small(self, batch_size):
        n_in, n_out = self.plan.layer_sizes[:2]
        return self.plan.modules is None and batch_size * n_in * n_out <= SMALL_PRODUCT

    def _models_at_once(self, batch_size):
        """How many models a group may hold."""
        if self.plan.modules is not None:
            return 1
        widths = self.plan.layer_sizes
        n_weights = sum(a * b for a, b in pairwise(widths))
        bytes_a_model = 4 * (3 * n_weights + 4 * batch_size * sum(widths))
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return max(1, int(DEVICE_MEMORY_SHARE * free / bytes_a_model))
        if self._is_small(batch_size) or torch.get_num_threads() == 1:
            return max(1, CACHE_BYTES // bytes_a_model)
        return 1

    def _groups(self, models):
        """Index arrays (S, K): S streams of K models that take the same steps."""

        def steps(m):
            return self.n_rows[m], self.n_updates[m], self.plan.n_updates[m]

        def stream(m):
            return self.plan.seed[m], self.rows.subset_of[m]

        for _, equal in groupby(sorted(models, key=lambda m: (steps(m), stream(m), m)), steps):
            equal = list(equal)
            most = self._models_at_once(self.batch_size[equal[0]])
            by_width = {}
            for _, fed in groupby(equal, stream):
                fed = list(fed)
                for start in range(0, len(fed), most):
                    piece = fed[start : start + most]
                    by_width.setdefault(len(piece), []).append(piece)
            for width, pieces in by_width.items():
                n_streams = max(1, most // width)
                for start in range(0, len(pieces), n_streams):
                    yield np.array(pieces[start : start + n_streams])


class _Terms:
    """The terms of the loss of some models, as columns (M, 1), and their means over an epoch."""

    def __init__(self, plan, models, device):
        self.loss, self.device = plan.loss, device
        lam = plan.reg_lambda[models]
        is_h = (plan.regularizer == "h") & (lam > 0)
        self.reg_lambda = self.column(np.where(is_h, lam, 0.0))
        # A power that is multiplied by zero must not overflow.
        self.exponent = self.column(np.where(is_h, plan.reg_exponent[models], 2.0))
        self.decay = self.column(lam) if plan.regularizer == "l2" else None
        self.squared_weights = []

    def column(self, values):
        return torch.tensor(values, dtype=torch.float32, device=self.device).unsqueeze(1)

    def add_decay(self, weights, derivatives):
        """Plain L2: ``lambda ||theta||^2`` has the derivative 2 lambda theta."""
        self.squared_weights.append(sum(W.square().flatten(1).sum(1) for W in weights))
        for W, dW in zip(weights, derivatives, strict=True):
            dW.addcmul_(W, _beside(self.decay, W), value=2)

    def means(self, f, norm):
        """Loss, penalty and gradient norm (3, M) of outputs and norms (updates, M, B)."""

        def mean(values):
            return values.mean((0, 2), dtype=torch.float64)

        data = mean(DATA_TERMS[self.loss][0](f))
        if self.decay is None:
            penalty = mean(h_penalty(norm, self.reg_lambda, self.exponent))
        else:
            penalty = self.decay[:, 0] * torch.stack(self.squared_weights).mean(0)
        return torch.stack([data + penalty, penalty, mean(norm)]).cpu().numpy()


def _beside(column, tensor):
    """A column (M, 1) in the shape that multiplies (M, ...)."""
    return column.view(-1, *[1] * (tensor.ndim - 1))
