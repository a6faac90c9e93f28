"""Pictures in scikit-learn's form: what they show is computed first, and drawn with `plot`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta
from sklearn.utils.validation import check_is_fitted

from .._calibration import check_scores
from .._sklearn import NUMBER, validate_params
from .._typing import Estimator, Floats, Rows
from ._attribution import scores_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def axes_of(ax, **size):
    """The axes to draw in, and their figure; matplotlib is imported here and nowhere else."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "a display is drawn with matplotlib, which is not installed: "
            'pip install "sklearn-hrn[plot]".'
        ) from error
    if not (ax is None or (hasattr(ax, "plot") and hasattr(ax, "figure"))):
        raise TypeError(f"ax={ax!r} must be axes of matplotlib, or None for a new figure.")
    if ax is None:
        _, ax = plt.subplots(layout="constrained", **size)
    return ax, ax.figure


class AnomalyScoreDisplay:
    """Scores of several groups of rows, the threshold, and the share of each group below it.

    Make it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    scores : dict of str to ndarray
        Scores, higher = more normal, of each group of rows by its name, such as "out of fold",
        "fresh" and "anomalies".
    threshold : float, default=None
        Rows that score below it are flagged.

    Attributes
    ----------
    flagged_ : dict of str to float
        Share of each group below the threshold, if there is one.
    ax_ : matplotlib Axes
        Only once drawn.
    figure_ : matplotlib Figure
        Only once drawn.

    See Also
    --------
    FalseAlarmDisplay : The shares for all thresholds.

    Examples
    --------
    >>> from sklearn_hrn.inspection import AnomalyScoreDisplay
    >>> display = AnomalyScoreDisplay({"fresh": [1.0, 2.0], "anomalies": [-1.0]}, threshold=0.0)
    >>> display.flagged_
    {'fresh': 0.0, 'anomalies': 1.0}
    """

    scores: dict[str, Floats]
    threshold: float | None
    flagged_: dict[str, float]
    ax_: "Axes"
    figure_: "Figure"

    @validate_params(scores=[Mapping], threshold=[NUMBER, None])
    def __init__(self, scores: Mapping[str, ArrayLike], *, threshold: float | None = None) -> None:
        if not scores:
            raise ValueError("scores are empty: give those of one group at least.")
        self.scores = {name: check_scores(v, f"scores of {name!r}") for name, v in scores.items()}
        self.threshold = threshold
        self.flagged_ = {}
        if threshold is not None:
            self.flagged_ = {
                name: float((values < threshold).mean()) for name, values in self.scores.items()
            }

    @classmethod
    @validate_params(groups=[Mapping])
    def from_estimator(
        cls, estimator: Estimator, groups: Mapping[str, Rows], *, ax: "Axes | None" = None
    ) -> Self:
        """Score groups of rows with a fitted detector, and draw the scores.

        Parameters
        ----------
        estimator : fitted detector
            Its `offset_`, if it has one for all rows, is the threshold.
        groups : dict of str to array-like of shape (n_samples, n_features)
            Rows by the name of their group.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : AnomalyScoreDisplay
        """
        check_is_fitted(estimator)
        scores = {name: scores_of(estimator, X) for name, X in groups.items()}
        threshold = getattr(estimator, "offset_", None)
        return cls(scores, threshold=None if isinstance(threshold, dict) else threshold).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        scores: Mapping[str, ArrayLike],
        *,
        threshold: float | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw scores that are there already.

        Parameters
        ----------
        scores : dict of str to array-like of shape (n_samples,)
            Higher = more normal, by the name of the group.
        threshold : float, default=None
            Rows that score below it are flagged.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : AnomalyScoreDisplay
        """
        return cls(scores, threshold=threshold).plot(ax=ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw a histogram of each group, each of area one.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : AnomalyScoreDisplay
        """
        self.ax_, self.figure_ = axes_of(ax, figsize=(7, 3.5))
        values = np.concatenate([v[np.isfinite(v)] for v in self.scores.values()])
        low, high = np.quantile(values, [0.005, 1])
        edges = np.linspace(low, high if high > low else low + 1, 41)
        for name, scores in self.scores.items():
            label = f"{name} ({len(scores)})"
            if name in self.flagged_:
                label += f": {self.flagged_[name]:.1%} flagged"
            # The few that lie below the picture stand in its first bar.
            self.ax_.hist(scores.clip(*edges[[0, -1]]), edges, density=True, alpha=0.5, label=label)
        if self.threshold is not None and np.isfinite(self.threshold):
            self.ax_.axvline(self.threshold, color="k", linestyle="--", label="threshold")
        self.ax_.set(xlabel="score (higher = more normal)", ylabel="density")
        self.ax_.legend()
        return self


class FalseAlarmDisplay:
    """The rate of false alarms asked for against that of fresh normal rows, and what is found.

    Make it with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    p_values : ndarray of shape (n_fresh,)
        Of normal rows that neither trained nor calibrated.
    anomaly_p_values : ndarray of shape (n_anomalies,), default=None
        Of anomalies.

    Attributes
    ----------
    rates_ : ndarray of shape (200,)
        Rates asked for, from 0.5 % to 50 %.
    realised_ : ndarray of shape (200,)
        Shares of the fresh rows with a p-value of at most that rate.
    band_ : ndarray of shape (2, 200)
        Between which, as far as so many rows can tell, the rates lie (Clopper and Pearson, 95 %).
    detected_ : ndarray of shape (200,) or None
        Shares of the anomalies; None if there are none.
    ax_ : matplotlib Axes
        Only once drawn.
    figure_ : matplotlib Figure
        Only once drawn.

    See Also
    --------
    sklearn_hrn.ConformalOutlierDetector : Makes p-values.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn.inspection import FalseAlarmDisplay
    >>> display = FalseAlarmDisplay(np.arange(1, 101) / 100)
    >>> at = np.searchsorted(display.rates_, 0.2)
    >>> print(display.realised_[at], display.band_[:, at].round(2))
    0.2 [0.13 0.29]
    """

    rates_: Floats
    realised_: Floats
    band_: Floats
    detected_: Floats | None
    ax_: "Axes"
    figure_: "Figure"

    def __init__(self, p_values: ArrayLike, anomaly_p_values: ArrayLike | None = None) -> None:
        self.p_values = _check_p_values(p_values, "p_values")
        if anomaly_p_values is not None:
            anomaly_p_values = _check_p_values(anomaly_p_values, "anomaly_p_values")
        self.anomaly_p_values = anomaly_p_values
        self.rates_ = np.geomspace(0.005, 0.5, 200)
        self.realised_ = _shares_up_to(self.p_values, self.rates_)
        n = len(self.p_values)
        flagged = np.round(self.realised_ * n)
        with np.errstate(invalid="ignore"):
            low = np.where(flagged > 0, beta.ppf(0.025, flagged, n - flagged + 1), 0.0)
            high = np.where(flagged < n, beta.ppf(0.975, flagged + 1, n - flagged), 1.0)
        self.band_ = np.array([low, high])
        self.detected_ = None
        if anomaly_p_values is not None:
            self.detected_ = _shares_up_to(anomaly_p_values, self.rates_)

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: Rows,
        *,
        anomalies: Rows | None = None,
        kind: Literal["rates", "detections"] = "rates",
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the decisions of a calibrated detector on fresh rows.

        Parameters
        ----------
        estimator : fitted detector with `p_values`
            Such as :class:`~sklearn_hrn.ConformalOutlierDetector`.
        X : array-like of shape (n_fresh, n_features)
            Normal rows that neither trained nor calibrated.
        anomalies : array-like of shape (n_anomalies, n_features), default=None
            To see what is found.
        kind : {"rates", "detections"}, default="rates"
            As for `plot`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : FalseAlarmDisplay
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "p_values"):
            raise TypeError(
                f"{type(estimator).__name__} gives no p-values: calibrate it first, for instance "
                "with ConformalOutlierDetector(FrozenEstimator(detector)).fit(X_calibration)."
            )
        found = None if anomalies is None else estimator.p_values(anomalies)
        return cls(estimator.p_values(X), found).plot(ax=ax, kind=kind)

    @classmethod
    def from_predictions(
        cls,
        p_values: ArrayLike,
        *,
        anomaly_p_values: ArrayLike | None = None,
        kind: Literal["rates", "detections"] = "rates",
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw p-values that are there already.

        Parameters
        ----------
        p_values : array-like of shape (n_fresh,)
            Of fresh normal rows.
        anomaly_p_values : array-like of shape (n_anomalies,), default=None
            Of anomalies.
        kind : {"rates", "detections"}, default="rates"
            As for `plot`.
        ax : matplotlib Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : FalseAlarmDisplay
        """
        return cls(p_values, anomaly_p_values).plot(ax=ax, kind=kind)

    def plot(
        self, ax: "Axes | None" = None, *, kind: Literal["rates", "detections"] = "rates"
    ) -> Self:
        """Draw the rates asked for against those realised, or false alarms against detections.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a new figure.
        kind : {"rates", "detections"}, default="rates"
            "detections" needs anomalies.

        Returns
        -------
        display : FalseAlarmDisplay

        Raises
        ------
        ValueError
            If `kind` is unknown, or "detections" without anomalies.
        """
        if not isinstance(kind, str) or kind not in ("rates", "detections"):
            raise ValueError(f"kind={kind!r} is unknown: allowed are 'rates' and 'detections'.")
        if kind == "detections" and self.detected_ is None:
            raise ValueError("kind='detections' needs anomalies, and none were given.")
        self.ax_, self.figure_ = axes_of(ax, figsize=(5, 4))
        if kind == "rates":
            n = len(self.p_values)
            self.ax_.plot(self.rates_, self.rates_, color="k", linestyle=":", label="as asked")
            self.ax_.plot(self.rates_, self.realised_, label=f"{n} fresh normal rows")
            self.ax_.fill_between(self.rates_, *self.band_, alpha=0.25, label="95 % band")
            self.ax_.set(xlabel="rate of false alarms asked for", ylabel="rate realised")
            self.ax_.set(xscale="log", yscale="log", ylim=(0.002, 1))
        else:
            label = f"{len(self.anomaly_p_values)} anomalies"
            self.ax_.plot(self.realised_, self.detected_, color="C3", label=label)
            self.ax_.fill_betweenx(
                self.detected_, *self.band_, color="C3", alpha=0.2, label="95 % band"
            )
            self.ax_.set(xlabel="false alarms among fresh normal rows", ylabel="anomalies found")
            self.ax_.set(xlim=(0, 0.5), ylim=(0, 1.02))
        self.ax_.legend()
        return self


def _check_p_values(p_values, name):
    p_values = check_scores(p_values, name)
    if not 0 <= p_values.min() <= p_values.max() <= 1:
        raise ValueError(
            f"{name} must lie between 0 and 1, but are from {p_values.min():.3g} to "
            f"{p_values.max():.3g}: give those of `p_values`, not scores."
        )
    return p_values


def _shares_up_to(values, limits):
    return np.searchsorted(np.sort(values), limits, side="right") / len(values)
