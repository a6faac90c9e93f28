"""Scores of fitted perceptrons in float64: NumPy alone, in blocks of bounded memory.

In float32 one row scored alone and the same row in a batch differ by 1e-5 of the score; in float64
by less than 1e-15.
"""

import numpy as np

# Negative slope of the activations; 0.01 is what the authors' code uses.
SLOPES = {"leaky_relu": 0.01, "relu": 0.0}

# Bytes of float64 rows and activations at once: they stay in the cache of a CPU core.
BLOCK_BYTES = 2 * 2**20


def score_rows(coefs, X, slope, subset=None):
    """Mean output over the models, ``mean_m f_m(x)``.

    Parameters
    ----------
    coefs : list of arrays (M, n_in, n_out)
    X : array (n_rows, d), any real dtype
    slope : float
        Negative slope of the activation.
    subset : ndarray of int, default=None
        Score these rows only.

    Returns
    -------
    scores : ndarray (n_rows,), float64
    """
    n_models, n_features, _ = coefs[0].shape
    coefs = [W.astype(np.float64) for W in coefs]
    models = [[W[m] for W in coefs] for m in range(n_models)]
    widest = max(W.shape[2] for W in coefs)
    n_at_once = max(1, BLOCK_BYTES // (8 * (n_features + 2 * widest)))

    def outputs(block):
        return sum(_output(weights, block, slope) for weights in models)

    return score_in_blocks(outputs, X, subset, n_at_once) / n_models


def score_in_blocks(outputs, X, subset, n_at_once):
    """``outputs(block)`` of float64 blocks of the rows of X, put together."""
    n_rows = X.shape[0] if subset is None else len(subset)
    scores = np.empty(n_rows)
    for start in range(0, n_rows, n_at_once):
        block = slice(start, start + n_at_once)
        rows = X[block] if subset is None else X[subset[block]]
        scores[block] = outputs(np.array(rows, dtype=np.float64))
    return scores


def _output(weights, A, slope):
    for W in weights[:-1]:
        Z = A @ W
        A = np.maximum(Z, slope * Z, out=Z)
    return (A @ weights[-1])[:, 0]
