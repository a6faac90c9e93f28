"""Table 2: KDDCUP99, Thyroid and Arrhythmia, with both conventions of F1.

The HRN row of the paper takes the normal class as the positive one, the rows beside it take the
anomalies. Every method gets both figures here, at the threshold that flags as many test rows as
there are anomalies.
"""

from functools import cache

from .. import datasets
from . import protocol
from .records import rst_table, spread

PEERS = (
    "IsolationForest",
    "OneClassSVM",
    "LocalOutlierFactor",
    "nearest neighbours",
    "PyOD DeepSVDD",
)
DATASETS = {
    "KDDCUP99": datasets.fetch_kddcup99,
    "Thyroid": datasets.fetch_thyroid,
    "Arrhythmia": datasets.fetch_arrhythmia,
}

# F1 in per cent as published: of the anomalies, but of the normal class in the rows named below.
PUBLISHED = {
    "OCSVM (paper)": (79.54, 38.87, 45.81),
    "iForest (paper)": (94.67, 94.44, 86.43),
    "DAGMM (paper)": (93.69, 47.82, 49.83),
    "TQM (paper)": (96.22, 75.27, 53.03),
    "HRN (paper)": (98.83, 95.87, 84.46),
    "GOAD": (98.4, 74.5, 52.0),
    "NeuTraL AD": (99.3, None, 60.3),
    "ICL": (None, 76.8, None),
}
NORMAL_CLASS = {"iForest (paper)", "HRN (paper)"}


def add_arguments(parser):
    protocol.add_arguments(parser, PEERS)
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))


def settings(args):
    names = [n for n in args.datasets if not (args.fast and n == "KDDCUP99")]
    return [
        {"dataset": dataset, "method": method, "split": split}
        for dataset in names
        for split in range(1 if args.fast else args.splits)
        for method in protocol.methods_of(args, PEERS)
    ]


@cache
def _data(dataset, data_home):
    bunch = DATASETS[dataset](data_home=data_home)
    return bunch.data, bunch.target


def measure(dataset, method, split, data_home=None):
    X, y = _data(dataset, data_home)
    train, test = protocol.one_class_split(y, split)
    return protocol.evaluate(method, split, X[train], X[test], y[test])


def render(records):
    tables = []
    for dataset in DATASETS:
        runs = [r for r in records if r["settings"]["dataset"] == dataset]
        if not runs:
            continue
        rows = []
        for method in dict.fromkeys(r["settings"]["method"] for r in runs):
            own = [r["figures"] for r in runs if r["settings"]["method"] == method]
            columns = ("auc", "average_precision", "anomaly_f1", "normal_f1")
            cells = [spread([f[name] for f in own]) for name in columns]
            seconds = [spread([f[name] for f in own]) for name in ("fit_seconds", "score_seconds")]
            rows.append([method, *cells, *seconds, own[0]["n_train"]])
        place = list(DATASETS).index(dataset)
        for method, published in PUBLISHED.items():
            value = published[place]
            if value is not None:
                f1 = ["", value] if method in NORMAL_CLASS else [value, ""]
                rows.append([method, "", "", *f1, "", "", ""])
        header = ["method", "AUC", "average precision", "anomaly F1", "normal-class F1"]
        header += ["fit s", "score s", "training rows"]
        tables.append(f"{dataset}\n\n{rst_table(header, rows)}\n")
    return "\n".join(tables)
