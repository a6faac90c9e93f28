"""Every figure of the text that was measured here, computed from the records of the tables.

The documentation names them as substitutions (``|mnist best|``), so that no figure can stay behind
when a table is measured again.
"""

from functools import partial
from pathlib import Path

import numpy as np

from .images import means_over, of_today
from .peers import UNSCALED
from .published import MEANS
from .records import lead
from .table2 import PAPER_SPLIT
from .table4 import COLUMNS

EVERY_CLASS = set(range(10))


def of_images(load, dataset, variant, figure="best", table="table1"):
    """Mean over the ten classes and all seeds."""
    runs = [
        r
        for r in load(table)
        if (r["settings"]["dataset"], r["settings"]["variant"]) == (dataset, variant)
    ]
    runs = of_today(runs, EVERY_CLASS)
    return float(np.mean(means_over(EVERY_CLASS, runs, figure)))


def mean_of(load, table, figure, **wanted):
    """Mean of a figure over the records with these settings."""
    runs = [r["figures"][figure] for r in load(table) if wanted.items() <= r["settings"].items()]
    return float(np.mean(runs))


def _recipe_loses(load, dataset, variant):
    """Points that a tenth of other classes costs the image recipe, at the last epoch."""
    clean = of_images(load, dataset, "image recipe", "last")
    return clean - of_images(load, dataset, f"image recipe, {variant}", "last", table="table5")


def _below_paper(load, dataset, variant, published="HRN"):
    return MEANS[dataset][published] - of_images(load, dataset, variant)


def _by_pixel(load, figure):
    plain, by_pixel = (
        of_images(load, "cifar10", variant, figure) for variant in ("HRN", "HRN, penalty by pixel")
    )
    return by_pixel - plain


def _horses(load, choose):
    runs = [
        r["figures"]["last"]
        for r in load("table1")
        if {"dataset": "cifar10", "variant": "image recipe", "normal": 7}.items()
        <= r["settings"].items()
    ]
    return choose(runs)


def _words(load, dataset):
    """By how much nearest neighbours are ahead of the recipe on its words."""
    ahead = of_images(load, dataset, "nearest neighbours, words", "last")
    return ahead - of_images(load, dataset, "image recipe", "last")


def _both(load, dataset, *variants):
    return " to ".join(f"{of_images(load, dataset, v, table='table3'):.2f}" for v in variants)


def _noise(load, dataset):
    """What 20 % of other classes cost at the best test epoch."""
    noisy = of_images(load, dataset, "20% of other classes", table="table5")
    return of_images(load, dataset, "HRN") - noisy


def _noise_ratio(load):
    """What noise of 10 and 20 % costs on Fashion-MNIST, over what it costs in the paper."""
    ratios = []
    for variant in ("10% of other classes", "20% of other classes"):
        published = MEANS["fashion_mnist"]["HRN"] - MEANS["fashion_mnist"][variant]
        measured = of_images(load, "fashion_mnist", "HRN")
        measured -= of_images(load, "fashion_mnist", variant, table="table5")
        ratios.append(measured / published)
    return " to ".join(dict.fromkeys(f"{end(ratios):.1f}" for end in (min, max)))


def _features(load, column, method):
    runs = [
        r
        for r in load("table4")
        if r["settings"]["method"] == method
        and r["settings"]["dataset"] in COLUMNS[column]
        and "parameters" not in r["settings"]
    ]
    return float(np.mean([r["figures"]["auc"] for r in runs]))


def _features_ahead(load, column, method, other):
    return _features(load, column, method) - _features(load, column, other)


def _differences(load):
    """Of the recipe and nearest neighbours on each set of ADBench, means over the splits."""
    auc = {}
    for r in load("adbench"):
        s = r["settings"]
        auc.setdefault(s["method"], {}).setdefault(s["dataset"], []).append(r["figures"]["auc"])
    ours, theirs = auc["HRN tabular"], auc["nearest neighbours"]
    return np.array([np.mean(ours[name]) - np.mean(theirs[name]) for name in ours])


def _lead(load):
    return lead(_differences(load))


def _wins(load):
    d = _differences(load)
    return f"{(d > 0).sum()} of {len(d)}"


CIFAR, MVTEC = "CIFAR-10, 3 classes", "MVTec-AD, 15 categories"
KNN = "nearest neighbours"
SCALED = "HRN as published, columns scaled"
STEPS = partial(mean_of, table="table6", figure="auc", method="HRN as published")
FIGURES = {
    "mnist best": lambda load: of_images(load, "mnist", "HRN"),
    "cifar best": lambda load: of_images(load, "cifar10", "HRN"),
    "fashion below": lambda load: _below_paper(load, "fashion_mnist", "HRN"),
    "fashion centred below": lambda load: _below_paper(
        load, "fashion_mnist", "HRN, centre before dividing"
    ),
    "fashion constant above": lambda load: (
        -_below_paper(load, "fashion_mnist", "HRN, append a constant")
    ),
    "cifar epochs": lambda load: (
        of_images(load, "cifar10", "HRN") - of_images(load, "cifar10", "HRN", "last")
    ),
    "recipe noise mnist": lambda load: _recipe_loses(load, "mnist", "10% of other classes"),
    "recipe cleaned mnist": lambda load: _recipe_loses(
        load, "mnist", "10% of other classes, outlier_share"
    ),
    "recipe noise fashion": lambda load: _recipe_loses(
        load, "fashion_mnist", "10% of other classes"
    ),
    "recipe cleaned fashion": lambda load: _recipe_loses(
        load, "fashion_mnist", "10% of other classes, outlier_share"
    ),
    "cifar pixel below": lambda load: -_by_pixel(load, "best"),
    "cifar l2 below": partial(
        _below_paper, dataset="cifar10", variant="HRN-L2", published="HRN-L2"
    ),
    "cifar pixel last above": lambda load: _by_pixel(load, "last"),
    "horse best": lambda load: _horses(load, max),
    "horse worst": lambda load: _horses(load, min),
    "words mnist": lambda load: _words(load, "mnist"),
    "words fashion": lambda load: -_words(load, "fashion_mnist"),
    "words cifar": lambda load: -_words(load, "cifar10"),
    "ablation fashion": lambda load: _both(load, "fashion_mnist", "NLL + H + z-score", "HRN"),
    "ablation cifar": lambda load: _both(load, "cifar10", "NLL + H", "NLL"),
    "noise mnist": lambda load: _noise(load, "mnist"),
    "noise fashion": lambda load: _noise(load, "fashion_mnist"),
    "noise ratio": _noise_ratio,
    **{
        f"{dataset.lower()} {name}": partial(
            mean_of, table="table2", dataset=dataset, method=method, figure=figure
        )
        for dataset, name, method, figure in (
            ("KDDCUP99", "normal", "HRN as published", "normal_f1"),
            ("KDDCUP99", "scaled", SCALED, "normal_f1"),
            ("Arrhythmia", "scaled", SCALED, "anomaly_f1"),
            ("Arrhythmia", "knn", KNN, "anomaly_f1"),
            ("Arrhythmia", "knn raw", f"{KNN}{UNSCALED}", "anomaly_f1"),
            ("Thyroid", "knn", KNN, "anomaly_f1"),
            ("Thyroid", "knn raw", f"{KNN}{UNSCALED}", "anomaly_f1"),
            ("KDDCUP99", "tabular", "HRN tabular", "anomaly_f1"),
            ("Thyroid", "normal", "HRN as published", "normal_f1"),
            ("Thyroid", "auc", "HRN as published", "auc"),
            ("Thyroid", "tabular", "HRN tabular", "anomaly_f1"),
            ("Arrhythmia", "normal", "HRN as published", "normal_f1"),
            ("Arrhythmia", "published", "HRN as published", "anomaly_f1"),
            ("Arrhythmia", "tabular", "HRN tabular", "anomaly_f1"),
        )
    },
    **{
        name: partial(
            mean_of, table="table2", dataset=PAPER_SPLIT, method=method, figure="normal_f1"
        )
        for name, method in (
            ("paper split published", "HRN as published"),
            ("paper split tabular", "HRN tabular"),
        )
    },
    "embedding cifar": lambda load: (
        -_features_ahead(load, CIFAR, "HRN embedding", f"{KNN}, length one")
    ),
    "embedding unseen": lambda load: (
        -_features_ahead(load, "CIFAR-10, unseen 2", "HRN embedding", f"{KNN}, length one")
    ),
    "whitening mvtec": lambda load: _features_ahead(
        load, MVTEC, f"{KNN}, whitened", f"{KNN}, length one"
    ),
    "whitening cifar": lambda load: (
        -_features_ahead(load, CIFAR, f"{KNN}, whitened", f"{KNN}, length one")
    ),
    "signs thousand": lambda load: STEPS(load, budget=1000, input="divide, centre"),
    "signs headline": lambda load: STEPS(load, budget=5000, input="divide, centre"),
    "signs centred": lambda load: STEPS(load, budget=5000, input="centre, divide"),
    "signs whitened": lambda load: STEPS(load, budget=5000, input="whitened"),
    "signs svdd": lambda load: mean_of(
        load, "table6", "auc", method="PyOD DeepSVDD", budget=5000, input="centre, divide"
    ),
    **{
        f"noise {name}": partial(
            mean_of, table="table6", figure="auc", budget="noise", method=method, input=given
        )
        for name, method, given in (
            ("centred", "HRN as published", "centre, divide"),
            ("whitened", "HRN as published", "whitened"),
            ("svdd", "PyOD DeepSVDD", "centre, divide"),
        )
    },
    **{
        f"texts {name}": partial(
            mean_of, table="table7", figure="accuracy", dataset="dbpedia14", method=method
        )
        for name, method in (
            ("heads", "HRN heads"),
            ("lda", "streaming LDA"),
            ("both", "HRN heads and streaming LDA"),
        )
    },
    "nll saturated": partial(mean_of, table="claims", figure="saturated", experiment="NLL alone"),
    "nll auc": partial(mean_of, table="claims", figure="auc", experiment="NLL alone"),
    "h auc": partial(mean_of, table="claims", figure="auc", experiment="H"),
    "adbench lead": _lead,
    "adbench wins": _wins,
}


def render(load):
    """All figures as definitions of substitutions.

    Parameters
    ----------
    load : callable
        ``load(table)`` returns the records of a table.
    """
    lines = []
    for name, figure in FIGURES.items():
        value = figure(load)
        text = value if isinstance(value, str) else f"{value:.2f}"
        lines.append(f".. |{name}| replace:: {text}\n")
    return "".join(lines)


def write(folder, rendered, load):
    """Write the tables and figures that the documentation includes.

    Parameters
    ----------
    folder : path-like
        Holds the records, and takes the texts.
    rendered, load : callable
        Of the command, of the name and the path of a table.
    """
    paths = {path.stem: path for path in sorted(Path(folder).glob("*.jsonl"))}
    for name, path in paths.items():
        path.with_suffix(".rst").write_text(rendered(name, load(name, path)), encoding="utf-8")

    def of_table(table):
        if table not in paths:
            raise FileNotFoundError(
                f"{folder} holds no {table}.jsonl, which figures of the documentation rest on: "
                "give the folder of all records."
            )
        return load(table, paths[table])

    text = render(of_table)
    (Path(folder) / "figures.rst").write_text(text, encoding="utf-8")
