"""Rows in the order in which they are trained on.

Batches are cut from an endless deck: the permutation of epoch 0, then of epoch 1, and so on, so
that every batch is full. Update t takes the cards ``t B`` to ``(t + 1) B``, and belongs to the
epoch in which its first card lies. The permutation of epoch e is a function of (seed, e): a run can
stop, continue, go back or be joined with others and see the same batches.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

# Bytes of rows gathered at once where they must be converted, unless one batch is more.
BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Rows:
    """What M models train on; never a copy of X.

    Parameters
    ----------
    X : ndarray (n, d)
        Any real dtype, or a memory map: rows are gathered block by block and then made float32.
    subsets : tuple of (ndarray of int or None)
        Row indices; None stands for all rows.
    subset_of : ndarray of int (M,)
        The subset that model m trains on.
    """

    X: np.ndarray
    subsets: tuple
    subset_of: np.ndarray

    def count(self, subset):
        """Rows in one of the subsets."""
        indices = self.subsets[subset]
        return len(self.X) if indices is None else len(indices)

    @property
    def counts(self):
        """Rows that each model trains on, (M,)."""
        return np.array([self.count(subset) for subset in self.subset_of])


def updates_of(n_epochs, n_rows, batch_size):
    """Updates after which `n_epochs` epochs are complete: ceil(n_epochs n / B)."""
    return -(-n_epochs * n_rows // np.minimum(batch_size, n_rows))


def epochs_of(n_updates, n_rows, batch_size):
    """Epochs complete after `n_updates` updates."""
    return n_updates * np.minimum(batch_size, n_rows) // n_rows


class Deck:
    """The endless decks of all streams, and the gathering of their rows on a device."""

    def __init__(self, rows, device):
        self.rows = rows
        self.device = device
        self.remembered = {}
        self.buffers = {}
        self.resident = _resident(rows.X, device)

    def batches(self, streams, first, last, batch_size):
        """Generate the batches of updates first ... last - 1, each a float32 tensor (S, B, d).

        `streams` is a list of S pairs (seed, subset). A batch is valid until the next one.
        """
        cards = np.stack([self._deal(*stream, first, last, batch_size) for stream in streams], 1)
        n_features = self.rows.X.shape[1]
        if self.resident is not None:
            shape = (len(streams), batch_size, n_features)
            x = self._buffer((len(streams) * batch_size, n_features))
            for one in torch.from_numpy(cards).to(self.device).flatten(1):
                torch.index_select(self.resident, 0, one, out=x)
                yield x.view(shape)
            return
        n_at_once = max(1, BLOCK_BYTES // (4 * cards[0].size * n_features))
        for start in range(0, len(cards), n_at_once):
            block = cards[start : start + n_at_once]  # (n_at_once, S, B)
            rows = torch.from_numpy(self.rows.X[block.ravel()]).to(torch.float32)
            yield from rows.to(self.device).view(*block.shape, n_features)

    def _buffer(self, shape):
        """Made once: fresh memory costs more than what is written to it."""
        if shape not in self.buffers:
            self.buffers[shape] = torch.empty(shape, device=self.device)
        return self.buffers[shape]

    def _deal(self, seed, subset, first, last, batch_size):
        """Row indices of the updates first ... last - 1 of one stream, (last - first, B)."""
        n_rows = self.rows.count(subset)
        start, stop = first * batch_size, last * batch_size
        epochs = range(start // n_rows, (stop - 1) // n_rows + 1)
        cards = np.concatenate([self._permutation(seed, subset, e) for e in epochs])
        skipped = start - epochs[0] * n_rows
        return cards[skipped : skipped + stop - start].reshape(-1, batch_size)

    def _permutation(self, seed, subset, epoch):
        key = (seed, subset, epoch)
        if key not in self.remembered:
            # An epoch ends within the first batch of the next: two are in use at a time.
            while len(self.remembered) > 1:
                self.remembered.pop(next(iter(self.remembered)))
            indices = self.rows.subsets[subset]
            cards = self.rows.count(subset) if indices is None else indices
            self.remembered[key] = np.random.default_rng([seed, epoch]).permutation(cards)
        return self.remembered[key]


def _resident(X, device):
    """X as a float32 tensor on the device, if it is one in memory or the device has room for it."""
    if device.type == "cpu":
        if X.dtype != np.float32:
            return None
        with warnings.catch_warnings():
            # A read-only X cannot be a tensor without a warning; it is only read.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(X)
    if device.type == "cuda" and 4 * X.size > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return torch.from_numpy(X.astype(np.float32)).to(device)
