"""Pipelines that need no tuning, spelled in scikit-learn parts."""

from typing import Literal

from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import check_random_state

from ._sklearn import HasMethods, validate_params
from ._typing import Cache, Seed
from .image import PatchDictionary, RotationWhitening
from .kernel_approximation import LandmarkFeatures
from .one_class import HRNOneClassClassifier
from .pipelines import OneClassPipeline
from .preprocessing import InstanceL2Normalizer, NormalScoreTransformer, RidgeWhitener, TableEncoder

__all__ = ["make_hrn_pipeline"]

BATCH_SIZE = 50

# Rows that a recipe fits, at most: what 200 batches take, and of images, whose words take longer, a
# half: of photographs covariances are learned, which wants some thousands.
MAX_ROWS = 200 * BATCH_SIZE
MAX_IMAGES = 5000


@validate_params(
    random_state=["random_state"],
    device=[str],
    image_shape=[tuple, list, None],
    memory=[str, HasMethods(["cache"]), None],
)
def make_hrn_pipeline(
    kind: Literal["paper", "image", "tabular", "embedding"],
    *,
    random_state: Seed = None,
    device: str = "auto",
    image_shape: tuple[int, ...] | list[int] | None = None,
    memory: str | Cache | None = None,
) -> OneClassPipeline:
    """A pipeline for a kind of data, whose defaults need no tuning.

    Parameters
    ----------
    kind : {"paper", "image", "tabular", "embedding"}
        - "paper": the method as published, for images and other rows of many like features:
          instance normalisation ``"norm"`` and the classifier ``"hrn"``.
        - "image": images, with axes of their own or as rows, channels last, of any scale of pixels.
          ``"words"`` tells which words of a dictionary of patches are where (`PatchDictionary`),
          whitened against the same images turned where these look much alike
          (`RotationWhitening`), and which training rows have nearly the same words
          (`LandmarkFeatures`) where they do not; ``"hrn"`` trains for 300 updates.
        - "tabular": columns of any kinds and units, in arrays or data frames. ``"columns"`` makes
          numbers of text, categories, dates and gaps (`TableEncoder`), ``"scale"`` brings every
          column halfway to a normal distribution, such that no single value can move it
          (`NormalScoreTransformer`), ``"lift"`` tells which of 500 training rows are near
          (`LandmarkFeatures`, as wide as the rows are spread), and ``"hrn"`` trains 200 units for
          200 updates, however many rows there are, with steps that are longer where the rows vary
          little. ``"norm"`` passes rows on, as landmarks say by the length of a row how near it is;
          features that say nothing by it, such as `FourierFeatures`, want an
          `InstanceL2Normalizer` there.
        - "embedding": rows that a pre-trained network computed, such as features of images or
          embeddings of sentences. ``"views"`` are two side by side: the ``"direction"`` of a row,
          and the row ``"whitened"``, with little left of the directions in which normal rows
          differ anyway (`RidgeWhitener`), at length one beside a constant, which keeps its
          distance from the mean. ``"norm"`` brings both together to length one, ``"landmarks"``
          tells which training rows are near (`LandmarkFeatures`), and ``"hrn"`` trains 500
          units for 200 updates.

        "tabular" and "embedding" take sparse rows, too; of words, as
        :class:`~sklearn.feature_extraction.text.TfidfVectorizer` counts them, take "embedding".

        All but "paper" are calibrated (``calibration="cross"`` of `OneClassPipeline`): of fresh
        normal rows about the `contamination` of ``"hrn"`` is flagged, 1 % unless set otherwise.
        That takes one to ten fits more, the fewer the more rows there are;
        ``set_params(calibration=None)`` does without, where only the scores matter. They fit 10,000
        rows at most, as many as the updates of ``"hrn"`` take, or 5000 images, drawn at random
        (`subsample` of `OneClassPipeline`): a million rows take no more time and memory than these.
    random_state : int, RandomState instance or None, default=None
        Of all steps.
    device : str, default="auto"
        Of the classifier.
    image_shape : tuple of int, default=None
        Of kind "image": (height, width) or (height, width, channels). None takes it from the axes
        of the images, and rows for square images of one channel, or else of three.
    memory : str or object with the joblib.Memory interface, default=None
        Cache of the fitted transformers.

    Returns
    -------
    pipeline : OneClassPipeline
        Unfitted. Its last step is named "hrn".

    Raises
    ------
    ValueError
        If `kind` is unknown, or not "image" although `image_shape` is given.

    See Also
    --------
    OneClassPipeline : What it makes, with all parameters.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_hrn import make_hrn_pipeline
    >>> X, kind = load_wine(return_X_y=True)
    >>> known, fresh = X[kind == 0][:40], X[kind == 0][40:]  # wines of one cultivar
    >>> detector = make_hrn_pipeline("tabular", random_state=0)
    >>> detector = detector.set_params(hrn__contamination=0.05, hrn__max_updates=100).fit(known)
    >>> bool((detector.predict(X[kind == 2]) == -1).all())  # wines of another cultivar
    True
    >>> bool((detector.predict(fresh) == -1).mean() < 0.2)  # fresh wines of that one
    True
    """
    if not isinstance(kind, str) or kind not in RECIPES:
        raise ValueError(f"kind={kind!r} is unknown: allowed are {sorted(RECIPES)}.")
    if image_shape is not None and kind != "image":
        raise ValueError(f"image_shape is for kind='image'; leave it out for kind={kind!r}.")
    steps = RECIPES[kind]()
    seeds = check_random_state(random_state)
    for _, step in steps:
        for name in {} if step == "passthrough" else step.get_params():  # of its parts, too
            if name.split("__")[-1] == "image_shape":
                step.set_params(**{name: image_shape})
            if name.split("__")[-1] == "random_state" and random_state is not None:
                step.set_params(**{name: int(seeds.randint(2**31 - 1))})
    steps[-1][1].set_params(device=device)
    if kind == "paper":
        return OneClassPipeline(steps, memory=memory)
    subsample = MAX_IMAGES if kind == "image" else MAX_ROWS
    return OneClassPipeline(steps, calibration="cross", subsample=subsample, memory=memory)


def _paper():
    return [("norm", InstanceL2Normalizer()), ("hrn", HRNOneClassClassifier())]


def _image():
    near = Pipeline(
        [("norm", InstanceL2Normalizer(center=None)), ("landmarks", LandmarkFeatures())]
    )
    return [
        ("words", RotationWhitening(PatchDictionary(power=0.5), otherwise=near)),
        ("hrn", _classifier(300, n_updates=300)),
    ]


def _tabular():
    return [
        ("columns", TableEncoder()),
        ("scale", NormalScoreTransformer()),
        ("lift", LandmarkFeatures(500, gamma="scale")),
        # Where features of another kind, without a length of their own, take the landmarks' place.
        ("norm", "passthrough"),
        ("hrn", _classifier(200, n_updates=200)),
    ]


def _embedding():
    whitened = Pipeline(
        [
            ("whiten", RidgeWhitener()),
            ("norm", InstanceL2Normalizer(center=None, append="median")),
        ]
    )
    views = [("direction", InstanceL2Normalizer(center=None)), ("whitened", whitened)]
    return [
        ("views", FeatureUnion(views)),
        ("norm", InstanceL2Normalizer(center=None, copy=False)),
        ("landmarks", LandmarkFeatures()),
        ("hrn", _classifier(500, n_updates=200)),
    ]


def _classifier(n_units, n_updates):
    """Few updates of a wide network: a length that does not depend on the number of rows.

    ``python -m sklearn_hrn.benchmark adbench`` measures the recipe for tables with it.
    """
    return HRNOneClassClassifier(
        n_units, max_updates=n_updates, batch_size=BATCH_SIZE, preconditioning=10.0
    )


RECIPES = {"paper": _paper, "image": _image, "tabular": _tabular, "embedding": _embedding}
