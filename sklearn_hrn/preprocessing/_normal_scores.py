"""Columns of any kinds and units: one distribution for all."""

from numbers import Integral, Real

import numpy as np
from scipy.special import ndtri
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._base import NormalRowsEstimator
from .._sklearn import Interval

# Standard deviations beyond the training range at which a score stops growing.
REACH = 100

# Score of a value that differs from the only one seen in training, and how much it must differ:
# more than by the rounding of float32.
NOVELTY = 5.0
NOVEL = 1e-6


class NormalScoreTransformer(OneToOneFeatureMixin, TransformerMixin, NormalRowsEstimator):
    """Normal scores of each column, blended with its z-score and linear beyond the training range.

    A value becomes the normal quantile of its mid-rank among the training rows (van der Waerden
    scores), a line between few quantiles of the column: skew and heavy tails are gone, and ties
    stay together. The mean of that and of the z-score is then brought to mean zero and variance
    one. Normal scores alone close the gaps between clusters, where anomalies may lie; z-scores
    alone leave a skewed column with nearly all rows in one place.

    In contrast to :class:`sklearn.preprocessing.QuantileTransformer`, a value outside the training
    range is not put at the end of it but moves on, by one for each standard deviation, and a value
    other than the only one of a constant column gets +-5. For a detector both say more than the
    rest.

    Parameters
    ----------
    n_quantiles : int, default=5
        Distinct values kept of each column, from the lowest to the highest; between them normal
        scores are interpolated.
    linear : float, default=0.5
        Share of the z-score: 0 is the normal score alone, 1 the z-score.
    subsample : int, default=10_000
        Rows, drawn at random, from which quantiles and deviations are taken where there are more.
    random_state : int, RandomState instance or None, default=None
        Of the rows drawn.

    Attributes
    ----------
    quantiles_ : list of ndarray
        For each column the values kept, ascending, and the ends of the linear parts around them.
    scores_ : list of ndarray
        Their scores.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    sklearn.preprocessing.QuantileTransformer : The same without the world outside.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import NormalScoreTransformer
    >>> X = np.array([[1.0, 0.0], [10.0, 0.0], [100.0, 0.0]])
    >>> scores = NormalScoreTransformer().fit(X)
    >>> scores.transform(X).round(2)
    array([[-1.04,  0.  ],
           [-0.31,  0.  ],
           [ 1.35,  0.  ]])
    >>> scores.transform([[190.0, 1.0]]).round(2)
    array([[3.36, 5.  ]])
    """

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_quantiles": [Interval(Integral, 2, None, closed="left")],
        "linear": [Interval(Real, 0, 1, closed="both")],
        "subsample": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_quantiles=5, *, linear=0.5, subsample=10_000, random_state=None):
        self.n_quantiles = n_quantiles
        self.linear = linear
        self.subsample = subsample
        self.random_state = random_state

    def _learn(self, X):
        if len(X) > self.subsample:
            X = X[check_random_state(self.random_state).permutation(len(X))[: self.subsample]]
        knots = [_knots(column, self.n_quantiles, self.linear) for column in X.T]
        self.quantiles_, self.scores_ = map(list, zip(*knots, strict=True))

    def transform(self, X):
        """The scores of all values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            float32 for float32 input, else float64.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        out = np.empty_like(X)
        for j, knots in enumerate(zip(self.quantiles_, self.scores_, strict=True)):
            out[:, j] = np.interp(X[:, j], *knots)
        return out

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _knots(column, n_quantiles, linear):
    """Values and scores between which a column is interpolated."""
    values, counts = np.unique(column.astype(np.float64), return_counts=True)
    if len(values) == 1:
        step = NOVEL * max(abs(values[0]), np.finfo(np.float32).tiny)
        return values + step * np.array([-2, -1, 1, 2]), NOVELTY * np.array([-1.0, 0, 0, 1])

    def standardized(scores):
        """At the kept values, so that the training rows have mean zero and variance one."""
        of_rows = np.interp(values, values[kept], scores)
        mean = np.average(of_rows, weights=counts)
        return (scores - mean) / np.sqrt(np.average((of_rows - mean) ** 2, weights=counts))

    # Relative to the largest one, so that no square overflows.
    largest = np.abs(values).max()
    relative = values / largest
    deviation = np.sqrt(np.cov(relative, fweights=counts, ddof=0)) * largest
    kept = np.unique(np.linspace(0, len(values) - 1, n_quantiles).astype(int))
    normal = ndtri((np.cumsum(counts) - counts / 2) / len(column))[kept]
    z = standardized(relative[kept])
    scores = standardized((1 - linear) * standardized(normal) + linear * z)
    ends = np.array([-REACH, REACH])
    reach = values[[0, -1]] + ends * deviation
    return np.insert(reach, 1, values[kept]), np.insert(scores[[0, -1]] + ends, 1, scores)
