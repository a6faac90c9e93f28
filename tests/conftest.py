"""What every test shares."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A generator of its own for every test, always the same one."""
    return np.random.default_rng(0)
