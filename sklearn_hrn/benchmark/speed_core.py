"""The training and scoring core: against the products it cannot do without, and against torch."""

import time
from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from ..model_selection import HRNSearchCV, InlierKFold
from ..networks import ChannelNetwork
from ..one_class import HRNOneClassClassifier
from ..recipes import make_hrn_pipeline
from .timing import in_fresh_process, in_turns, peak_megabytes

# One class of MNIST, the paper's network and its batches.
ROWS, FEATURES, HIDDEN, BATCH = 5958, 784, 100, 100
# Rows of small tables, of 1000 features as the tabular recipe makes them.
SHORT = (100, 178, 250, 824, 1500)
SHORT_UPDATES = 500


def _rows(n_rows, n_features, seed=0):
    """Random rows of unit length, float32, made in place."""
    X = np.random.default_rng(seed).standard_normal((n_rows, n_features), dtype=np.float32)
    for start in range(0, n_rows, 10_000):
        block = X[start : start + 10_000]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return X


def epoch(hidden, repeats, data_home=None):
    """One epoch: ours, the products of X W' and its transpose alone, and plain torch."""
    X = _rows(ROWS, FEATURES)
    n_epochs = 5
    seconds = in_turns(
        {
            "floor": partial(_products, X, hidden, n_epochs),
            "HRN": partial(_train, X, hidden, n_epochs),
            "autograd, no penalty": partial(_autograd, X, hidden, n_epochs, penalty=False),
            "double backward": partial(_autograd, X, hidden, n_epochs, penalty=True),
        },
        repeats,
    )
    return {name: 1000 * value / n_epochs for name, value in seconds.items()}


def _train(X, hidden, n_epochs):
    """The training loop alone, with the paper's settings."""
    from ..core.batches import Rows, updates_of
    from ..core.training import Trainer, TrainingPlan

    plan = TrainingPlan(
        layer_sizes=(X.shape[1], hidden, 1),
        reg_lambda=np.array([0.1]),
        reg_exponent=np.array([12.0]),
        learning_rate=np.array([0.1]),
        anomaly_weight=np.array([0.0]),
        tol=np.array([0.0]),
        seed=np.array([0]),
    )
    n_updates = updates_of(np.array([n_epochs]), np.array([len(X)]), BATCH)
    Trainer(Rows.of_models([(X, None)]), plan).run(n_updates)


def _products(X, hidden, n_epochs):
    """The two products of each step that no gradient of the network can do without."""
    import torch

    X = torch.from_numpy(X)
    weights = torch.rand(hidden, X.shape[1])
    into, back = torch.empty(BATCH, hidden), torch.empty(hidden, X.shape[1])
    for _ in range(n_epochs):
        for x in X.split(BATCH):
            if len(x) < BATCH:
                continue
            torch.mm(x, weights.T, out=into)
            torch.mm(into.T, x, out=back)


def _autograd(X, hidden, n_epochs, penalty):
    """What one writes in torch: autograd, and double backward for the penalty of Eq. 3."""
    import torch

    X = torch.from_numpy(X)
    with torch.random.fork_rng(devices=[]):
        net = torch.nn.Sequential(
            torch.nn.Linear(X.shape[1], hidden, bias=False),
            torch.nn.LeakyReLU(0.01),
            torch.nn.Linear(hidden, 1, bias=False),
        )
        order = torch.randperm(len(X))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.5)
    descent = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(n_epochs):
        for rows in order.split(BATCH):
            x = X[rows].requires_grad_(penalty)
            f = net(x)
            loss = torch.nn.functional.softplus(-f).mean()
            if penalty:
                (gradient,) = torch.autograd.grad(f.sum(), x, create_graph=True)
                loss = loss + 0.1 * (gradient.square().sum(1) ** 6).mean()
            descent.zero_grad()
            loss.backward()
            descent.step()


def short(rows, repeats, data_home=None):
    """Milliseconds an update of a fit of few rows, and of its two products alone."""
    X, n_updates = _rows(rows, 1000), SHORT_UPDATES
    estimator = HRNOneClassClassifier(max_updates=n_updates, random_state=0, device="cpu")
    batches = np.tile(X[:BATCH], (n_updates, 1))
    seconds = in_turns(
        {"fit": lambda: estimator.fit(X), "floor": partial(_products, batches, HIDDEN, 1)}, repeats
    )
    return {name: 1000 * value / n_updates for name, value in seconds.items()}


def channels(repeats, data_home=None):
    """A step of the paper's network for CIFAR-10: closed form, double backward, its products."""
    import torch

    from ..core.channels import ChannelForm
    from ..core.gradients import Autograd

    with torch.random.fork_rng(devices=[]):
        module = ChannelNetwork()(3 * 1024)
    x = torch.from_numpy(_rows(BATCH, 3 * 1024))[None]
    weights = [parameter.detach()[None] for parameter in module.parameters()]
    f, norm = torch.empty((2, 1, BATCH))
    forms = {"HRN": ChannelForm(module, "nll"), "double backward": Autograd(module, "nll")}
    for form in forms.values():
        form.bind(weights, torch.tensor([[0.1]]), torch.tensor([[12.0]]))
    channels = x[0].unflatten(1, (-1, 3)).permute(2, 0, 1).contiguous()

    def floor():
        channels.mT @ (channels @ weights[0][0])

    steps = {name: partial(form, x, f, norm) for name, form in forms.items()}
    seconds = in_turns({"floor": floor, **steps}, 5 * repeats)
    return {name: 1000 * value for name, value in seconds.items()}


def float32(rows, repeats, data_home=None):
    """Scoring of float32 rows of 500 features in either precision, and the bare products."""
    X = _rows(rows, 500)
    fits = {
        name: HRNOneClassClassifier(max_iter=1, score_dtype=name, random_state=0, device="cpu")
        for name in ("float64", "float32")
    }
    for fitted in fits.values():
        fitted.fit(X[:500])
    first, second = (coef[0] for coef in fits["float32"].coefs_)

    def products():
        for start in range(0, rows, 1000):
            (X[start : start + 1000] @ first) @ second

    scores = {name: partial(fitted.score_samples, X) for name, fitted in fits.items()}
    seconds = in_turns({**scores, "products": products}, repeats)
    return {name: 1000 * value for name, value in seconds.items()}


def many(classes, settings, seeds, epochs, rows, device, data_home=None):
    """Seconds to train the models of the paper's search together on a device."""
    X = _rows(rows, FEATURES)
    every = np.arange(rows)
    models = [
        HRNOneClassClassifier(max_iter=epochs, reg_lambda=i / 40, random_state=seed, device=device)
        for _ in range(classes)
        for i in range(settings)
        for seed in range(seeds)
    ]
    # Each class has rows of its own, and all models of a class the same.
    of_class = [
        mine for mine in (every.copy() for _ in range(classes)) for _ in range(settings * seeds)
    ]
    start = time.perf_counter()
    HRNOneClassClassifier.fit_together(models, [X] * len(models), of_class)
    seconds = time.perf_counter() - start
    alone = HRNOneClassClassifier(**{**models[0].get_params(), "device": "cpu"}).fit(X)
    scores, expected = (model.score_samples(X) for model in (models[0], alone))
    return {
        "models": len(models),
        "seconds": seconds,
        "largest_difference": float(np.abs(scores - expected).max() / expected.std()),
    }


def models(features, repeats, data_home=None):
    """Models trained together against one after the other, with threads as they come and one."""
    import torch

    X, fit_together = _rows(2000, features), HRNOneClassClassifier.fit_together
    estimators = [
        HRNOneClassClassifier(max_iter=2, reg_lambda=i / 16, random_state=i % 4, device="cpu")
        for i in range(16)
    ]
    figures = {}
    threads = torch.get_num_threads()
    for n_threads in sorted({1, threads}):
        torch.set_num_threads(n_threads)
        try:
            seconds = in_turns(
                {
                    "together": lambda: fit_together(estimators, [X] * 16, [None] * 16),
                    "alone": lambda: [e.fit(X) for e in estimators],
                },
                repeats,
            )
        finally:
            torch.set_num_threads(threads)
        figures[f"{n_threads} thread(s)"] = seconds["together"] / seconds["alone"]
    return figures


def search(lengths, repeats, data_home=None):
    """Four penalties times some lengths over five folds of scikit-learn's digits."""
    X, digit = load_digits(return_X_y=True)
    y = np.where(digit == 0, 1, -1)
    pipeline = make_hrn_pipeline("paper", random_state=0, device="cpu")
    grid = {
        "hrn__reg_lambda": [0.05, 0.1, 0.5, 1.0],
        "hrn__max_iter": lengths,
    }
    how = {"scoring": "roc_auc", "cv": InlierKFold(5)}
    searches = {"together": HRNSearchCV(pipeline, grid, **how)}
    searches["one by one"] = GridSearchCV(pipeline, grid, **how)
    seconds = in_turns({name: partial(s.fit, X, y) for name, s in searches.items()}, repeats)
    scores = [s.cv_results_["mean_test_score"] for s in searches.values()]
    return seconds | {"largest_difference": float(np.abs(scores[0] - scores[1]).max())}


def scoring(rows, features, repeats, data_home=None):
    """Scoring against its two raw products in float64."""
    X = _rows(rows, features)
    fitted = HRNOneClassClassifier(max_iter=1, random_state=0, device="cpu").fit(X[:500])
    first, second = (coef[0].astype(np.float64) for coef in fitted.coefs_)

    def products():
        for start in range(0, rows, 1000):
            (X[start : start + 1000].astype(np.float64) @ first) @ second

    seconds = in_turns({"score": lambda: fitted.score_samples(X), "products": products}, repeats)
    return {name: 1000 * value for name, value in seconds.items()}


def million(rows, features, data_home=None):
    """Microseconds a row and megabytes above the input, of fitting and scoring; plain torch."""
    return in_fresh_process(_long, rows, features)


def _long(rows, features):
    X = _rows(rows, features)
    estimator = HRNOneClassClassifier(max_iter=1, random_state=0, device="cpu")
    estimator.fit(X[:1000]).score_samples(X[:1000])
    _autograd(X[:1000], HIDDEN, 1, penalty=False)
    before = peak_megabytes()
    start = time.perf_counter()
    _train(X, HIDDEN, 1)
    trained = time.perf_counter()
    fit_peak = peak_megabytes()
    estimator.score_samples(X)
    scored = time.perf_counter()
    score_peak = peak_megabytes()
    plain = time.perf_counter()
    _autograd(X, HIDDEN, 1, penalty=False)
    done = time.perf_counter()
    return {
        "epoch_us_a_row": 1e6 * (trained - start) / rows,
        "score_us_a_row": 1e6 * (scored - trained) / rows,
        "autograd_us_a_row": 1e6 * (done - plain) / rows,
        "fit_megabytes": fit_peak - before,
        "score_megabytes": score_peak - before,
    }


def scaling(axis, size, data_home=None):
    """Seconds of one epoch where one size grows and the others stay."""
    sizes = {"rows": 10_000, "features": 100, "hidden": 100, "epochs": 1} | {axis: size}
    X = _rows(sizes["rows"], sizes["features"])
    repeats = 1 if axis == "rows" and size >= 10**6 else 3
    return in_turns({"seconds": partial(_train, X, sizes["hidden"], sizes["epochs"])}, repeats)
