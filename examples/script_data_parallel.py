"""
======================================
One network, trained by many processes
======================================

Rows that are too many for one machine can train one network: each process holds its share of them,
computes the derivatives of its part of every batch, and the mean over the processes moves the
weights of all. Two processes with half of the rows each end where one process with all of them
does, up to rounding:

.. code-block:: console

    torchrun --nproc-per-node 2 examples/script_data_parallel.py two.npz
    python examples/script_data_parallel.py one.npz

What is minimised is Eq. 3 of the paper, written out. In the end the weights are those of a
:class:`~sklearn_hrn.HRNOneClassClassifier`, which is NumPy arrays: it scores without torch. On
several machines give ``torchrun`` a rendezvous; on GPUs take the backend "nccl".
"""

# sphinx_gallery_thumbnail_path = "images/processes.svg"
import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits

from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer

N_UNITS, BATCH, N_EPOCHS, STEP, MOMENTUM, REG_LAMBDA, EXPONENT = 100, 50, 40, 0.1, 0.9, 0.1, 12

# %%
# The rows of a process
# ---------------------
#
# In earnest each process reads a file of its own. Batch t of process p are rows t B/P to (t + 1)
# B/P of what it holds, in an order drawn anew in every epoch; one process takes the same batches.

if "RANK" in os.environ:
    dist.init_process_group("gloo")
n_processes = dist.get_world_size() if dist.is_initialized() else 1
rank = dist.get_rank() if dist.is_initialized() else 0

X, digit = load_digits(return_X_y=True)
threes = InstanceL2Normalizer().fit_transform(X[digit == 3])[:150]
halves = torch.tensor(threes, dtype=torch.float32).reshape(2, 75, 64)
mine = halves[rank::n_processes]  # (parts, rows, columns)


def batches(epoch):
    order = torch.randperm(mine.shape[1], generator=torch.Generator().manual_seed(epoch))
    for rows in order.split(BATCH // 2):
        yield mine[:, rows].reshape(-1, mine.shape[2])


# %%
# Eq. 3, and the mean over the processes
# --------------------------------------

generator = torch.Generator().manual_seed(0)
W = (0.1 * (2 * torch.rand(N_UNITS, 64, generator=generator) - 1)).requires_grad_()
w = (0.1 * (2 * torch.rand(N_UNITS, generator=generator) - 1)).requires_grad_()
optimiser = torch.optim.SGD([W, w], lr=STEP, momentum=MOMENTUM)

for epoch in range(N_EPOCHS):
    for x in batches(epoch):
        x.requires_grad_()
        f = torch.nn.functional.leaky_relu(x @ W.T) @ w
        (gradient,) = torch.autograd.grad(f.sum(), x, create_graph=True)
        penalty = gradient.square().sum(1) ** (EXPONENT / 2)
        loss = (torch.nn.functional.softplus(-f) + REG_LAMBDA * penalty).mean()
        optimiser.zero_grad()
        loss.backward()
        for weights in (W, w):
            if n_processes > 1:
                dist.all_reduce(weights.grad)
                weights.grad /= n_processes
        optimiser.step()

# %%
# A detector
# ----------

if rank == 0:
    # An estimator of the right shape, which takes over the weights.
    detector = HRNOneClassClassifier(N_UNITS, max_updates=1, contamination=0.05).fit(threes)
    arrays = [W.detach().numpy().T, w.detach().numpy()[:, None]]
    detector.coefs_ = [array[None].copy() for array in arrays]  # one network
    detector.offset_ = np.quantile(detector.score_samples(threes), 0.05)
    fresh = InstanceL2Normalizer().fit_transform(X[digit == 3])[150:]
    others = InstanceL2Normalizer().fit_transform(X[digit != 3])
    alarms, found = ((detector.predict(rows) == -1).mean() for rows in (fresh, others))
    print(f"{n_processes} process(es), last loss {loss.item():.4f}")
    print(f"{alarms:.0%} of {len(fresh)} fresh threes are flagged, {found:.0%} of other digits")
    if len(sys.argv) > 1:
        np.savez(sys.argv[1], *detector.coefs_)
if dist.is_initialized():
    dist.destroy_process_group()
