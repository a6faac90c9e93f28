"""The one-class classifier."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin

from ._base import FEW_ROWS, VersionedMixin, check_fitted, derived, learning_on_copy
from ._calibration import at_most_as_own, usual_threshold
from ._continued import learn_chunk, learn_verdicts
from ._copies import copies_of
from ._folds import make_folds
from ._labels import normal_rows
from ._lengths import doubt_lengths
from ._sklearn import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    callbacks_of,
    validate_params,
)
from ._typing import Calibration, Floats, Integers, Rows, Seed
from ._validation import LARGEST, check_rows
from .core.scoring import SLOPES, score_rows
from .exceptions import (
    CalibrationError,
    ConstantScoresWarning,
    quietly,
    warn,
)

if TYPE_CHECKING:
    import torch

N_TRAIN_QUANTILES = 1001

# Parameters in which estimators that train together may differ. All others shape the networks or
# the loop: a parameter that is not named here has to be equal.
PER_ESTIMATOR = (
    "reg_lambda",
    "reg_exponent",
    "anomaly_weight",
    "learning_rate_init",
    "max_iter",
    "max_updates",
    "tol",
    "n_estimators",
    "contamination",
    "calibration",
    "warm_start",
    "score_dtype",
    "random_state",
    "verbose",
)

# What a stream, and a calibration, have left behind.
OF_STREAMS = ("calibration_scores_", "drift_evidence_", "drift_error_")


def _row_numbers(name, chosen, X):
    """The numbers of some rows of X, or None for all of them, of one type."""
    if chosen is None:
        return None
    if not (isinstance(chosen, np.ndarray) and chosen.ndim == 1 and chosen.dtype.kind in "iu"):
        raise TypeError(
            f"{name} must hold an array of the numbers of rows for each estimator, or None for "
            f"all of them, but holds {chosen!r}."
        )
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(X):
        raise ValueError(
            f"{name} holds numbers from {chosen.min()} to {chosen.max()}, but the rows of its "
            f"array have those from 0 to {len(X) - 1}."
        )
    return chosen.astype(np.int64, copy=False)


def _converted(dtype, *coefs):
    return [coef.astype(dtype, copy=False) for coef in coefs]


class HRNOneClassClassifier(CallbackSupportMixin, OutlierMixin, VersionedMixin, BaseEstimator):
    r"""One-class classifier with holistic regularisation (HRN).

    A network f without output activation is trained on normal rows alone to minimise

        E_x[ -log sigma(f(x)) ]  +  lambda E_x[ ||grad_x f(x)||_2^n ]                  (Eq. 3)

    and f itself is the score: the higher, the more normal. The first term lifts f on the training
    rows, the second keeps it from growing anywhere else. f is a perceptron without biases, so that
    ``f(c x) = c f(x)`` for c > 0: rows are meant to be of one length, as
    `InstanceL2Normalizer` makes them.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of each hidden layer; the paper uses one layer of 100. ``()`` makes f linear.
    reg_lambda : float, default=0.1
        Weight :math:`\lambda \ge 0` of the regulariser; 0.1 is the paper's.
    reg_exponent : float, default=12
        Exponent :math:`n \ge 1` of the gradient norm; 12 is the paper's.
    anomaly_weight : float, default=0.0
        If above 0, rows with ``y == -1`` are not left out but kept below: this weight times the
        mean of ``-log sigma(-f)`` over them is added to the objective (of ``(1 + f)^2`` for the
        square loss). They have no part in the penalty, nor in `offset_`.
    loss : {"nll", "square"}, default="nll"
        ``-log sigma(f)`` or ``(1 - f)^2``, the alternative of the paper's Table 3.
    regularizer : {"h", "l2"} or None, default="h"
        ``lambda E ||grad_x f||^n``; plain weight decay ``lambda ||theta||^2`` (HRN-L2 of Table 1);
        or nothing. The last two are ablations.
    activation : {"leaky_relu", "relu"}, default="leaky_relu"
        Of the hidden units; the leaky slope is 0.01, as in the authors' code.
    module : callable, default=None
        A function ``module(n_features) -> torch.nn.Module`` whose module maps (batch, n_features)
        to (batch,) or (batch, 1), each row on its own, in float32 as in float64, in place of the
        perceptron; its gradients come from autograd, which has to know their derivatives as well.
        It must be picklable (a function of a module, not a lambda) for the estimator to be.
        `ChannelNetwork` is that of the paper for colour images. A method
        ``gradient_norm(gradient, exponent) -> (batch,)`` of the torch module, if there is one,
        takes the place of :math:`\|\nabla_x f\|_2` in the penalty.
        `hidden_layer_sizes`, `activation` and `init` are then not used.
    n_estimators : int, default=1
        Networks that differ in their seed; the score is their mean.
    init : "auto" or float, default="auto"
        Half-width of the uniform initialisation. "auto" is the authors' :math:`1/\sqrt{2000}` for
        784-100-1, and for every other shape what gives the same first gradient norm, 0.033.
    learning_rate_init : float, default=0.1
        Step of the stochastic gradient descent; 0.1 is the paper's.
    momentum : float, default=0.9
        Momentum in [0, 1); 0.9 is that of the authors' code.
    batch_size : int, default=100
        Rows an update, as in the authors' code; all rows if there are fewer.
    preconditioning : float, default=1.0
        Largest factor by which a step of the first weights is longer along directions in which the
        rows vary little than along the one in which they vary most. 1 is the paper's plain descent;
        the recipes take 10, as rows have many directions behind `FourierFeatures` and
        `LandmarkFeatures`. The objective is the same. Not with `module`.
    max_iter : int, default=100
        Epochs; 100 is the paper's.
    max_updates : int, default=None
        If given, the number of optimiser steps in place of `max_iter`: the same work for 2000
        rows and for a million.
    tol : float, default=0.0
        Stop when the training loss improves in a round by less than ``tol * (log 2 - loss)``,
        log 2 being the loss of an untrained network (1 for the square loss). A round is an epoch,
        or as many as make 50 updates: a few updates tell nothing of a trend. 0 never stops.
    contamination : float in (0, 0.5] or None, default=0.01
        Share of the training rows below `offset_`; None puts `offset_` at the lowest training
        score. It moves the threshold and nothing else.
    calibration : {"cross"}, int, splitter or None, default=None
        Where `offset_` comes from: None takes scores of the training rows, which are higher than
        those of fresh rows. Else folds of the rows, as of `OneClassPipeline`, are scored by
        networks that were trained, together with the final ones, on the others, so that about
        `contamination` of fresh normal rows is flagged. Steps before the classifier have seen all
        rows; calibrate the pipeline where there are any.
    warm_start : bool, default=False
        Continue from the last fit: 40 epochs and then 60 are, bit for bit, 100 on the same rows, if
        no step is halved (see the notes).
    score_dtype : {"float64", "float32"}, default="float64"
        What scores are computed in; they are always returned in float64. In float32 bulk work takes
        little more than half the time, and the score of a row depends on the rows beside it in the
        sixth digit.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", ...; "auto" takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Of the initialisation and the order of the batches. The global generators of NumPy and
        torch are neither read nor moved.
    verbose : int, default=0
        1 shows a progress bar (with tqdm installed) or a line of text now and then, 2 a line an
        epoch.

    Attributes
    ----------
    offset_ : float
        ``decision_function = score_samples - offset_``.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Scores of training rows by networks that were not trained on them, ascending; all of them
        lower by a constant where their threshold would flag far more training rows than the rate,
        as where few rows differ. Only with `calibration`, or after `partial_fit`: then of the last
        2000 rows, old ones being rarer.
    drift_evidence_ : ndarray of shape (2,)
        How much speaks against a stream whose scores stay: of rows below the threshold, and of rows
        below the median (Shiryaev-Roberts statistics, one step a chunk). `DriftWarning` comes when
        their mean is above 1000. Only after `partial_fit`.
    drift_error_ : ndarray of shape (2,)
        Standard errors of the threshold and of the median of the scores before, in units of the
        score, as each chunk moves them along with the network by an estimate: what lies within
        three of them is no drift. Only after `partial_fit`.
    coefs_ : list of ndarray of shape (n_estimators, n_in, n_out), float32
        Weights, layer by layer. Not with `module`.
    module_state_ : dict of str to ndarray of shape (n_estimators, ...)
        Parameters and buffers of the modules. Only with `module`.
    n_iter_ : int
        Epochs trained, a last incomplete one included; of the longest estimator.
    n_updates_ : int
        Optimiser steps taken; of the longest estimator.
    history_ : dict of str to ndarray of shape (`n_iter_`, n_estimators)
        "loss" (the objective), "penalty" (its second term), "gradient_norm" and "learning_rate":
        means over each epoch's rows as they were trained on; NaN after an estimator has stopped.
    train_scores_ : ndarray of shape (1001,)
        Quantiles 0, 0.001, ..., 1 of the training scores.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.
    device_ : str
        The device the networks were trained on.

    See Also
    --------
    InstanceL2Normalizer : The instance normalisation that belongs in front.
    ChannelNetwork : The paper's network for colour images, a `module`.
    sklearn.svm.OneClassSVM : Kernel one-class classifier.
    sklearn.ensemble.IsolationForest : Detector by random splits.

    Notes
    -----
    A loss that becomes infinite or NaN, or more than 100 times that of an untrained network, takes
    the network back to the start of the round (see `tol`), which it repeats with half the step
    (`NonFiniteLossWarning`); after 30 halvings `TrainingDivergedError` is raised. A round begins
    also where a fit with a warm start goes on, and where networks that differ in length alone and
    are fitted together have a shorter one that ends: only where a step is halved, this makes them
    others than those of one fit alone. A failed refit leaves the previous fit as it was.

    There is no ``sample_weight``: in mini-batches a weight of two is not the same as two rows.
    Repeat rows, or draw them, instead.

    References
    ----------
    Hu, W., Wang, M., Qin, Q., Ma, J., and Liu, B. (2020). HRN: A holistic approach to one class
    learning. Advances in Neural Information Processing Systems 33.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_hrn import HRNOneClassClassifier, InstanceL2Normalizer
    >>> X, digit = load_digits(return_X_y=True)
    >>> detector = Pipeline([
    ...     ("norm", InstanceL2Normalizer()),
    ...     ("hrn", HRNOneClassClassifier(random_state=0)),
    ... ]).fit(X[digit == 0])
    >>> scores = detector.score_samples(X)
    >>> bool(scores[digit == 0].mean() > scores[digit != 0].mean())
    True
    """

    offset_: float
    calibration_scores_: Floats
    drift_evidence_: Floats
    drift_error_: Floats
    coefs_: list[NDArray[np.float32]]
    module_state_: dict[str, NDArray[Any]]
    n_iter_: int
    n_updates_: int
    history_: dict[str, Floats]
    train_scores_: Floats
    device_: str
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "reg_lambda": [Interval(Real, 0, None, closed="left")],
        "reg_exponent": [Interval(Real, 1, None, closed="left")],
        "anomaly_weight": [Interval(Real, 0, None, closed="left")],
        "loss": [StrOptions({"nll", "square"})],
        "regularizer": [StrOptions({"h", "l2"}), None],
        "activation": [StrOptions(set(SLOPES))],
        "module": [callable, None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"auto"}), Interval(Real, 0, LARGEST, closed="neither")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "preconditioning": [Interval(Real, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "max_updates": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "contamination": [Interval(Real, 0, 0.5, closed="right"), None],
        "calibration": [
            StrOptions({"cross"}),
            Interval(Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            None,
        ],
        "warm_start": ["boolean"],
        "score_dtype": [StrOptions({"float64", "float32"})],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # A pipeline refuses fewer by the name of the step.
    _least_rows = 2

    def __init__(
        self,
        hidden_layer_sizes: ArrayLike = (100,),
        *,
        reg_lambda: float = 0.1,
        reg_exponent: float = 12,
        anomaly_weight: float = 0.0,
        loss: Literal["nll", "square"] = "nll",
        regularizer: Literal["h", "l2"] | None = "h",
        activation: Literal["leaky_relu", "relu"] = "leaky_relu",
        module: Callable[[int], "torch.nn.Module"] | None = None,
        n_estimators: int = 1,
        init: Literal["auto"] | float = "auto",
        learning_rate_init: float = 0.1,
        momentum: float = 0.9,
        batch_size: int = 100,
        preconditioning: float = 1.0,
        max_iter: int = 100,
        max_updates: int | None = None,
        tol: float = 0.0,
        contamination: float | None = 0.01,
        calibration: Calibration = None,
        warm_start: bool = False,
        score_dtype: Literal["float64", "float32"] = "float64",
        device: str = "auto",
        random_state: Seed = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.reg_lambda = reg_lambda
        self.reg_exponent = reg_exponent
        self.anomaly_weight = anomaly_weight
        self.loss = loss
        self.regularizer = regularizer
        self.activation = activation
        self.module = module
        self.n_estimators = n_estimators
        self.init = init
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.batch_size = batch_size
        self.preconditioning = preconditioning
        self.max_iter = max_iter
        self.max_updates = max_updates
        self.tol = tol
        self.contamination = contamination
        self.calibration = calibration
        self.warm_start = warm_start
        self.score_dtype = score_dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Rows, y: ArrayLike | None = None) -> Self:
        """Train on the normal rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32, float64 and memory maps of them are read in place; other types become float32.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out, or kept below if `anomaly_weight` is above 0; all
            others are taken to be normal.

        Returns
        -------
        self : HRNOneClassClassifier

        Raises
        ------
        ValueError
            For a parameter or a value of X that is not allowed, or if fewer than two normal rows
            are left.
        TrainingDivergedError
            If the loss explodes however small the step.
        CalibrationError
            With `calibration`, if there are fewer rows than folds.

        Warns
        -----
        ConstantScoresWarning, RowLengthWarning, CentredRowsWarning
            If the scores of the training rows are all alike or follow the length of the rows, or if
            the rows lie around zero on all sides.
        NonFiniteLossWarning
            If a round was repeated with half the step.
        ResolutionWarning
            With `calibration`, if there are too few rows for `contamination`.
        """
        rows = normal_rows(X, y, self)
        left_out = None if rows is None else np.setdiff1d(np.arange(len(y)), rows)
        with callbacks_of(self, X, y) as after_round:
            _fit_together([self], [X], [rows], [left_out], after_round=after_round)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Rows, y: ArrayLike | None = None) -> Self:
        """Train for one epoch on the next rows of a stream; the step and its momentum go on.

        Rows are scored before they are trained on. A reservoir of such scores, in which old ones
        become rarer, places the threshold for `contamination`: fresh rows are flagged at about
        that rate, also where what is normal changes slowly. As training moves the network, the
        scores are moved along, by the line that takes the quartiles of the chunk's scores from
        before to after, less what they gain by having trained: that is seen where two more networks
        go on with a half of the chunk each. Of the first chunk the scores are out-of-fold. A stream
        may go on from a `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A chunk of four rows and more, of hundreds better: of few tens, the threshold is
            moved along with errors that a `ResolutionWarning` tells of.
        y : array-like of shape (n_samples,), default=None
            Rows with ``y == -1`` are left out; all others are taken to be normal.

        Returns
        -------
        self : HRNOneClassClassifier

        Warns
        -----
        DriftWarning
            When chunk after chunk a quarter more rows than `contamination` says fall below the
            threshold, or a few more than half of them below the median of the scores before. Only
            once there were 2000 rows, and by more than three times `drift_error_`.
        """
        with learning_on_copy(self, continues=True) as learner:
            learner._validate_params()  # scikit-learn does so for the first chunk alone
            learn_chunk(learner, X, y)
        return self

    def fit_predict(self, X: Rows, y: ArrayLike | None = None) -> Integers:
        """Fit on the rows without ``y == -1``, and label all of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            +1 for normal rows, -1 for anomalies.
        """
        return self.fit(X, y).predict(X)

    def score_samples(self, X: Rows) -> Floats:
        """The mean output f(x) of the networks: the higher, the more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
        """
        check_fitted(self)
        return self._score(self._validate_rows(X, reset=False))

    def decision_function(self, X: Rows) -> Floats:
        """``score_samples(X) - offset_``: negative for anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,), float64
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Rows) -> Integers:
        """+1 where the decision function is at least 0, else -1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _continues(self):
        return self.warm_start and hasattr(self, "history_")

    def _validate_rows(self, X, reset):
        return check_rows(self, X, reset)

    @staticmethod
    @validate_params(
        estimators=[list, tuple],
        arrays=[list, tuple],
        rows=[list],
        anomalies=[list, None],
        quiet=[list, None],
    )
    def fit_together(
        estimators: "Sequence[HRNOneClassClassifier]",
        arrays: Sequence[Rows],
        rows: Sequence[NDArray[np.integer] | None],
        anomalies: Sequence[NDArray[np.integer] | None] | None = None,
        quiet: Sequence[bool] | None = None,
    ) -> None:
        """Fit some estimators in one run, each as it would be fitted alone.

        Those whose parameters are equal, but for such as differ from network to network (the
        weight and exponent of the penalty, step, length, seed, ...), train in one loop. Either all
        are fitted or, after an error, none is changed. Callbacks of scikit-learn are not called, as
        `fit` does.

        Parameters
        ----------
        estimators : list of HRNOneClassClassifier
        arrays : list of array-like of shape (n_samples, n_features)
            What each trains on. One array may stand for several: it is not copied.
        rows : list of (ndarray of int or None)
            The rows of its array that each trains on, by number from 0, no mask; None is all. A
            row that is named twice counts as two.
        anomalies : list of (ndarray of int or None), default=None
            The rows that each keeps below, if its `anomaly_weight` is above 0; None is none.
        quiet : list of bool, default=None
            Which give no warnings, as others on the same rows do; None is none of them.

        Raises
        ------
        TypeError
            If `rows` or `anomalies` hold anything but None and arrays of whole numbers.
        ValueError, TrainingDivergedError
            As by `fit`, or if an array has no row of such a number.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_hrn import HRNOneClassClassifier
        >>> X = np.random.default_rng(0).normal(1, 1, size=(60, 5))
        >>> folds = [np.arange(0, 40), np.arange(20, 60)]
        >>> models = [HRNOneClassClassifier(max_iter=2, random_state=0) for _ in folds]
        >>> HRNOneClassClassifier.fit_together(models, [X, X], folds)
        >>> bool(np.array_equal(models[0].coefs_[0], models[0].fit(X[:40]).coefs_[0]))
        True
        """
        _fit_together(estimators, arrays, rows, anomalies, quiet)

    def _settings(self):
        """The parameters that are a network's own, and all others; without those of a subclass."""
        shared = {name: getattr(self, name) for name in HRNOneClassClassifier._get_param_names()}
        return {name: shared.pop(name) for name in PER_ESTIMATOR}, shared

    def _learn_verdicts(self, kept, chunks, y):
        return learn_verdicts(self, kept, chunks, y)

    def _scores_by(self, task, learned, parts):
        """Scores of parts of the rows of a task, by the networks that learned from it."""
        model = copy(self)
        model._keep(learned)
        return [model._score(task.X, rows) for rows in parts]

    def _after_round(self, ask, X, rows, so_far):
        """Ask whether to stop, with what makes the attributes of a fit that would end here."""

        def attributes():
            model = copy(self)
            model._keep(so_far())
            model._set_threshold(model._score(X, rows))
            return vars(model)

        return ask(attributes)

    def _learned(self):
        """What `_keep` was given."""
        from ._training import Learned

        coefs, module_state = (getattr(self, n, None) for n in ("coefs_", "module_state_"))
        return Learned(coefs, module_state, self.history_, self._loop, self._fitted_module)

    def _keep(self, learned):
        """Take what has been learned."""
        for name in ("coefs", "module_state"):
            vars(self).pop(f"{name}_", None)
            if getattr(learned, name) is not None:
                setattr(self, f"{name}_", getattr(learned, name))
        self.history_, self._loop = learned.history, learned.loop
        self.n_iter_ = len(learned.history["loss"])
        self.n_updates_ = int(learned.loop["n_updates"].max())
        self.device_ = learned.device
        self._fitted_module, self._slope = learned.module, SLOPES[self.activation]

    def _set_threshold(self, scores):
        """`offset_` and `train_scores_` from the scores of the training rows."""
        size = np.abs(scores).max()
        if np.ptp(scores) <= 1e-9 * size:
            warn(
                f"all {len(scores)} training rows score {scores[0]:.6g}: the model tells nothing "
                "apart. Are the rows all equal, or made so by a normalisation (centring leaves "
                "nothing of one feature)?",
                ConstantScoresWarning,
            )
        self.train_scores_ = np.quantile(scores, np.linspace(0, 1, N_TRAIN_QUANTILES))
        if self.contamination is None:
            # The rounding of a score depends on the block it is computed in.
            self.offset_ = float(scores.min() - 4 * np.finfo(float).eps * size)
        else:
            self.offset_ = float(np.percentile(scores, 100 * self.contamination))

    def _folds(self, X, chosen):
        """The rows that train and the rows that are scored, by fold of the calibration."""
        if self.calibration is None:
            return []
        if self._continues():
            raise ValueError(
                "calibration trains anew in every fold, which a fit that continues does not: set "
                "warm_start=False, or calibration=None."
            )
        rows = np.arange(len(X)) if chosen is None else chosen
        shape = len(rows), self.n_features_in_
        copies = copies_of(X if chosen is None else X[chosen])
        folds = make_folds(self.calibration, *shape, self.contamination, copies)
        in_fold = min(len(fit_on) for fit_on, _ in folds)
        if in_fold < self._least_rows:
            raise CalibrationError(
                f"calibration={self.calibration!r} of {len(rows)} normal rows trains on {in_fold} "
                f"of them in a fold, but {self._least_rows} are needed at least: give more rows, "
                "other folds, or calibration=None."
            )
        return [(rows[fit_on], rows[held_out]) for fit_on, held_out in folds]

    def _set_calibrated(self, scores):
        """Move `offset_` to where scores of rows that did not train place it."""
        rate = self.contamination
        self.calibration_scores_ = scores = np.sort(scores)
        self.offset_ = float(scores[0]) if rate is None else usual_threshold(scores, rate)

    def _score(self, X, subset=None):
        """Scores of checked rows, or of a subset of them."""
        dtype = np.dtype(self.score_dtype)
        if self._fitted_module is None:
            coefs = self.coefs_
            if len(X) <= FEW_ROWS:
                coefs = derived(self, _converted, dtype, *coefs)
            return score_rows(coefs, X, self._slope, subset, dtype)
        from .core.modules import restored, score_with_modules

        learned = dtype, self._fitted_module, self.module_state_, self.n_features_in_
        few = len(X) <= FEW_ROWS
        modules = derived(self, restored, *learned) if few else restored(*learned)
        return score_with_modules(modules, X, subset, dtype)


def _fit_together(estimators, arrays, rows, anomalies=None, quiet=None, after_round=None):
    """`HRNOneClassClassifier.fit_together`; `after_round` is asked about the first of them."""
    from ._training import Task, train

    if not all(isinstance(one, HRNOneClassClassifier) for one in estimators):
        raise TypeError(f"estimators={estimators!r} must be HRNOneClassClassifiers.")
    with ExitStack() as stack:
        learners = [
            stack.enter_context(learning_on_copy(e, continues=e._continues())) for e in estimators
        ]
        tasks, folds, checked = [], [], {}
        anomalies = [None] * len(learners) if anomalies is None else anomalies
        quiet = [False] * len(learners) if quiet is None else quiet
        if {len(arrays), len(rows), len(anomalies), len(quiet)} != {len(learners)}:
            raise ValueError(
                f"{len(learners)} estimators take as many arrays, rows, anomalies and words on "
                f"being quiet, but got {len(arrays)}, {len(rows)}, {len(anomalies)} and "
                f"{len(quiet)}."
            )
        given = zip(learners, arrays, rows, anomalies, strict=True)
        for learner, X, chosen, labelled in given:
            learner._validate_params()
            start = learner._learned() if learner._continues() else None
            # Equal arrays must stay one array, also where the check has converted them.
            X = checked.setdefault(id(X), learner._validate_rows(X, reset=start is None))
            own, shared = learner._settings()
            chosen = _row_numbers("rows", chosen, X)
            labelled = _row_numbers("anomalies", labelled, X)
            labelled = labelled if learner.anomaly_weight > 0 else None
            ask = partial(learner._after_round, after_round, X, chosen) if after_round else None
            tasks.append(Task(own, shared, X, chosen, labelled, start, ask))
            folds.append(learner._folds(X, chosen))
            tasks += [Task(own, shared, X, fit_on, labelled, None) for fit_on, _ in folds[-1]]
        trained = zip(tasks, train(tasks), strict=True)
        for learner, held_out, is_quiet in zip(learners, folds, quiet, strict=True):
            task, learned = next(trained)
            for stale in OF_STREAMS:  # a fit that continues places its threshold by its own rows
                vars(learner).pop(stale, None)
            learner._keep(learned)
            scores = learner._score(task.X, task.rows)
            with quietly() if is_quiet else nullcontext():
                learner._set_threshold(scores)
                if learner.module is None:
                    doubt_lengths(task.X, task.rows, scores)
            if held_out:
                of_folds = [learner._scores_by(*next(trained), [rows]) for _, rows in held_out]
                of_folds = np.concatenate(of_folds, axis=None)
                learner._set_calibrated(at_most_as_own(of_folds, scores, learner.contamination))
