"""Ready networks for the parameter `module` of the one-class classifier."""

from dataclasses import dataclass

__all__ = ["ChannelNetwork"]

PENALTIES = ("row", "pixel")


@dataclass(frozen=True)
class ChannelNetwork:
    """The paper's network for colour images, as a factory of torch modules.

    Each channel of the image passes a hidden layer of its own; what comes out is joined by a second
    one. There are no biases, and all hidden units are leaky ReLUs (slope 0.01).

    Rows are flattened images, channels last.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the image.
    branch_size : int, default=300
        Hidden units of each channel.
    hidden_size : int, default=300
        Hidden units that join the channels.
    init : float, default=0.001
        Half-width of the uniform initialisation; 0.001 is that of the authors' code.
    penalty : {"row", "pixel"}, default="row"
        What the H-penalty takes to the n-th power: ``||grad_x f(x)||_2`` of the whole row (Eq. 3),
        or, as in the authors' code, the norm over the channels of one pixel, with a mean over the
        pixels after the power. A gradient of one size in all P pixels has a row norm ``sqrt(P)``
        times its pixel norm, so that the same lambda restrains f far less.

    See Also
    --------
    HRNOneClassClassifier : Takes it as its `module`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import ChannelNetwork, HRNOneClassClassifier, InstanceL2Normalizer
    >>> X = np.random.default_rng(0).uniform(size=(50, 8 * 8 * 3))
    >>> X = InstanceL2Normalizer().fit_transform(X)
    >>> network = ChannelNetwork(branch_size=20, hidden_size=10, init=0.1)
    >>> detector = HRNOneClassClassifier(module=network, max_iter=2, random_state=0).fit(X)
    >>> detector.module_state_["branches"].shape
    (1, 3, 64, 20)
    """

    n_channels: int = 3
    branch_size: int = 300
    hidden_size: int = 300
    init: float = 0.001
    penalty: str = "row"

    def __call__(self, n_features):
        """A fresh module of rows of `n_features` values.

        Parameters
        ----------
        n_features : int

        Returns
        -------
        module : torch.nn.Module
            Initialised by torch's global generator.

        Raises
        ------
        ValueError
            If a parameter is not allowed, or `n_features` no multiple of `n_channels`.
        """
        from .core.channels import ChannelModule, ChannelModuleByPixel

        for name in ("n_channels", "branch_size", "hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: it must be at least 1.")
        if not self.init > 0:
            raise ValueError(f"init={self.init!r}: it must be above 0.")
        if n_features % self.n_channels:
            raise ValueError(
                f"X has {n_features} features, which are no whole number of pixels of "
                f"n_channels={self.n_channels} values: rows are images, flattened channels last."
            )
        if self.penalty not in PENALTIES:
            raise ValueError(f"penalty={self.penalty!r} is unknown: allowed are {PENALTIES}.")
        kind = ChannelModule if self.penalty == "row" else ChannelModuleByPixel
        n_pixels = n_features // self.n_channels
        return kind(n_pixels, self.n_channels, self.branch_size, self.hidden_size, self.init)
