"""Table 2: KDDCUP99, Thyroid and Arrhythmia, with both conventions of F1.

The HRN row of the paper takes the normal class as the positive one, the rows beside it take the
anomalies. Every method gets both figures here, at the threshold that flags as many test rows as
there are anomalies.
"""

from sklearn.utils import check_random_state

from . import data, protocol
from .peers import UNSCALED
from .protocol import recipe  # noqa: F401 - part of a table
from .records import rst_table, spread, with_marks

PEERS = (
    "IsolationForest",
    "OneClassSVM",
    "LocalOutlierFactor",
    "nearest neighbours",
    f"nearest neighbours{UNSCALED}",
    "PyOD DeepSVDD",
)
# KDDCUP99 in the paper: of 450 000 rows those of the majority train, the 44 021 others test.
PAPER_SPLIT = "KDDCUP99, the paper's split"
N_PAPER_TRAIN = 450_000
DATASETS = (*data.TABLES, PAPER_SPLIT)

# Precision, recall and F1 in per cent as published, of the anomalies, but of the normal class for
# the methods named below. GOAD, NeuTraL AD and ICL are of later papers, which give F1 alone.
PUBLISHED = {
    "KDDCUP99": {
        "OCSVM": (74.57, 85.23, 79.54),
        "iForest": (100.0, 89.88, 94.67),
        "DAGMM": (92.97, 94.42, 93.69),
        "TQM": (96.22, 96.22, 96.22),
        "HRN": (98.83, 98.83, 98.83),
        "GOAD": ("", "", 98.4),
        "NeuTraL AD": ("", "", 99.3),
    },
    "Thyroid": {
        "OCSVM": (36.39, 42.39, 38.87),
        "iForest": (99.88, 89.57, 94.44),
        "DAGMM": (47.66, 48.34, 47.82),
        "TQM": (75.27, 75.27, 75.27),
        "HRN": (95.87, 95.87, 95.87),
        "GOAD": ("", "", 74.5),
        "ICL": ("", "", 76.8),
    },
    "Arrhythmia": {
        "OCSVM": (53.97, 40.82, 45.81),
        "iForest": (83.90, 89.12, 86.43),
        "DAGMM": (49.09, 50.78, 49.83),
        "TQM": (53.03, 53.03, 53.03),
        "HRN": (84.46, 84.46, 84.46),
        "GOAD": ("", "", 52.0),
        "NeuTraL AD": ("", "", 60.3),
    },
}
NORMAL_CLASS = {"iForest", "HRN"}


def add_arguments(parser):
    protocol.add_arguments(parser, PEERS)
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)


def settings(args):
    names = [n for n in args.datasets if not (args.fast and n.startswith("KDDCUP99"))]
    return [
        {"dataset": dataset, "method": method, "split": split}
        for dataset in names
        for split in range(1 if args.fast else args.splits)
        for method in protocol.methods_of(args, PEERS)
    ]


def paper_split(y, split):
    """Normal rows among 450 000 to train on, and the rest to test on, as drawn by a seed."""
    rows = check_random_state(split).permutation(len(y))
    return rows[:N_PAPER_TRAIN][y[rows[:N_PAPER_TRAIN]] == 1], rows[N_PAPER_TRAIN:]


def measure(dataset, method, split, data_home=None):
    X, y = data.table(dataset.partition(",")[0], data_home)
    divide = paper_split if dataset == PAPER_SPLIT else protocol.one_class_split
    train, test = divide(y, split)
    return protocol.evaluate(method, split, X[train], X[test], y[test])


def render(records):
    tables = []
    for dataset in DATASETS:
        runs = [r for r in records if r["settings"]["dataset"] == dataset]
        if not runs:
            command = f'python -m sklearn_hrn.benchmark table2 --datasets "{dataset}"'
            tables.append(f"{dataset}: not run: ``{command}``\n")
            continue
        rows = []
        for method in dict.fromkeys(r["settings"]["method"] for r in runs):
            of_method = [r for r in runs if r["settings"]["method"] == method]
            own = [r["figures"] for r in of_method]
            columns = ("auc", "average_precision", "anomaly_f1", "normal_f1")
            columns += ("fit_seconds", "score_seconds")
            cells = [spread([f[name] for f in own]) for name in columns]
            rows.append([with_marks(method, of_method), len(own), *cells, own[0]["n_train"]])
        header = ["method", "splits", "AUC", "average precision"]
        header += ["anomaly precision = recall = F1", "normal-class precision = recall = F1"]
        header += ["fit s", "score s", "training rows"]
        published = [
            [method, "normal" if method in NORMAL_CLASS else "anomalies", *values]
            for method, values in PUBLISHED.get(dataset, {}).items()
        ]
        tables.append(f"{dataset}\n\n{rst_table(header, rows)}\n")
        header = ["as published", "positive class", "precision", "recall", "F1"]
        if published:
            tables.append(f"{rst_table(header, published)}\n")
    return "\n".join(tables)
