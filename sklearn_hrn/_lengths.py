"""Doubts about training rows whose scores follow their length, or that lie around zero."""

import numpy as np
from scipy.stats import rankdata
from sklearn.utils.extmath import row_norms

from ._base import row_blocks
from .exceptions import CentredRowsWarning, RowLengthWarning, warn

# Rows looked at for their length. Their score is said to be their length if the two have more than
# this rank correlation, where the length that a twentieth exceeds is this many times the one that a
# twentieth falls below. Tables behind a scaler of columns, or nothing, have ratios of 1.2 to 75 and
# correlations of 0.68 to 1.0; Fashion-MNIST behind `InstanceL2Normalizer` 1.5 and 0.8 at most,
# MNIST and features of networks ratios below 1.1.
LENGTH_ROWS = 1000
LENGTH_CORRELATIONS = ((1.8, 0.65), (1.15, 0.85))

# Rows whose directions have a mean shorter than this lie around zero on all sides. Columns that
# were centred leave 0.1 and less; CIFAR-10 behind `InstanceL2Normalizer` has 0.2 and more, MNIST,
# Fashion-MNIST and features of networks half and more.
LEAST_MEAN_DIRECTION = 0.15

# Up to twice as many rows as columns lie on one side of a plane through zero more often than not,
# wherever they are (T. M. Cover, IEEE Transactions on Electronic Computers EC-14, 326-334, 1965).
ROWS_PER_COLUMN = 2

# How far from one the length of a row at a landmark may be.
ROUNDING_OF_LENGTHS = 1e-3


def doubt_lengths(X, rows, scores):
    """Warn where training rows score by their length, or lie on all sides of zero.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    rows : ndarray of int or None
        Those of X that were trained on; None is all.
    scores : ndarray of shape (n_rows,)
        Of a network without biases, for which f(c x) = c f(x).

    Warns
    -----
    RowLengthWarning, CentredRowsWarning
    """
    chosen = np.arange(0, len(scores), -(-len(scores) // LENGTH_ROWS))
    some = np.asarray(X[chosen if rows is None else rows[chosen]], np.float64)
    lengths = row_norms(some)
    if not np.ptp(scores[chosen]):
        return
    short, long = np.quantile(lengths, [0.05, 0.95])
    suspected = [least for ratio, least in LENGTH_CORRELATIONS if long > ratio * short]
    if suspected:
        correlation = np.corrcoef(rankdata(lengths), rankdata(scores[chosen]))[0, 1]
        if correlation > min(suspected) and not _of_length_at_most_one(X, rows):
            warn(
                f"the training rows differ in length (most from {short:.3g} to {long:.3g}) and "
                f"their scores follow it (rank correlation {correlation:.2f}): "
                "f(c x) = c f(x), so that long rows, anomalies among them, score as normal. "
                'Take make_hrn_pipeline("tabular") for a table, and put an '
                "InstanceL2Normalizer in front for rows of many like features; a scaler of "
                "columns is not enough.",
                RowLengthWarning,
            )
            return
    if len(scores) <= ROWS_PER_COLUMN * X.shape[1]:
        return
    directions = some / np.maximum(lengths, np.finfo(float).tiny)[:, None]
    mean = np.linalg.norm(directions.mean(axis=0))
    if mean < LEAST_MEAN_DIRECTION:
        warn(
            "the training rows lie around zero in all directions (their directions have a mean "
            f"of length {mean:.2f}), as behind a StandardScaler or PCA: f(c x) = c f(x), so "
            "that direction and length of a row are all that counts, and tell little here. "
            'Take make_hrn_pipeline("tabular") for a table; rows of many like features want an '
            "InstanceL2Normalizer, and no scaler of columns before it.",
            CentredRowsWarning,
        )


def _of_length_at_most_one(X, rows):
    """Whether rows are features of a kernel, whose length says how near they are to known rows."""
    longest = max(
        row_norms(X[block] if rows is None else X[rows[block]]).max()
        for block in row_blocks(len(X) if rows is None else len(rows), X.shape[1])
    )
    return abs(longest - 1) < ROUNDING_OF_LENGTHS
