"""Streams: does learning in chunks cost anything, and what happens where the normal class moves?

*Equal.* Twenty chunks through ``partial_fit`` beside one ``fit`` of as many updates, on ten ADBench
sets: the first, by name, of those with at least 1000 rows to train on (half of the normal ones, at
most 10 000). That choice was written down before the first run. A stream begins with fits of up to
2000 rows, which was chosen on ADBench files that are not among the ten, and on a table of KDD Cup
1999, thyroids and digits.

*Drift.* The normal class is Gaussian, with four factors in ten columns, and moves through 50 chunks
of 500 rows, by one and a half deviations of every column in all. One row in a hundred is an
anomaly: its columns come from independent rows, one and a half times as far from the mean. There
are no labels. 2 % of the rows may be flagged; of normal rows 1 to 2 %. A frozen detector, the same
before the first chunk, stands beside. *Still* is the same without movement: what is told of drift
there is a false signal. So it is of *small*, with chunks of a fifth of the rows. The statistic of
the drift signal was chosen on seeds 0 to 2 of another generator, without anomalies.
"""

import warnings
from copy import deepcopy

import numpy as np
from sklearn.metrics import roc_auc_score

from ..datasets._tables import adbench_paths
from ..exceptions import DriftWarning
from ..recipes import make_hrn_pipeline
from . import data, protocol
from .records import recipe_of, rst_table, spread

MAX_TRAIN = 10_000
MIN_TRAIN = 1000
N_SETS = 10
N_CHUNKS = 20
# Of the drift.
CHUNKS, ROWS, SHARE, RATE, MOVEMENT = 50, 500, 0.01, 0.02, 1.5

# Movement, and the parts that each chunk is cut into.
MOVING = {"drift": (MOVEMENT, 1), "still": (0.0, 1), "small": (0.0, 5)}


def add_arguments(parser):
    parser.add_argument("--splits", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="default: 10")


def settings(args):
    large = []
    for file in sorted(adbench_paths(args.data_home), key=lambda file: file.name):
        if (data.adbench(file.stem, args.data_home)[1] == 1).sum() >= 2 * MIN_TRAIN:
            large.append(file.stem)
    splits, seeds = (range(1 if args.fast else n) for n in (args.splits, args.seeds))
    names = large[: 1 if args.fast else N_SETS]
    return [
        *({"what": "equal", "name": name, "seed": split} for name in names for split in splits),
        *({"what": w, "name": "", "seed": seed} for w in MOVING for seed in seeds),
    ]


def _detector(seed):
    return make_hrn_pipeline("tabular", random_state=seed)


def recipe(settings):
    return recipe_of(_detector(0))


def measure(what, name, seed, data_home=None):
    if what == "equal":
        return _equal(*data.adbench(name, data_home), seed)
    return _drift(seed, *MOVING[what])


def _equal(X, y, split):
    train, test = protocol.one_class_split(y, split, MAX_TRAIN, 10_000)
    stream = _detector(split).set_params(calibration=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DriftWarning)
        for rows in np.array_split(train, N_CHUNKS):
            stream.partial_fit(X[rows])
    n_updates = stream["hrn"].n_updates_
    whole = _detector(split).set_params(calibration=None, hrn__max_updates=n_updates).fit(X[train])
    auc = [100 * roc_auc_score(y[test], d.score_samples(X[test])) for d in (stream, whole)]
    return {"stream": auc[0], "whole": auc[1], "n_updates": n_updates}


def _drift(seed, movement, n_parts):
    n_chunks, n_rows = CHUNKS * n_parts, ROWS // n_parts
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(4, 10))
    direction = rng.choice([-1.0, 1.0], size=10) * np.sqrt((factors**2).sum(axis=0) + 0.1)

    def rows(n, place, share):
        X = rng.normal(size=(n, 4)) @ factors + np.sqrt(0.1) * rng.normal(size=(n, 10))
        y = np.where(rng.random(n) < share, -1, 1)
        mixed = rng.permuted(X, axis=0)
        X[y == -1] = 1.5 * mixed[y == -1]
        return X + place * movement * direction, y

    detector = _detector(seed).set_params(hrn__contamination=RATE).fit(rows(1000, 0.0, 0.0)[0])
    frozen = deepcopy(detector)
    before = frozen.predict(rows(2000, 0.0, 1.0)[0]) == -1
    flagged, still_flagged, labels, told = [], [], [], []
    for chunk in range(n_chunks):
        X, y = rows(n_rows, chunk / (n_chunks - 1), SHARE)
        flagged.append(detector.predict(X) == -1)
        still_flagged.append(frozen.predict(X) == -1)
        labels.append(y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            detector.partial_fit(X)
        told += [chunk] * any(issubclass(w.category, DriftWarning) for w in caught)
    is_normal, flagged = np.concatenate(labels) == 1, np.concatenate(flagged)
    n_last = n_chunks // 5
    last = np.array(still_flagged[-n_last:])[np.array(labels[-n_last:]) == 1]
    return {
        "false_alarms": 100 * float(flagged[is_normal].mean()),
        "found": 100 * float(flagged[~is_normal].mean()),
        "found_frozen_before": 100 * float(before.mean()),
        "false_alarms_frozen_last": 100 * float(last.mean()),
        "told": told,
    }


def render(records):
    texts = []
    equal = [r for r in records if r["settings"]["what"] == "equal"]
    if equal:
        rows = []
        for name in dict.fromkeys(r["settings"]["name"] for r in equal):
            own = [r["figures"] for r in equal if r["settings"]["name"] == name]
            updates = f"{np.mean([f['n_updates'] for f in own]):.0f}"
            figures = [[f[k] for f in own] for k in ("stream", "whole")]
            difference = np.subtract(*figures)
            rows.append([name, updates, *map(spread, figures), spread(difference)])
        means = {k: np.mean([r["figures"][k] for r in equal]) for k in ("stream", "whole")}
        gaps = [r["figures"]["stream"] - r["figures"]["whole"] for r in equal]
        error = np.std(gaps, ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
        mean = [f"{m:.2f}" for m in means.values()]
        rows.append(["mean", "", *mean, f"{np.mean(gaps):+.2f} (standard error {error:.2f})"])
        header = ["AUC", "updates", f"{N_CHUNKS} chunks", "one fit", "difference"]
        texts.append(rst_table(header, rows))
    moving = [r for r in records if r["settings"]["what"] != "equal"]
    if moving:
        rows = []
        for what in dict.fromkeys(r["settings"]["what"] for r in moving):
            movement, n_parts = MOVING[what]
            own = [r["figures"] for r in moving if r["settings"]["what"] == what]
            first = [f["told"][0] + 1 for f in own if f["told"]]
            rows.append(
                [
                    f"{'moves' if movement else 'stays'}, chunks of {ROWS // n_parts}",
                    len(own),
                    *(
                        spread([f[k] for f in own], 1)
                        for k in (
                            "false_alarms",
                            "false_alarms_frozen_last",
                            "found",
                            "found_frozen_before",
                        )
                    ),
                    f"{len(first)} of {len(own)}",
                    f"{np.median(first):.0f}" if first else "",
                ]
            )
        header = ["normal class", "seeds", "false alarms", "frozen, last fifth", "found"]
        header += ["frozen, before", "drift told", "at chunk"]
        texts.append(rst_table(header, rows))
        texts.append(f"All in per cent; {100 * RATE:g} % asked for, {CHUNKS * ROWS} rows in all.")
    return "\n\n".join(texts) + "\n"
