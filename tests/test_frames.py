"""Rows of every library through every recipe, its search and its calibration: equal scores."""

import functools
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNSearchCV,
    InlierKFold,
    InstanceL2Normalizer,
    NormalScoreTransformer,
    TableEncoder,
    conformal_p_values,
    make_hrn_pipeline,
)
from sklearn_hrn._reference import as_columns, as_frame_of
from sklearn_hrn.recipes import RECIPES


def _of_pandas(X, names, **backend):
    frame = pytest.importorskip("pandas").DataFrame(X, columns=names)
    return frame.convert_dtypes(**backend) if backend else frame


def _of_arrow(X, names):
    arrays = dict(zip(names, np.ascontiguousarray(X.T), strict=True))
    return pytest.importorskip("pyarrow").table(arrays)


def _memory_map(X, names, folder):
    written = np.memmap(folder / "rows", dtype=X.dtype, mode="w+", shape=X.shape)
    written[:] = X
    written.flush()
    return np.memmap(folder / "rows", dtype=X.dtype, mode="r", shape=X.shape)


LIBRARIES = {
    "list": lambda X, names, folder: X.tolist(),
    "memory map": _memory_map,
    "pandas": lambda X, names, folder: _of_pandas(X, names),
    "pandas, nullable": lambda X, names, folder: _of_pandas(
        X, names, dtype_backend="numpy_nullable"
    ),
    "pandas, Arrow": lambda X, names, folder: (
        pytest.importorskip("pyarrow") and _of_pandas(X, names, dtype_backend="pyarrow")
    ),
    "polars": lambda X, names, folder: pytest.importorskip("polars").DataFrame(X, schema=names),
    "PyArrow": lambda X, names, folder: _of_arrow(X, names),
}
WRAPPERS = {
    "calibrated": lambda recipe: recipe.set_params(calibration=2),
    "search": lambda recipe: HRNSearchCV(
        recipe, {"hrn__reg_lambda": [0.1, 1.0]}, cv=InlierKFold(2), scoring="roc_auc"
    ),
    "conformal": lambda recipe: ConformalOutlierDetector(recipe, random_state=0),
}


@functools.cache
def tumours():
    X, is_benign = load_breast_cancer(return_X_y=True)
    return X[:200], np.where(is_benign[:200] == 1, 1, -1)


def scores(kind, wrapper, rows):
    shape = (5, 6) if kind == "image" else None
    recipe = make_hrn_pipeline(kind, random_state=0, image_shape=shape)
    recipe.set_params(hrn__max_updates=5, hrn__contamination=0.1, calibration=None)
    detector = WRAPPERS[wrapper](recipe).fit(rows, tumours()[1])
    return detector.score_samples(rows), detector.decision_function(rows)


@functools.cache
def scores_of_an_array(kind, wrapper):
    return scores(kind, wrapper, tumours()[0])


# Every library meets every recipe, which sees its rows first, and every wrapper, which cuts them.
CASES = [
    (library, kind, sorted(WRAPPERS)[(i + j) % len(WRAPPERS)])
    for i, library in enumerate(sorted(LIBRARIES))
    for j, kind in enumerate(sorted(RECIPES))
]


@pytest.mark.usefixtures("few_patches")
@pytest.mark.parametrize(("library", "kind", "wrapper"), CASES)
def test_scores_do_not_depend_on_who_holds_the_rows(library, kind, wrapper, tmp_path):
    X, _ = tumours()
    rows = LIBRARIES[library](X, [f"column {j}" for j in range(X.shape[1])], tmp_path)
    with warnings.catch_warnings():
        # One column has nearly all of the length of these rows, whoever holds them.
        warnings.filterwarnings("ignore", message="column")
        expected = scores_of_an_array(kind, wrapper)
        if library != "memory map":
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*column.*")
        found = scores(kind, wrapper, rows)
    # Columns that lie apart in memory are summed in another order, and trained on in float32.
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-3 * np.abs(expected[0]).max())


def test_a_row_of_a_frame_is_checked_however_many_came_before():
    pd = pytest.importorskip("pandas")
    X = np.random.default_rng(0).normal(size=(60, 3))
    frame = pd.DataFrame(X, columns=list("abc"))
    fitted = NormalScoreTransformer().fit(frame)
    expected = NormalScoreTransformer().fit(X).transform(X[:1])
    row = frame.iloc[:1]
    for same in (row, row, pd.DataFrame(row.to_dict("records")), frame.iloc[:1].convert_dtypes()):
        assert np.array_equal(fitted.transform(same), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(row[["b", "a", "c"]])
    with pytest.raises(ValueError, match="missing values"):
        fitted.transform(row.assign(b=np.nan))
    with pytest.raises(ValueError, match="text in column 'b', for instance 'x'"):
        fitted.transform(row.assign(b="x"))
    refitted = fitted.fit(frame.rename(columns={"a": "d"}))
    with pytest.raises(ValueError, match="feature names should match"):
        refitted.transform(row)


def test_numbers_of_a_category_are_no_numbers_where_numbers_were():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0, 3.0]})
    fitted = TableEncoder().fit(frame)
    with pytest.raises(TypeError, match="column 'a' held numbers in fit, but now holds text"):
        fitted.transform(frame.iloc[:1].astype("category"))
    assert fitted.transform(frame.iloc[:1]) == [[1.0]]


def _in_a_dictionary(pa, values):
    """A column as Parquet gives categories, in two chunks."""
    arrays = [pa.array(part).dictionary_encode() for part in (values[:40], values[40:])]
    return pa.chunked_array(arrays)


def test_gaps_of_a_dictionary_of_arrow_are_gaps(rng):
    pa = pytest.importorskip("pyarrow")
    words = [None if i % 5 == 1 else "abc"[i % 3] for i in range(60)]
    numbers = [None if word is None else float(ord(word)) for word in words]
    y = rng.normal(size=60)
    plain = pa.table({"word": words, "y": y})
    encoder = TableEncoder().fit(plain)
    table = pa.table({"word": _in_a_dictionary(pa, words), "y": y})
    np.testing.assert_array_equal(encoder.transform(table), encoder.transform(plain))
    np.testing.assert_array_equal(
        TableEncoder().fit(table).transform(plain), encoder.transform(plain)
    )
    # In all that takes numbers, labels or scores, they are refused as gaps are.
    numbers = _in_a_dictionary(pa, numbers)
    with pytest.raises(ValueError, match=r"missing values .* in column 'word'"):
        InstanceL2Normalizer().fit(pa.table({"word": numbers, "y": y}))
    with pytest.raises(ValueError, match="y holds missing values"):
        InstanceL2Normalizer().fit(y[:, None], numbers)
    with pytest.raises(ValueError, match="12 NaN among 60"):
        conformal_p_values([1.0], numbers)
    with pytest.raises(ValueError, match="calibration_weights must be finite"):
        conformal_p_values([1.0], y, calibration_weights=numbers)


def test_a_table_with_a_dictionary_of_arrow_is_kept_with_its_gaps(rng):
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    words = [None if i % 5 == 1 else "abc"[i % 3] for i in range(60)]
    table = pa.table({"word": _in_a_dictionary(pa, words), "y": rng.normal(size=60)})
    kept = as_frame_of("pandas", table)
    assert [None if pd.isna(word) else word for word in kept["word"]] == words
    column = as_columns(table["word"])
    assert column.tolist() == words
