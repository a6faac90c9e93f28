"""Rows in the order in which they are trained on.

The rows of a model stand in one endless sequence: the permutation of epoch 0, then of epoch 1, and
so on. Batches are cut from it one after the other, so that every batch is full: update t takes the
places ``t B`` to ``(t + 1) B``, and belongs to the epoch in which the first of them lies. The
permutation of epoch e is a function of (seed, e): a run can stop, continue, go back or be joined
with others and see the same batches.
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch

# Bytes of rows gathered or converted at once, unless one batch is more.
BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Rows:
    """What M models train on; never a copy of what is given.

    Parameters
    ----------
    arrays : tuple of ndarray (n, d)
        Any real dtype, or memory maps: rows are gathered block by block and then made float32, but
        for arrays that are no larger than a block.
    subsets : tuple of pairs (int, ndarray of int or None)
        An array by its place, and indices of its rows; None stands for all rows.
    subset_of, anomalies_of : ndarray of int (M,)
        The subsets that model m trains on: of normal rows, and of labelled anomalies, which is
        empty where there are none.
    """

    arrays: tuple
    subsets: tuple
    subset_of: np.ndarray
    anomalies_of: np.ndarray

    @classmethod
    def of_models(cls, normal, anomalies=None):
        """Rows of models that train on some rows of an array each; what is equal is kept once.

        Parameters
        ----------
        normal : list of pairs (ndarray (n, d), ndarray of int or None), length M
            None stands for all rows.
        anomalies : list of (ndarray of int or None), default=None
            Of the same arrays; None stands for no rows.
        """
        nothing = np.array([], dtype=np.intp)
        anomalies = [None] * len(normal) if anomalies is None else anomalies
        anomalies = [nothing if chosen is None else chosen for chosen in anomalies]
        of_anomalies = [(X, chosen) for (X, _), chosen in zip(normal, anomalies, strict=True)]
        arrays = {id(X): X for X, _ in normal}
        place = {key: i for i, key in enumerate(arrays)}
        found = [*normal, *of_anomalies]
        subsets = {(id(X), id(chosen)): (place[id(X)], chosen) for X, chosen in found}
        number = {key: i for i, key in enumerate(subsets)}
        subset_of = np.array([number[id(X), id(chosen)] for X, chosen in found])
        return cls(tuple(arrays.values()), tuple(subsets.values()), *np.split(subset_of, 2))

    def of(self, models):
        """The rows of some of the models."""
        return replace(
            self, subset_of=self.subset_of[models], anomalies_of=self.anomalies_of[models]
        )

    def count(self, subset):
        """Rows in one of the subsets."""
        array, indices = self.subsets[subset]
        return len(self.arrays[array]) if indices is None else len(indices)

    @property
    def counts(self):
        """Normal rows that each model trains on, (M,)."""
        return np.array([self.count(subset) for subset in self.subset_of])

    @property
    def anomaly_counts(self):
        """Anomalies that each model trains on, (M,)."""
        return np.array([self.count(subset) for subset in self.anomalies_of])

    @property
    def n_features(self):
        """Columns of all arrays."""
        return self.arrays[0].shape[1]


def updates_of(n_epochs, n_rows, batch_size):
    """Updates after which `n_epochs` epochs are complete: ceil(n_epochs n / B)."""
    return -(-n_epochs * n_rows // np.minimum(batch_size, n_rows))


def epochs_of(n_updates, n_rows, batch_size):
    """Epochs complete after `n_updates` updates."""
    return n_updates * np.minimum(batch_size, n_rows) // n_rows


class BatchSampler:
    """The batches of all streams, gathered on a device."""

    def __init__(self, rows, device):
        self.rows = rows
        self.device = device
        self.remembered = {}
        self.resident = _resident(rows.arrays, device)

    def batches(self, streams, first, last, batch_size):
        """Generate the batches of updates first ... last - 1, each a float32 tensor (S, B, d).

        `streams` is a list of S pairs (seed, subset). A batch is valid until the next one.
        """
        order = np.stack([self._order(*stream, first, last, batch_size) for stream in streams], 1)
        arrays = np.array([self.rows.subsets[subset][0] for _, subset in streams])
        if (arrays == arrays[0]).all() and self.resident[arrays[0]] is not None:
            yield from self._selected(self.resident[arrays[0]], order)
            return
        n_features = self.rows.n_features
        used, of_stream = np.unique(arrays, return_inverse=True)
        counts = [len(self.rows.arrays[array]) for array in used]
        if 4 * sum(counts) * n_features <= BLOCK_BYTES:
            # One below the other, so that a batch of all streams is gathered by one call.
            below = np.concatenate([self.rows.arrays[array] for array in used], dtype=np.float32)
            order += (np.cumsum(counts) - counts)[of_stream, None]
            yield from self._selected(torch.from_numpy(below).to(self.device), order)
            return
        n_at_once = max(1, BLOCK_BYTES // (4 * order[0].size * n_features))
        for start in range(0, len(order), n_at_once):
            block = order[start : start + n_at_once]  # (n_at_once, S, B)
            gathered = np.empty((*block.shape, n_features), np.float32)
            for array in np.unique(arrays):
                mine = arrays == array
                gathered[:, mine] = self.rows.arrays[array][block[:, mine]]
            yield from torch.from_numpy(gathered).to(self.device)

    def _selected(self, resident, order):
        """The batches of an array that lies on the device."""
        shape = (*order.shape[1:], resident.shape[1])
        # Made once: fresh memory costs more than what is written to it.
        x = resident.new_empty((order[0].size, resident.shape[1]))
        for one in torch.from_numpy(order).to(self.device).flatten(1):
            torch.index_select(resident, 0, one, out=x)
            yield x.view(shape)

    def _order(self, seed, subset, first, last, batch_size):
        """Row indices of the updates first ... last - 1 of one stream, (last - first, B)."""
        n_rows = self.rows.count(subset)
        start, stop = first * batch_size, last * batch_size
        epochs = range(start // n_rows, (stop - 1) // n_rows + 1)
        order = np.concatenate([self._permutation(seed, subset, e) for e in epochs])
        skipped = start - epochs[0] * n_rows
        return order[skipped : skipped + stop - start].reshape(-1, batch_size)

    def _permutation(self, seed, subset, epoch):
        # An epoch ends within the first batch of the next, which then asks for it again.
        last, permutation = self.remembered.get((seed, subset), (None, None))
        if last != epoch:
            _, indices = self.rows.subsets[subset]
            indices = self.rows.count(subset) if indices is None else indices
            permutation = np.random.default_rng([seed, epoch]).permutation(indices)
            self.remembered[seed, subset] = epoch, permutation
        return permutation


def _resident(arrays, device):
    """Each array as a float32 tensor on the device; None for what is no tensor or has no room."""
    if device.type == "cpu":
        return [_view(X) if X.dtype == np.float32 else None for X in arrays]
    n_bytes = 4 * sum(X.size for X in arrays)
    if device.type == "cuda" and n_bytes > torch.cuda.mem_get_info(device)[0] / 2:
        return [None] * len(arrays)
    return [torch.from_numpy(X.astype(np.float32)).to(device) for X in arrays]


def _view(X):
    if not X.flags.writeable:
        # torch, which only reads it, warns about memory that must not be written to; silence would
        # be that of the whole process, other threads included.
        place = {**X.__array_interface__, "data": (X.__array_interface__["data"][0], False)}
        X = np.asarray(SimpleNamespace(__array_interface__=place, memory=X))
    return torch.from_numpy(X)
