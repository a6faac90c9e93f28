"""scikit-learn's callbacks follow the rounds of a fit, and may end it."""

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_hrn import (
    HRNContinualClassifier,
    HRNGroupedDetector,
    HRNOneClassClassifier,
    OneClassPipeline,
    make_hrn_pipeline,
)
from sklearn_hrn.preprocessing import InstanceL2Normalizer

callback = pytest.importorskip("sklearn.callback")


class Follower:
    """Keeps what it is told, and asks for the end after some rounds."""

    def __init__(self, last=None, error=None):
        self.last, self.error, self.told = last, error, []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.told.append((context.task_name, fitted_estimator))
        if self.error is not None:
            raise self.error
        return self.n_rounds() == self.last

    def n_rounds(self):
        return sum(entry[0] == "round" for entry in self.told)

    def models(self):
        return [entry[1] for entry in self.told if entry[0] == "round"]


@pytest.fixture
def X(rng):
    return rng.normal(1, 1, size=(230, 6))


def hrn(**parameters):
    return HRNOneClassClassifier(20, **{"batch_size": 40, "random_state": 0, **parameters})


def test_every_round_is_told_and_nothing_is_changed(X):
    follower = Follower()
    model = hrn(max_updates=180).set_callbacks(follower).fit(X)
    alone = hrn(max_updates=180).fit(X)
    np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])
    assert model.offset_ == alone.offset_
    assert follower.n_rounds() == 4  # of 50 updates and what completes an epoch
    assert follower.told[0] == "setup" and follower.told[-1] == "teardown"
    assert follower.told[-2][0] == "fit"
    np.testing.assert_array_equal(follower.told[-2][1].score_samples(X), model.score_samples(X))


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_a_fit_that_is_ended_is_one_of_so_many_updates(X, n_estimators):
    follower = Follower(last=2)
    model = hrn(n_estimators=n_estimators).set_callbacks(follower).fit(X)
    assert follower.n_rounds() == 2
    shorter = hrn(n_estimators=n_estimators, max_updates=model.n_updates_).fit(X)
    for ours, theirs in zip(model.coefs_, shorter.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (model.offset_, model.n_iter_) == (shorter.offset_, shorter.n_iter_)


def test_what_is_told_can_score_as_a_fit_that_ends_there(X):
    follower = Follower()
    hrn(max_iter=40).set_callbacks(follower).fit(X)
    for model in follower.models():
        shorter = hrn(max_updates=model.n_updates_).fit(X)
        np.testing.assert_array_equal(model.decision_function(X), shorter.decision_function(X))


def test_held_out_rows_end_a_fit(X, rng):
    fresh = rng.normal(1, 1, size=(100, 6))

    class UntilHeldOutRowsFall(Follower):
        best = -np.inf

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            score = np.quantile(fitted_estimator.score_samples(fresh), 0.05)
            is_worse, self.best = score <= self.best, max(score, self.best)
            self.told.append((context.task_name, fitted_estimator))
            return is_worse

    follower = UntilHeldOutRowsFall()
    model = hrn(max_iter=3000).set_callbacks(follower).fit(X)
    assert follower.n_rounds() >= 2 and model.n_iter_ < 3000


def test_an_error_of_a_callback_leaves_an_earlier_fit(X):
    model = hrn(max_iter=2).fit(X)
    before = model.coefs_[0].copy()
    follower = Follower(error=RuntimeError("no more"))
    with pytest.raises(RuntimeError, match="no more"):
        model.set_callbacks(follower).set_params(random_state=1).fit(X)
    np.testing.assert_array_equal(model.coefs_[0], before)
    assert follower.told[-1] == "teardown"


def test_callbacks_of_a_pipeline_follow_all_rows_and_no_fold(X):
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(calibration=2)
    alone = clone(recipe).fit(X)
    follower = Follower()
    recipe["hrn"].set_callbacks(follower)
    recipe.fit(X)
    assert follower.n_rounds() == 4 and follower.told.count("setup") == 1
    assert recipe.offset_ == pytest.approx(alone.offset_, rel=1e-5)
    np.testing.assert_array_equal(recipe.score_samples(X), alone.score_samples(X))


@pytest.mark.parametrize("calibration", [None, 2])
def test_callbacks_follow_the_fit_of_every_group(X, calibration):
    follower, groups = Follower(), np.arange(len(X)) % 2
    recipe = OneClassPipeline([("hrn", hrn(max_updates=100))], calibration=calibration)
    alone = HRNGroupedDetector(recipe, unknown="error").fit(X, groups=groups)
    for estimator in (hrn(max_updates=100), clone(recipe)):
        last = getattr(estimator, "steps", [(None, estimator)])[-1][1]
        last.set_callbacks(follower)
        detector = HRNGroupedDetector(estimator, unknown="error").fit(X, groups=groups)
        assert follower.told.count("setup") == follower.told.count("teardown") == 2
        assert follower.n_rounds() == 2 * 2
        ours, theirs = (d.score_samples(X, groups) for d in (detector, alone))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        follower.told.clear()
    with pytest.raises(ValueError, match="give n_jobs=1"):
        detector.set_params(n_jobs=2).fit(X, groups=groups)


def test_callbacks_follow_every_head_and_may_end_its_training(X):
    follower, y = Follower(), np.arange(len(X)) % 2
    classifier = HRNContinualClassifier(hrn(max_updates=100), random_state=0)
    alone = clone(classifier).fit(X, y)
    classifier.estimator.set_callbacks(follower)
    np.testing.assert_allclose(classifier.fit(X, y).score_heads(X), alone.score_heads(X), atol=1e-6)
    assert follower.told.count("setup") == 2 and follower.n_rounds() == 2 * 2
    follower.last = follower.n_rounds() + 1
    before = classifier.heads_[1].n_updates_
    classifier.partial_fit(X[y == 1], y[y == 1])
    assert before < classifier.heads_[1].n_updates_ < 2 * before


def test_the_monitor_of_scikit_learn_works(X):
    def scoring(estimator, X, y):
        return {"lowest": float(estimator.score_samples(X).min())}

    monitor = callback.ScoringMonitor(scoring=scoring)
    model = hrn(max_updates=100).set_callbacks(monitor).fit(X, np.ones(len(X)))
    lowest = [entry["lowest"] for entry in monitor.get_logs().data if entry["task_name"] == "round"]
    assert len(lowest) == 2 and lowest[-1] == model.score_samples(X).min()


def test_the_progress_bar_of_scikit_learn_works(X, capsys):
    pytest.importorskip("rich", reason="it draws the bar")
    steps = [("norm", InstanceL2Normalizer()), ("hrn", hrn(max_updates=100))]
    OneClassPipeline(steps).set_callbacks(callback.ProgressBar()).fit(X)
    assert "HRNOneClassClassifier" in "".join(capsys.readouterr())
