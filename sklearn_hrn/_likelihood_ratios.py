"""How the mix of rows has changed, told by a classifier."""

from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ._base import rows_of_list
from ._labels import judged_labels
from ._refusals import first_that_is_no_number, listed, refuse_equal_names, refuse_lazy
from ._sklearn import HasMethods, Interval, validate_params
from ._typing import Estimator, Floats, Rows, Splitter

__all__ = ["likelihood_ratios"]


@validate_params(
    classifier=[HasMethods(["fit", "predict_proba"]), None],
    cv=[Interval(Integral, 2, None, closed="left"), HasMethods(["split", "get_n_splits"])],
)
def likelihood_ratios(
    X_calibration: Rows,
    X_new: Rows,
    *,
    classifier: Estimator | None = None,
    cv: int | Splitter = 5,
) -> Floats:
    """How much likelier each calibration row is among new rows: weights where the mix has changed.

    A classifier learns to tell the new rows from the calibration rows. Where it gives a row the
    probability p of being new, the row is ``p / (1 - p) * n_calibration / n_new`` times as likely
    among the new rows [1]_. Each calibration row is judged by a classifier that was not trained on
    it, which would know it for an old one.

    Parameters
    ----------
    X_calibration : {array-like, sparse matrix} of shape (n_calibration, n_features)
        Normal rows as they were; or of them the columns alone whose distribution has changed, which
        take fewer rows to judge.
    X_new : {array-like, sparse matrix} of shape (n_new, n_features)
        Rows as they are, without labels. Anomalies among them count as what they resemble.
    classifier : classifier, default=None
        With `predict_proba`, of probabilities that are right for the rows as they are: without
        `class_weight`. None is :class:`~sklearn.linear_model.LogisticRegression` of standardised
        columns, which is right where both are normal distributions of one covariance.
    cv : int or splitter, default=5
        Folds, drawn at random in the same way for the same numbers of rows, each with its share of
        both; or a splitter of :mod:`sklearn.model_selection`, which must test every row once.

    Returns
    -------
    ratios : ndarray of shape (n_calibration,)
        Positive and finite: probabilities are held between 1 / (n + 2) and (n + 1) / (n + 2) with
        n = n_calibration + n_new, beyond which n rows cannot tell them from 0 and 1. They are not
        cut any further: a lower bound of large ratios would make for fewer alarms where rows are
        rare, and for more elsewhere. Few large ratios are few rows to calibrate on, and show in
        :class:`~sklearn_hrn.exceptions.ResolutionWarning`.

    Raises
    ------
    ValueError
        If there are fewer rows of one kind than folds, or the two differ in their columns; of rows
        that hold more than numbers, if there is no `classifier`.

    See Also
    --------
    conformal_p_values : Takes them as `calibration_weights`.
    ConformalOutlierDetector : Takes them as `sample_weight` of `calibrate`.

    Notes
    -----
    Ratios that are estimated are not the true ones, and a rate holds as far as they are right. They
    say nothing of rows where there are no calibration rows, and are of no use where what is normal
    for a row has changed: calibrate on recent normal rows then.

    References
    ----------
    .. [1] R. J. Tibshirani, R. F. Barber, E. J. Candès and A. Ramdas, "Conformal prediction under
       covariate shift", NeurIPS, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_hrn import likelihood_ratios
    >>> rng = np.random.default_rng(0)
    >>> load, load_today = rng.normal(0, 1, size=(500, 1)), rng.normal(1, 1, size=(300, 1))
    >>> ratios = likelihood_ratios(load, load_today)
    >>> bool(ratios[load[:, 0] > 1].mean() > 5 * ratios[load[:, 0] < 0].mean())
    True
    """
    is_default = classifier is None
    if is_default:
        from sklearn.linear_model import LogisticRegression

        classifier = make_pipeline(StandardScaler(), LogisticRegression())
    X, n_rows = _stacked(X_calibration, X_new)
    if is_default and (found := first_that_is_no_number(X)) is not None:
        what, column, value = found
        raise ValueError(
            f"the rows hold {what}{column}, for instance {value!r}, but logistic regression takes "
            "finite numbers only: give another classifier, such as make_pipeline(TableEncoder(), "
            "StandardScaler(), LogisticRegression())."
        )
    if isinstance(cv, Integral):
        if n_rows.min() < cv:
            raise ValueError(
                f"cv={cv} folds take at least {cv} rows of each kind, but X_calibration has "
                f"{n_rows[0]} and X_new {n_rows[1]}: give more rows, or fewer folds."
            )
        cv = StratifiedKFold(cv, shuffle=True, random_state=0)
    is_new = np.repeat([0, 1], n_rows)
    with judged_labels():  # steps of ours would doubt 0s and 1s
        p = cross_val_predict(clone(classifier), X, is_new, cv=cv, method="predict_proba")
    n = n_rows.sum()
    p = np.clip(p[: n_rows[0], 1], 1 / (n + 2), (n + 1) / (n + 2))
    return p / (1 - p) * (n_rows[0] / n_rows[1])


def _stacked(X_calibration, X_new):
    """The rows of both, in one array, matrix or data frame; and how many each has."""
    both = [X_calibration, X_new]
    for X in both:
        refuse_lazy(X)
    names = [refuse_equal_names(X) for X in both]
    if all(own is not None for own in names):
        expected, given = map(list, names)
        if set(expected) != set(given):
            raise ValueError(
                "X_calibration and X_new must be rows of the same columns, but have the columns "
                f"{listed(expected)} and {listed(given)}."
            )
        if expected != given:
            new = X_new.select(expected) if hasattr(X_new, "select") else X_new[expected]
            both = [X_calibration, new]
    if not all(hasattr(X, "iloc") for X in both):
        try:
            both = [X if sparse.issparse(X) else np.asarray(rows_of_list(X)) for X in both]
        except ValueError as error:
            raise ValueError(f"X_calibration and X_new must be rows of columns: {error}") from error
    shapes = [X.shape for X in both]
    if not all(len(shape) == 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            "X_calibration and X_new must be rows of the same columns, but have the shapes "
            f"{shapes[0]} and {shapes[1]}."
        )
    n_rows = np.array([shape[0] for shape in shapes])
    if any(map(sparse.issparse, both)):
        return sparse.vstack(both, format="csr"), n_rows
    if hasattr(both[0], "iloc"):
        import pandas

        return pandas.concat(both, ignore_index=True), n_rows
    return np.concatenate(both), n_rows
