"""The package nonconform, where it is installed, gives the same p-values and selections.

It needs Python 3.12 and no torch. In an environment that has it beside scikit-learn, pytest,
hypothesis and pandas::

    PYTHONPATH=. python3.12 -m pytest -q -p no:cacheprovider tests/test_nonconform.py

Its scores are higher for stranger rows, ours for more normal ones; everything else that differs has
a test below.
"""

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator

from sklearn_hrn.conformal import (
    ConformalOutlierDetector,
    conformal_p_values,
    likelihood_ratios,
)

nonconform = pytest.importorskip("nonconform", reason="nonconform needs Python 3.12")
scoring = pytest.importorskip("nonconform.scoring")

TIES = pytest.mark.parametrize("decimals", [None, 1], ids=["no ties", "ties"])


def draw(rng, n_rows, decimals):
    scores = rng.normal(size=n_rows)
    return scores if decimals is None else np.round(scores, decimals)


def rows(rng):
    """Rows to train on, to calibrate on, and fresh ones with anomalies at the end."""
    train, calibration = rng.normal(size=(300, 3)), rng.normal(size=(400, 3))
    fresh = np.concatenate([rng.normal(size=(80, 3)), rng.normal(4, 1, size=(20, 3))])
    return IsolationForest(n_estimators=30, random_state=0).fit(train), calibration, fresh


def theirs(forest, **options):
    strategy = nonconform.Split(n_calib=0.2)
    options = {"score_polarity": "higher_is_normal", "seed": 0, **options}
    return nonconform.ConformalDetector(detector=forest, strategy=strategy, **options)


@TIES
def test_p_values_are_equal(rng, decimals):
    known, fresh = draw(rng, 99, decimals), draw(rng, 500, decimals)
    expected = scoring.calculate_p_val(-fresh, -known)
    np.testing.assert_array_equal(conformal_p_values(fresh, known), expected)


@TIES
def test_weighted_p_values_are_equal(rng, decimals):
    known, fresh = draw(rng, 99, decimals), draw(rng, 500, decimals)
    weights, own = rng.exponential(size=99), rng.exponential(size=500)
    weights[:9] = 0
    expected = scoring.calculate_weighted_p_val(-fresh, -known, own, weights)
    found = conformal_p_values(fresh, known, calibration_weights=weights, weights=own)
    np.testing.assert_allclose(found, expected, rtol=1e-12)  # weights are summed from other ends


def test_of_a_frozen_detector_and_the_same_calibration_rows_all_is_equal(rng):
    forest, calibration, fresh = rows(rng)
    ours = ConformalOutlierDetector(FrozenEstimator(forest)).fit(calibration)
    other = theirs(forest).calibrate(calibration)
    np.testing.assert_array_equal(ours.p_values(fresh), other.compute_p_values(fresh))
    n_found = []
    for fdr in (0.05, 0.1, 0.2):
        flagged = ours.predict_fdr(fresh, fdr=fdr, method="bh") == -1
        np.testing.assert_array_equal(flagged, other.select(fresh, alpha=fdr))
        n_found.append(flagged.sum())
    assert 10 < n_found[0] <= n_found[-1] < 50


def test_of_groups_all_is_equal(rng):
    forest, calibration, fresh = rows(rng)
    group = np.where(calibration[:, 0] > 1, "high", "low")
    fresh_group = np.where(fresh[:, 0] > 1, "high", "low")
    ours = ConformalOutlierDetector(forest).calibrate(calibration, groups=group)
    other = theirs(forest).calibrate(calibration, groups=group)
    p_values = other.compute_p_values(fresh, groups=fresh_group)
    np.testing.assert_array_equal(ours.p_values(fresh, groups=fresh_group), p_values)
    flagged = ours.predict_fdr(fresh, fdr=0.2, groups=fresh_group) == -1
    assert flagged.any()
    np.testing.assert_array_equal(flagged, other.select(fresh, alpha=0.2, groups=fresh_group))


# --- what differs by convention -------------------------------------------------------------------


def test_ties_count_against_flagging_and_are_never_broken_at_random(rng):
    # Random ties are an option of theirs, for p-values that are uniform to the last digit. Ours are
    # the same at every call, and never smaller.
    known, fresh = draw(rng, 99, 1), draw(rng, 500, 1)
    randomised = scoring.calculate_p_val(
        -fresh, -known, tie_break="randomized", rng=np.random.default_rng(0)
    )
    assert np.all(conformal_p_values(fresh, known) > randomised)


def test_scores_of_several_models_are_averaged_by_their_mean_and_not_their_median(rng):
    # Theirs is the median unless "mean" is asked for; what ours promises is of the mean.
    _, calibration, fresh = rows(rng)
    found = {}
    for aggregation in ("mean", "median"):
        other = nonconform.ConformalDetector(
            detector=IsolationForest(n_estimators=10),
            strategy=nonconform.CrossValidation(k=5),
            aggregation=aggregation,
            score_polarity="higher_is_normal",
            seed=0,
        ).fit(calibration)
        found[aggregation] = other.compute_p_values(fresh)
    scores = [model.decision_function(fresh) for model in other.detector_set]
    ours = conformal_p_values(-np.mean(scores, axis=0), -np.asarray(other.calibration_set))
    np.testing.assert_array_equal(ours, found["mean"])
    assert not np.array_equal(ours, found["median"])


def test_a_weighted_detector_takes_the_largest_weight_for_that_of_a_fresh_row(rng):
    # Theirs estimates the weights of each batch anew, so that the answer for a row depends on the
    # batch; ours has one threshold, which no fresh row moves.
    forest, calibration, fresh = rows(rng)
    weights = rng.exponential(size=400)
    ours = ConformalOutlierDetector(forest).calibrate(calibration, sample_weight=weights)
    largest = np.full(100, weights.max())
    scores, known = forest.score_samples(fresh), forest.score_samples(calibration)
    expected = scoring.calculate_weighted_p_val(-scores, -known, largest, weights)
    np.testing.assert_allclose(ours.p_values(fresh), expected, rtol=1e-12)
    # Theirs then selects by a procedure of its own; ours is that of any p-values, "by" the one that
    # is proven for them.
    flagged = ours.predict_fdr(fresh, fdr=0.3, method="by") == -1
    np.testing.assert_array_equal(flagged, false_discovery_control(expected, method="by") <= 0.3)


def test_ratios_are_of_rows_that_the_classifier_was_not_trained_on(rng):
    # Theirs are of the rows it was trained on, cut at the 5th and 95th percentile unless told
    # otherwise; ours are out of fold, and whole. Of many rows and few columns that is little.
    old, new = rng.normal(size=(2000, 2)), rng.normal(0.7, 1, size=(1000, 2))
    estimator = nonconform.logistic_weight_estimator(clip_quantile=None)
    estimator.fit(old, new)
    other, _ = estimator.get_weights()
    # Up to a common factor, which p-values do not see: their classes weigh the same.
    difference = np.log(likelihood_ratios(old, new)) - np.log(other)
    assert np.std(difference) < 0.1 < np.std(np.log(other))
