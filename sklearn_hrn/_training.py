"""The one door to training: parameters and rows in, arrays out.

It imports torch, so it is imported inside `fit`.
"""

from collections.abc import Callable
from contextlib import closing
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise

import numpy as np

try:
    import torch
except ModuleNotFoundError as error:
    raise ImportError(
        "Training needs torch, which is not installed: pip install torch (on Linux, the CPU build "
        "is much smaller). Scoring with a fitted detector needs none."
    ) from error

from ._progress import Progress
from ._validation import draw_seeds, resolve_device
from .core.batches import Rows, epochs_of, updates_of
from .core.modules import (
    check_rebuilt,
    make_module,
    make_modules,
    module_states,
    trainable,
    with_gradients,
)
from .core.threads import side_by_side, threads
from .core.training import (
    HISTORY,
    OF_MODELS,
    ExplodedLossError,
    State,
    Trainer,
    TrainingPlan,
    first_product,
    threads_for,
)
from .exceptions import NonFiniteLossWarning, TrainingDivergedError, warn

# Training rows on which a module that is rebuilt is compared with the one that was trained.
N_COMPARED = 16


@dataclass(frozen=True)
class Learned:
    """What an estimator has learned: NumPy arrays with its networks first, and where they stand.

    Parameters
    ----------
    coefs : list of ndarray (n_networks, n_in, n_out) or None
        Of perceptrons.
    module_state : dict of str to ndarray (n_networks, ...) or None
        Of modules.
    history : dict of str to ndarray (n_epochs, n_networks)
    loop : dict of str to ndarray or list of ndarray
        What else a continued run needs: "velocities", "n_updates", "step_scale", "seed", and of the
        preconditioning "axes" and the largest factor.
    module : callable or None
        The factory of the modules.
    device : str or None
        Where it was learned.
    """

    coefs: list | None
    module_state: dict | None
    history: dict
    loop: dict
    module: object = None
    device: str | None = None


@dataclass(frozen=True)
class Task:
    """What one estimator asks for.

    Parameters
    ----------
    parameters, shared : dict
        Valid parameters of `HRNOneClassClassifier`: those in which estimators that train together
        may differ, and all others.
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Checked rows. Not copied.
    rows : ndarray of int or None
        Those to train on; None is all.
    anomalies : ndarray of int or None
        Those to keep below; None is none.
    start : Learned or None
        Where to continue.
    after_round : callable or None
        Called after every round with a function that says what has been learned so far; its answer
        is whether to stop.
    """

    parameters: dict
    shared: dict
    X: np.ndarray
    rows: np.ndarray | None = None
    anomalies: np.ndarray | None = None
    start: Learned | None = None
    after_round: Callable | None = None


def train(tasks):
    """Train for some estimators, each as it would be trained alone.

    Those whose shared parameters are equal train together.

    Parameters
    ----------
    tasks : list of Task
        Their arrays have the same columns.

    Returns
    -------
    learned : list of Learned

    Raises
    ------
    ValueError
        For what the parameters alone do not show to be wrong: too few rows, an absent device, a
        module of the wrong kind, an ensemble that cannot be continued.
    TrainingDivergedError
        If a loss explodes however small the step.
    """
    groups = _groups(tasks)
    with threads(None), with_gradients():
        runs = [_Run([tasks[i] for i in group]) for group in groups]
        n_threads = _n_threads(runs)
        if len(runs) > 1:
            runs = [part for run in runs for part in run.parts(n_threads)]
        outcomes = side_by_side(_learned, runs, n_threads, _Run.work, _Run.stop)
    for run in runs:
        run.warn_of_halvings()
    learned = dict(zip(chain.from_iterable(groups), chain.from_iterable(outcomes), strict=True))
    return [learned[i] for i in range(len(tasks))]


def _learned(_thread, run):
    return run.learned()


def _n_threads(runs):
    """How many threads share out runs of different shapes."""
    if any(run.is_heard() for run in runs):
        return 1
    products = sum(run.first_product() for run in runs)
    return min(threads_for(run.plan, products, torch.device(run.device)) for run in runs)


def _groups(tasks):
    """Indices of tasks that can train together."""
    groups = []
    for i, task in enumerate(tasks):
        key = task.shared, task.start is None, task.X.shape[1]
        for other, members in groups:
            if _equal(key, other):
                members.append(i)
                break
        else:
            groups.append((key, [i]))
    return [members for _, members in groups]


def _equal(key, other):
    """Whether two keys are equal, also where a parameter is an array."""
    (shared, *rest), (others, *other_rest) = key, other
    return (
        rest == other_rest
        and shared.keys() == others.keys()
        and all(
            shared[k] is others[k]
            or (type(shared[k]) is type(others[k]) and np.array_equal(shared[k], others[k]))
            for k in shared
        )
    )


class _Run:
    """Tasks with equal shared parameters, which are trained in one loop."""

    def __init__(self, tasks):
        self.tasks = tasks
        self.shared = tasks[0].shared
        self.n_features = tasks[0].X.shape[1]
        self.of_task = np.repeat(
            np.arange(len(tasks)), [task.parameters["n_estimators"] for task in tasks]
        )
        self.rows = Rows.of_models(
            [(tasks[i].X, tasks[i].rows) for i in self.of_task],
            [tasks[i].anomalies for i in self.of_task],
        )
        if self.rows.counts.min() < 2:
            raise ValueError(
                f"{self.rows.counts.min()} normal row(s) to train on; at least 2 are needed "
                "(rows with y == -1 are left out)."
            )
        self.device = resolve_device(self.shared["device"])
        self.start = None if tasks[0].start is None else _joined(tasks, self.n_features)
        self.plan = self._plan()
        self.n_updates = self._n_updates()
        self.verbose = max(task.parameters["verbose"] for task in tasks)
        self.is_over = False

    def _each(self, name, dtype=float):
        """A parameter of each network."""
        return np.array([self.tasks[i].parameters[name] for i in self.of_task], dtype=dtype)

    def _plan(self):
        shared = self.shared
        seed = np.concatenate(
            [
                draw_seeds(task.parameters["random_state"], task.parameters["n_estimators"])
                if task.start is None
                else task.start.loop["seed"]
                for task in self.tasks
            ]
        ).astype(np.int64)
        modules = None
        if shared["module"] is not None and shared["preconditioning"] != 1:
            raise ValueError(
                f"preconditioning={shared['preconditioning']!r} is for perceptrons, whose "
                "first weights are known: leave it at 1 with a module of your own."
            )
        if shared["module"] is not None:
            modules = make_modules(
                shared["module"], self.n_features, seed, _joined_states(self.tasks)
            )
        return TrainingPlan(
            layer_sizes=_layer_sizes(shared["hidden_layer_sizes"], self.n_features),
            reg_lambda=self._each("reg_lambda"),
            reg_exponent=self._each("reg_exponent"),
            anomaly_weight=self._each("anomaly_weight"),
            learning_rate=self._each("learning_rate_init"),
            tol=self._each("tol"),
            seed=seed,
            modules=modules,
            **{
                name: shared[name]
                for name in (
                    "loss",
                    "regularizer",
                    "activation",
                    "momentum",
                    "batch_size",
                    "preconditioning",
                    "init",
                )
            },
        )

    def _n_updates(self):
        """Where each network stops, counted from its beginning."""
        done = np.zeros_like(self.plan.seed) if self.start is None else self.start.n_updates
        size = self.rows.counts, self.plan.batch_size
        n_updates = updates_of(epochs_of(done, *size) + self._each("max_iter", np.int64), *size)
        for m, budget in enumerate(self._each("max_updates", object)):
            if budget is not None:
                n_updates[m] = done[m] + budget
        return n_updates

    def parts(self, n_parts):
        """The run cut into at most so many, of whole tasks; one that continues is not cut."""
        if self.start is not None:
            return [self]
        parts = []
        for tasks in np.array_split(np.arange(len(self.tasks)), min(n_parts, len(self.tasks))):
            part, networks = copy(self), np.flatnonzero(np.isin(self.of_task, tasks))
            part.tasks = [self.tasks[i] for i in tasks]
            part.of_task = self.of_task[networks] - tasks[0]
            part.rows, part.plan = self.rows.of(networks), _of_networks(self.plan, networks)
            part.n_updates = self.n_updates[networks]
            parts.append(part)
        return parts

    def first_product(self):
        return first_product(self.plan, np.minimum(self.plan.batch_size, self.rows.counts))

    def work(self):
        """Multiply-adds of the first products of all steps."""
        return self.first_product() * int(self.n_updates.max())

    def learned(self):
        """Train, and say what each task has learned."""
        try:
            states = self._train()
        except ExplodedLossError as error:
            largest = max(max(-X.min(), X.max()) for X in self.rows.arrays)
            raise TrainingDivergedError(
                "the training loss explodes even with a step of 2^-30 times learning_rate_init="
                f"{self._each('learning_rate_init').max():.3g}; the largest |x| is {largest:.3g} "
                f"and reg_exponent={self._each('reg_exponent').max():.3g}. Bring the rows to "
                "length one with InstanceL2Normalizer, or lower learning_rate_init, reg_exponent "
                "or init."
            ) from error
        return [self._as_arrays(i, state) for i, state in enumerate(states)]

    def _train(self):
        """The state in which the networks of each task end.

        Networks that differ in nothing but their length walk one path: it is trained once, and each
        takes the state at its own length.
        """
        path, longest = self._paths()
        rows = self.rows.of(longest)
        trainer = Trainer(rows, _of_networks(self.plan, longest), self.start, self.device)
        final = self.n_updates[longest]
        states = [None] * len(self.tasks)
        self.report = _Report(trainer, final, self.verbose)
        with closing(self.report.progress):
            for goal in self._goals(path, longest):
                trainer.run(goal, partial(self._after_round, trainer, path))
                for i in range(len(self.tasks)):
                    mine = self.of_task == i
                    if states[i] is None and (self.n_updates[mine] == goal[path[mine]]).all():
                        states[i] = trainer.state(path[mine])
        return states

    def _paths(self):
        """The path of each network (M,), and the longest network of each path (P,)."""
        every = np.arange(len(self.of_task))
        # Buffers that training moves are those of one module, which is where the longest ends.
        has_buffers = any(True for module in self.plan.modules or () for _ in module.buffers())
        if self.start is not None or has_buffers:
            return every, every
        plan, rows, numbers = self.plan, self.rows, {}
        path = np.empty_like(every)
        budgets = self._each("max_updates", object)
        for m in every:
            settings = tuple(getattr(plan, name)[m] for name in OF_MODELS)
            key = (settings, rows.subset_of[m], rows.anomalies_of[m], budgets[m] is None)
            path[m] = numbers.setdefault(key, len(numbers))
        of_paths = (every[path == number] for number in range(len(numbers)))
        return path, np.array([max(same, key=self.n_updates.item) for same in of_paths])

    def _goals(self, path, longest):
        """Generate how far each path is trained before the next of its networks has ended."""
        final, n_rows = self.n_updates[longest], self.rows.counts[longest]
        is_short = self.n_updates < final[path]
        budgets = self._each("max_updates", object)
        is_counted = np.array([budget is not None for budget in budgets])
        epochs = np.unique(self._each("max_iter", np.int64)[is_short & ~is_counted])
        updates = np.unique(budgets[is_short & is_counted].astype(np.int64))
        for k in range(max(len(epochs), len(updates))):
            after_epochs = final
            if k < len(epochs):
                after_epochs = updates_of(epochs[k], n_rows, self.plan.batch_size)
            after_updates = updates[k] if k < len(updates) else final
            yield np.minimum(final, np.where(is_counted[longest], after_updates, after_epochs))
        yield final

    def is_heard(self):
        """Whether it speaks while it trains, so that it must not do so beside another."""
        return self.verbose or any(task.after_round is not None for task in self.tasks)

    def _after_round(self, trainer, path, n_rows, n_halvings):
        self.report.after_round(n_rows, n_halvings)
        for i, task in enumerate(self.tasks):
            mine = path[self.of_task == i]
            if task.after_round is not None and not trainer.has_stopped[mine].all():
                so_far = partial(self._so_far, i, trainer, mine)
                trainer.has_stopped[mine] |= task.after_round(so_far)
        if self.is_over:
            raise InterruptedError("Another run has failed, or the user has had enough.")

    def _so_far(self, i, trainer, models):
        return self._as_arrays(i, trainer.state(models))

    def stop(self):
        """Train no further than to the end of a round."""
        self.is_over = True

    def warn_of_halvings(self):
        """Say, once, that a step was halved."""
        if self.report.halved_in is not None:
            warn(
                f"the training loss exploded before the end of epoch {self.report.halved_in}: it "
                "became infinite, or more than 100 times that of an untrained network. The epoch "
                "(or, of short ones, the last 50 updates) was repeated with half the step. Bring "
                "the rows to length one (InstanceL2Normalizer), or lower learning_rate_init or "
                "reg_exponent.",
                NonFiniteLossWarning,
            )

    def _as_arrays(self, i, state):
        """What task i has learned, from the state of its networks."""
        mine = self.of_task == i
        coefs = module_state = None
        if self.plan.modules is None:
            coefs = [np.ascontiguousarray(W.swapaxes(1, 2)) for W in state.weights]
        else:
            modules = [self.plan.modules[m] for m in np.flatnonzero(mine)]
            module_state = module_states(modules, state.weights)
            task = self.tasks[i]
            some = task.X[:N_COMPARED] if task.rows is None else task.X[task.rows[:N_COMPARED]]
            check_rebuilt(self.shared["module"], modules, module_state, some)
        loop = {
            "velocities": state.velocities,
            "n_updates": state.n_updates,
            "step_scale": state.step_scale,
            "seed": self.plan.seed[mine],
            "axes": state.axes,
            "preconditioning": self.plan.preconditioning,
        }
        history = dict(zip(HISTORY, state.history, strict=True))
        return Learned(coefs, module_state, history, loop, self.shared["module"], self.device)


def _layer_sizes(hidden_layer_sizes, n_features):
    hidden = np.atleast_1d(np.asarray(hidden_layer_sizes, dtype=object))
    if any(not isinstance(h, (int, np.integer)) or h < 1 for h in hidden.tolist()):
        raise ValueError(
            f"hidden_layer_sizes={hidden_layer_sizes!r} is not allowed: give a positive int, or "
            "one positive int a hidden layer, such as (100,)."
        )
    sizes = (n_features, *(int(h) for h in hidden), 1)
    n_weights = sum(a * b for a, b in pairwise(sizes))
    try:
        np.empty(n_weights, dtype=np.float32)  # before the work
    except (MemoryError, ValueError, OverflowError) as error:
        raise MemoryError(
            f"hidden_layer_sizes={hidden_layer_sizes!r} makes {n_weights:,} weights a network, "
            "which do not fit into memory: give fewer units."
        ) from error
    return sizes


def _of_networks(plan, chosen):
    """The plan of some of the networks."""
    modules = None if plan.modules is None else tuple(plan.modules[m] for m in chosen)
    arrays = {name: getattr(plan, name)[chosen] for name in OF_MODELS}
    return replace(plan, modules=modules, **arrays)


def _joined_states(tasks):
    """The states of the modules of tasks that continue; None if they begin."""
    states = [task.start and task.start.module_state for task in tasks]
    if None in states:
        return None
    return {name: np.concatenate([state[name] for state in states]) for name in states[0]}


def _joined(tasks, n_features):
    """The joint state of tasks that continue."""
    weights = [_weights(task, n_features) for task in tasks]
    loops = [task.start.loop for task in tasks]
    n_epochs = max(len(task.start.history["loss"]) for task in tasks)
    histories = [np.array([task.start.history[name] for name in HISTORY]) for task in tasks]
    missing = [((0, 0), (0, n_epochs - h.shape[1]), (0, 0)) for h in histories]
    padded = map(partial(np.pad, constant_values=np.nan), histories, missing)
    axes = []
    if all(loop["preconditioning"] == tasks[0].shared["preconditioning"] for loop in loops):
        axes = [
            np.concatenate(each) for each in zip(*(loop["axes"] for loop in loops), strict=True)
        ]
    return State(
        [np.concatenate(arrays) for arrays in zip(*weights, strict=True)],
        [np.concatenate(v) for v in zip(*(loop["velocities"] for loop in loops), strict=True)],
        *(np.concatenate([loop[name] for loop in loops]) for name in ("n_updates", "step_scale")),
        np.concatenate(list(padded), axis=2),
        axes,
    )


def _weights(task, n_features):
    """What training moves, as it does, of a task that continues."""
    given, start = task.shared, task.start
    n_networks = task.parameters["n_estimators"]
    if start.coefs is None:
        names = trainable(make_module(start.module, n_features, seed=0))
        weights = [start.module_state[name] for name in names]
        is_same = given["module"] is start.module
    else:
        weights = [W.swapaxes(1, 2) for W in start.coefs]
        sizes = _layer_sizes(given["hidden_layer_sizes"], n_features)
        shapes = [(n_out, n_in) for n_in, n_out in pairwise(sizes)]
        is_same = given["module"] is None and [W.shape[1:] for W in weights] == shapes
    if not is_same or len(weights[0]) != n_networks:
        raise ValueError(
            f"learning would go on with {len(weights[0])} network(s) with weights of shape "
            f"{[W.shape[1:] for W in weights]}, but n_estimators={n_networks}, "
            f"hidden_layer_sizes={given['hidden_layer_sizes']}, module={given['module']} and "
            f"{n_features} features ask for others. Keep them, or fit anew, with warm_start=False."
        )
    return weights


class _Report:
    """What is told of a run: its progress, and in which epoch a step was first halved."""

    def __init__(self, trainer, n_updates, verbose):
        self.trainer, self.halved_in = trainer, None
        self.begin, self.done = trainer.n_epochs.copy(), 0
        size = trainer.n_rows, trainer.batch_size
        n_epochs = epochs_of(n_updates - 1, *size) + 1 - epochs_of(trainer.n_updates, *size)
        self.progress = Progress(int(n_epochs.max()), verbose)

    def after_round(self, n_rows, n_halvings):
        trainer = self.trainer
        done = int((trainer.n_epochs - self.begin).max())
        if n_halvings and self.halved_in is None:
            self.halved_in = done
        loss = trainer.history[0, trainer.n_epochs - 1, np.arange(len(trainer.n_epochs))].mean()
        self.progress.update(f"loss {loss:.4f}", n_rows, n_steps=done - self.done)
        self.done = done
