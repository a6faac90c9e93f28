"""Threads of torch, set for a while."""

import os
from contextlib import contextmanager

import torch

# The threads of a process do not live on in a fork of it, where torch would wait for them for ever.
_is_fork = False


def _note_fork():
    global _is_fork
    _is_fork = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextmanager
def threads(n_threads):
    """Compute with `n_threads` threads inside the block; None leaves them as they are.

    In a forked process it is always one.
    """
    before = torch.get_num_threads()
    n_threads = 1 if _is_fork else n_threads
    if n_threads in (None, before):
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
