"""Attributions as bars for a row, as a heat map over an image, or for many rows at once."""

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from .._sklearn import Interval, validate_params
from .._typing import Estimator, Floats, Rows
from ._attribution import feature_attribution
from ._displays import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("auto", "bars", "heatmap", "beeswarm")

# Strange and normal: the ends of matplotlib's "RdBu", told apart by colour-blind eyes.
STRANGE, NORMAL = "#b2182b", "#2166ac"

# Bins over the width of a beeswarm, in which points of about one number are stacked.
BINS = 80


class AttributionDisplay:
    """How much each column raises or lowers scores.

    Make it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    attributions : ndarray of shape (n_samples, n_features) or (n_samples, height, width, ...)
        As `feature_attribution` gives them: negative numbers make a row a stranger.
    X : {array, data frame} of shape (n_samples, n_features), default=None
        The rows themselves, whose values are shown with the numbers.
    feature_names : list of str, default=None
        None takes those of X, or else numbers.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Only once drawn.
    figure_ : matplotlib Figure
        Only once drawn.

    See Also
    --------
    feature_attribution : Computes the numbers.

    Examples
    --------
    >>> from sklearn_hrn.inspection import AttributionDisplay
    >>> display = AttributionDisplay([[-0.5, 0.1]], feature_names=["age", "size"])
    >>> display.feature_names
    ['age', 'size']
    """

    attributions: Floats
    feature_names: list[str]
    ax_: "Axes"
    figure_: "Figure"

    @validate_params(feature_names=["array-like", None])
    def __init__(
        self,
        attributions: ArrayLike,
        *,
        X: Rows | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        try:
            self.attributions = np.asarray(attributions, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"attributions must be numbers: {error}") from error
        if self.attributions.ndim < 2 or not self.attributions.size:
            raise ValueError(
                f"attributions have shape {self.attributions.shape}, but are to be those of rows, "
                "(n_samples, n_features), one at least."
            )
        if X is not None and (np.ndim(X) < 2 or len(X) != len(self.attributions)):
            raise ValueError(f"X must be the {len(self.attributions)} rows of the attributions.")
        self.X = X
        if feature_names is None:
            n_features = int(np.prod(self.attributions.shape[1:]))
            feature_names = getattr(X, "columns", range(n_features))
        elif np.array(feature_names, dtype=object).size != np.prod(self.attributions.shape[1:]):
            raise ValueError(
                f"feature_names={feature_names!r} must be one for each of "
                f"{np.prod(self.attributions.shape[1:])} columns."
            )
        self.feature_names = [str(name) for name in feature_names]

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: Rows,
        *,
        reference: Rows | None = None,
        kind: Literal["auto", "bars", "heatmap", "beeswarm"] = "auto",
        ax: "Axes | None" = None,
    ) -> Self:
        """Explain the scores of rows, and draw the explanation.

        Parameters
        ----------
        estimator : fitted detector
            As for `feature_attribution`.
        X : {array, data frame} of shape (n_samples, n_features)
            Rows as the detector takes them.
        reference : {array, data frame}, default=None
            As for `feature_attribution`.
        kind : {"auto", "bars", "heatmap", "beeswarm"}, default="auto"
            As for `plot`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : AttributionDisplay
        """
        attributions = feature_attribution(estimator, X, reference=reference)
        return cls(attributions, X=X).plot(ax=ax, kind=kind)

    @classmethod
    def from_predictions(
        cls,
        attributions: ArrayLike,
        *,
        X: Rows | None = None,
        feature_names: Sequence[str] | None = None,
        kind: Literal["auto", "bars", "heatmap", "beeswarm"] = "auto",
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw attributions that are there already.

        Parameters
        ----------
        attributions : ndarray of shape (n_samples, n_features) or (n_samples, height, width, ...)
            As `feature_attribution` gives them.
        X : {array, data frame} of shape (n_samples, n_features), default=None
            The rows themselves.
        feature_names : list of str, default=None
            None takes those of X, or else numbers.
        kind : {"auto", "bars", "heatmap", "beeswarm"}, default="auto"
            As for `plot`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : AttributionDisplay
        """
        return cls(attributions, X=X, feature_names=feature_names).plot(ax=ax, kind=kind)

    @validate_params(
        row=[Interval(Integral, None, None, closed="neither")],
        max_features=[Interval(Integral, 1, None, closed="left")],
    )
    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        kind: Literal["auto", "bars", "heatmap", "beeswarm"] = "auto",
        row: int = 0,
        max_features: int = 10,
    ) -> Self:
        """Draw one row as bars or as a heat map, or all rows as a beeswarm.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        kind : {"auto", "bars", "heatmap", "beeswarm"}, default="auto"
            "auto" is a heat map where the numbers have the shape of images, bars for a single row,
            and a beeswarm for several.
        row : int, default=0
            The row that bars or a heat map show.
        max_features : int, default=10
            Columns drawn at most, those with the largest numbers; bars add up the others in one.

        Returns
        -------
        display : AttributionDisplay

        Raises
        ------
        ValueError
            If `kind` is unknown, or "heatmap" for numbers without the shape of an image.
        """
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"kind={kind!r} is unknown: allowed are {KINDS}.")
        n_rows, is_image = len(self.attributions), self.attributions.ndim > 2
        if not -n_rows <= row < n_rows:
            raise ValueError(f"row={row} is none of the {n_rows} rows that are explained.")
        if kind == "auto":
            kind = "heatmap" if is_image else "bars" if len(self.attributions) == 1 else "beeswarm"
        if kind == "heatmap" and not is_image:
            raise ValueError(
                "kind='heatmap' needs attributions of the shape of images, (n_samples, height, "
                f"width); these have {self.attributions.shape}: reshape them, and use "
                "from_predictions."
            )
        n_drawn = min(max_features, len(self.feature_names))
        size = (3.5, 3.5) if kind == "heatmap" else (6, 0.8 + 0.35 * n_drawn)
        self.ax_, self.figure_ = axes_of(ax, figsize=size)
        if kind == "heatmap":
            self._draw_heat_map(row)
        elif kind == "bars":
            self._draw_bars(row, max_features)
        else:
            self._draw_beeswarm(max_features)
        return self

    def _draw_heat_map(self, row):
        heat = self.attributions[row]
        heat = heat.sum(axis=2) if heat.ndim == 3 else heat
        limit = np.abs(heat).max() or 1.0
        if self.X is not None:
            image = np.asarray(self.X)[row].reshape(*heat.shape, -1).mean(axis=2)
            # Dark enough to be seen below the colours, light enough to leave them theirs.
            self.ax_.imshow(image, cmap="Greys", vmax=2.5 * max(image.max(), 1e-30))
        drawn = self.ax_.imshow(
            heat,
            cmap="RdBu",
            vmin=-limit,
            vmax=limit,
            alpha=1.0 if self.X is None else np.sqrt(np.abs(heat) / limit),
        )
        self.figure_.colorbar(drawn, ax=self.ax_, shrink=0.8, label="red: strange")
        self.ax_.set_axis_off()

    def _draw_bars(self, row, max_features):
        numbers = self.attributions[row].ravel()
        order = np.argsort(-np.abs(numbers), kind="stable")
        shown, rest = order[:max_features], order[max_features:]
        labels = [self._label(row, j) for j in shown]
        widths = list(numbers[shown])
        if len(rest):
            labels.append(f"{len(rest)} other columns")
            widths.append(numbers[rest].sum())
        colors = [STRANGE if width < 0 else NORMAL for width in widths]
        self.ax_.barh(range(len(widths)), widths, color=colors)
        self.ax_.set_yticks(range(len(widths)), labels)
        self.ax_.invert_yaxis()
        self.ax_.axvline(0, color="k", linewidth=0.8)
        self.ax_.set_xlabel("part of the score, against the reference (negative: stranger)")

    def _label(self, row, j):
        name = self.feature_names[j]
        if self.X is None:
            return name
        value = self._column(j)[row]
        return f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"

    def _column(self, j):
        if hasattr(self.X, "iloc"):
            return self.X.iloc[:, j].to_numpy()
        return np.asarray(self.X)[:, j]

    def _draw_beeswarm(self, max_features):
        numbers = self.attributions.reshape(len(self.attributions), -1)
        shown = np.argsort(-np.abs(numbers).mean(axis=0), kind="stable")[:max_features]
        reach = np.abs(numbers[:, shown]).max() or 1.0
        for place, j in enumerate(shown):
            heights = _stacked(numbers[:, j], reach)
            drawn = self.ax_.scatter(
                numbers[:, j],
                place + heights,
                c=self._ranks(j, len(numbers)),
                cmap="viridis",
                vmin=0,
                vmax=1,
                s=8,
            )
        self.ax_.set_yticks(range(len(shown)), [self.feature_names[j] for j in shown])
        self.ax_.invert_yaxis()
        self.ax_.axvline(0, color="k", linewidth=0.8)
        self.ax_.set_xlabel("part of the score, against the reference (negative: stranger)")
        if self.X is not None:
            bar = self.figure_.colorbar(drawn, ax=self.ax_, ticks=[0, 1], label="value")
            bar.ax.set_yticklabels(["low", "high"])

    def _ranks(self, j, n_rows):
        """Places of the values of a column, from 0 to 1; words in alphabetical order."""
        if self.X is None:
            return np.zeros(n_rows)
        values = self._column(j)
        if values.dtype.kind not in "fiub":
            values = values.astype(str)
        _, ranks = np.unique(values, return_inverse=True)
        return ranks / max(ranks.max(), 1)


def _stacked(values, reach):
    """Heights that keep points of about one value apart, at most 0.4 to either side."""
    bins = np.floor(values / reach * BINS / 2).astype(int)
    _, bins, counts = np.unique(bins, return_inverse=True, return_counts=True)
    order = np.argsort(bins, kind="stable")
    starts = np.cumsum(counts) - counts
    number = np.empty(len(values), dtype=int)
    number[order] = np.arange(len(values)) - starts[bins[order]]
    side = np.where(number % 2, 1, -1) * ((number + 1) // 2)
    return 0.4 * side / max(counts.max() / 2, 5)
