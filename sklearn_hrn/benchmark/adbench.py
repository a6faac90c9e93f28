"""The one-class protocol over a folder of ADBench files (``.npz`` with X, and y = 1 for anomalies).

Half of the normal rows train, the other half and all anomalies test. A method that fails on a set
counts as guessing there: an AUC of 50 and the share of anomalies as average precision.
"""

import numpy as np
from scipy.stats import rankdata

from ..datasets._tables import adbench_paths
from . import data, protocol
from .protocol import recipe  # noqa: F401 - part of a table
from .records import rst_table, spread, with_marks

PEERS = (
    "IsolationForest",
    "OneClassSVM",
    "LocalOutlierFactor",
    "nearest neighbours",
    "kernel density",
    "PyOD ECOD",
    "PyOD DeepSVDD",
    "PyOD LUNAR",
    "PyOD AutoEncoder",
)

# The sets at hand when the tabular recipe was chosen, on all of them: others are held out.
DEVELOPMENT = {
    *("11_donors", "15_Hepatitis", "17_InternetAds", "19_landsat", "1_ALOI", "21_Lymphography"),
    *("23_mammography", "25_musk", "27_PageBlocks", "29_Pima", "31_satimage-2", "33_skin"),
    *("35_SpamBase", "37_Stamps", "39_vertebral", "41_Waveform", "43_WDBC", "45_wine", "47_yeast"),
    *("5_campaign", "7_Cardiotocography"),
}
FAST = 3


def add_arguments(parser, peers=PEERS):
    protocol.add_arguments(parser, peers)
    parser.add_argument("--max-train", type=int, default=1500, metavar="N", help="default: 1500")
    parser.add_argument("--max-test", type=int, default=10_000, metavar="N", help="default: 10000")


def settings(args, peers=PEERS):
    found = adbench_paths(args.data_home)
    if args.fast:
        found = sorted(found, key=lambda file: file.stat().st_size)[:FAST]
    return [
        {
            "dataset": file.stem,
            "method": method,
            "split": split,
            "max_train": args.max_train,
            "max_test": args.max_test,
        }
        for file in found
        for split in range(1 if args.fast else args.splits)
        for method in protocol.methods_of(args, peers)
    ]


def measure(dataset, method, split, max_train, max_test, data_home=None):
    X, y = data.adbench(dataset, data_home)
    train, test = protocol.one_class_split(y, split, max_train, max_test)
    try:
        return protocol.evaluate(method, split, X[train], X[test], y[test])
    except Exception as error:
        share = round(100 * float((y[test] == -1).mean()), 3)
        return {"auc": 50.0, "average_precision": share, "error": repr(error)}


def render(records):
    methods = list(dict.fromkeys(r["settings"]["method"] for r in records))
    datasets = list(dict.fromkeys(r["settings"]["dataset"] for r in records))
    figures = {
        name: protocol.means_by_set(records, methods, datasets, name)
        for name in ("auc", "average_precision")
    }
    complete = ~np.isnan(figures["auc"]).any(axis=(0, 2))
    held_out = complete & [dataset not in DEVELOPMENT for dataset in datasets]
    auc = figures["auc"].mean(axis=2)  # (methods, datasets)
    ranks = rankdata(-auc[:, complete], axis=0).mean(axis=1)
    rows = []
    for i in np.argsort(ranks):
        own = [r for r in records if r["settings"]["method"] == methods[i]]
        # Spread over the splits of the mean over the sets.
        rows.append(
            [
                with_marks(methods[i], own),
                figures["auc"].shape[2],
                spread(figures["auc"][i, complete].mean(axis=0)),
                *([spread(figures["auc"][i, held_out].mean(axis=0))] if held_out.any() else []),
                spread(figures["average_precision"][i, complete].mean(axis=0)),
                f"{ranks[i]:.2f}",
                f"{np.sum([r['figures'].get('fit_seconds', 0) for r in own]):.0f}",
                sum("error" in r["figures"] for r in own),
            ]
        )
    header = ["method", "splits", "AUC", *(["AUC, held-out sets"] if held_out.any() else [])]
    header += ["average precision", "mean rank", "fit s, all", "failed runs"]
    n_sets, n_methods = int(complete.sum()), len(methods)
    text = f"{n_sets} sets, {int(held_out.sum())} of them not used to choose the recipe."
    if n_methods > 1:
        distance = protocol.critical_difference(n_methods, n_sets)
        text += f" Critical difference of mean ranks (Nemenyi, 5 %): {distance:.2f}."
    return f"{rst_table(header, rows)}\n\n{text}\n"
