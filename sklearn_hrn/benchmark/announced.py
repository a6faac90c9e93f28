"""What section 5 of the paper announces: open-world and positive-unlabelled learning, on MNIST.

Both stand beside a perceptron of as many units that is trained as a classifier. Nothing was tuned:
the settings are the paper's, for 30 epochs, the weight of the unlabelled rows is 1.
"""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from ..continual import HRNContinualClassifier
from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer
from . import data

EPOCHS = 30
N_KNOWN = 5
N_POSITIVE, N_UNLABELLED = 1000, 2000


def _normalized(data_home):
    X_train, y_train, X_test, y_test = data.pixels("mnist", data_home)
    norm = InstanceL2Normalizer()
    return norm.fit_transform(X_train), y_train, norm.transform(X_test), y_test


def open_world(normal, seed, epochs, data_home=None):
    """Five digits, from `normal` on, are learned; are those of the test set told from the others?

    Returns
    -------
    figures : dict
        AUC in per cent of the highest score of a head, and of the highest probability of the
        classifier; accuracies on the digits that were learned.
    """
    X_train, y_train, X_test, y_test = _normalized(data_home)
    known = (normal + np.arange(N_KNOWN)) % 10
    rows, is_known = np.isin(y_train, known), np.isin(y_test, known)
    heads = HRNContinualClassifier(HRNOneClassClassifier(max_iter=epochs), random_state=seed)
    heads.fit(X_train[rows], y_train[rows])
    classifier = MLPClassifier(100, max_iter=epochs, random_state=seed)
    classifier.fit(X_train[rows], y_train[rows])
    of_heads, of_classifier = heads.score_heads(X_test), classifier.predict_proba(X_test)
    return {
        "auc": 100 * roc_auc_score(is_known, of_heads.max(axis=1)),
        "auc_classifier": 100 * roc_auc_score(is_known, of_classifier.max(axis=1)),
        "accuracy": _accuracy(heads.classes_, of_heads[is_known], y_test[is_known]),
        "accuracy_classifier": _accuracy(
            classifier.classes_, of_classifier[is_known], y_test[is_known]
        ),
    }


def _accuracy(classes, scores, y):
    return 100 * float((classes[scores.argmax(axis=1)] == y).mean())


def positive_unlabelled(normal, seed, epochs, data_home=None):
    """A thousand rows of a digit are labelled; half of two thousand others are of it, too.

    Returns
    -------
    figures : dict
        AUC in per cent of HRN on the labelled rows alone, with the others kept below, and of a
        classifier that takes the others for negative.
    """
    X_train, y_train, X_test, y_test = _normalized(data_home)
    rng = np.random.default_rng(seed)
    own = rng.permutation(np.flatnonzero(y_train == normal))[: N_POSITIVE + N_UNLABELLED // 2]
    labelled, hidden = np.split(own, [min(N_POSITIVE, len(own) // 2)])
    others = rng.permutation(np.flatnonzero(y_train != normal))[: len(hidden)]
    X = X_train[np.r_[labelled, hidden, others]]
    y = np.repeat([1, -1], [len(labelled), len(hidden) + len(others)])
    alone = HRNOneClassClassifier(max_iter=epochs, random_state=seed)
    below = HRNOneClassClassifier(max_iter=epochs, anomaly_weight=1.0, random_state=seed)
    classifier = MLPClassifier(100, max_iter=epochs, random_state=seed).fit(X, y)
    is_normal = y_test == normal
    scores = {
        "auc": alone.fit(X, y).score_samples(X_test),
        "auc_below": below.fit(X, y).score_samples(X_test),
        "auc_classifier": classifier.predict_proba(X_test)[:, 1],
    }
    return {name: 100 * roc_auc_score(is_normal, value) for name, value in scores.items()}


EXPERIMENTS = {"open world": open_world, "positive-unlabelled": positive_unlabelled}
