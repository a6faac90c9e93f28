"""What every test shares."""

import os

# Before torch is imported: tests run in a process a core, and processes of several threads each
# would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A generator of its own for every test, always the same one."""
    return np.random.default_rng(0)
