"""Training and scoring against the matrix products they cannot do without, and against peers.

All times of a row are taken in turns in one process, and only their ratios mean anything: machines
differ, and what else they do at the time differs too.
"""

import time
from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from ..datasets._tables import adbench_paths
from ..model_selection import HRNSearchCV, InlierKFold
from ..networks import ChannelNetwork
from ..one_class import HRNOneClassClassifier
from ..recipes import make_hrn_pipeline
from . import speed_recipes
from .peers import available
from .records import rst_table
from .timing import in_fresh_process, in_turns, peak_megabytes

# One class of MNIST, the paper's network and its batches.
ROWS, FEATURES, HIDDEN, BATCH = 5958, 784, 100, 100
# Rows of small tables, of 1000 features as the tabular recipe makes them.
SHORT = (100, 178, 250, 824, 1500)
SHORT_UPDATES = 500
SCALING = {
    "rows": (10**3, 10**4, 10**5, 10**6),
    "features": (30, 100, 300, 1000, 3000),
    "hidden": (10, 30, 100, 300, 1000),
    "epochs": (1, 3, 10, 30, 100),
}


def add_arguments(parser):
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=DEFAULT_PARTS)
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument(
        "--device",
        default="cpu",
        help="of the part 'many', which is not run unless named; default: cpu",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the part 'scaling' (matplotlib)")


def settings(args):
    repeats = 3 if args.fast else args.repeats
    found = [{"part": "epoch", "hidden": h, "repeats": repeats} for h in (100, 400, 1000)]
    found += [{"part": "short", "rows": n, "repeats": repeats} for n in SHORT]
    found.append({"part": "channels", "repeats": repeats})
    found += [{"part": "models", "features": d, "repeats": repeats} for d in (6, 784)]
    lengths = [2, 4] if args.fast else [10, 20, 50, 100]
    found.append({"part": "search", "lengths": lengths, "repeats": 1 if args.fast else 3})
    found += [
        {"part": "fit", "kind": kind, "rows": n, "features": d, "repeats": min(repeats, 3)}
        for kind, n, d in speed_recipes.FITS[: 1 if args.fast else 3]
    ]
    if not args.fast:
        found += [{"part": "images", "name": n, "repeats": 1} for n in speed_recipes.IMAGES]
    if "sets" in args.parts:
        names = [path.stem for path in adbench_paths(args.data_home)]
        found += [{"part": "sets", "name": name, "repeats": min(repeats, 3)} for name in names]
    found += [
        {"part": "row", "kind": kind, "features": d, "repeats": 100 if args.fast else 2000}
        for kind, d in (("tabular", 20), ("embedding", 512), ("paper", 784))
    ]
    found.append({"part": "tuning", "rows": 200 if args.fast else 1500, "repeats": 1})
    found.append({"part": "mapped", "rows": 10**4 if args.fast else 10**6, "features": 30})
    found.append({"part": "scoring", "rows": 10_000, "features": FEATURES, "repeats": repeats})
    found.append({"part": "float32", "rows": 10**4 if args.fast else 10**5, "repeats": repeats})
    million = (10**4, 10**5) if args.fast else (10**5, 10**6)
    found += [{"part": "million", "rows": n, "features": 118} for n in million]
    for axis, sizes in SCALING.items():
        sizes = sizes[:-1] if args.fast else sizes
        found += [{"part": "scaling", "axis": axis, "size": size} for size in sizes]
    if not args.fast:
        methods = ["HRN", *available(speed_recipes.PEERS)]
        found += [{"part": "peers", "method": name, "digit": 0} for name in methods]
    if "many" in args.parts:
        size = {"classes": 2, "settings": 3, "seeds": 2, "epochs": 2, "rows": 500}
        if not args.fast:
            size = {"classes": 10, "settings": 41, "seeds": 5, "epochs": 100, "rows": ROWS}
        found.append({"part": "many", "device": args.device, **size})
    return [setting for setting in found if setting["part"] in args.parts]


def measure(part, data_home=None, **setting):
    return PARTS[part](**setting, data_home=data_home)


def _rows(n_rows, n_features, seed=0):
    """Random rows of unit length, float32, made in place."""
    X = np.random.default_rng(seed).standard_normal((n_rows, n_features), dtype=np.float32)
    for start in range(0, n_rows, 10_000):
        block = X[start : start + 10_000]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return X


def _epoch(hidden, repeats, data_home=None):
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


def _short(rows, repeats, data_home=None):
    """Milliseconds an update of a fit of few rows, and of its two products alone."""
    X, n_updates = _rows(rows, 1000), SHORT_UPDATES
    estimator = HRNOneClassClassifier(max_updates=n_updates, random_state=0, device="cpu")
    batches = np.tile(X[:BATCH], (n_updates, 1))
    seconds = in_turns(
        {"fit": lambda: estimator.fit(X), "floor": partial(_products, batches, HIDDEN, 1)}, repeats
    )
    return {name: 1000 * value / n_updates for name, value in seconds.items()}


def _channels(repeats, data_home=None):
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


def _float32(rows, repeats, data_home=None):
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


def _many(classes, settings, seeds, epochs, rows, device, data_home=None):
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


def _models(features, repeats, data_home=None):
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


def _search(lengths, repeats, data_home=None):
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


def _scoring(rows, features, repeats, data_home=None):
    """Scoring against its two raw products in float64."""
    X = _rows(rows, features)
    fitted = HRNOneClassClassifier(max_iter=1, random_state=0, device="cpu").fit(X[:500])
    first, second = (coef[0].astype(np.float64) for coef in fitted.coefs_)

    def products():
        for start in range(0, rows, 1000):
            (X[start : start + 1000].astype(np.float64) @ first) @ second

    seconds = in_turns({"score": lambda: fitted.score_samples(X), "products": products}, repeats)
    return {name: 1000 * value for name, value in seconds.items()}


def _million(rows, features, data_home=None):
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


def _scaling(axis, size, data_home=None):
    """Seconds of one epoch where one size grows and the others stay."""
    sizes = {"rows": 10_000, "features": 100, "hidden": 100, "epochs": 1} | {axis: size}
    X = _rows(sizes["rows"], sizes["features"])
    repeats = 1 if axis == "rows" and size >= 10**6 else 3
    return in_turns({"seconds": partial(_train, X, sizes["hidden"], sizes["epochs"])}, repeats)


PARTS = {
    "epoch": _epoch,
    "short": _short,
    "channels": _channels,
    "float32": _float32,
    "many": _many,
    "models": _models,
    "search": _search,
    "tuning": speed_recipes.tuning,
    "fit": speed_recipes.fit,
    "images": speed_recipes.images,
    "sets": speed_recipes.sets,
    "row": speed_recipes.row,
    "mapped": speed_recipes.mapped,
    "scoring": _scoring,
    "million": _million,
    "scaling": _scaling,
    "peers": speed_recipes.peers,
}

# Without what needs a GPU to make sense, or data without a public source.
DEFAULT_PARTS = [part for part in PARTS if part not in ("many", "sets")]


def render(records):
    texts = []
    for part, (title, header, row) in RENDERED.items():
        own = [r for r in records if r["settings"]["part"] == part]
        rows = _medians(own) if row is _medians else [row(r) for r in own]
        if rows:
            texts.append(f"{title}\n\n{rst_table(header, rows)}\n")
    return "\n".join(texts)


def _medians(records):
    """Of the seconds of all sets, and of those of few rows."""
    rows = []
    for name, most in (("all", np.inf), ("fewer than 300 rows", 299)):
        own = [r["figures"] for r in records if r["figures"]["rows"] <= most]
        if own:
            methods = [method for method in own[0] if method != "rows"]
            medians = {m: np.median([figures[m] for figures in own]) for m in methods}
            rows.append([name, len(own), _listed(medians, 3)])
    return rows


def _over_floor(record, *names):
    ms = record["figures"]
    ratios = [f"{ms[name]:.1f} ({ms[name] / ms['floor']:.2f})" for name in names]
    return [f"{ms['floor']:.1f}", *ratios]


def _epoch_row(record):
    names = ("HRN", "autograd, no penalty", "double backward")
    return [record["settings"]["hidden"], *_over_floor(record, *names)]


def _numbers(*names, digits=2):
    return lambda record: [f"{record['figures'][name]:.{digits}f}" for name in names]


def _row(setting_names, *figure_names, digits=2):
    numbers = _numbers(*figure_names, digits=digits)
    return lambda record: [record["settings"][s] for s in setting_names] + numbers(record)


def _models_row(record):
    figures = record["figures"]
    ratios = ", ".join(f"{name}: {value:.2f}" for name, value in figures.items())
    return [record["settings"]["features"], ratios]


def _scoring_row(record):
    s, ms = record["settings"], record["figures"]
    ratio = f"{ms['score'] / ms['products']:.2f}"
    return [f"{s['rows']} x {s['features']}", f"{ms['score']:.1f}", ratio]


def _listed(figures, digits):
    return ", ".join(f"{name}: {value:.{digits}f}" for name, value in figures.items())


def _row_alone_row(record):
    figures, row = record["figures"], [record["settings"]["kind"]]
    names = dict.fromkeys(name.rpartition(", ")[0] for name in figures)
    pairs = [f"{n}: {figures[f'{n}, p50']:.2f} / {figures[f'{n}, p99']:.2f}" for n in names]
    return [*row, "; ".join(pairs)]


def _tuning_row(record):
    figures = record["figures"]
    ratios = [f"{v:.1f} ({v / figures['fit']:.0f})" for k, v in figures.items() if k != "fit"]
    return [record["settings"]["rows"], f"{figures['fit']:.2f}", *ratios]


MILLION = ("epoch_us_a_row", "autograd_us_a_row", "score_us_a_row", "fit_megabytes")
RENDERED = {
    "epoch": (
        f"One epoch of {ROWS} x {FEATURES}, milliseconds, and in brackets over the floor",
        ["hidden units", "floor", "HRN", "autograd, no penalty", "double backward"],
        _epoch_row,
    ),
    "short": (
        "An update of a fit of few rows of 1000 features, milliseconds, and over its products",
        ["rows", "HRN", "ratio"],
        lambda record: [
            record["settings"]["rows"],
            f"{record['figures']['fit']:.2f}",
            f"{record['figures']['fit'] / record['figures']['floor']:.2f}",
        ],
    ),
    "channels": (
        "A step of the paper's network for CIFAR-10, milliseconds, and in brackets over the floor",
        ["floor", "HRN", "double backward"],
        lambda record: _over_floor(record, "HRN", "double backward"),
    ),
    "float32": (
        "Scoring of rows of 500 features, milliseconds",
        ["rows", "float64", "float32", "products in float32"],
        _row(("rows",), "float64", "float32", "products", digits=0),
    ),
    "many": (
        "Models of the paper's search trained together, and the largest difference of a score from"
        " a fit alone on a CPU, in standard deviations",
        ["device", "models", "seconds", "difference"],
        _row(("device",), "models", "seconds", "largest_difference", digits=5),
    ),
    "models": (
        "Sixteen models together, time over one after the other",
        ["features", "ratio"],
        _models_row,
    ),
    "search": (
        "A search of four penalties times four lengths over five folds: HRNSearchCV, GridSearchCV",
        ["together, s", "one by one, s", "largest difference of a mean score"],
        _numbers("together", "one by one", "largest_difference", digits=4),
    ),
    "tuning": (
        "A five-fold search of 16 candidates on the tabular recipe, seconds, and over one fit"
        " without calibration",
        ["rows", "one fit", "4 weights, 4 lengths", "4 weights, 4 exponents"],
        _tuning_row,
    ),
    "fit": (
        "Seconds to fit a recipe, threshold included, and peers behind a scaler of columns",
        ["recipe", "rows", "features", "seconds"],
        lambda record: [
            *(record["settings"][name] for name in ("kind", "rows", "features")),
            _listed(record["figures"], 3),
        ],
    ),
    "images": (
        "The same of the image recipe, on all training images of a class",
        ["images", "seconds"],
        lambda record: [record["settings"]["name"], _listed(record["figures"], 2)],
    ),
    "sets": (
        "The same of the tabular recipe on the training rows of ADBench, medians over the sets",
        ["sets", "number", "seconds"],
        _medians,
    ),
    "row": (
        "Milliseconds of `predict` of one row: the median, and the 99th of a hundred",
        ["recipe", "milliseconds"],
        _row_alone_row,
    ),
    "mapped": (
        "The tabular recipe on a memory map of float32: microseconds a row of the recipe in both"
        " precisions, of its network and the bare products of that, and megabytes of the peak, the"
        " pages of the map included",
        [
            *("rows", "fit s", "float64", "float32", "network", "products"),
            *("fit MB", "score MB", "map MB"),
        ],
        _row(
            ("rows",),
            *("fit_seconds", "float64", "float32", "network", "products"),
            *("fit_megabytes", "score_megabytes", "map_megabytes"),
            digits=1,
        ),
    ),
    "scoring": (
        "Scoring, milliseconds, and over the two raw products in float64",
        ["rows", "HRN", "ratio"],
        _scoring_row,
    ),
    "million": (
        "Microseconds a row of an epoch and of scoring, and megabytes above the input",
        ["rows", "HRN", "autograd, no penalty", "scoring", "fit MB", "score MB"],
        _row(("rows",), *MILLION, "score_megabytes"),
    ),
    "scaling": (
        "Seconds of an epoch of 10 000 x 100 with 100 hidden units, one size changed",
        ["size", "value", "seconds"],
        _row(("axis", "size"), "seconds", digits=4),
    ),
    "peers": (
        "One class of MNIST: fit on its training images, score the 10 000 test images",
        ["method", "fit s", "score s", "AUC", "MB above loading"],
        _row(("method",), "fit_seconds", "score_seconds", "auc", "megabytes"),
    ),
}


def plot(records, path):
    """Seconds of an epoch against each size, on logarithmic axes, beside lines of slope one."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('--plot needs matplotlib: pip install "sklearn-hrn[plot]".') from error
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axis, axes in zip(SCALING, figure.subplots(1, len(SCALING), sharey=True), strict=True):
        points = [
            (r["settings"]["size"], r["figures"]["seconds"])
            for r in records
            if r["settings"].get("axis") == axis
        ]
        if not points:
            continue
        sizes, seconds = np.array(sorted(points)).T
        axes.loglog(sizes, seconds, "o-", label="measured")
        axes.loglog(sizes, seconds[-1] * sizes / sizes[-1], ":", color="grey", label="linear")
        axes.set_xlabel(axis)
    figure.axes[0].set_ylabel("seconds")
    figure.axes[0].legend()
    figure.savefig(path, dpi=120)
