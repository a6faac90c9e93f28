"""``python -m sklearn_hrn.benchmark TABLE``: repeat a table."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from . import figures, records

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
    "classes": ("classes", "what a class costs that is learned after many others"),
    "letters": ("letters", "letters shown to a classifier of digits: how many it rejects"),
    "adbench": ("adbench", "any folder of ADBench files"),
    "peers": ("comparison", "detectors of today on ADBench files: quality, time and size"),
    "tables": ("tables", "tables with a glitch, words and gaps, groups of anomalies; wide tables"),
    "image_choice": ("image_choice", "settings of the image recipe, on training files"),
    "decisions": ("decisions", "false alarms of calibrated recipes on fresh rows"),
    "feedback": ("feedback", "ten rounds of verdicts: the rate, and the anomalies found"),
    "choice": ("choice", "choosing parameters without labels, on ADBench files"),
    "search": ("search", "the paper's search for lambda and n, on held-out rows of MNIST"),
    "attribution": ("attribution", "which columns made a row strange, where that is known"),
    "onnx": ("graphs", "recipes as ONNX graphs: scores, labels and the time of one row"),
    "streams": ("streams", "learning in chunks beside one fit, and a normal class that moves"),
    "claims": ("claims", "the paper's claims, each with a verdict"),
}
# Runs that a table shows of others, by their settings: the method as published is the last step of
# the ablations, and the share of noise of which there is none, as that of the image recipe is;
# claims are read off several tables.
BORROWED = {
    "table3": {"table1": [{"variant": "HRN"}]},
    "table5": {"table1": [{"variant": "HRN"}, {"variant": "image recipe"}]},
    "claims": {f"table{k}": [{}] for k in (1, 2, 3, 5, 6, 7)} | {"letters": [{}], "search": [{}]},
}
DOCS = "docs"


def module_of(table):
    return import_module(f".{TABLES[table][0]}", __package__)


def borrowed(table, path):
    """Records of the files beside that of a table, that the table shows as well."""
    found = []
    for other, wanted in BORROWED.get(table, {}).items():
        own = records.load(
            Path(path).with_name(f"{other}.jsonl"), getattr(module_of(other), "recipe", None)
        )
        found += [r for r in own if any(w.items() <= r["settings"].items() for w in wanted)]
    return found


def load(table, path):
    """All records that a table is made of."""
    own = records.load(path, getattr(module_of(table), "recipe", None))
    return records.last_of_each([*borrowed(table, path), *own])


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
    docs = tables.add_parser(DOCS, help="write the texts that the documentation includes")
    docs.add_argument("--folder", metavar="DIR", default="docs/results", help="of the records")
    return parser


def main(arguments=None):
    parser = make_parser()
    args = parser.parse_args(arguments)
    for name, value in vars(args).items():
        # Every whole number is a count; joblib counts processes from the other end as well.
        if type(value) is int and value < 1 and (name != "jobs" or value == 0):
            parser.error(f"--{name.replace('_', '-')} must be 1 or more, got {value}")
    try:
        if args.table == DOCS:
            figures.write(args.folder, rendered, load)
        else:
            _run(args)
    except (ImportError, OSError) as error:  # a package, data or a place that is not there
        sys.exit(str(error))


def _run(args):
    table = module_of(args.table)
    path = args.output or f"results/{args.table}.jsonl"
    try:
        done = load(args.table, path)
        text = rendered(args.table, done) if args.render and done else None
    except KeyError as error:
        sys.exit(
            f"{path} holds runs of another table than {args.table}, without the setting {error}: "
            "give another file as --output."
        )
    if args.render and not done:
        sys.exit(f"{path} holds no runs: leave out --render to do them.")
    if not args.render:
        others = borrowed(args.table, path)
        try:
            settings = table.settings(args)
        except ValueError as error:  # names that the table does not know
            sys.exit(str(error))
        done = records.run(
            table.measure,
            settings,
            path,
            recipe=getattr(table, "recipe", None),
            borrowed=others,
            data_home=args.data_home,
            n_jobs=args.jobs,
            verbose=not args.quiet,
        )
        done = records.last_of_each([*others, *done])
        text = rendered(args.table, done)
    print(text, end="")
    if getattr(args, "plot", None):
        table.plot(done, args.plot)


if __name__ == "__main__":
    main()
