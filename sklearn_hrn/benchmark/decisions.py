"""Decisions of the recipes on fresh rows: realised against wanted rate of false alarms.

A random half of the normal rows of a set, or 2000 training images of a class, trains a calibrated
recipe; *fresh* rows are others of the same pool, a random part. For each wanted rate the threshold
comes from the out-of-fold scores of one fit, as that of `contamination` would; what is flagged
among fresh rows and among anomalies is counted. Beside it stands IsolationForest with its own
threshold, trained on the same rows. Of images the official test rows of the class are counted by
themselves.

The deviation that chance alone makes of the rate of a set is sqrt(a (1 - a) (1 / n_train + 1 /
n_fresh) / splits). A mean is over the sets with at least 1 / a training rows.
"""

import time
import warnings

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from .._calibration import nearest_threshold
from ..datasets._tables import adbench_paths
from ..exceptions import ResolutionWarning
from ..recipes import make_hrn_pipeline
from . import data
from .protocol import one_class_split
from .records import recipe_of, rst_table, with_marks
from .table4 import GROUPS

RATES = (0.01, 0.05, 0.1)
# What a set belongs to -> the recipe for it.
KINDS = {"tables": "tabular", "features": "embedding", "mnist": "image", "fashion_mnist": "image"}
MAX_TRAIN = {"tables": 1500, "features": 2700, "mnist": 2000, "fashion_mnist": 2000}
MAX_TEST = 4000
FAST = 3
METHODS = ("HRN", "IsolationForest")


def add_arguments(parser):
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--groups", nargs="+", choices=KINDS, default=[*KINDS], metavar="NAME")
    parser.add_argument(
        "--max-updates",
        type=int,
        metavar="N",
        help="train each network for so long; default: as the recipe does",
    )


def settings(args):
    sets = {
        "tables": [f.stem for f in sorted(adbench_paths(args.data_home), key=_size)],
        "features": [name for names in GROUPS.values() for name in reversed(names)],
    }
    sets |= {name: [str(k) for k in range(10)] for name in ("mnist", "fashion_mnist")}
    wanted = {group: sets[group][:FAST] if args.fast else sets[group] for group in args.groups}
    if args.fast:
        wanted = {"tables": sets["tables"][:FAST]}
    return [
        {"group": group, "dataset": name, "split": split, "method": method}
        | ({"max_updates": args.max_updates} if args.max_updates and method == "HRN" else {})
        for split in range(1 if args.fast else args.splits)
        for group, names in wanted.items()
        for name in names
        for method in METHODS
    ]


def recipe(settings):
    if settings["method"] != "HRN":
        return None
    return recipe_of(make_detector(settings["group"], 0, settings.get("max_updates")))


def make_detector(group, seed, max_updates=None):
    """The recipe for a group of sets, calibrated."""
    detector = make_hrn_pipeline(KINDS[group], random_state=seed)
    return detector if max_updates is None else detector.set_params(hrn__max_updates=max_updates)


def measure(group, dataset, split, method, max_updates=None, data_home=None):
    train, fresh, anomalies, official = _parts(group, dataset, split, data_home)
    start = time.perf_counter()
    if method == "HRN":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResolutionWarning)  # small sets are left out of means
            detector = make_detector(group, split, max_updates).fit(train)
            offsets = [nearest_threshold(detector.calibration_scores_, rate) for rate in RATES]
    else:
        detector = IsolationForest(random_state=split).fit(train)
        offsets = np.quantile(detector.score_samples(train), RATES)
    seconds = time.perf_counter() - start
    of_fresh, of_anomalies = (detector.score_samples(X) for X in (fresh, anomalies))
    figures = {
        "n_train": len(train),
        "n_fresh": len(fresh),
        "fit_seconds": round(seconds, 2),
        "false_alarms": [float(np.mean(of_fresh < offset)) for offset in offsets],
        "found": [float(np.mean(of_anomalies < offset)) for offset in offsets],
        "auc": _auc(of_fresh, of_anomalies),
    }
    if official is not None:
        scores = detector.score_samples(official)
        figures["official"] = [float(np.mean(scores < offset)) for offset in offsets]
    if method == "HRN":
        # What a threshold from the scores of the training rows would have flagged.
        trained = detector.score_samples(train)
        figures["uncalibrated"] = [
            float(np.mean(of_fresh < np.quantile(trained, rate))) for rate in RATES
        ]
    return figures


def _auc(of_normal, of_anomalies):
    labels = np.repeat([1, 0], [len(of_normal), len(of_anomalies)])
    return 100 * float(roc_auc_score(labels, np.r_[of_normal, of_anomalies]))


def _parts(group, dataset, split, data_home):
    """Rows to train on, fresh normal rows, anomalies, and normal rows of an official test set."""
    if group in ("tables", "features"):
        X, y = getattr(data, {"tables": "adbench"}.get(group, group))(dataset, data_home)
        train, test = one_class_split(y, split, MAX_TRAIN[group], MAX_TEST)
        return X[train], X[test][y[test] == 1], X[test][y[test] == -1], None
    X, label, X_test, label_test = data.images(group, data_home)
    rng = check_random_state(split)
    own = rng.permutation(np.flatnonzero(label == int(dataset)))
    own, fresh = np.split(own[: MAX_TRAIN[group] + MAX_TEST], [MAX_TRAIN[group]])
    others = rng.permutation(np.flatnonzero(label_test != int(dataset)))[:MAX_TEST]
    parts = X[own], X[fresh], X_test[others], X_test[label_test == int(dataset)]
    return [part.reshape(len(part), -1).astype(np.float32) for part in parts]


def _size(path):
    return path.stat().st_size


def render(records):
    tables = []
    for method in METHODS:
        own = [r for r in records if r["settings"]["method"] == method]
        tables.append(_summary(method, own, "false_alarms"))
        if method == "HRN":
            tables.append(_summary("HRN, threshold of training scores", own, "uncalibrated"))
    rows = [row for table in tables for row in table]
    header = ["group", "threshold", "sets", "splits"]
    header += [f"{what} at {100 * rate:g} %" for rate in RATES for what in ("alarms", "found")]
    return "\n\n".join(
        [
            rst_table(header, sorted(rows, key=lambda row: list(KINDS).index(row[0]))),
            rst_table(
                ["set", "splits", "rows", *[f"{100 * r:g} %" for r in RATES]], _sets(records)
            ),
            _official(records),
            _updates(records),
        ]
    )


def _official(records):
    """What is flagged of the official test rows of a class, where there are any."""
    rows = []
    for group in KINDS:
        for method in METHODS:
            own = [
                r
                for r in records
                if (r["settings"]["group"], r["settings"]["method"]) == (group, method)
                and "official" in r["figures"]
            ]
            if own:
                flagged = 100 * np.mean([r["figures"]["official"] for r in own], axis=0)
                n_sets = len({r["settings"]["dataset"] for r in own})
                cells = [f"{value:.2f}" for value in flagged]
                rows.append([group, with_marks(method, own), n_sets, *cells])
    header = ["official test rows of", "threshold", "classes", *[f"{100 * r:g} %" for r in RATES]]
    return rst_table(header, rows) if rows else ""


def _summary(method, records, name):
    """A row for each group: means over the sets that are large enough for each rate, in %."""
    rows = []
    for group in KINDS:
        own = [r for r in records if r["settings"]["group"] == group]
        if not own:
            continue
        cells = []
        for i, rate in enumerate(RATES):
            large = [r["figures"] for r in own if r["figures"]["n_train"] >= 1 / rate]
            cells += [
                f"{100 * np.mean([f[what][i] for f in large]):.2f}" if large else ""
                for what in (name, "found")
            ]
            if name == "uncalibrated":
                cells[-1] = ""
        n_sets = len({r["settings"]["dataset"] for r in own})
        n_splits = len({r["settings"]["split"] for r in own})
        rows.append([group, with_marks(method, own), n_sets, n_splits, *cells])
    return rows


def _sets(records):
    """The sets of at least 100 rows whose realised rate is furthest above the wanted one."""
    sets = {}
    for r in records:
        s = r["settings"]
        if s["method"] == "HRN" and r["figures"]["n_train"] >= 100:
            sets.setdefault((s["group"], s["dataset"]), []).append(r["figures"])
    realised = {k: np.mean([f["false_alarms"] for f in fs], axis=0) for k, fs in sets.items()}
    rows = []
    for i, rate in enumerate(RATES if sets else ()):
        worst = max(sets, key=lambda k: realised[k][i])
        n_train, n_fresh = (np.mean([f[n] for f in sets[worst]]) for n in ("n_train", "n_fresh"))
        n_splits = len(sets[worst])
        error = np.sqrt(rate * (1 - rate) * (1 / n_train + 1 / n_fresh) / n_splits)
        cells = [f"{100 * value:.2f}" for value in realised[worst]]
        cells[i] += f" (at most {100 * (2 * rate + 3 * error):.2f})"
        rows.append([", ".join(worst), n_splits, round(n_train), *cells])
    return rows


def _updates(records):
    given = {r["settings"].get("max_updates") for r in records if r["settings"]["method"] == "HRN"}
    short = sorted(n for n in given if n)
    text = "All in per cent; the second table names the worst set for each rate, of those with at "
    text += "least 100 training rows."
    if short:
        text += f" Networks trained for {', '.join(map(str, short))} updates, to save time."
    return text + "\n"
