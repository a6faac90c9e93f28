"""Fitted detectors as ONNX graphs in float64: features, score, decision."""

from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from .._reference import as_pandas
from .._steps import last_step
from .._typing import Estimator, Table
from ..conformal import ConformalOutlierDetector
from ..image import RotationWhitening
from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer, RidgeWhitener
from ..preprocessing._columns import read_column
from ._onnx_steps import NODES, OPSET, MeanOfScores, op

# Scores that differ by this share of their spread are one: the last digits of both are rounded.
NEAR = 1e-6


def to_onnx(detector: Estimator, X: Table | None = None) -> Any:
    """A fitted detector as an ONNX model, which other languages and devices run without Python.

    Parameters
    ----------
    detector : estimator
        A fitted `HRNOneClassClassifier`, a pipeline that ends in one, or one of them inside
        `ConformalOutlierDetector`, `HRNSearchCV` or :class:`~sklearn.frozen.FrozenEstimator`.
        Earlier steps are transformers of this package or any that skl2onnx converts, such as
        scikit-learn's scalers, encoders and imputers.
    X : DataFrame, default=None
        A row or more of what `fit` was given, where its columns are not all numbers: the model then
        has one input a column of shape (n, 1), text as strings and all else as doubles. It has the
        column's name, with an underscore for whatever is no letter, digit or underscore.

    Returns
    -------
    model : onnx.ModelProto
        Its input is "X" of shape (n, n_features), double, unless it has one a column. It has three
        outputs of shape (n,): "label", +1 for normal rows and -1 for anomalies (int64), "decision"
        and "score" (double). "threshold" is an input too; without a value for it `offset_` is used.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    TypeError
        If a part of the detector cannot be converted: one with a `module` of torch of its own,
        `TorchFeatures` (both are exported by ``torch.onnx``), one that skl2onnx does not know, or a
        threshold for each of several groups.
    ValueError
        If X has other columns than `fit` has seen, or in another order, or one with the name of an
        output.

    See Also
    --------
    trusted_types : For a file of skops, which Python reads.

    Notes
    -----
    Scores are computed in double precision, and rounded to single where Python rounds them, so that
    both agree but for the last digits. A row nearer to the threshold than a millionth of the spread
    of the training scores is on it, and normal. Values are not validated: what Python refuses, such
    as infinite ones, gets some score.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn_hrn import make_hrn_pipeline
    >>> from sklearn_hrn.interop import to_onnx
    >>> X, kind = load_wine(return_X_y=True)
    >>> detector = make_hrn_pipeline("tabular", random_state=0).fit(X[kind == 0])
    >>> model = to_onnx(detector)  # doctest: +SKIP
    >>> with open("detector.onnx", "wb") as file:  # doctest: +SKIP
    ...     file.write(model.SerializeToString())
    """
    X = as_pandas(X)
    if not (X is None or hasattr(X, "columns")):
        raise TypeError(f"X={X!r} must be a data frame, or None where all columns are numbers.")
    try:
        from skl2onnx import convert_sklearn
    except ImportError as error:
        raise ImportError(
            "to_onnx needs skl2onnx, which is not installed: pip install 'sklearn-hrn[onnx]'."
        ) from error

    check_is_fitted(detector)
    scorer, threshold = _scorer(detector), _threshold(detector)
    if X is not None:  # inputs take the columns by their order
        validate_data(scorer, X, skip_check_array=True, reset=False)
    try:
        model = convert_sklearn(
            scorer,
            initial_types=_inputs(scorer, X),
            target_opset={"": OPSET},
            custom_conversion_functions=dict.fromkeys(NODES, _convert),
            custom_shape_calculators=dict.fromkeys(NODES, _shape),
            custom_parsers={
                HRNOneClassClassifier: _parse_score,
                RotationWhitening: _parse_rotation_whitening,
                MeanOfScores: _parse_mean,
            },
            naming="step_",
        )
    except RuntimeError as error:  # how skl2onnx says what it does not know, or not in float64
        reason = str(error).splitlines()[0]
        raise TypeError(f"a part of the detector cannot be converted to ONNX: {reason}") from error
    _append_decision(model.graph, threshold, NEAR * _spread(scorer))
    return model


def _scorer(detector):
    """What computes the scores: the detector without what chooses it or its threshold."""
    inner = _inside(detector)
    if len(inner) > 1:
        return MeanOfScores([_scorer(each) for each in inner])
    if inner:
        return _scorer(inner[0])
    last = last_step(detector)
    if not isinstance(last, HRNOneClassClassifier):
        raise TypeError(
            f"to_onnx takes an HRNOneClassClassifier or a pipeline that ends in one, but got "
            f"{type(last).__name__}."
        )
    if last.module is not None:
        raise TypeError(
            "the classifier has a module of its own, which to_onnx cannot read: export "
            "the module by torch.onnx.export."
        )
    return _acting(detector)


def _spread(scorer):
    """Between the lowest and the highest score of a training row."""
    if isinstance(scorer, MeanOfScores):
        return max(map(_spread, scorer.scorers))
    return np.ptp(last_step(scorer).train_scores_)


def _acting(step):
    """A pipeline, and those among its steps, without the steps that pass rows on."""
    if not isinstance(step, Pipeline):
        return step
    return Pipeline(
        [(name, _acting(s)) for name, s in step.steps if s is not None and s != "passthrough"]
    )


def _inside(detector):
    """The detectors whose scores another passes on, if it is one that does."""
    if isinstance(detector, FrozenEstimator):
        return [detector.estimator]
    if "best_estimator_" in vars(detector):
        return [detector.best_estimator_]
    return detector.estimators_ if isinstance(detector, ConformalOutlierDetector) else []


def _threshold(detector):
    if hasattr(detector, "offset_"):
        if isinstance(detector.offset_, dict):
            raise TypeError(
                f"{type(detector).__name__} has a threshold for each group, and a graph has one: "
                "export its estimator_, and give the graph the threshold of the group, offset_"
                f"[{next(iter(detector.offset_))!r}] and so on."
            )
        return detector.offset_
    inner = _inside(detector)
    return _threshold(inner[0] if inner else detector.steps[-1][1])


def _inputs(scorer, X):
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    if X is None:
        return [("X", DoubleTensorType([None, scorer.n_features_in_]))]
    inputs = []
    for j, name in enumerate(map(str, X.columns)):
        column = X.iloc[:, j]
        is_number = column.dtype.kind in "biuf" or read_column(column, name)[0] == "number"
        inputs.append((name, (DoubleTensorType if is_number else StringTensorType)([None, 1])))
    return inputs


def _append_decision(graph, threshold, near):
    """Outputs label, decision and score (n,) in place of the scores (n, 1) of the last step.

    Rows on the threshold in Python, such as copies of the row that has placed it, are on it here.
    """
    from onnx import TensorProto, helper, numpy_helper

    (column,) = [output.name for output in graph.output]
    own = ("label", "decision", "score", "threshold")
    taken = [i.name for i in graph.input if i.name in own or i.name.startswith("end_")]
    if taken:
        raise ValueError(
            f"X has a column {taken[0]!r}, but every graph has an input or outputs of the names "
            f"{', '.join(own)}, and parts whose names begin with 'end_': rename the column and fit "
            "anew."
        )
    constants = {"end_flat": np.array([-1]), "end_normal": np.array(1), "end_anomaly": np.array(-1)}
    constants |= {"end_near": np.array(near), "end_zero": np.array(0.0)}
    constants["threshold"] = np.array(threshold, dtype=np.float64)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items())
    graph.input.append(helper.make_tensor_value_info("threshold", TensorProto.DOUBLE, []))
    graph.node.extend(
        helper.make_node(*parts)
        for parts in (
            ("Reshape", [column, "end_flat"], ["score"]),
            ("Sub", ["score", "threshold"], ["end_difference"]),
            ("Abs", ["end_difference"], ["end_distance"]),
            ("LessOrEqual", ["end_distance", "end_near"], ["end_is_near"]),
            ("Where", ["end_is_near", "end_zero", "end_difference"], ["decision"]),
            ("GreaterOrEqual", ["decision", "end_zero"], ["end_is_normal"]),
            ("Where", ["end_is_normal", "end_normal", "end_anomaly"], ["label"]),
        )
    )
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, kind, [None])
        for name, kind in (
            ("label", TensorProto.INT64),
            ("decision", TensorProto.DOUBLE),
            ("score", TensorProto.DOUBLE),
        )
    )


# What skl2onnx asks of a type of estimator.


def _parse_score(scope, model, inputs, custom_parsers=None):
    """One output, the score; skl2onnx takes detectors to have two."""
    from skl2onnx.common.data_types import DoubleTensorType

    operator = scope.declare_local_operator(None, model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("end_scores", DoubleTensorType()))
    return operator.outputs


def _parse_rotation_whitening(scope, model, inputs, custom_parsers=None):
    """The pipeline that it is once it is fitted."""
    from skl2onnx._parse import _parse_sklearn

    steps = [("features", model.transformer_)]
    if model.is_whitened_:
        whiten, norm = RidgeWhitener(), InstanceL2Normalizer(center=None)
        whiten.mean_, whiten.whitening_, norm.append_ = model.mean_, model.whitening_, None
        whiten.deviations_ = None
        steps += [("whiten", whiten), ("norm", norm)]
    elif model.otherwise_ is not None:
        steps += [("otherwise", model.otherwise_)]
    return _parse_sklearn(scope, Pipeline(steps), inputs, custom_parsers=custom_parsers)


def _parse_mean(scope, model, inputs, custom_parsers=None):
    from skl2onnx._parse import _parse_sklearn

    scores = [_parse_sklearn(scope, s, inputs, custom_parsers)[0] for s in model.scorers]
    return _parse_score(scope, model, scores)


def _shape(operator):
    from skl2onnx.common.data_types import DoubleTensorType

    operator.outputs[0].type = DoubleTensorType([None, None])


def _convert(scope, operator, container):
    X = operator.inputs[0] if len(operator.inputs) == 1 else op("Concat", *operator.inputs, axis=1)
    node = NODES[type(operator.raw_operator)](operator.raw_operator, X)
    op("Identity", node, output_names=[operator.outputs[0].full_name]).add_to(scope, container)
