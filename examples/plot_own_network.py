"""
=========================
A network of your own
=========================

The loss of the paper needs no particular network: any torch module that maps a row to a number can
take the place of the perceptron. Here it is a small convolutional one, which sees that neighbouring
pixels belong together, and then the convolutional layers of a network that was trained on other
digits before and stays as it is. Of pictures as small as these the perceptron tells as much as
either: the example shows how it is done, and not that it pays here.

The digits come with scikit-learn: nothing is downloaded.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNOneClassClassifier,
    InstanceL2Normalizer,
    TorchFeatures,
)

X, digit = load_digits(return_X_y=True)
is_train = np.arange(len(X)) % 2 == 0

# %%
# A factory of convolutional networks
# -----------------------------------
#
# ``module`` is a function that returns a fresh network for rows of ``n_features``: every estimator
# of an ensemble and every fit needs its own. Dropout and batch normalisation are refused, as what
# is penalised is the gradient of each row by itself. The filters are as large as the digits but for
# a pixel, so that a stroke may lie a little off; small filters, which see less than a digit, do
# worse here. A weight that is used in several places wants a smaller step.


def convolutional(n_features):
    side = int(n_features**0.5)
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, 32, kernel_size=7, bias=False),
        nn.LeakyReLU(0.01),
        nn.Flatten(),
        nn.Linear(32 * (side - 6) ** 2, 1, bias=False),
    )


# %%
# A frozen network in front
# -------------------------
#
# `TorchFeatures` puts a network with its weights into a pipeline. This one has learned to tell the
# digits 0 to 4 apart; the detectors will be asked about 5 to 9, which it has never seen.

torch.manual_seed(0)
source = is_train & (digit < 5)
images = torch.tensor(X[source] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
labels = torch.tensor(digit[source])
body = nn.Sequential(
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2)
)
head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 4, 5))
optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()])
for _ in range(30):
    for rows in torch.randperm(len(images)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(body(images[rows])), labels[rows]).backward()
        optimizer.step()

# %%
# Each digit from 5 to 9 in turn is the normal one
# ------------------------------------------------
#
# Of its training pictures 29 are set aside to place the threshold of a
# :class:`~sklearn_hrn.ConformalOutlierDetector`: among thirty, a fresh picture is one of the three
# lowest once in ten.

DETECTORS = {
    "perceptron": lambda: make_pipeline(
        InstanceL2Normalizer(), HRNOneClassClassifier(random_state=0)
    ),
    "convolutional network": lambda: make_pipeline(
        InstanceL2Normalizer(),
        HRNOneClassClassifier(
            module=convolutional, learning_rate_init=0.02, max_updates=300, random_state=0
        ),
    ),
    "frozen features": lambda: make_pipeline(
        TorchFeatures(body, image_shape=(8, 8, 1)),
        InstanceL2Normalizer(),
        HRNOneClassClassifier(random_state=0),
    ),
}
unseen = ~is_train & (digit >= 5)
aucs, decisions = ({name: [] for name in DETECTORS} for _ in range(2))
for normal in range(5, 10):
    for name, make in DETECTORS.items():
        detector = ConformalOutlierDetector(
            make(), false_alarm_rate=0.1, calibration_size=29, random_state=0
        )
        detector.fit(X[is_train & (digit == normal)])
        is_normal = digit[unseen] == normal
        aucs[name].append(roc_auc_score(is_normal, detector.score_samples(X[unseen])))
        flagged = detector.predict(X[unseen]) == -1
        decisions[name].append([flagged[is_normal].mean(), flagged[~is_normal].mean()])

print(f"{'AUC, normal digit':<24}" + "".join(f"{d:>8}" for d in range(5, 10)) + f"{'mean':>8}")
for name, values in aucs.items():
    print(f"{name:<24}" + "".join(f"{v:8.3f}" for v in [*values, np.mean(values)]))

print("\nasked for 10 % false alarms; means over the five digits")
for name, shares in decisions.items():
    false_alarms, found = np.mean(shares, axis=0)
    print(f"{name:<24}{false_alarms:.0%} of fresh pictures flagged, {found:.0%} of other digits")

figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for marker, (name, values) in zip("osD", aucs.items(), strict=True):
    axes.plot(range(5, 10), values, marker, label=name)
axes.set(xlabel="normal digit", ylabel="AUC", xticks=range(5, 10))
figure.legend(loc="outside upper center", ncols=3)
plt.show()
