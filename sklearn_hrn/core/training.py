"""The training loop: stochastic gradient descent with momentum, M models at once.

    v <- mu v + dL/dW          W <- W - eta v          (paper: eta = 0.1; its code: mu = 0.9)

With labelled anomalies, ``omega`` times the mean of ``-log sigma(-f)`` over them is added to Eq. 3.
If asked to, the derivative by the first weights is multiplied by the P of `preconditioning`.

Every tensor carries the models on its first axis. Models of equal rows and length stand in one
*group*, whose step is one sequence of batched products; models of equal seed and rows are one
*stream* of batches. What is computed for a model does not depend on which others train beside it.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from threading import Lock

import numpy as np
import torch

from .batches import BatchSampler, epochs_of, updates_of
from .gradients import Autograd, closed_form, padded
from .modules import trainable
from .objective import DATA_TERMS, h_penalty
from .perceptrons import initial_weights
from .preconditioning import Preconditioner
from .scoring import SLOPES
from .threads import side_by_side, threads

# What the history holds of an epoch.
HISTORY = ("loss", "penalty", "gradient_norm", "learning_rate")

# Updates after which training is looked at, unless an epoch has more. Copying the weights, testing
# what the last step has left and keeping the outcome takes about as long as one update.
ROUND = 50

# Added to a seed (below 2^31) for the order of the anomalies, which is not that of the normal rows.
OTHER_SEED = 2**32

# Halvings of the step after which a model is given up on: 0.1 has become 1e-10.
MAX_HALVINGS = 30

# A round that raises the loss above this multiple of that of an untrained network has failed like
# one that makes it infinite: with an exponent of 12 the next step would overflow, and no step would
# be small enough to lead back.
EXPLOSION = 100

# Multiply-adds of the first product of a step up to which a CPU computes it with one thread. Two
# gain little (a step of 784-100-1 took 614 us with one and 453 with two) and wait for each other as
# soon as anything else runs (beside one other process, a fit of 500-300-1 took 1.8 s with two and
# 0.9 with one). Above, it takes all threads, and one model after the other: split among threads,
# the rounding of a product would depend on what stands beside it. With one thread it does not, and
# models are stacked.
SMALL_PRODUCT = 2 * 10**7

# Multiply-adds of the first products of all models from which on every thread takes a share of the
# models. With fewer, a step is mostly calls, for which threads of Python wait for each other.
SHARED_PRODUCTS = 5 * 10**6

# Bytes that stacked models may take: a share of the last-level cache of a CPU (16 models of
# 784-100-1 take 0.78 of the time they take one by one, those of 6-100-1 0.28; but products and
# sums of a step of 160-200-1 took 250 us a model in a stack of ten and 430 in one of forty, 25 MB),
# and of the memory of a GPU.
CACHE_BYTES = 8 * 2**20
DEVICE_MEMORY_SHARE = 0.4


@dataclass(frozen=True)
class TrainingPlan:
    """What to minimise, and how. Arrays have length M.

    Parameters
    ----------
    layer_sizes : tuple of int
        (d, h_1, ..., h_L, 1). Of a module, the first alone counts.
    reg_lambda, reg_exponent, anomaly_weight, learning_rate, tol : ndarray of float64
        A model whose mean loss over a round is less than ``tol * (loss of an untrained network -
        loss)`` below that of the round before stops; tol = 0 never does.
    seed : ndarray of int64
        Of the initialisation and the order of batches, and of nothing else.
    loss : {"nll", "square"}
    regularizer : {"h", "l2"} or None
        ``lambda E ||grad f||^n``, ``lambda ||theta||^2`` or nothing.
    activation : {"leaky_relu", "relu"}
    momentum : float
    batch_size : int
    preconditioning : float
        Largest factor by which a step of the first weights is longer along some axes of the rows
        than along the first; 1 is plain descent.
    init : "auto" or float
    modules : tuple of torch.nn.Module or None
        The freshly made module of each model, in place of a perceptron.
    """

    layer_sizes: tuple
    reg_lambda: np.ndarray
    reg_exponent: np.ndarray
    anomaly_weight: np.ndarray
    learning_rate: np.ndarray
    tol: np.ndarray
    seed: np.ndarray
    loss: str = "nll"
    regularizer: str | None = "h"
    activation: str = "leaky_relu"
    momentum: float = 0.9
    batch_size: int = 100
    preconditioning: float = 1.0
    init: float | str = "auto"
    modules: tuple | None = None


# What a plan holds of each model.
OF_MODELS = ("reg_lambda", "reg_exponent", "anomaly_weight", "learning_rate", "tol", "seed")


@dataclass(frozen=True)
class State:
    """Where M models stand: NumPy arrays with M first, but for the history.

    `history` has shape (4, n_epochs, M), in the order of `HISTORY`: means over each epoch's rows as
    they were trained on, where "loss" is the whole objective and "penalty" its second term; NaN
    behind the last epoch of a model. `axes` are those of `Preconditioner`, if there are any.
    """

    weights: list
    velocities: list
    n_updates: np.ndarray
    step_scale: np.ndarray
    history: np.ndarray
    axes: list = field(default_factory=list)


def first_product(plan, batch_sizes):
    """Multiply-adds of the first products of one step of models with batches of these sizes."""
    return plan.layer_sizes[0] * plan.layer_sizes[1] * int(np.sum(batch_sizes))


def threads_for(plan, products, device):
    """How many threads may share models out whose first products are so many multiply-adds."""
    has_closed_form = plan.modules is None or hasattr(plan.modules[0], "closed_form")
    if device.type == "cpu" and has_closed_form and products >= SHARED_PRODUCTS:
        return torch.get_num_threads()
    return 1


class ExplodedLossError(RuntimeError):
    """The loss of a model exploded however small its step."""


class Trainer:
    """M models, as of the last round of each.

    A *round* is an epoch, or as many as make `ROUND` updates. What is no part of a step is done
    once a round: a group of models copies its weights, trains the copies, and keeps them if its
    loss has not exploded; else it goes back to the start of the round and takes half the step.

    ``run(a)`` and ``run(b)`` end where ``run(b)`` alone does, bit for bit, and so does a trainer
    that starts from the state of another (whose history then has an epoch cut in two, if it was).

    Parameters
    ----------
    rows : Rows
    plan : TrainingPlan
    start : State, default=None
        Where to continue; None begins with fresh weights.
    device : str, default="cpu"
    """

    def __init__(self, rows, plan, start=None, device="cpu"):
        self.rows, self.plan, self.device = rows, plan, torch.device(device)
        start = self._beginning() if start is None else start
        self.weights, self.velocities = (
            [torch.as_tensor(each, device=self.device).clone() for each in begun]
            for begun in (start.weights, start.velocities)
        )
        self.n_updates = start.n_updates.copy()
        self.step_scale = start.step_scale.copy()
        self.history = start.history.copy()
        self.n_epochs = (~np.isnan(start.history[0])).sum(axis=0)
        self.begin = start.n_updates
        self.has_stopped = np.zeros(len(plan.seed), dtype=bool)
        self.n_rows = rows.counts
        self.batch_size = np.minimum(plan.batch_size, self.n_rows)
        self.n_anomalies = np.minimum(plan.batch_size, rows.anomaly_counts)
        self.epochs_a_round = -(-ROUND * self.batch_size // self.n_rows)
        self.workers = []
        self.lock = Lock()
        self.preconditioner = Preconditioner(rows, plan.preconditioning, self.device, start.axes)

    def _beginning(self):
        plan, n_models = self.plan, len(self.plan.seed)
        if plan.modules is None:
            weights = initial_weights(plan.layer_sizes, plan.seed, plan.init)
        else:
            parameters = zip(*(trainable(m).values() for m in plan.modules), strict=True)
            weights = [torch.stack([p.detach() for p in each]) for each in parameters]
        return State(
            weights,
            velocities=[torch.zeros_like(w) for w in weights],
            n_updates=np.zeros(n_models, np.int64),
            step_scale=np.ones(n_models),
            history=np.empty((len(HISTORY), 0, n_models)),
        )

    def state(self, models=slice(None)):
        """A copy of where some of the models, an index array, stand."""
        models = np.arange(len(self.n_updates))[models]
        weights, velocities = (
            [tensor.cpu().numpy() for tensor in tensors] for tensors in self._copies(models)
        )
        history = self.history[:, : self.n_epochs[models].max(), models]
        axes = [each.numpy() for each in self.preconditioner.axes(models)]
        return State(
            weights, velocities, self.n_updates[models], self.step_scale[models], history, axes
        )

    def run(self, n_updates, after_round=None):
        """Train each model until it has taken `n_updates` steps in all, or has stopped.

        Parameters
        ----------
        n_updates : ndarray of int (M,)
        after_round : callable, default=None
            Called with the number of rows trained on, and how often a step was halved.

        Raises
        ------
        ExplodedLossError
            If a round fails however small its step.
        """
        while len(running := np.flatnonzero((self.n_updates < n_updates) & ~self.has_stopped)):
            n_rows, n_halvings, pending = 0, 0, running
            while len(pending):
                failed = []
                for n_rows_of_group, failed_models in self._round(pending, n_updates):
                    n_rows += n_rows_of_group
                    failed.append(failed_models)
                pending = np.concatenate(failed)
                n_halvings += len(pending)
                self.step_scale[pending] /= 2
                if (self.step_scale[pending] < 0.5**MAX_HALVINGS).any():
                    raise ExplodedLossError
            for m in running[self.plan.tol[running] > 0]:
                self.has_stopped[m] = self._is_flat(m)
            if after_round is not None:
                after_round(n_rows, n_halvings)

    def _is_flat(self, m):
        """Whether the round that model m has completed was no better than `tol` asks for."""
        size, n_epochs = (self.n_rows[m], self.batch_size[m]), self.epochs_a_round[m]
        epoch = epochs_of(self.n_updates[m], *size)
        is_whole = epoch % n_epochs == 0 and self.n_updates[m] == updates_of(epoch, *size)
        if not is_whole or self.n_epochs[m] < 2 * n_epochs:
            return False
        losses = self.history[0, self.n_epochs[m] - 2 * n_epochs : self.n_epochs[m], m]
        before, now = losses.reshape(2, n_epochs).mean(axis=1)
        return before - now < self.plan.tol[m] * (DATA_TERMS[self.plan.loss][2] - now)

    def _round(self, models, n_updates):
        """One round of models: for each group the rows trained on, and which models failed."""
        n_threads = self._n_threads(models)
        while len(self.workers) < n_threads:
            self.workers.append(_Worker(self.rows, self.plan, self.device))
        groups = list(self._groups(models, n_updates, n_threads))
        train = partial(self._train_group, n_updates)
        return side_by_side(train, groups, n_threads, np.size)

    def _train_group(self, n_updates, thread, group):
        """One round of an (S, K) array of models: the rows trained on, and which models failed."""
        worker = self.workers[thread]
        plan, models = self.plan, group.ravel()
        leader = models[0]
        batch_size, first = self.batch_size[leader], self.n_updates[leader]
        last = min(self._end_of_round(leader), n_updates[leader])

        weights, velocities = self._copies(models)
        terms = _Terms(plan, models, self.device)
        # The velocities are kept as their moving average (1 - mu) v, which is one pass a step.
        step = terms.column(
            -plan.learning_rate[models] * self.step_scale[models] / (1 - plan.momentum)
        )
        descent = [(W, v, _beside(step, W)) for W, v in zip(weights, velocities, strict=True)]
        network = worker.network(group, batch_size, self.n_anomalies[leader])
        network.bind(weights, terms.reg_lambda, terms.exponent, terms.anomaly_weight)
        module = None if plan.modules is None else plan.modules[leader]
        begun_with = _buffers(module)
        preconditioned = self.preconditioner.of(models)
        n_rows = batch_size + self.n_anomalies[leader]
        shape = (last - first + 1, len(models), padded(n_rows) if plan.modules is None else n_rows)
        f, norm = torch.zeros((2, *shape), dtype=torch.float32, device=self.device)

        def derivatives(x, t):
            dW = network(x, f[t], norm[t])
            if terms.decay is not None:
                terms.add_decay(weights, dW)
            preconditioned(dW[0])
            return dW

        with threads(1 if self._is_small(batch_size) else None):
            for t, x in enumerate(self._batches(worker.sampler, group, first, last)):
                if t == 0:
                    first_batch = x.clone()
                for (W, v, minus_eta), dW in zip(descent, derivatives(x, t), strict=True):
                    v.lerp_(dW, 1 - plan.momentum)
                    W.addcmul_(v, minus_eta)
            # What the last step has left behind, or its damage would show a round too late.
            ended_with = _buffers(module)
            derivatives(first_batch, -1)
            means = terms.means(f[:, :, :n_rows], norm[:, :, :n_rows], batch_size)
        limit = np.maximum(means[0, 0], EXPLOSION * DATA_TERMS[plan.loss][2])
        # Not "greater": NaN has not stayed below either.
        kept = np.isfinite(means[:, :-1]).all((0, 1)) & (means[0, -1] <= limit)
        if begun_with:  # some modules move their buffers with every call
            module.load_state_dict(ended_with if kept.all() else begun_with, strict=False)
        with self.lock:
            self._keep(models, kept, weights, velocities)
            self._record(models[kept], means[:, :-1, kept], first)
            self.n_updates[models[kept]] = last
        return (last - first) * len(models) * batch_size, models[~kept]

    def _batches(self, sampler, group, first, last):
        """The normal rows of each update and the anomalies behind them, (S, B + A, d)."""
        leaders = group[:, 0]
        streams = [(self.plan.seed[m], self.rows.subset_of[m]) for m in leaders]
        normal = sampler.batches(streams, first, last, self.batch_size[leaders[0]])
        n_anomalies = self.n_anomalies[leaders[0]]
        if not n_anomalies:
            return normal
        streams = [(self.plan.seed[m] + OTHER_SEED, self.rows.anomalies_of[m]) for m in leaders]
        anomalies = sampler.batches(streams, first, last, n_anomalies)
        return (torch.cat(pair, 1) for pair in zip(normal, anomalies, strict=True))

    def _end_of_round(self, m):
        size = self.n_rows[m], self.batch_size[m]
        n_rounds = epochs_of(self.n_updates[m], *size) // self.epochs_a_round[m]
        return updates_of((n_rounds + 1) * self.epochs_a_round[m], *size)

    def _record(self, models, means, first):
        """Add to the history of some models the means of some updates (3, n, models)."""
        if not len(models):
            return
        size, last = (self.n_rows[models[0]], self.batch_size[models[0]]), first + means.shape[1]
        ends = updates_of(np.arange(*epochs_of(np.array([first, last - 1]), *size)) + 1, *size)
        begins = np.array([0, *(ends - first)])
        lengths = np.diff([*begins, last - first])
        of_epochs = np.add.reduceat(means, begins, axis=1) / lengths[:, None]
        # Of the first epoch, the run before may have recorded a part.
        began = np.maximum(updates_of(epochs_of(first, *size), *size), self.begin[models])
        n_before = first - began
        if n_before.any():
            before = self.history[:3, self.n_epochs[models] - 1, models]
            share = n_before / (n_before + lengths[0])
            of_epochs[:, 0] += np.where(share > 0, share * (before - of_epochs[:, 0]), 0.0)
            self.n_epochs[models] -= n_before > 0
        at = self.n_epochs[models] + np.arange(len(begins))[:, None]
        if at.max() >= self.history.shape[1]:
            room = np.full((len(HISTORY), at.max() + 1, self.history.shape[2]), np.nan)
            self.history = np.concatenate([self.history, room], axis=1)
        self.history[:3, at, models] = of_epochs
        self.history[3, at, models] = (self.plan.learning_rate * self.step_scale)[models]
        self.n_epochs[models] += len(begins)

    def _copies(self, models):
        chosen = torch.from_numpy(models).to(self.device)
        return (
            [tensor.index_select(0, chosen) for tensor in tensors]
            for tensors in (self.weights, self.velocities)
        )

    def _keep(self, models, kept, weights, velocities):
        """Make what some of the models have learned in a round theirs."""
        chosen = torch.from_numpy(np.flatnonzero(kept)).to(self.device)
        at = torch.from_numpy(models[kept]).to(self.device)
        for whole, part in zip(self.weights + self.velocities, weights + velocities, strict=True):
            whole.index_copy_(0, at, part.index_select(0, chosen))

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

    def _n_threads(self, models):
        """How many threads share the models out."""
        products = first_product(self.plan, self.batch_size[models])
        return min(threads_for(self.plan, products, self.device), len(models))

    def _groups(self, models, n_updates, n_shares):
        """Index arrays (S, K): S streams of K models that take the same steps."""

        def steps(m):
            return self.n_rows[m], self.n_anomalies[m], self.n_updates[m], n_updates[m]

        def stream(m):
            return self.plan.seed[m], self.rows.subset_of[m], self.rows.anomalies_of[m]

        for _, equal in groupby(sorted(models, key=lambda m: (steps(m), stream(m), m)), steps):
            equal = list(equal)
            most = min(self._models_at_once(self.batch_size[equal[0]]), -(-len(equal) // n_shares))
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


class _Worker:
    """What the models that a thread trains have in common: memory that is written to."""

    def __init__(self, rows, plan, device):
        self.plan, self.device = plan, device
        self.sampler = BatchSampler(rows, device)
        self.closed_forms = {}

    def network(self, group, batch_size, n_anomalies):
        """f, its input gradient and the derivatives of a group of models."""
        plan = self.plan
        if plan.modules is not None:
            module = plan.modules[group[0, 0]].to(self.device)
            form = getattr(module, "closed_form", partial(Autograd, module))
            return form(plan.loss, int(batch_size))
        shape, n_anomalies = (*group.shape, int(batch_size)), int(n_anomalies)
        if (shape, n_anomalies) not in self.closed_forms:
            what = plan.layer_sizes, shape, SLOPES[plan.activation], plan.loss, n_anomalies
            self.closed_forms[shape, n_anomalies] = closed_form(*what, device=self.device)
        return self.closed_forms[shape, n_anomalies]


class _Terms:
    """The terms of the loss of some models, as columns (M, 1), and their means over an epoch."""

    def __init__(self, plan, models, device):
        self.loss, self.device = plan.loss, device
        lam = plan.reg_lambda[models]
        is_h = (plan.regularizer == "h") & (lam > 0)
        self.reg_lambda = self.column(np.where(is_h, lam, 0.0))
        # A power that is multiplied by zero must not overflow.
        self.exponent = self.column(np.where(is_h, plan.reg_exponent[models], 2.0))
        self.anomaly_weight = self.column(plan.anomaly_weight[models])
        self.decay = self.column(lam) if plan.regularizer == "l2" else None
        self.squared_weights = []

    def column(self, values):
        return torch.tensor(values, dtype=torch.float32, device=self.device).unsqueeze(1)

    def add_decay(self, weights, derivatives):
        """Plain L2: ``lambda ||theta||^2`` has the derivative 2 lambda theta."""
        self.squared_weights.append(sum(W.square().flatten(1).sum(1) for W in weights))
        for W, dW in zip(weights, derivatives, strict=True):
            dW.addcmul_(W, _beside(self.decay, W), value=2)

    def means(self, f, norm, n_normal):
        """Loss, penalty and gradient norm (3, updates, M) of f and norms (updates, M, B + A)."""

        def mean(values):
            return values.mean(2, dtype=torch.float64)

        value = DATA_TERMS[self.loss][0]
        data = mean(value(f[:, :, :n_normal]))
        if f.shape[2] > n_normal:
            data = data + self.anomaly_weight[:, 0] * mean(value(-f[:, :, n_normal:]))
        norm = norm[:, :, :n_normal]
        if self.decay is None:
            penalty = mean(h_penalty(norm, self.reg_lambda, self.exponent))
        else:
            penalty = self.decay[:, 0] * torch.stack(self.squared_weights)
        return torch.stack([data + penalty, penalty, mean(norm)]).cpu().numpy()


def _buffers(module):
    """Copies of the buffers of a module, by name; none of None."""
    return {} if module is None else {name: b.clone() for name, b in module.named_buffers()}


def _beside(column, tensor):
    """A column (M, 1) in the shape that multiplies (M, ...)."""
    return column.view(-1, *[1] * (tensor.ndim - 1))
