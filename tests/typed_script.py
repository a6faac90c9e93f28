"""A user's script, which a type checker reads and nobody runs: what is right, and what is wrong.

``assert_type`` fails where a type is not the one that is written down here, Any included; an
"ignore" that silences nothing fails as well, so that a wrong call must be told.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import sklearn_hrn as hrn
from sklearn_hrn import conformal, datasets, inspection, interop

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Single = NDArray[np.float32]

X = np.zeros((20, 4))
rows = [[0.0, 1.0], [1.0, 0.0]]

# The classifier
classifier = hrn.HRNOneClassClassifier((100, 50), loss="square", calibration="cross")
assert_type(classifier.fit(X), hrn.HRNOneClassClassifier)
assert_type(classifier.fit(rows, [1, -1]), hrn.HRNOneClassClassifier)
assert_type(classifier.partial_fit(X, None), hrn.HRNOneClassClassifier)
assert_type(classifier.score_samples(X), Floats)
assert_type(classifier.decision_function(rows), Floats)
assert_type(classifier.predict(X), Labels)
assert_type(classifier.fit_predict(X), Labels)
assert_type(classifier.offset_, float)
assert_type(classifier.coefs_, list[Single])
assert_type(classifier.history_, dict[str, Floats])
assert_type(classifier.n_iter_, int)
hrn.HRNOneClassClassifier(loss="hinge")  # type: ignore[arg-type]
hrn.HRNOneClassClassifier(max_iter="many")  # type: ignore[arg-type]
hrn.HRNOneClassClassifier((100,), 0.1)  # type: ignore[call-arg]
hrn.HRNOneClassClassifier(reg_lamda=0.1)  # type: ignore[call-arg]
hrn.HRNOneClassClassifier(module=hrn.ChannelNetwork(branch_size=20))
classifier.fit()  # type: ignore[call-arg]
classifier.score_samples(X, X)  # type: ignore[call-arg]

# Recipes and pipelines
recipe = hrn.make_hrn_pipeline("tabular", random_state=np.random.RandomState(0))
assert_type(recipe, hrn.OneClassPipeline)
assert_type(recipe.fit(X, [1] * 20), hrn.OneClassPipeline)
assert_type(recipe.set_params(hrn__contamination=0.05), hrn.OneClassPipeline)
assert_type(recipe.partial_fit(X), hrn.OneClassPipeline)
assert_type(recipe.feedback(X, [1] * 20, n_screened=100), hrn.OneClassPipeline)
assert_type(recipe.feedback(X, [1] * 20), hrn.OneClassPipeline)
assert_type(recipe.score_samples(X), Floats)
assert_type(recipe.decision_function(X), Floats)
assert_type(recipe.p_values(X), Floats)
assert_type(recipe.predict(X), Labels)
assert_type(recipe.fit_predict(X), Labels)
assert_type(recipe.offset_, float)
assert_type(recipe.calibration_scores_, Floats)
hrn.make_hrn_pipeline("audio")  # type: ignore[arg-type]
hrn.OneClassPipeline([("hrn", classifier)], calibration="fold")  # type: ignore[arg-type]

# Decisions
detector = hrn.ConformalOutlierDetector(recipe, false_alarm_rate=0.01, strategy="cross")
assert_type(detector.fit(X), hrn.ConformalOutlierDetector)
assert_type(detector.calibrate(X), hrn.ConformalOutlierDetector)
assert_type(detector.set_false_alarm_rate(0.1), hrn.ConformalOutlierDetector)
assert_type(detector.feedback(X, [1] * 20, n_screened=50), hrn.ConformalOutlierDetector)
assert_type(detector.p_values(X), Floats)
assert_type(detector.predict(X), Labels)
assert_type(detector.predict_fdr(X, fdr=0.1, method="by"), Labels)
assert_type(detector.fit(X, groups=["a"] * 20), hrn.ConformalOutlierDetector)
assert_type(
    detector.calibrate(X, sample_weight=[1.0] * 20, groups=X[:, 0]), hrn.ConformalOutlierDetector
)
assert_type(detector.set_false_alarm_rate({"a": 0.1}), hrn.ConformalOutlierDetector)
print(detector.offset_["a"], detector.calibration_scores_["a"].min(), detector.offset_ + 0.1)
assert_type(detector.decision_function(X, groups=["a"] * 20), Floats)
assert_type(detector.p_values(X, groups=["a"] * 20), Floats)
assert_type(detector.predict(X, groups=["a"] * 20), Labels)
assert_type(detector.predict_fdr(X, groups=["a"] * 20), Labels)
assert_type(detector.fit_predict(X, groups=["a"] * 20), Labels)
assert_type(conformal.conformal_p_values([1.0], [2.0]), Floats)
assert_type(hrn.conformal_p_values([1.0], [2.0], calibration_weights=[1], weights=[1]), Floats)
assert_type(hrn.false_alarm_threshold([1.0, 2.0], 0.5), float)
assert_type(hrn.false_alarm_threshold([1.0, 2.0], 0.5, weights=[1.0, 2.0]), float)
assert_type(hrn.likelihood_ratios(X, rows, cv=hrn.InlierKFold(3)), Floats)
hrn.ConformalOutlierDetector(recipe, false_alarm_rate={"a": 0.1, "b": 0.01})
hrn.ConformalOutlierDetector(recipe, false_alarm_rate="low")  # type: ignore[arg-type]
detector.predict(X, ["a"] * 20)  # type: ignore[call-arg]
detector.predict_fdr(X, method="fwer")  # type: ignore[arg-type]
hrn.ConformalOutlierDetector(5)  # type: ignore[arg-type]

# Searches
search = hrn.HRNSearchCV(recipe, {"hrn__reg_lambda": [0.1]}, cv=hrn.InlierKFold(3))
assert_type(search.fit(X, [1] * 20), hrn.HRNSearchCV)
assert_type(search.cv_results_, dict[str, Any])
assert_type(search.best_score_, float)
assert_type(hrn.shuffled_columns_score(recipe, X), float)
assert_type(hrn.to_inlier_labels(["a", "b"], normal="a"), Labels)
assert_type(next(hrn.InlierKFold(2).split(X)), tuple[Labels, Labels])
hrn.HRNSearchCV(recipe, "all")  # type: ignore[arg-type]

# Classes and groups
heads = hrn.HRNContinualClassifier(classifier, reject_label="none", random_state=0)
assert_type(heads.fit(X, [0, 1] * 10), hrn.HRNContinualClassifier)
assert_type(heads.partial_fit(X, ["a"] * 20), hrn.HRNContinualClassifier)
assert_type(heads.forget("a"), hrn.HRNContinualClassifier)
assert_type(heads.predict_proba(X), Floats)
assert_type(heads.heads_["a"], hrn.HRNOneClassClassifier)
heads.fit(X)  # type: ignore[call-arg]
groups = hrn.HRNGroupedDetector(recipe, group_column="pump", unknown="error")
assert_type(groups.fit(X, groups=[0, 1] * 10), hrn.HRNGroupedDetector)
assert_type(groups.predict(X, groups=[0, 1] * 10), Labels)

# Transformers
assert_type(hrn.InstanceL2Normalizer(append="median").fit(X), hrn.InstanceL2Normalizer)
assert_type(hrn.NormalScoreTransformer().fit(X).quantiles_, list[Floats])
assert_type(hrn.FourierFeatures(10, gammas=1.0).fit(X).transform(X), Single)
assert_type(hrn.LandmarkFeatures().fit(X).transform(X), Single)
assert_type(hrn.PatchDictionary(image_shape=(2, -1)).fit(X).transform(X), Single)
assert_type(hrn.TableEncoder().fit(X).get_feature_names_out(), NDArray[np.object_])
assert_type(hrn.RidgeWhitener().fit(X).n_features_in_, int)
hrn.RotationWhitening(hrn.PatchDictionary(), otherwise=3)  # type: ignore[arg-type]
hrn.InstanceL2Normalizer(center="before", append="mean")  # type: ignore[arg-type]

# Explanations, data, other programs
assert_type(inspection.feature_attribution(recipe, X, reference=X[0]), Floats)
display = inspection.AnomalyScoreDisplay.from_predictions({"fresh": [1.0]}, threshold=0)
assert_type(display, inspection.AnomalyScoreDisplay)
assert_type(display.flagged_, dict[str, float])
assert_type(inspection.FalseAlarmDisplay([0.5]).plot(kind="rates"), inspection.FalseAlarmDisplay)
inspection.FalseAlarmDisplay([0.5]).plot(kind="roc")  # type: ignore[arg-type]
for name, table, labels in datasets.load_adbench("folder"):
    assert_type(name, str)
    assert_type(table, Single)
    assert_type(labels, Labels)
assert_type(interop.trusted_types(), list[str])
interop.PyODDetector(3)  # type: ignore[arg-type]
