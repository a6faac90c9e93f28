"""Displays show what they were given, and draw it where they are told to."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_hrn import ConformalOutlierDetector, HRNOneClassClassifier
from sklearn_hrn.inspection import (
    AnomalyScoreDisplay,
    AttributionDisplay,
    FalseAlarmDisplay,
    TrainingCurveDisplay,
    feature_attribution,
)

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is the extra [plot]")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def forest(X):
    return IsolationForest(n_estimators=10, random_state=0).fit(X)


def test_scores_are_drawn_with_the_threshold_and_the_share_below_it(ax, rng):
    X, strange = rng.normal(size=(60, 2)), rng.normal(size=(20, 2)) + 5
    detector = forest(X)
    display = AnomalyScoreDisplay.from_estimator(detector, {"fresh": X, "odd": strange}, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert display.flagged_["odd"] == (detector.predict(strange) == -1).mean()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"odd (20): {display.flagged_['odd']:.1%} flagged" in labels
    assert ax.lines[0].get_xdata()[0] == detector.offset_


def test_a_histogram_has_area_one_and_what_lies_below_stands_in_its_first_bar(ax):
    scores = np.r_[np.full(4, -1e6), np.linspace(0, 1, 996)]
    AnomalyScoreDisplay.from_predictions({"a": scores, "b": scores[-100:]}, ax=ax)
    for drawn, values in zip(ax.containers, (scores, scores[-100:]), strict=True):
        shares = [bar.get_height() * bar.get_width() for bar in drawn]
        assert_allclose(sum(shares), 1)
        end = drawn[0].get_x() + drawn[0].get_width()
        assert_allclose(shares[0], (values < end).mean())


def test_scores_without_a_threshold_flag_nothing(ax):
    display = AnomalyScoreDisplay.from_predictions({"a": [1.0, 2.0]}, ax=ax)
    assert display.flagged_ == {} and not ax.lines


def test_what_is_infinite_stands_at_an_end_or_nowhere_and_no_scores_are_refused(ax):
    scores = {"rows": [-np.inf, 0.0, 1.0, np.inf]}
    AnomalyScoreDisplay.from_predictions(scores, threshold=-np.inf, ax=ax)
    assert len(ax.lines) == 0 and ax.patches[0].get_x() == pytest.approx(0.005)
    with pytest.raises(ValueError, match="scores are empty"):
        AnomalyScoreDisplay({})


def test_thresholds_of_groups_are_not_drawn_as_one(ax, rng):
    X = rng.normal(size=(60, 2))
    detector = ConformalOutlierDetector(forest(X)).calibrate(X, groups=np.arange(60) % 2)
    display = AnomalyScoreDisplay.from_estimator(detector, {"fresh": X}, ax=ax)
    assert display.threshold is None and not ax.lines


def test_a_training_curve_has_a_point_an_epoch(ax, rng):
    hrn = HRNOneClassClassifier(max_iter=4, n_estimators=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), hrn).fit(rng.normal(size=(50, 3)))
    TrainingCurveDisplay.from_estimator(pipeline, ax=ax)
    (mean,) = (line for line in ax.lines if line.get_label() == "loss")
    assert_allclose(mean.get_ydata(), pipeline[-1].history_["loss"].mean(axis=1))
    assert mean.get_xdata().tolist() == [1, 2, 3, 4]
    # The mean is that of the networks that still train.
    curves = [[1.0, 2.0], [3.0, np.nan]]
    names = ("loss", "penalty", "gradient_norm")
    display = TrainingCurveDisplay.from_predictions(dict.fromkeys(names, curves))
    (mean,) = (line for line in display.ax_.lines if line.get_label() == "loss")
    assert mean.get_ydata().tolist() == [1.5, 3.0]


def test_a_detector_without_a_history_is_named(rng):
    with pytest.raises(TypeError, match="IsolationForest keeps no history_"):
        TrainingCurveDisplay.from_estimator(forest(rng.normal(size=(20, 2))))


def test_realised_rates_are_shares_of_p_values():
    display = FalseAlarmDisplay([0.001, 0.1, 0.2, 0.9], [0.001, 0.001])
    at = np.searchsorted(display.rates_, 0.15)
    assert display.realised_[at] == 0.5 and display.detected_[at] == 1.0
    assert (display.band_[0] <= display.realised_).all()
    assert (display.band_[1] >= display.realised_).all()
    assert (display.band_[:, -1] < 1).all()


@pytest.mark.parametrize("kind", ["rates", "detections"])
def test_false_alarms_are_drawn_from_a_calibrated_detector(kind, ax, rng):
    X = rng.normal(size=(200, 2))
    detector = ConformalOutlierDetector(forest(X), random_state=0).fit(X)
    display = FalseAlarmDisplay.from_estimator(detector, X, anomalies=X + 5, kind=kind, ax=ax)
    assert_allclose(display.p_values, detector.p_values(X))
    assert_allclose(display.anomaly_p_values, detector.p_values(X + 5))
    x, y = display.rates_, display.realised_
    if kind == "detections":
        x, y = display.realised_, display.detected_
    assert_allclose(ax.lines[-1].get_xydata(), np.column_stack([x, y]))
    (edge,) = ax.collections[0].get_paths()
    for limit in display.band_:
        points = np.column_stack([x, limit] if kind == "rates" else [limit, y])
        assert np.isclose(points[:, None], edge.vertices).all(axis=2).any(axis=1).all()


def test_a_p_value_at_the_rate_is_flagged():
    rates = FalseAlarmDisplay([0.5]).rates_
    realised = FalseAlarmDisplay([rates[50]]).realised_
    assert realised.tolist() == [0.0] * 50 + [1.0] * 150


def test_false_alarms_ask_for_what_they_lack(rng):
    with pytest.raises(TypeError, match="IsolationForest gives no p-values"):
        FalseAlarmDisplay.from_estimator(forest(rng.normal(size=(20, 2))), [[0.0, 0.0]])
    with pytest.raises(ValueError, match="needs anomalies"):
        FalseAlarmDisplay([0.5]).plot(kind="detections")
    with pytest.raises(ValueError, match="kind='roc' is unknown"):
        FalseAlarmDisplay([0.5]).plot(kind="roc")


def test_bars_show_the_largest_numbers_and_the_sum_of_the_others(ax, rng):
    table = pd.DataFrame(rng.normal(size=(50, 4)), columns=list("abcd"))
    detector = forest(table.to_numpy())
    x, reference = table.to_numpy()[:1] + np.eye(4)[1] * 9, table.to_numpy()[9]
    numbers = feature_attribution(detector, x, reference=reference)
    display = AttributionDisplay.from_estimator(detector, x, reference=reference, ax=ax)
    assert_allclose(sorted(bar.get_width() for bar in ax.patches), np.sort(numbers[0]))
    ax.clear()
    display.plot(ax, max_features=1)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths[0] == numbers.min()
    assert_allclose(sum(widths), numbers.sum())
    assert ax.get_yticklabels()[1].get_text() == "3 other columns"


def test_bars_name_columns_with_their_values(ax):
    X = pd.DataFrame({"age": [31.0], "town": ["Ulm"]})
    AttributionDisplay.from_predictions([[-0.5, 0.1]], X=X, ax=ax)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["age = 31", "town = Ulm"]


def test_bars_of_a_row_have_its_values_and_are_red_where_it_is_strange(ax):
    X = pd.DataFrame({"age": [31.0, 64.0], "size": [1.0, 2.0], "year": [1999.0, 2001.0]})
    numbers = [[-0.5, 0.1, 0.2], [0.3, -0.9, 0.2]]
    display = AttributionDisplay(numbers, X=X).plot(ax, kind="bars", row=1)
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["size = 2", "age = 64", "year = 2001"]
    assert [bar.get_width() for bar in ax.patches] == [-0.9, 0.3, 0.2]
    reds, _, blues, _ = np.transpose([bar.get_facecolor() for bar in ax.patches])
    assert (reds > blues).tolist() == [True, False, False]
    assert ax.yaxis_inverted()  # the largest is on top


def test_many_rows_become_a_swarm_that_hides_no_row(ax, rng):
    X = pd.DataFrame({"age": rng.normal(size=30), "town": ["Ulm", "Bonn"] * 15})
    numbers = np.c_[np.zeros(30), rng.normal(size=30)]
    AttributionDisplay.from_predictions(numbers, X=X, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["town", "age"]
    places = ax.collections[1].get_offsets()
    assert len(np.unique(np.asarray(places), axis=0)) == 30
    assert np.abs(places[:, 1] - 1).max() <= 0.4 * 30 / 2 / 15 + 1e-9


def test_a_swarm_is_in_order_of_mean_size_and_has_the_colours_of_the_values(ax):
    X = pd.DataFrame({"age": [1.0, 5.0, 9.0], "town": ["Ulm", "Bonn", "Kiel"]})
    numbers = np.array([[1.0, 3.0], [1.0, -3.0], [1.0, 0.0]])
    display = AttributionDisplay.from_predictions(numbers, X=X, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["town", "age"]
    town, age = ax.collections[:2]
    assert age.get_array().tolist() == [0, 0.5, 1]
    assert town.get_array().tolist() == [1, 0, 0.5]
    assert town.get_offsets()[:, 0].tolist() == [3, -3, 0]
    assert age.get_clim() == (0, 1)
    ax.clear()
    display.plot(ax, max_features=1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["town"]


def test_images_become_heat_maps(ax, rng):
    numbers, X = rng.normal(size=(2, 4, 4, 3)), rng.uniform(size=(2, 48))
    display = AttributionDisplay.from_predictions(numbers, X=X, ax=ax)
    assert_allclose(ax.images[-1].get_array(), numbers[0].sum(axis=2))
    display.plot(ax, row=1)
    assert_allclose(ax.images[-1].get_array(), numbers[1].sum(axis=2))
    assert_allclose(ax.images[-2].get_array(), X[1].reshape(4, 4, 3).mean(axis=2))
    limit = np.abs(numbers[1].sum(axis=2)).max()
    assert_allclose(ax.images[-1].get_clim(), [-limit, limit])
    red, _, blue, _ = ax.images[-1].to_rgba(-limit)
    assert red > blue  # what lowers the score


def test_names_that_are_given_are_shown_and_an_image_without_attributions_has_a_scale():
    names = ["low", "high"]
    display = AttributionDisplay.from_predictions([[0.1, -2.0]], feature_names=names)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["high", "low"]
    flat = AttributionDisplay(np.zeros((1, 2, 2))).plot()
    assert flat.ax_.images[-1].get_clim() == (-1, 1)


def test_rows_that_are_no_images_have_no_heat_map():
    with pytest.raises(ValueError, match="needs attributions of the shape of images"):
        AttributionDisplay([[1.0, 2.0]]).plot(kind="heatmap")
    with pytest.raises(ValueError, match="X must be the 4 rows of the attributions"):
        AttributionDisplay(np.zeros((4, 3)), X=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="must be one for each of 3 columns"):
        AttributionDisplay(np.zeros((4, 3)), feature_names=["a", "b"])
    with pytest.raises(ValueError, match="kind='pie' is unknown"):
        AttributionDisplay([[1.0, 2.0]]).plot(kind="pie")


def test_without_matplotlib_a_display_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sklearn-hrn\[plot\]"):
        AttributionDisplay([[1.0, 2.0]]).plot()


@pytest.mark.parametrize("p_values", [[0.5, 1.5], [-0.1], [np.inf]])
def test_numbers_that_are_no_p_values_are_refused(p_values):
    for given in ({"p_values": p_values}, {"p_values": [0.5], "anomaly_p_values": p_values}):
        with pytest.raises(ValueError, match="p_values must lie between 0 and 1, but are from"):
            FalseAlarmDisplay.from_predictions(**given)
