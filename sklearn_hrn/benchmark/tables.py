"""Tables as they come: one glitch, columns cut into text with gaps, groups of anomalies, wide rows.

- *glitch*: one value of one training row lies 10 to a million standard deviations of its column
  off. Beside it stands the same fit with a value of another row in that cell. Ten cells a seed, on
  sets of at least 200 rows.
- *mixed*: every other column is cut into five words at its quantiles, a tenth of all values is
  gone, and a column of identifiers is put in front. Peers get the usual encoding: one column a word
  and the median in place of a gap.
- *group*: of 1000 rows in five columns, normal but for a share in one cluster six deviations off,
  of the same spread or a third; our recipe is told the share (`outlier_share`).
- *unlabelled*: the anomalies of a set at their natural share, a tenth at most, or at a twentieth,
  are among the training rows, and the other half of them among the test rows; our recipe is told
  that there may be some (``outlier_share="auto"``). Beside the area the false alarms at the one per
  cent asked for, and the anomalies found.
- *labels*: of the half of the anomalies that are not tested on 0, 1, 5 or 20 are labelled, on sets
  with four times as many. Ours keeps them below (``anomaly_weight`` of 0.3, the best of 0.3, 1 and
  3 on the sets at odd alphabetical places, one seed); a random forest learns the two
  classes, and so do DeepSAD and DevNet where DeepOD is installed.
- *wide*: normal rows, and anomalies one or two standard deviations off in a tenth of the columns.

Nothing else was chosen on these.
"""

import warnings
from functools import cache

import numpy as np
from scipy.stats import rankdata
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from ..datasets._tables import adbench_paths
from ..exceptions import ResolutionWarning
from ..recipes import make_hrn_pipeline
from . import data, protocol
from .peers import LABELLED, PEERS, available, make_peer
from .protocol import recipe  # noqa: F401 - part of a table
from .records import rst_table, spread, with_marks

METHODS = ("HRN tabular", "IsolationForest", "OneClassSVM", "LocalOutlierFactor")
# Those that are made for rows that are not all normal.
UNSUPERVISED = ("nearest neighbours", "PyOD ECOD", "PyOD HBOS")
MAX_TRAIN, MAX_TEST = 1000, 2000
DEVIATIONS = (10, 1e3, 1e6)
CELLS, MIN_ROWS = 10, 200
GROUPS = ((0.02, 1), (0.02, 1 / 3), (0.05, 1), (0.05, 1 / 3), (0.1, 1), (0.1, 1 / 3))
SHARES = ("natural", 0.05)
MAX_SHARE = 0.1
LABELS = (0, 1, 5, 20)
ANOMALY_WEIGHT = 0.3
RATE = 0.01
# Rows, columns, and standard deviations by which anomalies are off.
WIDE = ((30, 5000, 1), (60, 2000, 1), (200, 500, 1), (60, 2000, 2), (200, 500, 2))
FAST = 2


def add_arguments(parser):
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS], metavar="NAME")
    methods = [*protocol.OURS, *PEERS]
    parser.add_argument("--methods", nargs="+", choices=methods, default=METHODS, metavar="NAME")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="default: all of ADBench")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="default: 5")


def settings(args):
    found = sorted(adbench_paths(args.data_home), key=lambda file: file.stat().st_size)
    sets = args.sets or [file.stem for file in found]
    cases = {
        "glitch": [
            {"dataset": s, "deviations": d, "cells": CELLS}
            for s in sets
            if "glitch" in args.tasks and len(_target(s, args.data_home)) >= MIN_ROWS
            for d in DEVIATIONS
        ],
        "mixed": [{"dataset": s} for s in sets],
        "group": [{"share": share, "width": round(width, 2)} for share, width in GROUPS],
        "unlabelled": [{"dataset": s, "share": share} for share in SHARES for s in sets],
        "labels": [
            {"dataset": s, "n_labels": n}
            for s in sets
            if "labels" in args.tasks and (_target(s, args.data_home) == -1).sum() >= 4 * LABELS[-1]
            for n in LABELS
        ],
        "wide": [{"n_rows": n, "n_columns": d, "deviations": off} for n, d, off in WIDE],
    }
    return [
        {"task": task, "method": method, "seed": seed, **case}
        for task in args.tasks
        for case in cases[task][: FAST if args.fast else None]
        for seed in range(1 if args.fast else args.seeds)
        for method in _methods(task, args.methods, case)
    ]


def _target(dataset, data_home):
    return data.adbench(dataset, data_home)[1]


def _methods(task, methods, case):
    if task == "unlabelled":
        return [*methods, *available(UNSUPERVISED)]
    if task == "labels":
        ours = [method for method in methods if method in protocol.OURS]
        return [*ours, *(["random forest", *available(LABELLED)] if case["n_labels"] else [])]
    return methods


def measure(task, method, seed, data_home=None, **case):
    return TASKS[task](method, seed, data_home=data_home, **case)


def _adbench(dataset, seed, data_home):
    X, y = data.adbench(dataset, data_home)
    train, test = protocol.one_class_split(y, seed, MAX_TRAIN, MAX_TEST)
    return X[train].astype(np.float64), X[test].astype(np.float64), y[test]


def _glitch(method, seed, data_home, dataset, deviations, cells):
    aucs = [
        [_auc_with_glitch(method, seed, data_home, dataset, cell, d) for d in (deviations, None)]
        for cell in range(cells)
    ]
    with_it, without = np.mean(aucs, axis=0)
    return {
        "auc": round(with_it, 3),
        "auc_without": round(without, 3),
        "difference": round(with_it - without, 3),
        "differences": [round(a - b, 3) for a, b in aucs],
    }


@cache  # without a glitch it is the same beside every size of one
def _auc_with_glitch(method, seed, data_home, dataset, cell, deviations):
    """AUC with one training value so many deviations off; None takes that of another row."""
    X_train, X_test, y_test = _adbench(dataset, seed, data_home)
    rng = np.random.default_rng([seed, cell])
    row, other = rng.choice(len(X_train), 2, replace=False)
    column = rng.choice(np.flatnonzero(np.ptp(X_train, axis=0) > 0))
    if deviations is None:
        X_train[row, column] = X_train[other, column]
    else:
        X_train[row, column] += deviations * X_train[:, column].std()
    return protocol.evaluate(method, seed, X_train, X_test, y_test)["auc"]


def recoded(X, seed, edges=None):
    """Rows (n, 1 + d) of identifiers, words and numbers with gaps, and the edges of the words."""
    rng = np.random.default_rng(seed)
    if edges is None:
        edges = np.quantile(X[:, 1::2], [0.2, 0.4, 0.6, 0.8], axis=0)
    out = X.astype(object)
    for j, cuts in zip(range(1, X.shape[1], 2), edges.T, strict=True):
        out[:, j] = np.array(["none", "low", "some", "high", "most"], dtype=object)[
            np.searchsorted(cuts, X[:, j])
        ]
    out[rng.random(X.shape) < 0.1] = None
    identifiers = [f"id {number}" for number in rng.integers(2**40, size=len(X))]
    return np.column_stack([np.array(identifiers, dtype=object), out]), edges


def _usual(n_columns):
    """Words as one column each and gaps as the median; the identifiers are left out for peers."""
    words = make_pipeline(
        SimpleImputer(missing_values=None, strategy="constant", fill_value="gap"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    numbers = make_pipeline(_Numbers(), SimpleImputer(strategy="median"))
    return ColumnTransformer(
        [
            ("numbers", numbers, list(range(1, n_columns, 2))),
            ("words", words, list(range(2, n_columns, 2))),
        ]
    )


class _Numbers(SimpleImputer):
    """Objects as float64, None as NaN."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X, dtype=np.float64)


def _mixed(method, seed, data_home, dataset):
    X_train, X_test, y_test = _adbench(dataset, seed, data_home)
    X_train, edges = recoded(X_train, seed)
    X_test, _ = recoded(X_test, seed + 1000, edges)
    if method not in protocol.OURS:
        usual = _usual(X_train.shape[1]).fit(X_train)
        X_train, X_test = usual.transform(X_train), usual.transform(X_test)
    return protocol.evaluate(method, seed, X_train, X_test, y_test)


def _group(method, seed, data_home, share, width):
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=5)
    centre = 6 * direction / np.linalg.norm(direction)
    n_anomalies = round(1000 * share)

    def rows(n_normal, n_anomalous):
        anomalies = centre + width * rng.normal(size=(n_anomalous, 5))
        return np.concatenate([rng.normal(size=(n_normal, 5)), anomalies])

    X_train, X_test = rows(1000 - n_anomalies, n_anomalies), rows(500, 500)
    y_test = np.repeat([1, -1], 500)
    if method not in protocol.OURS:
        return protocol.evaluate(method, seed, X_train, X_test, y_test)
    detector = protocol.OURS[method](seed).set_params(outlier_share=share)
    scores = detector.fit(X_train).score_samples(X_test)
    return {"auc": round(100 * roc_auc_score(y_test, scores), 3)}


def _unlabelled(method, seed, data_home, dataset, share):
    X, y = data.adbench(dataset, data_home)
    rng = np.random.default_rng(seed)
    normal, anomalous = (rng.permutation(np.flatnonzero(y == label)) for label in (1, -1))
    if share == "natural":
        share = min(len(anomalous) / len(y), MAX_SHARE)
    half = len(normal) // 2
    n_train, n_known = min(half, MAX_TRAIN), len(anomalous) // 2
    n_hidden = min(n_known, round(n_train * share / (1 - share)))
    train = rng.permutation(np.r_[normal[:n_train], anomalous[:n_hidden]])
    test = np.r_[normal[half : half + MAX_TEST], anomalous[n_known:][:MAX_TEST]]
    X_train, X_test = X[train].astype(np.float64), X[test].astype(np.float64)
    if method in protocol.OURS:
        detector = make_hrn_pipeline("tabular", random_state=seed)
        detector.set_params(outlier_share="auto", hrn__contamination=RATE)
    else:
        detector = make_peer(method, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResolutionWarning)
        detector.fit(X_train)
    scores = detector.score_samples(X_test)
    if method in protocol.OURS:
        offset = detector.offset_
    else:
        offset = np.quantile(detector.score_samples(X_train), RATE)
    flagged = scores < offset
    return {
        "auc": round(100 * roc_auc_score(y[test], scores), 3),
        "false_alarms": round(100 * flagged[y[test] == 1].mean(), 3),
        "found": round(100 * flagged[y[test] == -1].mean(), 3),
        "n_train": len(train),
    }


def _labels(method, seed, data_home, dataset, n_labels):
    X, y = data.adbench(dataset, data_home)
    rng = np.random.default_rng(seed)
    normal, anomalous = (rng.permutation(np.flatnonzero(y == label)) for label in (1, -1))
    (known, fresh), (pool, tested) = (np.array_split(rows, 2) for rows in (normal, anomalous))
    train = np.r_[known[:MAX_TRAIN], pool[:n_labels]]
    test = np.r_[fresh[:MAX_TEST], tested[:MAX_TEST]]
    X_train, X_test = X[train].astype(np.float64), X[test].astype(np.float64)
    scores = _with_labels(method, seed, X_train, y[train], X_test)
    return {"auc": round(100 * roc_auc_score(y[test], scores), 3)}


def _with_labels(method, seed, X, y, X_test):
    """Scores of test rows, higher = more normal, of a detector that has seen labels."""
    if method in protocol.OURS:
        weight = ANOMALY_WEIGHT if (y == -1).any() else 0.0
        detector = protocol.OURS[method](seed).set_params(hrn__anomaly_weight=weight)
        return detector.fit(X, y).score_samples(X_test)
    if method in LABELLED:
        return make_peer(method, seed).fit(X, y).score_samples(X_test)
    forest = RandomForestClassifier(class_weight="balanced", random_state=seed)
    return forest.fit(X, y).predict_proba(X_test)[:, 1]


def _wide(method, seed, data_home, n_rows, n_columns, deviations):
    rng = np.random.default_rng(seed)
    X_train, normal, anomalies = (rng.normal(size=(n, n_columns)) for n in (n_rows, 200, 200))
    anomalies[:, : n_columns // 10] += deviations
    X_test, y_test = np.concatenate([normal, anomalies]), np.repeat([1, -1], 200)
    return protocol.evaluate(method, seed, X_train, X_test, y_test)


TASKS = {
    "glitch": _glitch,
    "mixed": _mixed,
    "group": _group,
    "unlabelled": _unlabelled,
    "labels": _labels,
    "wide": _wide,
}


FIGURES = {
    "glitch": {"difference": "AUC with the glitch minus AUC without"},
    "unlabelled": {
        "auc": "AUC",
        "false_alarms": "per cent of normal rows flagged, 1 asked for",
        "found": "per cent of anomalies flagged",
    },
}


def render(records):
    """For each task a row a case or set, and a column a method; the mean over the seeds."""
    tables = []
    for task in dict.fromkeys(r["settings"]["task"] for r in records):
        own = [r for r in records if r["settings"]["task"] == task]
        for name, what in FIGURES.get(task, {"auc": "AUC"}).items():
            tables.append(f"{task}: {what}\n\n{_table(task, own, name)}\n")
    return "\n".join(tables)


def _table(task, records, name):
    methods = list(dict.fromkeys(r["settings"]["method"] for r in records))
    cells = {}
    for r in records:
        cells.setdefault((_case(r), r["settings"]["method"]), []).append(r["figures"][name])
    cases = list(dict.fromkeys(case for case, _ in cells))
    rows = [[case, *(spread(cells.get((case, m), [])) for m in methods)] for case in cases]
    complete = [case for case in cases if all((case, m) in cells for m in methods)]
    means = np.array([[np.mean(cells[case, m]) for m in methods] for case in complete])
    if len(means):
        rows.append([f"mean of {len(means)}", *(f"{mean:.2f}" for mean in means.mean(axis=0))])
        ranks = rankdata(-means, axis=1).mean(axis=0)
        rows += [["mean rank", *(f"{rank:.2f}" for rank in ranks)]] * (name == "auc")
    runs = [[r for r in records if r["settings"]["method"] == m] for m in methods]
    counted = ["dataset", "seed"] if task in ("glitch", "labels") else ["seed"]
    for what in counted:
        rows.append([f"{what}s", *(len({r["settings"][what] for r in own}) for own in runs)])
    return rst_table([task, *map(with_marks, methods, runs)], rows)


def _case(record):
    s = record["settings"]
    by_task = {
        "glitch": lambda: f"{s['deviations']:.0e} deviations",
        "mixed": lambda: s["dataset"],
        "group": lambda: f"{s['share']:.0%}, width {s['width']}",
        "unlabelled": lambda: f"{s['dataset']}, {s['share']}",
        "labels": lambda: f"{s['n_labels']:>2} labels",
        "wide": lambda: f"{s['n_rows']} x {s['n_columns']}, {s['deviations']} off",
    }
    return by_task[s["task"]]()
