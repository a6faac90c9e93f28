"""Table 4: one-class learning on frozen features of a network trained on ImageNet.

The features of CIFAR-10 classes and of the MVTec-AD categories come from a ResNet-18. Half of the
normal rows train, the other half and all anomalies test. The plain peers see the features as
z-scores, others each row scaled to length one, "whitened", or "both views", what the embedding
recipe does to a row before it looks for landmarks; our recipes see them as they are.

``--choice`` compares settings of the embedding recipe on the sets and splits that it was chosen on,
and on the training texts of DBPedia-14, every class in turn; the table itself is of other splits,
and its last two columns of other sets.
"""

import json
from functools import cache

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer
from ..recipes import make_hrn_pipeline
from . import data
from .peers import available, make_peer
from .protocol import OURS, one_class_split
from .records import recipe_of, rst_table, spread, with_marks

CIFAR10 = tuple(f"cifar10_resnet18_class{k}" for k in (0, 4, 6))
MVTEC = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
    *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)
GROUPS = {"CIFAR-10, 3 classes": CIFAR10}
GROUPS["MVTec-AD, 15 categories"] = tuple(f"mvtec_resnet18_{name}" for name in MVTEC)
# Sets that the embedding recipe was chosen on: one class, every second category.
DEVELOPMENT = (CIFAR10[1], *(f"mvtec_resnet18_{name}" for name in MVTEC[::2]))
COLUMNS = GROUPS | {
    f"{group.split(',')[0]}, unseen {len(unseen)}": unseen
    for group, unseen in (
        (group, tuple(name for name in names if name not in DEVELOPMENT))
        for group, names in GROUPS.items()
    )
}
CHOICE_SPLITS = (100, 101)
# "dbpedia14 k": sentence embeddings of the training texts, class k against the others.
TEXTS = tuple(f"dbpedia14 {label}" for label in range(1, 15))
CHOICE_GROUPS = {
    "CIFAR-10, 1 class": DEVELOPMENT[:1],
    "MVTec-AD, 8 categories": DEVELOPMENT[1:],
    "DBPedia-14, 14 classes": TEXTS,
}
# Settings of the embedding recipe that were compared.
CANDIDATES = [
    {},
    {"views__direction": "drop"},
    {"views__whitened": "drop"},
    {"views__whitened__whiten__ridge": 1.0},
    {"landmarks__gamma": 2.0},
    {"landmarks__gamma": 8.0},
    {"hrn__hidden_layer_sizes": 100},
]

# On CIFAR-10, mean of ten classes, features of another network.
PUBLISHED = {"HRN": 96.6, "ICS": 86.6, "OCGAN": 64.8, "TQM": 53.5}

PEERS = ("nearest neighbours", "OneClassSVM", "IsolationForest")
LENGTH_ONE = ", length one"
WHITENED = ", whitened"
BOTH_VIEWS = ", both views"
INPUTS = {
    LENGTH_ONE: lambda: (InstanceL2Normalizer(center=None),),
    WHITENED: lambda: (dict(make_hrn_pipeline("embedding")["views"].transformer_list)["whitened"],),
    BOTH_VIEWS: lambda: (make_hrn_pipeline("embedding")[:2],),
}
EMBEDDING = "HRN embedding"


def methods():
    """Names of the methods that can run here."""
    peers = available(PEERS)
    ours = [EMBEDDING, *OURS, f"HRN{LENGTH_ONE}"]
    return [*ours, *(name + given for given in ("", *INPUTS) for name in peers)]


def add_arguments(parser):
    parser.add_argument("--methods", nargs="+", choices=methods(), metavar="NAME")
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--choice", action="store_true", help="settings of the embedding recipe, development parts"
    )


def settings(args):
    if args.choice:
        sets = [(dataset, split) for dataset in DEVELOPMENT for split in CHOICE_SPLITS]
        sets += [(dataset, CHOICE_SPLITS[0]) for dataset in TEXTS]
        return [
            {"dataset": dataset, "method": EMBEDDING, "split": split, "parameters": candidate}
            for dataset, split in (sets[:1] if args.fast else sets)
            for candidate in CANDIDATES
        ]
    return [
        {"dataset": dataset, "method": method, "split": split}
        for group in GROUPS.values()
        for dataset in (group[:1] if args.fast else group)
        for split in range(1 if args.fast else args.splits)
        for method in args.methods or methods()
    ]


def make_detector(method, seed, parameters=None):
    """An unfitted detector by its name in the table."""
    if method == EMBEDDING:
        recipe = make_hrn_pipeline("embedding", random_state=seed)
        return recipe.set_params(calibration=None, **(parameters or {}))
    if method in OURS:
        return OURS[method](seed)
    name, comma, given = method.rpartition(", ")
    if not comma:
        return make_peer(method, seed)
    detector = (
        HRNOneClassClassifier(random_state=seed)
        if name == "HRN"
        else make_peer(name, seed, scaled=False)
    )
    return make_pipeline(*INPUTS[comma + given](), detector)


def recipe(settings):
    """Digest of the detector of a run, where it is made of ours; None for plain peers."""
    method, _, given = settings["method"].rpartition(", ")
    if settings["method"] in PEERS or (method in PEERS and f", {given}" == LENGTH_ONE):
        return None
    return _recipe(settings["method"], json.dumps(settings.get("parameters")))


@cache
def _recipe(method, parameters):
    return recipe_of(make_detector(method, 0, json.loads(parameters)))


def measure(dataset, method, split, parameters=None, data_home=None):
    X, y = load(dataset, data_home)
    train, test = one_class_split(y, split)
    scores = make_detector(method, split, parameters).fit(X[train]).score_samples(X[test])
    return {"auc": 100 * float(roc_auc_score(y[test], scores))}


def load(dataset, data_home):
    """Rows, and +1 for the normal ones, -1 for anomalies."""
    if dataset in TEXTS:
        X, label, _, _ = data.texts(data_home)
        return X, np.where(label == int(dataset.split()[1]), 1, -1)
    return data.features(dataset, data_home)


def render(records):
    of_choice = [r for r in records if "parameters" in r["settings"]]
    of_table = [r for r in records if "parameters" not in r["settings"]]
    tables = []
    if of_table:
        published = [[name, auc] for name, auc in PUBLISHED.items()]
        tables.append(rst_table(["method", "splits", *COLUMNS], _rows(of_table, _method)))
        tables.append(rst_table(["as published", "CIFAR-10, ten classes"], published))
    if of_choice:
        tables.append(
            rst_table(["embedding recipe", "splits", *CHOICE_GROUPS], _rows(of_choice, _parameters))
        )
    return "\n".join(f"{table}\n" for table in tables)


def _rows(records, name_of):
    """One row for each name, in the order of the records."""
    own = {}
    for r in records:
        own.setdefault(name_of(r["settings"]), []).append(r)
    columns = COLUMNS if name_of is _method else CHOICE_GROUPS
    return [
        [
            with_marks(name, of_name),
            len({r["settings"]["split"] for r in of_name}),
            *(_mean_of(names, of_name) for names in columns.values()),
        ]
        for name, of_name in own.items()
    ]


def _method(settings):
    return settings["method"]


def _parameters(settings):
    return ", ".join(f"{k} = {v}" for k, v in settings["parameters"].items()) or "as it is"


def _mean_of(group, records):
    """Mean over the sets of a group, with its deviation over the splits."""
    by_split = {}
    for r in records:
        if r["settings"]["dataset"] in group:
            by_split.setdefault(r["settings"]["split"], []).append(r["figures"]["auc"])
    return spread([np.mean(aucs) for aucs in by_split.values()])
