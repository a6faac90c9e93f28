"""Recipes as ONNX graphs beside themselves: scores, labels, and the time of one row.

Half of scikit-learn's pictures of a three train each recipe, all other pictures and the other half
are scored by onnxruntime and by Python. A label is counted as another one where it differs and the
score is further from the threshold than the largest difference of scores.
"""

import time

import numpy as np
from sklearn.datasets import load_digits

from ..recipes import RECIPES, make_hrn_pipeline
from .records import recipe_of, rst_table

N_CALLS = 200


def add_arguments(parser):
    pass


def settings(args):
    return [{"recipe": kind} for kind in RECIPES][: 1 if args.fast else None]


def _detector(kind):
    detector = make_hrn_pipeline(kind, random_state=0).set_params(hrn__contamination=0.05)
    if kind == "image":  # the pictures are of 8 by 8 pixels
        detector.set_params(words__transformer__patch_size=3)
    return detector


def recipe(settings):
    return recipe_of(_detector(settings["recipe"]))


def measure(recipe, data_home=None):
    import onnxruntime

    from ..interop import to_onnx  # which imports PyOD where it is there

    X, digit = load_digits(return_X_y=True)
    train = np.flatnonzero(digit == 3)[::2]
    detector = _detector(recipe).fit(X[train])
    rows = np.delete(X, train, axis=0)
    start = time.perf_counter()
    graph = to_onnx(detector).SerializeToString()
    seconds = time.perf_counter() - start
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    labels, decision, scores = (np.ravel(out) for out in session.run(None, {name: rows}))
    expected = detector.score_samples(rows)
    difference = np.abs(scores - expected).max()
    is_other = labels != detector.predict(rows)
    is_other &= np.abs(detector.decision_function(rows)) > difference
    one = rows[:1]
    return {
        "difference": float(difference / expected.std()),
        "decision": float(
            np.abs(decision - detector.decision_function(rows)).max() / expected.std()
        ),
        "other_labels": int(is_other.sum()),
        "rows": len(rows),
        "bytes": len(graph),
        "export_seconds": round(seconds, 2),
        "one_row": 1e6 * _seconds(lambda: session.run(None, {name: one})),
        "one_row_python": 1e6 * _seconds(lambda: detector.predict(one)),
    }


def _seconds(call):
    """The median of many calls."""
    found = []
    for _ in range(N_CALLS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def render(records):
    rows = []
    for r in records:
        f = r["figures"]
        rows.append(
            [
                r["settings"]["recipe"],
                f"{f['difference']:.0e}",
                f"{f['other_labels']} of {f['rows']}",
                f"{f['one_row']:.0f} µs",
                f"{f['one_row_python']:.0f} µs",
                f"{f['bytes'] / 1e6:.1f} MB",
                f"{f['export_seconds']:.1f} s",
            ]
        )
    header = ["recipe", "largest difference", "other labels", "one row, onnxruntime"]
    header += ["one row, Python", "size", "to make it"]
    text = "Differences of scores are in units of their deviation; times of a row are medians of "
    return f"{rst_table(header, rows)}\n\n{text}{N_CALLS} calls, one thread.\n"
