"""Everything public has types, and a type checker that reads a user's script finds them right."""

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import sklearn_hrn

ROOT = Path(__file__).parent.parent
PACKAGE = Path(sklearn_hrn.__file__).parent
ROOMS = [
    *("conformal", "continual", "datasets", "exceptions", "grouped", "image", "inspection"),
    *("interop", "kernel_approximation", "model_selection", "networks", "one_class"),
    *("pipelines", "preprocessing", "recipes"),
]


def public_items():
    """Every class and function that is listed as public anywhere in the package."""
    modules = [sklearn_hrn, *(import_module(f"sklearn_hrn.{room}") for room in ROOMS)]
    listed = {getattr(m, name) for m in modules for name in getattr(m, "__all__", ())}
    return sorted(listed, key=lambda item: item.__qualname__)


def public_functions(item):
    """A function, or the public methods of a class that are written in this package."""
    if inspect.isfunction(item):
        return {item.__qualname__: item}
    found = {}
    for kind in item.__mro__:
        if not kind.__module__.startswith("sklearn_hrn."):
            continue
        for name, method in vars(kind).items():
            method = getattr(method, "fget", None) or getattr(method, "__func__", method)
            method = getattr(method, "fn", method)  # of scikit-learn's `available_if`
            if inspect.isfunction(method) and (name[0] != "_" or name in ("__init__", "__call__")):
                found.setdefault(f"{item.__qualname__}.{name}", inspect.unwrap(method))
    return found


@pytest.mark.parametrize("item", public_items(), ids=lambda item: item.__qualname__)
def test_every_parameter_and_every_answer_has_a_type(item):
    if item is sklearn_hrn.ChannelNetwork:  # whose `__init__` the dataclass writes
        item = item.__call__
    for name, function in public_functions(item).items():
        signature = inspect.signature(function)
        given = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
        missing = [p.name for p in given if p.annotation is p.empty]
        assert not missing and signature.return_annotation is not signature.empty, (name, missing)


@pytest.mark.parametrize("item", public_items(), ids=lambda item: item.__qualname__)
def test_every_documented_attribute_has_a_type(item):
    if inspect.isfunction(item):
        return
    typed = {n for kind in item.__mro__ for n in getattr(kind, "__annotations__", {})}
    typed |= {n for n in dir(item) if isinstance(inspect.getattr_static(item, n), property)}
    attributes = re.search(r"\nAttributes\n-+\n(.*?)(\n\n\w|\Z)", inspect.getdoc(item) or "", re.S)
    named = re.findall(r"^(\w+_) : ", attributes[1], re.M) if attributes else []
    assert set(named) <= typed | {"named_steps"}, set(named) - typed


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_a_type_checker_finds_the_right_calls_of_a_script_right_and_the_wrong_ones_wrong(
    pytestconfig,
):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"),
            # What it found of NumPy an earlier time stays true, and is most of the work.
            *("--cache-dir", pytestconfig.cache.mkdir("mypy"), ROOT / "tests" / "typed_script.py"),
        ],
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
