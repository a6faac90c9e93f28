"""What a machine can do to a program: a full disk, a killed process, memory that is not there.

Whatever happens, files and estimators are what they were or what they were to become, and the error
says what happened. ``python -m pytest -m slow tests/test_faults.py`` runs them all.
"""

import os
import pickle
import signal
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import cross_val_score

from sklearn_hrn import (
    HRNGroupedDetector,
    HRNOneClassClassifier,
    HRNSearchCV,
    InlierKFold,
    OneClassPipeline,
    make_hrn_pipeline,
)
from sklearn_hrn.__main__ import main
from sklearn_hrn.benchmark import records
from sklearn_hrn.datasets._local import writing

resource = pytest.importorskip("resource", reason="limits of files and memory are POSIX's")

RNG = np.random.default_rng(0)
X, OTHER_X = RNG.normal(size=(60, 4)), RNG.normal(size=(40, 4)) + 1


# A full disk


@pytest.fixture
def disk():
    """How many bytes a file may have: the system refuses the next one, as a full disk does."""

    def limit(n_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The signal would end the process; without it the write fails.
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("n_bytes", [0, 1, 1000])
def test_a_file_that_cannot_be_written_leaves_the_one_that_was_there(disk, tmp_path, n_bytes):
    path = tmp_path / "detector.pkl"
    path.write_bytes(b"before")
    disk(n_bytes)
    with pytest.raises(OSError, match=r"detector\.pkl"), writing(path) as file:
        file.write(bytes(5000))
    disk(resource.RLIM_INFINITY)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["detector.pkl"]
    with writing(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"


def test_an_error_while_a_file_is_written_leaves_it_too(tmp_path):
    path = tmp_path / "detector.pkl"
    path.write_bytes(b"before")
    for error in (KeyboardInterrupt, MemoryError, pickle.PicklingError):
        with pytest.raises(error), writing(path) as file:
            file.write(b"half")
            raise error
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "target")
    for text in (b"before", b"after"):
        with writing(link) as file:
            file.write(text)
        assert link.is_symlink() and (tmp_path / "target").read_bytes() == text
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ValueError), writing(pipe) as file:
        raise ValueError
    with writing(pipe) as file:
        file.write(b"scores")
    assert pipe.is_fifo() and os.read(reader, 10) == b"scores"
    os.close(reader)
    assert {file.name for file in tmp_path.iterdir()} == {"link", "target", "pipe"}


@pytest.mark.slow
def test_the_command_line_on_a_full_disk_keeps_the_files_and_says_which(disk, tmp_path, capsys):
    pytest.importorskip("pandas", reason="tables are read by pandas")
    table, detector, scores = (tmp_path / name for name in ("t.csv", "d.pkl", "s.csv"))
    np.savetxt(table, X, delimiter=",", header="a,b,c,d", comments="")
    fit = ["fit", str(table), "--kind", "paper", "-o", str(detector)]
    score = ["score", str(detector), str(table), "-o", str(scores)]
    main(fit)
    main(score)
    before = detector.read_bytes(), scores.read_bytes()
    for command, path in ((fit, detector), (score, scores)):
        disk(500)
        with pytest.raises(SystemExit) as ended:
            main(command)
        disk(resource.RLIM_INFINITY)
        assert ended.value.code == 1
        assert str(path) in capsys.readouterr().err
    assert (detector.read_bytes(), scores.read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "d.pkl", "s.csv"}


def measure(data_home, seed):
    return {"value": seed, "text": "x" * 200}


def test_records_on_a_full_disk_lose_the_run_that_was_written_and_no_other(disk, tmp_path):
    path, settings = tmp_path / "records.jsonl", [{"seed": seed} for seed in range(6)]
    records.run(measure, settings[:2], path, verbose=0)
    whole = path.read_text(encoding="utf-8")
    disk(len(whole) + 350)  # in the middle of a line
    with pytest.raises(OSError, match=r"records\.jsonl"):
        records.run(measure, settings, path, verbose=0)
    disk(resource.RLIM_INFINITY)
    assert path.read_text(encoding="utf-8").startswith(whole)
    kept = [record["settings"]["seed"] for record in records.load(path)]
    assert kept[:2] == [0, 1] and len(kept) < 6
    found = records.run(measure, settings, path, verbose=0)
    assert [record["figures"]["value"] for record in found] == list(range(6))


@pytest.mark.slow
def test_a_cache_of_steps_on_a_full_disk_changes_no_scores(disk, tmp_path):
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(hrn__max_updates=5)
    expected = clone(recipe).fit(X).score_samples(OTHER_X)
    disk(2000)
    cached = recipe.set_params(memory=str(tmp_path / "cache")).fit(X)
    disk(resource.RLIM_INFINITY)
    np.testing.assert_allclose(cached.score_samples(OTHER_X), expected)
    np.testing.assert_allclose(recipe.fit(X).score_samples(OTHER_X), expected)


# A process that is killed


class Dies(TransformerMixin, BaseEstimator):
    """A step that the system kills in a process of its own, as one that took too much memory."""

    def __init__(self, spared=None):
        self.spared = spared

    def fit(self, X, y=None):
        """Die, unless this is the process that is spared."""
        if self.spared not in (None, os.getpid()):
            os.kill(os.getpid(), signal.SIGKILL)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        """The same rows."""
        return X


def pipeline(deadly):
    detector = HRNOneClassClassifier(max_iter=2, random_state=0)
    return OneClassPipeline([("dies", Dies(os.getpid() if deadly else None)), ("hrn", detector)])


PARALLEL = {
    "search": lambda deadly: HRNSearchCV(
        pipeline(deadly), {"hrn__reg_lambda": [0.1, 0.2]}, n_jobs=2, cv=2
    ),
    "groups": lambda deadly: HRNGroupedDetector(pipeline(deadly), n_jobs=2, group_column=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARALLEL)
def test_a_killed_process_leaves_what_was_fitted_and_the_next_fit_is_right(kind):
    rows = [np.column_stack([np.arange(len(part)) % 2, part]) for part in (X, OTHER_X)]
    fitted = PARALLEL[kind](deadly=False).fit(rows[0])
    before = fitted.score_samples(rows[1])
    spared = "estimator__dies__spared"
    for estimator in (fitted, PARALLEL[kind](deadly=False)):
        with pytest.raises(joblib.externals.loky.process_executor.TerminatedWorkerError):
            estimator.set_params(**{spared: os.getpid()}).fit(rows[1])
    assert not [name for name in vars(estimator) if name.endswith("_")]
    np.testing.assert_array_equal(fitted.score_samples(rows[1]), before)
    fitted.set_params(**{spared: None}).fit(rows[1])
    again = PARALLEL[kind](deadly=False).fit(rows[1])
    np.testing.assert_allclose(fitted.score_samples(rows[0]), again.score_samples(rows[0]))


@pytest.mark.slow
def test_a_killed_process_of_a_cross_validation_leaves_the_detector_alone():
    y = np.r_[np.ones(50), -np.ones(10)]
    with pytest.raises(joblib.externals.loky.process_executor.TerminatedWorkerError):
        cross_val_score(pipeline(True), X, y, cv=InlierKFold(2), scoring="roc_auc", n_jobs=2)
    scores = cross_val_score(pipeline(False), X, y, cv=InlierKFold(2), scoring="roc_auc", n_jobs=2)
    assert np.isfinite(scores).all()


# Memory that is not there


WITHOUT_MEMORY = """
import resource

import numpy as np

from sklearn_hrn import {name}
import sklearn_hrn._training  # which imports torch

rng = np.random.default_rng(0)
few, many = rng.normal(size=(60, 4)), rng.normal(size=(40, 4)).astype(np.float32)
many = np.lib.stride_tricks.as_strided(many, (4_000_000, 4), (0, 4))
estimator = {name}({arguments}).fit(few)
before = dict(vars(estimator))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
try:
    estimator.set_params(**{changed}).fit(many)
except (MemoryError, RuntimeError) as error:
    assert "memory" in str(error).lower() or "allocate" in str(error).lower(), repr(error)
else:
    raise AssertionError("there was memory enough")
for name in {changed}:
    before.pop(name)
assert all(vars(estimator)[name] is value for name, value in before.items())
print("as it was")
"""
HUNGRY = {
    "FourierFeatures": ("random_state=0", {"n_components": 20_000_000}),
    "HRNOneClassClassifier": ("max_iter=1", {"hidden_layer_sizes": (20_000_000,)}),
    "NormalScoreTransformer": ("", {"subsample": 10_000_000}),
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
@pytest.mark.parametrize("name", HUNGRY)
def test_a_fit_without_memory_says_so_and_leaves_what_was_fitted(name):
    arguments, changed = HUNGRY[name]
    script = WITHOUT_MEMORY.format(name=name, arguments=arguments, changed=changed)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "as it was\n", done.stderr
