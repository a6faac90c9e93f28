"""Choosing parameters of the tabular recipe without labels: how close rules come to the best.

Every rule scores the candidates by cross-validation on the training rows alone, which are all
normal. The test labels serve to see what it has chosen.
"""

from functools import cache
from itertools import combinations, product

import numpy as np
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from ..core.scoring import score_rows
from ..datasets._tables import adbench_paths
from ..kernel_approximation import FourierFeatures
from ..model_selection import InlierKFold, shuffled_columns_score
from ..preprocessing import InstanceL2Normalizer
from ..recipes import make_hrn_pipeline
from . import adbench, data, protocol
from .records import lead, recipe_of, rst_table, spread, with_marks

WIDTHS = (0.04, 0.2, 1, 5, 25)  # times that of the rows
UPDATES = (50, 200)
DEFAULT = (1, 200)  # as wide and as long as the recipe
AS_IT_IS = "the default width and length"


def add_arguments(parser):
    parser.add_argument("--splits", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--max-train", type=int, default=1500, metavar="N", help="default: 1500")
    parser.add_argument("--max-test", type=int, default=10_000, metavar="N", help="default: 10000")


def settings(args):
    files = sorted(adbench_paths(args.data_home), key=lambda file: file.stat().st_size)
    files = files[: adbench.FAST if args.fast else None]
    return [
        {
            "dataset": f.stem,
            "split": s,
            "max_train": args.max_train,
            "max_test": args.max_test,
            "width": w,
            "updates": u,
        }
        for f in files
        for s in range(args.splits)
        for w in WIDTHS
        for u in UPDATES
    ]


def make_candidate(split, width, updates):
    """The tabular recipe on Fourier features of some width; two networks, so that they can agree.

    Landmarks take their width from the rows or in the units of these, Fourier features take a
    multiple of that of the rows, so that one grid is for all sets.
    """
    detector = make_hrn_pipeline("tabular", random_state=split)
    lift = FourierFeatures(gammas=width, random_state=split)
    detector.set_params(lift=lift, norm=InstanceL2Normalizer(center=None))
    detector.set_params(hrn__max_updates=updates, hrn__n_estimators=2)
    return detector.set_params(calibration=None)


def recipe(settings):
    """Digest of the candidate of a run."""
    return _recipe(settings["width"], settings["updates"])


@cache
def _recipe(width, updates):
    return recipe_of(make_candidate(0, width, updates))


def measure(dataset, split, max_train, max_test, width, updates, data_home=None):
    X, y = data.adbench(dataset, data_home)
    train, test = protocol.one_class_split(y, split, max_train, max_test)
    X_train = X[train]
    detector = make_candidate(split, width, updates)
    rules = {name: [] for name in RULES}
    for fit_rows, held_out in InlierKFold(3).split(X_train):
        fitted = clone(detector).fit(X_train[fit_rows])
        for name, rule in RULES.items():
            rules[name].append(float(rule(fitted, X_train[held_out])))
    detector.fit(X_train)
    figures = {name: float(np.mean(values)) for name, values in rules.items()}
    return figures | {"auc": 100 * roc_auc_score(y[test], detector.score_samples(X[test]))}


def _small_gap(detector, X):
    """Minus how far the held-out median lies below the training median, in quartile distances."""
    train = np.quantile(detector[-1].train_scores_, [0.25, 0.5, 0.75])
    return (np.median(detector.score_samples(X)) - train[1]) / (train[2] - train[0] + 1e-300)


def _coverage(detector, X):
    """Minus how wrong the share of held-out rows below the 5 % quantile of training scores is."""
    lowest = np.quantile(detector[-1].train_scores_, 0.05)
    return -abs((detector.score_samples(X) < lowest).mean() - 0.05)


def _agreement(detector, X):
    """Rank correlation of the networks of an ensemble."""
    hrn, Z = detector[-1], detector[:-1].transform(X)
    each = [
        score_rows([coef[[m]] for coef in hrn.coefs_], Z, hrn._slope)
        for m in range(hrn.n_estimators)
    ]
    return np.mean([spearmanr(a, b).statistic for a, b in combinations(each, 2)])


def _box(detector, X):
    """Area under the ROC curve against rows drawn evenly from the box around the rows."""
    low, high = X.min(axis=0), X.max(axis=0)
    made_up = np.random.default_rng(0).uniform(low, high, size=(5 * len(X), X.shape[1]))
    scores = detector.score_samples(np.concatenate([X, made_up.astype(X.dtype)]))
    return roc_auc_score(np.arange(len(scores)) < len(X), scores)


RULES = {
    "shuffled columns": shuffled_columns_score,
    "evenly from the box": _box,
    "small gap of medians": _small_gap,
    "coverage of held-out rows": _coverage,
    "agreement of two networks": _agreement,
}


def render(records):
    runs = {}
    for record in records:
        s = record["settings"]
        runs.setdefault((s["dataset"], s["split"]), {})[s["width"], s["updates"]] = record[
            "figures"
        ]
    complete = {k: r for k, r in runs.items() if r.keys() >= set(product(WIDTHS, UPDATES))}
    if not complete:
        return "Not run: ``python -m sklearn_hrn.benchmark choice``\n"
    chosen = {
        "the best on the test rows (not allowed)": lambda f: max(f.values(), key=_auc)["auc"],
        AS_IT_IS: lambda f: f[DEFAULT]["auc"],
        "any one (mean)": lambda f: np.mean([_auc(figures) for figures in f.values()]),
    }
    for name in RULES:
        chosen[name] = lambda f, name=name: max(f.values(), key=lambda g: g[name])["auc"]
    reached = {
        name: np.array([choose(figures) for figures in complete.values()])
        for name, choose in chosen.items()
    }
    ahead = {
        name: lead(aucs - reached[AS_IT_IS]) for name, aucs in reached.items() if name != AS_IT_IS
    }
    rows = [
        [with_marks(name, records), len(aucs), spread([aucs.mean()]), ahead.get(name, "")]
        for name, aucs in reached.items()
    ]
    return f"{rst_table(['chosen by', 'sets times splits', 'AUC', 'over the default'], rows)}\n"


def _auc(figures):
    return figures["auc"]
