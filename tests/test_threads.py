"""Threads of torch: set for a while, and one in a forked process."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from threading import Barrier

import pytest
import torch

from sklearn_hrn.core import threads as module
from sklearn_hrn.core.threads import n_threads, side_by_side, threads


@pytest.fixture(autouse=True)
def two():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_are_set_inside_and_as_before_behind():
    assert n_threads() == 2
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads(None):
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), threads(1):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_in_a_forked_process_it_is_one(monkeypatch):
    monkeypatch.setattr(module, "_is_fork", True)
    assert n_threads() == 1
    for asked in (None, 2, 1):
        with threads(asked):
            assert torch.get_num_threads() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fit_in_a_forked_process_returns():
    code = textwrap.dedent(
        """
        import multiprocessing, numpy as np, torch
        from sklearn_hrn import HRNOneClassClassifier

        def linear(n_features):
            return torch.nn.Linear(n_features, 1)

        torch.set_num_threads(2)
        X = np.random.default_rng(0).normal(size=(400, 300)) / 17
        models = [HRNOneClassClassifier(400, max_iter=2, random_state=0, device="cpu"),
                  HRNOneClassClassifier(module=linear, max_iter=2, random_state=0, device="cpu")]
        for model in models:
            model.fit(X)
        child = multiprocessing.get_context("fork").Process(
            target=lambda: [model.fit(X).score_samples(X) for model in models]
        )
        child.start()
        child.join(60)
        hangs = child.is_alive()
        child.kill()
        assert not hangs and child.exitcode == 0
        """
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_items_are_worked_on_side_by_side_with_one_thread_each():
    barrier = Barrier(2, timeout=30)

    def work(thread, item):
        barrier.wait()
        return thread, item, torch.get_num_threads()

    # The largest first, each to the thread that has least to do.
    results = side_by_side(work, [1, 2, 3, 4], 2, size=float)
    assert results == [(0, 1, 1), (1, 2, 1), (1, 3, 1), (0, 4, 1)]
    assert torch.get_num_threads() == 2


def test_one_thread_is_the_own_one_with_all_of_torch():
    def work(thread, item):
        return thread, item, torch.get_num_threads(), threading.current_thread()

    own = threading.current_thread()
    assert side_by_side(work, [3, 1], 1, size=float) == [(0, 3, 2, own), (0, 1, 2, own)]
    assert side_by_side(work, [3], 2, size=float) == [(0, 3, 2, own)]


def test_an_error_in_one_thread_is_raised_and_ends_the_others():
    begun, done, stopped = threading.Event(), [], []

    def work(thread, item):
        if item == 0:
            begun.wait(30)
            raise KeyError(item)
        begun.set()
        time.sleep(0.05)
        done.append(item)

    sizes = {0: 2000, **dict.fromkeys(range(1, 1000), 1)}
    with pytest.raises(KeyError, match="0"):
        side_by_side(work, list(sizes), 2, sizes.get, stop=stopped.append)
    assert len(done) < 999
    assert stopped == list(sizes)
    assert torch.get_num_threads() == 2
