"""Threads of torch: set for a while, and one in a forked process."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from sklearn_hrn.core import threads as module
from sklearn_hrn.core.threads import threads


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
