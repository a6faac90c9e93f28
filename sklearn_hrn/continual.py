"""One one-class head per class: a classifier that learns class after class and never forgets."""

from copy import copy
from functools import wraps
from inspect import signature
from math import ceil
from numbers import Number, Real
from typing import Any, Self
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from ._base import VersionedMixin, learning_on_copy
from ._calibration import false_alarm_threshold
from ._copies import copies_of
from ._joint_fit import fit_together
from ._labels import as_labels, distinct_labels, is_missing
from ._sklearn import Interval, _fit_context, has_callbacks, validate_params
from ._typing import Floats, Function, Rows, Seed
from ._validation import check_rows, draw_seeds
from .exceptions import once_a_kind
from .one_class import HRNOneClassClassifier

__all__ = ["HRNContinualClassifier"]

# Epochs a head, unless an estimator says otherwise. On a tenth of MNIST's training rows, held out
# of the rest, accuracy was 96.8 % after 100, 96.9 after 200 and 96.8 after 400.
MAX_ITER = 200


def _sends_parameters_of_heads_on(init: Function) -> Function:
    """Answer a parameter of the heads by how it is spelled."""

    @wraps(init)
    def checked(self, *args, **parameters):
        of_heads = parameters.keys() & set(HRNOneClassClassifier._get_param_names())
        of_heads -= set(signature(init).parameters)
        if of_heads:
            names = [name for name in parameters if name in of_heads]
            spelled = ", ".join(f"{name}={parameters[name]!r}" for name in names)
            raise TypeError(
                f"HRNContinualClassifier takes no {', '.join(names)}; parameters of its heads are "
                f"those of an estimator: HRNContinualClassifier(HRNOneClassClassifier({spelled}))."
            )
        init(self, *args, **parameters)

    return checked


class HRNContinualClassifier(ClassifierMixin, VersionedMixin, BaseEstimator):
    """Classifier of one-class heads, which learns new classes without touching the old ones.

    Every class has a head of its own, an `HRNOneClassClassifier` that is trained on the rows of
    that class alone. A row belongs to the class whose head scores it highest,

        argmax_k f_k(x)                                                                 (Eq. 7)

    which works because H-regularisation puts the scores of all heads on one scale. As no head ever
    sees another class, classes can come in any order, together or one by one: the result is the
    same, and nothing is forgotten.

    Parameters
    ----------
    estimator : HRNOneClassClassifier, default=None
        What every head is a clone of, with a `random_state`, `contamination` and `warm_start` of
        its own; None is ``HRNOneClassClassifier(max_iter=200)``. The step of a head whose rows have
        a mean squared length above one is divided by it, as the curvature of its loss grows with
        that: rows of any length can be learned, though those of length one are learned best. With
        ``calibration="cross"`` heads place their thresholds by rows that did not train; such a
        head learns its class once and cannot be continued. Callbacks that are set on it follow
        every head, which then train one after the other.
    reject_label : label, default=None
        What `predict` answers for a row that no head accepts: a value of the kind of the labels,
        which is not one of them. None always answers the best class.
    false_alarm_rate : float, default=0.01
        Share of the rows of a class that its head may fail to accept.
    validation_fraction : float, default=0.0
        Share of the rows of each class held out of training to place the threshold of its head,
        with the guarantee of :func:`~sklearn_hrn.false_alarm_threshold`. 0 places it on
        the training rows, which score higher than fresh ones: more of those are then rejected than
        wanted.
    random_state : int, RandomState instance or None, default=None
        The seed of a head is a function of it and of the label. None and a RandomState draw a
        number once, which is kept until the next `fit`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels learned so far, sorted.
    heads_ : dict of label to HRNOneClassClassifier
        The heads; each accepts rows that score at least its `offset_`.
    seed_ : int
        What `random_state` has given.
    n_iter_ : int
        Epochs of the head that was trained longest.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    HRNOneClassClassifier : A single head.
    InstanceL2Normalizer : The instance normalisation that belongs in front.

    Notes
    -----
    A head of d features and one hidden layer of h units takes ``4 h (d + 1)`` bytes, and as much
    again for its momentum, by which it can be continued: 0.6 MB for 784-100-1. Learning a class
    costs the same however many are known.

    The method is the HCL of the paper's Table 7.

    References
    ----------
    Hu, W., Wang, M., Qin, Q., Ma, J., and Liu, B. (2020). HRN: A holistic approach to one class
    learning. Advances in Neural Information Processing Systems 33.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_hrn import HRNContinualClassifier, HRNOneClassClassifier
    >>> from sklearn_hrn import InstanceL2Normalizer
    >>> X, digit = load_digits(return_X_y=True)
    >>> X = InstanceL2Normalizer().fit_transform(X)
    >>> head = HRNOneClassClassifier(max_iter=20)
    >>> classifier = HRNContinualClassifier(head, random_state=0)
    >>> for new in range(4):
    ...     classifier = classifier.partial_fit(X[digit == new], digit[digit == new])
    >>> classifier.classes_
    array([0, 1, 2, 3])
    >>> bool(classifier.score(X[digit < 4], digit[digit < 4]) > 0.9)
    True
    """

    classes_: NDArray[Any]
    heads_: dict[Any, HRNOneClassClassifier]
    seed_: int
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "estimator": [HRNOneClassClassifier, None],
        "random_state": ["random_state"],
        "reject_label": "no_validation",
        "false_alarm_rate": [Interval(Real, 0, 0.5, closed="right")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    }

    @_sends_parameters_of_heads_on
    def __init__(
        self,
        estimator: HRNOneClassClassifier | None = None,
        *,
        reject_label: float | str | None = None,
        false_alarm_rate: float = 0.01,
        validation_fraction: float = 0.0,
        random_state: Seed = None,
    ) -> None:
        self.estimator = estimator
        self.reject_label = reject_label
        self.false_alarm_rate = false_alarm_rate
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Rows, y: ArrayLike) -> Self:
        """Forget everything, and learn all classes of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Class labels: numbers or text. Any value is a class, -1 as well.

        Returns
        -------
        self : HRNContinualClassifier

        Raises
        ------
        ValueError
            For a parameter, a value of X or a label that is not allowed, or a class of one row.
        """
        return self._learn(X, y, None, anew=True)

    @validate_params(classes=["array-like", None])
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Rows, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Learn new classes, one or several; continue those that are known.

        New classes leave the heads of all others as they are. More rows of a known class continue
        the training of its head on these rows for another `max_iter` epochs (or `max_updates`
        steps) of `estimator`, and place its threshold anew; a head that is shown other rows than
        before drifts towards them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of labels, default=None
            If given, the labels of y must be among them. They are not stored: `classes_` holds
            what has been learned.

        Returns
        -------
        self : HRNContinualClassifier

        Raises
        ------
        ValueError
            As by `fit`; all that was learned before is then still there.
        """
        return self._learn(X, y, classes, anew=not hasattr(self, "heads_"))

    def forget(self, label: float | str) -> Self:
        """Remove a class.

        Parameters
        ----------
        label : label
            One of `classes_`, and not the last one.

        Returns
        -------
        self : HRNContinualClassifier

        Raises
        ------
        ValueError
            If the class is not known, or the only one.
        """
        check_is_fitted(self)
        if not isinstance(label, str | Number):
            raise ValueError(f"label={label!r} is no label: give one of {self.classes_.tolist()}.")
        heads = {known: head for known, head in self.heads_.items() if known != label}
        if len(heads) == len(self.heads_) or not heads:
            reason = "unknown" if heads else "the only one"
            raise ValueError(
                f"class {label!r} is {reason}; known are {self.classes_.tolist()}, of which one "
                "must stay."
            )
        self.heads_, self.classes_ = heads, self.classes_[self.classes_ != label]
        return self

    def score_heads(self, X: Rows) -> Floats:
        """The score of each head: the higher, the more normal for its class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        check_is_fitted(self)
        X = check_rows(self, X, reset=False)
        return np.column_stack([head.score_samples(X) for head in self._heads()])

    def decision_function(self, X: Rows) -> Floats:
        """The scores of the heads.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples, n_classes) or (n_samples,)
            As `score_heads`; of two classes, the score of the second minus that of the first.
        """
        scores = self.score_heads(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Rows) -> NDArray[Any]:
        """The class whose head scores highest, or `reject_label` where no head accepts the row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        scores = self.score_heads(X)
        best = scores.argmax(axis=1)
        if self.reject_label is None:
            return self.classes_[best]
        is_accepted = (scores >= [head.offset_ for head in self._heads()]).any(axis=1)
        return _answers(self.classes_, self.reject_label)[np.where(is_accepted, best, -1)]

    @np.errstate(under="ignore")  # what is far below the best is 0
    def predict_proba(self, X: Rows) -> Floats:
        """Softmax of the heads' scores over the spread of their training scores.

        Their order is that of the scores, and a difference of one standard deviation within a class
        is a ratio of e. It is not a calibrated probability, for which the heads would have to see
        rows of other classes; :class:`sklearn.calibration.CalibratedClassifierCV` makes one from
        labelled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Of the known classes; rejection has no part in them.
        """
        scores = self.score_heads(X)
        spread = np.mean([head.train_scores_.std() for head in self._heads()])
        return softmax(scores / (spread if spread > 0 else 1.0), axis=1)

    @property
    def n_iter_(self) -> int:
        """Epochs of the head that was trained longest."""
        check_is_fitted(self)
        return max(head.n_iter_ for head in self._heads())

    def _heads(self):
        return [self.heads_[label] for label in self.classes_.tolist()]

    def _learn(self, X, y, classes, anew):
        with learning_on_copy(self, continues=not anew) as learner:
            learner._validate_params()  # scikit-learn does so for the first classes alone
            X = check_rows(learner, X, reset=anew)
            rows = _rows_of_labels(X, y)
            if anew:
                learner.seed_, learner.heads_ = int(draw_seeds(self.random_state, 1)[0]), {}
            labels = _sorted_labels([*learner.heads_, *rows])
            _answers(labels, self.reject_label)
            allowed = rows if classes is None else np.array(classes, dtype=object).ravel().tolist()
            unnamed = [label for label in rows if label not in allowed]
            if unnamed:
                raise ValueError(f"y holds {unnamed}, which are not in classes={classes!r}.")
            # A dictionary of its own: the one before stays if the heads cannot be trained.
            learner.heads_ = {**learner.heads_, **learner._train(X, rows)}
            learner.classes_ = labels
        return self

    def _train(self, X, rows):
        """Train the heads of some classes together; heads that continue do so as copies."""
        heads, fit_rows, held_out = {}, [], {}
        for label, mine in rows.items():
            heads[label] = head = self._head(label)
            squared_length = np.square(X[mine], dtype=np.float64).sum(axis=1).mean()
            head.learning_rate_init /= max(1.0, squared_length)
            copies = copies_of(X[mine]) if self.validation_fraction > 0 else None
            n_rows = len(mine) if copies is None else len(copies.first)
            n_held_out = ceil(self.validation_fraction * n_rows)
            shuffled = np.random.default_rng(head.random_state).permutation(n_rows)
            fold = shuffled[n_held_out:], shuffled[:n_held_out]
            train, held = fold if copies is None else copies.with_copies([fold])[0]
            held_out[label] = mine[held]
            fit_rows.append(np.sort(mine[train]))
            if len(fit_rows[-1]) < 2:
                raise ValueError(
                    f"class {label!r} has {len(fit_rows[-1])} row(s) to train on, of {len(mine)} "
                    "in y; at least 2 are needed."
                )
        with once_a_kind():
            if any(map(has_callbacks, heads.values())):  # which are called by `fit` alone
                for head, chosen in zip(heads.values(), fit_rows, strict=True):
                    head.fit(X[chosen])
            else:
                fit_together(list(heads.values()), [X] * len(heads), fit_rows)
            for label, head in heads.items():
                if self.validation_fraction > 0:
                    scores = head.score_samples(X[held_out[label]])
                    head.offset_ = false_alarm_threshold(scores, self.false_alarm_rate)
        return heads

    def _head(self, label):
        """The head of a class to train: a fresh one, or a copy of the one there is."""
        given = self.estimator
        if given is None:
            given = HRNOneClassClassifier(max_iter=MAX_ITER)
        if label in self.heads_ and given.calibration is not None:
            raise ValueError(
                f"class {label!r} is known, and a head with calibration={given.calibration!r} "
                "learns its class once: give rows of other classes alone, forget the class before, "
                "or take an estimator with calibration=None."
            )
        head = copy(self.heads_[label]) if label in self.heads_ else clone(given)
        own = {
            "contamination": self.false_alarm_rate,
            "warm_start": True,
            "random_state": _seed_of_head(self.seed_, label),
        }
        return head.set_params(**{**given.get_params(deep=False), **own})


def _rows_of_labels(X, y):
    """label -> indices of its rows.

    Raises
    ------
    ValueError
        If y is missing, of another length than X, no labels, or of several kinds.
    """
    if y is None:
        raise ValueError(
            "HRNContinualClassifier requires y to be passed, but the target y is None: give a "
            "class label for every row."
        )
    y = column_or_1d(as_labels(y), warn=True)
    check_consistent_length(X, y)
    labels = distinct_labels(y)
    if any(isinstance(label, float) and is_missing(label) for label in labels):
        raise ValueError("y contains NaN, which is no class: leave those rows out.")
    labels = _sorted_labels(labels)
    check_classification_targets(y)
    return {label: np.flatnonzero(y == label) for label in labels.tolist()}


def _sorted_labels(labels):
    """Labels of one kind as a sorted array.

    Raises
    ------
    ValueError
        If some are text and others numbers, or if one is missing.
    """
    labels = list(labels)
    kinds = {type(label).__name__ for label in labels if not isinstance(label, (str, Number))}
    if kinds or len({isinstance(label, str) for label in labels}) > 1:
        shown = sorted(map(repr, labels))[:6]
        raise ValueError(
            f"class labels must be all numbers or all text, but those given are {shown}."
        )
    return np.unique(labels)


def _answers(labels, reject_label):
    """The labels, and behind them what is answered for a row that no head accepts."""
    if reject_label is None:
        return labels
    if not isinstance(reject_label, str | Number) or is_missing(reject_label):
        raise ValueError(
            f"reject_label={reject_label!r} is not allowed: give a number or a text, of the kind "
            "of the labels, or None."
        )
    if reject_label in labels.tolist():
        raise ValueError(
            f"reject_label={reject_label!r} is the label of a class; give a value that is none of "
            f"{labels.tolist()}."
        )
    try:
        _sorted_labels([*labels.tolist(), reject_label])
        return np.array([*labels.tolist(), reject_label])
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"reject_label={reject_label!r} is of another kind: {error}") from None


def _seed_of_head(seed, label):
    """A seed that does not depend on when, or beside what, a class is learned."""
    if isinstance(label, Number) and label == int(label):
        label = int(label)  # 1, 1.0 and True are one label
    words = np.random.SeedSequence([seed, crc32(repr(label).encode())]).generate_state(1)
    return int(words[0])
