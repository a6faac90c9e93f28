"""``python -m sklearn_hrn.benchmark TABLE``: repeat a table."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from . import records

# Table -> module and one line of help.
TABLES = {
    "speed": ("speed", "time and memory, beside the floor, plain torch and peers"),
    "table1": ("images", "every class of MNIST, Fashion-MNIST and CIFAR-10 in turn"),
    "table3": ("images", "ablations of loss, regularisation and normalisation on images"),
    "table5": ("images", "other classes among the training images"),
    "table2": ("table2", "tables of numbers: KDDCUP99, Thyroid, Arrhythmia"),
    "table4": ("table4", "frozen features of a pre-trained network"),
    "table6": ("table6", "stop signs under an adversarial attack"),
    "table7": ("table7", "continual learning: MNIST, EMNIST-47, DBPedia-14"),
    "letters": ("letters", "letters shown to a classifier of digits: how many it rejects"),
    "adbench": ("adbench", "any folder of ADBench files"),
    "image_choice": ("image_choice", "settings of the image recipe, on training files"),
    "decisions": ("decisions", "false alarms of calibrated recipes on fresh rows"),
    "choice": ("choice", "choosing parameters without labels, on ADBench files"),
}
# Runs that a table shows of another one: the method as published is the last step of the ablations,
# and the share of noise of which there is none.
BORROWED = {name: ("table1", {"variant": "HRN"}) for name in ("table3", "table5")}


def module_of(table):
    return import_module(f".{TABLES[table][0]}", __package__)


def borrowed(table, path):
    """Records of the file beside that of a table, that the table shows as well."""
    if table not in BORROWED:
        return []
    other, wanted = BORROWED[table]
    found = load(other, Path(path).with_name(f"{other}.jsonl"))
    return [r for r in found if wanted.items() <= r["settings"].items()]


def load(table, path):
    """All records that a table is made of."""
    own = records.load(path, getattr(module_of(table), "recipe", None))
    return [*borrowed(table, path), *own]


def rendered(table, done):
    """The table as reStructuredText, with what its marks mean."""
    text = module_of(table).render(done).strip()
    return f"{text}\n{records.legend(text)}"


def make_parser():
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_hrn.benchmark",
        description="Repeat a table. Finished runs are kept as JSON lines and not done again.",
    )
    tables = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, (_, text) in TABLES.items():
        table = tables.add_parser(name, help=text, description=text)
        table.add_argument("--output", metavar="FILE", help="default: results/TABLE.jsonl")
        table.add_argument(
            "--data-home",
            metavar="DIR",
            help="folder of local copies of the data; default: the environment variable "
            "SKLEARN_HRN_DATA, else what has a public source is downloaded",
        )
        table.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time")
        table.add_argument("--fast", action="store_true", help="less of it, in under a minute")
        table.add_argument("--quiet", action="store_true", help="no progress")
        table.add_argument(
            "--render", action="store_true", help="run nothing, show what the file holds"
        )
        module_of(name).add_arguments(table)
    return parser


def main(arguments=None):
    args = make_parser().parse_args(arguments)
    table = module_of(args.table)
    path = args.output or f"results/{args.table}.jsonl"
    if args.render:
        done = load(args.table, path)
        if not done:
            sys.exit(f"{path} holds no runs: leave out --render to do them.")
    else:
        done = records.run(
            table.measure,
            table.settings(args),
            path,
            recipe=getattr(table, "recipe", None),
            borrowed=borrowed(args.table, path),
            data_home=args.data_home,
            n_jobs=args.jobs,
            verbose=not args.quiet,
        )
    print(rendered(args.table, done), end="")
    if getattr(args, "plot", None):
        table.plot(done, args.plot)


if __name__ == "__main__":
    main()
