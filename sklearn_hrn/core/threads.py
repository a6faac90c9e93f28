"""Threads of torch, set for a while."""

from contextlib import contextmanager

import torch


@contextmanager
def threads(n_threads):
    """Compute with `n_threads` threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    if n_threads in (None, before):
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
