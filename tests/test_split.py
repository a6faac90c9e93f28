"""Splitters that train on normal rows only, and the labels they take."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.ensemble import IsolationForest
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate
from sklearn.svm import OneClassSVM

from sklearn_hrn import HRNOneClassClassifier
from sklearn_hrn.model_selection import (
    InlierKFold,
    InlierShuffleSplit,
    shuffled_columns_score,
    to_inlier_labels,
)


@pytest.fixture
def labelled(rng):
    """103 normal rows about 0 and then 13 anomalies about 4: sorted by class."""
    X = np.concatenate([rng.normal(size=(103, 2)), rng.normal(loc=4, size=(13, 2))])
    return X, np.repeat([1, -1], [103, 13])


def forest(**params):
    return IsolationForest(n_estimators=20, random_state=0, **params)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("order", ["sorted", "reversed", "mixed"])
def test_folds_train_on_normals_and_partition_all_rows_evenly(labelled, rng, shuffle, order):
    X, y = labelled
    if order != "sorted":
        y = y[::-1] if order == "reversed" else rng.permutation(y)
    folds = list(InlierKFold(5, shuffle=shuffle, random_state=0 if shuffle else None).split(X, y))
    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), np.arange(116))
    for train, test in folds:
        # every normal row that is not tested on is trained on, and nothing else
        np.testing.assert_array_equal(train, np.setdiff1d(np.flatnonzero(y == 1), test))
    for counts in (
        [len(test) for _, test in folds],
        [np.sum(y[test] == 1) for _, test in folds],
        [np.sum(y[test] == -1) for _, test in folds],
    ):
        assert max(counts) - min(counts) <= 1


def test_sorted_normals_are_dealt_and_not_cut_into_blocks():
    position = np.arange(100)
    for train, test in InlierKFold(5).split(position):
        assert abs(position[train].mean() - position[test].mean()) <= 3
        np.testing.assert_array_equal(np.diff(test), 5)


def test_shuffling_mixes_normals_and_anomalies(labelled):
    X, y = labelled
    in_order = next(InlierKFold(3).split(X, y))[1]
    shuffled = next(InlierKFold(3, shuffle=True, random_state=0).split(X, y))[1]
    for label in (1, -1):
        assert set(in_order[y[in_order] == label]) != set(shuffled[y[shuffled] == label])


@pytest.mark.parametrize("y", [None, np.ones(20), np.ones(20, dtype=int)])
def test_without_anomalies_all_rows_are_normal(y):
    folds = list(InlierKFold(4).split(np.zeros((20, 2)), y))
    assert [(len(train), len(test)) for train, test in folds] == [(15, 5)] * 4


@pytest.mark.parametrize("splitter", [InlierKFold, InlierShuffleSplit])
def test_an_integer_seed_gives_the_same_splits_and_another_seed_others(labelled, splitter):
    X, y = labelled
    shuffled = {"shuffle": True} if splitter is InlierKFold else {}

    def rows(seed):
        split = splitter(3, random_state=seed, **shuffled).split(X, y)
        return [np.concatenate(fold).tolist() for fold in split]

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)


@pytest.mark.parametrize("splitter", [InlierKFold(3), InlierShuffleSplit(3, random_state=0)])
def test_splitters_follow_scikit_learns_conventions(labelled, splitter):
    X, y = labelled
    assert splitter.get_n_splits() == splitter.get_n_splits(X, y) == 3
    assert repr(splitter).startswith(f"{type(splitter).__name__}(n_splits=3")
    with pytest.warns(UserWarning, match="groups parameter is ignored"):
        with_groups = list(splitter.split(X, y, groups=np.arange(len(X))))
    for fold, same_fold in zip(with_groups, splitter.split(X, y), strict=True):
        np.testing.assert_array_equal(np.concatenate(fold), np.concatenate(same_fold))


@pytest.mark.parametrize("splitter", [InlierKFold(3), InlierShuffleSplit(3, random_state=0)])
def test_labels_may_be_a_series_a_list_floats_or_objects(labelled, splitter):
    X, y = labelled
    index = np.arange(len(y)) + 1000
    alike = [pd.Series(y, index=index), y.tolist(), y.astype(float), y.astype(object)]
    expected = [fold for split in splitter.split(X, y) for fold in split]
    for other in [*alike, pd.Series(y, dtype="Int64")]:
        found = [fold for split in splitter.split(pd.DataFrame(X), other) for fold in split]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


BAD_LABELS = {
    "zero and one": ([0, 1, 1, 1, 1, 1], "holds 0, 1"),
    "booleans": ([True, False, True, True, True, True], "holds False, True"),
    "only True": ([True] * 6, "holds True"),
    "boolean objects": (np.array([True, -1, 1, 1, 1, 1], dtype=object), "holds True, -1"),
    "strings": (["ok", "bad", "ok", "ok", "ok", "ok"], "holds 'bad', 'ok'"),
    "strings of numbers": (["1", "-1", "1", "1", "1", "1"], "holds '-1', '1'"),
    "not a number": ([1, -1, np.nan, 1, 1, 1], "holds -1.0, 1.0, nan"),
    "a third label": ([1, -1, 2, 1, 1, 1], "holds -1, 1, 2"),
    "no normals": ([-1] * 6, "holds -1"),
    "many labels": (np.arange(6) + 0.5, r"holds 0\.5"),
}


@pytest.mark.parametrize("splitter", [InlierKFold(2), InlierShuffleSplit(2)])
@pytest.mark.parametrize(("y", "found"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_of_another_convention_are_refused_by_name(splitter, y, found):
    with pytest.raises(ValueError, match=found) as refused:
        list(splitter.split(np.zeros((6, 2)), y))
    assert "to_inlier_labels" in str(refused.value)


def test_a_long_list_of_labels_is_cut_short():
    with pytest.raises(ValueError, match=r"\(1000 different labels\)") as refused:
        list(InlierKFold().split(np.zeros((1000, 1)), np.arange(1000)))
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("splitter", [InlierKFold(2), InlierShuffleSplit(2)])
def test_labels_of_another_length_are_refused(splitter):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        list(splitter.split(np.zeros((6, 2)), [1, 1, -1]))


def test_more_folds_than_anomalies_or_normals_are_refused(labelled):
    X, y = labelled
    with pytest.raises(ValueError, match="n_splits=14 is more than the 13 anomalies"):
        list(InlierKFold(14).split(X, y))
    with pytest.raises(ValueError, match="n_splits=5 is more than the 4 normal rows"):
        list(InlierKFold(5).split(X[99:], y[99:]))
    assert len(list(InlierKFold(13).split(X, y))) == 13


@pytest.mark.parametrize(
    ("params", "sizes"),
    [
        # of 103 normal rows and 13 anomalies: training rows, test normals, test anomalies
        ({}, (92, 11, 1)),
        ({"test_size": 0.5}, (51, 52, 7)),
        ({"test_size": 20}, (83, 20, 3)),
        ({"train_size": 0.5}, (51, 52, 7)),
        ({"train_size": 40, "test_size": 20}, (40, 20, 3)),
    ],
)
def test_random_splits_have_the_sizes_asked_for(labelled, params, sizes):
    X, y = labelled
    splits = list(InlierShuffleSplit(4, random_state=0, **params).split(X, y))
    assert len(splits) == 4
    for train, test in splits:
        assert (len(train), np.sum(y[test] == 1), np.sum(y[test] == -1)) == sizes
        assert np.all(y[train] == 1)
        assert len(np.intersect1d(train, test)) == 0
        assert len(np.unique(test)) == len(test)
    assert not np.array_equal(np.sort(splits[0][1]), np.sort(splits[1][1]))


def test_a_training_part_has_the_share_of_anomalies_of_all_rows_where_it_has_any(labelled):
    X, y = labelled
    sizes = {"train_size": 40, "test_size": 20, "train_anomalies": True}
    for train, test in InlierShuffleSplit(4, random_state=0, **sizes).split(X, y):
        # of 103 normal rows and 13 anomalies, rounded up
        assert (np.sum(y[train] == 1), np.sum(y[train] == -1)) == (40, 6)
        assert len(np.intersect1d(train, test)) == 0


def test_a_random_split_tests_on_an_anomaly_where_there_is_one(rng):
    y = np.repeat([1, -1], [1000, 1])
    for train, test in InlierShuffleSplit(3, test_size=0.01).split(np.zeros((1001, 1)), y):
        assert 1000 in test and 1000 not in train
    for _, test in InlierShuffleSplit(3, test_size=0.01).split(np.zeros((1000, 1))):
        assert len(test) == 10


def test_paired_normals_and_anomalies_are_drawn_independently_of_each_other():
    y = np.repeat([1, -1], [200, 200])
    _, test = next(InlierShuffleSplit(1, test_size=0.5, random_state=0).split(np.zeros(400), y))
    shared = np.intersect1d(test[test < 200], test[test >= 200] - 200)
    assert 30 < len(shared) < 70  # 50 on average, deviation 3.5; 100 if they shared a permutation


@pytest.mark.parametrize("cv", [InlierKFold(5), InlierShuffleSplit(3, test_size=0.3)])
def test_cross_validation_is_defined_in_every_fold_of_sorted_data(labelled, cv):
    X, y = labelled
    scoring = ["roc_auc", "average_precision", "balanced_accuracy"]
    found = cross_validate(forest(contamination=0.1), X, pd.Series(y), cv=cv, scoring=scoring)
    for name in scoring:  # chance is 0.5, 0.89 and 0.5; NaN where a fold lacks a class
        assert np.all(found[f"test_{name}"] > 0.7), name


def test_cross_val_predict_scores_every_row_once(labelled):
    X, y = labelled
    folds = list(InlierKFold(5).split(X, y))
    scores = cross_val_predict(forest(), X, cv=folds, method="decision_function")
    assert roc_auc_score(y, scores) > 0.95
    labels = cross_val_predict(forest(), X, y, cv=InlierKFold(5))
    np.testing.assert_array_equal(labels, np.where(scores < 0, -1, 1))


def test_a_search_scores_its_candidates_on_normals_and_anomalies(labelled):
    X, y = labelled
    grid = {"n_estimators": [1, 30]}
    search = GridSearchCV(forest(), grid, cv=InlierKFold(5), scoring="roc_auc").fit(X, y)
    assert search.best_params_ == {"n_estimators": 30}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.n_splits_ == 5


def test_a_search_refuses_labels_that_would_turn_it_upside_down(labelled):
    X, y = labelled
    is_anomaly = (y == -1).astype(int)
    search = GridSearchCV(forest(), {"n_estimators": [1, 5]}, cv=InlierKFold(3), scoring="roc_auc")
    with pytest.raises(ValueError, match="to_inlier_labels"):
        search.fit(X, is_anomaly)
    search.fit(X, to_inlier_labels(is_anomaly, normal=0))
    assert search.best_score_ > 0.9


def test_a_search_without_anomalies_takes_a_scorer_that_needs_none(labelled):
    X, y = labelled

    def mean_decision(detector, X, y=None):
        return detector.decision_function(X).mean()

    grid = {"contamination": [0.01, 0.2]}
    search = GridSearchCV(forest(), grid, cv=InlierKFold(3), scoring=mean_decision).fit(X[y == 1])
    assert search.best_params_ == {"contamination": 0.01}


def test_roc_auc_without_anomalies_is_undefined_and_says_so(labelled):
    X, y = labelled
    with pytest.warns(UserWarning, match=r"Only one class|non-finite|Scoring failed"):
        scores = cross_val_score(
            forest(), X[y == 1], y[y == 1], cv=InlierKFold(3), scoring="roc_auc"
        )
    assert np.isnan(scores).all()


@pytest.mark.parametrize("kind", [InlierKFold, InlierShuffleSplit])
def test_training_scores_have_a_value_where_training_parts_hold_anomalies_too(labelled, kind):
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV, learning_curve, validation_curve

    X, y = labelled
    detector = HRNOneClassClassifier(max_iter=2, random_state=0)
    options = {"shuffle": True} if kind is InlierKFold else {}
    cv, both = (kind(3, random_state=0, train_anomalies=t, **options) for t in (False, True))
    for (train, test), (normal, _) in zip(both.split(X, y), cv.split(X, y), strict=True):
        assert not np.intersect1d(train, test).size
        np.testing.assert_array_equal(np.sort(train[y[train] == 1]), np.sort(normal))
        for n in range(2, len(train)):  # every first part has both kinds in their proportion
            assert abs(np.mean(y[train[:n]] == -1) - np.mean(y[train] == -1)) < 1 / n
            assert set(y[train[:n]]) == {1, -1}
    search = HalvingGridSearchCV(
        detector, {"max_iter": [1, 2]}, scoring="roc_auc", cv=both, min_resources=100
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_train_score"]).all()
    _, trained, _ = learning_curve(detector, X, y, cv=both, scoring="roc_auc")
    assert np.isfinite(trained).all()
    trained, tested = validation_curve(
        *(detector, X, y), param_name="max_iter", param_range=[1, 2], cv=both, scoring="roc_auc"
    )
    assert np.isfinite(trained).all()
    # The models are those of training parts without anomalies.
    _, as_before = validation_curve(
        *(detector, X, y), param_name="max_iter", param_range=[1, 2], cv=cv, scoring="roc_auc"
    )
    np.testing.assert_allclose(tested, as_before, atol=1e-6)


def test_splitters_work_under_metadata_routing(labelled):
    X, y = labelled
    with sklearn.config_context(enable_metadata_routing=True):
        detector = OneClassSVM().set_fit_request(sample_weight=True)
        scorer = get_scorer("roc_auc").set_score_request(sample_weight=False)
        search = GridSearchCV(detector, {"nu": [0.1]}, cv=InlierKFold(3), scoring=scorer)
        search.fit(X, y, sample_weight=np.ones(len(y)))
    assert search.best_score_ > 0.9


def test_any_two_labels_become_plus_and_minus_one():
    expected = [1, -1, 1]
    for y, normal in [
        ([0, 1, 0], 0),
        ([1, 0, 1], 1),
        ([False, True, False], False),
        ([2.5, 3.0, 2.5], 2.5),
        (["good", "bad", "good"], "good"),
        (np.array([b"normal.", b"smurf.", b"normal."], dtype=object), b"normal."),
        (np.array([b"normal.", b"smurf.", b"normal."]), b"normal."),
        (pd.Series(["a", "b", "a"], index=[7, 8, 9]), "a"),
        (pd.Series(["a", "b", "a"], dtype="category"), "a"),
        ([[1], [-1], [1]], 1),
    ]:
        labels = to_inlier_labels(y, normal=normal)
        assert labels.dtype.kind == "i" and labels.tolist() == expected


@pytest.mark.parametrize(
    "normal", [[0, 3], (0, 3), {0, 3}, frozenset([0, 3]), np.array([0, 3]), pd.Series([0, 3])]
)
def test_several_of_many_labels_may_count_as_normal(normal):
    assert to_inlier_labels([0, 1, 2, 3, 9], normal=normal).tolist() == [1, -1, -1, 1, -1]


def test_all_labels_may_be_normal():
    assert to_inlier_labels(["a", "a"], normal="a").tolist() == [1, 1]
    assert to_inlier_labels([1, 2], normal=[1, 2]).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("normal", "unknown"), [("norml", "'norml'"), (["normal", "x"], "'x'"), ([], r"\[\]")]
)
def test_a_label_that_does_not_occur_is_refused_beside_those_that_do(normal, unknown):
    with pytest.raises(ValueError, match=unknown) as refused:
        to_inlier_labels(["normal", "smurf"], normal=normal)
    assert "'normal', 'smurf'" in str(refused.value)


@pytest.mark.parametrize(
    "y",
    [
        [0.0, 1.0, np.nan],
        np.array(["a", "b", None], dtype=object),
        np.array(["a", "b", np.nan], dtype=object),
        pd.Series(["a", "b", pd.NA], dtype="string"),
        pd.Series(["a", "b", None], dtype="category"),
        pd.Series([0, 1, None], dtype="Int64"),
    ],
)
def test_missing_labels_are_refused(y):
    with pytest.raises(ValueError, match="missing values"):
        to_inlier_labels(y, normal=y[0])


def test_a_table_of_labels_is_refused():
    with pytest.raises(ValueError, match="1d array"):
        to_inlier_labels([[0, 1], [1, 0]], normal=0)


# Scoring without labels


class OnlyTogether:
    """Knows that the second column is the first, and nothing of either alone."""

    def score_samples(self, X):
        X = np.asarray(X, dtype=float)
        return -np.abs(X[:, 0] - X[:, 1])


class Blind:
    def score_samples(self, X):
        return np.zeros(len(X))


def test_shuffled_columns_tell_a_detector_of_dependence_from_a_blind_one(rng):
    X = np.repeat(rng.normal(size=(200, 1)), 2, axis=1)
    assert shuffled_columns_score(OnlyTogether(), X) > 0.99
    assert shuffled_columns_score(Blind(), X) == 0.5


def test_shuffled_columns_are_the_same_ones_at_every_call_and_of_normal_rows_only(rng):
    X = np.repeat(rng.normal(size=(60, 1)), 2, axis=1) + 0.5 * rng.normal(size=(60, 2))
    y = np.r_[np.ones(50), -np.ones(10)]
    once = shuffled_columns_score(OnlyTogether(), X[:50])
    assert 0.5 < once < 1
    assert shuffled_columns_score(OnlyTogether(), X[:50]) == once
    assert shuffled_columns_score(OnlyTogether(), X, y) == once


def test_columns_of_a_frame_keep_their_names_and_types(rng):
    frame = pd.DataFrame({"number": np.arange(9.0), "word": list("abcabcabc")}, index=range(5, 14))
    frame["kind"] = frame["word"].astype("category")
    seen = []

    class Looks:
        def score_samples(self, X):
            seen.append(X)
            return np.zeros(len(X))

    shuffled_columns_score(Looks(), frame)
    assert all((part.dtypes == frame.dtypes).all() for part in seen)
    made_up = seen[1]
    assert not made_up["number"].equals(frame["number"])
    for name in frame:
        assert sorted(made_up[name]) == sorted(frame[name])


@pytest.mark.parametrize("library", ["list", "sparse", "pandas", "polars", "pyarrow"])
def test_shuffled_columns_are_the_same_in_every_container(library):
    ring = np.linspace(0, 6, 60)
    X, y = np.c_[np.cos(ring), np.sin(ring)], np.r_[np.ones(58), -1, -1]
    forest = IsolationForest(n_estimators=5, random_state=0).fit(X)

    class OfAnyRows:
        def score_samples(self, rows):
            if hasattr(rows, "columns"):
                assert type(rows) is type(held)
                rows = np.column_stack([np.asarray(rows[name]) for name in ("a", "b")])
            return forest.score_samples(rows)

    if library in ("list", "sparse"):
        held = X.tolist() if library == "list" else sparse.csr_array(X)
    else:
        module = pytest.importorskip(library)
        columns = {"a": X[:, 0], "b": X[:, 1]}
        held = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    expected = shuffled_columns_score(OfAnyRows(), X, y)
    assert shuffled_columns_score(OfAnyRows(), held, y) == expected
