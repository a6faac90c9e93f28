"""Steps of pipelines: the last one, those as given and as fitted, and scores in blocks of rows."""

from contextlib import suppress
from copy import copy
from math import ceil, prod
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_even_slices, get_tags, indexable
from sklearn.utils.validation import check_is_fitted

from ._base import VersionedMixin
from ._refusals import refuse_lazy
from ._sklearn import HasMethods, Interval, StrOptions, _num_samples, _safe_indexing
from ._typing import Cache, Calibration

# Steps hold several arrays of a block at once: what comes in, what goes out, what is in between.
_BLOCKS_IN_WORKING_MEMORY = 16
# Fewer rows a call than this, and the fixed cost of a call outweighs its work.
_MIN_BLOCK_ROWS = 256


def last_step(estimator):
    """The last step of a pipeline; any other estimator as it is."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def with_last_step(estimator, last):
    """A fitted estimator with another last step; one that is no pipeline is its own."""
    if not isinstance(estimator, Pipeline):
        return last
    found, steps = copy(estimator), [*estimator.steps[:-1], (estimator.steps[-1][0], last)]
    # Where a pipeline tells the steps it has fitted from those that it was given.
    setattr(found, "steps_" if "steps_" in vars(found) else "steps", steps)
    return found


def transformed(estimator, X):
    """Rows as the last step of a fitted pipeline sees them; those of any other estimator as is."""
    for _, step in estimator.steps[:-1] if isinstance(estimator, Pipeline) else ():
        if step not in (None, "passthrough"):
            X = step.transform(X)
    return X


class _Parameters(VersionedMixin, Pipeline):
    """The parameters of a `OneClassPipeline` and nothing fitted."""

    _parameter_constraints: ClassVar[dict] = {
        **Pipeline._parameter_constraints,
        "calibration": [
            StrOptions({"cross"}),
            Interval(Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            None,
        ],
        "outlier_share": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
        "reference_rows": [Interval(Integral, 0, None, closed="left")],
        "subsample": [Interval(Integral, 2, None, closed="left"), None],
    }

    def __init__(
        self,
        steps: list[tuple[str, Any]],
        *,
        calibration: Calibration = None,
        outlier_share: float | Literal["auto"] = 0.0,
        reference_rows: int = 500,
        subsample: int | None = None,
        transform_input: list[str] | None = None,
        memory: str | Cache | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.calibration = calibration
        self.outlier_share = outlier_share
        self.reference_rows = reference_rows
        self.subsample = subsample


class StepsAsGiven(_Parameters):
    """A pipeline that fits clones of its steps, and scores by these in blocks of rows."""

    steps_: list[tuple[str, Any]]

    # The steps as given are a parameter and stay in the instance's dictionary under their name; a
    # property of that name puts the fitted ones in front of them for all that `Pipeline` does.

    @property
    def steps(self) -> list[tuple[str, Any]]:
        """The steps: fitted once `fit` was called, as given until then."""
        return vars(self).get("steps_", vars(self).get("steps"))

    @steps.setter
    def steps(self, steps: list[tuple[str, Any]]) -> None:
        vars(self)["steps"] = steps

    def _params_as_given(self):
        return {name: vars(self)[name] for name in self._get_param_names()}

    def _as_given(self):
        return _Parameters(**self._params_as_given())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the pipeline and of its steps as given, not as fitted.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of the steps.

        Returns
        -------
        params : dict
        """
        return self._as_given().get_params(deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the pipeline and of its steps, for the next fit.

        Parameters
        ----------
        **params : dict
            Names as in `get_params`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For a name that neither the pipeline nor one of its steps has.
        """
        given = self._as_given()
        if "steps" not in params:
            self._refuse_unknown(params, given)
        for name, value in given.set_params(**params).get_params(deep=False).items():
            setattr(self, name, value)
        return self

    def _refuse_unknown(self, params, given):
        """Say where a parameter is that was looked for here, such as that of the last step."""
        names, own = given.get_params(), given.get_params(deep=False)
        for name in params:
            if name.partition("__")[0] in names:
                continue
            steps = [known for known in names if known not in own and "__" not in known]
            there = [known for known in names if known.endswith(f"__{name}")]
            raise ValueError(
                f"Invalid parameter {name!r} for {type(self).__name__}. Valid parameters are "
                f"{sorted(own)} and, behind the name of a step and two underscores, those of the "
                f"steps {steps}" + (f": {', '.join(map(repr, there))}." if there else ".")
            )

    def set_output(
        self, *, transform: Literal["default", "pandas", "polars"] | None = None
    ) -> Self:
        """Set the container that `transform` returns, now and after later fits.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            As in :class:`~sklearn.pipeline.Pipeline`.

        Returns
        -------
        self : object
        """
        self._as_given().set_output(transform=transform)
        return super().set_output(transform=transform)

    def _by_block(self, method, X):
        """Concatenate what a method of the last step returns for even blocks of the rows of X."""
        refuse_lazy(X)
        if "steps_" not in vars(self):  # the check asks every step for its tags
            check_is_fitted(self)

        def of_block(rows):
            return getattr(self.steps[-1][1], method)(self._transformed(rows))

        # Of a frame, its shape says it in no time.
        shape = getattr(X, "shape", ())
        n_rows = shape[0] if len(shape) == 2 else _num_samples(X)
        if n_rows <= _MIN_BLOCK_ROWS or (n_blocks := ceil(n_rows / self._block_rows(X))) <= 1:
            return of_block(X)
        (X,) = indexable(X)
        blocks = gen_even_slices(n_rows, n_blocks)
        return np.concatenate([of_block(_safe_indexing(X, block)) for block in blocks])

    def _transformed(self, X):
        """Rows as the last step sees them."""
        return transformed(self, X)

    def _block_rows(self, X):
        widths = [getattr(step, "n_features_in_", 1) for _, step in self.steps]
        row_bytes = 8 * max(prod(getattr(X, "shape", ())[1:]), *widths)
        block_bytes = get_config()["working_memory"] * 2**20 / _BLOCKS_IN_WORKING_MEMORY
        return max(int(block_bytes / max(row_bytes, 1)), _MIN_BLOCK_ROWS)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        with suppress(ValueError, AttributeError, TypeError):  # malformed steps are for fit to name
            steps = [step for _, step in self.steps if step not in (None, "passthrough")]
            tags.input_tags.allow_nan = all(get_tags(step).input_tags.allow_nan for step in steps)
            dense = [getattr(step, "_makes_dense", False) for step in steps]
            see_sparse = steps[: dense.index(True) + 1] if any(dense) else steps
            tags.input_tags.sparse = all(get_tags(step).input_tags.sparse for step in see_sparse)
        return tags
