"""Detectors of today beside ours on ADBench files: quality, time, and what each takes and keeps.

The rows, splits and seeds are those of `adbench`. *Kept* is the size of the fitted detector as a
pickle, which is what scoring needs. EllipticEnvelope and ICL are not tried beyond 500 columns,
where they would take hours, and count as guessing there, as what fails does. Peers see z-scores of
the columns unless their name says otherwise; `OUR_FEATURES` are those of the tabular recipe.
"""

import numpy as np
from scipy.stats import rankdata

from . import adbench, protocol
from .adbench import measure, recipe  # noqa: F401 - parts of a table
from .peers import OUR_FEATURES, UNSCALED
from .records import rst_table, spread, with_marks

OURS = "HRN tabular"
PEERS = (
    *("IsolationForest", "OneClassSVM", "LocalOutlierFactor", "EllipticEnvelope"),
    *("nearest neighbours", f"nearest neighbours{UNSCALED}", OUR_FEATURES),
    *("DTE without a network", "isotree", "PyOD ECOD", "PyOD COPOD", "PyOD LUNAR"),
    *("PyOD DeepSVDD", "PyOD AutoEncoder", "DeepOD ICL", "DeepOD NeuTraL", "DeepOD SLAD"),
)


def add_arguments(parser):
    adbench.add_arguments(parser, PEERS)
    parser.add_argument("--plot", metavar="FILE", help="draw the mean ranks (matplotlib)")


def settings(args):
    return adbench.settings(args, PEERS)


def complete(records):
    """The records of the sets and splits that all methods have run on."""
    methods = {r["settings"]["method"] for r in records}
    seen = {}
    for r in records:
        seen.setdefault(_place(r), set()).add(r["settings"]["method"])
    return [r for r in records if seen[_place(r)] == methods]


def _place(record):
    return record["settings"]["dataset"], record["settings"]["split"]


def mean_ranks(records):
    """Ranks and AUCs by method, best first.

    Parameters
    ----------
    records : list of dict
        As of `complete`.

    Returns
    -------
    ranks : dict of str to float
        Means over the sets.
    auc : dict of str to ndarray of shape (n_sets,)
        Means over the splits.
    """
    methods = list(dict.fromkeys(r["settings"]["method"] for r in records))
    datasets = list(dict.fromkeys(r["settings"]["dataset"] for r in records))
    values = protocol.means_by_set(records, methods, datasets, "auc")
    auc = np.nanmean(values, axis=2)  # (methods, sets)
    ranks = rankdata(-auc, axis=0).mean(axis=1)
    order = np.argsort(ranks, kind="stable")
    return {methods[i]: float(ranks[i]) for i in order}, {methods[i]: auc[i] for i in order}


def render(records):
    records = complete(records)
    ranks, auc = mean_ranks(records)
    n_sets = len(next(iter(auc.values())))
    rows = []
    for method, rank in ranks.items():
        own = [r for r in records if r["settings"]["method"] == method]
        splits = sorted({r["settings"]["split"] for r in own})

        def over_splits(name, own=own, splits=splits):
            means = [
                [r["figures"][name] for r in own if r["settings"]["split"] == s] for s in splits
            ]
            return spread([np.mean(values) for values in means])

        lead = auc[method] - auc[OURS] if OURS in auc else np.zeros(n_sets)
        error = lead.std(ddof=1) / np.sqrt(n_sets) if n_sets > 1 else np.nan
        is_other = OURS in auc and method != OURS
        rows.append(
            [
                with_marks(method, own),
                len(splits),
                over_splits("auc"),
                over_splits("average_precision"),
                f"{rank:.2f}",
                f"{lead.mean():+.2f} ± {error:.2f}" if is_other else "",
                f"{(lead > 0).sum()}" if is_other else "",
                _median(own, "fit_seconds", 1, 2),
                _median(own, "score_seconds", 1, 2),
                _median(own, "kept_bytes", 1e-3, 0),
                sum("error" in r["figures"] for r in own),
            ]
        )
    header = ["method", "splits", "AUC", "average precision", "mean rank", f"AUC over {OURS}"]
    header += ["sets ahead of it", "fit s", "score s", "kept kB", "failed"]
    text = f"{n_sets} sets; seconds and sizes are medians over runs, differences ± their standard "
    text += "error over sets."
    if len(ranks) > 1:
        distance = protocol.critical_difference(len(ranks), n_sets)
        text += f" Critical difference of mean ranks (Nemenyi, 5 %): {distance:.2f}."
    return f"{rst_table(header, rows)}\n\n{text}\n"


def _median(records, name, scale, digits):
    values = [r["figures"].get(name) for r in records]
    values = [value for value in values if value is not None]
    return f"{scale * np.median(values):.{digits}f}" if values else ""


def plot(records, path):
    """The mean ranks on a line; methods that no difference parts are under one bar."""
    from matplotlib import pyplot

    ranks, auc = mean_ranks(complete(records))
    values = np.array(list(ranks.values()))
    distance = protocol.critical_difference(len(ranks), len(next(iter(auc.values()))))
    figure, axis = pyplot.subplots(figsize=(9, 0.3 * len(ranks) + 1.5), layout="constrained")
    axis.plot(values, np.zeros(len(values)), "ko", markersize=4, clip_on=False)
    half = -(-len(ranks) // 2)
    for i, (name, rank) in enumerate(ranks.items()):
        is_left = i < half
        height = -2 - (i if is_left else len(ranks) - 1 - i)
        end = values[0] - 0.3 if is_left else values[-1] + 0.3
        axis.plot([rank, rank, end], [0, height, height], color="grey", linewidth=0.8)
        align = "right" if is_left else "left"
        axis.text(end, height, f" {name} {rank:.2f} ", ha=align, va="center")
    last, height = -1, 0.6
    for i, rank in enumerate(values):
        end = int(np.flatnonzero(values <= rank + distance)[-1])
        if end > max(last, i):
            axis.plot([rank - 0.05, values[end] + 0.05], [height, height], "k", linewidth=3)
            last, height = end, height + 0.6
    margin = 0.7 * (values[-1] - values[0])
    axis.set_xlim(values[0] - margin, values[-1] + margin)
    axis.set_ylim(-2.5 - half, height + 0.5)
    axis.set_xlabel(f"mean rank by AUC; critical difference {distance:.2f}")
    axis.yaxis.set_visible(False)
    axis.spines[["left", "right", "top"]].set_visible(False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
