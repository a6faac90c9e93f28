"""Networks of torch: one to train as `module` of the classifier, and frozen ones."""

from copy import deepcopy
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import gen_batches

from ._base import NormalRowsEstimator
from ._sklearn import Interval
from ._typing import Rows
from ._validation import LARGEST, TakesImages, check_range, doubt_image_shape, resolve_device

if TYPE_CHECKING:
    import torch

__all__ = ["ChannelNetwork", "TorchFeatures"]

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

    def __call__(self, n_features: int) -> "torch.nn.Module":
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
            if not Interval(Integral, 1, 2**31, closed="both").is_satisfied_by(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: it must be at least 1.")
        if not Interval(Real, 0, LARGEST, closed="neither").is_satisfied_by(self.init):
            raise ValueError(f"init={self.init!r}: it must be above 0, and a number of float32.")
        if n_features % self.n_channels:
            raise ValueError(
                f"X has {n_features} features, which are no whole number of pixels of "
                f"n_channels={self.n_channels} values: rows are images, flattened channels last."
            )
        if not isinstance(self.penalty, str) or self.penalty not in PENALTIES:
            raise ValueError(f"penalty={self.penalty!r} is unknown: allowed are {PENALTIES}.")
        kind = ChannelModule if self.penalty == "row" else ChannelModuleByPixel
        # As numbers of Python, which do not overflow.
        sizes = (int(n) for n in (self.n_channels, self.branch_size, self.hidden_size))
        return kind(n_features // int(self.n_channels), *sizes, float(self.init))


class TorchFeatures(
    TakesImages, ClassNamePrefixFeaturesOutMixin, TransformerMixin, NormalRowsEstimator
):
    """Output of a frozen torch module, batch by batch on a device.

    Parameters
    ----------
    module : torch.nn.Module
        Maps a float32 batch, of rows or of images, to one array each; what is behind the first axis
        is flattened. Its weights are the user's own. A copy of it runs, in evaluation mode and
        without gradients: the module given stays as it is.
    image_shape : tuple of int, default=None
        (height, width, channels) of the flattened images in the rows, channels last; one may be
        -1. The module then gets batches of shape (batch, channels, height, width), as it does of
        images with axes of their own, (n_samples, height, width[, channels]). None passes rows on
        as they are.
    batch_size : int, default=256
        Rows the module sees at once.
    device : str, default="auto"
        "auto" is the first GPU if there is one, else the CPU.

    Attributes
    ----------
    image_shape_ : tuple of int or None
        (height, width, channels) of the images, or None of rows.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    HRNOneClassClassifier : Its `module` is trained; this one is not.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_hrn import TorchFeatures
    >>> X = np.arange(16.0).reshape(1, 16)
    >>> TorchFeatures(torch.nn.AvgPool2d(2), image_shape=(4, 4, 1)).fit_transform(X)
    array([[ 2.5,  4.5, 10.5, 12.5]], dtype=float32)
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "module": "no_validation",
        "image_shape": [tuple, list, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
    }

    _dtypes = (np.float32, np.float64)
    _rows_are_images = False

    def __init__(
        self,
        module: "torch.nn.Module",
        *,
        image_shape: tuple[int, ...] | list[int] | None = None,
        batch_size: int = 256,
        device: str = "auto",
    ) -> None:
        self.module = module
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device

    def _learn(self, X):
        import torch

        if not isinstance(self.module, torch.nn.Module):
            raise TypeError(
                f"module is {type(self.module).__name__}, but a torch.nn.Module is needed, whose "
                "weights are those to be used."
            )
        if self.image_shape_ is not None:
            doubt_image_shape(self.image_shape_)
        try:
            self._n_features_out = self._outputs(X[:1]).shape[1]
        except RuntimeError as error:
            raise ValueError(
                f"module cannot process a float32 batch of these rows: {error}. Weights of another "
                "type become float32 by module.float(); image_shape makes images of rows."
            ) from error
        beside = [self._outputs(X[[other, -1]])[1] for other in (0, -1)]
        atol = 1e-3 * np.abs(np.nan_to_num(beside)).max(initial=0)
        if not np.allclose(*beside, rtol=1e-3, atol=atol, equal_nan=True):
            raise ValueError(
                "module's output for a row is not of the row alone: it draws random numbers, or "
                "depends on the other rows of its batch, as of a recurrent layer or an attention "
                "without batch_first=True."
            )

    def transform(self, X: Rows) -> NDArray[np.float32]:
        """The module's output.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_outputs), float32
        """
        X = self._checked(X)
        return self._outputs(X)

    def _outputs(self, X):
        import torch

        from .core.modules import in_full_precision

        check_range(self, X)
        device = resolve_device(self.device)
        module = deepcopy(self.module).to(device).eval()
        out = []
        with torch.no_grad(), in_full_precision():
            for block in gen_batches(len(X), self.batch_size):
                inputs = self._inputs(X[block], device)
                found = module(inputs)
                is_tensor = isinstance(found, torch.Tensor)
                if not is_tensor or found.ndim < 2 or len(found) != len(inputs):
                    what = tuple(found.shape) if is_tensor else type(found).__name__
                    raise ValueError(
                        f"module maps a batch of shape {tuple(inputs.shape)} to {what}; it must "
                        "return an array a row, a tensor of shape (batch, ...). Of a model that "
                        "returns several things, give a module that returns one of them."
                    )
                out.append(found.flatten(1).float().cpu().numpy())
        return np.concatenate(out)

    def _inputs(self, X, device):
        """Rows as the module gets them."""
        import torch

        rows = torch.from_numpy(X.astype(np.float32)).to(device)
        if self.image_shape_ is None:
            return rows
        return rows.reshape(-1, *self.image_shape_).permute(0, 3, 1, 2)

    def _input_gradients(self, X, g):
        """Gradients in X (n, d) of the outputs times `g` (n, n_outputs), in float64."""
        import torch

        from .core.modules import with_gradients

        device = resolve_device(self.device)
        back = np.empty(X.shape)
        with with_gradients():
            module = deepcopy(self.module).to(device).eval()
            for block in gen_batches(len(X), self.batch_size):
                inputs = self._inputs(X[block], device).requires_grad_()
                weights = torch.from_numpy(g[block].astype(np.float32)).to(device)
                (found,) = torch.autograd.grad(module(inputs).flatten(1), inputs, weights)
                if self.image_shape_ is not None:
                    found = found.permute(0, 2, 3, 1)
                back[block] = found.flatten(1).cpu().numpy()
        return back

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
