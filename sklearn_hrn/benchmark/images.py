"""Tables 1, 3 and 5 on MNIST, Fashion-MNIST and CIFAR: every class in turn is the normal one.

A class trains on its whole training part, and the test set is scored after every epoch. Two figures
of every run: the last epoch, which is what a user gets, and the best epoch on the test set, which
is what the paper reports.
"""

from functools import cache, partial

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ..exceptions import TrainingDivergedError
from ..networks import ChannelNetwork
from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer, InstanceStandardizer
from ..recipes import make_hrn_pipeline
from . import data
from .peers import available, make_peer
from .published import BY_CLASS, MEANS
from .records import recipe_of, rst_table, spread, with_marks

DATASETS = ("mnist", "fashion_mnist", "cifar10")
# Of a footnote, where there is a local copy.
MORE_DATASETS = ("cifar100",)
COLOUR = ("cifar10", "cifar100")
NORMALIZATIONS = {
    "divide, centre": InstanceL2Normalizer,
    "divide, centre, add 0.006": lambda: make_pipeline(
        InstanceL2Normalizer(), FunctionTransformer(partial(np.add, np.float32(0.006)))
    ),
    "centre, divide": lambda: InstanceL2Normalizer(center="before"),
    # The constant is the median norm of the training rows.
    "append a constant, divide": lambda: InstanceL2Normalizer(center=None, append="median"),
    "z-score": InstanceStandardizer,
    "none": FunctionTransformer,
}

# Variants by table; noise is the share of other classes among the training rows.
HRN = {"loss": "nll", "regularizer": "h", "norm": "divide, centre", "noise": 0.0}
NLL = {**HRN, "regularizer": None, "norm": "none"}
VARIANTS = {
    "table1": {
        "HRN": HRN,
        "HRN, centre before dividing": {**HRN, "norm": "centre, divide"},
        "HRN, append a constant": {**HRN, "norm": "append a constant, divide"},
        "HRN-L2": {**HRN, "regularizer": "l2"},
    },
    "table3": {
        "NLL": NLL,
        "NLL + H": {**HRN, "norm": "none"},
        "NLL + H + z-score": {**HRN, "norm": "z-score"},
        "HRN": HRN,  # + H + 2-norm: the runs of table 1
        "square": {**NLL, "loss": "square"},
        "square + H + 2-norm": {**HRN, "loss": "square"},
    },
    "table5": {
        "HRN": HRN,  # no noise: the runs of table 1
        **{f"{share:.0%} of other classes": {**HRN, "noise": share} for share in (0.01, 0.1, 0.2)},
    },
}
BY_PIXEL = "HRN, penalty by pixel"


def variants_of(table, dataset):
    """Settings of the networks of a table, by variant."""
    variants = VARIANTS[table]
    if dataset not in COLOUR:
        return variants
    # What the authors' code adds there. Without it f does not leave zero in 100 epochs from
    # weights as small as theirs.
    shifted = {"divide, centre": "divide, centre, add 0.006"}
    variants = {
        name: {**variant, "norm": shifted.get(variant["norm"], variant["norm"]), "penalty": "row"}
        for name, variant in variants.items()
    }
    if table == "table1":
        variants[BY_PIXEL] = {**variants["HRN"], "penalty": "pixel"}
    return variants


# Of table 1 as well: what is fitted once, and has no epochs to choose from.
PEERS = (
    *("IsolationForest", "OneClassSVM", "LocalOutlierFactor", "nearest neighbours"),
    *("kernel density", "PyOD AutoEncoder", "PyOD VAE", "PyOD DeepSVDD", "PyOD ALAD"),
)
SEEDLESS = ("OneClassSVM", "LocalOutlierFactor", "nearest neighbours", "kernel density")
INPUTS = {
    "raw": lambda seed: (),
    "2-norm": lambda seed: (InstanceL2Normalizer(),),
    "words": lambda seed: (words(seed), InstanceL2Normalizer(center=None)),
}


def words(seed):
    """The words of the image recipe, whitened where it does so."""
    return make_hrn_pipeline("image", random_state=seed)["words"].set_params(otherwise=None)


def _recipe(seed, device, outlier_share=0.0):
    recipe = make_hrn_pipeline("image", random_state=seed, device=device)
    # Calibration moves the threshold and no score.
    return recipe.set_params(calibration=None, outlier_share=outlier_share)


def _peer(name, given, seed, device):
    return make_pipeline(*INPUTS[given](seed), make_peer(name, seed, scaled=False))


# The strongest peer sees what the recipe sees, too.
SEEN = [(name, given) for name in PEERS for given in ("raw", "2-norm")]
SEEN.append(("nearest neighbours", "words"))
RECIPE = "image recipe"
# Of table 5, with their settings: the recipe on clean rows (the runs of table 1), on rows of which
# a tenth are of other classes, and on these with a bound of that share.
RECIPES = {
    RECIPE: {},
    f"{RECIPE}, 10% of other classes": {"noise": 0.1},
    f"{RECIPE}, 10% of other classes, outlier_share": {"noise": 0.1, "outlier_share": 0.2},
}
DETECTORS = dict.fromkeys(RECIPES, _recipe)
DETECTORS |= {f"{name}, {given}": partial(_peer, name, given) for name, given in SEEN}

# Classes that the image recipe was chosen on, held-out parts of their training files.
DEVELOPMENT = {
    "mnist": (2, 3, 5, 8, 9),
    "fashion_mnist": (0, 2, 5, 6, 8),
    "cifar10": (1, 2, 4, 5, 8),
}


def add_arguments(parser):
    parser.add_argument(
        "--dataset", nargs="+", choices=(*DATASETS, *MORE_DATASETS), default=DATASETS
    )
    parser.add_argument("--classes", nargs="+", type=int, metavar="N", help="default: all")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="default: all of the table")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="default: 5, and 1 of the image recipe with noise"
    )
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--device", default="auto")


def detectors_of(table):
    """Names of the detectors of a table whose packages are installed."""
    if table != "table1":
        return list(RECIPES) if table == "table5" else []
    peers = available(PEERS)
    return [RECIPE, *(name for name in DETECTORS if name.split(", ")[0] in peers)]


def classes_of(dataset):
    return list(range(100 if dataset == "cifar100" else 10))


def _seeds(args, name):
    if args.fast or name.split(", ")[0] in SEEDLESS:
        return range(1)
    return range(args.seeds or (1 if RECIPES.get(name) else 5))


def settings(args):
    detectors = detectors_of(args.table)
    variants = {dataset: variants_of(args.table, dataset) for dataset in args.dataset}
    allowed = list(dict.fromkeys([*(name for v in variants.values() for name in v), *detectors]))
    unknown = set(args.variants or []) - set(allowed)
    if unknown:
        raise ValueError(f"unknown variants {sorted(unknown)}: allowed are {allowed}.")
    epochs = 3 if args.fast else args.epochs
    return [
        {
            "dataset": dataset,
            "variant": name,
            "normal": normal,
            "seed": seed,
            "device": args.device,
            **(
                {"epochs": epochs, **variants[dataset][name]}
                if name not in detectors
                else RECIPES.get(name, {})
            ),
        }
        for dataset in args.dataset
        for name in [*variants[dataset], *detectors]
        if name in (args.variants or allowed)
        for seed in _seeds(args, name)
        for normal in (args.classes or classes_of(dataset))[: 2 if args.fast else None]
    ]


def recipe(settings):
    """Digest of the recipe of a run, or of its part that a peer stands on; None for the others."""
    variant = settings["variant"]
    if variant not in RECIPES and not variant.endswith(", words"):
        return None
    return _digest(variant, settings["device"])


@cache
def _digest(variant, device):
    return recipe_of(DETECTORS[variant](0, device))


def measure(dataset, variant, normal, seed, device, data_home=None, **details):
    if variant not in DETECTORS:
        return _epoch_by_epoch(dataset, normal, seed, device, data_home, **details)
    X_train, y_train, X_test, y_test = data.pixels(dataset, data_home)
    rows = _training_rows(y_train == normal, details.pop("noise", 0.0), seed)
    detector = DETECTORS[variant](seed, device, **details).fit(X_train[rows])
    scores = detector.score_samples(X_test)
    return {"last": 100 * roc_auc_score(y_test == normal, scores)}


def _epoch_by_epoch(
    dataset,
    normal,
    seed,
    device,
    data_home,
    *,
    epochs,
    loss,
    regularizer,
    norm,
    noise,
    penalty=None,
):
    X_train, y_train, X_test, y_test = data.pixels(dataset, data_home)
    rows = _training_rows(y_train == normal, noise, seed)
    normalizer, is_normal = NORMALIZATIONS[norm](), y_test == normal
    X_train, X_test = normalizer.fit_transform(X_train[rows]), normalizer.transform(X_test)
    model = HRNOneClassClassifier(
        loss=loss,
        regularizer=regularizer,
        module=None if penalty is None else ChannelNetwork(penalty=penalty),
        max_iter=1,
        warm_start=True,
        # 16 000 rows are scored after every epoch: half the time, and the AUC to six digits.
        score_dtype="float32",
        device=device,
        random_state=seed,
    )
    aucs = []
    for _ in range(epochs):
        try:
            scores = model.fit(X_train).score_samples(X_test)
        except TrainingDivergedError:
            # A rare row can meet a steep unit whose power of n no step survives: what had been
            # reached counts, if anything had.
            if not aucs:
                raise
            break
        aucs.append(100 * roc_auc_score(is_normal, scores))
    return {
        "last": aucs[-1],
        "best": max(aucs),
        "best_epoch": int(np.argmax(aucs)) + 1,
        "epochs": len(aucs),
    }


def _training_rows(is_normal, noise, seed):
    """The normal rows, and so many others that they are a share `noise` of all."""
    normal, others = np.flatnonzero(is_normal), np.flatnonzero(~is_normal)
    n_others = round(noise / (1 - noise) * len(normal))
    drawn = np.random.default_rng(seed).choice(others, n_others, replace=False)
    return np.sort(np.concatenate([normal, drawn]))


def render(records):
    tables = []
    table = _table_of(records)
    for dataset in (*DATASETS, *MORE_DATASETS):
        runs = [r for r in records if r["settings"]["dataset"] == dataset]
        if not runs:
            continue
        of_variant = {}
        for r in runs:
            of_variant.setdefault(r["settings"]["variant"], []).append(r)
        classes = {r["settings"]["normal"] for r in runs}
        unused = classes - set(DEVELOPMENT.get(dataset, classes))
        shows_unused = RECIPE in of_variant and unused
        wanted = dict.fromkeys([*variants_of(table, dataset), *of_variant])
        rows = [
            _row(variant, of_variant.get(variant, []), dataset, classes, unused)
            for variant in wanted
        ]
        header = ["variant", "seeds", "last epoch", "best epoch on the test set", "published"]
        text = f"{dataset}, mean ROC-AUC of the classes"
        if shows_unused:
            header.append("last epoch, unused classes")
            text += "; unused are those that the image recipe was not chosen on"
        tables.append(f"{text}\n\n{rst_table(header, [row[: len(header)] for row in rows])}\n")
        missing = [row[0] for row in rows if row[2] == NOT_RUN]
        if missing:
            names = " ".join(f'"{name}"' for name in missing)
            command = f"python -m sklearn_hrn.benchmark {table} --dataset {dataset}"
            tables.append(f"Not run: ``{command} --variants {names}``\n")
        if dataset in BY_CLASS and table == "table1" and "HRN" in of_variant:
            rows = _by_class(of_variant["HRN"], BY_CLASS[dataset]["HRN"])
            header = ["normal class", "seeds", *header[2:5]]
            tables.append(f"{dataset}, HRN class by class\n\n{rst_table(header, rows)}\n")
            columns = BY_CLASS[dataset]
            rows = [[k, *(column[k] for column in columns.values())] for k in range(10)]
            published = rst_table(["normal class", *columns], rows)
            tables.append(f"{dataset}, all columns as published\n\n{published}\n")
    return "\n".join(tables)


NOT_RUN = "not run"


def _table_of(records):
    """The table whose variants the records hold most of."""
    found = {r["settings"]["variant"] for r in records}
    return max(VARIANTS, key=lambda table: len(found & {*VARIANTS[table], *detectors_of(table)}))


def _row(variant, records, dataset, classes, unused):
    published = MEANS[dataset].get(variant, "")
    if not records:
        return [variant, 0, NOT_RUN, "", published, ""]
    records = of_today(records, classes)
    last = means_over(classes, records, "last")
    cells = [spread(last), spread(means_over(classes, records, "best")), published]
    of_unused = spread(means_over(unused, records, "last")) if unused else ""
    return [with_marks(variant, records), len(last), *cells, of_unused]


def of_today(records, classes):
    """Those of the recipe of today, once a seed of it has come to all classes; before that all."""
    fresh = [r for r in records if not r["is_stale"]]
    return fresh if means_over(classes, fresh, "last") else records


def means_over(classes, records, figure):
    """Mean over classes for each seed; a seed that has not come to all of them is left out."""
    seeds = {}
    for record in (r for r in records if figure in r["figures"]):
        if record["settings"]["normal"] in classes:
            seeds.setdefault(record["settings"]["seed"], []).append(record["figures"][figure])
    return [np.mean(values) for values in seeds.values() if len(values) == len(classes)]


def _by_class(records, published):
    rows = []
    for normal in sorted({r["settings"]["normal"] for r in records}):
        own = [r["figures"] for r in records if r["settings"]["normal"] == normal]
        cells = [spread([f[name] for f in own]) for name in ("last", "best")]
        rows.append([normal, len(own), *cells, published[normal]])
    return rows
