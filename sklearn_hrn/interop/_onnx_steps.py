"""Steps of pipelines as operators of ONNX."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer

from .._base import dense
from ..image import PatchDictionary
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


class MeanOfScores(BaseEstimator):
    """Several detectors of the same rows."""

    def __init__(self, scorers):
        self.scorers = scorers
        self.n_features_in_ = scorers[0].n_features_in_
        if hasattr(scorers[0], "feature_names_in_"):
            self.feature_names_in_ = scorers[0].feature_names_in_


# The steps: an estimator and the node of its rows (n, d), float64, to the node of what it makes of
# them. Operators take arrays for constants.


def op(name, *inputs, **attributes):
    from skl2onnx.algebra import onnx_ops

    return getattr(onnx_ops, f"Onnx{name}")(*inputs, op_version=OPSET, **attributes)


def sum_over(name, X, axis):
    return op(name, X, np.array([axis]), keepdims=1)


def _cast(X, dtype):
    from onnx import helper

    return op("Cast", X, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _weights(array):
    """An array of the size that it has, computed with in float64."""
    return _cast(array, np.float64) if array.dtype == np.float32 else array


def _rounded(X):
    """Where Python goes on in float32."""
    return _cast(_cast(X, np.float32), np.float64)


def _one_where_zero(X):
    return op("Where", op("Equal", X, np.zeros(1)), np.ones(1), X)


def _centred(X):
    """Rows without their mean, and zero where they were constant up to rounding."""
    lowest, highest = sum_over("ReduceMin", X, 1), sum_over("ReduceMax", X, 1)
    largest = op("Max", op("Neg", lowest), highest)
    rounding = op("Mul", largest, np.array([ROUNDINGS * np.finfo(np.float64).eps]))
    is_constant = op("LessOrEqual", op("Sub", highest, lowest), rounding)
    return op("Where", is_constant, np.zeros(1), op("Sub", X, sum_over("ReduceMean", X, 1)))


def _scaled(X):
    """Rows over their largest magnitude, so that no square leaves the range, and that magnitude."""
    largest = _one_where_zero(sum_over("ReduceMax", op("Abs", X), 1))
    return op("Div", X, largest), largest


def _instance_l2(normalizer, X):
    X, size = _scaled(X)
    if normalizer.power != 1:
        power = np.array([normalizer.power], dtype=np.float64)
        X = op("Mul", op("Sign", X), op("Pow", op("Abs", X), power))
        size = op("Pow", size, power)
    if normalizer.center == "before":
        X = _centred(X)
    length = sum_over("ReduceL2", X, 1)
    if normalizer.append_ is None:
        X = _centred(X) if normalizer.center == "after" else X
        return op("Div", X, _one_where_zero(length))
    # Both on the scale of the larger: x / sqrt(x^2 + c^2) and c / sqrt(x^2 + c^2).
    constant = np.array([[normalizer.append_]], dtype=np.float64)
    scale = op("Max", size, constant)
    length = op("Mul", length, op("Div", size, scale))
    constant = op("Div", constant, scale)
    # A row of zeros has no length beside which the constant would be small.
    constant = op("Where", op("Equal", length, np.zeros(1)), np.ones(1), constant)
    whole = op("Sqrt", op("Add", op("Mul", length, length), op("Mul", constant, constant)))
    X = _centred(X) if normalizer.center == "after" else X
    X = op("Div", op("Mul", X, op("Div", size, scale)), whole)
    return op("Concat", X, op("Div", constant, whole), axis=1)


def _instance_standard(standardizer, X):
    X = _centred(_scaled(X)[0])
    deviation = op("Sqrt", sum_over("ReduceMean", op("Mul", X, X), 1))
    return op("Div", X, _one_where_zero(deviation))


def _normal_scores(transformer, X):
    """`numpy.interp`, column by column, as a sum of ramps between neighbouring knots."""
    n_knots = max(map(len, transformer.quantiles_))

    def padded(columns):
        return np.array([np.pad(c, (0, n_knots - len(c)), mode="edge") for c in columns]).T

    x, y = padded(transformer.quantiles_), padded(transformer.scores_)  # (n_knots, d)
    width = np.diff(x, axis=0)
    slope = np.divide(np.diff(y, axis=0), width, out=np.zeros_like(width), where=width > 0)
    beyond = op("Sub", op("Unsqueeze", X, np.array([1])), x[:-1])
    ramps = op("Min", op("Max", beyond, np.zeros(1)), width)
    total = op("ReduceSum", op("Mul", ramps, slope), np.array([1]), keepdims=0)
    return op("Add", total, y[0])


def _ridge(whitener, X):
    if whitener.mean_ is not None:
        X = op("Sub", X, _weights(whitener.mean_))
    along = op("MatMul", X, _weights(whitener.whitening_))
    if whitener.deviations_ is None:
        return along
    *directions, of_rest = whitener.deviations_
    lengths = sum_over("ReduceSumSquare", op("Mul", along, np.array(directions)), 1)
    rest = op("Max", op("Sub", sum_over("ReduceSumSquare", X, 1), lengths), np.zeros(1))
    return op("Concat", along, op("Div", op("Sqrt", rest), np.array([of_rest])), axis=1)


def _fourier(features, X):
    angles = op("MatMul", X, features.random_weights_.astype(np.float64))
    # Earlier releases of onnxruntime have no cosine in float64.
    cosines = op("Sin", op("Add", angles, features.random_offset_ + np.pi / 2))
    return _rounded(op("Mul", cosines, np.array([np.sqrt(2 / len(features.random_offset_))])))


def _landmarks(features, X):
    L = dense(features.landmarks_)
    squares = op("Add", sum_over("ReduceSumSquare", X, 1), np.sum(L**2, axis=1)[None])
    distances = op("Sub", squares, op("MatMul", X, 2 * L.T))
    distances = op("Max", distances, np.zeros(1))
    kernel = op("Exp", op("Mul", distances, np.array([-features.gamma_], dtype=np.float64)))
    return _rounded(op("MatMul", kernel, features.normalization_))


def _visual_words(words, X):
    """In float32, as in Python."""
    height, width, channels = words.image_shape_
    n_words, *patch = words.words_.shape
    n_values = patch[0] * patch[1] * channels
    # Without what all pixels of an image have in common, of which float32 would leave little else.
    X = op("Div", op("Sub", X, sum_over("ReduceMean", X, 1)), np.array([words.scale_]))
    images = _cast(X, np.float32)
    images = op("Reshape", images, np.array([-1, height, width, channels]))
    images = op("Transpose", images, perm=[0, 3, 1, 2])
    filters = words.words_.transpose(0, 3, 1, 2).astype(np.float32)
    average = np.full((1, *filters.shape[1:]), 1 / n_values, dtype=np.float32)
    mean = op("Conv", images, average)
    square = op("Conv", op("Mul", images, images), average)
    variance = op("Relu", op("Sub", square, op("Mul", mean, mean)))
    contrast = op("Sqrt", op("Add", variance, np.array([FLAT], dtype=np.float32)))
    bias = words.bias_.astype(np.float32)[:, None, None]
    responses = op("Add", op("Div", op("Conv", images, filters), contrast), bias)
    responses = op("Div", responses, np.array([n_values**0.5], dtype=np.float32))
    responses = op("Relu", op("Sub", responses, np.array([words.threshold], dtype=np.float32)))
    n_places = (height - patch[0] + 1) * (width - patch[1] + 1)
    responses = op("Reshape", responses, np.array([-1, n_words, n_places]))
    parts = np.kron(
        *(
            _averages(size - of_patch + 1, n_parts)
            for size, of_patch, n_parts in zip((height, width), patch, words._parts(), strict=False)
        )
    )
    means = op("MatMul", responses, parts.astype(np.float32))
    means = op("Reshape", means, np.array([-1, n_words * parts.shape[1]]))
    if words.power != 1:
        means = op("Pow", means, np.array([words.power], dtype=np.float32))
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
    for m in range(len(classifier.coefs_[0])):
        A = X
        *hidden, last = [_weights(W[m]) for W in classifier.coefs_]
        for W in hidden:
            Z = op("MatMul", A, W)
            A = op("Max", Z, op("Mul", Z, np.array([classifier._slope])))
        outputs.append(op("MatMul", A, last))
    return op("Div", op("Sum", *outputs), np.array([float(len(outputs))]))


def _imputed(imputer, X):
    """In place of skl2onnx's own, for which onnxruntime has no float64."""
    if imputer.missing_values is not np.nan or imputer.indicator_ is not None:
        raise RuntimeError("SimpleImputer of anything but NaN, or with an indicator.")
    if imputer.statistics_.dtype.kind != "f" or np.isnan(imputer.statistics_).any():
        raise RuntimeError("SimpleImputer of text, or of a column without any value.")
    return op("Where", op("IsNaN", X), imputer.statistics_, X)


def _numbers(encoder, X):
    """Columns of numbers pass as they are, and gaps become what they do in Python."""
    if set(encoder.kinds_) != {"number"}:
        raise RuntimeError("TableEncoder of anything but numbers.")
    return op("Where", op("IsNaN", X), encoder.fill_, X)


NODES = {
    MeanOfScores: lambda _, scores: sum_over("ReduceMean", scores, 1),
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
