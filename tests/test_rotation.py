"""Features of images, seen against those of the same images turned."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_hrn import (
    HRNOneClassClassifier,
    OneClassPipeline,
    PatchDictionary,
    RotationWhitening,
)

AS_IT_IS = FunctionTransformer(feature_names_out="one-to-one")


@pytest.fixture
def skies(rng):
    """Noise of 4 x 4 pixels, a little brighter in its upper half: texture tells nothing."""
    images = rng.normal(size=(600, 4, 4))
    images[:, :2] += 0.4
    return images.reshape(600, 16)


def turned(X, quarters, shape=(4, 4)):
    images = X.reshape(-1, *shape)
    return np.rot90(images, quarters, axes=(1, 2)).reshape(len(X), -1)


def test_upright_and_turned_images_together_have_mean_zero_and_the_ridged_covariance(skies):
    fitted = RotationWhitening(AS_IT_IS, threshold=1, ridge=0.3).fit(skies)
    everything = np.concatenate([turned(skies, quarters) for quarters in range(4)])
    S = np.cov(everything, rowvar=False, ddof=0)
    ridged = S + 0.3 * np.trace(S) / 16 * np.eye(16)
    # Sums in another order: some tens of roundings of float64.
    np.testing.assert_allclose(fitted.mean_, everything.mean(axis=0), atol=1e-13)
    whitening = fitted.whitening_
    np.testing.assert_allclose(whitening.T @ ridged @ whitening, np.eye(16), atol=1e-12)
    Z = (skies - fitted.mean_) @ whitening
    expected = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.transform(skies), expected)


def test_the_mean_of_upright_images_becomes_fishers_direction(skies, rng):
    fitted = RotationWhitening(AS_IT_IS, threshold=1, ridge=1e-9).fit(skies)
    everything = np.concatenate([turned(skies, quarters) for quarters in range(4)])
    S = np.cov(everything, rowvar=False, ddof=0)
    fisher = np.linalg.solve(S, skies.mean(axis=0) - everything.mean(axis=0))
    mean = (skies.mean(axis=0) - fitted.mean_) @ fitted.whitening_
    others = rng.normal(size=(5, 16)) - everything.mean(axis=0)
    lengths = np.sqrt(np.einsum("ij,ij->i", others, np.linalg.solve(S, others.T).T))
    seen = fitted.transform(others + everything.mean(axis=0))
    np.testing.assert_allclose(seen @ mean, others @ fisher / lengths, rtol=1e-6)


def test_features_that_tell_the_way_up_are_passed_on_as_they_are():
    X, digit = load_digits(return_X_y=True)
    sevens = X[digit == 7]
    words = PatchDictionary(20, patch_size=3, grid=2, random_state=0)
    fitted = RotationWhitening(words, random_state=0).fit(sevens)
    assert fitted.upright_auc_ > 0.9
    assert not fitted.is_whitened_
    assert not hasattr(fitted, "whitening_")
    np.testing.assert_array_equal(fitted.transform(sevens), words.fit(sevens).transform(sevens))


def test_features_that_are_not_whitened_go_through_the_other_transformer():
    X, digit = load_digits(return_X_y=True)
    sevens = X[digit == 7]
    words = PatchDictionary(20, patch_size=3, grid=2, random_state=0)
    fitted = RotationWhitening(words, otherwise=PCA(3), random_state=0).fit(sevens)
    features = words.fit_transform(sevens)
    # Signs and sums of PCA are the same; the features differ by their blocks of rows at most.
    np.testing.assert_allclose(
        fitted.transform(sevens), PCA(3).fit(features).transform(features), atol=1e-5
    )
    assert len(fitted.get_feature_names_out()) == 3
    assert not hasattr(fitted.otherwise, "components_")  # a parameter, which no fit changes
    of_few = clone(fitted).set_params(max_images=9).fit(sevens)  # of all rows none the less
    np.testing.assert_array_equal(of_few.transform(sevens), fitted.transform(sevens))
    whitened = fitted.set_params(threshold=1).fit(sevens)
    assert whitened.otherwise_ is None
    assert whitened.transform(sevens).shape[1] == len(whitened.get_feature_names_out()) == 80


@pytest.mark.parametrize("threshold", [0, 1])
def test_fitting_and_transforming_at_once_is_the_same(skies, threshold):
    y = np.where(np.arange(600) % 3 == 0, -1, 1)
    map = RotationWhitening(
        PCA(5, random_state=0), otherwise=PCA(2), threshold=threshold, random_state=0
    )
    for labels in (None, y):
        at_once = map.fit_transform(skies, labels)
        np.testing.assert_allclose(map.fit(skies, labels).transform(skies), at_once, atol=1e-12)


def test_features_that_do_not_are_whitened(rng):
    noise = rng.normal(size=(300, 16))
    fitted = RotationWhitening(AS_IT_IS, random_state=0).fit(noise)
    # Of 100 upright and 300 turned images the standard error is 0.033.
    assert 0.35 < fitted.upright_auc_ < 0.65
    assert fitted.is_whitened_
    assert not RotationWhitening(AS_IT_IS, threshold=0).fit(noise).is_whitened_


def test_upright_images_are_told_from_turned_ones_by_the_mean_of_two_thirds_of_others(skies):
    drawn = np.random.RandomState(0).permutation(600)
    mean, compared = skies[drawn[:400]].mean(axis=0), skies[drawn[400:]]
    images = np.concatenate([turned(compared, quarters) for quarters in range(4)])
    nearness = images @ mean / np.linalg.norm(images, axis=1)
    expected = roc_auc_score(np.arange(800) < 200, nearness)
    assert RotationWhitening(AS_IT_IS, random_state=0).fit(skies).upright_auc_ == expected
    exact = RotationWhitening(AS_IT_IS, threshold=expected, random_state=0)
    assert not exact.fit(skies).is_whitened_


def test_images_that_are_not_square_are_turned_upside_down_alone(rng):
    X = rng.normal(size=(400, 6))
    fitted = RotationWhitening(AS_IT_IS, threshold=1, image_shape=(2, 3)).fit(X)
    both = np.concatenate([X, turned(X, 2, (2, 3))])
    np.testing.assert_allclose(fitted.mean_, both.mean(axis=0), atol=1e-13)
    assert fitted.image_shape_ == (2, 3, 1)


def test_rows_far_from_zero_lose_no_digits(skies):
    near = RotationWhitening(AS_IT_IS, threshold=1, random_state=0).fit(skies)
    far = RotationWhitening(AS_IT_IS, threshold=1, random_state=0).fit(skies + 1e6)
    # 1e6 of sixteen digits leaves ten.
    np.testing.assert_allclose(far.transform(skies + 1e6), near.transform(skies), atol=1e-7)


def test_float32_stays_float32(skies):
    X = skies.astype(np.float32)
    Z = RotationWhitening(AS_IT_IS, threshold=1).fit_transform(X)
    assert Z.dtype == np.float32


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_by_themselves_are_whitened_as_among_others_in_any_layout(skies, order):
    class Ordered(FunctionTransformer):
        def transform(self, X):
            return np.asarray(X, order=order)

    fitted = RotationWhitening(Ordered(), threshold=1, random_state=0).fit(skies)
    assert np.triu(fitted.whitening_, 1).any()
    assert not np.tril(fitted.whitening_, -1).any()
    before = skies.copy()
    each = np.concatenate([fitted.transform(row[None]) for row in skies[:9]])
    np.testing.assert_allclose(each, fitted.transform(skies)[:9], atol=1e-13)
    np.testing.assert_array_equal(skies, before)


def test_anomalies_play_no_part(skies):
    y = np.where(np.arange(600) % 3 == 0, -1, 1)
    fitted = RotationWhitening(AS_IT_IS, threshold=1, random_state=0).fit(skies, y)
    clean = RotationWhitening(AS_IT_IS, threshold=1, random_state=0).fit(skies[y == 1])
    np.testing.assert_array_equal(fitted.transform(skies), clean.transform(skies))


def test_few_or_equal_images_give_finite_features(rng):
    for X in (rng.normal(size=(1, 16)), np.ones((20, 16))):
        Z = RotationWhitening(AS_IT_IS, threshold=1).fit_transform(X)
        assert np.isfinite(Z).all()


def test_the_number_of_turned_images_is_limited(skies):
    some = RotationWhitening(AS_IT_IS, threshold=1, max_images=50, random_state=0).fit(skies)
    every = RotationWhitening(AS_IT_IS, threshold=1, random_state=0).fit(skies)
    assert np.abs(some.mean_ - every.mean_).max() > 1e-3


def test_a_failed_fit_leaves_the_previous_one(skies):
    fitted = RotationWhitening(make_pipeline(PCA(3)), threshold=1, random_state=0).fit(skies)
    before = fitted.transform(skies)
    with pytest.raises(ValueError, match="image_shape"):
        fitted.set_params(image_shape=(3, 5)).fit(skies)
    fitted.set_params(image_shape=None)
    np.testing.assert_array_equal(fitted.transform(skies), before)


def test_so_many_images_are_compared_and_no_more(skies, monkeypatch):
    sizes = []
    turn = RotationWhitening._turned
    monkeypatch.setattr(
        RotationWhitening, "_turned", lambda self, X: sizes.append(len(X)) or turn(self, X)
    )
    monkeypatch.setattr("sklearn_hrn.image._rotation.MAX_COMPARED", 30)
    RotationWhitening(AS_IT_IS, threshold=1).fit(skies)
    assert sizes == [30, len(skies) - 30]  # those compared, and the others for the covariance


def test_a_single_image_may_look_the_same_when_it_is_turned(few_patches):
    words = PatchDictionary(2, patch_size=2, random_state=0)
    image = np.ones((1, 9))
    fitted = RotationWhitening(words, random_state=0).fit(image)
    assert fitted.is_whitened_ and np.isfinite(fitted.transform(image)).all()


def test_rows_are_not_written_to_where_those_that_may_be_anomalies_are_looked_for(skies):
    # The features of a transformer that changes nothing are the rows themselves.
    given, hrn = skies.copy(), HRNOneClassClassifier(max_iter=1)
    OneClassPipeline([("turn", RotationWhitening(AS_IT_IS)), ("hrn", hrn)], outlier_share=0.1).fit(
        given
    )
    np.testing.assert_array_equal(given, skies)
