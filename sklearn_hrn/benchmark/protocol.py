"""One detector on one split: what all tables of numbers have in common."""

import pickle
import time
from functools import cache

import numpy as np
from scipy.stats import studentized_range
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from ..recipes import make_hrn_pipeline
from .peers import OUR_FEATURES, available, make_peer, training_rows
from .records import recipe_of

# Ours, by the name they have in the tables.
OURS = {
    # Calibration takes time, moves the threshold and changes no score.
    "HRN tabular": lambda seed: make_hrn_pipeline("tabular", random_state=seed).set_params(
        calibration=None
    ),
    # Rows as they are: the published method scales no columns.
    "HRN as published": lambda seed: make_hrn_pipeline("paper", random_state=seed),
    "HRN as published, columns scaled": lambda seed: make_pipeline(
        StandardScaler(), make_hrn_pipeline("paper", random_state=seed)
    ),
}


def recipe(settings):
    """Digest of the recipe of a run, or of its steps that a peer stands on; None for peers."""
    return _recipe(settings["method"])


@cache
def _recipe(method):
    if method == OUR_FEATURES:
        return recipe_of(make_peer(method, 0))
    return recipe_of(OURS[method](0)) if method in OURS else None


def add_arguments(parser, peers):
    """Options that choose methods and splits."""
    methods = [*OURS, *peers]
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=methods,
        metavar="NAME",
        help=f"default: all that are installed of {methods}",
    )
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="default: 5")


def methods_of(args, peers):
    """The methods asked for; by default ours, and the peers whose package is installed."""
    return args.methods or [*OURS, *available(peers)]


def one_class_split(y, split, max_train=None, max_test=None):
    """A random half of the normal rows to train on; the other half and all anomalies to test on.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        +1 for normal rows, -1 for anomalies.
    split : int
        Seed.
    max_train, max_test : int, default=None
        Rows at most; those tested on are drawn at random.

    Returns
    -------
    train, test : ndarray of int
    """
    rng = check_random_state(split)
    normal = rng.permutation(np.flatnonzero(y == 1))
    half = len(normal) // 2
    test = np.r_[normal[half:], np.flatnonzero(y == -1)]
    if max_test is not None and len(test) > max_test:
        test = np.sort(rng.permutation(test)[:max_test])
    return normal[:half][:max_train], test


def evaluate(method, seed, X_train, X_test, y_test):
    """Fit a method and score the test rows.

    Returns
    -------
    figures : dict
        `auc`, `average_precision` and `anomaly_f1` with anomalies as the positive class, and
        `normal_f1` with normal rows as such, all in per cent; `fit_seconds`, `score_seconds` and
        `n_train`. The two F1 scores are those of the threshold that flags as many rows as there
        are anomalies, at which precision, recall and F1 are equal. `kept_bytes` is the size of the
        fitted detector, pickled; None if it cannot be.
    """
    if method in OURS:
        detector, rows = OURS[method](seed), slice(None)
    else:
        detector, rows = make_peer(method, seed), training_rows(method, len(X_train), seed)
    X_train = X_train[rows]
    start = time.perf_counter()
    detector.fit(X_train)
    fitted = time.perf_counter()
    scores = detector.score_samples(X_test)
    scored = time.perf_counter()
    is_anomaly = y_test == -1
    n_anomalies = is_anomaly.sum()
    flagged = np.argsort(scores, kind="stable")[:n_anomalies]
    n_missed = n_anomalies - is_anomaly[flagged].sum()
    figures = {
        "auc": roc_auc_score(is_anomaly, -scores),
        "average_precision": average_precision_score(is_anomaly, -scores),
        "anomaly_f1": 1 - n_missed / n_anomalies,
        "normal_f1": 1 - n_missed / (len(y_test) - n_anomalies),
    }
    return {name: round(100 * float(value), 3) for name, value in figures.items()} | {
        "fit_seconds": round(fitted - start, 4),
        "score_seconds": round(scored - fitted, 4),
        "n_train": len(X_train),
        "kept_bytes": _size(detector),
    }


def _size(detector):
    try:
        return len(pickle.dumps(detector))
    except (TypeError, AttributeError, pickle.PicklingError):
        return None


def means_by_set(records, methods, datasets, name):
    """A figure (methods, datasets, splits); NaN where there is no run."""
    splits = sorted({r["settings"]["split"] for r in records})
    values = np.full((len(methods), len(datasets), len(splits)), np.nan)
    for record in records:
        s = record["settings"]
        place = methods.index(s["method"]), datasets.index(s["dataset"]), splits.index(s["split"])
        values[place] = record["figures"][name]
    return values


def critical_difference(n_methods, n_sets):
    """Distance at which mean ranks of two methods differ at the 5 % level (Nemenyi).

    Examples
    --------
    >>> round(critical_difference(5, 30), 3)  # Demsar (2006): 2.728 sqrt(5 6 / (6 30))
    1.114
    """
    quantile = studentized_range.ppf(0.95, n_methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(n_methods * (n_methods + 1) / (6 * n_sets)))
