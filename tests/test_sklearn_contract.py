"""scikit-learn's own checks of an estimator, on every public estimator; the one excuse is named."""

import importlib.util
import inspect
import os
import re
from unittest import SkipTest

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_hrn


def seeded():
    """A classifier for estimators that hold one: the checks set the random state of the outer."""
    return sklearn_hrn.HRNOneClassClassifier(max_iter=10, random_state=0)


class AbsoluteValues(torch.nn.Module):
    """A module that takes rows of any length."""

    def forward(self, x):
        return x.abs()


# Arguments of the estimators that cannot be made without any; all others are checked as they come,
# or nearly so.
REQUIRED_ARGUMENTS = {
    "ConformalOutlierDetector": lambda: {"estimator": seeded()},
    "HRNGroupedDetector": lambda: {"estimator": seeded()},
    "OneClassPipeline": lambda: {
        "steps": [("norm", sklearn_hrn.InstanceL2Normalizer()), ("hrn", seeded())]
    },
    "TorchFeatures": lambda: {"module": AbsoluteValues()},
    # Whitened for certain, so that the checks see it.
    "RotationWhitening": lambda: {
        "transformer": sklearn_hrn.InstanceStandardizer(),
        "threshold": 1.0,
        "image_shape": (1, -1, 1),
    },
    "HRNSearchCV": lambda: {
        "estimator": seeded(),
        "param_grid": {"reg_lambda": [0.1, 0.3]},
        "cv": 2,
    },
}

# Those that take rows of any length only when told how: as images of height one.
FITTING_ARGUMENTS = {"PatchDictionary": lambda: {"image_shape": (1, -1, 1), "n_words": 5}}

# Nothing changed but the length of their training.
SHORT_ARGUMENTS = {
    "HRNContinualClassifier": lambda: {"estimator": seeded()},
    "HRNOneClassClassifier": lambda: {"max_iter": 10},
}

# What scikit-learn needs before it skips no check: pandas, and the array API switched on.
NOTHING_TO_SKIP = (
    importlib.util.find_spec("pandas") is not None and os.environ.get("SCIPY_ARRAY_API") == "1"
)

# An attribute of a fitted estimator in a docstring: its name, and the lines that describe it.
ATTRIBUTE = r"^(\w+_) : .*\n((?:    .*\n?)+)"


def public_estimators():
    """Every estimator class among the public names."""
    public = [getattr(sklearn_hrn, name) for name in sklearn_hrn.__all__]
    return [item for item in public if inspect.isclass(item) and issubclass(item, BaseEstimator)]


def instance(estimator_class):
    arguments = REQUIRED_ARGUMENTS | FITTING_ARGUMENTS | SHORT_ARGUMENTS
    return estimator_class(**arguments.get(estimator_class.__name__, dict)())


# The checks hand over the classes 0 and 1 as y, few rows, and rows of length 140: just what these
# warnings are there for.
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.LabelConventionWarning")
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.NonFiniteLossWarning")
@pytest.mark.filterwarnings("ignore::sklearn_hrn.exceptions.ResolutionWarning")
@pytest.mark.usefixtures("few_patches")
@parametrize_with_checks([instance(estimator_class) for estimator_class in public_estimators()])
def test_every_public_estimator_keeps_scikit_learns_contract(estimator, check):
    try:
        check(estimator)
    except (SkipTest, pytest.skip.Exception) as skipped:
        if NOTHING_TO_SKIP:
            pytest.fail(f"the check was skipped although all it needs is here: {skipped}")
        raise


def test_the_main_estimators_are_discovered():
    names = {estimator_class.__name__ for estimator_class in public_estimators()}
    assert {"HRNOneClassClassifier", "InstanceL2Normalizer", "InstanceStandardizer"} <= names


@pytest.mark.parametrize("name", sorted(REQUIRED_ARGUMENTS.keys() & set(sklearn_hrn.__all__)))
def test_arguments_are_given_only_to_estimators_that_require_them(name):
    with pytest.raises(TypeError, match="required"):
        getattr(sklearn_hrn, name)()


@pytest.mark.parametrize("name", FITTING_ARGUMENTS)
def test_arguments_are_given_only_to_estimators_that_need_them_to_fit(name, rng):
    with pytest.raises(ValueError, match="give image_shape"):
        getattr(sklearn_hrn, name)().fit(rng.normal(size=(20, 5)))


@pytest.mark.parametrize("estimator_class", public_estimators(), ids=lambda c: c.__name__)
def test_the_documented_attributes_are_those_a_fit_leaves(estimator_class, rng):
    documented = dict(re.findall(ATTRIBUTE, inspect.getdoc(estimator_class), re.MULTILINE))
    estimator = instance(estimator_class)
    y = np.arange(100) % 3 if is_classifier(estimator) else None
    estimator.fit(rng.normal(size=(100, 4)), y)
    fitted = {name for name in vars(estimator) if name.endswith("_") and name[0] != "_"}
    assert fitted <= set(documented)
    absent = {name: text for name, text in documented.items() if not hasattr(estimator, name)}
    assert all(re.search(r"\b[Ii]f\b|\b[Oo]nly\b", text) for text in absent.values()), absent
