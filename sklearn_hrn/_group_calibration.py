"""One calibration of all rows, or one of each group: thresholds, p-values and discoveries."""

import numpy as np
from scipy.stats import false_discovery_control

from ._calibration import (
    BETWEEN_0_AND_1,
    ascending,
    conformal_p_values,
    decisions,
    group_thresholds,
    weight_below,
)
from ._labels import check_groups, rows_by_group
from ._refusals import listed
from .exceptions import ResolutionWarning, warn


class GroupCalibration:
    """What calibration rows say of scores, group by group.

    Where there are no groups, all rows are of the group None, and what is kept of them is arrays
    and numbers; else it is a dict of these, by group.

    Parameters
    ----------
    scores : ndarray of shape (n_calibration,), or dict
        Ascending.
    weights : ndarray of shape (n_calibration,), or dict, or None
    """

    def __init__(self, scores, weights):
        self.scores, self.weights = _by_group(scores), _by_group(weights)

    @classmethod
    def of_rows(cls, scores, weights, groups):
        """Of rows in any order; of weights and groups (n_calibration,) either may be None."""
        known, known_weights = {}, {}
        for group, rows in rows_by_group(groups).items():
            name = "sample_weight" + ("" if group is None else f" of group {group!r}")
            some = None if weights is None else weights[rows]
            known[group], known_weights[group] = ascending(scores[rows], some, weights_name=name)
        return cls(known, None if weights is None else known_weights)

    def kept(self):
        """Scores and weights as they are kept."""
        weights = self.weights.get(next(iter(self.scores)))
        return _alone(self.scores), None if weights is None else _alone(self.weights)

    def thresholds(self, false_alarm_rate):
        """The threshold, or that of each group, for one rate or for one of each group."""
        rates = rate_of_each(false_alarm_rate, self.scores)
        return _alone(group_thresholds(self.scores, self.weights, rates))

    def parts(self, X, groups):
        """The rows of each group, if they are given as the calibration rows were.

        Raises
        ------
        ValueError
            If groups are missing, or given to no end, or have no calibration rows.
        """
        known = listed(list(self.scores))
        if groups is None and None not in self.scores:
            raise ValueError(
                "the calibration rows have groups, each with a threshold of its own: give groups=, "
                f"which of {known} each row is of."
            )
        if groups is not None and None in self.scores:
            raise ValueError(
                "groups are given, but the calibration rows have none: fit or calibrate with "
                "groups, or leave them out."
            )
        parts = rows_by_group(None if groups is None else check_groups(groups, X))
        unknown = [group for group in parts if group not in self.scores]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of the groups have no calibration rows, such as {unknown[0]!r}; "
                f"known groups are {known}: leave the rows out, or calibrate with rows of each."
            )
        return parts

    def decisions(self, scores, parts, offset):
        """Scores less the threshold of the group of each."""
        offsets = _by_group(offset)
        return _each(parts, scores, lambda group, some: decisions(some, offsets[group]))

    def p_values(self, scores, parts):
        """Conformal p-values of scores, each among the calibration rows of its group."""

        def of_group(group, some):
            known, weights = self.scores[group], self.weights.get(group)
            return conformal_p_values(some, known, calibration_weights=weights)

        return _each(parts, scores, of_group)

    def discoveries(self, p_values, parts, fdr, method):
        """Which of the p-values of a batch are discoveries, with a warning if none can be."""

        def smallest_of_group(group, _):
            return 1 / (1 + weight_below(len(self.scores[group]), self.weights.get(group))[-1])

        smallest = _each(parts, p_values, smallest_of_group)
        if not discoveries(smallest, fdr, method).any():
            rows = f"{max(len(self.scores[group]) for group in parts)} calibration rows"
            warn(
                f"nothing can be flagged at a false-discovery rate of {fdr:g}: with "
                f"{rows}{'' if None in parts else ' a group at most'} the smallest p-value is "
                f"{smallest.min():.2g}. Calibrate on more normal rows, or raise fdr.",
                ResolutionWarning,
            )
        return discoveries(p_values, fdr, method)

    def refuse_unproven(self, method):
        """Refuse a procedure whose false-discovery rate is not proven for p-values by weights.

        Raises
        ------
        ValueError
            If calibration rows differ in weight, and the procedure is not "by".
        """
        weights = [some for some in self.weights.values() if some is not None]
        if method != "by" and any(np.ptp(some) > 0 for some in weights):
            raise ValueError(
                f"method={method!r} is not proven to keep the rate where calibration rows differ "
                'in weight: take method="by", or decide by p_values(X) as you see fit.'
            )

    def refuse_verdicts(self):
        """Refuse to learn from rows that were screened, where one threshold is not all there is.

        Raises
        ------
        ValueError
            If the calibration rows have weights or groups.
        """
        if None not in self.scores or self.weights.get(None) is not None:
            raise ValueError(
                "feedback moves one threshold, of calibration rows without weights and groups, but "
                "these have some: calibrate anew, on recent normal rows."
            )


def rate_of_each(false_alarm_rate, groups):
    """The false-alarm rate of each group, given as one number or by group.

    Parameters
    ----------
    false_alarm_rate : float or dict of {group: float}
    groups : iterable
        Those of the calibration rows; None alone where there are no groups.

    Returns
    -------
    rates : dict of {group: float}

    Raises
    ------
    ValueError
        If a group has no rate, or one that is not between 0 and 1.
    """
    if not isinstance(false_alarm_rate, dict):
        return dict.fromkeys(groups, false_alarm_rate)
    if None in groups:
        raise ValueError(
            "false_alarm_rate has a rate for each group, but the calibration rows come without "
            "groups: give groups=, the group of each row, or one rate."
        )
    missing = [group for group in groups if group not in false_alarm_rate]
    if missing:
        raise ValueError(
            f"false_alarm_rate has no rate for {len(missing)} group(s) of the calibration rows, "
            f"such as {missing[0]!r}; it has rates for {listed(list(false_alarm_rate))}."
        )
    for group, rate in false_alarm_rate.items():
        if not BETWEEN_0_AND_1.is_satisfied_by(rate):
            raise ValueError(
                f"false_alarm_rate of group {group!r} must lie between 0 and 1, got {rate!r}."
            )
    return {group: false_alarm_rate[group] for group in groups}


def discoveries(p_values, fdr, method):
    """Which of some p-values, in their order, are discoveries (n_samples,)."""
    if method != "lond":
        return false_discovery_control(p_values, method=method) <= fdr
    levels = 6 * fdr / (np.pi * np.arange(1, len(p_values) + 1)) ** 2
    is_found, n_found = np.zeros(len(p_values), dtype=bool), 0
    for t, (p_value, level) in enumerate(zip(p_values, levels, strict=True)):
        is_found[t] = p_value <= level * (1 + n_found)
        n_found += is_found[t]
    return is_found


def _alone(by_group):
    """What is of the group None as it is; of other groups, by their names."""
    return by_group.get(None, by_group)


def _by_group(kept):
    return kept if isinstance(kept, dict) else {None: kept}


def _each(parts, values, answer):
    """What ``answer(group, values)`` is for the rows of each group (n_samples,)."""
    found = np.empty(len(values))
    for group, rows in parts.items():
        found[rows] = answer(group, values[rows])
    return found
