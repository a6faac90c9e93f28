"""The main job without a line of Python: ``python -m sklearn_hrn fit`` and ``score``."""

import argparse
import pickle
import re
import sys
import warnings
from pathlib import Path

from .datasets._local import writing
from .exceptions import warn
from .recipes import RECIPES, make_hrn_pipeline

# Ending of a table of text -> what separates its cells. A file without an ending is CSV.
SEPARATORS = {".csv": ",", "": ",", ".tsv": "\t"}

# What pandas reads text through.
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")

# A date of ISO 8601, maybe with the time of day and its zone.
DATE = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?"


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str, default=None
        None takes those of the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m sklearn_hrn", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="{fit,score}")
    fit = commands.add_parser("fit", help="learn what is normal from a table of normal rows")
    fit.add_argument("table", type=Path, help="a .csv, .tsv or .parquet file, a row a line")
    fit.add_argument("--kind", choices=sorted(RECIPES), default="tabular", help="the recipe")
    rate = "contamination: share of fresh normal rows to flag (0.01)"
    fit.add_argument("--rate", type=float, default=0.01, help=rate)
    fit.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    fit.add_argument("-o", "--output", type=Path, required=True, help="a file for the detector")
    fit.set_defaults(run=_fit)
    score = commands.add_parser("score", help="score the rows of a table, as CSV")
    score.add_argument("detector", type=Path, help="a file of `fit`; a pickle runs code: trust it")
    score.add_argument("table", type=Path, help="a file as for `fit`, with the same columns")
    score.add_argument(
        "-o",
        "--output",
        type=Path,
        help="a .csv, .tsv or .parquet file; else CSV on the standard output",
    )
    score.set_defaults(run=_score)
    options = parser.parse_args(arguments)
    try:
        _kind_of_table(options.table, is_read=True)
        _check_output(options)
        options.run(options)
    except (ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        parser.exit(1, f"{error}\n")


def _fit(options):
    if not 0 < options.rate <= 0.5:
        raise ValueError(f"--rate must be above 0 and at most 0.5, got {options.rate}.")
    kind = options.output.suffix.lower()
    if kind in (".csv", ".tsv", ".parquet"):
        raise ValueError(
            f"{options.output} has the name of a table, but a detector is written: give a name "
            "that ends in .skops, .onnx or .pkl."
        )
    if kind == ".skops":  # before the work
        _skops()
    detector = make_hrn_pipeline(options.kind, random_state=options.seed)
    # Rows of the table have no place in a file that others may get.
    detector.set_params(hrn__contamination=options.rate, reference_rows=0)
    detector.fit(_table(options.table))
    if kind == ".skops":
        data = _skops().dumps(detector)
    elif kind == ".onnx":
        from .interop import to_onnx

        data = to_onnx(detector).SerializeToString()
    else:
        data = pickle.dumps(detector)
    with writing(options.output) as file:
        file.write(data)


def _score(options):
    import pandas as pd

    kind = None if options.output is None else _kind_of_table(options.output)
    detector = _detector(options.detector)
    X = _table(options.table, _words(detector))
    scores = detector.score_samples(X)
    answers = {"score": scores, "label": (scores >= detector.offset_) * 2 - 1}
    if hasattr(detector, "p_values"):
        answers["p_value"] = detector.p_values(X)
    answers = pd.DataFrame(answers)
    if kind is None:
        sys.stdout.write(answers.to_csv(index=False))
        return
    if kind == ".parquet":
        data = answers.to_parquet()
    else:
        data = answers.to_csv(index=False, sep=SEPARATORS[kind]).encode()
    with writing(options.output) as file:
        file.write(data)


def _check_output(options):
    """Refuse, before the work, an output that cannot be written or is an input."""
    output = options.output
    if output is None:
        return
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{output} cannot be written: there is no folder {output.parent}.")
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder: give the name of a file in it.")
    for given in (options.table, getattr(options, "detector", options.table)):
        if output.exists() and given.exists() and output.samefile(given):
            raise ValueError(f"{output} would be overwritten, but is read here: give another name.")


def _detector(path):
    data, kind = path.read_bytes(), path.suffix.lower()
    if kind == ".onnx":
        raise ValueError(f"{path} is a graph of ONNX: run it by onnxruntime, or fit a .skops file.")
    files = _skops() if kind == ".skops" else None
    try:
        if files is None:
            detector = pickle.loads(data)
        else:
            from .interop import trusted_types

            detector = files.loads(data, trusted=trusted_types())
    except Exception as error:  # of whatever kind the bytes of a broken or foreign file raise
        raise ValueError(
            f"{path} cannot be read as a detector: {type(error).__name__}: {error}"
        ) from error
    if not (hasattr(detector, "score_samples") and hasattr(detector, "offset_")):
        raise ValueError(f"{path} holds no fitted detector but a {type(detector).__name__}.")
    return detector


def _kind_of_table(path, is_read=False):
    """The ending of a table, which says what it holds; what is read may be compressed text."""
    kind = path.suffix.lower()
    is_compressed = is_read and kind in COMPRESSED
    if is_compressed:
        kind = Path(path.stem).suffix.lower()
    if kind in SEPARATORS or (kind == ".parquet" and not is_compressed):
        return kind
    raise ValueError(
        f"{path} ends in {path.suffix}, but tables are .csv, .tsv or .parquet"
        + (", and the first two may be compressed, as in .csv.gz." if is_read else ".")
    )


def _words(detector):
    """The columns in which a detector knows text alone, which may read as numbers in some rows."""
    for _, step in getattr(detector, "steps", ()):
        if hasattr(step, "kinds_") and hasattr(step, "feature_names_in_"):
            known = zip(step.feature_names_in_, step.kinds_, step.surprise_, strict=True)
            return [
                name
                for name, kind, words in known
                if kind == "category" and all(isinstance(word, str) for word in words)
            ]
    return []


def _table(path, words=()):
    """A table of a file; the cells of some columns are words, whatever they look like."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("Reading a table needs pandas: pip install pandas.") from error
    separator = SEPARATORS.get(_kind_of_table(path, is_read=True))
    try:
        if separator:  # types are those of whole columns, not of a part of them at a time
            types = dict.fromkeys(words, str)
            table = pd.read_csv(path, sep=separator, dtype=types, low_memory=False)
        else:
            table = pd.read_parquet(path)
    except Exception as error:  # of whatever kind the bytes of a broken or foreign file raise
        if isinstance(error, ImportError | MemoryError) or getattr(error, "filename", None):
            raise
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    if not len(table):
        raise ValueError(f"{path} has no rows.")
    # pandas takes cells that have no name for the numbers of the rows.
    if separator and not table.index.equals(pd.RangeIndex(len(table))):
        raise ValueError(
            f"the lines of {path} have more cells than its first line has names of columns: name "
            "every column."
        )
    if separator:
        _check_header(path, table.columns.tolist(), separator)
        for j, name in enumerate(table.columns):
            if name not in words:
                table.isetitem(j, _as_dates(table.iloc[:, j]))
    return table


def _as_dates(column):
    """A column of dates of ISO 8601, which a text file cannot say, as such; others as they are."""
    import pandas as pd

    texts = column.dropna()
    if not len(texts) or not all(isinstance(text, str) for text in texts):
        return column
    forms = [re.fullmatch(DATE, text) for text in texts]
    if not all(forms) or len({form["zone"] is None for form in forms}) > 1:
        return column
    try:
        return pd.to_datetime(column, format="ISO8601", utc=forms[0]["zone"] is not None)
    except ValueError:  # no day of the calendar
        return column


def _check_header(path, names, separator):
    """Refuse a table of other separators; doubt a first line that names no columns."""
    others = set(",;\t|") - {separator}
    if len(names) == 1 and any(other in names[0] for other in others):
        wanted = "tabs" if separator == "\t" else "commas"
        raise ValueError(
            f"{path} has one column, {names[0]!r}: its cells must be separated by {wanted}, and "
            "fractions be written with a point."
        )
    numbers = [name for name in names if re.fullmatch(r"-?\d*\.\d+(e[+-]?\d+)?", name)]
    if numbers:
        warn(
            f"the first line of {path} is taken for the names of the columns, but holds numbers, "
            f"such as {numbers[0]}: write a line of names above it.",
            UserWarning,
        )
    if names[0] == "Unnamed: 0":
        warn(
            f"the first column of {path} has no name, as the numbers of the rows have where a data "
            "frame was written with its index, and is learned like all others: write it by "
            "to_csv(index=False).",
            UserWarning,
        )


def _skops():
    try:
        import skops.io
    except ImportError as error:
        raise ImportError("A .skops file needs skops: pip install 'sklearn-hrn[skops]'.") from error
    return skops.io


if __name__ == "__main__":
    # There is no line of the user's for a warning to name.
    warnings.formatwarning = lambda message, kind, *_: f"{kind.__name__}: {message}\n"
    main()
