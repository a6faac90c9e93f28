"""PyOD's detectors here, and ours among PyOD's."""

import random
import sys
import threading
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNOneClassClassifier,
    InlierKFold,
    InstanceL2Normalizer,
    OneClassPipeline,
)
from sklearn_hrn._refusals import scores_anomalies
from sklearn_hrn.inspection import feature_attribution
from sklearn_hrn.interop import HRNDetector, PyODDetector, _pyod

pyod = pytest.importorskip("pyod", reason="needs the extra peers")


def iforest(**parameters):
    from pyod.models.iforest import IForest

    return IForest(n_estimators=10, **parameters)


def ours():
    hrn = HRNOneClassClassifier(10, init=0.1, max_updates=20, random_state=0)
    return HRNDetector(OneClassPipeline([("norm", InstanceL2Normalizer()), ("hrn", hrn)]))


@pytest.fixture(scope="module")
def rows():
    """60 normal rows, and 60 of which the last 10 are far off."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 4)), np.vstack([rng.normal(size=(50, 4)), np.full((10, 4), 9.0)])


@parametrize_with_checks([PyODDetector(iforest())])
def test_a_detector_of_pyod_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("detector", [iforest(), "iforest.IForest", "ecod.ECOD", "knn.KNN"])
def test_signs_and_labels_are_scikit_learns(detector, rows):
    normal, mixed = rows
    fitted = PyODDetector(detector, random_state=0).fit(normal)
    scores = fitted.score_samples(mixed)
    assert scores[50:].max() < np.median(scores[:50])
    assert np.array_equal(scores, -fitted.detector_.decision_function(mixed))
    assert np.array_equal(fitted.predict(mixed), 1 - 2 * fitted.detector_.predict(mixed))
    assert set(fitted.predict(mixed)) == {-1, 1}
    fitted.offset_ = scores[0]  # a row on the threshold is not beyond it
    assert fitted.predict(mixed)[0] == 1


def test_marked_anomalies_are_left_out(rows):
    normal, mixed = rows
    y = np.r_[np.ones(60), -np.ones(60)]
    fitted = PyODDetector(iforest(), random_state=0).fit(np.vstack([normal, mixed]), y)
    alone = PyODDetector(iforest(), random_state=0).fit(normal)
    assert np.array_equal(fitted.score_samples(mixed), alone.score_samples(mixed))


@pytest.mark.parametrize(
    "name", ["iforest.IForest", pytest.param("deep_svdd.DeepSVDD", marks=pytest.mark.slow)]
)
def test_a_seed_repeats_a_fit_and_moves_no_global_generator(name, rows):
    import torch

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    normal, mixed = rows
    before = states()
    scores = [PyODDetector(name, random_state=0).fit(normal).score_samples(mixed) for _ in "12"]
    assert np.array_equal(*scores)
    assert np.isfinite(PyODDetector(name).fit(normal).score_samples(mixed)).all()
    assert states() == before


def test_seeds_differ_and_one_of_the_detector_s_own_is_kept(rows):
    normal, mixed = rows
    first, second = (
        PyODDetector(iforest(), random_state=seed).fit(normal).score_samples(mixed)
        for seed in (0, 1)
    )
    assert not np.array_equal(first, second)
    own = PyODDetector(iforest(random_state=5), random_state=0).fit(normal)
    assert own.detector_.random_state == 5


def test_a_detector_that_draws_while_it_scores_repeats_itself_and_has_no_batch_too_large(rows):
    import torch

    class Draws(pyod.models.base.BaseDetector):
        def __init__(self, contamination=0.1, batch_size=100, n_features=1):
            super().__init__(contamination=contamination)
            self.batch_size, self.n_features = batch_size, n_features

        def fit(self, X, y=None):
            self._set_n_classes(y)
            self.decision_scores_ = self.decision_function(X)
            self._process_decision_scores()
            return self

        def decision_function(self, X):
            return np.random.rand(len(X)) + random.random() + torch.rand(1).item()  # noqa: NPY002

    fitted = PyODDetector(Draws(), random_state=0).fit(rows[0])
    assert PyODDetector(Draws(), random_state=0).fit(rows[0]).offset_ == fitted.offset_
    scores = fitted.score_samples(rows[1])
    # Wherever the global generators are.
    np.random.rand(), random.random(), torch.rand(1)  # noqa: NPY002
    assert np.array_equal(fitted.score_samples(rows[1]), scores)
    assert (fitted.detector_.batch_size, fitted.detector_.n_features) == (60, 4)


def test_a_detector_inside_a_detector_of_pyod_is_not_the_one_that_is_fitted(rows):
    class Holds(pyod.models.base.BaseDetector):
        def __init__(self, inner=None, contamination=0.1):
            super().__init__(contamination=contamination)
            self.inner = inner

        def fit(self, X, y=None):
            self._set_n_classes(y)
            self.decision_scores_ = -self.inner.fit(X).score_samples(X)
            self._process_decision_scores()
            return self

        def decision_function(self, X):
            return -self.inner.score_samples(X)

    inner = IsolationForest(n_estimators=2)
    fitted = PyODDetector(Holds(inner), random_state=0).fit(rows[0])
    assert hasattr(fitted.detector_.inner, "estimators_")
    assert not hasattr(inner, "estimators_")


def test_a_detector_of_pyod_is_cloned_searched_calibrated_and_piped(rows):
    normal, mixed = rows
    detector = PyODDetector(iforest(max_features=0.5), random_state=0)
    again = clone(detector)
    assert again.detector is not detector.detector
    assert again.get_params()["detector__max_features"] == 0.5
    grid = {"pyoddetector__detector__n_estimators": [5, 10]}
    pipeline = make_pipeline(StandardScaler(), detector)
    y = np.r_[np.ones(110), -np.ones(10)]
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=InlierKFold(2))
    assert search.fit(np.vstack([normal, mixed]), y).best_score_ > 0.9
    conformal = ConformalOutlierDetector(detector, false_alarm_rate=0.2, random_state=0)
    conformal.fit(normal)
    assert (conformal.predict(mixed)[50:] == -1).all()


def test_a_detector_that_pyod_does_not_have_is_an_error(rows):
    with pytest.raises(ImportError, match="cannot be imported"):
        PyODDetector("no_such.Detector").fit(rows[0])
    with pytest.raises(ValueError, match="has no Detector"):
        PyODDetector("ecod.Detector").fit(rows[0])


# What PyOD's own tests ask of each of its detectors, one test a promise.


@pytest.fixture(scope="module")
def fitted(rows):
    return ours().fit(rows[0])


def test_it_has_what_every_detector_of_pyod_has(fitted, rows):
    from pyod.models.base import BaseDetector

    assert isinstance(fitted, BaseDetector)
    for name in ("decision_scores_", "labels_", "threshold_", "_mu", "_sigma"):
        assert getattr(fitted, name) is not None
    assert fitted.decision_scores_.shape == fitted.labels_.shape == (60,)
    assert fitted.labels_.sum() == 6  # a tenth
    assert np.array_equal(fitted.decision_scores_, fitted.decision_function(rows[0]))


def test_higher_is_more_anomalous_and_labels_are_zero_and_one(rows):
    normal, mixed = rows
    hrn = HRNOneClassClassifier(init=0.1, max_updates=200, random_state=0)
    pipeline = OneClassPipeline([("norm", InstanceL2Normalizer(append=1.0)), ("hrn", hrn)])
    detector = HRNDetector(pipeline).fit(normal)
    scores = detector.decision_function(mixed)
    assert np.array_equal(scores, -clone(pipeline).fit(normal).score_samples(mixed))
    assert "steps_" not in vars(pipeline)  # a parameter, which no fit changes
    labels = detector.predict(mixed)
    assert np.array_equal(labels, (scores > detector.threshold_).astype(int))
    assert labels[50:].mean() > labels[:50].mean()


def test_a_detector_of_pyod_is_known_at_the_end_of_whatever_holds_it():
    from pyod.models.hbos import HBOS

    for detector, expected in (
        (HBOS(), True),
        (PyODDetector(HBOS()), False),
        (IsolationForest(), False),
    ):
        held = FrozenEstimator(make_pipeline(StandardScaler(), detector))
        for outer in (detector, make_pipeline(StandardScaler(), detector), held):
            assert scores_anomalies(outer) == expected


@pytest.mark.parametrize("method", ["linear", "unify"])
def test_probabilities_are_probabilities(method, fitted, rows):
    p = fitted.predict_proba(rows[1], method=method)
    assert p.shape == (60, 2)
    assert p.min() >= 0
    assert np.allclose(p.sum(axis=1), 1)
    with pytest.raises(ValueError, match="conversion"):
        fitted.predict_proba(rows[1], method="something")


def test_confidence_rejection_and_ranks_work(fitted, rows):
    labels, confidence = fitted.predict(rows[1], return_confidence=True)
    assert set(labels) <= {0, 1}
    assert confidence.min() >= 0 and confidence.max() <= 1
    assert set(fitted.predict_with_rejection(rows[1])) <= {-2, 0, 1}
    ranks = fitted._predict_rank(rows[1], normalized=True)
    assert ranks.min() >= 0 and ranks.max() <= 1


def test_it_is_cloned_and_its_parameters_are_set(fitted):
    again = clone(fitted).set_params(estimator__hrn__max_updates=7, contamination=0.2)
    assert again.estimator["hrn"].max_updates == 7
    assert not hasattr(again, "decision_scores_")
    assert fitted.get_params()["contamination"] == 0.1


def test_it_is_saved_and_loaded_by_pyod(fitted, rows, tmp_path):
    from pyod.utils.persistence import load, save

    save(fitted, tmp_path / "detector.joblib")
    again = load(tmp_path / "detector.joblib", trusted=True)
    assert np.array_equal(again.decision_function(rows[1]), fitted.decision_function(rows[1]))


def test_the_share_of_training_rows_above_the_threshold_is_the_one_that_is_given(rows):
    detector = ours().set_params(contamination=0.3).fit(rows[0])
    assert detector.labels_.sum() == 18
    assert HRNDetector(contamination=0.3).contamination == 0.3


def test_the_tabular_recipe_is_what_it_uses_by_itself(rows):
    detector = HRNDetector(random_state=0)
    detector.fit(rows[0])
    assert list(detector.detector_.named_steps)[-1] == "hrn"
    assert detector.detector_.calibration is None and detector.contamination == 0.1
    assert detector.predict(rows[1])[50:].all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # SUOD's own
def test_suod_trains_one_of_ours_among_its_own(rows):
    pytest.importorskip("suod", reason="an engine of PyOD's that is installed by itself")
    from pyod.models.suod import SUOD

    normal, mixed = rows
    both = SUOD([iforest(), ours()], n_jobs=1, rp_flag_global=False, verbose=False).fit(normal)
    assert np.isfinite(both.decision_function(mixed)).all()


def test_without_pyod_the_message_says_what_to_install(monkeypatch, rows):
    monkeypatch.setattr(_pyod, "BaseDetector", object)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-hrn\[peers\]'"):
        HRNDetector()
    for name in [name for name in sys.modules if name.split(".")[0] == "pyod"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-hrn\[peers\]'"):
        PyODDetector("ecod.ECOD").fit(rows[0])


def test_what_is_no_detector_of_pyod_is_refused_by_name(rows):
    from pyod.models.knn import KNN

    X, _ = rows
    for wrong in (IsolationForest(), HRNOneClassClassifier()):
        with pytest.raises(TypeError, match=f"detector={type(wrong).__name__} is no unfitted"):
            PyODDetector(wrong).fit(X)
    with pytest.raises(TypeError, match="KNN is no unfitted detector of PyOD"):
        PyODDetector(KNN).fit(X)
    for wrong in ("knn", "pyod.models.knn.KNN"):
        with pytest.raises(ValueError, match=r'must be "module.Class"'):
            PyODDetector(wrong).fit(X)
    with pytest.raises(TypeError, match="estimator=KNN has no score_samples"):
        HRNDetector(KNN()).fit(X)
    with pytest.raises(ValueError, match=r"X holds text in column 1, .* HRNDetector takes"):
        HRNDetector().fit(np.array([[1.0, "a"]] * 9, dtype=object))


def test_threads_put_the_global_generators_back_where_they_were():
    before, inside = random.getstate(), threading.Event()

    def first():
        with _pyod._seeded(0):
            inside.set()
            time.sleep(0.1)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with _pyod._seeded(1):
        thread.join()
    assert random.getstate() == before


def test_a_pipeline_that_ends_in_a_detector_of_pyod_is_explained_with_our_signs(rows):
    normal, _ = rows
    strange = normal[:1] + np.array([0, 9, 0, 0])
    forest = iforest(random_state=0)
    for detector in (forest, make_pipeline(StandardScaler(), forest)):
        parts = feature_attribution(detector.fit(normal), strange, reference=normal[:1])
        assert parts[0, 1] < 0


def test_a_fit_that_fails_at_its_end_leaves_the_one_before(rows, monkeypatch):
    detector = ours().fit(rows[0])
    before = dict(vars(detector))

    def full(self):
        raise MemoryError

    monkeypatch.setattr(HRNDetector, "_process_decision_scores", full)
    with pytest.raises(MemoryError):
        detector.fit(rows[1])
    assert all(vars(detector)[name] is value for name, value in before.items())
