"""The one door to training: arrays in, fitted estimators out."""

from dataclasses import replace

import numpy as np

from ._progress import Progress
from ._validation import draw_seeds, resolve_device
from .core.scoring import SLOPES
from .exceptions import (
    ConstantScoresWarning,
    NonFiniteLossWarning,
    TrainingDivergedError,
    warn,
)

N_TRAIN_QUANTILES = 1001
HISTORY = ("loss", "penalty", "gradient_norm", "learning_rate")

# What estimators that are fitted together must agree in: all that shapes the network or the loop.
SHARED_PARAMETERS = (
    "hidden_layer_sizes",
    "loss",
    "regularizer",
    "activation",
    "module",
    "init",
    "momentum",
    "batch_size",
    "device",
)


def fit_models(estimators, X, subsets=None):
    """Fit one-class classifiers together, each as it would be fitted alone.

    Parameters
    ----------
    estimators : list of HRNOneClassClassifier
        Their parameters are valid, and equal in `SHARED_PARAMETERS`.
    X : ndarray of shape (n_samples, n_features), float32 or float64
        Checked rows. Not copied.
    subsets : list of (ndarray of int or None), default=None
        The rows of X each estimator trains on; None is all.

    Raises
    ------
    ValueError
        For what the parameters alone do not show to be wrong: too few rows, an absent device, a
        module of the wrong kind, an ensemble that cannot be continued.
    TrainingDivergedError
        If a loss is not finite however small the step.
    """
    from .core.batches import Rows
    from .core.training import NonFiniteLossError

    lead = estimators[0]
    subsets = [None] * len(estimators) if subsets is None else subsets
    owner = np.repeat(np.arange(len(estimators)), [e.n_estimators for e in estimators])
    distinct = {id(subset): subset for subset in subsets}
    place = {key: i for i, key in enumerate(distinct)}
    rows = Rows(X, tuple(distinct.values()), np.array([place[id(subsets[i])] for i in owner]))
    if rows.counts.min() < 2:
        raise ValueError(
            f"{rows.counts.min()} normal row(s) to train on; at least 2 are needed "
            "(rows with y == -1 are left out)."
        )
    device = resolve_device(lead.device)
    start = _start(estimators, X.shape[1])
    plan = _plan(estimators, rows, owner, start)
    try:
        state, history = _run(plan, rows, start, device, estimators, owner)
    except NonFiniteLossError as error:
        raise TrainingDivergedError(
            f"the training loss is not finite even with a step of 2^-30 times learning_rate_init="
            f"{lead.learning_rate_init}; the largest |x| is {max(-X.min(), X.max()):.3g} and "
            f"reg_exponent={lead.reg_exponent}. Bring the rows to length one with "
            "InstanceL2Normalizer, or lower learning_rate_init, reg_exponent or init."
        ) from error
    for i, estimator in enumerate(estimators):
        mine = np.flatnonzero(owner == i)
        _set_networks(estimator, plan, state, history[:, :, mine], mine)
        estimator.device_ = device
        _set_threshold(estimator, X, subsets[i])


def _layer_sizes(estimator, n_features):
    hidden = np.atleast_1d(np.asarray(estimator.hidden_layer_sizes, dtype=object))
    if any(not isinstance(h, (int, np.integer)) or h < 1 for h in hidden.tolist()):
        raise ValueError(
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} is not allowed: give a positive "
            "int, or one positive int a hidden layer, such as (100,)."
        )
    return (n_features, *(int(h) for h in hidden), 1)


def _start(estimators, n_features):
    """The joined state of estimators that continue; None if they begin."""
    from .core.training import State

    if not estimators[0]._continues():
        return None
    parts = []
    for e in estimators:
        weights = e._weights()
        n_trained = len(weights[0])
        if n_trained != e.n_estimators or not _fits(e, weights, n_features):
            raise ValueError(
                f"warm_start=True continues {n_trained} network(s) with weights of shape "
                f"{[w.shape[1:] for w in weights]}, but n_estimators={e.n_estimators}, "
                f"hidden_layer_sizes={e.hidden_layer_sizes}, module={e.module} and {n_features} "
                "features ask for others. Keep them, or set warm_start=False."
            )
        parts.append({"weights": weights, **e._loop_state})
    return State(
        *(
            [np.concatenate(arrays) for arrays in zip(*(p[name] for p in parts), strict=True)]
            for name in ("weights", "velocities")
        ),
        *(np.concatenate([p[name] for p in parts]) for name in ("n_updates", "step_scale")),
    )


def _fits(estimator, weights, n_features):
    if estimator.module is not None or estimator._fitted_module is not None:
        return estimator.module is estimator._fitted_module
    sizes = _layer_sizes(estimator, n_features)
    return [w.shape[1:] for w in weights] == list(zip(sizes[1:], sizes[:-1], strict=True))


def _plan(estimators, rows, owner, start):
    from .core.batches import epochs_of, updates_of
    from .core.training import TrainingPlan

    lead, n_features = estimators[0], rows.X.shape[1]

    def each(name):
        return np.array([getattr(estimators[i], name) for i in owner])

    def seeds(e):
        if start is not None:
            return e._loop_state["seed"]
        return draw_seeds(e.random_state, e.n_estimators)

    seed = np.concatenate([seeds(e) for e in estimators]).astype(np.int64)
    done = np.zeros_like(seed) if start is None else start.n_updates
    epochs = epochs_of(done, rows.counts, lead.batch_size) + each("max_iter")
    n_updates = updates_of(epochs, rows.counts, lead.batch_size)
    for m, budget in enumerate(each("max_updates")):
        if budget is not None:
            n_updates[m] = done[m] + budget
    modules = None
    if lead.module is not None:
        from .core.modules import make_module

        modules = tuple(make_module(lead.module, n_features, int(s)) for s in seed)
    return TrainingPlan(
        layer_sizes=_layer_sizes(lead, n_features),
        reg_lambda=each("reg_lambda").astype(float),
        reg_exponent=each("reg_exponent").astype(float),
        learning_rate=each("learning_rate_init").astype(float),
        seed=seed,
        n_updates=n_updates,
        loss=lead.loss,
        regularizer=lead.regularizer,
        activation=lead.activation,
        momentum=lead.momentum,
        batch_size=lead.batch_size,
        init=lead.init,
        modules=modules,
    )


def _run(plan, rows, start, device, estimators, owner):
    """Train all networks: their state, and a history (4, n_epochs, M).

    Networks that differ in nothing but their length walk one path: it is trained once, in segments,
    and each takes the state at its own length.
    """
    from .core.batches import Rows, updates_of
    from .core.training import State

    path, longest = _paths(plan, rows, start, estimators, owner)
    short = plan.n_updates < plan.n_updates[longest[path]]
    paths = _of_networks(plan, longest)
    path_rows = Rows(rows.X, rows.subsets, rows.subset_of[longest])
    lengths = np.unique([estimators[i].max_iter for i in owner[short]])
    targets = [
        np.minimum(paths.n_updates, updates_of(length, path_rows.counts, plan.batch_size))
        for length in lengths.astype(np.int64)
    ]
    targets.append(paths.n_updates)
    segments = _segments(paths, path_rows, start, device, estimators, owner[longest], targets)
    if len(longest) == len(path):
        (only,) = segments
        return only
    whole, n_records = None, np.zeros_like(path)
    for target, (state, history) in zip(targets, segments, strict=True):
        due = np.flatnonzero(plan.n_updates == target[path])
        parts = [*state.weights, *state.velocities, state.n_updates, state.step_scale]
        if whole is None:
            whole = [np.empty((len(path), *part.shape[1:]), part.dtype) for part in parts]
        for array, part in zip(whole, parts, strict=True):
            array[due] = part[path[due]]
        n_records[due] = history.shape[1]
    history = history[:, :, path]
    history[:, np.arange(history.shape[1])[:, None] >= n_records] = np.nan
    n_arrays = len(state.weights)
    return State(whole[:n_arrays], whole[n_arrays:-2], *whole[-2:]), history


def _paths(plan, rows, start, estimators, owner):
    """The path of each network (M,), and the longest network of each path (P,)."""
    every = np.arange(len(owner))
    if start is not None:
        return every, every
    numbers = {}
    path = np.empty_like(every)
    for m in every:
        estimator = estimators[owner[m]]
        # A number of updates can end within an epoch, where no other network can go on.
        budget = None if estimator.max_updates is None else plan.n_updates[m]
        settings = plan.reg_lambda[m], plan.reg_exponent[m], plan.learning_rate[m], estimator.tol
        key = (plan.seed[m], rows.subset_of[m], *settings, budget)
        path[m] = numbers.setdefault(key, len(numbers))
    of_paths = (every[path == number] for number in range(len(numbers)))
    return path, np.array([max(networks, key=plan.n_updates.item) for networks in of_paths])


def _of_networks(plan, chosen):
    """The plan of some of the networks."""
    arrays = ("reg_lambda", "reg_exponent", "learning_rate", "seed", "n_updates")
    modules = None if plan.modules is None else tuple(plan.modules[m] for m in chosen)
    return replace(plan, modules=modules, **{name: getattr(plan, name)[chosen] for name in arrays})


def _segments(plan, rows, start, device, estimators, owner, targets):
    """Drain the training loop; the state and the history (4, n_epochs, M) at each target (M,)."""
    from .core.batches import epochs_of
    from .core.objective import DATA_TERMS
    from .core.training import train

    untrained_loss = DATA_TERMS[plan.loss][2]
    tol = np.array([estimators[i].tol for i in owner])
    last_loss = np.full(len(owner), np.nan)
    if start is not None:
        last_loss = np.concatenate([e.history_["loss"][-1] for e in estimators])
    done = 0 if start is None else start.n_updates
    n_epochs = epochs_of(plan.n_updates - done, rows.counts, plan.batch_size).max()
    progress = Progress(int(n_epochs), max(e.verbose for e in estimators))
    history, has_warned, state = [], False, start
    has_stopped = np.zeros(len(owner), dtype=bool)
    try:
        for target in targets:
            if has_stopped.any():
                target = np.where(has_stopped, state.n_updates, target)
            segment, stop = replace(plan, n_updates=target), None
            run = train(rows, segment, start=state, device=device)
            while True:
                try:
                    record = run.send(stop)
                except StopIteration as end:
                    state = end.value
                    break
                history.append([getattr(record, name) for name in HISTORY])
                if record.n_halvings.any() and not has_warned:
                    has_warned = True
                    warn(
                        f"the training loss became non-finite in epoch {len(history)}, which was "
                        "repeated with half the step. Bring the rows to length one "
                        "(InstanceL2Normalizer), or lower learning_rate_init or reg_exponent.",
                        NonFiniteLossWarning,
                    )
                # NaN, before a second epoch and after the last, compares as False.
                stop = last_loss - record.loss < tol * (untrained_loss - record.loss)
                stop &= tol > 0
                has_stopped |= stop
                last_loss = record.loss
                progress.update(f"loss {np.nanmean(record.loss):.4f}", record.n_rows)
            yield state, np.array(history).transpose(1, 0, 2)
    finally:
        progress.close()


def _set_networks(estimator, plan, state, history, mine):
    """What has been learned, as NumPy arrays with the estimator's networks first."""
    continues = estimator._continues()
    weights = [w[mine] for w in state.weights]
    estimator._slope = SLOPES[plan.activation]
    estimator._fitted_module = estimator.module
    for stale in ("coefs_", "module_state_"):
        vars(estimator).pop(stale, None)
    if plan.modules is None:
        estimator.coefs_ = [np.ascontiguousarray(w.swapaxes(1, 2)) for w in weights]
    else:
        from .core.modules import module_states

        estimator.module_state_ = module_states([plan.modules[m] for m in mine], weights)
    estimator._loop_state = {
        "velocities": [v[mine] for v in state.velocities],
        "n_updates": state.n_updates[mine],
        "step_scale": state.step_scale[mine],
        "seed": plan.seed[mine],
    }
    history = dict(zip(HISTORY, history[:, ~np.isnan(history[0]).all(axis=1)], strict=True))
    if continues:
        history = {k: np.concatenate([estimator.history_[k], h]) for k, h in history.items()}
    estimator.history_ = history
    estimator.n_iter_ = len(history["loss"])
    estimator.n_updates_ = int(state.n_updates[mine].max())


def _set_threshold(estimator, X, subset):
    """`offset_` and `train_scores_` from the scores of the training rows."""
    scores = estimator._score(X, subset)
    size = np.abs(scores).max()
    if np.ptp(scores) <= 1e-9 * size:
        warn(
            f"all {len(scores)} training rows score {scores[0]:.6g}: the model tells nothing "
            "apart. Are the rows all equal, or made so by a normalisation (centring leaves nothing "
            "of one feature)?",
            ConstantScoresWarning,
        )
    estimator.train_scores_ = np.quantile(scores, np.linspace(0, 1, N_TRAIN_QUANTILES))
    if estimator.contamination is None:
        # The rounding of a score depends on the block it is computed in.
        estimator.offset_ = float(scores.min() - 4 * np.finfo(float).eps * size)
    else:
        estimator.offset_ = float(np.percentile(scores, 100 * estimator.contamination))
