"""Threads of torch, set for a while."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

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


def side_by_side(function, shares):
    """Call a function for some items, which are shared out among threads of one thread each.

    Parameters
    ----------
    function : callable
        ``function(worker, item)``. Tensors that it writes to belong to its worker.
    shares : list of (worker, list of items) tuples
        One share is worked on as it is, with all threads of torch.

    Returns
    -------
    results : list
        In the order of the shares and of their items.
    """
    shares = [(worker, items) for worker, items in shares if items]
    if len(shares) == 1:
        ((worker, items),) = shares
        return [function(worker, item) for item in items]
    is_over = Event()

    def work(share):
        worker, items = share
        return [function(worker, item) for item in items if not is_over.is_set()]

    with threads(1), ThreadPoolExecutor(len(shares)) as pool:
        try:
            return [result for results in pool.map(work, shares) for result in results]
        except BaseException:  # an interrupt does not wait for what has not begun
            is_over.set()
            raise
