"""Files that cannot run code."""

import inspect

from scipy.sparse import csr_array, csr_matrix


def trusted_types() -> list[str]:
    """The types that a file of skops with a detector of this package may hold.

    ``skops.io.load`` makes no object of a type that it neither knows nor is told to trust. These
    are the public estimators and functions of sklearn_hrn, and SciPy's sparse rows, which a
    detector that was fitted on some keeps; none of them runs code of a file.

    Returns
    -------
    names : list of str
        For the argument `trusted` of ``skops.io.load``. A torch module of your own is not among
        them: add its name where you trust it.

    Examples
    --------
    >>> from sklearn_hrn.interop import trusted_types
    >>> "sklearn_hrn.one_class.HRNOneClassClassifier" in trusted_types()
    True
    """
    import sklearn_hrn

    public = [getattr(sklearn_hrn, name) for name in sklearn_hrn.__all__]
    kinds = [item for item in public if inspect.isclass(item) or inspect.isfunction(item)]
    return [f"{item.__module__}.{item.__qualname__}" for item in [*kinds, csr_array, csr_matrix]]
