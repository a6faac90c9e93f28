"""Ten rounds of verdicts: does the rate hold, and are more anomalies found?

A third of the normal rows of an ADBench set, 1500 at most, trains the calibrated recipe, at 5 %
asked. Every round screens 300 rows drawn from another third and six anomalies of one half, and all
that is flagged gets its true label as the verdict. *Threshold* is a detector that keeps no rows to
train on, so that its threshold alone learns. After every round the last third of the normal rows
and the other half of the anomalies, which no verdict is ever given on, are scored. Sets with 900
normal rows and 60 anomalies or more.

How long verdicts train and the weight of anomalies among them were chosen on the sets at odd places
of the alphabetical order, at other draws; the others confirm.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from ..datasets._tables import adbench_paths
from ..recipes import make_hrn_pipeline
from . import data
from .records import recipe_of, rst_table

# Rows that a detector keeps to train on.
METHODS = {"threshold": 0, "trained": 500}
ROUNDS, SCREENED, ANOMALIES, RATE = 10, 300, 6, 0.05
MIN_NORMAL, MIN_ANOMALIES, MAX_TRAIN, MAX_TEST = 900, 60, 1500, 3000


def add_arguments(parser):
    parser.add_argument("--splits", type=int, default=5, metavar="N", help="default: 5")


def settings(args):
    sets = []
    for place, file in enumerate(sorted(adbench_paths(args.data_home), key=lambda f: f.name), 1):
        y = data.adbench(file.stem, args.data_home)[1]
        if (y == 1).sum() >= MIN_NORMAL and (y == -1).sum() >= MIN_ANOMALIES:
            sets.append({"name": file.stem, "chosen_on": place % 2 == 1})
    splits = range(1, 1 + (1 if args.fast else args.splits))
    return [
        {**of_set, "method": method, "split": split}
        for of_set in (sets[:1] if args.fast else sets)
        for split in splits
        for method in METHODS
    ]


def _detector(seed):
    return make_hrn_pipeline("tabular", random_state=seed).set_params(hrn__contamination=RATE)


def recipe(settings):
    return recipe_of(_detector(0))


def parts(y, split):
    """Rows to train on, to screen and to test: (training, (normal, anomalies), (the same))."""
    rng = np.random.default_rng(split)
    train, pool, fresh = np.array_split(rng.permutation(np.flatnonzero(y == 1)), 3)
    screened, held_out = np.array_split(rng.permutation(np.flatnonzero(y == -1)), 2)
    return np.sort(train[:MAX_TRAIN]), (pool, screened), (fresh[:MAX_TEST], held_out[:MAX_TEST])


def measure(name, chosen_on, method, split, data_home=None):
    X, y = data.adbench(name, data_home)
    train, pools, test = parts(y, split)
    detector = _detector(split).set_params(reference_rows=METHODS[method]).fit(X[train])
    rng = np.random.default_rng(split)
    figures = {"auc": [], "false_alarms": [], "found": []}
    for done in range(ROUNDS + 1):
        if done:
            drawn = [
                rng.choice(pool, n) for pool, n in zip(pools, (SCREENED, ANOMALIES), strict=True)
            ]
            rows = np.concatenate(drawn)
            rows = rows[detector.predict(X[rows]) == -1]
            if len(rows):
                detector.feedback(X[rows], y[rows], n_screened=SCREENED + ANOMALIES)
        labels = np.repeat([1, -1], [*map(len, test)])
        rows = np.concatenate(test)
        is_flagged = detector.predict(X[rows]) == -1
        figures["auc"].append(100 * roc_auc_score(labels, detector.score_samples(X[rows])))
        figures["false_alarms"].append(100 * is_flagged[labels == 1].mean())
        figures["found"].append(100 * is_flagged[labels == -1].mean())
    return figures


def render(records):
    rows = []
    for which, places in (("all sets", (True, False)), ("not chosen on", (False,))):
        for method in METHODS:
            own = [r for r in records if r["settings"]["method"] == method]
            own = [r for r in own if r["settings"]["chosen_on"] in places]
            names = dict.fromkeys(r["settings"]["name"] for r in own)
            of_sets = [[r["figures"] for r in own if r["settings"]["name"] == n] for n in names]
            if not of_sets:
                continue
            alarms, found, auc = (
                np.array([np.mean([f[key] for f in of_set], axis=0) for of_set in of_sets])
                for key in ("false_alarms", "found", "auc")
            )
            realised = alarms[:, 1:].mean(axis=1)  # over the rounds, as users live through them
            rows.append(
                [
                    *(which, method, len(names), len(own), f"{realised.mean():.2f}"),
                    f"{realised.min():.1f} to {realised.max():.1f}",
                    *(f"{found.mean(axis=0)[k]:.1f}" for k in (0, 1, -1)),
                    *(f"{auc.mean(axis=0)[k]:.2f}" for k in (0, 1, -1)),
                ]
            )
    header = ["", "learns", "sets", "runs", "false alarms", "of the sets"]
    header += ["found before", "after 1", "after 10", "AUC before", "after 1", "after 10"]
    text = f"All in per cent; {100 * RATE:g} % asked. False alarms are means over ten rounds."
    return f"{rst_table(header, rows)}\n\n{text}\n"
