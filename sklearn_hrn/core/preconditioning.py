"""Longer steps where the rows vary little.

The data term that the first weights see has a curvature along each principal axis q_j of the rows
that is proportional to their mean square along it,

    lambda_j = mean_i (x_i . q_j)^2,            lambda_1 >= lambda_2 >= ...

A plain step is as short everywhere as the first axis needs, so what the rows have to say along the
others is learned lambda_1 / lambda_j times more slowly. With a largest factor c, the derivative by
the first weights (h, d) is multiplied by

    P = sum_j min(c, lambda_1 / lambda_j) q_j q_j'
      = c I - sum_{lambda_j > lambda_1 / c} (c - lambda_1 / lambda_j) q_j q_j'

The second form needs the few leading axes alone. The objective and its minima are those of plain
descent, and c = 1 is plain descent.
"""

import numpy as np
import torch

# Rows from which the axes are taken, evenly spaced over all: the leading ones need no more.
N_ROWS = 300

# Leading axes at most. It is a constant, as rounding would depend on a number that differs.
N_AXES = 16


def leading_axes(X, largest):
    """The factors of ``c I - P`` for rows X.

    Parameters
    ----------
    X : ndarray (n, d)
    largest : float
        c, above 1.

    Returns
    -------
    Q : tensor (d, k), float32
        The leading axes.
    excess : tensor (k, d), float32
        Each axis times ``c - lambda_1 / lambda_j``, or zeros where that is not positive.
    """
    X = torch.from_numpy(np.asarray(X, dtype=np.float64))
    # Of rows on the scale of the largest value, no square overflows; the ratios are the same.
    X = X / X.abs().max().clamp(min=torch.finfo(X.dtype).tiny)
    k = min(N_AXES, X.shape[1])
    # Rows of zeros make up for fewer rows than axes.
    X = torch.nn.functional.pad(X, (0, 0, 0, max(0, k - len(X))))
    squares, U = torch.linalg.eigh(X @ X.T)
    squares, U = squares.flip(0)[:k], U.flip(1)[:, :k]
    is_leading = squares * largest > squares[0]
    Q = X.T @ U / squares.clamp(min=torch.finfo(X.dtype).tiny).sqrt()
    excess = torch.where(is_leading, largest - squares[0] / squares, 0.0)
    Q = torch.where(is_leading, Q, 0.0)
    return Q.float(), (excess[:, None] * Q.T).float()


class Preconditioner:
    """P of the rows that each of some models trains on.

    Parameters
    ----------
    rows : Rows
    largest : float
        c; 1 leaves derivatives as they are.
    device : torch.device
    known : list of ndarray, default=()
        Q (M, d, k) and excess (M, k, d) of rows that models were trained on before, which stay
        theirs: another P for each chunk of a stream would follow its noise.
    """

    def __init__(self, rows, largest, device, known=()):
        self.rows, self.largest, self.device = rows, largest, device
        self.known = [torch.from_numpy(each) for each in known]
        self.remembered = {}

    def of(self, models):
        """The function that multiplies derivatives (M, h, d) of models by their P, in place."""
        if self.largest == 1:
            return lambda dW: dW
        Q, excess = (each.to(self.device) for each in self.axes(models))
        return lambda dW: dW.baddbmm_(dW @ Q, excess, beta=self.largest, alpha=-1)

    def axes(self, models):
        """Q (M, d, k) and excess (M, k, d) of models; nothing where c is 1."""
        if self.largest == 1:
            return []
        if self.known:
            return [each[models] for each in self.known]
        axes = [self._axes(self.rows.subset_of[m]) for m in models]
        return [torch.stack(each) for each in zip(*axes, strict=True)]

    def _axes(self, subset):
        if subset not in self.remembered:
            array, chosen = self.rows.subsets[subset]
            n_rows = self.rows.count(subset)
            spaced = np.linspace(0, n_rows - 1, min(n_rows, N_ROWS)).astype(int)
            spaced = spaced if chosen is None else chosen[spaced]
            self.remembered[subset] = leading_axes(self.rows.arrays[array][spaced], self.largest)
        return self.remembered[subset]
