"""Which rows train a model and which it is calibrated on: folds, draws and rows set aside."""

from math import ceil
from numbers import Integral

import numpy as np
from sklearn.model_selection import KFold

from ._calibration import check_scores
from ._labels import rows_by_group
from .exceptions import CalibrationError

# Folds of calibration="cross". A model that has seen four fifths of few rows scores nearly like one
# of all; of many rows two thirds are enough, and a fit costs four in place of six. Where there are
# fewer than two rows a column, each says much of what is normal, and with models of four fifths
# far fewer rows are flagged than were asked for.
N_FOLDS, N_FOLDS_OF_WIDE, N_FOLDS_OF_MANY, MANY_ROWS = 5, 10, 3, 500

# Of the rows held out, as many are expected below the threshold as say where it is: their share
# among fresh rows deviates by a quarter of itself, and a rate of 1 % takes 1500 rows. As few are
# held out for no larger rate, or p-values would be coarse.
N_BELOW, LARGEST_RATE = 15, 0.01


def make_folds(calibration, n_rows, n_columns=1, rate=None, copies=None):
    """The rows that train and the rows that are scored, fold by fold.

    Parameters
    ----------
    calibration : "cross", int, or splitter
        "cross" makes five folds, ten of fewer than two rows a column, three of 500 rows or more,
        and no more than there are rows; it takes no more of them than hold out the rows that the
        rate asks for. An int makes that many. The rows of these folds are drawn at random, in the
        same way for the same number of rows, and all train on as many. A splitter has a method
        ``split(X)``, as those of :mod:`sklearn.model_selection`.
    n_rows : int
    n_columns : int, default=1
    rate : float, default=None
        Share of normal rows that the threshold is to flag. None, for the lowest score, takes all
        folds.
    copies : Copies, default=None
        Of these rows: all but a splitter makes folds of the different ones.

    Returns
    -------
    folds : list of (ndarray of int, ndarray of int)

    Raises
    ------
    CalibrationError
        If there are fewer rows than folds, or a splitter makes no folds of so many rows, or its
        folds train on a row that they score, score a row twice, or score none.
    """
    if copies is not None and isinstance(calibration, str | Integral):
        return copies.with_copies(make_folds(calibration, len(copies.first), n_columns, rate))
    if isinstance(calibration, str):
        if calibration != "cross":  # text has a method "split", too
            raise ValueError(
                f"calibration={calibration!r} is unknown: allowed are 'cross', an int of at least "
                "2, a splitter, and None."
            )
        n_folds = N_FOLDS_OF_WIDE if n_rows < 2 * n_columns else N_FOLDS
        n_folds = N_FOLDS_OF_MANY if n_rows >= MANY_ROWS else max(2, min(n_folds, n_rows))
        folds = make_folds(n_folds, n_rows)
        n_wanted = n_rows if not rate else N_BELOW / min(rate, LARGEST_RATE)
        n_held_out = np.cumsum([len(held) for _, held in folds])
        return folds[: np.searchsorted(n_held_out, n_wanted) + 1]
    if isinstance(calibration, Integral):
        if n_rows < calibration:
            raise CalibrationError(
                f"{calibration} folds for calibration take at least {calibration} normal rows, but "
                f"n_samples = {n_rows}: give more rows, fewer folds, or calibration=None."
            )
        return _even_folds(int(calibration), n_rows)
    every = np.arange(n_rows)
    try:
        folds = [(every[train], every[held]) for train, held in calibration.split(every[:, None])]
    except (IndexError, TypeError, ValueError) as error:
        raise CalibrationError(
            f"calibration={calibration!r} makes no folds of the {n_rows} normal rows that are "
            f"trained on: {error} Its split(X) gets so many rows, without y and groups, and "
            "returns pairs of their numbers, from 0 (rows that are left out, such as those with "
            "y == -1, have none). To keep groups of rows together, fit on normal rows alone and "
            "name the fold of each: sklearn.model_selection.PredefinedSplit(fold)."
        ) from error
    for train, held in folds:
        if not (len(train) and len(held)):
            raise CalibrationError(
                f"calibration={calibration!r} makes a fold of the {n_rows} normal rows that trains "
                f"on {len(train)} and scores {len(held)}: each takes one at least."
            )
    scored = np.concatenate([held for _, held in folds]) if folds else every[:0]
    overlap = any(np.intersect1d(train, held).size for train, held in folds)
    if overlap or len(np.unique(scored)) < max(len(scored), 1):
        raise CalibrationError(
            f"calibration={calibration!r} must score every row at most once, by a model that was "
            f"not trained on it; its {len(folds)} folds score {len(np.unique(scored))} of "
            f"{n_rows} rows {len(scored)} times" + (", some of them in training." * overlap or ".")
        )
    return folds


def _even_folds(n_folds, n_rows):
    """Folds at random that score every row once, and train on as many rows each.

    Where the parts that are scored differ in size, by one row, the folds that would train on one
    more leave out a row at random: networks of one shape train together, in less time.
    """
    folds = list(KFold(n_folds, shuffle=True, random_state=0).split(np.empty(n_rows)))
    n_train, rng = min(len(train) for train, _ in folds), np.random.default_rng(0)
    return [(np.sort(rng.permutation(train)[:n_train]), held) for train, held in folds]


def draw_folds(strategy, n_rows, rng, *, n_models, calibration_size, groups=None, copies=None):
    """The rows that each model trains on, ascending, and those that it leaves out, at random.

    Parameters
    ----------
    strategy : {"split", "cross", "bootstrap"}
        Of :class:`~sklearn_hrn.ConformalOutlierDetector`, as are the next parameters.
    n_rows : int
    rng : RandomState instance
    n_models : int or None
    calibration_size : float or int
    groups : ndarray of shape (n_rows,), default=None
        Of each "split" leaves out its share of rows, one at least.
    copies : Copies, default=None
        Of these rows: the different ones are drawn.

    Returns
    -------
    folds : list of (ndarray of int, ndarray of int)

    Raises
    ------
    ValueError
        If there are too few rows, or, as a `CalibrationError`, if no row of a group is left out.
    """
    if copies is not None:
        of_first = None if groups is None else groups[copies.first]
        sizes = {"n_models": n_models, "calibration_size": calibration_size}
        folds = draw_folds(strategy, len(copies.first), rng, groups=of_first, **sizes)
        return copies.with_copies(folds)
    every = np.arange(n_rows)
    if strategy == "split":
        folds = [_set_aside(n_rows, rng, calibration_size, groups)]
    elif strategy == "cross":
        n_folds = min(5, n_rows) if n_models is None else n_models
        if not 2 <= n_folds <= n_rows:
            raise ValueError(
                f"strategy='cross' trains n_models={n_folds} detectors, each without one fold "
                f"of the rows, but n_samples={n_rows}: give more rows, or fewer models."
            )
        parts = np.array_split(rng.permutation(n_rows), n_folds)
        folds = [(np.setdiff1d(every, part), np.sort(part)) for part in parts]
    else:
        draws = [np.sort(rng.randint(n_rows, size=n_rows)) for _ in range(n_models or 20)]
        folds = [(drawn, np.setdiff1d(every, drawn)) for drawn in draws]
        folds = [fold for fold in folds if len(fold[1])]
        if not folds:
            raise ValueError(
                f"strategy='bootstrap' needs rows that were not drawn, but of n_samples={n_rows} "
                f"all were, by each of {len(draws)} models: give more rows."
            )
    if groups is not None:
        left_out = rows_by_group(groups[np.unique(np.concatenate([held for _, held in folds]))])
        for name, rows in rows_by_group(groups).items():
            if name not in left_out:
                raise CalibrationError(
                    f"group {name!r} has no rows for calibration: strategy={strategy!r} leaves "
                    f"none of its {len(rows)} normal rows out of training. Give more rows of it, "
                    "set more aside, or leave the group out."
                )
    return folds


def _set_aside(n_rows, rng, size, groups):
    """Training and calibration rows of a split, each ascending."""
    n_calibration = size if isinstance(size, Integral) else ceil(float(size) * n_rows)
    if not 0 < n_calibration < n_rows:
        raise ValueError(
            f"calibration_size={size!r} of n_samples={n_rows} normal rows leaves no row to "
            "train on. Give more rows, or a smaller calibration_size."
        )
    shuffled = rng.permutation(n_rows)
    if groups is not None:  # the first of each group before the second of any, in its shares
        place = np.empty(n_rows)
        for rows in rows_by_group(groups[shuffled]).values():
            place[rows] = np.arange(len(rows)) / len(rows)
        shuffled = shuffled[np.argsort(place, kind="stable")]
    return np.sort(shuffled[n_calibration:]), np.sort(shuffled[:n_calibration])


def out_of_fold_scores(folds, fitted, score, each=map):
    """Scores of rows by models that were not trained on them.

    Parameters
    ----------
    folds : list of (ndarray of int, ndarray of int)
        Of `make_folds`.
    fitted : iterable of (object or Exception)
        The model of each fold, or why there is none.
    score : callable
        ``score(model, held_out)`` returns the scores of rows by number.
    each : callable, default=map
        ``each(function, items)`` returns what the function returns for each item.

    Returns
    -------
    scores : ndarray of shape (n_scored,)
        Fold by fold.

    Raises
    ------
    CalibrationError
        If a model could not be trained, or gives no numbers.
    """

    def scored(fold_and_model):
        (_, held_out), model = fold_and_model
        try:
            if isinstance(model, Exception):
                raise model
            return check_scores(score(model, held_out), "scores")
        except Exception as error:
            return error

    scores = []
    outcomes = each(scored, zip(folds, fitted, strict=True))
    for k, ((train, _), found) in enumerate(zip(folds, outcomes, strict=True), 1):
        if isinstance(found, Exception):
            raise CalibrationError(
                f"fold {k} of {len(folds)} of the calibration, {len(train)} normal rows, could not "
                f"be trained and scored: {found} Give more rows, other folds, or calibration=None."
            ) from found
        scores.append(found)
    return np.concatenate(scores)
