"""Columns of any units made alike, and their random Fourier features."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from sklearn_hrn import FourierFeatures, NormalScoreTransformer


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


def test_names_say_where_the_features_come_from(rows):
    names = FourierFeatures(3).fit(rows).get_feature_names_out()
    assert list(names) == ["fourierfeatures0", "fourierfeatures1", "fourierfeatures2"]


# Normal scores


@pytest.fixture
def skewed():
    rng = np.random.default_rng(0)
    return np.c_[rng.lognormal(size=300), 1e6 * rng.random(300), rng.integers(0, 3, 300)]


def test_columns_get_mean_zero_and_variance_one(skewed):
    scores = NormalScoreTransformer().fit_transform(skewed)
    assert np.allclose(scores.mean(axis=0), 0, atol=1e-12)  # float64 rounding
    assert np.allclose(scores.var(axis=0), 1, atol=1e-12)


def test_the_ends_of_the_blend_are_normal_scores_and_z_scores(skewed):
    z = NormalScoreTransformer(linear=1.0).fit_transform(skewed)
    assert np.allclose(z, StandardScaler().fit_transform(skewed))
    scores = NormalScoreTransformer(n_quantiles=1000, linear=0.0).fit_transform(skewed)
    # A column without ties has the quantiles of the normal distribution.
    assert abs(np.quantile(scores[:, 0], 0.975) - 1.96) < 0.05
    half = NormalScoreTransformer(n_quantiles=1000).fit_transform(skewed)
    assert np.allclose(half, StandardScaler().fit_transform(z + scores))


def test_scores_keep_the_order_and_the_ties(skewed):
    scores = NormalScoreTransformer().fit_transform(skewed)
    for column, score in zip(skewed.T, scores.T, strict=True):
        assert (np.diff(score[np.argsort(column, kind="stable")]) >= 0).all()
    assert len(np.unique(scores[:, 2])) == 3


def test_normal_scores_do_not_depend_on_a_monotone_change_of_units(skewed):
    kept_all = NormalScoreTransformer(n_quantiles=1000, linear=0.0)
    assert np.allclose(
        kept_all.fit_transform(skewed[:, :1]), kept_all.fit_transform(np.log(skewed[:, :1]))
    )


def test_a_value_outside_the_range_moves_on_by_standard_deviations(skewed):
    fitted = NormalScoreTransformer().fit(skewed)
    top, deviation = skewed.max(axis=0), skewed.std(axis=0)
    at_the_end = fitted.transform(top[None])
    assert np.allclose(fitted.transform((top + 3 * deviation)[None]), at_the_end + 3)
    # And stops a hundred of them away.
    assert np.allclose(fitted.transform((top + 1e9 * deviation)[None]), at_the_end + 100)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_another_value_stands_out_in_a_constant_column(value, dtype):
    fitted = NormalScoreTransformer().fit(np.full((20, 1), value))
    assert abs(fitted.transform(np.full((1, 1), value, dtype=dtype)).item()) < 1e-6
    above, below = value + abs(value) / 100 + 1e-3, value - abs(value) / 100 - 1e-3
    assert fitted.transform([[above], [below]]).ravel().tolist() == [5, -5]


def test_many_rows_are_sampled_and_their_scores_hardly_move():
    X = np.random.default_rng(0).normal(size=(50_000, 1))
    whole = NormalScoreTransformer(subsample=100_000).fit_transform(X)
    sampled = NormalScoreTransformer(random_state=0).fit_transform(X)
    again = NormalScoreTransformer(random_state=0).fit_transform(X)
    assert np.array_equal(sampled, again)
    assert np.abs(whole - sampled).mean() < 0.02  # 10 000 rows place a quantile to 1/100


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
