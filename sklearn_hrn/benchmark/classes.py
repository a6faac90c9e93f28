"""What a class costs that is learned after many others: seconds, bytes, and seconds of an answer.

Classes are clouds of unit rows, learned one by one; seconds are those of the processor.
"""

import pickle
import time

import numpy as np

from ..continual import HRNContinualClassifier
from ..one_class import HRNOneClassClassifier
from .records import recipe_of, rst_table, spread, with_marks

N_FEATURES, N_ROWS, N_ASKED = 64, 50, 200
STEPS = (1, 10, 30, 100, 300, 1000)


def add_arguments(parser):
    parser.add_argument("--most", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="default: 1")


def settings(args):
    return [
        {"classes": 10 if args.fast else args.most, "seed": seed}
        for seed in range(1 if args.fast else args.seeds)
    ]


def make_classifier(seed):
    """Heads of 50 units and 20 epochs."""
    return HRNContinualClassifier(HRNOneClassClassifier(50, max_iter=20), random_state=seed)


def recipe(settings):
    """Digest of the heads."""
    return recipe_of(make_classifier(0))


def measure(classes, seed, data_home=None):
    rng = np.random.default_rng(seed)
    asked = _unit(rng.normal(size=(N_ASKED, N_FEATURES)))
    make_classifier(seed).partial_fit(asked, np.zeros(N_ASKED))
    classifier, curve, learned, seconds = make_classifier(seed), [], 0, 0.0
    for k in range(classes):
        X = _unit(rng.normal(size=N_FEATURES) + 0.5 * rng.normal(size=(N_ROWS, N_FEATURES)))
        start = time.process_time()
        classifier.partial_fit(X, np.full(N_ROWS, k))
        seconds += time.process_time() - start
        if k + 1 in STEPS:
            start = time.process_time()
            classifier.predict(asked)
            answer = (time.process_time() - start) / N_ASKED / (k + 1)
            size = len(pickle.dumps(classifier)) / (k + 1)
            curve.append([k + 1, seconds / (k + 1 - learned), size, answer])
            learned, seconds = k + 1, 0.0
    return {"curve": curve}


def _unit(X):
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def render(records):
    points = {}
    for r in records:
        for k, *values in r["figures"]["curve"]:
            points.setdefault(k, []).append(values)
    rows = []
    for k, values in sorted(points.items()):
        seconds, size, answer = zip(*values, strict=True)
        cells = [1e3 * np.array(seconds), np.array(size) / 1e3, 1e6 * np.array(answer)]
        rows.append([k, len(values), *(spread(c, 1) for c in cells)])
    header = [with_marks("classes", records), "runs", "ms to learn one", "kB of one"]
    return f"{rst_table([*header, 'µs to ask one of a row'], rows)}\n"
