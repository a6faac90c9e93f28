"""Training and scoring against the matrix products they cannot do without, and against peers.

All times of a row are taken in turns in one process, and only their ratios mean anything: machines
differ, and what else they do at the time differs too.
"""

import numpy as np

from ..datasets._tables import adbench_paths
from . import speed_core, speed_recipes
from .peers import available
from .records import rst_table
from .speed_core import FEATURES, ROWS, SHORT

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
            size = {
                "classes": 10,
                "settings": 41,
                "seeds": 5,
                "epochs": 100,
                "rows": ROWS,
            }
        found.append({"part": "many", "device": args.device, **size})
    return [setting for setting in found if setting["part"] in args.parts]


def measure(part, data_home=None, **setting):
    return PARTS[part](**setting, data_home=data_home)


PARTS = {
    "epoch": speed_core.epoch,
    "short": speed_core.short,
    "channels": speed_core.channels,
    "float32": speed_core.float32,
    "many": speed_core.many,
    "models": speed_core.models,
    "search": speed_core.search,
    "tuning": speed_recipes.tuning,
    "fit": speed_recipes.fit,
    "images": speed_recipes.images,
    "sets": speed_recipes.sets,
    "row": speed_recipes.row,
    "mapped": speed_recipes.mapped,
    "scoring": speed_core.scoring,
    "million": speed_core.million,
    "scaling": speed_core.scaling,
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
