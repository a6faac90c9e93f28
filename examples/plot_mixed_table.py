"""
=============================================================
A table with missing values and words, from rows to decisions
=============================================================

Most tables are not matrices: some columns hold numbers with gaps, others hold words. This example
trains the tabular recipe on normal rows alone, chooses a parameter by cross-validation, turns
scores into decisions with a known rate of false alarms, and explains them.

The rows are scikit-learn's wines: chemical analyses of three cultivars. Two cultivars are known and
normal, the third is not. To make a table as it comes in practice, one value in twenty is removed
and two columns are told in words.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_wine
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_hrn import (
    ConformalOutlierDetector,
    HRNSearchCV,
    InlierKFold,
    OneClassPipeline,
    make_hrn_pipeline,
    to_inlier_labels,
)
from sklearn_hrn.inspection import AttributionDisplay, feature_attribution, nearest_normal

wines = load_wine(as_frame=True)
cultivar = wines.target_names[wines.target]
table = wines.data.copy()
rng = np.random.default_rng(0)
for column in ("alcohol", "alcalinity_of_ash"):
    table[column] = pd.qcut(table[column], 3, labels=["low", "medium", "high"]).astype(object)
table = table.mask(rng.random(table.shape) < 0.05)
print(table.iloc[:5, :5])

# %%
# Columns into numbers, numbers into scores
# -----------------------------------------
#
# The tabular recipe takes a table as it is. Here its own first step gives way to scikit-learn's
# column tools, which serve all three detectors alike: gaps in numbers are filled with the median,
# words become columns of zeros and ones. (LocalOutlierFactor compares distances, so that a scaler
# comes next.) What follows is the recipe, step by step: every column is brought halfway to a normal
# distribution, landmarks say which training rows a row is near, HRN scores them. A
# :class:`~sklearn_hrn.OneClassPipeline` leaves the anomalies out of the fit of *every* step, so it
# can be handed labelled rows as they are.


def columns():
    return make_column_transformer(
        (SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")),
        (
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value="unknown"),
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            ),
            make_column_selector(dtype_exclude="number"),
        ),
    )


recipe = make_hrn_pipeline("tabular", random_state=0)
detectors = {
    "HRN, tabular recipe": OneClassPipeline([("columns", columns()), *recipe.steps[1:]]),
    "IsolationForest": make_pipeline(columns(), IsolationForest(random_state=0)),
    "LocalOutlierFactor": make_pipeline(
        columns(), StandardScaler(), LocalOutlierFactor(novelty=True)
    ),
}


def halves(unknown):
    """Rows to train on, half of the known wines; rows to test on, all others; labels."""
    known = [name for name in wines.target_names if name != unknown]
    y = to_inlier_labels(cultivar, normal=known)
    return *next(InlierKFold(2, shuffle=True, random_state=0).split(table, y)), y


print(f"\nROC-AUC, unknown cultivar:{'':<6}", *wines.target_names, sep="  ")
for name, detector in detectors.items():
    cells = []
    for unknown in wines.target_names:
        train, test, y = halves(unknown)
        scores = detector.fit(table.iloc[train]).score_samples(table.iloc[test])
        cells.append(f"{roc_auc_score(y[test], scores):>7.3f}")
    print(f"{name:<32}", *cells, sep="  ")

# %%
# A search, if there are some labelled anomalies
# ----------------------------------------------
#
# :class:`~sklearn_hrn.HRNSearchCV` trains all values of the classifier's own parameters at once.
# It is shown ten bottles of the unknown cultivar, which then have no place in the final figures.

detector = detectors["HRN, tabular recipe"]
train, test, y = halves(wines.target_names[1])
shown = test[y[test] == -1][:10]
rows = np.r_[train, shown]
search = HRNSearchCV(
    detector, {"hrn__reg_lambda": [0.01, 0.1], "hrn__max_updates": [100, 200]}, cv=2
)
search.fit(table.iloc[rows], y[rows])
print(f"\nbest of four settings: {search.best_params_}")

# %%
# From scores to decisions
# ------------------------
#
# Every fifth of the training rows is scored by a detector that trained on the others, and these
# scores place the threshold: of fresh normal rows about the wanted share is flagged. Another rate
# needs no new training. In five rounds each known bottle is fresh once, so that all of them count.

alarms = {0.1: np.zeros(len(table), dtype=bool), 0.2: np.zeros(len(table), dtype=bool)}
for train, test in InlierKFold(5, shuffle=True, random_state=0).split(table, y):
    decider = ConformalOutlierDetector(search.best_estimator_, strategy="cross", random_state=0)
    decider.fit(table.iloc[train])
    for rate in alarms:
        alarms[rate][test] = decider.set_false_alarm_rate(rate).predict(table.iloc[test]) == -1
print()
anomalies = np.setdiff1d(np.flatnonzero(y == -1), shown)
for rate, alarm in alarms.items():
    false_alarms, found = alarm[y == 1].mean(), alarm[anomalies].mean()
    print(f"asked for {rate:.0%} false alarms: {false_alarms:.0%} of the known bottles when fresh")
    print(f"found: {found:.0%} of the unknown ones")

# %%
# Why
# ---
#
# A bottle that is flagged raises a question. :func:`~sklearn_hrn.inspection.feature_attribution`
# answers in the columns of the table, words and gaps included: what each of them adds to the score,
# compared with the most similar of the known bottles. Negative numbers make a stranger.

flagged = table.iloc[test[alarms[0.2][test]]]
known = table.iloc[train]
attributions = feature_attribution(decider, flagged, reference=known)
strangest = decider.score_samples(flagged).argmin()
bottle = flagged.iloc[[strangest]]
typical = nearest_normal(decider, bottle, reference=known)
print(
    "\nthe strangest bottle, the typical one beside it, and what the difference does to the score"
)
for j in np.argsort(attributions[strangest])[:4]:
    values = bottle.iat[0, j], typical.iat[0, j]
    print(
        f"{table.columns[j]:<30}{values[0]!s:>9}{values[1]!s:>9}{attributions[strangest, j]:>9.3f}"
    )

# %%
# That bottle, drawn:

figure, ax = plt.subplots(figsize=(6.4, 4.5), layout="constrained")
AttributionDisplay.from_predictions(attributions[[strangest]], X=bottle, ax=ax)
plt.show()

# %%
# And all that were flagged: each point is a bottle, and its colour the value of the column.

figure, ax = plt.subplots(figsize=(6.4, 4.5), layout="constrained")
AttributionDisplay.from_predictions(attributions, X=flagged, ax=ax)
plt.show()
