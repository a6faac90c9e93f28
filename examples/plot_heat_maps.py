"""
===============================
Where does this picture differ?
===============================

A detector that learned threes is shown pictures of threes into which a piece of another digit was
pasted. It says which ones to look at, with a known rate of false alarms, and where to look: for the
image recipe, the numbers of :func:`~sklearn_hrn.inspection.feature_attribution` have the shape of
the picture.

The digits come with scikit-learn: nothing is downloaded.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_hrn import make_hrn_pipeline
from sklearn_hrn.inspection import AttributionDisplay, feature_attribution

X, digit = load_digits(return_X_y=True)
threes, others = X[digit == 3], X[digit != 3]
train, fresh = threes[::2], threes[1::2]

# %%
# Fresh threes with a fault, and without
# --------------------------------------
#
# A square of three by three pixels comes from another digit, at the same place.

rng = np.random.default_rng(0)
faulty = fresh.copy().reshape(-1, 8, 8)
fault = np.zeros(faulty.shape, dtype=bool)
for image, place in zip(faulty, fault, strict=True):
    top, left = rng.integers(1, 5, size=2)
    place[top : top + 3, left : left + 3] = True
    image[place] = others[rng.integers(len(others))].reshape(8, 8)[place]
faulty = faulty.reshape(len(fresh), 64)

# %%
# Which pictures
# --------------
#
# The pictures are small, and so are the patches that the recipe learns its words from.

detector = make_hrn_pipeline("image", random_state=0)
detector.set_params(words__transformer__patch_size=3, hrn__contamination=0.1, calibration=3)
detector.fit(train)
alarms, found = (detector.predict(rows) == -1 for rows in (fresh, faulty))
print(f"asked for 10 % false alarms: {alarms.mean():.0%} of {len(fresh)} fresh threes")
print(f"found: {found.mean():.0%} of the same pictures with a fault")

# %%
# Where
# -----
#
# Red pixels made the picture a stranger. The fault is framed; what it covers is a seventh of the
# picture.

heat = feature_attribution(detector, faulty[found])
strange = np.maximum(-heat, 0)
share = (strange * fault[found]).sum(axis=(1, 2)) / strange.sum(axis=(1, 2))
print(f"share of the red inside the frame: {share.mean():.0%}, of the area {9 / 64:.0%}")

figure, axes = plt.subplots(2, 2, figsize=(6.4, 5), layout="constrained")
display = AttributionDisplay(heat, X=faulty[found])
for row, ax in enumerate(axes.flat):
    display.plot(ax, row=row)
    y, x = np.argwhere(fault[found][row])[0] - 0.5
    ax.add_patch(plt.Rectangle((x, y), 3, 3, fill=False, linewidth=2))
plt.show()
