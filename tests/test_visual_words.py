"""Features of images: words of patches and where they are, and the output of a frozen module."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_hrn import PatchDictionary, RotationWhitening, TorchFeatures, make_hrn_pipeline
from sklearn_hrn._validation import resolve_image_shape
from sklearn_hrn.image._visual_words import FLAT, _random_patches
from sklearn_hrn.inspection import feature_attribution, nearest_normal

pytestmark = pytest.mark.usefixtures("few_patches")


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)[0][:300]


def quick(**parameters):
    return PatchDictionary(**{"n_words": 12, "patch_size": 3, "random_state": 0, **parameters})


# Shapes


@pytest.mark.parametrize(
    ("given", "n_features", "shape"),
    [
        (None, 784, (28, 28, 1)),
        (None, 3072, (32, 32, 3)),
        (None, 1, (1, 1, 1)),
        ((4, 6), 24, (4, 6, 1)),
        ([4, 2, 3], 24, (4, 2, 3)),
        ((1, -1, 1), 10, (1, 10, 1)),
    ],
)
def test_the_shape_of_images_is_inferred_or_taken(given, n_features, shape):
    assert resolve_image_shape(given, n_features) == shape


@pytest.mark.parametrize(
    "given", [None, (4, 6), (5, -1), (-1, -1), (0, -1), (24,), (1, 1, 1, 24), (-4, -6), (True, 26)]
)
def test_a_shape_that_does_not_fit_is_refused(given):
    with pytest.raises(ValueError, match="image_shape="):
        resolve_image_shape(given, 26 if given != (24,) else 24)


# Words


def test_features_are_taken_to_the_power(digits):
    plain, roots = quick().fit(digits), quick(power=0.5).fit(digits)
    # A root in float32, against the same one in float64.
    expected = np.sqrt(plain.transform(digits).astype(float))
    np.testing.assert_allclose(roots.transform(digits), expected, rtol=1e-6)


@pytest.mark.parametrize(("shape", "grid"), [((8, 8, 1), 4), ((4, 8, 2), 3), ((3, 3, 1), 9)])
def test_products_of_patches_are_the_convolution_of_torch(rng, shape, grid):
    X = rng.random((7, int(np.prod(shape))), dtype=np.float32)
    fitted = quick(image_shape=shape, grid=grid).fit(X)
    by_torch = fitted._mean_responses(torch.from_numpy(X))
    # Two orders of the same sums in float32, of features of about 0.1.
    np.testing.assert_allclose(fitted.transform(X), by_torch, rtol=0, atol=1e-6)


def test_features_are_the_mean_responses_of_the_equation(rng):
    X = rng.random((5, 6 * 7 * 2))
    fitted = quick(image_shape=(6, 7, 2), grid=2, threshold=0.1).fit(X)
    images = X.reshape(5, 6, 7, 2) / fitted.scale_
    responses = np.zeros((5, 12, 4, 5))
    for row in range(4):
        for column in range(5):
            patches = images[:, row : row + 3, column : column + 3].reshape(5, 18)
            patches = patches - patches.mean(axis=1, keepdims=True)
            patches /= np.sqrt(patches.var(axis=1, keepdims=True) + FLAT)
            products = patches @ fitted.words_.reshape(12, 18).T + fitted.bias_
            responses[:, :, row, column] = np.maximum(products / np.sqrt(18) - 0.1, 0)
    # Parts of a grid over five places overlap in the middle one.
    parts = [
        [responses[:, :, a, b].mean(axis=(2, 3)) for b in (slice(3), slice(2, 5))]
        for a in (slice(2), slice(2, 4))
    ]
    expected = np.moveaxis(np.array(parts), (0, 1), (2, 3)).reshape(5, -1)
    assert (expected > 0).any()
    assert np.allclose(fitted.transform(X), expected, atol=1e-5)  # float32


def test_words_have_length_one_where_patches_are_whitened_and_no_answer_to_their_mean(digits):
    fitted = quick().fit(digits)
    images = digits.reshape(-1, 8, 8, 1)
    patches = _random_patches(images, 3, np.random.RandomState(0)).reshape(-1, 9)
    assert fitted.scale_ == pytest.approx(patches.std())
    patches = patches / fitted.scale_
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + 0.01)
    words = fitted.words_.reshape(12, 9)
    np.testing.assert_allclose(words.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose((patches @ words.T + fitted.bias_).mean(axis=0), 0, atol=1e-9)
    variances, axes = np.linalg.eigh(np.cov(patches, rowvar=False, ddof=0))
    in_whitened = words @ axes * np.sqrt(variances.clip(0) + 0.1)
    np.testing.assert_allclose(np.linalg.norm(in_whitened, axis=1), 1)


def test_a_word_is_found_where_it_is(digits):
    fitted = quick(grid=6, threshold=0.0).fit(digits)
    image = np.zeros((8, 8))
    image[4:7, 1:4] = fitted.words_[3, :, :, 0] * 20
    best = fitted.transform(image.reshape(1, -1)).reshape(12, 6, 6)[:, 4, 1].argmax()
    assert best == 3


def test_the_scale_of_pixels_does_not_matter(digits):
    small, large = (quick().fit_transform(scale * digits) for scale in (1 / 16, 255 / 16))
    assert np.allclose(small, large, atol=1e-5)  # float32


def test_more_light_does_not_matter(digits):
    fitted = quick().fit(digits)
    assert np.allclose(fitted.transform(digits), fitted.transform(digits + 7), atol=1e-4)


@pytest.mark.parametrize(("n_images", "block_bytes"), [(300, 7 * 12 * 64 * 8), (300, 1), (1, 4096)])
def test_blocks_of_images_and_bands_of_one_make_no_difference(
    digits, monkeypatch, n_images, block_bytes
):
    fitted = quick().fit(digits)
    whole = fitted.transform(digits)[:n_images]
    monkeypatch.setattr("sklearn_hrn._base.BLOCK_BYTES", block_bytes)
    assert np.allclose(fitted.transform(digits[:n_images]), whole, atol=1e-6)  # float32


def test_anomalies_have_no_part_in_the_words(digits):
    y = np.where(np.arange(300) < 200, 1, -1)
    assert np.array_equal(quick().fit(digits, y).words_, quick().fit(digits[:200]).words_)


def test_patches_are_drawn_from_all_places_of_all_images(rng):
    images = np.arange(2 * 4 * 5.0).reshape(2, 4, 5, 1)
    patches = _random_patches(images, 3, np.random.RandomState(0))
    assert set(patches[:, 0, 0, 0]) == set(images[:, :2, :3].ravel())
    assert np.array_equal(patches[:, -1, -1, 0], patches[:, 0, 0, 0] + 12)


def test_a_seed_fixes_the_words(digits):
    words = [quick(random_state=seed).fit(digits).words_ for seed in (0, 0, 1)]
    assert np.array_equal(words[0], words[1]) and not np.allclose(words[0], words[2])


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_images_without_contrast_get_features_of_zero(value):
    fitted = quick().fit(np.full((20, 64), value))
    assert (fitted.transform(np.full((2, 64), value)) == 0).all()
    assert np.isfinite(fitted.transform(np.eye(64)[:3])).all()


def test_there_are_no_more_words_than_distinct_patches():
    stripes = np.tile([0.0, 1.0], (20, 8))  # of rows of two pixels there are two
    words = PatchDictionary(12, patch_size=2, random_state=0, image_shape=(4, 4)).fit(stripes)
    assert len(words.words_) == 2


def test_a_patch_is_at_most_the_image_and_names_follow_the_class(digits):
    fitted = quick(patch_size=50, grid=3).fit(digits)
    assert fitted.words_.shape == (12, 8, 8, 1)
    assert fitted.transform(digits).shape == (300, 12)
    assert list(fitted.get_feature_names_out()[:2]) == ["patchdictionary0", "patchdictionary1"]


def test_float32_rows_and_features_of_float32(digits):
    Z = quick().fit_transform(digits.astype(np.float32))
    assert Z.dtype == np.float32
    assert Z.min() == 0


# A frozen module


def test_the_output_of_a_module_batch_by_batch(rng):
    X = rng.random((11, 2 * 4 * 3))
    module = torch.nn.Conv2d(3, 2, 2)
    features = TorchFeatures(module, image_shape=(2, 4, 3), batch_size=4, device="cpu")
    images = torch.from_numpy(X.astype(np.float32).reshape(11, 2, 4, 3)).permute(0, 3, 1, 2)
    expected = module(images).detach().flatten(1).numpy()
    assert np.allclose(features.fit_transform(X), expected, atol=1e-6)  # float32
    assert len(features.get_feature_names_out()) == 6


def test_the_module_given_stays_as_it_is(rng):
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5)).double()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    features = TorchFeatures(module.float(), device="cpu").fit(rng.random((5, 4)))
    X = rng.random((50, 4))
    assert np.array_equal(features.transform(X), features.transform(X))
    assert module.training
    assert all(torch.allclose(before[n], v.double()) for n, v in module.state_dict().items())


def test_what_is_no_module_is_refused(rng):
    with pytest.raises(TypeError, match="is needed, whose weights"):
        TorchFeatures(len).fit(rng.random((5, 4)))
    with pytest.raises(ValueError, match="image_shape="):
        TorchFeatures(torch.nn.ReLU(), image_shape=(3, 3)).fit(rng.random((5, 4)))


class Through(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


ODD_OUTPUTS = {
    "several things": (lambda x: (x, x), "to tuple; it must return an array a row"),
    "one number a row": (lambda x: x.sum(1), r"to \(1,\); it must return an array a row"),
    "centred on the batch": (lambda x: x - x.mean(0), "depends on the other rows"),
    "earlier rows": (lambda x: x.cumsum(0), "depends on the other rows"),
    "random": (lambda x: x + torch.rand(1), "draws random numbers"),
}


@pytest.mark.parametrize("case", ODD_OUTPUTS)
def test_outputs_that_are_no_features_of_a_row_are_refused_by_name(case, rng):
    function, message = ODD_OUTPUTS[case]
    with pytest.raises(ValueError, match=message):
        TorchFeatures(Through(function)).fit(rng.random((5, 4)))


def test_weights_of_half_precision_are_refused_and_outputs_of_it_are_not(rng):
    X = rng.random((5, 4))
    with pytest.raises(ValueError, match=r"module\.float\(\)"):
        TorchFeatures(torch.nn.Linear(4, 2).bfloat16()).fit(X)
    Z = TorchFeatures(Through(torch.Tensor.bfloat16)).fit_transform(X)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, X, rtol=1e-2)
    layer = torch.nn.Linear(4, 2)
    expected = TorchFeatures(layer).fit_transform(X)
    with torch.autocast("cpu"):
        np.testing.assert_array_equal(TorchFeatures(layer).fit_transform(X), expected)


@pytest.mark.parametrize("offset", [170.0, 1700.0, 65_000.0])
def test_no_offset_of_all_pixels_takes_digits(rng, offset):
    images = rng.normal(size=(40, 144))
    fitted, again = quick().fit(images), quick().fit(images + offset)
    expected = fitted.transform(images)
    assert expected.max() > 0.1
    np.testing.assert_allclose(fitted.transform(images + offset), expected, atol=1e-6)
    np.testing.assert_allclose(again.transform(images + offset), expected, atol=1e-4)


def test_bright_parts_of_an_image_keep_their_digits(rng):
    images = rng.normal(size=(40, 12, 12))
    fitted = quick(grid=10).fit(images.reshape(40, -1))
    half = images + 1700.0 * (np.arange(12) >= 6)
    parts = [fitted.transform(x.reshape(40, -1)).reshape(40, 12, 10, 10) for x in (images, half)]
    inside = [*range(4), *range(6, 10)]  # patches that lie in one half
    np.testing.assert_allclose(parts[1][..., inside], parts[0][..., inside], atol=2e-3)


def test_gradients_are_taken_of_the_same_responses_to_a_large_offset(rng):
    images = rng.normal(size=(5, 144)) + 1700.0
    fitted = quick().fit(images)
    by_torch = fitted._mean_responses(torch.from_numpy(images))
    np.testing.assert_allclose(fitted.transform(images), by_torch, atol=1e-6)


def test_what_float32_cannot_hold_is_refused_by_name(rng):
    images = rng.normal(size=(40, 144))
    fitted = quick().fit(images)
    with pytest.raises(ValueError, match="times as far from its mean"):
        fitted.transform(images * 1e31)
    with pytest.raises(ValueError, match="beyond the float32 range"):
        fitted.fit(images * 1e39)
    assert np.isfinite(fitted.transform(images * 1e15)).all()


# Channels


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 7)])
@pytest.mark.parametrize("kind", ["words", "module", "recipe"])
def test_a_shape_with_channels_first_is_doubted_once(kind, shape, rng, few_patches):
    X = rng.normal(size=(20, int(np.prod(shape))))
    step = {
        "words": quick(image_shape=shape),
        "module": TorchFeatures(torch.nn.Flatten(), image_shape=shape),
        "recipe": make_hrn_pipeline("image", image_shape=shape, random_state=0).set_params(
            calibration=2, hrn__max_updates=2, hrn__contamination=0.1
        ),
    }[kind]
    with pytest.warns(UserWarning, match="channels come last") as told:
        step.fit(X)
    assert len([one for one in told if "channels come last" in str(one.message)]) == 1


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 8, 3), (1, 100, 4), (3, 4, 40), (4, 5, 6)])
def test_other_shapes_are_not(shape, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(image_shape=shape).fit(rng.normal(size=(20, int(np.prod(shape)))))


# Images with axes of their own

STEPS = {
    "words": quick(),
    "rotation": RotationWhitening(quick(), random_state=0),
    "module": TorchFeatures(torch.nn.Conv2d(3, 2, 3)),
}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize(
    "given", [np.asarray, list, torch.from_numpy], ids=["array", "list", "tensor"]
)
def test_images_with_axes_are_the_same_as_their_rows(kind, given, rng):
    images = rng.normal(size=(20, 6, 9, 3)).astype(np.float32)
    rows, step = images.reshape(20, -1), clone(STEPS[kind])
    features = step.fit(given(images)).transform(given(images))
    assert step.image_shape_ == (6, 9, 3)
    assert step.n_features_in_ == 162
    np.testing.assert_array_equal(features, step.transform(rows))
    by_rows = clone(step).set_params(image_shape=(6, 9, 3)).fit(rows)
    np.testing.assert_array_equal(features, by_rows.transform(rows))


@pytest.mark.parametrize("kind", STEPS)
def test_images_of_another_shape_are_refused_where_rows_are_as_long(kind, rng):
    images = rng.normal(size=(20, 6, 9, 3)).astype(np.float32)
    step = clone(STEPS[kind]).fit(images)
    with pytest.raises(ValueError, match=r"\(9, 6, 3\) were given, .* \(6, 9, 3\) are needed"):
        step.transform(images.transpose(0, 2, 1, 3))
    with pytest.raises(ValueError, match=r"\(6, 9, 3\) were given, .* \(9, 6, 3\) are needed"):
        clone(step).set_params(image_shape=(9, 6, 3)).fit(images)
    with pytest.raises(ValueError, match="of 2 shapes"):
        step.transform([images[0], images[1][:5]])
    with pytest.raises(ValueError, match=r"\(0, 6, 9, 3\): give at least one image"):
        step.transform(images[:0])


def test_the_recipe_takes_and_explains_images_with_axes(rng):
    images = rng.uniform(size=(40, 6, 8))
    recipe = make_hrn_pipeline("image", random_state=0).set_params(
        calibration=2, hrn__max_updates=2, hrn__contamination=0.1, outlier_share=0.1
    )
    by_rows = clone(recipe).set_params(words__image_shape=(6, 8)).fit(images.reshape(40, -1))
    recipe.fit(images)
    scores = recipe.score_samples(images)
    np.testing.assert_array_equal(scores, by_rows.score_samples(images.reshape(40, -1)))
    assert recipe.offset_ == by_rows.offset_
    assert feature_attribution(recipe, images[:2]).shape == (2, 6, 8)
    nearest = nearest_normal(recipe, images[:2])
    assert any(np.array_equal(nearest[0], image) for image in images)
    recipe.feedback(images[:3], [1, -1, 1])
    with pytest.raises(ValueError, match=r"\(8, 6, 1\) were given"):
        feature_attribution(recipe, images[:2].transpose(0, 2, 1))
