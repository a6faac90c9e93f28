"""How many threads the steps before a network take, and the work dealt out to them."""

from contextlib import nullcontext
from contextvars import copy_context
from math import prod

from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline

from ._sklearn import one_thread
from ._steps import last_step
from .exceptions import gathered, warn

# Values of the rows from which on earlier steps of several folds are fitted at a time.
LARGE = 10**6


def n_at_once(candidate, X):
    """How many folds may fit, or transform, their earlier steps at a time.

    More than one where this is much work beside the calls of Python, and the steps are known to be
    fitted alone: of this package or scikit-learn, with no functions of the user among them.
    """
    if not (isinstance(candidate, Pipeline) and hasattr(last_step(candidate), "fit_together")):
        return 1
    if _is_small(X) or candidate.memory is not None:
        return 1
    parts = candidate.get_params().values()
    if any(callable(part) or not _is_known(part) for part in parts):
        return 1
    first = next(step for _, step in candidate.steps if step not in (None, "passthrough"))
    if hasattr(first, "get_params") and not first.get_params().get("copy", True):
        return 1  # it would write to rows that others read
    from .core.threads import n_threads

    return n_threads()


def _is_small(X):
    return prod(getattr(X, "shape", (0,))) < LARGE


def _is_known(part):
    is_estimator = hasattr(part, "get_params")
    return not is_estimator or type(part).__module__.startswith(("sklearn.", "sklearn_hrn."))


def few_threads(X):
    """Within it, products of NumPy take one thread where the rows are small.

    They gain nothing by more there, and threads of theirs go on spinning for a tenth of a second,
    on cores that train by then.
    """
    return one_thread("blas") if _is_small(X) else nullcontext()


def each_at_once(function, items, n_threads):
    """What a function returns for items of one size, by several threads of one thread each."""
    if n_threads == 1:
        return map(function, items)
    from .core.threads import side_by_side

    items = list(items)
    with gathered() as found:
        contexts, config = [copy_context() for _ in items], get_config()

        def call(_thread, place):
            with one_thread(), config_context(**config):
                return contexts[place].run(function, items[place])

        with one_thread():
            answers = side_by_side(call, list(range(len(items))), n_threads, size=lambda _: 1)
    for message, category in found:  # here, as the caller's line is on the stack of this thread
        warn(message, category)
    return answers
