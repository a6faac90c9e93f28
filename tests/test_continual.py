"""One head per class: what is learned stays, in whatever order it came."""

import pickle
import subprocess
import sys
import textwrap
import warnings
from copy import copy

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from sklearn_hrn import (
    ChannelNetwork,
    HRNContinualClassifier,
    HRNOneClassClassifier,
    InstanceL2Normalizer,
)
from sklearn_hrn.exceptions import ResolutionWarning


@pytest.fixture(scope="module")
def digits():
    X, digit = load_digits(return_X_y=True)
    return InstanceL2Normalizer().fit_transform(X), digit


@pytest.fixture(scope="module")
def few(digits):
    """Pictures of the first four digits."""
    X, digit = digits
    return X[digit < 4], digit[digit < 4]


def classifier(**parameters):
    of_heads = set(parameters) & set(HRNOneClassClassifier().get_params()) - {"random_state"}
    head = {name: parameters.pop(name) for name in of_heads}
    head = HRNOneClassClassifier(**{"max_iter": 4, "device": "cpu", **head})
    return HRNContinualClassifier(head, **{"random_state": 0, **parameters})


def one_by_one(estimator, X, y, order):
    for label in order:
        estimator.partial_fit(X[y == label], y[y == label])
    return estimator


def state(estimator):
    """All that has been learned, as something that can be compared."""
    return pickle.dumps({k: v for k, v in sorted(vars(estimator).items()) if k[-1] == "_"})


def test_the_answer_is_the_class_whose_head_scores_highest(few):
    X, y = few
    fitted = classifier().fit(X, y)
    scores = fitted.score_heads(X)
    assert scores.shape == (len(X), 4)
    for k, label in enumerate(fitted.classes_):
        assert np.array_equal(scores[:, k], fitted.heads_[label].score_samples(X))
    assert np.array_equal(fitted.decision_function(X), scores)
    assert np.array_equal(fitted.predict(X), fitted.classes_[scores.argmax(axis=1)])


def test_it_tells_ten_digits_apart(digits):
    X, y = digits
    fitted = HRNContinualClassifier(random_state=0).fit(X[::2], y[::2])
    assert fitted.score(X[1::2], y[1::2]) > 0.9


def test_a_head_is_a_one_class_classifier_of_its_rows_alone(few):
    X, y = few
    fitted = classifier().fit(X, y)
    head = fitted.heads_[2]
    alone = HRNOneClassClassifier(max_iter=4, random_state=head.random_state, device="cpu")
    alone.fit(X[y == 2])
    assert np.array_equal(alone.score_samples(X), head.score_samples(X))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_the_order_of_the_classes_does_not_matter(few, order):
    X, y = few
    together = classifier().fit(X, y).score_heads(X)
    in_turn = one_by_one(classifier(), X, y, order)
    assert np.array_equal(in_turn.classes_, [0, 1, 2, 3])
    difference = np.abs(in_turn.score_heads(X) - together).max(axis=0)
    # Products of several heads at once may round in another way than those of one.
    assert (difference < 1e-5 * together.std(axis=0)).all()


def test_new_classes_leave_old_heads_bit_for_bit(few):
    X, y = few
    fitted = one_by_one(classifier(), X, y, [0, 1])
    before = {label: pickle.dumps(fitted.heads_[label]) for label in (0, 1)}
    fitted.partial_fit(X[y > 1], y[y > 1])
    assert {label: pickle.dumps(fitted.heads_[label]) for label in (0, 1)} == before
    assert list(fitted.classes_) == [0, 1, 2, 3]


def test_learning_a_class_asks_no_old_head(few, monkeypatch):
    X, y = few
    fitted = one_by_one(classifier(), X, y, [0, 1, 2])
    asked = []
    score = HRNOneClassClassifier._score
    monkeypatch.setattr(
        HRNOneClassClassifier,
        "_score",
        lambda head, *arguments: asked.append(head.coefs_) or score(head, *arguments),
    )
    fitted.partial_fit(X[y == 3], y[y == 3])
    assert asked
    assert all(coefs is fitted.heads_[3].coefs_ for coefs in asked)


def test_more_rows_of_a_known_class_continue_its_head(few):
    X, y = few
    zeros = X[y == 0]
    fitted = classifier(max_iter=4).partial_fit(zeros, y[y == 0])
    fitted.set_params(estimator__max_iter=6).partial_fit(zeros, y[y == 0])
    whole = classifier(max_iter=10).partial_fit(zeros, y[y == 0])
    assert np.array_equal(fitted.heads_[0].coefs_[0], whole.heads_[0].coefs_[0])
    assert fitted.heads_[0].n_iter_ == 10


def test_a_copy_that_learns_on_leaves_what_it_was_copied_from(few):
    X, y = few
    fitted = classifier().fit(X, y)
    before = state(fitted)
    copy(fitted).partial_fit(X, y)
    assert state(fitted) == before


def test_fit_begins_anew(few):
    X, y = few
    fitted = classifier().fit(X, y).fit(X[y < 2], y[y < 2])
    assert list(fitted.classes_) == [0, 1]
    assert state(fitted) == state(classifier().fit(X[y < 2], y[y < 2]))


def test_of_two_classes_the_decision_is_a_difference(few):
    X, y = (array[few[1] < 2] for array in few)
    fitted = classifier().fit(X, y)
    scores = fitted.score_heads(X)
    assert np.array_equal(fitted.decision_function(X), scores[:, 1] - scores[:, 0])


def test_probabilities_have_the_order_of_the_scores(few):
    X, y = few
    fitted = classifier().fit(X, y)
    probabilities = fitted.predict_proba(X)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(probabilities.argsort(axis=1), fitted.score_heads(X).argsort(axis=1))
    spread = np.mean([head.train_scores_.std() for head in fitted.heads_.values()])
    ratio = probabilities[:, 0] / probabilities[:, 1]
    difference = fitted.score_heads(X)[:, 0] - fitted.score_heads(X)[:, 1]
    assert np.allclose(np.log(ratio), difference / spread)


def test_labels_can_be_text_and_any_number(few):
    X, y = few
    names = np.array(["zero", "one", "two", "three"])[y]
    fitted = classifier().fit(X, names)
    assert list(fitted.classes_) == sorted(set(names))
    assert set(fitted.predict(X)) <= set(names)
    negative = classifier().fit(X, y - 1)  # the class -1 is not an anomaly
    assert list(negative.classes_) == [-1, 0, 1, 2]
    assert negative.heads_[-1].n_updates_ > 0


def test_a_seed_depends_on_the_label_and_not_on_its_type(few):
    X, y = few
    as_int, as_float = (classifier().fit(X, y.astype(dtype)) for dtype in (np.int8, float))
    assert np.array_equal(as_int.score_heads(X), as_float.score_heads(X))
    seeds = {head.random_state for head in as_int.heads_.values()}
    assert len(seeds) == 4


def test_seeds_are_the_same_in_another_process(few):
    X, y = few
    names = np.array(["zero", "one", "two", "three"])[y]
    here = {k: head.random_state for k, head in classifier().fit(X, names).heads_.items()}
    code = textwrap.dedent(
        """
        from sklearn_hrn.continual import _seed_of_head
        from sklearn_hrn._validation import draw_seeds
        seed = int(draw_seeds(0, 1)[0])
        print({k: _seed_of_head(seed, k) for k in ("zero", "one", "two", "three")})
        """
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(run.stdout) == here


def test_without_a_seed_one_is_drawn_and_kept(few):
    X, y = few
    free = classifier(random_state=None)
    one_by_one(free, X, y, [0, 1])
    seed = free.seed_
    one_by_one(free, X, y, [2])
    assert free.seed_ == seed
    assert classifier(random_state=None).fit(X, y).seed_ != seed


# Rejection


def test_a_row_that_no_head_accepts_is_rejected(digits, few):
    X, y = few
    fitted = classifier(max_iter=40, reject_label=-1, false_alarm_rate=0.1).fit(X, y)
    answers = fitted.predict(digits[0])
    accepted = fitted.score_heads(digits[0]) >= [fitted.heads_[k].offset_ for k in range(4)]
    assert np.array_equal(answers == -1, ~accepted.any(axis=1))
    strange = digits[1] > 3
    assert (answers[strange] == -1).mean() > 0.5
    # Its own head fails to accept a tenth of the training rows; another may still accept those.
    assert (fitted.predict(X) == -1).mean() <= 0.1


def test_the_threshold_is_placed_on_rows_held_out_of_training(few):
    X, y = few
    fitted = classifier(validation_fraction=0.3, false_alarm_rate=0.2).fit(X, y)
    for label, head in fitted.heads_.items():
        rows = np.flatnonzero(y == label)
        shuffled = np.random.default_rng(head.random_state).permutation(rows)
        n_held_out = int(np.ceil(0.3 * len(rows)))
        scores = head.score_samples(X[shuffled[:n_held_out]])
        flagged = (scores < head.offset_).sum()
        assert flagged == int(0.2 * (n_held_out + 1)) - 1
        alone = HRNOneClassClassifier(max_iter=4, random_state=head.random_state, device="cpu")
        alone.fit(X[np.sort(shuffled[n_held_out:])])
        assert np.array_equal(alone.coefs_[0], head.coefs_[0])


def test_too_few_held_out_rows_say_so(few):
    X, y = few
    with pytest.warns(ResolutionWarning, match="nothing can be flagged"):
        classifier(validation_fraction=0.05, false_alarm_rate=0.01).fit(X, y)


def test_the_answer_for_a_rejected_row_can_be_text(few):
    X, y = few
    names = np.array(["zero", "one", "two", "three"])[y]
    fitted = classifier(reject_label="none of them", false_alarm_rate=0.5).fit(X, names)
    answers = set(fitted.predict(X))
    assert "none of them" in answers
    assert answers <= {*names, "none of them"}


# Forgetting and keeping


def test_forgetting_a_class_leaves_the_others(few):
    X, y = few
    fitted = classifier().fit(X, y)
    scores = fitted.score_heads(X)
    fitted.forget(1)
    assert list(fitted.classes_) == [0, 2, 3]
    assert np.array_equal(fitted.score_heads(X), scores[:, [0, 2, 3]])
    assert set(fitted.heads_) == {0, 2, 3}
    with pytest.raises(ValueError, match="class 1 is unknown; known are"):
        fitted.forget(1)
    fitted.forget(0).forget(2)
    with pytest.raises(ValueError, match="class 3 is the only one"):
        fitted.forget(3)


def test_a_clone_knows_nothing_and_a_pickle_all(few):
    X, y = few
    fitted = classifier().fit(X, y)
    assert not hasattr(clone(fitted), "heads_")
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict(X), fitted.predict(X))
    both = [one.partial_fit(X[y == 0], 7 + y[y == 0]) for one in (fitted, again)]
    assert np.array_equal(both[0].score_heads(X), both[1].score_heads(X))


# What can go wrong

MISTAKES = {
    "no labels": (lambda X, y: (X, None), "requires y to be passed"),
    "no rows": (lambda X, y: (X[:0], y[:0]), "0 sample"),
    "labels of another length": (lambda X, y: (X, y[:-1]), "inconsistent numbers"),
    "other columns": (lambda X, y: (X[:, :5], y), "X has 5 features"),
    "a class of one row": (lambda X, y: (X[:3], [7, 7, 8]), "class 8 has 1 row"),
    "one row beside a known class": (lambda X, y: (X[:3], [0, 0, 8]), "class 8 has 1 row"),
    "mixed types": (
        lambda X, y: (X, np.where(y > 2, "a", y.astype(object))),
        "all numbers or all text",
    ),
    "text after numbers": (lambda X, y: (X, np.where(y > 1, "a", "b")), "all numbers or all text"),
    "a missing label": (lambda X, y: (X, np.where(y > 1, np.nan, 5.0)), "NaN"),
    "quantities": (lambda X, y: (X, y + 0.5), "Unknown label type"),
    "missing values": (lambda X, y: (np.where(X > 0.1, np.nan, X), y), "NaN"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_was_learned_survives_a_mistake(few, mistake):
    X, y = few
    spoil, message = MISTAKES[mistake]
    fitted = classifier().fit(X, y)
    before = state(fitted)
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.partial_fit(*spoil(X, y))
    assert state(fitted) == before
    if mistake not in ("other columns", "text after numbers"):
        with pytest.raises((ValueError, TypeError), match=message):
            fitted.fit(*spoil(X, y))
        assert state(fitted) == before


def test_labels_are_checked_against_the_classes_announced(few):
    X, y = few
    fitted = classifier().partial_fit(X[y == 0], y[y == 0], classes=[0, 1, 2])
    assert list(fitted.classes_) == [0]
    with pytest.raises(ValueError, match=r"y holds \[3\], which are not in classes=\[0, 1, 2\]"):
        fitted.partial_fit(X[y == 3], y[y == 3], classes=[0, 1, 2])
    assert list(fitted.classes_) == [0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"reject_label": 2}, "reject_label=2 is the label of a class"),
        ({"reject_label": "none"}, "all numbers or all text"),
        ({"false_alarm_rate": 0.7}, "'false_alarm_rate' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"validation_fraction": 0.999}, "row.s. to train on"),
        ({"reg_exponent": 0.5}, "'reg_exponent' parameter"),
    ],
)
def test_parameters_that_cannot_work_are_refused(few, parameters, message):
    with pytest.raises(ValueError, match=message):
        classifier(**parameters).fit(*few)


def test_parameters_of_the_heads_are_those_of_an_estimator():
    with pytest.raises(
        TypeError,
        match=r"takes no max_iter, momentum;.*HRNOneClassClassifier\(max_iter=5, momentum=0.5\)",
    ):
        HRNContinualClassifier(max_iter=5, momentum=0.5)
    with pytest.raises(ValueError, match="'estimator' parameter"):
        HRNContinualClassifier((50,)).fit([[1.0], [2.0]], [1, 1])


def test_heads_can_be_any_network_and_can_be_continued(rng):
    X, y = rng.uniform(size=(40, 12)), np.repeat([0, 1], 20)
    network = ChannelNetwork(branch_size=3, hidden_size=2, init=0.3)
    fitted = classifier(module=network, n_estimators=2).fit(X, y)
    assert fitted.heads_[1].module_state_["branches"].shape == (2, 3, 4, 3)
    again = pickle.loads(pickle.dumps(fitted)).partial_fit(X[y == 0], y[y == 0])
    assert (again.heads_[0].n_iter_, again.heads_[1].n_iter_) == (8, 4)
    assert again.n_iter_ == 8  # of the head that was trained longest


def test_before_any_class_there_is_no_answer(few):
    for method in ("predict", "score_heads", "decision_function", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(few[0])
    with pytest.raises(NotFittedError):
        classifier().forget(0)


def test_a_single_class_is_always_the_answer(few):
    X, y = few
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = classifier().fit(X[y == 2], y[y == 2])
    assert set(fitted.predict(X)) == {2}
    assert fitted.decision_function(X).shape == (len(X), 1)
    assert (fitted.predict_proba(X) == 1).all()


def test_heads_that_are_calibrated_accept_fresh_rows_of_their_class(rng):
    def head(calibration):
        estimator = HRNOneClassClassifier(max_updates=100, calibration=calibration)
        return HRNContinualClassifier(
            estimator, false_alarm_rate=0.1, reject_label=-1, random_state=0
        )

    X, y = rng.normal(size=(120, 40)), np.repeat([0, 1], 60)
    fresh = rng.normal(size=(200, 40))
    rejected = {c: (head(c).fit(X, y).predict(fresh) == -1).mean() for c in (None, 3)}
    assert rejected[3] < rejected[None]
    fitted = head(3).fit(X, y)
    assert len(fitted.heads_[0].calibration_scores_) == 60
    with pytest.raises(ValueError, match=r"class 0 is known.*calibration=None"):
        fitted.partial_fit(X, y)
    fitted.forget(0).partial_fit(X[:60], y[:60])  # the remedy


def test_where_training_scores_have_no_spread_those_of_the_heads_are_taken_as_they_are(few):
    X, y = few
    fitted = classifier().fit(X, y)
    for head in fitted.heads_.values():
        head.train_scores_ = np.zeros(1001)
    np.testing.assert_allclose(fitted.predict_proba(X), softmax(fitted.score_heads(X), axis=1))


def test_the_step_of_a_head_follows_the_mean_squared_length_of_its_rows(few):
    X, y = (array[few[1] < 2] for array in few)
    factor = np.where(np.arange(len(y)) % 2, 3.0, 1.0) * np.where(y == 0, 0.1, 1.0)
    X = np.float32(X / np.linalg.norm(X, axis=1, keepdims=True) * factor[:, None])
    heads = classifier(learning_rate_init=0.1).fit(X, y).heads_
    mean = np.square(factor[y == 1]).mean()
    assert heads[0].learning_rate_init == 0.1  # rows shorter than one are left as they are
    assert heads[1].learning_rate_init == pytest.approx(0.1 / mean, rel=1e-6)
