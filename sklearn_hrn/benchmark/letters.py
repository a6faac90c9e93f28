"""A classifier that has learned the digits of MNIST is shown letters: how many does it reject?

Each head keeps a tenth of its digit back and places its threshold so that one row in a hundred of
the digit falls below. The digits of EMNIST, other pens than those of MNIST, tell how much of a
rejection rate is owed to the letter and how much to the other data.
"""

import string

import numpy as np

from ..continual import MAX_ITER, HRNContinualClassifier
from ..one_class import HRNOneClassClassifier
from . import data
from .records import recipe_of, rst_table, spread, with_marks
from .table7 import HEADS, INPUTS

# EMNIST ByMerge: digits, capitals (with the small letters that look the same), other small letters.
CHARACTERS = string.digits + string.ascii_uppercase + "abdefghnqrt"
FALSE_ALARM_RATE = 0.01


def add_arguments(parser):
    allowed = ["paper", "words"]
    parser.add_argument("--inputs", nargs="+", choices=allowed, default=allowed)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: 3")


def settings(args):
    return [
        {
            "input": given,
            "seed": seed,
            "rows_a_digit": 1000 if args.fast else None,
            "parameters": HEADS.get(given, {}),
        }
        for given in args.inputs
        for seed in range(1 if args.fast else args.seeds)
    ]


def make_classifier(seed, parameters):
    """Heads that reject."""
    return HRNContinualClassifier(
        HRNOneClassClassifier(**{"max_iter": MAX_ITER, **parameters}),
        reject_label=-1,
        false_alarm_rate=FALSE_ALARM_RATE,
        validation_fraction=0.1,
        random_state=seed,
    )


def recipe(settings):
    """Digest of the heads, and of the map in front of them."""
    heads = recipe_of(make_classifier(0, settings["parameters"]))
    return f"{recipe_of(INPUTS[settings['input']]())} {heads}"


def measure(input, seed, rows_a_digit, parameters, data_home=None):
    X_train, y_train, X_digits, y_digits = data.images("mnist", data_home)
    _, _, X_characters, y_characters = data.images("emnist47", data_home)
    rows = [np.flatnonzero(y_train == digit)[:rows_a_digit] for digit in range(10)]
    rows = np.concatenate(rows)
    X, y = X_train[rows].astype(np.float32), y_train[rows]
    given = INPUTS[input]().fit(X[y == 0])
    classifier = make_classifier(seed, parameters).fit(given.transform(X), y)

    def answers(images):
        return classifier.predict(given.transform(images.astype(np.float32)))

    of_digits, of_characters = answers(X_digits), answers(X_characters)
    rejected = {
        character: 100 * float((of_characters[y_characters == label] == -1).mean())
        for label, character in enumerate(CHARACTERS)
    }
    return {
        "accuracy": 100 * float((of_digits == y_digits).mean()),
        "rejected_digits": 100 * float((of_digits == -1).mean()),
        "rejected": rejected,
    }


def render(records):
    inputs = list(dict.fromkeys(r["settings"]["input"] for r in records))
    own = {g: [r for r in records if r["settings"]["input"] == g] for g in inputs}
    figures = {given: [r["figures"] for r in runs] for given, runs in own.items()}

    def row(name, figure):
        return [name, *(spread([figure(f) for f in figures[given]]) for given in inputs)]

    def mean_over(characters):
        return lambda f: float(np.mean([f["rejected"][c] for c in characters]))

    rows = [
        ["seeds", *(len(figures[given]) for given in inputs)],
        row("digits of MNIST, answered right", lambda f: f["accuracy"]),
        row("digits of MNIST, rejected", lambda f: f["rejected_digits"]),
        row("digits of EMNIST, rejected", mean_over(CHARACTERS[:10])),
        row("letters of EMNIST, rejected", mean_over(CHARACTERS[10:])),
        *(row(f"letter {c}", mean_over(c)) for c in CHARACTERS[10:]),
    ]
    header = ["share in per cent", *(with_marks(f"{g} input", own[g]) for g in inputs)]
    return f"{rst_table(header, rows)}\n"
