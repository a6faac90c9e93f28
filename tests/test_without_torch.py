"""A machine that only scores needs no torch; `fit` says that it is what is missing."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNContinualClassifier,
    HRNOneClassClassifier,
    make_hrn_pipeline,
)

SCORE = """
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
import joblib, numpy as np
folder = sys.argv[1]
X = np.load(folder + "/rows.npy")
results = {}
for name in sys.argv[2:]:
    detector = joblib.load(f"{folder}/{name}.joblib")
    results[name] = detector.decision_function(X)
    assert len(detector.predict(X)) == len(X)
    try:
        detector.fit(X, np.ones(len(X)))
    except ImportError as error:
        assert "pip install torch" in str(error), error
    else:
        raise AssertionError("trained without torch")
    assert (detector.decision_function(X) == results[name]).all(), "a failed fit left traces"
np.savez(folder + "/scores.npz", **results)
"""


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:90]


def detectors():
    recipes = {
        kind: make_hrn_pipeline(kind, random_state=0).set_params(hrn__max_updates=3)
        for kind in ("paper", "tabular", "embedding", "image")
    }
    recipes["image"].set_params(words__transformer__patch_size=3)
    for kind in ("tabular", "embedding", "image"):
        recipes[kind].set_params(calibration=2)
    guarded = ConformalOutlierDetector(recipes["paper"], false_alarm_rate=0.1, random_state=0)
    classes = HRNContinualClassifier(HRNOneClassClassifier(max_updates=3), random_state=0)
    return recipes | {"conformal": guarded, "continual": classes}


def test_whatever_was_trained_elsewhere_scores_the_same_without_torch(
    digits, tmp_path, few_patches
):
    trained = {name: d.fit(digits, np.ones(len(digits))) for name, d in detectors().items()}
    for name, detector in trained.items():
        joblib.dump(detector, tmp_path / f"{name}.joblib")
    np.save(tmp_path / "rows.npy", digits)
    subprocess.run([sys.executable, "-c", SCORE, str(tmp_path), *trained], check=True)
    scores = np.load(tmp_path / "scores.npz")
    for name, detector in trained.items():
        # Products are rounded by where the arrays lie in memory, in the last digit.
        expected = detector.decision_function(digits)
        np.testing.assert_allclose(scores[name], expected, rtol=1e-12, atol=1e-15)
