"""How a detector was trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._sklearn import validate_params
from .._steps import last_step
from .._typing import Estimator
from ._attribution import innermost
from ._displays import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn of a history, and how it is called.
LABELS = {"loss": "loss", "penalty": "penalty, part of it", "gradient_norm": "gradient norm"}


class TrainingCurveDisplay:
    """The training loss, its penalty and the gradient norm by epoch.

    Make it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    history : dict of str to ndarray of shape (n_epochs, n_estimators)
        `history_` of a fitted :class:`~sklearn_hrn.HRNOneClassClassifier`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Only once drawn.
    figure_ : matplotlib Figure
        Only once drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import HRNOneClassClassifier
    >>> from sklearn_hrn.inspection import TrainingCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> detector = HRNOneClassClassifier(max_iter=4, random_state=0).fit(X)
    >>> TrainingCurveDisplay(detector.history_).history["loss"].shape
    (4, 1)
    """

    ax_: "Axes"
    figure_: "Figure"

    @validate_params(history=[Mapping])
    def __init__(self, history: Mapping[str, NDArray[np.floating]]) -> None:
        missing = [name for name in LABELS if np.ndim(history.get(name)) != 2]
        if missing:
            raise ValueError(
                f"history must hold {', '.join(LABELS)}, each of shape (n_epochs, n_estimators), "
                f"as history_ does; {', '.join(missing)} is missing or of another shape."
            )
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Estimator, *, ax: "Axes | None" = None) -> Self:
        """Draw how a fitted detector was trained.

        Parameters
        ----------
        estimator : fitted HRNOneClassClassifier or pipeline that ends in one
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        TypeError
            If the detector, or the last step of the pipeline, keeps no `history_`.
        """
        check_is_fitted(estimator)
        last = last_step(innermost(estimator))
        if not hasattr(last, "history_"):
            raise TypeError(
                f"{type(last).__name__} keeps no history_ of its training: give a fitted "
                "HRNOneClassClassifier, or a pipeline that ends in one."
            )
        return cls.from_predictions(last.history_, ax=ax)

    @classmethod
    def from_predictions(
        cls, history: Mapping[str, NDArray[np.floating]], *, ax: "Axes | None" = None
    ) -> Self:
        """Draw a history.

        Parameters
        ----------
        history : dict of str to ndarray of shape (n_epochs, n_estimators)
            As `history_`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        return cls(history).plot(ax=ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the means over the estimators of an ensemble, and each as a thin line.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        self.ax_, self.figure_ = axes_of(ax, figsize=(6, 3.5))
        for i, (name, label) in enumerate(LABELS.items()):
            curves = np.asarray(self.history[name])
            epochs = np.arange(1, len(curves) + 1)
            marker = "." if len(curves) < 30 else None
            with_mean = curves.shape[1] > 1
            for curve in curves.T if with_mean else ():
                self.ax_.plot(epochs, curve, color=f"C{i}", linewidth=0.5, alpha=0.5)
            mean = np.nanmean(curves, axis=1)
            self.ax_.plot(epochs, mean, color=f"C{i}", marker=marker, label=label)
        self.ax_.set(xlabel="epoch", ylim=(0, None))
        self.ax_.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
        return self
