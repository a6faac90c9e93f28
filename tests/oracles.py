"""The equations in plain float64 NumPy: slow, and easy to compare with the paper."""

import numpy as np


def network(weights, X, slope):
    """f(x) and grad_x f(x) of one perceptron, row by row. Weights are (n_out, n_in) each."""
    f, G = np.empty(len(X)), np.empty_like(X)
    for i, x in enumerate(X):
        a, slopes = x, []
        for W in weights[:-1]:
            z = W @ a
            slopes.append(np.where(z > 0, 1.0, slope))
            a = slopes[-1] * z
        f[i], G_of_layer = (weights[-1] @ a).item(), weights[-1][0]
        for W, m in zip(weights[-2::-1], slopes[::-1], strict=True):
            G_of_layer = (G_of_layer * m) @ W
        G[i] = G_of_layer
    return f, G


def objective(weights, X, slope, *, loss="nll", regularizer="h", lam=0.1, n=12.0):
    """Eq. 3: the mean data term plus the regulariser."""
    f, G = network(weights, X, slope)
    data = np.logaddexp(0, -f) if loss == "nll" else (1 - f) ** 2
    if regularizer == "h":
        return np.mean(data + lam * np.linalg.norm(G, axis=1) ** n)
    return np.mean(data) + lam * sum((W**2).sum() for W in weights)


def finite_differences(function, weights, step=1e-6):
    """Central differences of a function of a list of arrays, shaped as the arrays."""
    derivatives = []
    for W in weights:
        dW = np.empty_like(W)
        for index in np.ndindex(W.shape):
            kept = W[index]
            W[index] = kept + step
            above = function()
            W[index] = kept - step
            below = function()
            W[index] = kept
            dW[index] = (above - below) / (2 * step)
        derivatives.append(dW)
    return derivatives
