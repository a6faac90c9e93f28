"""Instance normalisation."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_hrn import InstanceL2Normalizer, InstanceStandardizer, _base
from sklearn_hrn.exceptions import DominantColumnWarning

VARIANTS = [
    InstanceL2Normalizer(),
    InstanceL2Normalizer(center="before"),
    InstanceL2Normalizer(center=None),
    InstanceL2Normalizer(center=None, append="median"),
    InstanceL2Normalizer(center="before", append=2.0, power=0.5),
    InstanceStandardizer(),
]

rows_of_numbers = arrays(
    np.float64,
    (7, 5),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda v: round(v, 3)),
)


def normalized(X, **parameters):
    return InstanceL2Normalizer(**parameters).fit_transform(X)


@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.LabelConventionWarning")
@parametrize_with_checks(VARIANTS)
def test_every_variant_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


def test_the_default_divides_and_then_centres_as_the_paper_does(rng):
    X = rng.normal(size=(20, 6))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    expected = unit - unit.mean(axis=1, keepdims=True)
    # Both are float64; they differ in the order of a few roundings.
    np.testing.assert_allclose(normalized(X), expected, atol=1e-15)


def test_centring_first_leaves_rows_of_length_one_and_mean_zero(rng):
    Xt = normalized(rng.normal(size=(20, 6)), center="before")
    np.testing.assert_allclose(np.linalg.norm(Xt, axis=1), 1)
    np.testing.assert_allclose(Xt.mean(axis=1), 0, atol=1e-15)


def test_an_appended_constant_is_divided_with_the_row(rng):
    X = rng.normal(size=(20, 6))
    whole = np.column_stack([X, np.full(20, 3.0)])
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(normalized(X, center=None, append=3.0), expected)


def test_the_appended_constant_is_not_centred(rng):
    X = rng.normal(size=(20, 6))
    Xt = normalized(X, center="after", append=3.0)
    np.testing.assert_allclose(Xt[:, :-1].mean(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(Xt[:, -1], 3 / np.sqrt((X**2).sum(axis=1) + 9))


@pytest.mark.parametrize("center", ["after", "before", None])
def test_the_median_is_that_of_the_lengths_just_before_appending(rng, center):
    X = rng.normal(size=(31, 6))
    signed_root = np.sign(X) * np.sqrt(np.abs(X))
    if center == "before":
        signed_root -= signed_root.mean(axis=1, keepdims=True)
    normalizer = InstanceL2Normalizer(center=center, append="median", power=0.5).fit(X)
    assert normalizer.append_ == pytest.approx(np.median(np.linalg.norm(signed_root, axis=1)))


def test_anomalies_do_not_reach_the_median(rng):
    X = rng.normal(size=(30, 6))
    spoilt, y = np.vstack([X, np.full((40, 6), 1e6)]), np.repeat([1, -1], [30, 40])
    normalizer = InstanceL2Normalizer(append="median")
    assert normalizer.fit(spoilt, y).append_ == normalizer.fit(X).append_


@pytest.mark.parametrize(("lengths", "median"), [([1, 3], 2), ([0, 0, 4, 4], 2), ([2, 9, 5], 5)])
@pytest.mark.parametrize("container", [np.array, sparse.csr_array])
def test_the_median_of_an_even_number_of_rows_is_the_mean_of_the_middle_two(
    lengths, median, container
):
    X = container(np.outer(lengths, [0.6, 0.8]))
    learned = InstanceL2Normalizer(center=None, append="median").fit(X).append_
    # Lengths are compared as logarithms, which costs a few roundings.
    assert learned == pytest.approx(median, rel=1e-14)


def test_a_median_of_zero_rows_appends_one():
    assert InstanceL2Normalizer(append="median").fit(np.zeros((3, 2))).append_ == 1


@pytest.mark.parametrize("exponent", [300, -200])
def test_a_median_beyond_float64_is_refused(exponent):
    X = np.full((3, 2), 10.0**exponent)
    with pytest.raises(ValueError, match=rf"length of 10\^{2 * exponent}\. Rescale X"):
        InstanceL2Normalizer(center=None, power=2.0, append="median").fit(X)


@pytest.mark.parametrize("failure", ["labels", "values", "median"])
def test_a_failed_fit_leaves_the_normalizer_as_it_was(rng, failure):
    pd = pytest.importorskip("pandas", reason="pandas is optional")
    X, y = pd.DataFrame(rng.normal(size=(5, 3)), columns=["a", "b", "c"]), None
    if failure == "labels":
        y = np.full(5, -1)
    else:
        X["c"] = np.nan if failure == "values" else 1e300
    fresh = InstanceL2Normalizer(center=None, power=2.0, append="median")
    fitted = clone(fresh).fit(rng.normal(size=(6, 2)))
    for normalizer in (fresh, fitted):
        before = dict(vars(normalizer))
        with pytest.raises(ValueError, match=r"-1|NaN|median"):
            normalizer.fit(X, y)
        assert vars(normalizer) == before


def test_the_power_keeps_signs():
    Xt = normalized([[4.0, -9.0]], center=None, power=0.5)
    np.testing.assert_allclose(Xt, np.array([[2.0, -3.0]]) / np.sqrt(13))


def test_standardized_rows_have_mean_zero_and_variance_one(rng):
    Xt = InstanceStandardizer().fit_transform(rng.normal(3, 5, size=(20, 6)))
    np.testing.assert_allclose(Xt.mean(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(Xt.std(axis=1), 1)


@given(rows_of_numbers, st.floats(1e-3, 1e3), st.sampled_from(["after", "before", None]))
def test_the_scale_of_a_row_does_not_count(X, scale, center):
    # A row that cancels to a rounding when centred is zero for one scale and noise for another.
    spread = np.ptp(X, axis=1)
    X = X[spread > 1e-6 * np.abs(X).max(axis=1)]
    if len(X):
        # Multiplying by the scale rounds once, which centring can enlarge a millionfold.
        np.testing.assert_allclose(
            normalized(scale * X, center=center), normalized(X, center=center), atol=1e-8
        )


@given(rows_of_numbers, st.permutations(range(7)), st.integers(1, 6))
def test_a_row_depends_on_itself_alone(X, order, n_first):
    for transformer in VARIANTS:
        fitted = clone(transformer).fit(X)
        whole = fitted.transform(X)
        np.testing.assert_array_equal(fitted.transform(X[list(order)]), whole[list(order)])
        np.testing.assert_array_equal(fitted.transform(X[:n_first]), whole[:n_first])


@given(rows_of_numbers)
def test_a_row_is_the_same_bit_for_bit_in_every_memory_layout(X):
    wide = np.repeat(X, 2, axis=1)
    for transformer in [*VARIANTS, InstanceL2Normalizer(power=0.7)]:
        fitted = clone(transformer).fit(X)
        whole = fitted.transform(X)
        np.testing.assert_array_equal(fitted.transform(np.asfortranarray(X)), whole)
        np.testing.assert_array_equal(fitted.transform(wide[:, ::2]), whole)


@pytest.mark.parametrize("transformer", VARIANTS, ids=str)
def test_long_rows_are_summed_alike_in_every_memory_layout(rng, transformer):
    X = rng.normal(size=(40, 300))
    fitted = clone(transformer).fit(X)
    alone = np.vstack([fitted.transform(row[None]) for row in X])
    np.testing.assert_array_equal(fitted.transform(np.asfortranarray(X)), alone)


@pytest.mark.parametrize("transformer", VARIANTS, ids=str)
def test_a_transform_needs_little_memory_beside_its_output(rng, transformer):
    X = rng.random((60000, 200), dtype=np.float32)
    fitted = clone(transformer).fit(X[:10])
    tracemalloc.start()
    size = fitted.transform(X).nbytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The copies of one block: rows, and what the power and the check of X make of them.
    assert peak < size + 8 * _base.BLOCK_BYTES


@given(rows_of_numbers)
def test_nothing_but_numbers_of_at_most_length_one_comes_out(X):
    for transformer in VARIANTS[:-1]:
        Xt = clone(transformer).fit_transform(X)
        assert np.isfinite(Xt).all()
        # One plus the roundings of a sum of squares.
        assert np.linalg.norm(Xt, axis=1).max() <= 1 + 1e-12


def test_blocks_do_not_show_in_the_result(rng, monkeypatch):
    X = rng.normal(size=(50, 6))
    some = sparse.csr_array(np.maximum(X, 0))
    whole = normalized(X, center="before", append="median")
    of_sparse = normalized(some, center=None, append=1.0).toarray()
    monkeypatch.setattr(_base, "BLOCK_BYTES", 8 * 6 * 7)
    np.testing.assert_array_equal(normalized(X, center="before", append="median"), whole)
    in_blocks = normalized(some, center=None, append=1.0).toarray()
    np.testing.assert_array_equal(in_blocks, of_sparse)


@pytest.mark.parametrize("transformer", VARIANTS, ids=str)
def test_zero_rows_and_constant_rows_become_zero(transformer):
    X = np.array([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [1.0, 2.0, 3.0]])
    Xt = clone(transformer).fit_transform(X)[:, :3]
    assert (Xt[0] == 0).all()
    is_centred = not (isinstance(transformer, InstanceL2Normalizer) and transformer.center is None)
    assert (Xt[1] == 0).all() == is_centred
    assert (Xt[2] != 0).any()


def test_a_row_that_is_constant_up_to_float32_rounding_becomes_zero():
    X = np.array([[0.1, 0.1, np.nextafter(np.float32(0.1), np.float32(1))]], dtype=np.float32)
    assert (normalized(X, center="before") == 0).all()


@pytest.mark.parametrize("size", [1e300, 1e-200, 5e-324])
@pytest.mark.parametrize("center", ["after", "before", None])
def test_extreme_magnitudes_keep_their_direction(size, center):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        Xt = normalized([[size, 2 * size, -3 * size]], center=center)
    np.testing.assert_allclose(Xt, normalized([[1.0, 2.0, -3.0]], center=center), rtol=1e-12)


@pytest.mark.parametrize("size", [1e300, 1e-200])
def test_an_appended_constant_bears_extreme_magnitudes(size):
    Xt = normalized([[size, 0.0]], center=None, append=1.0, power=2.0)
    np.testing.assert_allclose(Xt, [[1, 0, 0]] if size > 1 else [[0, 0, 1]], atol=1e-15)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e200, 1e-200])
@pytest.mark.parametrize("append", [1e-300, 1.0, 1e200])
def test_of_a_constant_row_only_the_appended_constant_is_left(size, append):
    Xt = normalized([[size] * 3], center="before", append=append)
    np.testing.assert_array_equal(Xt, [[0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_constant_up_to_eight_roundings_and_no_more(dtype):
    eps = np.finfo(dtype).eps
    nearly = np.array([[1, 1 + n * eps, 1] for n in (7, 10)], dtype=dtype)
    np.testing.assert_allclose(np.linalg.norm(normalized(nearly, center="before"), axis=1), [0, 1])


def test_a_row_of_a_few_roundings_is_not_amplified_by_a_power():
    nearly = np.array([[1.0, 1.0 + 1e-15, 1.0], [1.0, 1.0 + 1e-13, 1.0]])
    assert (normalized(nearly[:1], center="before", power=12.0) == 0).all()
    assert (normalized(nearly[1:], center="before", power=0.01) == 0).all()


def test_one_feature_leaves_nothing_once_centred():
    X = [[3.0], [-2.0]]
    for transformer in (InstanceL2Normalizer(), InstanceL2Normalizer(center="before")):
        assert (transformer.fit_transform(X) == 0).all()
    np.testing.assert_array_equal(normalized(X, center=None), [[1], [-1]])


@pytest.mark.parametrize("append", [None, 2.0, "median"])
@pytest.mark.parametrize("power", [1.0, 0.5])
@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
def test_sparse_rows_stay_sparse_and_equal_dense_ones(rng, append, power, copy, container):
    X = rng.normal(size=(30, 8)) * (rng.random((30, 8)) < 0.3)
    X[3] = 0
    normalizer = InstanceL2Normalizer(center=None, append=append, power=power, copy=copy)
    dense = normalizer.fit(X).transform(X.copy())
    Xt = normalizer.fit(container(X)).transform(container(X))
    assert sparse.issparse(Xt)
    np.testing.assert_allclose(Xt.toarray(), dense, rtol=1e-12)


@pytest.mark.parametrize("append", [None, 1.0])
@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_entries_stored_twice_are_summed_first(append, copy, container):
    X = container((np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1]), np.array([0, 3])), shape=(1, 2))
    Xt = InstanceL2Normalizer(center=None, append=append, copy=copy).fit_transform(X)
    np.testing.assert_allclose(
        Xt.toarray(), normalized([[3.0, 4.0]], center=None, append=append), rtol=1e-15
    )
    assert X.nnz == 3


@pytest.mark.parametrize("append", [None, 1.0])
@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
def test_sparse_rows_keep_their_container_and_are_overwritten_only_on_request(
    rng, append, copy, container
):
    X = container(rng.normal(size=(9, 4)).astype(np.float32) * (rng.random((9, 4)) < 0.5))
    before = X.data.copy()
    Xt = InstanceL2Normalizer(center=None, append=append, copy=copy).fit_transform(X)
    assert type(Xt) is container and Xt.dtype == np.float32
    in_place = not copy and append is None
    assert np.shares_memory(Xt.data, X.data) == in_place
    assert np.array_equal(X.data, before) != in_place


def test_read_only_sparse_rows_are_left_alone():
    X = sparse.csr_array(3 * np.eye(4))
    X.data.flags.writeable = False
    Xt = InstanceL2Normalizer(center=None, copy=False).fit_transform(X)
    np.testing.assert_array_equal(Xt.toarray(), np.eye(4))
    assert (X.data == 3).all()


def test_sparse_input_is_declared_only_where_it_is_accepted():
    declared = [transformer.__sklearn_tags__().input_tags.sparse for transformer in VARIANTS]
    assert declared == [False, False, True, True, False, False]


@pytest.mark.parametrize("center", ["after", "before"])
def test_sparse_rows_are_not_made_dense_without_a_word(center):
    with pytest.raises(TypeError, match=r"center=None.*toarray"):
        InstanceL2Normalizer(center=center).fit(sparse.csr_array(np.eye(3)))


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int64, np.bool_])
def test_other_types_become_float64(dtype):
    X = np.array([[1, 0, 3], [0, 1, 1]]).astype(dtype)
    Xt = normalized(X)
    assert Xt.dtype == np.float64
    np.testing.assert_array_equal(Xt, normalized(X.astype(float)))


def test_float32_stays_float32_and_is_rounded_once(rng):
    X = rng.normal(size=(20, 6)).astype(np.float32)
    Xt = normalized(X)
    assert Xt.dtype == np.float32
    np.testing.assert_array_equal(Xt, normalized(X.astype(np.float64)).astype(np.float32))


def test_copy_false_writes_into_x_and_copy_true_does_not(rng):
    X = rng.normal(size=(20, 6))
    before = X.copy()
    normalizer = InstanceL2Normalizer().fit(X)
    assert not np.shares_memory(normalizer.transform(X), X)
    np.testing.assert_array_equal(X, before)
    assert np.shares_memory(normalizer.set_params(copy=False).transform(X), X)
    np.testing.assert_array_equal(X, normalized(before))


def test_a_read_only_memory_map_is_left_alone(rng, tmp_path):
    X = rng.normal(size=(20, 6))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for copy in (True, False):
        np.testing.assert_array_equal(normalized(mapped, copy=copy), normalized(X))
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


def test_pandas_in_and_out_with_names(rng):
    pd = pytest.importorskip("pandas", reason="pandas is optional")
    X = pd.DataFrame(rng.normal(size=(5, 2)), columns=["height", "width"])
    normalizer = InstanceL2Normalizer(append=1.0).set_output(transform="pandas")
    Xt = normalizer.fit_transform(X)
    assert list(Xt.columns) == ["height", "width", "instancel2normalizer_constant"]
    assert list(normalizer.feature_names_in_) == ["height", "width"]


def test_a_pickled_normalizer_transforms_alike(rng):
    X = rng.normal(size=(20, 6))
    normalizer = InstanceL2Normalizer(append="median").fit(X)
    copied = pickle.loads(pickle.dumps(normalizer))
    np.testing.assert_array_equal(copied.transform(X), normalizer.transform(X))


@pytest.mark.parametrize(
    "parameters",
    [{"center": "middle"}, {"append": 0}, {"append": "mean"}, {"power": 0}, {"copy": "yes"}],
    ids=str,
)
def test_bad_parameters_are_named(parameters):
    ((name, value),) = parameters.items()
    with pytest.raises(ValueError, match=f"'{name}' parameter .* Got {value!r}"):
        InstanceL2Normalizer(**parameters).fit([[1.0, 2.0]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(ValueError, match=r"NaN|infinite"):
        InstanceL2Normalizer().fit([[1.0, value]])


@pytest.mark.parametrize("center", ["after", "before"])
def test_a_column_that_drowns_the_others_is_named(center):
    X = np.random.default_rng(0).normal(size=(50, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InstanceL2Normalizer(center=center).fit(X)
    X[:, 7] *= 100
    with pytest.warns(DominantColumnWarning, match=r"column 7 makes up 9\d% .*make_hrn_pipeline"):
        InstanceL2Normalizer(center=center).fit(X)


@pytest.mark.parametrize(
    ("center", "share", "is_told"),
    [
        *(("after", 0.28, True), ("after", 0.1, False), ("before", 0.28, True)),
        *((None, 0.95, True), (None, 0.8, False)),
    ],
)
def test_a_column_drowns_the_others_from_a_share_of_the_rows_at_length_one_on(
    center, share, is_told
):
    X = np.full((2000, 101), np.sqrt((1 - share) / 100))
    X[:, 3] = np.sqrt(share)
    X *= np.geomspace(1e-3, 1e3, 2000)[:, None]
    X[::100] = 1e6 * (np.arange(101) == 7)  # a few long rows are no more than a few
    after_others = np.r_[np.ones((1000, 101)), X]  # which may come first
    for rows, told in ((X, is_told), (after_others, share > 0.15 and center is not None)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            InstanceL2Normalizer(center=center).fit(rows)
        assert [w.category for w in said] == [DominantColumnWarning] * told
        assert all("column 3 " in str(w.message) for w in said)


def test_few_columns_may_differ_where_rows_are_not_centred():
    X = np.random.default_rng(0).normal(size=(50, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InstanceL2Normalizer(center=None).fit(X)
        InstanceL2Normalizer(center=None).fit(sparse.csr_array(X))
        InstanceL2Normalizer(append=1.0).fit(1000 * X)
    for wide in (X * [1, 1000], sparse.csr_array(X * [1, 1000])):
        with pytest.warns(DominantColumnWarning, match="column 1 makes up"):
            InstanceL2Normalizer(center=None).fit(wide)
