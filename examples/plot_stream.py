"""
=======================
A camera in the evening
=======================

What is normal changes while it is watched. A camera looks at a building; every minute brings 400
small pieces of its picture, and one in a hundred shows something that does not belong there. Nobody
labels anything, and the sun goes down.

A detector that was fitted at noon calls the dusk an anomaly. One that goes on learning keeps its
rate of false alarms and still finds what does not belong. Where the light goes faster than it can
follow, it says that what it sees has changed.

Both pictures come with scikit-learn: the building is a temple, and what does not belong is a piece
of a flower.
"""

import warnings
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

from sklearn_hrn import make_hrn_pipeline
from sklearn_hrn.exceptions import DriftWarning

temple, flower = (image / 255 for image in load_sample_images().images)
rng = np.random.default_rng(0)

# %%
# Minutes of a stream
# -------------------
#
# A piece has 16 by 16 pixels. Eight numbers tell of it: the mean and the deviation of each colour,
# and how rough it is in either direction.

SIDE, MINUTES = 16, 40


def pieces(image, n):
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), axis=(0, 1))
    tops, lefts = (rng.integers(0, size, n) for size in windows.shape[:2])
    return windows[tops, lefts].copy()  # (n, colours, SIDE, SIDE)


def minute(light, n=400, share=0.01):
    """Numbers of some pieces in that light, and which of them belong there (+1)."""
    belongs = np.where(rng.random(n) < share, -1, 1)
    shown = pieces(temple, n)
    shown[belongs == -1] = pieces(flower, np.sum(belongs == -1))
    shown *= light
    grey = shown.mean(axis=1)
    roughness = [np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    return np.c_[shown.mean(axis=(2, 3)), shown.std(axis=(2, 3)), *roughness], belongs


# %%
# Ask, then learn
# ---------------
#
# Both begin with the same fit at noon. Two pieces in a hundred may be flagged: one of them is there
# to be found, the other is left for false alarms. Each minute takes the same share of the light.

frozen = make_hrn_pipeline("tabular", random_state=0).set_params(hrn__contamination=0.02)
frozen.fit(minute(light=1.0, n=1000, share=0.0)[0])
detector = deepcopy(frozen)

light = np.geomspace(1, 0.5, MINUTES)
names = {"goes on learning": detector, "frozen at noon": frozen}
flagged = {name: [] for name in names}
labels = []
for now in range(MINUTES):
    X, belongs = minute(light[now])
    labels.append(belongs)
    for name, model in names.items():
        flagged[name].append(model.predict(X) == -1)
    detector.partial_fit(X)

# %%
# Decisions
# ---------

labels = np.array(labels)
print("asked for: 2 % of all pieces, which is 1 % if what does not belong is found")
print("flagged                             of what belongs there   of what does not")
for name, of_model in flagged.items():
    of_model = np.array(of_model)
    for part in (slice(0, 10), slice(30, 40)):
        normal = labels[part] == 1
        alarms, found = (of_model[part][where].mean() for where in (normal, ~normal))
        when = f"minutes {part.start} to {part.stop}"
        print(f"{name:<17}{when:<19}{alarms:>12.1%}{found:>26.0%}")

figure, (above, below) = plt.subplots(
    2, 1, figsize=(6.4, 6.4), height_ratios=[1, 1.2], layout="constrained"
)
above.imshow(np.hstack([temple, temple * light[-1]]))
above.set(title="noon, and minute 40", xticks=[], yticks=[])
for name, of_model in flagged.items():
    below.plot(100 * np.mean(of_model, axis=1), label=name)
below.axhline(2, color="k", linestyle=":", label="asked for")
below.set(xlabel="minute", ylabel="pieces flagged, per cent")
below.legend()
plt.show()

# %%
# A cloud
# -------
#
# The dusk was slow: the threshold followed it, and there was no drift to tell of. A cloud takes
# two fifths of what is left at once.

X, _ = minute(light=0.3)
share = np.mean(detector.predict(X) == -1)
print(f"under a cloud {share:.0%} of the pieces are flagged, and then:")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    detector.partial_fit(X)
print(*(w.message for w in caught if issubclass(w.category, DriftWarning)))
