"""The network of the paper for CIFAR-10: one branch a colour channel, joined by a hidden layer.

    f(x) = w . a(V [a(W_1 x_1), ..., a(W_C x_C)]),      x_c the pixels of channel c

bias-free, with a the leaky ReLU of slope 0.01.
"""

import torch
from torch import nn
from torch.nn.functional import leaky_relu


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
            weight = nn.Parameter(torch.empty(shape).uniform_(-init, init))
            self.register_parameter(name, weight)

    def forward(self, x):
        """f(x) of rows (B, n_pixels * n_channels), channels last."""
        channels = x.unflatten(1, (-1, self.n_channels)).permute(2, 0, 1)  # (C, B, n_pixels)
        branches = leaky_relu(channels @ self.branches).transpose(0, 1).flatten(1)
        return leaky_relu(branches @ self.joined) @ self.output


class ChannelModuleByPixel(ChannelModule):
    """The same network, penalised pixel by pixel as in the authors' code for CIFAR-10."""

    def gradient_norm(self, gradient, exponent):
        """The g with ``g^n = mean_p ||gradient of the channels of pixel p||_2^n``, a number a row.

        Parameters
        ----------
        gradient : tensor (B, n_pixels * n_channels)
        exponent : tensor of one value
            n.
        """
        squares = gradient.unflatten(1, (-1, self.n_channels)).square().sum(2)
        squares = squares.clamp(min=torch.finfo(squares.dtype).tiny)
        # Relative to the largest, whose own power would leave the range of float32.
        largest = squares.detach().amax(1, keepdim=True)
        mean = (squares / largest).pow(exponent / 2).mean(1)
        return largest[:, 0].sqrt() * mean.pow(1 / exponent)
