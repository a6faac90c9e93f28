"""Files that cannot run code."""

import inspect
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from scipy.sparse import csr_array, csr_matrix

# Beside numbers and text: rows that a detector keeps, names of groups and categories.
OF_ROWS = (csr_array, csr_matrix, Decimal, UUID)
OF_ROWS += (date, datetime, time, timedelta, timezone, ZoneInfo)


def trusted_types() -> list[str]:
    """The types that a file of skops with a detector of this package may hold.

    ``skops.io.load`` makes no object of a type that it neither knows nor is told to trust. These
    are the public estimators and functions of sklearn_hrn, and what a detector keeps of the rows it
    was fitted on: SciPy's sparse rows, and Python's dates, times, decimals and UUIDs. So are
    scikit-learn's splitters and scorers, by which a threshold was placed or a search has chosen.
    None of them runs code of a file.

    Returns
    -------
    names : list of str
        For the argument `trusted` of ``skops.io.load``. A torch module of your own is not among
        them: add its name where you trust it.

    See Also
    --------
    to_onnx : A graph, which other languages read.

    Examples
    --------
    >>> from sklearn_hrn.interop import trusted_types
    >>> "sklearn_hrn.one_class.HRNOneClassClassifier" in trusted_types()
    True
    """
    import sklearn.metrics
    import sklearn.model_selection

    import sklearn_hrn

    public = [getattr(sklearn_hrn, name) for name in sklearn_hrn.__all__]
    kinds = [item for item in public if inspect.isclass(item) or inspect.isfunction(item)]
    kinds += [item for _, item in inspect.getmembers(sklearn.metrics, inspect.isfunction)]
    kinds.append(type(sklearn.metrics.get_scorer("roc_auc")))
    of_choice = inspect.getmembers(sklearn.model_selection, inspect.isclass)
    kinds += [item for _, item in of_choice if hasattr(item, "split")]
    return [f"{item.__module__}.{item.__qualname__}" for item in [*kinds, *OF_ROWS]]
