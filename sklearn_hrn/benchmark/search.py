"""The paper's search on MNIST: 21 values of lambda at n = 12, and 20 of n at lambda = 0.1.

As the paper describes it, a tenth of the training part is held out; every class in turn trains on
its other rows, and the held-out rows of all classes are scored. The test part is not touched. At
which n the paper searched lambda, it does not say; 12 is our choice. All 41 networks of a class
train together.
"""

import numpy as np
from sklearn.utils import check_random_state

from ..model_selection import HRNSearchCV
from ..model_selection._search import PAPER_GRID
from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer
from . import data
from .records import rst_table, spread, with_marks

LAMBDA, EXPONENT = 0.1, 12.0
GRID = [
    {"reg_lambda": PAPER_GRID["reg_lambda"], "reg_exponent": [EXPONENT]},
    {"reg_lambda": [LAMBDA], "reg_exponent": PAPER_GRID["reg_exponent"]},
]


def add_arguments(parser):
    parser.add_argument("--classes", nargs="+", type=int, default=list(range(10)), metavar="N")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--plot", metavar="FILE", help="draw both curves (matplotlib)")


def settings(args):
    return [
        {"normal": normal, "seed": seed, "epochs": 2 if args.fast else args.epochs}
        for seed in range(1 if args.fast else args.seeds)
        for normal in (args.classes[:1] if args.fast else args.classes)
    ]


def held_out_split(is_normal, seed):
    """The class without a tenth of all rows to train on, and that tenth to score."""
    rows = check_random_state(seed).permutation(len(is_normal))
    held_out, rest = np.split(rows, [len(rows) // 10])
    return rest[is_normal[rest]], held_out


def measure(normal, seed, epochs, data_home=None):
    X, y, _, _ = data.pixels("mnist", data_home)
    X, is_normal = InstanceL2Normalizer().fit_transform(X), y == normal
    model = HRNOneClassClassifier(max_iter=epochs, random_state=seed)
    split = held_out_split(is_normal, seed)
    search = HRNSearchCV(model, GRID, scoring="roc_auc", cv=[split], refit=False)
    results = search.fit(X, np.where(is_normal, 1, -1)).cv_results_
    return {
        _name(parameters): 100 * float(score)
        for parameters, score in zip(results["params"], results["mean_test_score"], strict=True)
    }


def _name(parameters):
    return f"lambda = {parameters['reg_lambda']:g}, n = {parameters['reg_exponent']:g}"


def curves(records):
    """By name of the parameter, its values and for each the means (n_seeds,) over the classes."""
    classes = {r["settings"]["normal"] for r in records}
    found = {}
    for name, grid in zip(("lambda", "n"), GRID, strict=True):
        values = grid["reg_lambda" if name == "lambda" else "reg_exponent"]
        found[name] = values, []
        for value in values:
            given = (value, EXPONENT) if name == "lambda" else (LAMBDA, value)
            key = _name(dict(zip(("reg_lambda", "reg_exponent"), given, strict=True)))
            seeds = {}
            for r in records:
                seeds.setdefault(r["settings"]["seed"], []).append(r["figures"][key])
            found[name][1].append([np.mean(s) for s in seeds.values() if len(s) == len(classes)])
    return found


def render(records):
    tables = []
    classes = {r["settings"]["normal"] for r in records}
    epochs = sorted({r["settings"]["epochs"] for r in records})
    for name, (values, means) in curves(records).items():
        other = f"n = {EXPONENT:g}" if name == "lambda" else f"lambda = {LAMBDA:g}"
        rows = [
            [f"{value:g}", len(mean), spread(mean)]
            for value, mean in zip(values, means, strict=True)
        ]
        header = [with_marks(f"{name}, at {other}", records), "seeds"]
        header.append(f"AUC on held-out rows, mean of {len(classes)} classes")
        tables.append(rst_table(header, rows))
    text = f"Digits {', '.join(map(str, sorted(classes)))}; {', '.join(map(str, epochs))} epochs.\n"
    missing = " ".join(str(k) for k in range(10) if k not in classes)
    if missing:
        command = f"python -m sklearn_hrn.benchmark search --epochs {epochs[0]} --classes {missing}"
        text += f"\nNot run: ``{command}``\n"
    return "\n".join([*(f"{table}\n" for table in tables), text])


def plot(records, path):
    """Both curves, to a file."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
    for axis, (name, (values, means)) in zip(axes, curves(records).items(), strict=True):
        axis.plot(values, [np.mean(mean) for mean in means], "o-")
        axis.axvline(LAMBDA if name == "lambda" else EXPONENT, color="grey", linestyle=":")
        axis.set_xlabel(name)
    axes[0].set_ylabel("AUC on held-out rows, %")
    figure.savefig(path)
    pyplot.close(figure)
