"""Fitted detectors as ONNX graphs in float64: features, score, decision."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._base import dense
from .._reference import as_pandas
from .._typing import Estimator, Table
from ..conformal import ConformalOutlierDetector
from ..image import PatchDictionary, RotationWhitening
from ..image._visual_words import FLAT
from ..kernel_approximation import FourierFeatures, LandmarkFeatures
from ..one_class import HRNOneClassClassifier
from ..preprocessing import (
    InstanceL2Normalizer,
    InstanceStandardizer,
    NormalScoreTransformer,
    RidgeWhitener,
    TableEncoder,
)
from ..preprocessing._instance import ROUNDINGS

# The oldest set of operators in which reductions take their axes alike; of ONNX 1.13.
OPSET = 18

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
        If a column has the name of an output.

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
                _MeanOfScores: _parse_mean,
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
        return _MeanOfScores([_scorer(each) for each in inner])
    if inner:
        return _scorer(inner[0])
    last = detector.steps[-1][1] if isinstance(detector, Pipeline) else detector
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
    if isinstance(scorer, _MeanOfScores):
        return max(map(_spread, scorer.scorers))
    last = scorer.steps[-1][1] if isinstance(scorer, Pipeline) else scorer
    return np.ptp(last.train_scores_)


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


class _MeanOfScores(BaseEstimator):
    """Several detectors of the same rows."""

    def __init__(self, scorers):
        self.scorers = scorers
        self.n_features_in_ = scorers[0].n_features_in_


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
    kinds = [DoubleTensorType if dtype.kind in "biuf" else StringTensorType for dtype in X.dtypes]
    return [(name, kind([None, 1])) for name, kind in zip(X.columns, kinds, strict=True)]


def _append_decision(graph, threshold, near):
    """Outputs label, decision and score (n,) in place of the scores (n, 1) of the last step.

    Rows on the threshold in Python, such as copies of the row that has placed it, are on it here.
    """
    from onnx import TensorProto, helper, numpy_helper

    (column,) = [output.name for output in graph.output]
    taken = [i.name for i in graph.input if i.name in ("label", "decision", "score", "threshold")]
    if taken:
        raise ValueError(
            f"X has a column {taken[0]!r}, which is the name of an input or output that every "
            "graph has: rename the column and fit anew."
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
    X = operator.inputs[0] if len(operator.inputs) == 1 else _op("Concat", *operator.inputs, axis=1)
    node = NODES[type(operator.raw_operator)](operator.raw_operator, X)
    _op("Identity", node, output_names=[operator.outputs[0].full_name]).add_to(scope, container)


# The steps: an estimator and the node of its rows (n, d), float64, to the node of what it makes of
# them. Operators take arrays for constants.


def _op(name, *inputs, **attributes):
    from skl2onnx.algebra import onnx_ops

    return getattr(onnx_ops, f"Onnx{name}")(*inputs, op_version=OPSET, **attributes)


def _sum(name, X, axis):
    return _op(name, X, np.array([axis]), keepdims=1)


def _cast(X, dtype):
    from onnx import helper

    return _op("Cast", X, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _weights(array):
    """An array of the size that it has, computed with in float64."""
    return _cast(array, np.float64) if array.dtype == np.float32 else array


def _rounded(X):
    """Where Python goes on in float32."""
    return _cast(_cast(X, np.float32), np.float64)


def _one_where_zero(X):
    return _op("Where", _op("Equal", X, np.zeros(1)), np.ones(1), X)


def _centred(X):
    """Rows without their mean, and zero where they were constant up to rounding."""
    lowest, highest = _sum("ReduceMin", X, 1), _sum("ReduceMax", X, 1)
    largest = _op("Max", _op("Neg", lowest), highest)
    rounding = _op("Mul", largest, np.array([ROUNDINGS * np.finfo(np.float64).eps]))
    is_constant = _op("LessOrEqual", _op("Sub", highest, lowest), rounding)
    return _op("Where", is_constant, np.zeros(1), _op("Sub", X, _sum("ReduceMean", X, 1)))


def _scaled(X):
    """Rows over their largest magnitude, so that no square leaves the range, and that magnitude."""
    largest = _one_where_zero(_sum("ReduceMax", _op("Abs", X), 1))
    return _op("Div", X, largest), largest


def _instance_l2(normalizer, X):
    X, size = _scaled(X)
    if normalizer.power != 1:
        power = np.array([normalizer.power], dtype=np.float64)
        X = _op("Mul", _op("Sign", X), _op("Pow", _op("Abs", X), power))
        size = _op("Pow", size, power)
    if normalizer.center == "before":
        X = _centred(X)
    length = _sum("ReduceL2", X, 1)
    if normalizer.append_ is None:
        X = _centred(X) if normalizer.center == "after" else X
        return _op("Div", X, _one_where_zero(length))
    # Both on the scale of the larger: x / sqrt(x^2 + c^2) and c / sqrt(x^2 + c^2).
    constant = np.array([[normalizer.append_]], dtype=np.float64)
    scale = _op("Max", size, constant)
    length = _op("Mul", length, _op("Div", size, scale))
    constant = _op("Div", constant, scale)
    # A row of zeros has no length beside which the constant would be small.
    constant = _op("Where", _op("Equal", length, np.zeros(1)), np.ones(1), constant)
    whole = _op("Sqrt", _op("Add", _op("Mul", length, length), _op("Mul", constant, constant)))
    X = _centred(X) if normalizer.center == "after" else X
    X = _op("Div", _op("Mul", X, _op("Div", size, scale)), whole)
    return _op("Concat", X, _op("Div", constant, whole), axis=1)


def _instance_standard(standardizer, X):
    X = _centred(_scaled(X)[0])
    deviation = _op("Sqrt", _sum("ReduceMean", _op("Mul", X, X), 1))
    return _op("Div", X, _one_where_zero(deviation))


def _normal_scores(transformer, X):
    """`numpy.interp`, column by column, as a sum of ramps between neighbouring knots."""
    n_knots = max(map(len, transformer.quantiles_))

    def padded(columns):
        return np.array([np.pad(c, (0, n_knots - len(c)), mode="edge") for c in columns]).T

    x, y = padded(transformer.quantiles_), padded(transformer.scores_)  # (n_knots, d)
    width = np.diff(x, axis=0)
    slope = np.divide(np.diff(y, axis=0), width, out=np.zeros_like(width), where=width > 0)
    beyond = _op("Sub", _op("Unsqueeze", X, np.array([1])), x[:-1])
    ramps = _op("Min", _op("Max", beyond, np.zeros(1)), width)
    total = _op("ReduceSum", _op("Mul", ramps, slope), np.array([1]), keepdims=0)
    return _op("Add", total, y[0])


def _ridge(whitener, X):
    if whitener.mean_ is not None:
        X = _op("Sub", X, _weights(whitener.mean_))
    along = _op("MatMul", X, _weights(whitener.whitening_))
    if whitener.deviations_ is None:
        return along
    *directions, of_rest = whitener.deviations_
    lengths = _sum("ReduceSumSquare", _op("Mul", along, np.array(directions)), 1)
    rest = _op("Max", _op("Sub", _sum("ReduceSumSquare", X, 1), lengths), np.zeros(1))
    return _op("Concat", along, _op("Div", _op("Sqrt", rest), np.array([of_rest])), axis=1)


def _fourier(features, X):
    angles = _op("MatMul", X, features.random_weights_.astype(np.float64))
    # Earlier releases of onnxruntime have no cosine in float64.
    cosines = _op("Sin", _op("Add", angles, features.random_offset_ + np.pi / 2))
    return _rounded(_op("Mul", cosines, np.array([np.sqrt(2 / features.n_components)])))


def _landmarks(features, X):
    L = dense(features.landmarks_)
    squares = _op("Add", _sum("ReduceSumSquare", X, 1), np.sum(L**2, axis=1)[None])
    distances = _op("Sub", squares, _op("MatMul", X, 2 * L.T))
    distances = _op("Max", distances, np.zeros(1))
    kernel = _op("Exp", _op("Mul", distances, np.array([-features.gamma_], dtype=np.float64)))
    return _rounded(_op("MatMul", kernel, features.normalization_))


def _visual_words(words, X):
    """In float32, as in Python."""
    height, width, channels = words.image_shape_
    n_words, *patch = words.words_.shape
    n_values = patch[0] * patch[1] * channels
    # Without what all pixels of an image have in common, of which float32 would leave little else.
    X = _op("Div", _op("Sub", X, _sum("ReduceMean", X, 1)), np.array([words.scale_]))
    images = _cast(X, np.float32)
    images = _op("Reshape", images, np.array([-1, height, width, channels]))
    images = _op("Transpose", images, perm=[0, 3, 1, 2])
    filters = words.words_.transpose(0, 3, 1, 2).astype(np.float32)
    average = np.full((1, *filters.shape[1:]), 1 / n_values, dtype=np.float32)
    mean = _op("Conv", images, average)
    square = _op("Conv", _op("Mul", images, images), average)
    variance = _op("Relu", _op("Sub", square, _op("Mul", mean, mean)))
    contrast = _op("Sqrt", _op("Add", variance, np.array([FLAT], dtype=np.float32)))
    bias = words.bias_.astype(np.float32)[:, None, None]
    responses = _op("Add", _op("Div", _op("Conv", images, filters), contrast), bias)
    responses = _op("Div", responses, np.array([n_values**0.5], dtype=np.float32))
    responses = _op("Relu", _op("Sub", responses, np.array([words.threshold], dtype=np.float32)))
    n_places = (height - patch[0] + 1) * (width - patch[1] + 1)
    responses = _op("Reshape", responses, np.array([-1, n_words, n_places]))
    parts = np.kron(
        *(
            _averages(size - of_patch + 1, n_parts)
            for size, of_patch, n_parts in zip((height, width), patch, words._parts(), strict=False)
        )
    )
    means = _op("MatMul", responses, parts.astype(np.float32))
    means = _op("Reshape", means, np.array([-1, n_words * parts.shape[1]]))
    if words.power != 1:
        means = _op("Pow", means, np.array([words.power], dtype=np.float32))
    return _cast(means, np.float64)


def _averages(n_places, n_parts):
    """What averages places over parts as torch's adaptive pooling, (n_places, n_parts)."""
    matrix = np.zeros((n_places, n_parts))
    for part in range(n_parts):
        places = slice(part * n_places // n_parts, -(-(part + 1) * n_places // n_parts))
        matrix[places, part] = 1
    return matrix / matrix.sum(axis=0)


def _mean_output(classifier, X):
    """``mean_m f_m(x)``, (n, 1)."""
    outputs = []
    for m in range(classifier.n_estimators):
        A = X
        *hidden, last = [_weights(W[m]) for W in classifier.coefs_]
        for W in hidden:
            Z = _op("MatMul", A, W)
            A = _op("Max", Z, _op("Mul", Z, np.array([classifier._slope])))
        outputs.append(_op("MatMul", A, last))
    return _op("Div", _op("Sum", *outputs), np.array([float(len(outputs))]))


def _imputed(imputer, X):
    """In place of skl2onnx's own, for which onnxruntime has no float64."""
    if imputer.missing_values is not np.nan or imputer.indicator_ is not None:
        raise RuntimeError("SimpleImputer of anything but NaN, or with an indicator.")
    if imputer.statistics_.dtype.kind != "f" or np.isnan(imputer.statistics_).any():
        raise RuntimeError("SimpleImputer of text, or of a column without any value.")
    return _op("Where", _op("IsNaN", X), imputer.statistics_, X)


def _numbers(encoder, X):
    """Columns of numbers pass as they are, and gaps become what they do in Python."""
    if set(encoder.kinds_) != {"number"}:
        raise RuntimeError("TableEncoder of anything but numbers.")
    return _op("Where", _op("IsNaN", X), encoder.fill_, X)


NODES = {
    _MeanOfScores: lambda _, scores: _sum("ReduceMean", scores, 1),
    FourierFeatures: _fourier,
    HRNOneClassClassifier: _mean_output,
    InstanceL2Normalizer: _instance_l2,
    InstanceStandardizer: _instance_standard,
    LandmarkFeatures: _landmarks,
    NormalScoreTransformer: _normal_scores,
    PatchDictionary: _visual_words,
    RidgeWhitener: _ridge,
    SimpleImputer: _imputed,
    TableEncoder: _numbers,
}
