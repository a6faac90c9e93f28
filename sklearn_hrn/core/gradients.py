"""The input gradient and the derivatives of the loss: closed forms, and autograd for any module.

**Closed form.** The slopes M_l (1 or `slope`) of a bias-free piecewise linear network stay put
while its weights move a little, so f and its input gradient G are products of weights, and the
derivative of ``mean_i phi(f_i) + psi(||G_i||)`` needs no second backward pass. With one row i a
line, n_0 = d, l = 1 ... L, and ``o`` the element-wise product (of a column with every column of a
matrix):

    A_0 = X          Z_l = A_{l-1} W_l'      A_l = M_l o Z_l             f = A_L w
    V_L = M_L o w    V_l = M_l o (V_{l+1} W_{l+1})                       G = V_1 W_1
    c = phi'(f) / B  r = psi'(||G||) / (||G|| phi'(f))
    R_0 = X + r o G  R_l = M_l o (R_{l-1} W_l')
    dL/dW_l = (c o V_l)' R_{l-1}                                         dL/dw = c' R_L

Labelled anomalies are further rows with ``c = -omega phi'(-f) / A`` and ``r = 0``, for the term
``omega mean_i phi(-f_i)`` over A of them.

R carries data term and penalty at once, so they share every product: `AnyDepth`. With one hidden
layer, R_1 need not be formed: f is homogeneous in each hidden unit, ``w_j dL/dw_j = W_1[j] .
dL/dW_1[j]``, which leaves three products of size B h d: `DirectForm`. For a narrow layer G need not
be formed either: with K = W_1 W_1' and T = V_1 K = G W_1',

    ||G||^2 = rowsum(T o V_1)                   dL/dW_1 = (c o V_1)' X + ((c o V_1)' (r o V_1)) W_1
    w o dL/dw = colsum(c o V_1 o (Z_1 + r o T))

costs two products of size B h d and two of size h^2 d: `GramForm`.

All take S streams of batches that feed K models each; model ``s K + k`` is the k-th of stream s,
and M = S K. A batch has B normal rows, and A anomalies behind them. The names of the formulas are
the names in the code.
"""

import torch

from .modules import trainable
from .objective import DATA_TERMS, SMALLEST_SLOPE, h_penalty, h_penalty_slope

# The derivative of a leaky ReLU times its first argument, in one pass: what autograd itself calls.
# The public spelling, torch.where on a comparison, takes four times as long.
_times_slope = torch.ops.aten.leaky_relu_backward


# Products of weights with their derivatives that `DirectForm` makes at a time: 320 KB.
CACHED = 80_000

# Numbers that a vectorised loop of torch takes at once: two registers of 16 float32 at the most.
VECTOR = 32


def padded(n_rows):
    """Rows in whole vectors, so that it is the same code that takes the exponential of each.

    torch computes what is left over at the end of a tensor by scalar functions that round
    differently, and where the end lies depends on how many models there are.
    """
    return -(-n_rows // VECTOR) * VECTOR


def closed_form(layer_sizes, shape, slope, loss, n_anomalies=0, **options):
    """The fastest closed form for a shape.

    Parameters
    ----------
    layer_sizes : tuple of int
        (d, h_1, ..., h_L, 1).
    shape : tuple (S, K, B)
        Streams, models a stream, normal rows a batch.
    slope : float
        Negative slope of the activation.
    loss : {"nll", "square"}
    n_anomalies : int, default=0
        A.
    **options : dict
        "dtype" and "device" of the tensors.

    Returns
    -------
    form : AnyDepth, DirectForm or GramForm
    """
    if len(layer_sizes) != 3:
        form = AnyDepth
    else:
        # Each takes two products of size B h d; the third is B h d against two of size h^2 d.
        form = GramForm if 2 * layer_sizes[1] < shape[2] else DirectForm
    return form(layer_sizes, shape, slope, loss, n_anomalies, **options)


class AnyDepth:
    """The plain closed form, for any number of hidden layers; the oracle of the other two.

    Parameters are those of `closed_form`.
    """

    def __init__(
        self, layer_sizes, shape, slope, loss, n_anomalies=0, *, dtype=torch.float32, device="cpu"
    ):
        self.layer_sizes = layer_sizes
        self.n_streams, self.n_per_stream, self.n_normal = shape
        self.n_anomalies, self.batch_size = n_anomalies, self.n_normal + n_anomalies
        self.n_models = self.n_streams * self.n_per_stream
        self.slope = slope
        self.loss_slope = DATA_TERMS[loss][1]
        self.options = {"dtype": dtype, "device": device}
        self.rows = slice(0, self.batch_size)
        self.anomalies = slice(self.n_normal, self.batch_size)

    def bind(self, weights, reg_lambda, reg_exponent, anomaly_weight=None):
        """Use these weights, which the caller changes in place between calls.

        Parameters
        ----------
        weights : list of tensors (M, n_out, n_in)
        reg_lambda, reg_exponent : tensors (M, 1)
        anomaly_weight : tensor (M, 1), default=None
            omega; needed if there are anomalies.
        """
        self.weights = weights
        self.penalty_slope = h_penalty_slope(reg_lambda, reg_exponent)
        self.anomaly_weight = anomaly_weight

    def __call__(self, x, f, norm):
        """One batch.

        Parameters
        ----------
        x : tensor (S, B + A, d)
        f, norm : tensors (M, B + A), or (M, `padded` (B + A))
            Written: the outputs, and the norms of their input gradients. What is behind them must
            be zeros, and stays.

        Returns
        -------
        dW : list of tensors shaped as the weights
            Derivatives of the loss, valid until the next call.
        """
        *hidden, w = self.weights
        x = self._of_models(x)
        A, Z, V = x, [], []
        for W in hidden:
            Z.append(A @ W.mT)
            A = _times_slope(Z[-1], Z[-1], self.slope, False)
        torch.sum(A * w, -1, out=f[:, self.rows])
        G = w.expand(-1, self.batch_size, -1)
        for W, Z_l in zip(reversed(hidden), reversed(Z), strict=True):
            V.insert(0, _times_slope(G, Z_l, self.slope, False))
            G = V[0] @ W
        torch.linalg.vector_norm(G, dim=-1, out=norm[:, self.rows])
        c, r = self._coefficients(f, norm)
        R = torch.addcmul(x, G, r)
        dW = []
        for W, Z_l, V_l in zip(hidden, Z, V, strict=True):
            dW.append((c * V_l).mT @ R)
            R = _times_slope(R @ W.mT, Z_l, self.slope, False)
        return [*dW, c.mT @ R]

    def _coefficients(self, f, norm):
        """c and r, as columns (M, B + A, 1)."""
        if f.shape[1] != padded(self.batch_size):
            missing = (0, padded(self.batch_size) - f.shape[1])
            f, norm = (torch.nn.functional.pad(rows, missing) for rows in (f, norm))
        if self.n_anomalies:
            f = f.clone()
            f[:, self.anomalies].neg_()
        slope = self.loss_slope(f)
        r = self.penalty_slope(norm).div_(slope)
        c = slope.div_(self.n_normal)
        if self.n_anomalies:
            c[:, self.anomalies].mul_(self.anomaly_weight).mul_(-self.n_normal / self.n_anomalies)
            r[:, self.anomalies] = 0
        return c[:, self.rows, None], r[:, self.rows, None]

    def _of_models(self, x):
        """(S, B, d) as (M, B, d): a view where one stream feeds all models or each its own."""
        if self.n_per_stream == 1:
            return x
        return x.unsqueeze(1).expand(-1, self.n_per_stream, -1, -1).flatten(0, 1)

    def _buffer(self, *sizes):
        return torch.empty((self.n_models, *sizes), **self.options)


class _OneHiddenLayer(AnyDepth):
    """What direct and Gram form share: buffers made once and written in place."""

    def __init__(self, layer_sizes, shape, slope, loss, n_anomalies=0, **options):
        super().__init__(layer_sizes, shape, slope, loss, n_anomalies, **options)
        d, h, _ = layer_sizes
        self.Z, self.A, self.V, self.cV = (self._buffer(self.batch_size, h) for _ in range(4))
        self.cV_T = self.cV.mT
        self.dW, self.dw, self.w = self._buffer(h, d), self._buffer(1, h), self._buffer(1, h)
        self.w_rows = self.w.expand(-1, self.batch_size, -1)
        self.w_row, self.dw_row = self.w.squeeze(1), self.dw.squeeze(1)

    def bind(self, weights, reg_lambda, reg_exponent, anomaly_weight=None):
        super().bind(weights, reg_lambda, reg_exponent, anomaly_weight)
        self.W = weights[0]
        self.W_T = self.W.mT

    def _forward(self, x, x_of_models, f):
        # Keeps the division by w exact for a unit whose outgoing weight is zero.
        torch.add(self.weights[1], SMALLEST_SLOPE, out=self.w)
        if self.n_per_stream == 1 or x.device.type == "cpu":
            # A product a model: its rounding does not depend on how many stand beside it.
            torch.bmm(x_of_models, self.W_T, out=self.Z)
        else:
            # One wide product a stream fills an accelerator better.
            wide = x @ self.W.reshape(self.n_streams, -1, x.shape[-1]).mT  # (S, B, K h)
            wide = wide.unflatten(-1, (self.n_per_stream, -1)).transpose(1, 2)
            self.Z.unflatten(0, (self.n_streams, -1)).copy_(wide)
        _times_slope.grad_input(self.Z, self.Z, self.slope, False, grad_input=self.A)
        # Not a product with a column: its rounding would depend on how many models there are.
        torch.sum(torch.mul(self.A, self.w, out=self.cV), -1, out=f[:, self.rows])
        _times_slope.grad_input(self.w_rows, self.Z, self.slope, False, grad_input=self.V)


class DirectForm(_OneHiddenLayer):
    """One hidden layer in three products of size B h d."""

    def __init__(self, layer_sizes, shape, slope, loss, n_anomalies=0, **options):
        super().__init__(layer_sizes, shape, slope, loss, n_anomalies, **options)
        d, h, _ = layer_sizes
        self.G = self._buffer(self.batch_size, d)
        # Some units at a time, whose products are still in the cache when they are added up.
        n_units = min(h, max(1, CACHED // (self.n_models * d)))
        WdW = self._buffer(n_units, d)
        self.blocks = [(slice(i, i + n_units), WdW[:, : h - i]) for i in range(0, h, n_units)]

    def __call__(self, x, f, norm):
        """As `AnyDepth.__call__`."""
        x_of_models = self._of_models(x)
        self._forward(x, x_of_models, f)
        torch.bmm(self.V, self.W, out=self.G)
        torch.linalg.vector_norm(self.G, dim=-1, out=norm[:, self.rows])
        c, r = self._coefficients(f, norm)
        torch.mul(self.V, c, out=self.cV)
        R = torch.addcmul(x_of_models, self.G, r, out=self.G)
        torch.bmm(self.cV_T, R, out=self.dW)
        for units, WdW in self.blocks:
            torch.mul(self.W[:, units], self.dW[:, units], out=WdW)
            torch.sum(WdW, -1, out=self.dw_row[:, units])
        self.dw_row.div_(self.w_row)
        return [self.dW, self.dw]


class GramForm(_OneHiddenLayer):
    """One hidden layer, narrow, without forming its input gradient."""

    def __call__(self, x, f, norm):
        """As `AnyDepth.__call__`."""
        x_of_models = self._of_models(x)
        self._forward(x, x_of_models, f)
        T = self.V @ (self.W @ self.W_T)
        torch.sum(T * self.V, -1, out=norm[:, self.rows]).clamp_(min=0).sqrt_()
        c, r = self._coefficients(f, norm)
        torch.mul(self.V, c, out=self.cV)
        torch.bmm(self.cV_T, x_of_models, out=self.dW)
        self.dW.baddbmm_(self.cV_T @ (self.V * r), self.W)
        torch.sum(self.cV * torch.addcmul(self.Z, T, r), 1, keepdim=True, out=self.dw).div_(self.w)
        return [self.dW, self.dw]


class Autograd:
    """The same derivatives for one torch module, by double backward.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (B, d) to (B,) or (B, 1), each row on its own. A method ``gradient_norm(G, exponent)``
        of the module takes the place of `row_norm`.
    loss : {"nll", "square"}
    n_normal : int, default=None
        B; None is all rows.
    """

    def __init__(self, module, loss, n_normal=None):
        self.module, self.n_normal = module, n_normal
        self.gradient_norm = getattr(module, "gradient_norm", row_norm)
        self.names = list(trainable(module))
        self.loss_value = DATA_TERMS[loss][0]

    def bind(self, weights, reg_lambda, reg_exponent, anomaly_weight=None):
        """As `AnyDepth.bind` with M = S = 1; the weights are the parameters, (1, ...) each."""
        self.weights, self.anomaly_weight = weights, anomaly_weight
        self.penalty = reg_lambda[0], reg_exponent[0]

    def __call__(self, x, f, norm):
        """As `AnyDepth.__call__`."""
        parameters = [weight[0].detach().requires_grad_() for weight in self.weights]
        x = x[0].detach().requires_grad_()
        named = dict(zip(self.names, parameters, strict=True))
        out = torch.func.functional_call(self.module, named, (x,)).reshape(-1)
        (G,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        g = self.gradient_norm(G, self.penalty[1])
        n_normal = len(out) if self.n_normal is None else self.n_normal
        normal, anomalies = out[:n_normal], out[n_normal:]
        value = (self.loss_value(normal) + h_penalty(g[:n_normal], *self.penalty)).mean()
        if len(anomalies):
            value = value + self.anomaly_weight[0, 0] * self.loss_value(-anomalies).mean()
        derivatives = torch.autograd.grad(
            value, parameters, allow_unused=True, materialize_grads=True
        )
        f[0], norm[0] = out.detach(), g.detach()
        return [dW[None] for dW in derivatives]


def row_norm(G, exponent):
    """``||G||_2`` of rows (B, d), whose derivative is 0 where it is 0; `exponent` plays no part."""
    return G.square().sum(1).clamp(min=torch.finfo(G.dtype).tiny).sqrt()
