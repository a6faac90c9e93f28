"""What a pipeline learns from the next rows of a stream: its beginning, and how its steps go on."""

from copy import deepcopy

from sklearn.base import clone

from ._base import learning_on_copy
from ._reference import as_columns, as_frame, copied, joined, library_of
from ._sklearn import _num_samples

# What a calibration, or feedback after it, leaves in a fitted pipeline.
OF_CALIBRATION = ("calibration_scores_", "_offset", "_lessons")

# Rows up to which a stream is at its beginning: all it has brought is then fitted as by `fit`,
# whenever that has doubled. So many are what a `NormalScoreTransformer` learns from.
BEGINNING = 2000


def learn_from_stream(pipeline, X):
    """Learn from the next normal rows of a stream; after an error the pipeline is as it was."""
    chunks = _beginning_with(pipeline, X)
    n_rows = sum(map(_num_samples, chunks))
    n_fitted = vars(pipeline).get("_beginning", {}).get("n_fitted", 0)
    fits = bool(chunks) and n_rows >= 2 * n_fitted
    with learning_on_copy(pipeline, continues=True) as learner:
        _begin(learner, joined(chunks)) if fits else _go_on(learner, X)
        vars(learner).pop("_beginning", None)
        if chunks and pipeline.reference_rows:
            learner._beginning = {
                "chunks": [as_columns(chunk) for chunk in chunks],
                "n_fitted": n_rows if fits else n_fitted,
            }


def _beginning_with(pipeline, X):
    """All chunks of a stream that is at its beginning, X the last; else none."""
    chunks = [] if "steps_" not in vars(pipeline) else None
    if "_beginning" in vars(pipeline):
        chunks = [as_frame(chunk) for chunk in pipeline._beginning["chunks"]]
    # A warm start is not to begin anew.
    if chunks is None or any(getattr(step, "warm_start", False) for _, step in pipeline.steps):
        return []
    if chunks and library_of(chunks[0]) not in (None, library_of(X)):
        raise TypeError(
            f"the chunk is of type {type(X).__name__}, but those before it are data frames of "
            f"{library_of(chunks[0])}, and a stream begins with fits of all of them: give every "
            "chunk as such a frame."
        )
    chunks.append(copied(X))
    if sum(map(_num_samples, chunks)) > BEGINNING:
        return []
    if len(chunks) > 1:
        pipeline._transformed(copied(X))  # which says what is wrong with it
    return chunks


def _begin(pipeline, X):
    """Learn from all rows so far, as `fit` does, with a threshold by rows that did not train.

    Without a calibration of the pipeline it is one of the last step, where it has that.
    """
    begun = clone(pipeline)
    name, last = begun.steps[-1]
    lends = pipeline.calibration is None and getattr(last, "calibration", "missing") is None
    if lends:
        begun.set_params(**{f"{name}__calibration": "cross"})
    begun.fit(X)
    if lends:
        begun.steps_[-1][1].calibration = None
    for learned in ("steps_", "_reference", *OF_CALIBRATION):
        vars(pipeline).pop(learned, None)
        if learned in vars(begun):
            setattr(pipeline, learned, vars(begun)[learned])


def _go_on(pipeline, X):
    """Learn from a chunk, with the steps as they stand; the first of a stream begins them."""
    begins = "steps_" not in vars(pipeline)
    given = dict(vars(pipeline)["steps"])
    steps = [(name, _to_continue(step, given.get(name), begins)) for name, step in pipeline.steps]
    for _, step in steps[:-1]:
        if step in (None, "passthrough"):
            continue
        if hasattr(step, "partial_fit"):
            step.partial_fit(X)
        elif begins:
            step.fit(X)
        X = step.transform(X)
    last = steps[-1][1]
    if "calibration_scores_" in vars(pipeline):
        last.calibration_scores_ = pipeline.calibration_scores_
    last.partial_fit(X)
    for stale in OF_CALIBRATION:
        vars(pipeline).pop(stale, None)
    pipeline.steps_ = steps
    if pipeline.calibration is not None and hasattr(last, "calibration_scores_"):
        pipeline.calibration_scores_ = last.calibration_scores_


def _to_continue(step, given, begins):
    """The step that learns from the next chunk, so that an error leaves the one before alone.

    It has the parameters of the step as it is given, which may have been set since.
    """
    if begins:
        return clone(step) if hasattr(step, "fit") else step
    if not hasattr(step, "partial_fit"):
        return step
    step = deepcopy(step)
    if type(given) is type(step):
        step.set_params(**deepcopy(given.get_params(deep=False)))
    return step
