"""Decisions of the recipes on fresh rows: realised against wanted rate of false alarms.

A random half of the normal rows of a set, or 2000 training images of a class, trains a calibrated
recipe; *fresh* rows are others of the same pool, a random part. For each wanted rate the threshold
comes from the out-of-fold scores of one fit, as that of `contamination` would; what is flagged
among fresh rows and among anomalies is counted. Beside it stands IsolationForest with its own
threshold, trained on the same rows. Of images the official test rows of the class are counted by
themselves.

The deviation that chance alone makes of the rate of a set is sqrt(a (1 - a) (1 / n_train + 1 /
n_fresh) / splits). A mean is over the sets with at least 1 / a training rows.

*Small tables* are those with fewer than 500 training rows, where rows set aside are missed most.
There the recipe's own calibration stands beside the strategies of `ConformalOutlierDetector` around
the same recipe, trained on the same rows. Thresholds of unlike rates find unlike shares; so the
anomalies found are also counted with the threshold at which so many *fresh* rows are flagged as the
rate asks for, which is the same number for all.
"""

import time
import warnings

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from .._calibration import false_alarm_threshold, usual_threshold
from ..conformal import ConformalOutlierDetector
from ..datasets._tables import adbench_paths
from ..exceptions import ResolutionWarning
from ..recipes import make_hrn_pipeline
from . import data
from .protocol import one_class_split
from .records import lead, recipe_of, rst_table, with_marks
from .table4 import GROUPS

RATES = (0.01, 0.05, 0.1)
SMALL = "small tables"
# What a set belongs to -> the recipe for it.
KINDS = {"tables": "tabular", "features": "embedding", "mnist": "image", "fashion_mnist": "image"}
KINDS[SMALL] = "tabular"
# Of small tables, which have fewer, none is left out.
MAX_TRAIN = {"tables": 1500, "features": 2700, "mnist": 2000, "fashion_mnist": 2000, SMALL: 500}
MAX_TEST = 4000
FAST = 3
METHODS = ("HRN", "IsolationForest")
# Of small tables: the recipe as it comes, and strategies around it without its calibration.
PIPELINE = "OneClassPipeline, cross"
STRATEGIES = {f"ConformalOutlierDetector, {name}": name for name in ("split", "cross", "bootstrap")}


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
    if SMALL in args.groups:
        sets[SMALL] = [name for name in sets["tables"] if _is_small(name, args.data_home)]
    wanted = {group: sets[group][:FAST] if args.fast else sets[group] for group in args.groups}
    if args.fast:
        wanted = {"tables": sets["tables"][:FAST]}
    return [
        {"group": group, "dataset": name, "split": split, "method": method}
        | ({"max_updates": args.max_updates} if args.max_updates and _is_ours(method) else {})
        for split in range(1 if args.fast else args.splits)
        for group, names in wanted.items()
        for name in names
        for method in ((PIPELINE, *STRATEGIES) if group == SMALL else METHODS)
    ]


def _is_small(dataset, data_home):
    return (data.adbench(dataset, data_home)[1] == 1).sum() // 2 < MAX_TRAIN[SMALL]


def _is_ours(method):
    return method != "IsolationForest"


def recipe(settings):
    if not _is_ours(settings["method"]):
        return None
    return recipe_of(make_detector(settings["group"], 0, settings.get("max_updates")))


def make_detector(group, seed, max_updates=None, method="HRN"):
    """The recipe for a group of sets, calibrated by itself or by a strategy around it."""
    detector = make_hrn_pipeline(KINDS[group], random_state=seed)
    if max_updates is not None:
        detector.set_params(hrn__max_updates=max_updates)
    if method in STRATEGIES:  # which switches the recipe's own calibration off
        return ConformalOutlierDetector(detector, strategy=STRATEGIES[method], random_state=seed)
    return detector


def measure(group, dataset, split, method, max_updates=None, data_home=None):
    train, fresh, anomalies, official = _parts(group, dataset, split, data_home)
    start = time.perf_counter()
    if _is_ours(method):
        place = false_alarm_threshold if method in STRATEGIES else usual_threshold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResolutionWarning)  # small sets are left out of means
            detector = make_detector(group, split, max_updates, method).fit(train)
            offsets = [place(detector.calibration_scores_, rate) for rate in RATES]
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
    if group == SMALL:
        # As many fresh rows lie below each of these scores as the rate asks for.
        equal = np.sort(of_fresh)[[round(rate * len(of_fresh)) for rate in RATES]]
        figures["found_at_equal"] = [float(np.mean(of_anomalies < offset)) for offset in equal]
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
    if group in ("tables", "features", SMALL):
        X, y = (data.features if group == "features" else data.adbench)(dataset, data_home)
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
    rows.sort(key=lambda row: list(KINDS).index(row[0]))
    sets, set_header = _sets(records), ["set", "splits", "rows", *[f"{100 * r:g} %" for r in RATES]]
    parts = [rst_table(header, rows) if rows else "", rst_table(set_header, sets) if sets else ""]
    parts += [_official(records), _strategies(records), _updates(records)]
    return "\n\n".join(filter(None, parts))


def _strategies(records):
    """What each way to calibrate finds on small tables, by itself and at equal false alarms."""
    own = [r for r in records if r["settings"]["group"] == SMALL]
    rows = []
    for i, rate in enumerate(RATES):
        found = {}  # method -> (set, split) -> anomalies found at equal false alarms
        for method in (PIPELINE, *STRATEGIES):
            runs = [r for r in own if r["settings"]["method"] == method]
            large = [r for r in runs if r["figures"]["n_train"] >= 1 / rate]
            if not large:
                continue
            at_equal = [r["figures"]["found_at_equal"][i] for r in large]
            keys = [(r["settings"]["dataset"], r["settings"]["split"]) for r in large]
            found[method] = dict(zip(keys, at_equal, strict=True))
            sets, splits = map(set, zip(*keys, strict=True))
            means = [
                f"{100 * np.mean([r['figures'][what][i] for r in large]):.2f}"
                for what in ("false_alarms", "found", "found_at_equal")
            ]
            ahead = "" if method == PIPELINE else _ahead(found.get(PIPELINE, {}), found[method])
            cells = [f"{100 * rate:g} %", len(sets), len(splits), *means, ahead]
            rows.append([with_marks(method, runs), *cells])
    header = ["small tables, calibrated by", "rate", "sets", "splits", "alarms", "found"]
    header += ["found at equal alarms", "first one ahead by"]
    return rst_table(header, rows) if rows else ""


def _ahead(first, other):
    """Mean over the sets of the difference on the same splits, ± its standard error, in %."""
    by_set = {}
    for dataset, split in first.keys() & other.keys():
        difference = 100 * (first[dataset, split] - other[dataset, split])
        by_set.setdefault(dataset, []).append(difference)
    return lead([np.mean(differences) for differences in by_set.values()])


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
    given = {r["settings"].get("max_updates") for r in records}
    short = sorted(n for n in given if n)
    text = "All in per cent; the second table names the worst set for each rate, of those with at "
    text += "least 100 training rows."
    if any(r["settings"]["group"] == SMALL for r in records):
        text += f" Small tables have fewer than {MAX_TRAIN[SMALL]} training rows; equal alarms are"
        text += " those of a threshold that flags as many fresh rows as the rate asks for, and the"
        text += " differences are means over the sets, of the same splits, ± standard errors."
    if short:
        text += f" Networks trained for {', '.join(map(str, short))} updates, to save time."
    return text + "\n"
