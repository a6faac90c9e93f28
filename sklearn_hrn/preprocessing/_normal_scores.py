"""Columns of any kinds and units: one distribution for all, which no single value can move."""

from functools import lru_cache
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import ndtri
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state

from .._base import FEW_ROWS, NormalRowsEstimator, dense, derived, row_blocks
from .._sklearn import Interval
from .._typing import Floats, Rows, Seed

# Bytes that the scores of sparse rows may take.
DENSE_BYTES = 2**30

# Rows of a group.
GROUP = 10

# Largest deviation in a group of ten normal rows, in standard deviations.
TYPICAL_RANGE = 1.54

# Marks of a group on either side of its middle, and what a value gains by passing one. Near ones,
# in its deviations, half a deviation apart up to three. Far ones, in its ranges over 1.54, from
# three to 32, ever further apart, so that the gain is one a deviation there, too.
STEP, RATIO, START, END = 0.5, 2**0.25, 3, 32
NEAR = np.arange(STEP / 2, START, STEP)
NEAR_GAINS = np.full(len(NEAR), STEP)
FAR_EDGES = START * RATIO ** np.arange(np.log(END / START) / np.log(RATIO))
FAR, FAR_GAINS = FAR_EDGES[:-1] * np.sqrt(RATIO), np.diff(FAR_EDGES)

# How the gain of far marks is damped in a column with heavy tails: divided by one and 20 times the
# share of rows that lie beyond the first of them.
DAMPING = 20

# Share of the rows at either end over which normal scores grow linearly, and how steeply they do.
OUTER = 0.02
OUTER_SLOPE = np.sqrt(2 * np.pi) * np.exp(ndtri(OUTER) ** 2 / 2)

# Scores that deviate less are not brought to variance one: few rows differ in such a column.
LEAST_DEVIATION = 0.5

# Columns are taken for columns of two values the less, the more rows hold another one: not at all
# from this share on.
SHARE_OF_OTHERS = 0.1

# Share of the pairs of rows that differ, at least, when two values are told apart: with fewer, a
# single row would say how far they lie apart.
LEAST_DIFFERENT = 0.1

# How far beyond the outermost rows their ranks end, relative to their values: much more than
# float32 rounds by.
NOVEL = 1e-5

# Knots up to which all columns are looked up at once: what that takes beside them is 40 megabytes.
MAX_KNOTS = 10**6

# Smaller numbers are taken for zero: a slope between two of them would overflow.
SMALLEST = 1e-290

# Marks at which scores are kept, beside the rows: outside of all, and between them and a glitch.
MARKS_KEPT = 200


class NormalScoreTransformer(OneToOneFeatureMixin, TransformerMixin, NormalRowsEstimator):
    r"""Columns brought halfway to a normal distribution, by steps that no single value can move.

    .. math:: t(x) = \frac{(1 - \beta)\, \Phi^{-1}(F(x)) + \beta\, \mathrm{near}(x) - \mu}{\sigma}
              + \delta\, \mathrm{far}(x)

    F is the share of training rows below a value, ties counting half, and its normal quantile (van
    der Waerden scores; linear in the outer 2 % of the rows) takes skew and heavy tails away. But it
    closes the gaps between clusters, where anomalies may lie, and ends at the last row. So *near*
    is the deviation from the middle of ten rows, in the mean deviation of these and three at most,
    averaged over all such groups of training rows; the two together are brought to mean zero and
    variance one. *Far* is how much further a value lies than three deviations, these taken from
    the range of each group, which knows heavy tails, and 25 at most: a row far outside has a score
    far outside. :math:`\delta` is one but for columns of which many rows lie there.

    *What one value can do.* It has one rank, and is in one group. Replacing one of n values of a
    column, n at most `subsample`, by any finite one moves the score of any other row by at most
    13 000 / n with the default parameters. That would take a column made for the purpose: of a
    normal column it is some 30 / n, of one with heavy tails some 300 / n, and that far outside.

    A value other than the only one of a constant column has a score of 5.47, and a column in which
    few rows differ is stretched by two at most, not to variance one. A column of two values, such
    as one that says whether a word is there, says which, and not how far: its values lie one apart,
    if each is that of a good twentieth of the rows, so that the ten columns of a category with
    ten words weigh about as much as one column of numbers. The more rows hold a third value, up to
    a tenth, the more it is brought to variance one like all others.

    Parameters
    ----------
    n_quantiles : int, default=None
        Values of each column at which scores are kept, evenly spaced among the distinct ones; None
        keeps all, which the bound below takes.
    linear : float, default=0.5
        Share :math:`\beta` of the deviation among the rows: 0 is the normal score.
    subsample : int, default=2000
        Rows, drawn at random, from which all is learned where there are more.
    random_state : int, RandomState instance or None, default=None
        Of the rows drawn.

    Attributes
    ----------
    quantiles_ : list of ndarray
        For each column the values at which scores are kept, ascending: all different ones, and
        some marks. Between them scores are interpolated.
    scores_ : list of ndarray
        Their scores.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if X had names that are all strings.

    See Also
    --------
    sklearn.preprocessing.QuantileTransformer : Ranks alone, and nothing outside.
    sklearn.preprocessing.RobustScaler : Deviations alone.

    Notes
    -----
    Sparse rows become dense ones, as what is zero has a score, too. Up to 1 GiB is made of them: of
    10,000 rows in float64, 13,000 columns.

    The rows of a group lie far apart in X, so that sorted rows do no harm. The constants were
    chosen on the ADBench files at odd places of the sorted file names, by nearest neighbours on
    the scores, and so that a single column of many that lies six deviations off is seen.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import NormalScoreTransformer
    >>> X = np.random.default_rng(0).normal(size=(1000, 1))
    >>> X[0] = 1e9
    >>> scores = NormalScoreTransformer().fit(X)
    >>> scores.transform([[0.0], [2.0], [6.0], [20.0], [1e9]]).round(1).ravel()
    array([ 0.1,  2.1,  4.7, 15.4, 24.6])
    """

    quantiles_: list[Floats]
    scores_: list[Floats]

    _makes_dense = True

    _parameter_constraints: dict = {  # noqa: RUF012 - scikit-learn's way of declaring parameters
        "n_quantiles": [Interval(Integral, 2, None, closed="left"), None],
        "linear": [Interval(Real, 0, 1, closed="both")],
        "subsample": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_quantiles: int | None = None,
        *,
        linear: float = 0.5,
        subsample: int = 2000,
        random_state: Seed = None,
    ) -> None:
        self.n_quantiles = n_quantiles
        self.linear = linear
        self.subsample = subsample
        self.random_state = random_state

    def _validate(self, X, reset):
        X = super()._validate(X, reset)
        n_bytes = X.shape[0] * X.shape[1] * X.dtype.itemsize
        if sparse.issparse(X) and n_bytes > DENSE_BYTES:
            raise MemoryError(
                f"X is sparse, but the scores of its {X.shape[0]} rows of {X.shape[1]} columns are "
                f"not: they take {n_bytes / 2**30:.1f} GiB, and {DENSE_BYTES / 2**30:.0f} GiB is "
                "what sparse rows may become. Leave rare columns out, give fewer rows at a time, "
                'or take make_hrn_pipeline("embedding"), which keeps rows sparse.'
            )
        return X

    def _learn(self, X):
        n_rows, n_columns = X.shape
        if n_rows > self.subsample:
            X = X[check_random_state(self.random_state).permutation(n_rows)[: self.subsample]]
        X = X.tocsc() if sparse.issparse(X) else X
        knots = []
        for block in row_blocks(n_columns, X.shape[0]):
            columns = dense(X[:, block]).astype(np.float64)
            columns[np.abs(columns) < SMALLEST] = 0
            # Ascending, as sorted values are looked up in a third of the time.
            of_columns = np.sort(columns.T, axis=1), *_groups(columns)
            # Marks, about four a row, and scores at them take more room than the columns.
            for few in row_blocks(len(of_columns[0]), 5 * X.shape[0] + MARKS_KEPT):
                some = [array[few] for array in of_columns]
                knots += _knots(*some, self.linear, self.n_quantiles)
        self.quantiles_, self.scores_ = map(list, zip(*knots, strict=True))

    def transform(self, X: Rows) -> NDArray[np.floating]:
        """The scores of all values.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features)
            float32 for float32 input, else float64.

        Raises
        ------
        MemoryError
            If X is sparse, and Z would take more than 1 GiB; `fit` raises it, too.
        """
        X = self._checked(X)
        if X.shape[0] <= FEW_ROWS:
            table = derived(self, _table, self.quantiles_, self.scores_)
            scores = None if table is None else _looked_up(dense(X), *table)
            if scores is not None:
                return scores
        X = X.tocsc() if sparse.issparse(X) else X
        out = np.empty(X.shape, dtype=X.dtype)
        for block in row_blocks(X.shape[1], X.shape[0]):
            columns = dense(X[:, block])
            knots = zip(self.quantiles_[block], self.scores_[block], strict=True)
            for j, of_column in enumerate(knots):
                out[:, block.start + j] = np.interp(columns[:, j], *of_column)
        return out

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _table(quantiles, scores):
    """What `_looked_up` takes of the knots of all columns; None if they are too many.

    Between two knots, a slope; behind the last one of a column, infinity, where its score stays.
    """
    n_knots = np.array([len(values) + 1 for values in quantiles])
    if n_knots.sum() > MAX_KNOTS:
        return None
    # Complex numbers are in order by their real parts, the columns, and then by the imaginary ones.
    knots = np.empty(n_knots.sum(), dtype=np.complex128)
    knots.real = np.repeat(np.arange(len(n_knots)), n_knots)
    knots.imag = np.concatenate([[*values, np.inf] for values in quantiles])
    scores = np.concatenate([[*values, values[-1]] for values in scores])
    with np.errstate(all="ignore"):
        slopes = np.diff(scores, append=0) / np.diff(knots.imag, append=0)
    return knots, scores, slopes, np.array([values[0] for values in quantiles])


def _looked_up(X, knots, scores, slopes, lowest):
    """As `np.interp` column by column, in one search; None where it would not be finite."""
    values = np.empty(X.shape, dtype=np.complex128)
    values.real = np.arange(X.shape[1])
    values.imag = np.maximum(X, lowest)
    at = knots.searchsorted(values, side="right") - 1
    with np.errstate(all="ignore"):
        found = slopes[at] * (values.imag - knots.imag[at]) + scores[at]
    return found.astype(X.dtype, copy=False) if np.isfinite(found).all() else None


def _groups(X):
    """Middle, deviation and range (n_features, n_groups) of groups of rows of X."""
    size = min(GROUP, len(X))
    n_groups = len(X) // size
    groups = np.sort(X[: size * n_groups].reshape(size, n_groups, -1), axis=0)
    # Halves first: the largest numbers must not overflow.
    middle = groups[(size - 1) // 2] / 2 + groups[size // 2] / 2
    with np.errstate(over="ignore"):
        distance = np.abs(groups - middle)
        # What the mean distance of a normal column is multiplied by to be its deviation.
        factor = np.sqrt(np.pi / 2 * size / max(size - 1, 1))
        deviation, reach = factor * distance.mean(axis=0), distance.max(axis=0) / TYPICAL_RANGE
    # Rows that are all alike do not say what is far.
    reach[reach == 0] = np.inf
    return middle.T, deviation.T, reach.T


def _knots(columns, middle, deviation, reach, linear, n_quantiles):
    """For each column the values between which scores are interpolated, and their scores.

    Parameters
    ----------
    columns : ndarray of shape (n_columns, n_rows)
        Each ascending.
    middle, deviation, reach : ndarray of shape (n_columns, n_groups)
    linear : float
    n_quantiles : int or None

    Yields
    ------
    values, scores : ndarray
    """
    n_rows = columns.shape[1]
    passed = np.append(0.0, np.cumsum(np.full(n_rows, 1 / n_rows)))
    ranks = columns, np.broadcast_to(passed, (len(columns), n_rows + 1))
    near = _marks(middle, deviation, NEAR, NEAR_GAINS)
    far = _marks(middle, reach, FAR, FAR_GAINS)
    with np.errstate(over="ignore"):
        kept = [
            _kept(*of_column, n_quantiles)
            for of_column in zip(columns, near[0], far[0], strict=True)
        ]
    values = np.zeros((len(kept), max(map(len, kept))))
    for row, each in zip(values, kept, strict=True):
        row[: len(each)] = each
    x = np.concatenate([columns, values], axis=1)
    inner = (1 - linear) * _normal_score(_passed(x, *ranks)) + linear * _passed(x, *near)
    of_rows, scores = inner[:, :n_rows], inner[:, n_rows:]
    damping = 1 / (1 + DAMPING * _share_beyond(columns, middle, reach))
    outer = damping[:, None] * _passed(values, *far)
    scale = np.maximum([_spread(rows) for rows in of_rows], LEAST_DEVIATION)
    scores = (scores - of_rows.mean(axis=1, keepdims=True)) / scale[:, None] + outer
    for each, of_column in zip(kept, scores, strict=True):
        yield each, of_column[: len(each)].copy()


def _spread(scores):
    """Standard deviation, but for columns of two values how far these lie apart."""
    ordered, counts = np.unique(scores, return_counts=True)
    shares = counts / len(scores)
    of_two = np.clip(1 - (1 - np.sort(shares)[-2:].sum()) / SHARE_OF_OTHERS, 0, 1)
    # Mean difference of two rows that differ, from the share below each gap.
    below = np.cumsum(shares)[:-1]
    differ = max(1 - shares @ shares, LEAST_DIFFERENT)
    apart = 2 * (below * (1 - below)) @ np.diff(ordered) / differ
    return (1 - of_two) * scores.std() + of_two * apart


def _kept(column, near, far, n_quantiles):
    """Distinct values of the rows, the ends of their ranks, and some marks, ascending."""
    values = _spaced(_distinct(column), n_quantiles)
    novel = NOVEL * np.maximum(np.abs(values[[0, -1]]), np.finfo(np.float32).tiny)
    ends = values[[0, -1]] + [-1, 1] * novel
    marks = np.sort(np.concatenate([_distinct(near), _distinct(far)]))
    kept = np.concatenate([values, ends, _spaced(marks, MARKS_KEPT)])
    return np.unique(kept[np.isfinite(kept)])


def _distinct(ascending):
    return ascending[np.append(ascending[1:] != ascending[:-1], True)]


def _spaced(values, most):
    """At most so many of some values, evenly spaced; all if `most` is None."""
    if most is None or len(values) <= most:
        return values
    return values[_places(len(values), most)]


@lru_cache(maxsize=16)
def _places(n, most):
    return np.linspace(0, n - 1, most).astype(int)


def _marks(middle, unit, distances, gains):
    """Steps at marks on either side of the middle of each group, and nothing gained between.

    Parameters
    ----------
    middle, unit : ndarray of shape (n_columns, n_groups)
    distances, gains : ndarray of shape (n_distances,)

    Returns
    -------
    marks : ndarray of shape (n_columns, n_marks)
        Ascending.
    gained : ndarray of shape (n_columns, n_marks + 1)
        Below each mark, and above all.
    """
    n_groups = middle.shape[1]
    with np.errstate(over="ignore"):
        away = unit[:, :, None] * distances
        marks = np.concatenate([middle[:, :, None] - away, middle[:, :, None] + away], axis=1)
    marks = marks.reshape(len(marks), -1)
    order = np.argsort(marks, axis=1)
    passed = np.cumsum(np.tile(gains / n_groups, 2 * n_groups)[order], axis=1)
    marks = np.take_along_axis(marks, order, axis=1)
    return marks, np.pad(passed, ((0, 0), (1, 0))) - gains.sum()


def _passed(x, marks, gained):
    """What each x of a column has gained: the mean of both sides of a step it stands on."""
    before, after = (
        np.take_along_axis(gained, _counted(marks, x, side), axis=1) for side in ("left", "right")
    )
    return (before + after) / 2


def _counted(marks, x, side):
    """How many marks of a column, ascending, are below each x of it, or not above ("right")."""
    pairs = zip(marks, x, strict=True)
    return np.array([of_column.searchsorted(values, side) for of_column, values in pairs])


def _share_beyond(columns, middle, unit):
    """Share of the pairs of a row and a group in which the row is beyond the first far mark."""
    with np.errstate(over="ignore"):
        low, high = (np.sort(middle + sign * START * unit, axis=1) for sign in (-1, 1))
    n_groups = middle.shape[1]
    below = n_groups - _counted(low, columns, "right")
    return (_counted(high, columns, "left") + below).mean(axis=1) / n_groups


def _normal_score(share):
    """Normal quantile, continued linearly in the outer shares."""
    inner = np.clip(share, OUTER, 1 - OUTER)
    return ndtri(inner) + OUTER_SLOPE * (share - inner)
