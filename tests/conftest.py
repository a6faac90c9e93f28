"""What every test shares."""

import gc
import os

# Before torch is imported: tests run in a process a core, and processes of several threads each
# would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

# A user's script for the type checker, which `test_typing` hands it; nobody runs it.
collect_ignore = ["typed_script.py"]

# A quarter of the examples by default; `-m slow`, or any other choice of marks, tries them all.
settings.register_profile("few", max_examples=25, deadline=None)
settings.register_profile("many", max_examples=100, deadline=None)


def pytest_configure(config):
    settings.load_profile("few" if config.option.markexpr == "not slow" else "many")
    # What is imported and collected stays: looking for garbage in it is a quarter of the work.
    gc.disable()


def pytest_collection_finish():
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def few_patches(monkeypatch):
    """Words of images learned from 500 patches in place of 60,000: small images have few."""
    monkeypatch.setattr("sklearn_hrn.image._visual_words.N_PATCHES", 500)


@pytest.fixture
def few_updates(monkeypatch):
    """Networks learn for five updates at most: for tests of what happens around the training."""
    from sklearn_hrn._training import _Run

    asked_for = _Run._n_updates

    def n_updates(run):
        done = 0 if run.start is None else run.start.n_updates
        return np.minimum(asked_for(run), done + 5)

    monkeypatch.setattr(_Run, "_n_updates", n_updates)


@pytest.fixture
def loops(monkeypatch):
    """How many networks each loop of training holds, less those that share a path."""
    from sklearn_hrn.core.training import Trainer

    sizes = []
    init = Trainer.__init__

    def spy(self, rows, *arguments):
        sizes.append(len(rows.subset_of))
        init(self, rows, *arguments)

    monkeypatch.setattr(Trainer, "__init__", spy)
    return sizes


@pytest.fixture
def few_trees(monkeypatch):
    """The benchmark's forest has five trees: its scores have the same meaning."""
    from sklearn.ensemble import IsolationForest

    from sklearn_hrn.benchmark import peers

    def few(seed):
        return IsolationForest(n_estimators=5, random_state=seed)

    monkeypatch.setitem(peers.PEERS, "IsolationForest", few)


@pytest.fixture
def rng():
    """A generator of its own for every test, always the same one."""
    return np.random.default_rng(0)
