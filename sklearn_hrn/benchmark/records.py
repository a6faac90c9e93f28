"""One JSON line a run, written when it ends: a benchmark can stop at any time, and go on.

A file holds environments, one for every call of the command that did runs, and records, which name
theirs. Of two records with the same settings the later one counts, so that two writers on one file
double no run, and a run that was done again replaces the earlier one.
"""

import json
import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib import hash as digest_of

from .._progress import Progress

PACKAGES = ("sklearn-hrn", "torch", "numpy", "scikit-learn", "scipy", "pyod", "deepod")
PACKAGE = Path(__file__).parent.parent


def key(settings):
    """What tells runs apart: all settings, whatever their order."""
    return json.dumps(settings, sort_keys=True)


def recipe_of(estimator):
    """What tells recipes apart: a digest of the classes and parameters of all their parts.

    Parameters
    ----------
    estimator : estimator
        Unfitted, and always with the same seed: that of a run is among its settings.

    Returns
    -------
    digest : str

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> recipe_of(StandardScaler()) == recipe_of(StandardScaler(with_mean=False))
    False
    """
    parameters = estimator.get_params(deep=True)
    # What a pipeline has beside its steps places thresholds, and leaves scores as they are.
    steps = dict(getattr(estimator, "steps", ()))
    if steps:
        parameters = {k: v for k, v in parameters.items() if k.split("__")[0] in steps}
    # An address is another one in every process. Long texts of lists of steps are cut off by
    # scikit-learn; the parameters of the steps are there one by one.
    parts = [re.sub(" at 0x[0-9a-f]+", "", f"{k}={v!r}") for k, v in sorted(parameters.items())]
    return digest_of([type(estimator).__name__, *parts])[:12]


def load(path, recipe=None):
    """The records of a file, the last one of each settings.

    A line that is no record, such as one that was cut off, is left out.

    Parameters
    ----------
    path : path-like
    recipe : callable, default=None
        As of `run`.

    Returns
    -------
    records : list of dict
        With `settings`, `figures`, `seconds`, `environment` (a dict), where a recipe of ours was
        measured `recipe`, and `is_stale`: that is another one today.
    """
    recipe = recipe or (lambda settings: None)
    environments, found = {}, []
    # Bytes that are no text are of no record.
    text = Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).exists() else ""
    for line in text.splitlines():
        try:
            item = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(item, dict):
            continue
        if "id" in item:
            environments[str(item["id"])] = item
        elif isinstance(item.get("settings"), dict) and isinstance(item.get("figures"), dict):
            item["environment"] = environments.get(str(item.get("environment")), {})
            item["is_stale"] = item.get("recipe") != recipe(item["settings"])
            found.append(item)
    return last_of_each(found)


def last_of_each(records):
    """Of records with the same settings the last one."""
    return list({key(record["settings"]): record for record in records}.values())


def run(measure, settings, path, *, recipe=None, borrowed=(), data_home=None, n_jobs=1, verbose=1):
    """Do the runs that the file does not hold yet, and append a line for each.

    Parameters
    ----------
    measure : callable
        ``measure(data_home=..., **settings)`` returns a dict of figures.
    settings : list of dict
        One a run.
    path : path-like
        The file; made, with its folder, if it is not there.
    recipe : callable, default=None
        ``recipe(settings)`` is the digest of the recipe that a run measures, or None where the
        settings say all. A run of another recipe is done again.
    borrowed : list of dict, default=()
        Records of another table, whose runs are not done again.
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
    done = {key(r["settings"]): r for r in [*borrowed, *load(path, recipe)] if not r["is_stale"]}
    pending = [s for s in settings if key(s) not in done]
    recipe = recipe or (lambda settings: None)
    here = environment()
    if pending:
        _append(path)  # what cannot be written is told before the work
    progress = Progress(len(pending), verbose, unit="run")
    jobs = (delayed(_timed)(measure, s, recipe(s), data_home) for s in pending)
    try:
        for count, record in enumerate(Parallel(n_jobs=n_jobs, return_as="generator")(jobs)):
            record["environment"] = here["id"]
            _append(path, *([here] if count == 0 else []), record)
            progress.update()
    finally:
        progress.close()
    found = done | {key(record["settings"]): record for record in load(path, recipe)}
    return [found[key(s)] for s in settings]


def _timed(measure, settings, recipe, data_home):
    start = time.perf_counter()
    figures = measure(data_home=data_home, **settings)
    seconds = round(time.perf_counter() - start, 3)
    record = {"settings": settings, "figures": figures, "seconds": seconds}
    return record if recipe is None else record | {"recipe": recipe}


def _append(path, *items):
    kept = path.read_bytes() if path.exists() else b""
    is_torn = bool(kept) and not kept.endswith(b"\n")
    lines = "\n" * is_torn + "".join(json.dumps(item) + "\n" for item in items)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)
    except OSError as error:  # which does not say where the disk is full
        raise OSError(error.errno, error.strerror, str(path)) from error


def environment():
    """Versions, machine and commit: what a figure may depend on besides its settings.

    Returns
    -------
    environment : dict
        `id` is a digest of all the rest.
    """
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    found = {
        "versions": versions,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }
    return {"id": digest_of(found)[:12], **found}


def _processor():
    """The model of the processor, as far as the system tells."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or None


def _commit():
    """The commit of the source, with a + if files differ from it; None outside a repository."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(git("status", "-s", "."))
    except (OSError, subprocess.CalledProcessError):
        return None


# What a reader must know of a row: mark, meaning, and when it holds.
MARKS = {
    "†": (
        "measured with an earlier version of the recipe, or one that the record does not name",
        lambda record: record["is_stale"],
    ),
    "‡": (
        "measured on a state of the source that no commit of this history holds",
        lambda record: not re.fullmatch("[0-9a-f]{12}", str(record["environment"].get("commit"))),
    ),
}


def with_marks(name, records):
    """The name of a row, with the marks of the records that it rests on.

    Examples
    --------
    >>> with_marks("HRN", [{"is_stale": False, "environment": {"commit": "0123456789ab+"}}])
    'HRN ‡'
    """
    marks = [mark for mark, (_, holds) in MARKS.items() if any(map(holds, records))]
    return " ".join([name, *marks])


def legend(text):
    """What the marks in a table mean, as a paragraph; empty if there are none."""
    used = [f"{mark} {meaning}" for mark, (meaning, _) in MARKS.items() if f" {mark}" in text]
    return f"\n{'; '.join(used)}.\n" if used else ""


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


def lead(differences):
    """``mean ± standard error`` of paired differences; empty if there are fewer than two.

    Examples
    --------
    >>> lead([1.0, 2.0, 3.0])
    '+2.00 ± 0.58'
    """
    if len(differences) < 2:
        return ""
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    return f"{np.mean(differences):+.2f} ± {error:.2f}"


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
