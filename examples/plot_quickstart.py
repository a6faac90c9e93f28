"""
=======================
Find the odd digits out
=======================

Learn what one handwritten digit looks like from pictures of that digit alone, then score pictures
of all ten: the higher the score, the more normal the picture. Each digit takes its turn as the
normal class. Half of its pictures train; the other half and all pictures of the other digits are
the test. Next to :class:`~sklearn_hrn.HRNOneClassClassifier` stand three detectors of scikit-learn
on the same input. All of them keep their default parameters, so nothing is chosen with the help of
the test labels.

The digits come with scikit-learn: 1797 pictures of 8 by 8 pixels, nothing is downloaded.
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM

from sklearn_hrn import ConformalOutlierDetector, HRNOneClassClassifier, InstanceL2Normalizer
from sklearn_hrn.inspection import AnomalyScoreDisplay

X, digit = load_digits(return_X_y=True)

# %%
# Train on one digit, score the rest
# ----------------------------------
#
# Every detector stands behind the same :class:`~sklearn_hrn.InstanceL2Normalizer`: it scales each
# picture by its own norm, so there is nothing that a training picture could tell a test picture.

detectors = {
    "HRNOneClassClassifier": HRNOneClassClassifier(random_state=0),
    "OneClassSVM": OneClassSVM(),
    "IsolationForest": IsolationForest(random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
}


def train_and_score(detector, train, test):
    """Scores of the test pictures, and the seconds that fitting and scoring took."""
    model = make_pipeline(InstanceL2Normalizer(), detector)
    start = time.perf_counter()
    model.fit(X[train])
    fitted = time.perf_counter()
    scores = model.score_samples(X[test])
    return scores, fitted - start, time.perf_counter() - fitted


def split(normal):
    """Row numbers of training pictures (half of the normal ones) and of test pictures."""
    train, _ = train_test_split(np.flatnonzero(digit == normal), test_size=0.5, random_state=0)
    return train, np.setdiff1d(np.arange(len(X)), train)


rows = {name: [] for name in detectors}
for name, detector in detectors.items():
    train_and_score(detector, *split(0))  # unmeasured: the very first fit also loads libraries
    for normal in range(10):
        train, test = split(normal)
        scores, *seconds = train_and_score(detector, train, test)
        rows[name].append([roc_auc_score(digit[test] == normal, scores), *seconds])

print("Mean over ten digits, each in turn the normal class")
print(f"{'detector':<24}{'ROC-AUC':>9}{'fit [s]':>10}{'score [s]':>11}")
for name, row in rows.items():
    auc, fit_seconds, score_seconds = np.mean(row, axis=0)
    print(f"{name:<24}{auc:>9.4f}{fit_seconds:>10.3f}{score_seconds:>11.4f}")

# %%
# The most and the least normal digits
# ------------------------------------
#
# With the twos as the normal class: the pictures that look most like a two, the strangest twos
# that were held out of training, and the pictures that look least like one.

NORMAL = 2
train, test = split(NORMAL)
scores, _, _ = train_and_score(detectors["HRNOneClassClassifier"], train, test)
by_score = test[np.argsort(scores)]
twos = by_score[digit[by_score] == NORMAL]
panels = {
    "most normal of all": by_score[:-9:-1],
    "least normal twos": twos[:8],
    "least normal of all": by_score[:8],
}

figure, axes = plt.subplots(3, 8, figsize=(6.4, 3.3))
figure.subplots_adjust(0.01, 0.02, 0.99, 0.84, wspace=0.08, hspace=0.34)
for (title, pictures), line in zip(panels.items(), axes, strict=True):
    for picture, axis in zip(pictures, line, strict=True):
        axis.imshow(X[picture].reshape(8, 8), cmap="gray_r")
        axis.set(xticks=[], yticks=[])
    line[0].set_title(title, loc="left", fontsize=12)
figure.suptitle("Trained on twos alone", fontsize=13)
path = sys.argv[1] if len(sys.argv) > 1 else "quickstart.png"
figure.savefig(path, dpi=150)
print(f"Figure written to {path}")

# %%
# From scores to decisions
# ------------------------
#
# Which scores are too low? A :class:`~sklearn_hrn.ConformalOutlierDetector` scores every training
# picture by a detector that did not see it, and these scores place the threshold: here for one
# false alarm in ten. Each digit takes its turn again.

decisions = []
for normal in range(10):
    train, test = split(normal)
    model = make_pipeline(InstanceL2Normalizer(), HRNOneClassClassifier(random_state=0))
    decider = ConformalOutlierDetector(
        model, strategy="cross", false_alarm_rate=0.1, random_state=0
    )
    flagged = decider.fit(X[train]).predict(X[test]) == -1
    is_normal = digit[test] == normal
    decisions.append([flagged[is_normal].mean(), flagged[~is_normal].mean()])
false_alarms, found = np.mean(decisions, axis=0)
print(f"asked for 10 % false alarms: {false_alarms:.0%} of fresh pictures of the digit")
print(f"found: {found:.0%} of pictures of the others")

# %%
# The scores of the last turn, that of the nines, and their threshold:

scores = decider.score_samples(X[test])
groups = {"fresh nines": scores[is_normal], "other digits": scores[~is_normal]}
display = AnomalyScoreDisplay(groups, threshold=decider.offset_).plot()
