"""One JSON line a run, written when it ends: a benchmark can stop at any time, and go on."""

import json
import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from .._progress import Progress

PACKAGES = ("sklearn-hrn", "torch", "numpy", "scikit-learn", "scipy", "pyod")


def key(settings):
    """What tells runs apart: all settings, whatever their order."""
    return json.dumps(settings, sort_keys=True)


def load(path):
    """The records of a file; a last line that was cut off is left out."""
    records = []
    for line in Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else ():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def run(measure, settings, path, *, data_home=None, n_jobs=1, verbose=1):
    """Do the runs that the file does not hold yet, and append a line for each.

    Parameters
    ----------
    measure : callable
        ``measure(data_home=..., **settings)`` returns a dict of figures.
    settings : list of dict
        One a run.
    path : path-like
        The file; made, with its folder, if it is not there.
    data_home : path-like, default=None
        Where local copies of the data are. Not part of what tells runs apart.
    n_jobs : int, default=1
        Runs at a time, in processes of their own.
    verbose : int, default=1
        0 shows no progress.

    Returns
    -------
    records : list of dict
        Those of the settings asked for, in their order.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {key(record["settings"]) for record in load(path)}
    pending = [s for s in settings if key(s) not in done]
    progress = Progress(len(pending), verbose, unit="run")
    jobs = (delayed(_timed)(measure, s, data_home) for s in pending)
    try:
        for record in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            _append(path, record)
            progress.update()
    finally:
        progress.close()
    found = {key(record["settings"]): record for record in load(path)}
    return [found[key(s)] for s in settings]


def _timed(measure, settings, data_home):
    start = time.perf_counter()
    figures = measure(data_home=data_home, **settings)
    seconds = round(time.perf_counter() - start, 3)
    return {
        "settings": settings,
        "figures": figures,
        "seconds": seconds,
        "environment": environment(),
    }


def _append(path, record):
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    is_torn = bool(text) and not text.endswith("\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * is_torn + json.dumps(record) + "\n")


@cache
def environment():
    """Versions, machine and commit: what a figure may depend on besides its settings."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }


def _commit():
    """The commit of the source, with a + if files differ from it; None outside a repository."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(git("status", "-s", "."))
    except (OSError, subprocess.CalledProcessError):
        return None


def spread(values, digits=2):
    """``mean ± standard deviation`` of some runs; the value alone if there is one; empty if none.

    Examples
    --------
    >>> spread([97.0, 97.5])
    '97.25 ± 0.35'
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        return ""
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def rst_table(header, rows):
    """A table that reads well in a terminal and in the documentation.

    Examples
    --------
    >>> print(rst_table(["method", "AUC"], [["HRN", "99.1"]]))
    ======  ====
    method  AUC
    ======  ====
    HRN     99.1
    ======  ====
    """
    # An empty first cell would continue the row above.
    body = [[str(cell) for cell in row] for row in [header, *rows]]
    body = [[row[0] or "\\", *row[1:]] for row in body]
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]

    def line(cells):
        return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    rule = line(["=" * width for width in widths])
    return "\n".join([rule, line(body[0]), rule, *map(line, body[1:]), rule])
