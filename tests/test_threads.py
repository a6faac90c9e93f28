"""Threads of torch: set for a while, and one in a forked process."""

import os
import subprocess
import sys
import textwrap
import time
from threading import Barrier, Event

import pytest
import torch

from sklearn_hrn.core import threads as module
from sklearn_hrn.core.threads import side_by_side, threads


@pytest.fixture(autouse=True)
def two():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_are_set_inside_and_as_before_behind():
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


def test_shares_are_worked_on_side_by_side_with_one_thread_each():
    barrier = Barrier(2, timeout=30)

    def work(worker, item):
        barrier.wait()
        return worker, item, torch.get_num_threads()

    shares = [("a", [1, 2]), ("b", [3, 4]), ("idle", [])]
    assert side_by_side(work, shares) == [("a", 1, 1), ("a", 2, 1), ("b", 3, 1), ("b", 4, 1)]
    assert torch.get_num_threads() == 2


def test_one_share_keeps_all_threads():
    def work(worker, item):
        return torch.get_num_threads(), item

    assert side_by_side(work, [("a", [1, 2]), ("b", [])]) == [(2, 1), (2, 2)]


def test_an_error_in_one_share_is_raised_and_ends_the_others():
    begun, done = Event(), []

    def work(worker, item):
        if worker == "fails":
            begun.wait(30)
            raise KeyError(item)
        begun.set()
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(KeyError, match="1"):
        side_by_side(work, [("fails", [1]), ("works", list(range(1000)))])
    assert len(done) < 1000
    assert torch.get_num_threads() == 2
