"""Every figure that the paper has of HRN beside ours, with a verdict by a rule set beforehand.

A figure is reproduced where ours lies within `WITHIN` points of it, or within two of its standard
deviations over seeds, splits or orders. AUCs of images are those of the best epoch on the test set,
as the paper counts.
"""

import numpy as np

from .images import means_over
from .published import MEANS
from .records import spread, with_marks

WITHIN = 0.5
NOT_RUN = "not run"
NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
NAMES |= {"cifar100": "CIFAR-100", "emnist47": "EMNIST-47", "dbpedia14": "DBPedia-14"}


def _of_image(table, dataset, variant):
    classes = set(range(100 if dataset == "cifar100" else 10))
    command = f'{table} --dataset {dataset} --variants "{variant}"'
    wanted = {"dataset": dataset, "variant": variant}
    claim = f"table {table[-1]}, {NAMES[dataset]}, {variant}: AUC"
    return claim, MEANS[dataset][variant], wanted, lambda r: means_over(classes, r, "best"), command


def _each(figure):
    return lambda records: [r["figures"][figure] for r in records]


def figures():
    """What is published: (claim, figure of the paper, settings of our runs, values, command)."""
    steps = ("NLL", "NLL + H", "NLL + H + z-score", "square", "square + H + 2-norm")
    shares = tuple(f"{share}% of other classes" for share in (1, 10, 20))
    found = [
        _of_image(table, dataset, variant)
        for table, variants in (
            ("table1", ("HRN", "HRN-L2")),
            ("table3", steps),
            ("table5", shares),
        )
        for dataset in ("mnist", "fashion_mnist", "cifar10")
        for variant in variants
    ]
    found.append(_of_image("table1", "cifar100", "HRN"))
    for dataset, paper in (("KDDCUP99", 98.83), ("Thyroid", 95.87), ("Arrhythmia", 84.46)):
        wanted = {"dataset": dataset, "method": "HRN as published"}
        command = f'table2 --datasets {dataset} --methods "HRN as published"'
        claim = f"table 2, {dataset}: normal-class F1"
        found.append((claim, paper, wanted, _each("normal_f1"), command))
    found.append(
        (
            "table 6, stop signs after 5000 steps: AUC",
            95.4,
            {"method": "HRN as published", "budget": 5000, "input": "divide, centre"},
            _each("auc"),
            "table6",
        )
    )
    for dataset, paper in (("mnist", 97.0), ("emnist47", 80.05)):
        wanted = {"dataset": dataset, "method": "HRN heads", "input": "paper"}
        claim = f"table 7, {NAMES[dataset]}, pixels: accuracy"
        command = f'table7 --datasets {dataset} --inputs paper --methods "HRN heads"'
        found.append((claim, paper, wanted, _each("accuracy"), command))
    wanted = {"dataset": "dbpedia14", "method": "HRN heads", "input": "embeddings"}
    claim = "table 7, DBPedia-14, sentence embeddings (the paper's are of BERT): accuracy"
    command = 'table7 --datasets dbpedia14 --methods "HRN heads"'
    return [*found, (claim, 96.23, wanted, _each("accuracy"), command)]


def verdict(here, paper):
    """What some runs say of a published figure.

    Examples
    --------
    >>> verdict([97.5, 97.7], 97.59), verdict([95.0], 97.59), verdict([99.0, 99.1], 97.59)
    ('reproduced', '2.59 below', '1.46 above')
    """
    distance = float(np.mean(here)) - paper
    deviation = np.std(here, ddof=1) if len(here) > 1 else 0.0
    if abs(distance) <= max(WITHIN, 2 * deviation):
        return "reproduced"
    return f"{abs(distance):.2f} {'above' if distance > 0 else 'below'}"


def rows(records):
    """A row for every figure: claim, paper, here, runs, verdict."""
    found = []
    for claim, paper, wanted, values, command in figures():
        own = [r for r in records if wanted.items() <= r["settings"].items()]
        here = values(own)
        if len(here):
            cells = [spread(here), len(here), verdict(here, paper)]
        else:
            cells = [NOT_RUN, 0, f"``python -m sklearn_hrn.benchmark {command}``"]
        found.append([with_marks(claim, own), f"{paper:.2f}", *cells])
    return found
