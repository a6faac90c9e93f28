"""Table 4: one-class learning on frozen features of a network trained on ImageNet.

The features of CIFAR-10 classes and of the MVTec-AD categories come from a ResNet-18. Half of the
normal rows train, the other half and all anomalies test. The methods see the features as z-scores
("HRN tabular" goes on to Fourier features of them), or each row scaled to length one.
"""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from .. import datasets
from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer
from .peers import available, make_peer
from .protocol import OURS, one_class_split
from .records import rst_table, spread

CIFAR10 = tuple(f"cifar10_resnet18_class{k}" for k in (0, 4, 6))
MVTEC = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
    *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)
GROUPS = {"CIFAR-10, 3 classes": CIFAR10}
GROUPS["MVTec-AD, 15 categories"] = tuple(f"mvtec_resnet18_{name}" for name in MVTEC)
# On CIFAR-10, mean of ten classes, features of another network.
PUBLISHED = {"HRN": 96.6, "ICS": 86.6, "OCGAN": 64.8, "TQM": 53.5}

PEERS = ("nearest neighbours", "OneClassSVM", "IsolationForest")
LENGTH_ONE = ", length one"


def methods():
    """Names of the methods that can run here."""
    peers = available(PEERS)
    return [*OURS, f"HRN{LENGTH_ONE}", *peers, *(name + LENGTH_ONE for name in peers)]


def add_arguments(parser):
    parser.add_argument("--methods", nargs="+", choices=methods(), metavar="NAME")
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="default: 5")


def settings(args):
    return [
        {"dataset": dataset, "method": method, "split": split}
        for group in GROUPS.values()
        for dataset in (group[:1] if args.fast else group)
        for split in range(1 if args.fast else args.splits)
        for method in args.methods or methods()
    ]


def make_detector(method, seed):
    """An unfitted detector by its name in the table."""
    if method in OURS:
        return OURS[method](seed)
    if not method.endswith(LENGTH_ONE):
        return make_peer(method, seed)
    name = method.removesuffix(LENGTH_ONE)
    detector = (
        HRNOneClassClassifier(random_state=seed)
        if name == "HRN"
        else make_peer(name, seed, scaled=False)
    )
    return make_pipeline(InstanceL2Normalizer(center=None), detector)


def measure(dataset, method, split, data_home=None):
    X, y = (datasets.load_features(dataset, data_home=data_home)[k] for k in ("data", "target"))
    train, test = one_class_split(y, split)
    scores = make_detector(method, split).fit(X[train]).score_samples(X[test])
    return {"auc": 100 * float(roc_auc_score(y[test], scores))}


def render(records):
    rows = []
    for method in dict.fromkeys(r["settings"]["method"] for r in records):
        own = [r for r in records if r["settings"]["method"] == method]
        rows.append([method, *(_mean_of(group, own) for group in GROUPS.values())])
    rows += [[f"{name} (paper, ten classes)", auc, ""] for name, auc in PUBLISHED.items()]
    return f"{rst_table(['method', *GROUPS], rows)}\n"


def _mean_of(group, records):
    """Mean over the sets of a group, with its deviation over the splits."""
    by_split = {}
    for r in records:
        if r["settings"]["dataset"] in group:
            by_split.setdefault(r["settings"]["split"], []).append(r["figures"]["auc"])
    return spread([np.mean(aucs) for aucs in by_split.values()])
