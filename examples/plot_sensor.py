"""
==================================
A sensor that falls out of rhythm
==================================

The record of a sensor is one long row. Cut into windows, it is a table with a row for each moment:
what a stretch of the record normally looks like can be learned, and how strange the last stretch is
can be asked at any time.

The record is the potential of a nerve cell, measured by an electrode through six seconds, and comes
with matplotlib. For most of the time the cell fires evenly, then it loses the beat.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from sklearn.model_selection import KFold

from sklearn_hrn import make_hrn_pipeline
from sklearn_hrn.inspection import feature_attribution, nearest_normal

with get_sample_data("membrane.dat") as file:
    potential = np.frombuffer(file.read(), dtype=np.float32).astype(float)
milliseconds = np.arange(len(potential)) / 2

# %%
# Windows
# -------
#
# A window of 80 milliseconds holds a whole beat, wherever it begins. Another begins every five
# milliseconds. It takes the cell until 1250 milliseconds to find its beat. From then on the first
# part of the even stretch trains, the rest of it is fresh and normal, and what comes then is not.

WIDTH = 160


def windows(first, last):
    """The moments at which windows between two moments end, and the windows."""
    ends = np.arange(first + WIDTH, last, 10)
    return ends, potential[ends[:, None] - np.arange(WIDTH, 0, -1)]


_, train = windows(2500, 5500)
_, fresh = windows(5500, 7100)
_, uneven = windows(7300, 10_900)
print(f"{len(train)} windows to train on, {len(fresh)} fresh ones, {len(uneven)} without rhythm")

# %%
# A decision
# ----------
#
# Columns of a window are potentials at so many milliseconds before its end, so the recipe is that
# for tables. Its threshold comes from rows that did not train. Neighbouring windows share most of
# their values: folds drawn at random would score a window by a model that has seen its neighbours.
# ``KFold`` without shuffling holds out one stretch of the record after the other.

detector = make_hrn_pipeline("tabular", random_state=0)
detector.set_params(hrn__contamination=0.05, calibration=KFold(5)).fit(train)
false_alarms, found = ((detector.predict(X) == -1).mean() for X in (fresh, uneven))
print(f"asked for 5 % false alarms: {false_alarms:.1%} of the fresh normal windows")
print(f"found: {found:.1%} of the windows without rhythm")

# %%
# Windows that overlap are not independent: the fresh ones hold eleven beats, which are too few to
# measure the rate by.

# %%
# When, and at which moment of it
# -------------------------------
#
# Below the record, the decision as it would have been made at every moment.

ends, rows = windows(2000, 10_900)
decision = detector.decision_function(rows)

figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 5), sharex=True, layout="constrained")
above.plot(milliseconds, potential, linewidth=0.7)
above.axvspan(1250, 2750, color="C2", alpha=0.15, label="trained on")
above.set(ylabel="potential", xlim=(900, 5600))
above.legend(loc="lower left")
below.plot(milliseconds[ends], decision, color="k", linewidth=0.8)
below.fill_between(milliseconds[ends], decision, 0, where=decision < 0, color="C3")
below.set(xlabel="milliseconds", ylabel="decision (red: alarm)")
plt.show()

# %%
# The strangest window with the normal one that is most like it, and what each of its moments does
# to the score.

strangest = decision.argmin()
(why,), (typical,) = (f(detector, rows[[strangest]]) for f in (feature_attribution, nearest_normal))

figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 5), sharex=True, layout="constrained")
before_end = np.arange(-WIDTH, 0) / 2
above.plot(before_end, rows[strangest], color="C3", label="the strangest window")
above.plot(before_end, typical, color="C2", label="the most similar normal one")
above.set(ylabel="potential")
above.legend()
below.bar(before_end, why, width=0.5, color=np.where(why < 0, "C3", "C0"))
below.set(xlabel="milliseconds before its end", ylabel="part of the score")
plt.show()
