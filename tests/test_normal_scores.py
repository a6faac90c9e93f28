"""Columns of any units made alike, and their random Fourier features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import norm

from sklearn_hrn import FourierFeatures, NormalScoreTransformer
from sklearn_hrn.preprocessing import _normal_scores


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(60, 5))


def test_products_of_features_approximate_the_mean_of_the_kernels(rows):
    Z = FourierFeatures(20_000, gammas=(0.5, 2.0), random_state=0).fit_transform(rows)
    squared = ((rows[:, None] - rows[None]) ** 2).sum(axis=2) / (5 * rows.var())
    kernel = (np.exp(-0.5 * squared) + np.exp(-2.0 * squared)) / 2
    # The standard error of 20 000 terms is 0.007; 1800 pairs go to four of them.
    assert np.abs(Z @ Z.T - kernel).max() < 4 * 0.007


@pytest.mark.parametrize(("n_features", "n_components"), [(5, 3), (5, 5), (5, 23), (40, 7)])
def test_frequencies_of_a_block_are_orthogonal(n_features, n_components):
    X = np.random.default_rng(0).normal(size=(10, n_features))
    W = FourierFeatures(n_components, random_state=0).fit(X).random_weights_
    assert W.shape == (n_features, n_components)
    block = W[:, : min(n_features, n_components)]
    block = block / np.linalg.norm(block, axis=0)
    assert np.allclose(block.T @ block, np.eye(block.shape[1]), atol=1e-12)  # float64 rounding


def test_lengths_of_the_frequencies_are_those_of_normal_vectors():
    X = np.random.default_rng(0).normal(size=(100, 8))
    fitted = FourierFeatures(50_000, gammas=1.0, random_state=0).fit(X)
    squared = (fitted.random_weights_**2).sum(axis=0) * (8 * X.var()) / 2
    # Chi squared of 8 degrees: mean 8 and variance 16; four standard errors of 50 000 draws.
    assert abs(squared.mean() - 8) < 4 * np.sqrt(16 / 50_000)


def test_features_are_the_cosines_of_the_docstring_to_float32(rows):
    X = 1e4 + rows  # angles of which float32 would round by 1e-3
    fitted = FourierFeatures(7, random_state=0).fit(rows)
    expected = np.sqrt(2 / 7) * np.cos(X @ fitted.random_weights_ + fitted.random_offset_)
    assert np.abs(fitted.transform(X) - expected).max() < 1e-7


def test_features_take_the_widths_in_turn(rows):
    fitted = FourierFeatures(7, gammas=(1e-12, 1.0, 1e12), random_state=0).fit(rows)
    lengths = np.linalg.norm(fitted.random_weights_, axis=0) / np.tile([1e-6, 1, 1e6], 3)[:7]
    assert 0.1 < lengths.min() < lengths.max() < 100


def test_features_do_not_depend_on_units(rows):
    small = FourierFeatures(30, random_state=0).fit_transform(rows)
    large = FourierFeatures(30, random_state=0).fit_transform(1e6 * rows)
    assert np.allclose(small, large, atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_result_is_float32_whatever_comes_in(rows, dtype):
    X = (10 * rows).astype(dtype)
    assert FourierFeatures(7, random_state=0).fit_transform(X).dtype == np.float32


def test_blocks_change_nothing(rows, monkeypatch):
    fitted = FourierFeatures(7, random_state=0).fit(rows)
    whole = fitted.transform(rows)
    monkeypatch.setattr("sklearn_hrn._base.BLOCK_BYTES", 3 * 7 * 8)
    assert np.allclose(fitted.transform(rows), whole, atol=1e-7)  # rounding of another product


def test_anomalies_have_no_part_in_the_variance(rows):
    y = np.r_[np.ones(50), -np.ones(10)]
    X = rows.copy()
    X[50:] *= 1000
    fitted = FourierFeatures(7, random_state=0).fit(X, y)
    alone = FourierFeatures(7, random_state=0).fit(X[:50])
    assert np.array_equal(fitted.random_weights_, alone.random_weights_)


def test_rows_that_are_all_equal_give_finite_features():
    assert np.isfinite(FourierFeatures(7).fit_transform(np.full((5, 3), 2.0))).all()


@pytest.mark.parametrize("gammas", [0, -1.0, (), (1.0, -2.0), (np.inf,), [[1.0]]])
def test_widths_must_be_positive_numbers(rows, gammas):
    with pytest.raises(ValueError, match="gammas"):
        FourierFeatures(7, gammas=gammas).fit(rows)


def test_rows_whose_frequencies_cancel_beyond_float64_are_refused_by_name(rows):
    fitted = FourierFeatures(1, random_state=0).fit(rows[:, :2])
    fitted.random_weights_ = np.array([[30.0], [-30.0]])
    with pytest.raises(ValueError, match=r"X holds 1e\+308, .* rescale X"):
        fitted.transform([[1e308, 1e308]])  # inf - inf


def test_names_say_where_the_features_come_from(rows):
    names = FourierFeatures(3).fit(rows).get_feature_names_out()
    assert list(names) == ["fourierfeatures0", "fourierfeatures1", "fourierfeatures2"]


# Normal scores


@pytest.fixture
def skewed():
    rng = np.random.default_rng(0)
    return np.c_[rng.lognormal(size=300), 1e6 * rng.random(300), rng.integers(0, 3, 300)]


def test_rows_get_mean_zero_and_variance_one_but_for_what_lies_far(skewed):
    normal = np.random.default_rng(1).normal(size=(300, 1))
    scores = NormalScoreTransformer().fit_transform(np.c_[normal, skewed[:, 1:]])
    assert np.allclose(scores.mean(axis=0), 0, atol=0.02)
    assert np.allclose(scores.std(axis=0), 1, atol=0.02)


@pytest.mark.parametrize("linear", [0.5, 0.2])
def test_scores_are_the_equation_of_the_docstring(linear):
    rng = np.random.default_rng(0)
    column = np.r_[rng.normal(size=59), 4.0]
    groups = column.reshape(10, 6)
    middle = np.median(groups, axis=0)
    away = np.abs(groups - middle)
    deviation = np.sqrt(np.pi / 2 * 10 / 9) * away.mean(axis=0)
    x = np.sort(column)[:, None]
    rank = (np.arange(60) + 0.5) / 60  # no ties
    inner = np.clip(rank, 0.02, 0.98)
    slope = 1 / norm.pdf(norm.ppf(0.02))
    normal = norm.ppf(inner) + slope * (rank - inner)
    near = (0.5 * np.round(np.clip((x - middle) / deviation, -3, 3) * 2)).mean(axis=1)
    both = (1 - linear) * normal + linear * near
    unit = away.max(axis=0) / 1.54
    far = np.sign(x) * np.clip(np.abs(x - middle) / unit - 3, 0, None)
    share = (far != 0).mean()
    expected = (both - both.mean()) / both.std() + far.mean(axis=1) / (1 + 20 * share)
    scores = NormalScoreTransformer(linear=linear).fit_transform(column[:, None])
    # The far marks are steps of up to a fifth of a deviation at three.
    assert np.allclose(np.sort(scores.ravel()), expected, atol=0.3)
    assert np.allclose(np.sort(scores.ravel())[5:50], expected[5:50], atol=0.02)


def test_a_row_on_the_first_far_mark_is_not_beyond_it():
    columns, middle = np.array([[-4.0, -3.0, 3.0, 4.0, 9.0]]), np.zeros((1, 1))
    assert _normal_scores._share_beyond(columns, middle, np.ones((1, 1))) == [3 / 5]


def test_scores_keep_the_order_and_the_ties(skewed):
    scores = NormalScoreTransformer().fit_transform(skewed)
    for column, score in zip(skewed.T, scores.T, strict=True):
        assert (np.diff(score[np.argsort(column, kind="stable")]) >= 0).all()
    assert len(np.unique(scores[:, 2])) == 3


def test_normal_scores_do_not_depend_on_a_monotone_change_of_units(skewed):
    # But for what lies far: none of the rows below the largest.
    ranks = NormalScoreTransformer(linear=0.0)
    rows = np.sort(skewed[:, :1], axis=0)
    a, b = ranks.fit_transform(rows), ranks.fit_transform(np.sqrt(rows))
    assert np.allclose(a[50:200], b[50:200], atol=0.02)


@pytest.mark.parametrize("size", [6, 20, 100, 1e6])
@pytest.mark.parametrize("glitch", [None, 1e3, 1e12])
def test_a_row_far_outside_has_a_score_far_outside_beside_a_glitch(size, glitch):
    column = np.random.default_rng(0).normal(size=(1000, 1))
    if glitch is not None:
        column[7] = glitch
    fitted = NormalScoreTransformer().fit(column)
    normal = fitted.transform([[2.5], [-2.5]])
    above, below = fitted.transform([[size], [-size]]).ravel()
    assert np.abs(normal).max() < 3
    # Three quarters of the deviations, up to twenty.
    assert min(above, -below) > 0.75 * min(size, 27)


COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: np.exp(2 * rng.normal(size=n)),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "two values": lambda rng, n: rng.integers(0, 2, n),
    "rare values": lambda rng, n: rng.random(n) < 0.03,
    "constant": lambda rng, n: np.full(n, 3.0),
    "constant but for one": lambda rng, n: np.arange(n) == 0,
    "two clusters": lambda rng, n: rng.normal(size=n) + 1e4 * (np.arange(n) < n // 2),
    "a tenth wild": lambda rng, n: rng.normal(size=n) * np.where(rng.random(n) < 0.1, 1e9, 1),
    "halvings": lambda rng, n: 2.0 ** -np.arange(n),
}


@given(
    kind=st.sampled_from(sorted(COLUMNS)),
    n_rows=st.integers(1, 300),
    row=st.integers(0, 299),
    value=st.floats(allow_nan=False, allow_infinity=False),
    seed=st.integers(0, 10),
)
def test_one_value_moves_the_scores_of_other_rows_by_little(kind, n_rows, row, value, seed):
    column = COLUMNS[kind](np.random.default_rng(seed), n_rows).astype(float)
    row %= n_rows
    replaced = column.copy()
    replaced[row] = value
    others = np.arange(n_rows) != row
    before = NormalScoreTransformer().fit_transform(column[:, None])[others]
    after = NormalScoreTransformer().fit_transform(replaced[:, None])[others]
    moved = np.abs(after - before).max(initial=0)
    # What is proven; and what columns not made to attain it show: a twentieth of that.
    assert moved <= 13_000 / n_rows
    assert moved <= 650 / n_rows


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_another_value_stands_out_in_a_constant_column(value, dtype):
    fitted = NormalScoreTransformer().fit(np.full((20, 1), value))
    assert abs(fitted.transform(np.full((1, 1), value, dtype=dtype)).item()) < 0.02  # of 5.47
    above, below = value + abs(value) / 100 + 1e-3, value - abs(value) / 100 - 1e-3
    assert np.allclose(fitted.transform([[above], [below]]).ravel(), [5.47, -5.47], atol=0.01)


def test_many_rows_are_sampled_and_their_scores_hardly_move():
    X = np.random.default_rng(0).normal(size=(20_000, 1))
    whole = NormalScoreTransformer(subsample=20_000).fit_transform(X)
    sampled = NormalScoreTransformer(random_state=0).fit_transform(X)
    again = NormalScoreTransformer(random_state=0).fit_transform(X)
    assert np.array_equal(sampled, again)
    assert np.abs(whole - sampled).mean() < 0.04  # 2000 rows place a quantile to 1/50


@pytest.mark.parametrize("n_rows", [1000, 20_000])
def test_rows_that_are_sorted_teach_what_others_do(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 1))
    marks = [[-2.5], [-1.0], [0.0], [1.0], [2.5], [10.0]]
    fits = [
        NormalScoreTransformer(random_state=s).fit(X[order])
        for s, order in zip((0, 0, 1), (slice(None), np.argsort(X[:, 0]), slice(None)), strict=True)
    ]
    shuffled, ascending, other = (fitted.transform(marks) for fitted in fits)
    assert np.abs(shuffled - ascending).max() < 0.6  # at ten deviations; elsewhere a tenth
    assert np.array_equal(shuffled, other) == (n_rows <= 2000)


def test_anomalies_have_no_part_in_the_ranks(skewed):
    y = np.r_[np.ones(200), -np.ones(100)]
    scores = NormalScoreTransformer().fit(skewed, y).transform(skewed)
    alone = NormalScoreTransformer().fit(skewed[:200]).transform(skewed)
    assert np.array_equal(scores, alone)


def test_the_largest_numbers_do_not_overflow(skewed):
    largest = 1e305 * (skewed / skewed.max(axis=0))
    assert np.allclose(
        NormalScoreTransformer().fit_transform(largest),
        NormalScoreTransformer().fit_transform(skewed),
    )


def test_float32_stays_float32(skewed):
    assert NormalScoreTransformer().fit_transform(skewed.astype(np.float32)).dtype == np.float32


def test_fewer_values_can_be_kept_and_scores_between_them_are_close(rng):
    X = rng.normal(size=(1000, 2))
    whole, few = (NormalScoreTransformer(n).fit(X) for n in (None, 50))
    assert len(few.quantiles_[0]) < len(whole.quantiles_[0]) - 700
    assert np.abs(few.transform(X) - whole.transform(X)).max() < 0.2


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_the_values_of_a_column_of_two_lie_one_apart(share):
    column = np.repeat([3.0, 700.0], [round(1000 * (1 - share)), round(1000 * share)])[:, None]
    scores = NormalScoreTransformer().fit_transform(column)
    assert np.ptp(scores) == pytest.approx(1, rel=0.06)
    assert scores.mean() == pytest.approx(0, abs=1e-6)
    column[0] = 1e6  # one value is no reason to take it for a column of numbers
    moved = NormalScoreTransformer().fit(column).transform([[3.0], [700.0]])
    assert np.ptp(moved) == pytest.approx(1, rel=0.1)


def interpolated(fitted, X):
    knots = zip(X.T, fitted.quantiles_, fitted.scores_, strict=True)
    return np.column_stack([np.interp(*of_column) for of_column in knots]).astype(X.dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_a_few_rows_are_looked_up_at_once_with_the_same_scores(n_rows, dtype):
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=300), rng.integers(0, 5, 300), np.exp(9 * rng.normal(size=300))]
    columns += [np.ones(300), 1e300 * rng.normal(size=300) if dtype is np.float64 else columns[0]]
    X = np.column_stack(columns).astype(dtype)
    fitted = NormalScoreTransformer().fit(X)
    knots = [[values[k] for values in fitted.quantiles_] for k in (0, 1, 2, -2, -1)]
    fresh = np.concatenate([X[:30], 0.99 * X[:30], 30 * X[:5], -30 * X[:5], knots]).astype(dtype)
    found = [fitted.transform(fresh[i : i + n_rows]) for i in range(0, len(fresh), n_rows)]
    found, expected = np.concatenate(found), interpolated(fitted, fresh)
    assert found.dtype == dtype
    # Compilers may round a product and a sum once where NumPy rounds twice.
    np.testing.assert_allclose(found, expected, rtol=1e-13 if dtype is np.float64 else 1e-6)
    np.testing.assert_array_equal(fitted.transform(sparse.csr_array(fresh[:1])), found[:1])


def test_what_a_search_at_once_cannot_tell_is_interpolated(monkeypatch):
    fitted = NormalScoreTransformer().fit(np.arange(20.0).reshape(10, 2))
    # No slope is finite between these.
    fitted.quantiles_ = [np.array([0.0, 5e-324, 1.0]), fitted.quantiles_[1]]
    fitted.scores_ = [np.array([0.0, 1.0, 2.0]), fitted.scores_[1]]
    rows = np.array([[0.0, 3.0], [5e-324, 4.0], [0.5, 5.0]])
    for row in rows:
        expected = interpolated(fitted, row[None])
        np.testing.assert_allclose(fitted.transform(row[None]), expected, rtol=1e-13)
    monkeypatch.setattr(_normal_scores, "MAX_KNOTS", 5)
    assert _normal_scores._table(fitted.quantiles_, fitted.scores_) is None
    again = NormalScoreTransformer().fit(np.arange(20.0).reshape(10, 2))
    np.testing.assert_array_equal(again.transform(rows[:1]), interpolated(again, rows[:1]))


@pytest.mark.parametrize("n_quantiles", [None, 7])
@pytest.mark.parametrize("n_rows", [1, 9, 57, 300])
def test_columns_of_all_kinds_are_learned_side_by_side_as_alone(n_rows, n_quantiles, monkeypatch):
    rng = np.random.default_rng(0)
    normal = rng.normal(size=n_rows)
    columns = [normal, normal.round(), normal > 0, np.full(n_rows, 3.0), np.exp(5 * normal)]
    columns += [np.where(rng.random(n_rows) < 0.95, 0, normal), rng.standard_cauchy(n_rows) ** 3]
    X = np.column_stack(columns)
    alone = [NormalScoreTransformer(n_quantiles).fit(X[:, [j]]) for j in range(X.shape[1])]
    for block_bytes in (2**22, 2**14):
        monkeypatch.setattr("sklearn_hrn._base.BLOCK_BYTES", block_bytes)
        together = NormalScoreTransformer(n_quantiles).fit(X)
        assert len(together.quantiles_) == X.shape[1]
        for j, one in enumerate(alone):
            np.testing.assert_array_equal(together.quantiles_[j], one.quantiles_[0])
            # Sums of a single group of rows are rounded otherwise.
            np.testing.assert_allclose(together.scores_[j], one.scores_[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1e-289, 1e-291, 1e-300, 1e-310, 1e-323])
def test_numbers_too_small_for_a_slope_between_them_have_finite_scores(size):
    X, other = np.random.default_rng(0).normal(size=(2, 60, 2))
    fitted = NormalScoreTransformer().fit(np.r_[X * size, X])
    alone = NormalScoreTransformer().fit(X * size)
    for rows in (other, other * size, other[:1] * size, other * 1e-300):
        assert np.isfinite(fitted.transform(rows)).all()
        assert np.isfinite(alone.transform(rows)).all()
