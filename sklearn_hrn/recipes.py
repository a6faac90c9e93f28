"""Pipelines that need no tuning, spelled in scikit-learn parts."""

from sklearn.utils import check_random_state

from .one_class import HRNOneClassClassifier
from .pipelines import OneClassPipeline
from .preprocessing import InstanceL2Normalizer
from .tabular import FourierFeatures, NormalScoreTransformer

__all__ = ["make_hrn_pipeline"]


def make_hrn_pipeline(kind, *, random_state=None, device="auto", memory=None):
    """A pipeline for a kind of data, whose defaults need no tuning.

    Parameters
    ----------
    kind : {"paper", "tabular"}
        - "paper": the method as published, for images and other rows of many like features:
          instance normalisation ``"norm"`` and the classifier ``"hrn"``.
        - "tabular": columns of any kinds and units. ``"scale"`` brings every column halfway to a
          normal distribution (`NormalScoreTransformer`), ``"lift"`` makes orthogonal random
          Fourier features of three widths (`FourierFeatures`), ``"norm"`` brings the rows to
          length one, and ``"hrn"`` trains for 4000 updates, however many rows there are.
    random_state : int, RandomState instance or None, default=None
        Of all steps.
    device : str, default="auto"
        Of the classifier.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the fitted transformers.

    Returns
    -------
    pipeline : OneClassPipeline
        Unfitted. Its last step is named "hrn".

    Raises
    ------
    ValueError
        If `kind` is unknown.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_hrn import make_hrn_pipeline
    >>> X, kind = load_wine(return_X_y=True)
    >>> detector = make_hrn_pipeline("tabular", random_state=0).fit(X[kind == 0])
    >>> bool(detector.predict(X[kind == 2]).mean() < -0.9)
    True
    """
    if kind not in RECIPES:
        raise ValueError(f"kind={kind!r} is unknown: allowed are {sorted(RECIPES)}.")
    steps = RECIPES[kind]()
    seeds = check_random_state(random_state)
    for _, step in steps:
        if "random_state" in step.get_params(deep=False):
            fixed = None if random_state is None else int(seeds.randint(2**31 - 1))
            step.set_params(random_state=fixed)
    steps[-1][1].set_params(device=device)
    return OneClassPipeline(steps, memory=memory)


def _paper():
    return [("norm", InstanceL2Normalizer()), ("hrn", HRNOneClassClassifier())]


def _tabular():
    return [
        ("scale", NormalScoreTransformer()),
        ("lift", FourierFeatures()),
        ("norm", InstanceL2Normalizer(center=None, copy=False)),
        ("hrn", HRNOneClassClassifier(max_updates=4000)),
    ]


RECIPES = {"paper": _paper, "tabular": _tabular}
