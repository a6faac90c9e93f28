"""A classifier that has learned the digits of MNIST is shown letters: how many does it reject?

Each head keeps a tenth of its digit back and places its threshold so that one row in a hundred of
the digit falls below. The digits of EMNIST, other pens than those of MNIST, tell how much of a
rejection rate is owed to the letter and how much to the other data.
"""

import string
from functools import cache

import numpy as np

from .. import datasets
from ..continual import MAX_ITER, HRNContinualClassifier
from ..one_class import HRNOneClassClassifier
from .records import rst_table, spread
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


@cache
def _data(data_home):
    return datasets.fetch_mnist(data_home=data_home), datasets.fetch_emnist47(data_home=data_home)


def measure(input, seed, rows_a_digit, parameters, data_home=None):
    digits, characters = _data(data_home)
    rows = [np.flatnonzero(digits.y_train == digit)[:rows_a_digit] for digit in range(10)]
    rows = np.concatenate(rows)
    X, y = digits.X_train[rows].astype(np.float32), digits.y_train[rows]
    given = INPUTS[input]().fit(X[y == 0])
    classifier = HRNContinualClassifier(
        HRNOneClassClassifier(**{"max_iter": MAX_ITER, **parameters}),
        reject_label=-1,
        false_alarm_rate=FALSE_ALARM_RATE,
        validation_fraction=0.1,
        random_state=seed,
    ).fit(given.transform(X), y)

    def answers(images):
        return classifier.predict(given.transform(images.astype(np.float32)))

    of_digits, of_characters = answers(digits.X_test), answers(characters.X_test)
    rejected = {
        character: 100 * float((of_characters[characters.y_test == label] == -1).mean())
        for label, character in enumerate(CHARACTERS)
    }
    return {
        "accuracy": 100 * float((of_digits == digits.y_test).mean()),
        "rejected_digits": 100 * float((of_digits == -1).mean()),
        "rejected": rejected,
    }


def render(records):
    inputs = list(dict.fromkeys(r["settings"]["input"] for r in records))
    figures = {g: [r["figures"] for r in records if r["settings"]["input"] == g] for g in inputs}

    def row(name, figure):
        return [name, *(spread([figure(f) for f in figures[given]]) for given in inputs)]

    def mean_over(characters):
        return lambda f: float(np.mean([f["rejected"][c] for c in characters]))

    rows = [
        row("digits of MNIST, answered right", lambda f: f["accuracy"]),
        row("digits of MNIST, rejected", lambda f: f["rejected_digits"]),
        row("digits of EMNIST, rejected", mean_over(CHARACTERS[:10])),
        row("letters of EMNIST, rejected", mean_over(CHARACTERS[10:])),
        *(row(f"letter {c}", mean_over(c)) for c in CHARACTERS[10:]),
    ]
    return f"{rst_table(['share in per cent', *(f'{g} input' for g in inputs)], rows)}\n"
