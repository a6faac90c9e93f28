"""Settings of the image recipe, compared on training files alone.

A tenth of a class is held out as normal rows, and training rows of the other classes are the
anomalies; five classes of each set. Where words are whitened, other landmarks change nothing, and
where they are not, another ridge does not.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from ..recipes import make_hrn_pipeline
from . import data
from .images import DATASETS, DEVELOPMENT, means_over
from .records import recipe_of, rst_table, spread, with_marks

NEVER, ALWAYS = {"words__threshold": 0}, {"words__threshold": 1}
UNWHITENED = [
    {},
    ALWAYS,
    {"words__otherwise__landmarks": "passthrough"},
    *({"words__otherwise__landmarks__gamma": gamma} for gamma in (2, 8)),
]
CANDIDATES = {
    "mnist": UNWHITENED,
    "fashion_mnist": UNWHITENED,
    "cifar10": [{}, NEVER, *({"words__ridge": ridge} for ridge in (0.1, 1))],
}
# Training rows of each other class.
N_OTHERS = 200


def add_arguments(parser):
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--device", default="auto")


def settings(args):
    return [
        {
            "dataset": dataset,
            "parameters": parameters,
            "normal": normal,
            "seed": seed,
            "device": args.device,
        }
        for dataset in args.dataset[: 1 if args.fast else None]
        for seed in range(1 if args.fast else args.seeds)
        for normal in DEVELOPMENT[dataset][: 1 if args.fast else None]
        for parameters in CANDIDATES[dataset][: 2 if args.fast else None]
    ]


def make_candidate(parameters, seed, device):
    """The image recipe with some of its settings changed."""
    recipe = make_hrn_pipeline("image", random_state=seed, device=device)
    return recipe.set_params(calibration=None, **parameters)


def recipe(settings):
    """Digest of the candidate of a run."""
    return recipe_of(make_candidate(settings["parameters"], 0, settings["device"]))


def measure(dataset, parameters, normal, seed, device, data_home=None):
    X, y, _, _ = data.pixels(dataset, data_home)
    rng = np.random.default_rng([seed, normal])
    own = rng.permutation(np.flatnonzero(y == normal))
    others = [
        rng.permutation(np.flatnonzero(y == label))[:N_OTHERS]
        for label in np.unique(y)
        if label != normal
    ]
    n_held_out = len(own) // 10
    held_out, train = own[:n_held_out], own[n_held_out:]
    detector = make_candidate(parameters, seed, device).fit(X[train])
    scores = detector.score_samples(X[np.concatenate([held_out, *others])])
    is_normal = np.arange(len(scores)) < n_held_out
    return {"auc": 100 * float(roc_auc_score(is_normal, scores))}


def render(records):
    candidates = {}
    for record in records:
        name = ", ".join(f"{k} = {v}" for k, v in record["settings"]["parameters"].items())
        candidates.setdefault(name or "as it is", []).append(record)
    rows = [
        [
            with_marks(name, own),
            len({r["settings"]["seed"] for r in own}),
            *(_cell(own, dataset) for dataset in DEVELOPMENT),
        ]
        for name, own in candidates.items()
    ]
    return f"{rst_table(['image recipe', 'seeds', *DEVELOPMENT], rows)}\n"


def _cell(records, dataset):
    own = [r for r in records if r["settings"]["dataset"] == dataset]
    return spread(means_over(DEVELOPMENT[dataset], own, "auc"))
