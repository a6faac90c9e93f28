"""Whitening with a ridge, and the kernel around landmarks."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_hrn import LandmarkFeatures, RidgeWhitener


@pytest.fixture
def rows():
    scales = np.array([3.0, 1.0, 0.3, 0.1])
    return 5 + np.random.default_rng(0).normal(size=(60, 4)) * scales


def test_whitened_rows_have_the_identity_for_a_covariance(rows):
    Z = RidgeWhitener(ridge=0).fit_transform(rows)
    assert np.allclose(np.cov(Z, rowvar=False, ddof=0), np.eye(4), atol=1e-10)
    assert np.allclose(Z.mean(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize(("ridge", "n_rows"), [(0.0, 60), (0.5, 60), (3.0, 60), (0.5, 3), (3.0, 1)])
def test_the_matrix_is_the_inverse_root_of_the_covariance_and_the_ridge(rows, ridge, n_rows):
    rows = rows[:n_rows]
    covariance = np.cov(rows, rowvar=False, ddof=0)
    # Of one row the covariance is zero, and nothing is whitened.
    variance = np.trace(covariance) / 4
    expected = covariance + (ridge * variance if variance else 1) * np.eye(4)
    W = RidgeWhitener(ridge).fit(rows).whitening_
    assert np.allclose(W, W.T)
    assert np.allclose(np.linalg.inv(W @ W), expected, rtol=1e-8)


def test_rows_of_other_classes_have_no_centre(rows):
    centred, plain = RidgeWhitener().fit(rows), RidgeWhitener(center=False).fit(rows)
    assert plain.mean_ is None
    assert np.allclose(centred.whitening_, plain.whitening_)
    assert np.allclose(plain.transform(rows), rows @ plain.whitening_)
    assert np.allclose(centred.transform(rows), (rows - rows.mean(axis=0)) @ plain.whitening_)


def test_only_more_columns_than_the_limit_lie_in_leading_directions(rows, monkeypatch):
    monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.N_DIRECTIONS", 2)
    for limit, n_columns in ((4, 4), (3, 3)):  # two directions, and the rest
        monkeypatch.setattr("sklearn_hrn.preprocessing._whitening.MAX_COLUMNS", limit)
        assert RidgeWhitener().fit_transform(rows).shape == (60, n_columns)


def test_a_large_ridge_is_a_change_of_scale(rows):
    ratio = RidgeWhitener(1e9, center=False).fit_transform(rows) / rows
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-100, 1e-6, 1e100])
def test_whitening_does_not_depend_on_units(rows, unit):
    expected = RidgeWhitener().fit_transform(rows)
    assert np.allclose(RidgeWhitener().fit_transform(unit * rows), expected, rtol=1e-6)


def test_fewer_rows_than_columns_need_a_ridge(rows):
    few = rows[:3]
    assert np.isfinite(RidgeWhitener().fit_transform(few)).all()
    with pytest.raises(ValueError, match=r"ridge=0 is too small: 3 rows do not vary .* 4 dir"):
        RidgeWhitener(ridge=0).fit(few)


@pytest.mark.parametrize("ridge", [0, 3.0])
def test_rows_that_are_all_alike_are_centred_only(ridge):
    whitener = RidgeWhitener(ridge).fit(np.full((5, 3), 7.0))
    assert np.array_equal(whitener.transform([[8.0, 7.0, 6.0]]), [[1, 0, -1]])


@pytest.mark.parametrize("make", [RidgeWhitener, lambda: LandmarkFeatures(random_state=0)])
def test_anomalies_have_no_part_in_the_fit(rows, make):
    X, y = np.r_[rows, 1e3 + rows[:9]], np.r_[np.ones(60), -np.ones(9)]
    assert np.array_equal(make().fit(X, y).transform(X), make().fit(rows).transform(X))


@pytest.mark.parametrize("make", [RidgeWhitener, lambda: LandmarkFeatures(random_state=0)])
def test_a_failed_refit_leaves_the_transformer_as_it_was(rows, make):
    fitted = make().fit(rows)
    before = fitted.transform(rows)
    with pytest.raises(ValueError, match="is -1"):
        fitted.fit(rows[:, :3], -np.ones(60))
    assert np.array_equal(fitted.transform(rows), before)


@pytest.mark.parametrize(
    "make", [RidgeWhitener, lambda: LandmarkFeatures(gamma=0.1, random_state=0)]
)
def test_blocks_change_nothing(rows, make, monkeypatch):
    whole = make().fit(rows).transform(rows)
    monkeypatch.setattr("sklearn_hrn._base.BLOCK_BYTES", 3 * 4 * 8)
    # Rounding of other products; the landmarks divide theirs by a small root.
    assert np.allclose(make().fit(rows).transform(rows), whole, atol=1e-5)


def test_strips_of_landmarks_change_nothing(rows, monkeypatch):
    fitted = LandmarkFeatures(gamma=0.5, random_state=0).fit(rows)
    whole = fitted.transform(rows)
    monkeypatch.setattr("sklearn_hrn.kernel_approximation.STRIP", 7)
    assert np.allclose(fitted.transform(rows), whole, atol=1e-6)


@pytest.mark.parametrize(("dtype", "expected"), [(np.float32, np.float32), (int, np.float64)])
def test_types_of_whitened_rows(rows, dtype, expected):
    assert RidgeWhitener().fit_transform(rows.astype(dtype)).dtype == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_landmarks_result_is_float32_whatever_comes_in(rows, dtype):
    assert LandmarkFeatures().fit_transform(rows.astype(dtype)).dtype == np.float32


def test_products_of_landmark_features_are_the_kernel_at_the_landmarks(rows):
    Z = LandmarkFeatures(gamma=0.5).fit_transform(rows)
    assert np.allclose(Z @ Z.T, rbf_kernel(rows, gamma=0.5), atol=1e-5)  # float32 rounding


def test_float32_rows_are_as_near_to_landmarks_as_the_same_numbers_in_float64(rows):
    fitted = LandmarkFeatures(gamma=0.5, random_state=0).fit(rows)
    X = (rows + 0.1).astype(np.float32)
    assert np.array_equal(fitted.transform(X), fitted.transform(X.astype(np.float64)))


def test_landmark_features_are_those_of_nystroem(rows):
    fitted = LandmarkFeatures(20, gamma=0.5, random_state=0).fit(rows)
    theirs = Nystroem(gamma=0.5, n_components=20).fit(fitted.landmarks_)
    ours, theirs = fitted.transform(rows), theirs.transform(rows)
    assert np.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)  # float32 rounding


def test_the_length_is_one_at_a_landmark_and_zero_far_away(rows):
    fitted = LandmarkFeatures(10, random_state=0).fit(rows)
    at, far = fitted.transform(fitted.landmarks_), fitted.transform(fitted.landmarks_ + 100)
    assert np.allclose(np.linalg.norm(at, axis=1), 1, atol=1e-6)
    assert np.array_equal(far, np.zeros_like(far))
    assert np.linalg.norm(fitted.transform(rows), axis=1).max() < 1 + 1e-6


def test_rows_as_far_as_float64_goes_are_far_from_all_landmarks(rows):
    fitted = LandmarkFeatures(10, random_state=0).fit(rows)
    alone = fitted.transform(rows[:1])
    beside = fitted.transform(np.vstack([rows[:1], 1e200 * rows[:1], 1.7e308 * np.sign(rows[:1])]))
    assert np.array_equal(beside[0], alone[0])
    assert np.array_equal(beside[1:], np.zeros((2, 10)))


def test_rows_become_landmarks_where_float64_holds_their_squares(rows):
    assert len(LandmarkFeatures(10).fit(1e140 * rows).landmarks_) == 10
    with pytest.raises(ValueError, match="cannot hold the squares and sums: rescale X"):
        LandmarkFeatures(10).fit(1e200 * rows)


def test_rows_that_lie_together_far_from_zero_have_finite_features(rows):
    assert np.isfinite(LandmarkFeatures(random_state=0).fit_transform(1e9 + rows)).all()


def test_few_or_repeated_rows_are_no_reason_to_warn(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        once = LandmarkFeatures(random_state=0).fit(rows[:5])
        thrice = LandmarkFeatures(random_state=0).fit(np.tile(rows[:5], (3, 1)))
    assert len(thrice.landmarks_) == 5
    assert thrice.transform(rows).shape == once.transform(rows).shape == (60, 5)
    norms = [np.linalg.norm(f.transform(rows), axis=1) for f in (once, thrice)]
    assert np.allclose(*norms, atol=1e-5)  # float32 rounding


def test_a_seed_draws_the_same_landmarks(rows):
    draw = [LandmarkFeatures(7, random_state=seed).fit(rows).landmarks_ for seed in (0, 0, 1)]
    assert np.array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


def test_a_width_of_scale_follows_the_rows():
    rows = np.random.default_rng(0).normal(size=(30, 4))
    features = LandmarkFeatures(gamma="scale", random_state=0)
    Z = features.fit_transform(rows)
    assert features.gamma_ == pytest.approx(1 / (4 * rows.var()))
    np.testing.assert_allclose(features.fit_transform(100 * rows), Z, atol=1e-4)
    assert LandmarkFeatures(gamma="scale").fit(np.ones((3, 2))).gamma_ == 0.5
    few = LandmarkFeatures(5, gamma="scale").fit(rows)  # which follows all rows, too
    assert few.gamma_ == pytest.approx(1 / (4 * rows.var()))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_width_of_scale_is_that_of_float64_whatever_comes_in(rows, form):
    X = (1e25 * rows).astype(np.float32)  # whose squares float32 does not hold
    widths = [LandmarkFeatures(gamma="scale").fit(form(Z)).gamma_ for Z in (X, X.astype(float))]
    assert widths[0] == pytest.approx(widths[1])


def test_another_width_of_scale_is_refused(rows):
    with pytest.raises(ValueError, match="gamma"):
        LandmarkFeatures(gamma="auto").fit(rows)


def test_rows_whose_sums_overflow_are_refused_by_name(rng):
    X = rng.normal(size=(60, 4))
    assert np.isfinite(RidgeWhitener().fit_transform(1e300 * X)).all()
    with pytest.raises(ValueError, match="whose sums float64 cannot hold: rescale X"):
        RidgeWhitener().fit(5e307 * X)
