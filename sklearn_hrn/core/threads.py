"""Threads of torch, set for a while."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
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


def n_threads():
    """Threads of torch, one in a forked process."""
    return 1 if _is_fork else torch.get_num_threads()


def side_by_side(function, items, n_threads, size, stop=None):
    """Call a function for each of some items, which are dealt out to threads.

    Parameters
    ----------
    function : callable
        ``function(thread, item)``, with the number of the thread. Several threads compute with one
        thread of torch each; a single one, the caller's own, with all.
    items : list
    n_threads : int
    size : callable
        How much work an item is.
    stop : callable, default=None
        Called with every item once one has failed, or the user has interrupted: threads end by
        themselves alone.

    Returns
    -------
    results : list
        In the order of the items.
    """
    n_threads = min(n_threads, len(items))
    if n_threads <= 1:
        return [function(0, item) for item in items]
    shares, loads, is_over = [[] for _ in range(n_threads)], [0] * n_threads, Event()
    for place in sorted(range(len(items)), key=lambda place: size(items[place]), reverse=True):
        least = loads.index(min(loads))
        shares[least].append(place)
        loads[least] += size(items[place])

    def work(thread):
        return [function(thread, items[i]) for i in shares[thread] if not is_over.is_set()]

    with threads(1), ThreadPoolExecutor(n_threads) as pool:
        try:
            results = chain.from_iterable(pool.map(work, range(n_threads)))
            of_place = dict(zip(chain.from_iterable(shares), results, strict=True))
        except BaseException:
            is_over.set()
            for item in items if stop is not None else ():
                stop(item)
            raise
    return [of_place[place] for place in range(len(items))]
