"""What users of the recipes wait for: fits, single rows, searches, rows on a disk; and peers."""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from ..model_selection import HRNSearchCV, InlierKFold
from ..recipes import make_hrn_pipeline
from . import data, protocol
from .peers import available, make_peer
from .timing import in_fresh_process, in_turns, peak_megabytes

PEERS = (
    "OneClassSVM",
    "IsolationForest",
    "LocalOutlierFactor",
    "nearest neighbours",
    "PyOD DeepSVDD",
    "PyOD AutoEncoder",
)
# Beside the recipes, whose users would take these.
PEERS_OF_RECIPES = (
    "IsolationForest",
    "OneClassSVM",
    "LocalOutlierFactor",
    "nearest neighbours",
    "PyOD DeepSVDD",
    "PyOD LUNAR",
)
# Fits of recipes: rows and columns, of a table as large as most of ADBench, of a small one, and of
# embeddings.
FITS = (("tabular", 1500, 20), ("tabular", 178, 13), ("embedding", 2500, 512))
# One class of each, all its training images.
IMAGES = ("mnist", "cifar10")


def fit(kind, rows, features, repeats, data_home=None):
    """Seconds to fit a recipe, threshold included, and peers on the same rows."""
    X = np.random.default_rng(0).normal(size=(rows, features))
    return _beside_peers(kind, X, repeats, PEERS_OF_RECIPES)


def images(name, repeats, data_home=None):
    """The same of the image recipe, on the training images of a class."""
    X, y, *_ = data.pixels(name, data_home)
    return _beside_peers("image", X[y == 0], repeats, PEERS_OF_RECIPES[:4])


def sets(name, repeats, data_home=None):
    """The same of the tabular recipe, on the normal rows that train on a set of ADBench."""
    X, y = data.adbench(name, data_home)
    train, _ = protocol.one_class_split(y, 0, 1500)
    seconds = _beside_peers("tabular", X[train].astype(float), repeats, PEERS_OF_RECIPES[:4])
    return {"rows": len(train), **seconds}


def _beside_peers(kind, X, repeats, peers):
    def recipe(**parameters):
        found = make_hrn_pipeline(kind, random_state=0, device="cpu")
        return partial(found.set_params(**parameters).fit, X)

    fits = {"HRN": recipe(), "HRN, scores only": recipe(calibration=None)}
    fits |= {name: partial(make_peer(name, 0).fit, X) for name in available(peers)}
    return in_turns(fits, repeats)


def row(kind, features, repeats, data_home=None):
    """Milliseconds of `predict` of one row: the middle one, and the 99th of a hundred."""
    X = np.random.default_rng(0).normal(size=(500, features))

    def fitted(X):
        recipe = make_hrn_pipeline(kind, random_state=0, device="cpu")
        return recipe.set_params(hrn__max_updates=20).fit(X)

    calls = {"HRN": partial(fitted(X).predict, X[:1])}
    for name in available(PEERS_OF_RECIPES[:4]):
        detector = make_peer(name, 0).fit(X)
        # Nearest neighbours have no threshold.
        calls[name] = partial(getattr(detector, "predict", detector.score_samples), X[:1])
    try:
        import pandas as pd
    except ImportError:
        pass
    else:
        frame = pd.DataFrame(X, columns=[f"column {j}" for j in range(features)])
        calls["HRN, a frame"] = partial(fitted(frame).predict, frame[:1])
    figures = {}
    for name, call in calls.items():
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        middle, high = np.percentile(seconds, [50, 99])
        figures |= {f"{name}, p50": 1000 * middle, f"{name}, p99": 1000 * high}
    return figures


def tuning(rows, repeats, data_home=None):
    """A five-fold search of 16 candidates on the tabular recipe, and one fit; no calibration."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(rows, 20)), rng.normal(1, 1, size=(max(10, rows // 10), 20))]
    y = np.repeat([1, -1], [rows, len(X) - rows])
    recipe = make_hrn_pipeline("tabular", random_state=0, device="cpu").set_params(calibration=None)
    grid = {"hrn__reg_lambda": [0.05, 0.1, 0.5, 1.0]}
    lengths = {"hrn__max_updates": [50, 100, 150, 200]}
    exponents = {"hrn__reg_exponent": [4, 8, 12, 16]}
    how = {"scoring": "roc_auc", "cv": InlierKFold(5), "refit": False}
    return in_turns(
        {
            "fit": partial(recipe.fit, X, y),
            "weights and lengths": partial(HRNSearchCV(recipe, grid | lengths, **how).fit, X, y),
            "weights and exponents": partial(
                HRNSearchCV(recipe, grid | exponents, **how).fit, X, y
            ),
        },
        repeats,
    )


def mapped(rows, features, data_home=None):
    """The tabular recipe on a memory map of float32: fitted, and scored in either precision."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows")
        X = np.memmap(path, np.float32, "w+", shape=(rows, features))
        rng = np.random.default_rng(0)
        for start in range(0, rows, 10_000):
            block = X[start : start + 10_000]
            block[:] = rng.standard_normal(block.shape, dtype=np.float32)
        X.flush()
        del X, block
        return in_fresh_process(_fit_and_score_map, path, rows, features)


def _fit_and_score_map(path, rows, features):
    X = np.memmap(path, np.float32, "r", shape=(rows, features))
    recipe = make_hrn_pipeline("tabular", random_state=0, device="cpu")
    recipe.fit(X[:500]).score_samples(X[:500])
    before = peak_megabytes()

    def seconds(function):
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    # The pages of the map that were read count as memory in use: they are part of the peak.
    figures = {"fit_seconds": seconds(partial(recipe.fit, X))}
    figures["fit_megabytes"] = peak_megabytes() - before
    network, Z = recipe[-1], recipe[:-1].transform(X[:1000])
    for dtype in ("float64", "float32"):
        network.set_params(score_dtype=dtype)
        figures[dtype] = 1e6 * seconds(partial(recipe.score_samples, X)) / rows
    figures["score_megabytes"] = peak_megabytes() - before
    figures["map_megabytes"] = X.nbytes / 2**20
    first, second = (coef[0] for coef in network.coefs_)
    alone = {"network": partial(network.score_samples, Z), "products": lambda: (Z @ first) @ second}
    medians = in_turns(alone, 50)
    return figures | {name: 1e6 * value / len(Z) for name, value in medians.items()}


def peers(method, digit, data_home=None):
    """Fit and score one class of MNIST as users of each method would."""
    return in_fresh_process(_fit_peer, method, digit, data_home)


def _fit_peer(method, digit, data_home):
    X, y, X_test, y_test = data.pixels("mnist", data_home)
    X_train, is_normal = X[y == digit], y_test == digit
    if method == "HRN":
        detector = make_hrn_pipeline("paper", random_state=0)
    else:
        detector = make_peer(method, 0, scaled=False)
    before = peak_megabytes()
    start = time.perf_counter()
    detector.fit(X_train)
    fitted = time.perf_counter()
    scores = detector.score_samples(X_test)
    scored = time.perf_counter()
    return {
        "fit_seconds": fitted - start,
        "score_seconds": scored - fitted,
        "auc": 100 * roc_auc_score(is_normal, scores),
        "megabytes": peak_megabytes() - before,
    }
