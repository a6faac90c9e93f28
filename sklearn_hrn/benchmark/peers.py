"""The detectors that ours are compared with: name -> factory; higher score = more normal."""

from functools import partial
from importlib.util import find_spec

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_random_state


class NearestNeighboursDetector(OutlierMixin, BaseEstimator):
    """Minus the mean distance to the nearest training rows, the strongest simple detector.

    Parameters
    ----------
    n_neighbors : int, default=5
    """

    def __init__(self, n_neighbors=5):
        self.n_neighbors = n_neighbors

    def fit(self, X, y=None):
        """Keep the rows of X (n_samples, n_features)."""
        self.index_ = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(X))).fit(X)
        return self

    def score_samples(self, X):
        """Scores (n_samples,) of the rows of X (n_samples, n_features)."""
        return -self.index_.kneighbors(X)[0].mean(axis=1)


class KernelDensityDetector(KernelDensity):
    """Gaussian kernel density of Silverman's bandwidth."""

    def __init__(self):
        super().__init__(bandwidth="silverman")


def _of_pyod(name, seed):
    from ..interop import PyODDetector

    return PyODDetector(name, random_state=seed)


PEERS = {
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "OneClassSVM": lambda seed: OneClassSVM(),
    "LocalOutlierFactor": lambda seed: LocalOutlierFactor(novelty=True),
    "nearest neighbours": lambda seed: NearestNeighboursDetector(),
    "kernel density": lambda seed: KernelDensityDetector(),
}
# Peers whose name ends so see no z-scores, whatever the table gives to the others.
UNSCALED = ", columns as they are"
PEERS[f"nearest neighbours{UNSCALED}"] = PEERS["nearest neighbours"]
PYOD = {
    "PyOD ECOD": "ecod.ECOD",
    "PyOD DeepSVDD": "deep_svdd.DeepSVDD",
    "PyOD LUNAR": "lunar.LUNAR",
    "PyOD AutoEncoder": "auto_encoder.AutoEncoder",
    "PyOD VAE": "vae.VAE",
    "PyOD ALAD": "alad.ALAD",
}
PEERS |= {name: partial(_of_pyod, path) for name, path in PYOD.items()}

# Training rows a method is given at most: beyond, its time or memory grows with the square.
MOST_ROWS = {
    "OneClassSVM": 20_000,
    "LocalOutlierFactor": 20_000,
    "nearest neighbours": 20_000,
    "kernel density": 5_000,
    "PyOD LUNAR": 20_000,
    "PyOD DeepSVDD": 20_000,
    "PyOD AutoEncoder": 20_000,
    "PyOD VAE": 20_000,
}


def available(names):
    """The names whose package is installed.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    unknown = set(names) - set(PEERS)
    if unknown:
        raise ValueError(f"unknown peers {sorted(unknown)}: allowed are {sorted(PEERS)}.")
    return [name for name in names if name not in PYOD or find_spec("pyod") is not None]


def make_peer(name, seed, *, scaled=True):
    """An unfitted peer, behind a z-score of the columns if wanted."""
    detector = PEERS[name](seed)
    scaled = scaled and not name.endswith(UNSCALED)
    return make_pipeline(StandardScaler(), detector) if scaled else detector


def training_rows(name, n_rows, seed):
    """Which of the training rows a method is given: all, or a random part that it can bear."""
    most = MOST_ROWS.get(name.removesuffix(UNSCALED), n_rows)
    if n_rows <= most:
        return slice(None)
    return np.sort(check_random_state(seed).choice(n_rows, most, replace=False))
