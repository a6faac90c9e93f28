"""The pipelines that need no tuning."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNOneClassClassifier,
    HRNSearchCV,
    InlierKFold,
    LandmarkFeatures,
    OneClassPipeline,
    make_hrn_pipeline,
)
from sklearn_hrn.exceptions import FarRowsPassWarning
from sklearn_hrn.recipes import RECIPES


@pytest.fixture(scope="module")
def tumours():
    """Real rows of thirty columns in different units: benign is normal."""
    X, is_benign = load_breast_cancer(return_X_y=True)
    return X, np.where(is_benign == 1, 1, -1)


def quick(kind, calibration=None, **parameters):
    """A recipe that trains for a moment, and takes the 30 columns of the tumours for images."""
    shape = (5, 6) if kind == "image" else None
    recipe = make_hrn_pipeline(kind, random_state=0, image_shape=shape)
    return recipe.set_params(hrn__max_updates=20, calibration=calibration, **parameters)


@pytest.fixture(scope="module")
def fitted(tumours):
    """Each quick recipe, fitted to all tumours with their labels; tests leave them as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_hrn.image._visual_words.N_PATCHES", 500)
        return {kind: quick(kind).fit(*tumours) for kind in RECIPES}


@pytest.mark.usefixtures("few_patches")
@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_anomalies_are_gone_before_the_first_step(kind, tumours, fitted):
    X, y = tumours
    without = quick(kind).fit(X[y == 1])
    assert np.array_equal(fitted[kind].score_samples(X), without.score_samples(X))


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_a_recipe_is_a_pipeline_that_ends_in_hrn(kind, tumours, fitted):
    X, detector = tumours[0], fitted[kind]
    assert isinstance(detector, OneClassPipeline)
    assert detector.steps[-1][0] == "hrn"
    assert set(detector.predict(X)) == {-1, 1}
    again = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(again.score_samples(X), detector.score_samples(X))
    assert clone(again).get_params().keys() == quick(kind).get_params().keys()


@pytest.mark.parametrize(
    ("kind", "calibration"),
    [("paper", None), ("image", "cross"), ("tabular", "cross"), ("embedding", "cross")],
)
def test_recipes_but_the_paper_s_are_calibrated(kind, calibration):
    assert make_hrn_pipeline(kind).calibration == calibration


@pytest.mark.parametrize("kind", ["tabular", "embedding"])
def test_calibration_keeps_the_rate_that_training_scores_do_not(kind, tumours):
    X, y = tumours
    benign = np.random.default_rng(0).permutation(X[y == 1])
    more = {"hrn__contamination": 0.1, "landmarks__gamma": 40.0} if kind == "embedding" else {}
    more = {"hrn__contamination": 0.1, **more}
    realised = {
        calibration: np.mean(
            quick(kind, calibration, **more).fit(benign[:150]).predict(benign[150:]) == -1
        )
        for calibration in (None, "cross")
    }
    # Three standard errors of a rate of 0.1 on 207 rows with a threshold of 150.
    assert abs(realised["cross"] - 0.1) < 3 * np.sqrt(0.09 * (1 / 150 + 1 / 207))
    assert realised["cross"] <= realised[None]


def test_calibration_changes_no_score(tumours, fitted):
    X, y = tumours
    with_it = quick("tabular", "cross").fit(X, y)
    assert np.array_equal(with_it.score_samples(X), fitted["tabular"].score_samples(X))


def test_the_tabular_recipe_tells_tumours_apart(tumours):
    X, y = tumours
    train, test = next(InlierKFold(2).split(X, y))
    detector = make_hrn_pipeline("tabular", random_state=0).set_params(calibration=None)
    detector.fit(X[train])
    assert roc_auc_score(y[test], detector.score_samples(X[test])) > 0.9


def test_the_image_recipe_tells_digits_apart():
    X, digit = load_digits(return_X_y=True)
    threes = np.flatnonzero(digit == 3)
    train, test = threes[:100], np.r_[threes[100:], np.flatnonzero(digit != 3)]
    recipe = make_hrn_pipeline("image", random_state=0)
    recipe.set_params(words__transformer__patch_size=3, calibration=None)
    scores = recipe.fit(X[train]).score_samples(X[test])
    assert roc_auc_score(digit[test] == 3, scores) > 0.95


def test_the_embedding_recipe_tells_digits_apart_by_their_projections():
    X, digit = load_digits(return_X_y=True)
    # What a network with random weights makes of them: a few directions hold most of the variance.
    X = np.maximum(X @ np.random.default_rng(0).normal(size=(64, 200)), 0)
    threes = np.flatnonzero(digit == 3)
    train, test = threes[:100], np.r_[threes[100:], np.flatnonzero(digit != 3)]
    detector = make_hrn_pipeline("embedding", random_state=0).set_params(calibration=None)
    detector.fit(X[train])
    assert roc_auc_score(digit[test] == 3, detector.score_samples(X[test])) > 0.95


def test_the_embedding_recipe_takes_fewer_rows_than_columns():
    X = np.random.default_rng(0).normal(size=(12, 100))
    detector = make_hrn_pipeline("embedding", random_state=0).set_params(calibration=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.fit(X)
    assert np.isfinite(detector.score_samples(X)).all()


def test_a_shape_of_images_is_for_images():
    words = make_hrn_pipeline("image", image_shape=(4, 6))["words"]
    assert words.image_shape == words.transformer.image_shape == (4, 6)
    with pytest.raises(ValueError, match="image_shape is for kind='image'"):
        make_hrn_pipeline("tabular", image_shape=(4, 6))


def test_a_seed_fixes_all_steps_and_its_absence_none(tumours, fitted):
    X, y = tumours
    again = quick("tabular").fit(X, y)
    assert np.array_equal(again.score_samples(X), fitted["tabular"].score_samples(X))
    unseeded = make_hrn_pipeline("tabular")
    assert unseeded["lift"].random_state is None
    assert unseeded["hrn"].random_state is None


@pytest.mark.parametrize("kind", ["paper", "image", "tabular", "embedding"])
def test_what_a_recipe_is_given_reaches_its_steps_each_with_a_seed_of_its_own(kind):
    def given(seed):
        recipe = make_hrn_pipeline(kind, random_state=seed, device="cpu", memory="folder")
        parameters = recipe.get_params().items()
        return recipe, [v for name, v in parameters if name.endswith("random_state")]

    (recipe, seeds), (_, others) = given(0), given(1)
    assert None not in seeds and len({*seeds, *others}) == 2 * len(seeds)
    assert (recipe["hrn"].device, recipe.memory) == ("cpu", "folder")
    assert recipe.subsample == {"paper": None, "image": 5000}.get(kind, 10_000)


def test_float32_stays_float32_to_the_last_step(tumours):
    X, y = tumours
    detector = quick("tabular").fit(X.astype(np.float32), y)
    for i in range(1, len(detector.steps)):
        assert detector[:i].transform(X[:5].astype(np.float32)).dtype == np.float32


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("few_patches")
@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_the_rows_given_are_not_written_to(kind, tumours):
    X, y = (array.copy() for array in tumours)
    detector = quick(kind, outlier_share=0.0 if kind == "paper" else 0.1)
    detector.fit(X, y).score_samples(X)
    assert np.array_equal(X, tumours[0])


def test_names_of_columns_are_kept(tumours, fitted):
    pd = pytest.importorskip("pandas")
    X, y = tumours
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])])
    detector = quick("tabular").fit(frame, y)
    assert list(detector.feature_names_in_) == list(frame.columns)
    assert np.array_equal(detector.score_samples(frame), fitted["tabular"].score_samples(X))


@pytest.mark.parametrize("search", [GridSearchCV, HRNSearchCV])
def test_a_recipe_is_searched_like_any_pipeline(search, tumours):
    X, y = tumours
    grid = [
        {"lift__gamma": ["scale"], "hrn__reg_lambda": [0.1]},
        {"lift__gamma": [0.1], "hrn__reg_lambda": [0.5]},
    ]
    fitted = search(
        quick("tabular", calibration=2), grid, cv=InlierKFold(2), scoring="roc_auc"
    ).fit(X, y)
    assert fitted.best_score_ > 0.5
    assert len(fitted.best_estimator_.calibration_scores_) == (y == 1).sum()


def test_rows_set_aside_calibrate_a_recipe_that_then_trains_without_folds(tumours):
    X, y = tumours
    detector = ConformalOutlierDetector(quick("tabular", "cross"), random_state=0).fit(X[y == 1])
    assert detector.p_values(X).min() > 0
    assert detector.estimator_.calibration is None
    assert detector.estimator.calibration == "cross"


@pytest.mark.parametrize(
    "X",
    [
        np.random.default_rng(0).normal(size=(60, 200)),
        np.repeat(np.random.default_rng(0).normal(size=(6, 3)), 20, axis=0),
        np.c_[np.random.default_rng(0).normal(size=(60, 2)), np.full(60, 7.0)],
        np.random.default_rng(0).integers(0, 2, size=(60, 4)).astype(bool),
        np.random.default_rng(0).normal(size=(60, 1)),
        1e30 * np.random.default_rng(0).normal(size=(60, 3)),
    ],
    ids=["wide", "duplicated rows", "constant column", "bool", "one column", "huge"],
)
def test_unusual_tables_get_a_sane_answer(X):
    detector = quick("tabular")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert (detector.predict(X) == 1).mean() > 0.9


def test_ten_rows_are_enough(tumours):
    X = tumours[0][:10]
    assert np.isfinite(quick("tabular").fit(X).score_samples(X)).all()


def test_tables_may_have_gaps_and_others_not(tumours):
    X = tumours[0].copy()
    X[3, 2] = np.nan
    assert np.isfinite(quick("tabular").fit(X).score_samples(X)).all()
    for kind in ("paper", "embedding"):
        with pytest.raises(ValueError, match="NaN"):
            quick(kind).fit(X)


def test_infinite_values_are_refused(tumours):
    X = tumours[0].copy()
    X[3, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        quick("tabular").fit(X)


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="kind='audio' is unknown: allowed are"):
        make_hrn_pipeline("audio")


def test_a_table_with_more_columns_than_rows_is_told_apart(rng):
    known, fresh, others = (rng.normal(size=(n, 400)) for n in (40, 50, 50))
    detector = quick("tabular", calibration=None).fit(known)
    scores = detector.score_samples(np.r_[fresh, 1.2 * others])
    assert roc_auc_score(np.repeat([1, 0], [50, 50]), scores) > 0.95


@pytest.mark.parametrize("calibration", [None, "cross"])
def test_a_threshold_that_far_rows_pass_is_told(rng, calibration):
    X, among = rng.normal(size=(60, 3)), rng.normal(size=(30, 3))
    far, y = np.full((2, 3), 50.0), np.repeat([1, -1], [60, 30])
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(
        calibration=calibration, hrn__contamination=0.05, hrn__max_updates=100
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", FarRowsPassWarning)
        assert (recipe.fit(X).predict(far) == -1).all()
    recipe.set_params(hrn__anomaly_weight=3)
    with pytest.warns(FarRowsPassWarning, match="Lower anomaly_weight") as said:
        recipe.fit(np.r_[X, among], y)
    assert [w.category for w in said].count(FarRowsPassWarning) == 1
    assert (recipe.predict(far) == 1).all()


def test_a_threshold_at_the_score_of_far_rows_is_told():
    glitches = np.geomspace(1, 1e30, 8)[:, None] * [1, 1]
    recipe = make_hrn_pipeline("tabular", random_state=0).set_params(hrn__max_updates=20)
    with pytest.warns(FarRowsPassWarning):
        recipe.fit(glitches)
    assert (recipe.predict([[-1e40, -1e40]]) == 1).all()


def test_verdicts_that_bring_the_threshold_to_the_score_of_far_rows_are_told(rng):
    far = np.full((10, 3), 50.0)
    near = LandmarkFeatures(30, gamma="scale", random_state=0)
    hrn = HRNOneClassClassifier(8, init=0.1, max_updates=50, contamination=0.1, random_state=0)
    recipe = OneClassPipeline([("near", near), ("hrn", hrn)], calibration=2, reference_rows=0)
    assert (recipe.fit(rng.normal(size=(60, 3))).predict(far) == -1).all()
    with pytest.warns(FarRowsPassWarning):
        recipe.feedback(far, np.ones(10), n_screened=10)
    assert (recipe.predict(far) == 1).all()
