"""Why a row scores as it does: one number a column, and the normal row it is compared with."""

from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._base import dense, row_blocks, rows_of_list
from .._labels import is_missing
from .._reference import as_frame, as_frame_of, as_pandas, library_of
from .._refusals import scores_anomalies
from .._sklearn import _safe_indexing
from .._typing import Estimator, Floats, Rows
from .._validation import check_axes, without_axes
from ..conformal import ConformalOutlierDetector
from ..grouped import HRNGroupedDetector
from ._columns import fitted_steps, sources, transformed
from ._slopes import NoSlopeError, pull_back

# Pieces of the path from the reference to a row.
N_PIECES = 8

# Orders, each there and back, in which columns take their value where no slope is known.
N_ORDERS = 4

# Share of the columns, those most alike, by which the nearest reference is found. Chosen on sets of
# ADBench that ``python -m sklearn_hrn.benchmark attribution`` does not show.
SHARE_ALIKE = 0.8


def feature_attribution(detector: Estimator, X: Rows, *, reference: Rows | None = None) -> Floats:
    r"""How much each column raises or lowers the score of a row, against a typical normal row.

    For a row x and its reference r the numbers of all columns sum to the difference of the scores,

    .. math:: \sum_j a_j(x) = f(x) - f(r),

    so that a negative number makes the row a stranger, and by how much. With every step of ours,
    and scikit-learn's usual scalers, encoders and projections, they are integrated gradients
    [1]_ of the score f along a straight path from r to x,

    .. math:: a_j(x) = (x_j - r_j) \int_0^1 \partial_j f(r + t (x - r)) \, dt,

    in the columns as they stand behind the steps that treat each column by itself: a change of
    units changes nothing, and a category or a gap counts as one difference to the reference.
    All other detectors are asked for the scores of rows whose columns change one by one from those
    of r to those of x, in 4 random orders and back again (Shapley values by sampling [2]_).

    Parameters
    ----------
    detector : fitted detector, pipeline, search or conformal detector
        Anything with `score_samples` or, failing that, `decision_function`.
    X : {array, data frame} of shape (n_samples, n_features)
        Rows as the detector takes them.
    reference : {array, data frame}, default=None
        One typical normal row (n_features,), or several (n_references, n_features), of which each
        row of X is compared with the nearest. None takes those that `OneClassPipeline`, or
        `ConformalOutlierDetector` around a detector that can learn from verdicts, kept of its
        training rows (`reference_rows`), but for such as it flags.

    Returns
    -------
    attributions : ndarray of shape (n_samples, n_features)
        In units of the score. Where the first step takes images (`image_shape_`), they have the
        shape of the images: (n_samples, height, width), or (n_samples, height, width, channels).

    Raises
    ------
    ValueError
        If there is no reference, or one of another width than X.
    TypeError
        If X has no columns, or the detector no scores.
    sklearn.exceptions.NotFittedError
        If the detector is not fitted.

    See Also
    --------
    nearest_normal : The rows that X is compared with.
    AttributionDisplay : The numbers as bars, as a heat map, or for many rows at once.

    Notes
    -----
    The path is cut into 8 pieces, and each step's mean slope over a piece is pulled back by the
    chain rule. A mean slope gives the difference of a step's values at the ends of the piece
    exactly, so the sum does not depend on the number of pieces; torch modules enter with their
    gradient in the middle of a piece, corrected to do the same.

    An attribution says what the detector reacted to. It is not a cause, and where columns depend on
    each other a strange combination is shared out among its columns.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep networks",
       ICML, 2017.
    .. [2] E. Strumbelj and I. Kononenko, "Explaining prediction models and individual predictions
       with feature contributions", Knowledge and Information Systems 41, 647-665, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import make_hrn_pipeline
    >>> from sklearn_hrn.inspection import feature_attribution
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> detector = make_hrn_pipeline("tabular", random_state=0)
    >>> detector = detector.set_params(hrn__max_updates=200).fit(X)
    >>> x = [[0.0, 6.0, 0.0]]
    >>> attributions = feature_attribution(detector, x, reference=[[0.0, 0.0, 0.0]])
    >>> int(attributions.argmin())
    1
    >>> rise = detector.score_samples(x) - detector.score_samples([[0.0, 0.0, 0.0]])
    >>> bool(np.allclose(attributions.sum(axis=1), rise, rtol=1e-3))
    True
    """
    explained = _Explained(detector, X, reference)
    try:
        attributions = explained.by_slopes()
    except NoSlopeError:
        attributions = explained.by_orders()
    shape = explained.image_shape
    if shape is None:
        return attributions
    return attributions.reshape(-1, *(shape[:2] if shape[2] == 1 else shape))


def nearest_normal(detector: Estimator, X: Rows, *, reference: Rows | None = None) -> Any:
    """The typical normal row that is nearest to each row: what would have to change.

    Parameters
    ----------
    detector : fitted detector, pipeline, search or conformal detector
        As for `feature_attribution`.
    X : {array, data frame} of shape (n_samples, n_features)
        Rows as the detector takes them.
    reference : {array, data frame}, default=None
        Normal rows to choose from, (n_references, n_features). None as for `feature_attribution`.

    Returns
    -------
    rows : {ndarray, data frame} of shape (n_samples, n_features)
        One row of the reference for each row of X: that with the smallest sum of differences over
        four fifths of the columns, those in which the two are most alike, in the units of the steps
        that treat each column by itself.

    Raises
    ------
    ValueError, TypeError, sklearn.exceptions.NotFittedError
        As `feature_attribution`.

    See Also
    --------
    feature_attribution : What each column adds to the difference.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn_hrn.inspection import nearest_normal
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> detector = IsolationForest(random_state=0).fit(X)
    >>> nearest_normal(detector, [[0.0, 6.0]], reference=[[0.0, 1.0], [3.0, 0.0]])
    array([[0., 1.]])
    """
    explained, library = _Explained(detector, X, reference), library_of(X)
    references = explained.references
    if explained.image_shape is not None and np.ndim(X) > 2:
        return np.reshape(references, (-1, *np.shape(X)[1:]))
    if library in (None, "pandas"):
        return references
    return as_frame_of(library, references)


class _Explained:
    """A detector, rows, and the normal row that each is compared with."""

    def __init__(self, detector, X, reference):
        check_is_fitted(detector)
        self.detector = innermost(detector)
        is_pipeline = isinstance(self.detector, Pipeline)
        self.steps = fitted_steps(self.detector) if is_pipeline else [self.detector]
        self.image_shape = getattr(self.steps[0], "image_shape_", None)
        self.X = self._rows(X, "X")
        threshold = -np.inf
        if reference is None:
            # A training row that is flagged itself is none to compare with.
            offset = getattr(self.detector, "offset_", threshold)
            threshold = threshold if isinstance(offset, dict) else offset
            reference = dense(_kept_rows(detector, self.detector))
            if reference is None:
                raise ValueError(
                    f"{type(self.detector).__name__} keeps no normal rows to compare with: give "
                    "reference=, one typical normal row or several of which the nearest is taken, "
                    "such as a sample of the training rows, or fit a OneClassPipeline with "
                    "reference_rows=500."
                )
        candidates = self._rows(reference, "reference")
        if candidates.shape[1] != self.X.shape[1]:
            raise ValueError(
                f"reference has {candidates.shape[1]} columns, but X has {self.X.shape[1]}: give "
                "rows of the same columns."
            )
        if hasattr(self.X, "columns") and not hasattr(candidates, "columns"):
            candidates = type(self.X)(candidates, columns=self.X.columns)
        # The detector's own checks, of the values, too.
        scores_of(self.detector, self.X)
        is_normal = scores_of(self.detector, candidates) >= threshold
        if is_normal.any():
            candidates = _safe_indexing(candidates, np.flatnonzero(is_normal))
        self.ends, of_candidates = self._encoded(self.X), self._encoded(candidates)
        nearest = _distances(self.ends, of_candidates).argmin(axis=1)
        self.references = _safe_indexing(candidates, nearest)
        self.starts = of_candidates[nearest]

    def _rows(self, X, name):
        if self.image_shape is not None:
            X, axes = without_axes(X)
            check_axes(axes, self.image_shape)
        return _table(X, name)

    @cached_property
    def _leading(self):
        """The steps that treat each column by itself, and where their columns come from."""
        found, leading = np.arange(self.X.shape[1]), []
        for step in self.steps[:-1]:
            of_step = sources(step, len(found))
            if of_step is None:
                break
            found = found[of_step]
            leading.append(step)
        return leading, found

    def _encoded(self, X):
        leading, _ = self._leading
        for step in leading:
            X = step.transform(X)
        rows = np.asarray(dense(X))
        if rows.dtype.kind != "O":
            return rows
        # All gaps alike: that of pandas cannot be compared, and NaN is not itself.
        plain = (None if is_missing(value) else value for value in rows.ravel())
        return np.fromiter(plain, object, rows.size).reshape(rows.shape)

    def by_slopes(self):
        """Integrated gradients, piece by piece of the path."""
        leading, found = self._leading
        later = self.steps[len(leading) :]
        try:
            starts, ends = self.starts.astype(np.float64), self.ends.astype(np.float64)
        except (TypeError, ValueError) as error:  # words and dates that no step has encoded
            raise NoSlopeError from error
        shares = np.linspace(0, 1, N_PIECES + 1)[:, None, None]
        widest = max([len(found), *(getattr(step, "n_features_in_", 1) for step in later)])
        attributions = np.zeros((self.X.shape[1], len(ends)))
        for block in row_blocks(len(ends), N_PIECES * widest):
            change = ends[block] - starts[block]
            points = starts[block] + shares * change
            points[-1] = ends[block]
            mean_slopes = _mean_slopes(later, points).mean(axis=0)
            np.add.at(attributions[:, block], found, (mean_slopes * change).T)
        return attributions.T

    def by_orders(self):
        """Columns take the values of X one by one; what the score does is theirs."""
        n_columns = self.X.shape[1]
        attributions = np.zeros(self.X.shape)
        rng = np.random.default_rng(0)
        orders = [rng.permutation(n_columns) for _ in range(min(N_ORDERS, n_columns))]
        for order in [*orders, *(order[::-1] for order in orders)]:
            rows = self.references.copy()
            before = scores_of(self.detector, rows)
            for j in order:
                _set_column(rows, j, self.X)
                after = scores_of(self.detector, rows)
                attributions[:, j] += after - before
                before = after
        return attributions / (2 * len(orders))


def _mean_slopes(steps, points):
    """Mean slopes of the score (n_pieces, n_rows, n_columns) between neighbouring points."""
    n_points, n_rows, _ = points.shape
    rows = [points.reshape(n_points * n_rows, -1)]
    for step in steps[:-1]:
        rows.append(transformed(step, rows[-1]))
    back = np.ones((len(rows[0]) - n_rows, 1))
    for step, X in zip(steps[::-1], rows[::-1], strict=True):
        back = pull_back(step, X[:-n_rows], X[n_rows:], back)
    return back.reshape(n_points - 1, n_rows, -1)


def innermost(detector):
    """The detector that gives the scores of a search, of a conformal or of a frozen detector.

    Several that a conformal detector takes the mean of are asked for that mean.
    """
    while True:
        if isinstance(detector, ConformalOutlierDetector) and len(detector.estimators_) == 1:
            detector = detector.estimator_
        elif hasattr(detector, "best_estimator_"):
            detector = detector.best_estimator_
        elif isinstance(detector, FrozenEstimator):
            detector = detector.estimator
        else:
            return detector


def _kept_rows(detector, inner):
    """The training rows that a detector, or the one in it, has kept; None if there are none."""
    kept = getattr(inner, "reference_rows_", None)
    if kept is None and isinstance(detector, ConformalOutlierDetector):
        return as_frame(vars(detector).get("_reference"))
    return kept


def _table(X, name):
    """Rows with columns: data frames as those of pandas, all else as an array of two axes."""
    X = as_pandas(X)
    if hasattr(X, "iloc"):
        return X.to_frame().T if X.ndim == 1 else X
    if hasattr(X, "toarray"):
        raise TypeError(f"{name} is sparse: give {name}.toarray(), in parts if it is large.")
    try:
        X = np.asarray(rows_of_list(X))
    except ValueError as error:  # ragged rows
        raise ValueError(f"{name} must have rows of one length: {error}") from error
    if X.ndim == 1 and name == "reference":
        X = X[None]
    if X.ndim == 1 and X.dtype.kind in "biuf":
        raise TypeError(f"{name} is one row, of shape {X.shape}: give {name}[None], or [{name}].")
    if X.ndim != 2:
        raise TypeError(
            f"{name} has shape {X.shape}, but rows with columns are needed, (n_samples, "
            "n_features). Text has none: explain the steps behind the vectorizer, "
            "feature_attribution(pipeline[1:], pipeline[0].transform(X).toarray(), reference=...)."
        )
    return X


def _distances(A, B):
    """Sums of absolute differences over the columns in which two rows are most alike.

    Two words, or a gap and a number, differ by one. The share of columns left out is that in which
    a row may be strange: these must not choose what it is compared with.
    """
    n_columns = A.shape[1]
    n_alike = ceil(SHARE_ALIKE * n_columns)
    is_plain = all(X.dtype.kind in "fiub" for X in (A, B))
    if is_plain:
        A, B = A.astype(np.float64), B.astype(np.float64)
        is_plain = not (np.isnan(A).any() or np.isnan(B).any())
    out = np.empty((len(A), len(B)))
    for block in row_blocks(len(A), len(B) * n_columns):
        if is_plain:
            differences = np.abs(A[block][:, None] - B)
        else:
            columns = zip(A[block].T, B.T, strict=True)
            differences = np.stack([_differences(a[:, None], b) for a, b in columns], axis=2)
        differences.partition(n_alike - 1, axis=2)
        out[block] = differences[..., :n_alike].sum(axis=2)
    return out


def _differences(a, b):
    try:
        a, b = a.astype(np.float64), b.astype(np.float64)
    except (TypeError, ValueError):
        return (a != b).astype(float)
    return np.where(np.isnan(a) | np.isnan(b), np.isnan(a) != np.isnan(b), np.abs(a - b))


def _set_column(rows, j, X):
    if hasattr(rows, "isetitem"):
        rows.isetitem(j, X.iloc[:, j].set_axis(rows.index))
    else:
        rows[:, j] = X[:, j]


def scores_of(detector, X):
    """Scores, higher = more normal."""
    if is_classifier(detector):
        raise TypeError(
            f"{type(detector).__name__} has a score for each class: explain the detector of one, "
            "such as heads_[label] of HRNContinualClassifier."
        )
    by_group = isinstance(detector, HRNGroupedDetector) and detector.group_column is None
    if by_group and len(detector.detectors_) > 1:
        raise TypeError(
            f"{type(detector).__name__} has a detector for each group, and does not see here which "
            "group a row is of: explain that of one, such as detectors_[group]."
        )
    if hasattr(detector, "score_samples"):
        return detector.score_samples(X)
    if not hasattr(detector, "decision_function"):
        raise TypeError(
            f"{type(detector).__name__} has neither score_samples nor decision_function, so there "
            "is nothing to explain (LocalOutlierFactor has both with novelty=True)."
        )
    scores = detector.decision_function(X)
    return -scores if scores_anomalies(detector) else scores
