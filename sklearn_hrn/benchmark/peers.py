"""The detectors that ours are compared with: name -> factory; higher score = more normal."""

from functools import partial
from importlib.util import find_spec

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_random_state

from ..recipes import make_hrn_pipeline


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


class DiffusionTime(NearestNeighboursDetector):
    """How much noise a row has, were it a training row with noise: DTE without a network.

    A training row plus Gaussian noise of unknown variance v makes a row at distance r of it with
    the density ``v^(-d/2) exp(-r^2 / 2v)``. With weight 1 / v given to all variances beforehand,
    the mean of v over the nearest rows is, but for a factor, ``sum_j r_j^(2-d) / sum_j r_j^-d``.

    References
    ----------
    Livernoche, V., Jain, V., Hezaveh, Y., and Ravanbakhsh, S. (2024). On diffusion modeling for
    anomaly detection. ICLR.
    """

    def score_samples(self, X):
        """Minus the logarithm of the mean variance (n_samples,) of the rows of X."""
        r = np.log(np.maximum(self.index_.kneighbors(X)[0], np.finfo(np.float32).tiny))
        d = X.shape[1]
        return logsumexp(-d * r, axis=1) - logsumexp((2 - d) * r, axis=1)


class KernelDensityDetector(KernelDensity):
    """Gaussian kernel density of Silverman's bandwidth."""

    def __init__(self):
        super().__init__(bandwidth="silverman")


def _of_pyod(name, seed):
    from ..interop import PyODDetector

    return PyODDetector(name, random_state=seed)


class RobustCovariance(EllipticEnvelope):
    """Mahalanobis distance from a robust centre; refused where it would take hours.

    Parameters
    ----------
    random_state : int
    """

    MOST_COLUMNS = 500

    def __init__(self, random_state=0):
        super().__init__(random_state=random_state)

    def fit(self, X, y=None):
        """Fit to X (n_samples, n_features), of at most `MOST_COLUMNS` columns."""
        if X.shape[1] > self.MOST_COLUMNS:
            raise ValueError(f"{X.shape[1]} columns: the time grows with their third power.")
        return super().fit(X)


class ExtendedForest(OutlierMixin, BaseEstimator):
    """The isolation forest of isotree, which splits along several columns at once.

    Parameters
    ----------
    random_state : int
    """

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y=None):
        """Grow the trees on X (n_samples, n_features)."""
        import isotree

        self.forest_ = isotree.IsolationForest(random_seed=self.random_state, nthreads=1).fit(X)
        return self

    def score_samples(self, X):
        """Scores (n_samples,) of the rows of X (n_samples, n_features)."""
        return -self.forest_.decision_function(X)


class DeepODDetector(OutlierMixin, BaseEstimator):
    """A network of DeepOD with its defaults.

    DeepOD asks for a torch of long ago and runs with that of today: ``pip install --no-deps
    deepod``.

    Parameters
    ----------
    name : {"ICL", "NeuTraL", "SLAD", "DeepSAD", "DevNet"}
        The last two learn from labelled anomalies, too.
    random_state : int

    References
    ----------
    Xu, H. (2023). DeepOD: Python deep outlier/anomaly detection.
    Shenkar, T. and Wolf, L. (2022). Anomaly detection for tabular data with internal contrastive
    learning. ICLR.
    Qiu, C., Pfrommer, T., Kloft, M., Mandt, S., and Rudolph, M. (2021). Neural transformation
    learning for deep anomaly detection beyond images. ICML.
    Xu, H., Wang, Y., Wei, J., Jian, S., Li, Y., and Liu, N. (2023). Fascinating supervisory signals
    and where to find them: deep anomaly detection with scale learning. ICML.
    """

    MOST_COLUMNS = 500

    def __init__(self, name, random_state=0):
        self.name = name
        self.random_state = random_state

    def fit(self, X, y=None):
        """Train on X (n_samples, n_features), y of +1 and, for some rows, -1."""
        if self.name == "ICL" and X.shape[1] > self.MOST_COLUMNS:
            raise ValueError(f"{X.shape[1]} columns: the time grows with their second power.")
        from deepod.models import tabular

        given = {"device": "cpu", "verbose": 0, "random_state": self.random_state}
        self.network_ = network = getattr(tabular, self.name)(**given)
        if self.name == "DevNet":
            # DeepOD gives its loss scores (n, 1) and labels (n,), which pairs every score with all
            # labels of the batch. As (n,) they meet their own, as in the published loss.
            forward = network.training_forward
            network.training_forward = lambda batch, net, loss: forward(
                batch, lambda X: net(X).squeeze(1), loss
            )
        network.fit(X, None if y is None else (y == -1).astype(int))
        return self

    def score_samples(self, X):
        """Scores (n_samples,) of the rows of X (n_samples, n_features)."""
        return -self.network_.decision_function(X)


def _on_our_features(seed):
    recipe = make_hrn_pipeline("tabular", random_state=seed)
    return make_pipeline(*(step for _, step in recipe.steps[:-1]), NearestNeighboursDetector())


PEERS = {
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "OneClassSVM": lambda seed: OneClassSVM(),
    "LocalOutlierFactor": lambda seed: LocalOutlierFactor(novelty=True),
    "nearest neighbours": lambda seed: NearestNeighboursDetector(),
    "kernel density": lambda seed: KernelDensityDetector(),
    "EllipticEnvelope": RobustCovariance,
    "DTE without a network": lambda seed: DiffusionTime(),
    "isotree": ExtendedForest,
}
# Peers whose name ends so see no z-scores, whatever the table gives to the others.
UNSCALED = ", columns as they are"
PEERS[f"nearest neighbours{UNSCALED}"] = PEERS["nearest neighbours"]
# Nearest neighbours behind the steps of the tabular recipe, in the place of HRN.
OUR_FEATURES = "nearest neighbours, our features"
PEERS[OUR_FEATURES] = _on_our_features
PYOD = {
    "PyOD ECOD": "ecod.ECOD",
    "PyOD COPOD": "copod.COPOD",
    "PyOD HBOS": "hbos.HBOS",
    "PyOD DeepSVDD": "deep_svdd.DeepSVDD",
    "PyOD LUNAR": "lunar.LUNAR",
    "PyOD AutoEncoder": "auto_encoder.AutoEncoder",
    "PyOD VAE": "vae.VAE",
    "PyOD ALAD": "alad.ALAD",
}
PEERS |= {name: partial(_of_pyod, path) for name, path in PYOD.items()}
# Those that are to be fitted with labels.
LABELLED = {f"DeepOD {name}": name for name in ("DeepSAD", "DevNet")}
DEEPOD = {f"DeepOD {name}": name for name in ("ICL", "NeuTraL", "SLAD")} | LABELLED
PEERS |= {name: partial(DeepODDetector, network) for name, network in DEEPOD.items()}

# Training rows a method is given at most: beyond, its time or memory grows with the square.
MOST_ROWS = {
    "OneClassSVM": 20_000,
    "LocalOutlierFactor": 20_000,
    "nearest neighbours": 20_000,
    "kernel density": 5_000,
    OUR_FEATURES: 20_000,
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
    packages = dict.fromkeys(PYOD, "pyod") | dict.fromkeys(DEEPOD, "deepod")
    packages["isotree"] = "isotree"
    return [n for n in names if n not in packages or find_spec(packages[n]) is not None]


def make_peer(name, seed, *, scaled=True):
    """An unfitted peer, behind a z-score of the columns if wanted."""
    detector = PEERS[name](seed)
    scaled = scaled and not name.endswith(UNSCALED) and name != OUR_FEATURES
    return make_pipeline(StandardScaler(), detector) if scaled else detector


def training_rows(name, n_rows, seed):
    """Which of the training rows a method is given: all, or a random part that it can bear."""
    most = MOST_ROWS.get(name.removesuffix(UNSCALED), n_rows)
    if n_rows <= most:
        return slice(None)
    return np.sort(check_random_state(seed).choice(n_rows, most, replace=False))
