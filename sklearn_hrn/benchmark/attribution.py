"""Attributions: do they sum to what they explain, and do they find what was changed?

*Known causes.* Half of the normal rows of an ADBench set train the tabular recipe. In fresh normal
rows one, two or three columns are replaced by values of another fresh row; a row's figure is the
share of the replaced columns among as many columns with the lowest numbers. The sets were fixed
before the first run: the first ten, by name, of those with 6 to 64 columns, at least 300 normal
rows and on average at least 50 distinct values a column. The choices in `inspection` were made on
others (yeast, Cardiotocography, wine).

*Patches.* A patch of 6 by 6 pixels of another digit is pasted at its place into fresh images of the
digit that was learned; its share of the sum of absolute numbers over its share of the area.
"""

import importlib.util
import time

import numpy as np

from ..inspection import feature_attribution, nearest_normal
from ..recipes import make_hrn_pipeline
from . import data, protocol
from .records import lead, recipe_of, rst_table

SETS = (
    *("19_landsat", "1_ALOI", "23_mammography", "27_PageBlocks", "29_Pima", "31_satimage-2"),
    *("35_SpamBase", "37_Stamps", "41_Waveform", "43_WDBC"),
)
DIGITS = (2, 3, 8)
RECIPES = ("paper", "image", "tabular", "embedding")
N_ROWS = 60
# SHAP takes a second a row: it explains these only, and ours is shown on them as well.
N_SHAP = 6
N_IMAGES = 20
PATCH = 6


def add_arguments(parser):
    parser.add_argument("--splits", type=int, default=1, metavar="N", help="default: 1")


def settings(args):
    splits = range(1 if args.fast else args.splits)
    return [
        *({"what": "sum", "name": kind, "split": 0} for kind in RECIPES),
        {"what": "time", "name": "1000 rows of 50 columns", "split": 0},
        *(
            {"what": "causes", "name": name, "split": split}
            for name in (SETS[7:8] if args.fast else SETS)
            for split in splits
        ),
        *(
            {"what": "patch", "name": str(digit), "split": split}
            for digit in (() if args.fast else DIGITS)
            for split in splits
        ),
    ]


def _detector(kind, split):
    return make_hrn_pipeline(kind, random_state=split).set_params(calibration=None)


def recipe(settings):
    """Digest of the recipe that is explained."""
    of = {"causes": "tabular", "time": "tabular", "patch": "image"}
    return recipe_of(_detector(of.get(settings["what"], settings["name"]), 0))


def measure(what, name, split, data_home=None):
    return MEASURES[what](name, split, data_home)


def _sum(kind, split, data_home):
    """The largest gap of the sum, over the larger of its size and the training scores' spread."""
    X, y, X_test, y_test = data.pixels("mnist", data_home)
    train, X = X[y == 3][:500], X_test[y_test != 3][:30]
    detector = _detector(kind, split).fit(train)
    numbers = feature_attribution(detector, X).reshape(len(X), -1)
    scores = detector.score_samples(X)
    rise = scores - detector.score_samples(nearest_normal(detector, X))
    size = np.maximum(np.abs(rise), detector.score_samples(train).std())
    return {"gap": 100 * float((np.abs(numbers.sum(axis=1) - rise) / size).max())}


def _time(name, split, data_home):
    X = np.random.default_rng(0).normal(size=(1000, 50))
    detector = _detector("tabular", split).fit(X)
    return {"seconds": min(_timed(feature_attribution, detector, X)[1] for _ in range(3))}


def _causes(name, split, data_home):
    X, y = data.adbench(name, data_home)
    X = X.astype(float)
    train, test = protocol.one_class_split(y, split, 1500, None)
    rng = np.random.default_rng(split)
    rows, changed = altered(X[test[y[test] == 1]], rng)
    detector = _detector("tabular", split).fit(X[train])
    deviation = X[train].std(axis=0)
    z = np.abs(rows - X[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    numbers = {"ours": _timed(feature_attribution, detector, rows)}
    numbers["occlusion"] = _timed(_occlusion, detector, rows)
    numbers["z-score"] = (-z, 0.0)
    if importlib.util.find_spec("shap"):
        numbers["ours, first rows"] = (numbers["ours"][0][:N_SHAP], 0.0)
        numbers["SHAP, first rows"] = _timed(_shap, detector, rows[:N_SHAP])
    shares = {m: 100 * float(np.mean(list(_found(a, changed)))) for m, (a, _) in numbers.items()}
    seconds = {m: s / len(a) for m, (a, s) in numbers.items()}
    chance = 100 * float((changed.sum(axis=1) / X.shape[1]).mean())
    return {"found": {**shares, "chance": chance}, "seconds_a_row": seconds}


def altered(X, rng):
    """Rows of which one to three columns hold values of other rows, and which columns these are."""
    rows = X[rng.choice(len(X), N_ROWS, replace=len(X) < N_ROWS)].copy()
    changed = np.zeros(rows.shape, dtype=bool)
    for i, row in enumerate(rows):
        while not changed[i].any():
            donor = X[rng.integers(len(X))]
            columns = np.flatnonzero(donor != row)
            columns = rng.permutation(columns)[: 1 + i % 3]
            changed[i, columns] = True
        row[changed[i]] = donor[changed[i]]
    return rows, changed


def _found(numbers, changed):
    """Share of the changed columns among as many with the lowest numbers, row by row."""
    for row, is_changed in zip(numbers, changed, strict=False):  # of the first rows, maybe
        lowest = np.argsort(row, kind="stable")[: is_changed.sum()]
        yield is_changed[lowest].mean()


def _occlusion(detector, X):
    """What the score gains when a column alone takes the value of the reference, negated."""
    references, scores = nearest_normal(detector, X), detector.score_samples(X)
    numbers = np.empty(X.shape)
    for j in range(X.shape[1]):
        rows = X.copy()
        rows[:, j] = references[:, j]
        numbers[:, j] = scores - detector.score_samples(rows)
    return numbers


def _shap(detector, X):
    """SHAP's explainer of any function, as it comes, over the same reference rows."""
    import shap

    masker = shap.maskers.Independent(detector.reference_rows_, max_samples=50)
    explainer = shap.explainers.Permutation(detector.score_samples, masker, seed=0)
    return explainer(X, silent=True).values


def _patch(name, split, data_home):
    X, y, X_test, y_test = data.pixels("mnist", data_home)
    digit = int(name)
    detector = _detector("image", split).fit(X[y == digit][:1000])
    rng = np.random.default_rng(digit + 10 * split)
    own, others = X_test[y_test == digit], X_test[y_test != digit]
    rows = own[rng.choice(len(own), N_IMAGES, replace=False)].copy()
    inside = np.zeros((N_IMAGES, 28, 28), dtype=bool)
    for image, place in zip(rows.reshape(-1, 28, 28), inside, strict=True):
        difference = 0.0
        # Where both images are background there is nothing to be found.
        while difference < 0.25:
            top, left = rng.integers(4, 28 - 4 - PATCH + 1, size=2)
            where = np.s_[top : top + PATCH, left : left + PATCH]
            donor = others[rng.integers(len(others))].reshape(28, 28)
            difference = np.abs(donor[where] - image[where]).mean()
        image[where] = donor[where]
        place[where] = True
    inside = inside.reshape(N_IMAGES, -1)
    ours, seconds = _timed(feature_attribution, detector, rows)
    figures = {"ours": _concentration(ours.reshape(N_IMAGES, -1), inside)}
    figures["occlusion"] = _concentration(_occlusion(detector, rows), inside)
    figures["difference"] = _concentration(rows - nearest_normal(detector, rows), inside)
    return {"concentration": figures, "seconds_an_image": seconds / N_IMAGES}


def _concentration(numbers, inside):
    """Share of the sum of absolute numbers inside, over the share of the area."""
    shares = (np.abs(numbers) * inside).sum(axis=1) / np.abs(numbers).sum(axis=1)
    return float((shares / inside.mean(axis=1)).mean())


def _timed(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


MEASURES = {"sum": _sum, "time": _time, "causes": _causes, "patch": _patch}


def render(records):
    def of(what):
        return [r for r in records if r["settings"]["what"] == what]

    texts = []
    if of("sum"):
        rows = [[r["settings"]["name"], f"{r['figures']['gap']:.1e} %"] for r in of("sum")]
        texts.append(rst_table(["recipe", "largest gap of the sum"], rows))
    for r in of("time"):
        texts.append(f"{r['settings']['name']}: {r['figures']['seconds']:.2f} processor seconds.")
    if of("causes"):
        texts.append(_causes_table(of("causes")))
    if of("patch"):
        texts.append(_patch_table(of("patch")))
    return "\n\n".join(texts) + "\n"


def _causes_table(records):
    methods = list(dict.fromkeys(m for r in records for m in r["figures"]["found"]))
    sets = list(dict.fromkeys(r["settings"]["name"] for r in records))

    def found(name, method):
        own = [r["figures"]["found"] for r in records if r["settings"]["name"] == name]
        return float(np.mean([f[method] for f in own if method in f] or [np.nan]))

    rows = [[name, *(f"{found(name, m):.1f}" for m in methods)] for name in sets]
    means = [float(np.mean([found(name, m) for name in sets])) for m in methods]
    rows.append(["mean", *(f"{mean:.1f}" for mean in means)])
    cost = []
    for m in methods:
        own = [r["figures"]["seconds_a_row"].get(m) for r in records]
        own = [s for s in own if s]
        cost.append(f"{1000 * np.mean(own):.1f} ms" if own else "")
    rows.append(["processor time a row", *cost])
    header = ["changed columns found, per cent", *methods]
    ahead = lead([found(name, "ours") - found(name, "occlusion") for name in sets])
    return (
        f"{rst_table(header, rows)}\n\n{N_ROWS} rows a split, {_n_splits(records)} split(s); "
        f"ours minus occlusion {ahead} (standard error over sets)."
    )


def _patch_table(records):
    digits = list(dict.fromkeys(r["settings"]["name"] for r in records))

    def shares(method, digit):
        own = [r["figures"] for r in records if r["settings"]["name"] == digit]
        return [figures["concentration"][method] for figures in own]

    rows = []
    for method in records[0]["figures"]["concentration"]:
        found = [shares(method, digit) for digit in digits]
        mean = f"{np.mean([r['figures']['concentration'][method] for r in records]):.1f}"
        rows.append([method, *(f"{np.mean(own):.1f}" for own in found), mean])
    header = ["share inside the patch / share of area", *(f"digit {d}" for d in digits), "mean"]
    figures = [r["figures"]["concentration"] for r in records]
    ahead = lead([f["ours"] - f["occlusion"] for f in figures])
    return (
        f"{rst_table(header, rows)}\n\n{N_IMAGES} images a digit and split, "
        f"{_n_splits(records)} split(s); ours minus occlusion {ahead} (standard error over runs)."
    )


def _n_splits(records):
    return len({r["settings"]["split"] for r in records})
