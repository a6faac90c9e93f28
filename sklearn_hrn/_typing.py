"""Types of what the public functions take and return, by the names they have in signatures."""

from collections.abc import Callable
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Seed: TypeAlias = int | np.random.RandomState | None
Folder: TypeAlias = str | PathLike[str]

Function = TypeVar("Function", bound=Callable[..., Any])


class Table(Protocol):
    """A data frame or a sparse matrix."""

    @property
    def shape(self) -> Any:
        """Numbers of rows and columns."""


class Estimator(Protocol):
    """What learns from rows."""

    def fit(self, X: Any, /) -> Any:
        """Learn."""


class Transformer(Estimator, Protocol):
    """What learns from rows, and makes other rows of them."""

    def transform(self, X: Any, /) -> Any:
        """Other rows."""


class Splitter(Protocol):
    """What makes folds."""

    def split(self, X: Any, /) -> Any:
        """Pairs of the rows that train and those that are tested."""

    def get_n_splits(self) -> int:
        """How many."""


class Cache(Protocol):
    """What remembers the results of functions, as :class:`joblib.Memory` does."""

    def cache(self, func: Any, /) -> Any:
        """The function, with a memory."""


Rows: TypeAlias = ArrayLike | Table
Calibration: TypeAlias = Literal["cross"] | int | Splitter | None
