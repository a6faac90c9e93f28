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

R carries data term and penalty at once, so they share every product. With one hidden layer, R_1
need not be formed: f is homogeneous in each hidden unit, ``w_j dL/dw_j = W_1[j] . dL/dW_1[j]``,
which leaves three products of size B h d (the *direct form*). For a narrow layer G need not be
formed either: with K = W_1 W_1' and T = V_1 K = G W_1',

    ||G||^2 = rowsum(T o V_1)                   dL/dW_1 = (c o V_1)' X + ((c o V_1)' (r o V_1)) W_1
    w o dL/dw = colsum(c o V_1 o (Z_1 + r o T))

costs two products of size B h d and two of size h^2 d (the *Gram form*).
"""

from itertools import pairwise

import torch

from .modules import trainable
from .objective import DATA_TERMS, SMALLEST_SLOPE, h_penalty, h_penalty_slope

# The derivative of a leaky ReLU times its first argument, in one pass: what autograd itself calls.
# The public spelling, torch.where on a comparison, takes four times as long.
_times_slope = torch.ops.aten.leaky_relu_backward.grad_input


class ClosedForm:
    """Derivatives of the mean one-class loss of M multi-layer perceptrons, one batch a call.

    S streams of batches feed K models each; model ``s K + k`` is the k-th of stream s, and M = S K.
    Buffers are made once, here, and written in place; the attributes bear the names above.

    Parameters
    ----------
    layer_sizes : tuple of int
        (d, h_1, ..., h_L, 1).
    shape : tuple (S, K, B)
        Streams, models a stream, rows a batch.
    slope : float
        Negative slope of the activation.
    loss : {"nll", "square"}
    gram : bool, default=None
        Gram instead of direct form, for one hidden layer; None takes it below B/2 units.
    """

    def __init__(
        self, layer_sizes, shape, slope, loss, *, gram=None, dtype=torch.float32, device="cpu"
    ):
        self.n_streams, self.n_per_stream, self.batch_size = shape
        n_models = self.n_streams * self.n_per_stream
        d, *hidden, _ = layer_sizes
        self.slope = slope
        self.loss_slope = DATA_TERMS[loss][1]
        self.one_hidden_layer = len(hidden) == 1
        self.gram = self.one_hidden_layer and (
            2 * hidden[0] < self.batch_size if gram is None else gram
        )

        def buffer(*sizes):
            return torch.empty(sizes, dtype=dtype, device=device)

        def layers():
            return [buffer(n_models, self.batch_size, n) for n in hidden]

        self.Z, self.A, self.V, self.cV = layers(), layers(), layers(), layers()
        self.mean = torch.tensor(1 / self.batch_size, dtype=dtype, device=device)
        if not self.gram:
            self.G = buffer(n_models, self.batch_size, d)
        self.dW = [buffer(n_models, n_out, n_in) for n_in, n_out in pairwise(layer_sizes)]
        self.scratch = torch.empty_like(self.dW[0])

    def bind(self, weights, reg_lambda, reg_exponent):
        """Use these weights, which the caller changes in place between calls.

        Parameters
        ----------
        weights : list of tensors (M, n_out, n_in)
        reg_lambda, reg_exponent : tensors (M, 1)
        """
        self.W = weights[:-1]
        self.W_T = [W.mT for W in self.W]
        self.w = weights[-1]  # (M, 1, n_L)
        self.penalty_slope = h_penalty_slope(reg_lambda, reg_exponent)

    def __call__(self, x, f, norm):
        """One batch.

        Parameters
        ----------
        x : tensor (S, B, d)
        f, norm : tensors (M, B)
            Written: the outputs, and the norms of their input gradients.

        Returns
        -------
        dW : list of tensors shaped as the weights
            Derivatives of the mean loss: buffers, valid until the next call.
        """
        # Keeps the division by w exact for a unit whose outgoing weight is zero.
        w = self.w + SMALLEST_SLOPE
        self._forward(x, w, f)
        self._backward(w)
        if self.gram:
            T = self.V[0] @ (self.W[0] @ self.W_T[0])
            torch.linalg.vecdot(T, self.V[0], out=norm).clamp_(min=0).sqrt_()
        else:
            self._input_gradient(w)
            torch.linalg.vector_norm(self.G, dim=-1, out=norm)
        c = self.loss_slope(f)
        r = self.penalty_slope(norm).div_(c).unsqueeze(-1)
        c = c.mul_(self.mean).unsqueeze(-1)
        for V, cV in zip(self.V, self.cV, strict=True):
            torch.mul(V, c, out=cV)
        if self.gram:
            self._gram_derivatives(x, w, T, r)
        else:
            self._direct_derivatives(x, w, c, r)
        return self.dW

    def _forward(self, x, w, f):
        A = x_of_models = self._of_models(x)
        for layer, (Z, W_T) in enumerate(zip(self.Z, self.W_T, strict=True)):
            if layer == 0:
                self._first_product(x, x_of_models)
            else:
                torch.bmm(A, W_T, out=Z)
            A = _times_slope(Z, Z, self.slope, False, grad_input=self.A[layer])
        torch.bmm(A, w.mT, out=f.unsqueeze(-1))

    def _first_product(self, x, x_of_models):
        """Z_1 = X W_1'. On an accelerator one wide product a stream, which fills it better.

        On a CPU a product a model: there its rounding does not depend on how many stand beside it.
        """
        if x.device.type == "cpu" or self.n_per_stream == 1:
            torch.bmm(x_of_models, self.W_T[0], out=self.Z[0])
            return
        n_in = x.shape[-1]
        wide = x @ self.W[0].reshape(self.n_streams, -1, n_in).mT  # (S, B, K h)
        of_models = wide.unflatten(-1, (self.n_per_stream, -1)).transpose(1, 2)
        self.Z[0].unflatten(0, (self.n_streams, -1)).copy_(of_models)

    def _backward(self, w):
        outer = w  # (M, 1, n_L): for every row alike
        for layer in range(len(self.V) - 1, -1, -1):
            Z, V = self.Z[layer], self.V[layer]
            _times_slope(outer.expand_as(V), Z, self.slope, False, grad_input=V)
            if layer:
                outer = V @ self.W[layer]

    def _input_gradient(self, w):
        if self.W:
            torch.bmm(self.V[0], self.W[0], out=self.G)
        else:
            self.G.copy_(w.expand_as(self.G))

    def _direct_derivatives(self, x, w, c, r):
        R = torch.addcmul(self._of_models(x), self.G, r, out=self.G)
        for layer, cV in enumerate(self.cV):
            torch.bmm(cV.mT, R, out=self.dW[layer])
            if self.one_hidden_layer:
                w_dw = torch.mul(self.W[0], self.dW[0], out=self.scratch).sum(-1).unsqueeze(1)
                torch.div(w_dw, w, out=self.dW[1])
                return
            Z, A = self.Z[layer], self.A[layer]
            R = _times_slope(R @ self.W_T[layer], Z, self.slope, False, grad_input=A)
        torch.bmm(c.mT, R, out=self.dW[-1])

    def _gram_derivatives(self, x, w, T, r):
        V, cV, dW = self.V[0], self.cV[0], self.dW[0]
        torch.bmm(cV.mT, self._of_models(x), out=dW)
        dW.baddbmm_(cV.mT @ (V * r), self.W[0])
        w_dw = (cV * torch.addcmul(self.Z[0], T, r)).sum(1, keepdim=True)
        torch.div(w_dw, w, out=self.dW[1])

    def _of_models(self, x):
        """(S, B, d) as (M, B, d): a view where one stream feeds all models or each its own."""
        if self.n_per_stream == 1:
            return x
        return x.unsqueeze(1).expand(-1, self.n_per_stream, -1, -1).flatten(0, 1)


class Autograd:
    """The same derivatives for one torch module, by double backward.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (B, d) to (B,) or (B, 1), each row on its own.
    loss : {"nll", "square"}
    """

    def __init__(self, module, loss):
        self.module = module
        self.names = list(trainable(module))
        self.loss_value = DATA_TERMS[loss][0]

    def bind(self, weights, reg_lambda, reg_exponent):
        """As `ClosedForm.bind` with M = S = 1; the weights are the parameters, (1, ...) each."""
        self.weights = weights
        self.penalty = reg_lambda[0], reg_exponent[0]

    def __call__(self, x, f, norm):
        """As `ClosedForm.__call__`."""
        parameters = [weight[0].detach().requires_grad_() for weight in self.weights]
        x = x[0].detach().requires_grad_()
        named = dict(zip(self.names, parameters, strict=True))
        out = torch.func.functional_call(self.module, named, (x,)).reshape(-1)
        (G,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        g = G.square().sum(1).clamp(min=torch.finfo(G.dtype).tiny).sqrt()
        value = self.loss_value(out) + h_penalty(g, *self.penalty)
        derivatives = torch.autograd.grad(
            value.mean(), parameters, allow_unused=True, materialize_grads=True
        )
        f[0], norm[0] = out.detach(), g.detach()
        return [dW[None] for dW in derivatives]
