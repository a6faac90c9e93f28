"""
=======================
Learn digits one by one
=======================

A classifier meets one handwritten digit after the other, keeps no pictures, and still knows them
all at the end: each class has a one-class head of its own, which no later class touches. The digits
eight and nine are never shown. The classifier should answer that they are none of those it knows.

The digits come with scikit-learn: nothing is downloaded.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from sklearn_hrn import HRNContinualClassifier, InstanceL2Normalizer

X, digit = load_digits(return_X_y=True)
X = InstanceL2Normalizer().fit_transform(X)
train = np.arange(len(X)) % 2 == 0

# %%
# One digit after the other
# -------------------------
#
# After each digit, the accuracy on held-out pictures of the digits met so far. Beside it a linear
# classifier that learns in the same way, and forgets.

KNOWN = range(8)
ours = HRNContinualClassifier(validation_fraction=0.2, false_alarm_rate=0.1, random_state=0)
linear = SGDClassifier(random_state=0)
curves = {"one head per class": [], "SGDClassifier.partial_fit": []}

print("digits met          one head per class   SGDClassifier.partial_fit")
for new in KNOWN:
    rows = train & (digit == new)
    ours.partial_fit(X[rows], digit[rows])
    linear.partial_fit(X[rows], digit[rows], classes=list(KNOWN))
    met = ~train & (digit <= new)
    for curve, model in zip(curves.values(), (ours, linear), strict=True):
        curve.append(model.score(X[met], digit[met]))
    heads, forgetful = (f"{curve[-1]:.1%}" for curve in curves.values())
    print(f"0 to {new:<15}{heads:>18}{forgetful:>28}")

# %%
# None of them
# ------------
#
# A row that no head accepts is rejected. A fifth of each digit was held out of training to place
# the threshold of its head, so that one picture in ten of its own digit falls below it.

ours.set_params(reject_label=-1)
rejected = [(ours.predict(X[~train & (digit == d)]) == -1).mean() for d in range(10)]
print("\nshare of fresh pictures that are called none of the known digits")
for d, share in enumerate(rejected):
    print(f"{d} ({'known' if d in KNOWN else 'never shown'}): {share:.0%}")
print(f"asked for 10 % false alarms: {np.mean(rejected[:8]):.0%} on the mean of the known digits")
print(f"found: {np.mean(rejected[8:]):.0%} on the mean of those never shown")

figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 6), layout="constrained")
for name, curve in curves.items():
    above.plot(KNOWN, curve, "o-", label=name)
above.set(xlabel="last digit met", ylabel="accuracy on all digits met", ylim=(0, 1.05))
above.legend()
below.bar(range(10), rejected, color=["C0" if d in KNOWN else "C3" for d in range(10)])
below.axhline(0.1, color="k", linestyle=":", label="false alarms asked for")
below.set(xlabel="digit (red: never shown)", ylabel="share rejected", xticks=range(10))
below.legend()
plt.show()
