"""Which column of the user each column of a step comes from, for steps that do not mix columns."""

from contextlib import suppress
from functools import singledispatch

import numpy as np
from sklearn.base import OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, OneHotEncoder

from .._base import dense
from ..preprocessing import TableEncoder


def fitted_steps(pipeline):
    """The steps of a pipeline that do something."""
    return [step for _, step in pipeline.steps if step is not None and step != "passthrough"]


def transformed(step, X):
    """What a step makes of rows, as a dense array of float64; the rows stay as they are."""
    if hasattr(step, "feature_names_in_"):  # it would warn of rows without them
        with suppress(ImportError):
            import pandas

            X = pandas.DataFrame(X, columns=step.feature_names_in_)
    Z = step.transform(X.copy() if getattr(step, "copy", True) is False else X)
    return np.asarray(dense(Z), dtype=np.float64)


@singledispatch
def sources(step, n_columns):
    """For each column that comes out, the one column it depends on; None if that is not so.

    Parameters
    ----------
    step : transformer
        Fitted.
    n_columns : int
        Columns that go in.

    Returns
    -------
    sources : ndarray of int or None
    """
    if isinstance(step, SelectorMixin):
        return step.get_support(indices=True)
    is_identity = isinstance(step, FunctionTransformer) and step.func is None
    if is_identity or (isinstance(step, OneToOneFeatureMixin) and not isinstance(step, Normalizer)):
        return np.arange(n_columns)
    return None


@sources.register
def _(step: SimpleImputer, n_columns):
    missing = np.array([value != value for value in step.statistics_])
    kept = np.flatnonzero(~missing | step.keep_empty_features)
    return np.r_[kept, step.indicator_.features_] if step.add_indicator else kept


@sources.register
def _(step: OneHotEncoder, n_columns):
    counts = [len(categories) for categories in step.categories_]
    for j, rare in enumerate(getattr(step, "infrequent_categories_", [])):
        counts[j] -= len(rare) - 1 if rare is not None else 0
    if step.drop_idx_ is not None:
        counts = np.array(counts) - [dropped is not None for dropped in step.drop_idx_]
    return np.repeat(np.arange(n_columns), counts)


@sources.register
def _(step: TableEncoder, n_columns):
    return np.repeat(np.arange(n_columns), step.columns_out_)


@sources.register
def _(step: Pipeline, n_columns):
    found = np.arange(n_columns)
    for part in fitted_steps(step):
        of_part = sources(part, len(found))
        if of_part is None:
            return None
        found = found[of_part]
    return found


@sources.register
def _(step: ColumnTransformer, n_columns):
    names = list(getattr(step, "feature_names_in_", []))
    places = {}
    for name, part, columns in step.transformers_:
        if part == "drop":
            continue
        chosen = _positions(columns, names, n_columns)
        of_part = np.arange(len(chosen))
        if part != "passthrough":
            of_part = sources(part, len(chosen))
        if of_part is None:
            return None
        places[name] = chosen[of_part]
    slices = step.output_indices_
    found = np.empty(max((s.stop for s in slices.values()), default=0), dtype=int)
    for name, place in places.items():
        if len(found[slices[name]]) != len(place):
            return None
        found[slices[name]] = place
    return found


def _positions(columns, names, n_columns):
    """Positions of the columns that a part of a `ColumnTransformer` was given."""
    if isinstance(columns, str):
        columns = [columns]
    if not isinstance(columns, slice):
        columns = list(columns)
        if columns and isinstance(columns[0], str):
            columns = [names.index(name) for name in columns]
    return np.atleast_1d(np.arange(n_columns)[columns])
