"""The main job without a line of Python: ``python -m sklearn_hrn fit`` and ``score``."""

import argparse
import pickle
import sys
from pathlib import Path

from .datasets._local import writing
from .recipes import RECIPES, make_hrn_pipeline


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
    fit.add_argument("table", type=Path, help="a .csv or .parquet file, a row a line")
    fit.add_argument("--kind", choices=sorted(RECIPES), default="tabular", help="the recipe")
    fit.add_argument("--rate", type=float, default=0.01, help="normal rows to flag (0.01)")
    fit.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    fit.add_argument("-o", "--output", type=Path, required=True, help="a file for the detector")
    fit.set_defaults(run=_fit)
    score = commands.add_parser("score", help="score the rows of a table, as CSV")
    score.add_argument("detector", type=Path, help="a file of `fit`; a pickle runs code: trust it")
    score.add_argument("table", type=Path, help="a .csv or .parquet file with the same columns")
    score.add_argument("-o", "--output", type=Path, help="a .csv file; else the standard output")
    score.set_defaults(run=_score)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


def _fit(options):
    detector = make_hrn_pipeline(options.kind, random_state=options.seed)
    # Rows of the table have no place in a file that others may get.
    detector.set_params(hrn__contamination=options.rate, reference_rows=0)
    detector.fit(_table(options.table))
    if options.output.suffix == ".skops":
        data = _skops().dumps(detector)
    elif options.output.suffix == ".onnx":
        from .interop import to_onnx

        data = to_onnx(detector).SerializeToString()
    else:
        data = pickle.dumps(detector)
    with writing(options.output) as file:
        file.write(data)


def _score(options):
    import pandas as pd

    data = options.detector.read_bytes()
    if options.detector.suffix == ".skops":
        from .interop import trusted_types

        detector = _skops().loads(data, trusted=trusted_types())
    else:
        detector = pickle.loads(data)
    X = _table(options.table)
    scores = detector.score_samples(X)
    answers = {"score": scores, "label": (scores >= detector.offset_) * 2 - 1}
    if hasattr(detector, "p_values"):
        answers["p_value"] = detector.p_values(X)
    text = pd.DataFrame(answers).to_csv(index=False)
    if options.output is None:
        sys.stdout.write(text)
        return
    with writing(options.output) as file:
        file.write(text.encode())


def _table(path):
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("Reading a table needs pandas: pip install pandas.") from error
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def _skops():
    try:
        import skops.io
    except ImportError as error:
        raise ImportError("A .skops file needs skops: pip install 'sklearn-hrn[skops]'.") from error
    return skops.io


if __name__ == "__main__":
    main()
