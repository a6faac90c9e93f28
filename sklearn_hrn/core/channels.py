"""The network of the paper for CIFAR-10: one branch a colour channel, joined by a hidden layer.

    f(x) = w . a(V [a(W_1 x_1), ..., a(W_C x_C)]),      x_c the pixels of channel c

bias-free, with a the leaky ReLU of slope 0.01. It is piecewise linear, so that the derivatives of
its loss have the closed form of `gradients`, with a first layer that is three side by side.
"""

import torch
from torch import nn
from torch.nn.functional import leaky_relu

from .objective import DATA_TERMS, h_penalty_slope

_times_slope = torch.ops.aten.leaky_relu_backward
SLOPE = 0.01


class ChannelModule(nn.Module):
    """The module that `sklearn_hrn.ChannelNetwork` makes, whose parameters these are.

    Parameters
    ----------
    n_pixels, n_channels, branch_size, hidden_size : int
    init : float
        Half-width of the uniform initialisation of all weights.
    """

    def __init__(self, n_pixels, n_channels, branch_size, hidden_size, init):
        super().__init__()
        self.n_channels = n_channels
        shapes = {
            "branches": (n_channels, n_pixels, branch_size),
            "joined": (n_channels * branch_size, hidden_size),
            "output": (hidden_size, 1),
        }
        for name, shape in shapes.items():
            weight = nn.Parameter(torch.empty(shape, dtype=torch.float32).uniform_(-init, init))
            self.register_parameter(name, weight)

    def forward(self, x):
        """f(x) of rows (B, n_pixels * n_channels), channels last."""
        channels = x.unflatten(1, (-1, self.n_channels)).permute(2, 0, 1)  # (C, B, n_pixels)
        branches = leaky_relu(channels @ self.branches).transpose(0, 1).flatten(1)
        return leaky_relu(branches @ self.joined) @ self.output

    def closed_form(self, loss, n_normal=None):
        """What takes the place of `gradients.Autograd` for this module."""
        return ChannelForm(self, loss, n_normal)

    def gradient_norm(self, gradient, exponent):
        """``||gradient||_2``, a number a row; `exponent` plays no part.

        Parameters
        ----------
        gradient : tensor (B, n_pixels * n_channels)
        """
        squares = gradient.unflatten(1, (-1, self.n_channels)).square().sum(2)
        return self.norm_of_pixels(squares, exponent)

    def norm_of_pixels(self, squares, exponent):
        """The same of the squared gradients of pixels (B, P), summed over their channels."""
        return squares.sum(1).clamp(min=torch.finfo(squares.dtype).tiny).sqrt()

    def penalty_slopes(self, squares, norm, reg_lambda, reg_exponent):
        """Of a gradient (C, B, P) the factors that make it the derivative of its penalty by it.

        Parameters
        ----------
        squares : tensor (B, P)
            Squared gradients of pixels.
        norm : tensor (B,)

        Returns
        -------
        slopes : tensor (B, 1) or (B, P)
        """
        return h_penalty_slope(reg_lambda, reg_exponent)(norm)[:, None]


class ChannelModuleByPixel(ChannelModule):
    """The same network, penalised pixel by pixel as in the authors' code for CIFAR-10.

    The norm of a row is the g with ``g^n = mean_p ||gradient of the channels of pixel p||_2^n``.
    """

    def norm_of_pixels(self, squares, exponent):
        """As `ChannelModule.norm_of_pixels`; `exponent` is n, a tensor of one value."""
        squares = squares.clamp(min=torch.finfo(squares.dtype).tiny)
        # Relative to the largest, whose own power would leave the range of float32.
        largest = squares.detach().amax(1, keepdim=True)
        mean = (squares / largest).pow(exponent / 2).mean(1)
        return largest[:, 0].sqrt() * mean.pow(1 / exponent)

    def penalty_slopes(self, squares, norm, reg_lambda, reg_exponent):
        """As `ChannelModule.penalty_slopes`."""
        return h_penalty_slope(reg_lambda, reg_exponent)(squares.sqrt()) / squares.shape[1]


class ChannelForm:
    """The derivatives of the loss without double backward, in the letters of `gradients`.

    Parameters
    ----------
    module : ChannelModule
    loss : {"nll", "square"}
    n_normal : int, default=None
        B; None is all rows.
    """

    def __init__(self, module, loss, n_normal=None):
        self.module, self.n_normal = module, n_normal
        self.loss_slope = DATA_TERMS[loss][1]
        self.x = None

    def bind(self, weights, reg_lambda, reg_exponent, anomaly_weight=None):
        """As `gradients.Autograd.bind`."""
        self.weights, self.anomaly_weight = weights, anomaly_weight
        self.penalty = reg_lambda[0], reg_exponent[0]

    def __call__(self, x, f, norm):
        """As `gradients.AnyDepth.__call__`; the derivatives are valid until the next call."""
        if self.x is None:
            self._make_buffers(x.shape[1])
        W, joined, output = (weight[0] for weight in self.weights)  # (C, P, b), (C b, h), (h, 1)
        x = self.x.copy_(x[0].unflatten(1, (-1, len(W))).permute(2, 0, 1))  # (C, B, P)
        Z_1 = torch.bmm(x, W, out=self.Z_1)  # (C, B, b)
        Z_2 = _joined(_times_slope(Z_1, Z_1, SLOPE, False)) @ joined
        torch.mm(_times_slope(Z_2, Z_2, SLOPE, False), output, out=f[0, :, None])
        V_2 = _times_slope(output.T.expand(len(Z_2), -1), Z_2, SLOPE, False)
        back = (V_2 @ joined.T).unflatten(1, (len(W), -1)).transpose(0, 1)
        V_1 = _times_slope(back, Z_1, SLOPE, False)
        G = torch.bmm(V_1, W.mT, out=self.G)  # (C, B, P)
        squares = G.square().sum(0)  # (B, P)
        norm[0] = self.module.norm_of_pixels(squares, self.penalty[1])
        c, r = self._coefficients(f[0], squares, norm[0])
        R_0 = torch.addcmul(x, G, r, out=self.G)
        R_1 = _times_slope(torch.bmm(R_0, W, out=self.R_1), Z_1, SLOPE, False)
        R_2 = _times_slope(_joined(R_1) @ joined, Z_2, SLOPE, False)
        torch.bmm(R_0.mT, V_1.mul_(c), out=self.dW)
        torch.mm(_joined(R_1).T, V_2.mul_(c), out=self.djoined)
        return [self.dW[None], self.djoined[None], (R_2.T @ c)[None]]

    def _make_buffers(self, n_rows):
        # Fresh memory of megabytes costs a step a fifth of its time.
        W, joined, _ = (weight[0] for weight in self.weights)
        n_channels, n_pixels, branch_size = W.shape
        self.x, self.G = W.new_empty((2, n_channels, n_rows, n_pixels))
        self.Z_1, self.R_1 = W.new_empty((2, n_channels, n_rows, branch_size))
        self.dW, self.djoined = torch.empty_like(W), torch.empty_like(joined)

    def _coefficients(self, f, squares, norm):
        """c as a column (B, 1), and r (B, 1 or P)."""
        n_normal = len(f) if self.n_normal is None else self.n_normal
        sign = torch.ones_like(f)
        sign[n_normal:] = -1
        slope = self.loss_slope(sign * f)
        r = self.module.penalty_slopes(squares, norm, *self.penalty) / slope[:, None]
        c = slope / n_normal
        if n_normal < len(f):
            r[n_normal:] = 0
            c[n_normal:] *= -self.anomaly_weight[0] * n_normal / (len(f) - n_normal)
        return c[:, None], r


def _joined(branches):
    """What comes out of the branches (C, B, b), side by side: (B, C b)."""
    return branches.transpose(0, 1).flatten(1)
