"""The arrows between the rooms of the package, read off its source, and what importing it costs."""

import ast
import json
import re
import statistics
import subprocess
import sys
import time
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sklearn_hrn
from sklearn_hrn import inspection

PACKAGE = Path(sklearn_hrn.__file__).parent
DOCS = PACKAGE.parent / "docs"

# What each room imports of the others: these arrows and no more, and every one of them is used. The
# benchmark stands on everything, and the front door names everything but the benchmark.
ARROWS = {
    "exceptions": set(),
    "_sklearn": set(),
    "_arrow": set(),
    "core": set(),
    "_progress": set(),
    "datasets": set(),
    "_refusals": set(),
    "_lengths": {"_base", "exceptions"},
    "_validation": {"_base", "exceptions"},
    "_reference": {"_arrow", "_base", "_labels", "_sklearn"},
    "_labels": {"_arrow", "_refusals", "_sklearn", "exceptions"},
    "_base": {"_arrow", "_labels", "_refusals", "_sklearn", "exceptions"},
    "_training": {"_progress", "_validation", "core", "exceptions"},
    "_group_calibration": {"_calibration", "_labels", "_refusals", "exceptions"},
    "_likelihood_ratios": {"_base", "_labels", "_refusals", "_sklearn"},
    "_joint_fit": {"_calibration", "_reference", "_sklearn", "_steps", "_threads", "exceptions"},
    "preprocessing": {"_arrow", "_base", "_labels", "_refusals", "_sklearn", "exceptions"},
    "kernel_approximation": {"_base", "_sklearn"},
    "image": {"_base", "_sklearn", "_validation"},
    "networks": {"_base", "_sklearn", "_validation", "core"},
    "one_class": {
        "_base",
        "_calibration",
        "_continued",
        "_copies",
        "_folds",
        "_labels",
        "_lengths",
        "_sklearn",
        "_training",
        "_validation",
        "core",
        "exceptions",
    },
    "_calibration": {"_arrow", "_refusals", "_sklearn", "exceptions"},
    "_copies": {"_reference", "_sklearn"},
    "_folds": {"_calibration", "_labels", "exceptions"},
    "_outlier_share": {"_base"},
    "_drift": set(),
    "_continued": {"_copies", "_drift", "_folds", "_labels", "_training", "exceptions"},
    "_verdicts": {"_calibration", "_labels", "_reference", "_sklearn", "exceptions"},
    "_streams": {"_base", "_reference", "_sklearn"},
    "conformal": {
        *("_base", "_calibration", "_copies", "_folds", "_group_calibration", "_joint_fit"),
        *(
            "_labels",
            "_likelihood_ratios",
            "_reference",
            "_refusals",
            "_sklearn",
            "_steps",
            "_verdicts",
        ),
        "exceptions",
    },
    "pipelines": {
        *("_base", "_calibration", "_copies", "_folds", "_joint_fit", "_labels"),
        *(
            "_outlier_share",
            "_reference",
            "_refusals",
            "_sklearn",
            "_steps",
            "_streams",
            "_threads",
            "_verdicts",
        ),
        "exceptions",
    },
    "_steps": {"_base", "_refusals", "_sklearn"},
    "_threads": {"_sklearn", "_steps", "core", "exceptions"},
    "continual": {
        *("_base", "_calibration", "_copies", "_joint_fit", "_labels", "_sklearn", "_validation"),
        *("exceptions", "one_class"),
    },
    "model_selection": {
        *("_base", "_calibration", "_joint_fit", "_labels", "_refusals", "_sklearn", "_steps"),
        "_validation",
        *("exceptions", "one_class", "pipelines"),
    },
    "interop": {
        "_base",
        "_reference",
        "_refusals",
        "_sklearn",
        "_steps",
        "_validation",
        "conformal",
        "image",
        "kernel_approximation",
        "one_class",
        "preprocessing",
        "recipes",
    },
    "__main__": {"datasets", "exceptions", "interop", "recipes"},
    "grouped": {"_base", "_joint_fit", "_labels", "_refusals", "_sklearn", "exceptions"},
    "inspection": {
        *("_base", "_calibration", "_reference", "_refusals", "_sklearn", "conformal", "core"),
        *(
            "_labels",
            "_steps",
            "_validation",
            "grouped",
            "image",
            "kernel_approximation",
            "networks",
        ),
        *("one_class", "preprocessing"),
    },
    "recipes": {
        "_sklearn",
        "image",
        "kernel_approximation",
        "one_class",
        "pipelines",
        "preprocessing",
    },
}
FREE = {"benchmark", "__init__"}
# Names of types, which any signature may use; it imports nothing of ours.
TYPES = "_typing"


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module):
    """Room of a module of ours: ``sklearn_hrn.core.training`` is in "core"."""
    return module.split(".")[1]


def imports(path):
    """Every imported module with whether its import runs when the file is imported.

    ``from a import b`` gives both ``a`` and ``a.b``, as b may be a module; relative names are
    resolved. Imports inside functions, and those for type checkers alone, count as lazy.
    """
    package = ("sklearn_hrn", *path.relative_to(PACKAGE).parent.parts)
    found = []

    def visit(node, eager):
        if isinstance(node, ast.Import):
            found.extend((alias.name, eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*base, *([node.module] if node.module else [])])
            found.append((base, eager))
            found.extend((f"{base}.{alias.name}", eager) for alias in node.names)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr):  # in which no import can stand
                visit(child, eager and not (is_function or is_for_types))

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def internal(module, *, eager_only=False):
    """Modules of ours that a module imports."""
    named = {name for name, eager in IMPORTS[module] if eager or not eager_only}
    return (named & set(MODULES)) - {module}


def external(module, *, eager_only=False):
    """Top-level names of everything that a module imports, itself or through modules of ours."""
    todo, seen, names = [module], set(), set()
    while todo:
        current = todo.pop()
        seen.add(current)
        names |= {n.split(".")[0] for n, eager in IMPORTS[current] if eager or not eager_only}
        todo.extend(internal(current, eager_only=eager_only) - seen)
    return names


def in_rooms(*names):
    return [module for module in MODULES if room(module) in names]


def test_every_room_has_its_arrows_written_down():
    assert {room(module) for module in MODULES} - FREE - {TYPES} == set(ARROWS)
    assert not internal(f"sklearn_hrn.{TYPES}")


def test_the_map_of_the_rooms_has_them_all():
    text = (PACKAGE.parent / "CONTRIBUTING.rst").read_text(encoding="utf-8")
    found = set(re.findall(r"\b(\w+)(?:\.py|/)", text))
    assert set(ARROWS) | {TYPES, "benchmark"} <= found


@pytest.mark.parametrize("name", ARROWS)
def test_a_room_imports_what_is_written_down_and_nothing_else(name):
    used = {room(other) for module in in_rooms(name) for other in internal(module)}
    used -= {name, TYPES}
    assert used == ARROWS[name]


def test_private_names_of_scikit_learn_are_imported_in_one_file():
    private = {
        (module, name)
        for module, found in IMPORTS.items()
        for name, _ in found
        if name.startswith("sklearn.") and re.search(r"\._(?!_)", name)
    }
    assert {module for module, _ in private} == {"sklearn_hrn._sklearn"}


def test_every_private_name_of_scikit_learn_that_is_imported_is_used():
    lines = (PACKAGE / "_sklearn.py").read_text(encoding="utf-8")
    listed = re.findall(r'^    "(\w+)",$', lines, re.MULTILINE)
    used = {name for found in IMPORTS.values() for name, _ in found if "_sklearn." in name}
    assert {name.split(".")[-1] for name in used if name.startswith("sklearn_hrn")} == set(listed)


def test_nothing_imports_the_benchmark():
    below = [module for module in MODULES if room(module) != "benchmark"]
    assert not set().union(*map(internal, below)) & set(in_rooms("benchmark"))


def test_no_modules_import_each_other_in_a_circle():
    order = TopologicalSorter({module: internal(module) for module in MODULES}).static_order()
    assert set(order) >= set(MODULES)  # static_order raises CycleError and names the circle


@pytest.mark.parametrize("module", in_rooms("core"))
def test_the_core_never_imports_scikit_learn(module):
    assert "sklearn" not in external(module)


@pytest.mark.parametrize(
    "module", ["sklearn_hrn.core.scoring", "sklearn_hrn.preprocessing._instance"]
)
def test_scoring_and_normalising_need_no_torch(module):
    assert "torch" not in external(module)


@pytest.mark.parametrize(
    "module", [name for name in MODULES if room(name) not in ("core", "_training", "interop")]
)
def test_torch_and_optional_packages_are_imported_only_when_they_are_used(module):
    # Not so in interop: a subclass of PyOD's base class exists only with PyOD.
    optional = {"torch", "pandas", "matplotlib", "tqdm", "PIL", "pyod", "skops"}
    assert not optional & external(module, eager_only=True)


def test_the_equations_stand_below_the_training_loop():
    for module in ("perceptrons", "objective", "gradients", "scoring"):
        assert "sklearn_hrn.core.training" not in internal(f"sklearn_hrn.core.{module}")


def test_importing_the_package_imports_nothing_heavy():
    # scikit-learn itself imports pandas where it is installed, so what it brings is not counted.
    code = (
        "import json, sys, sklearn.base\n"
        "before = set(sys.modules)\n"
        "import sklearn_hrn\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = set(json.loads(run.stdout))
    assert "sklearn_hrn.one_class" in ours
    heavy = {"torch", "pandas", "matplotlib", "tqdm", "PIL", "pyod", "sklearn.ensemble"}
    assert not heavy & ours


def test_public_names_are_bound_without_a_lookup():
    assert set(sklearn_hrn.__all__) <= set(vars(sklearn_hrn))
    assert "__getattr__" not in vars(sklearn_hrn)


def test_public_names_are_listed_once_and_come_from_this_package():
    assert len(set(sklearn_hrn.__all__)) == len(sklearn_hrn.__all__)
    for name in set(sklearn_hrn.__all__) - {"__version__"}:
        assert getattr(sklearn_hrn, name).__module__.startswith("sklearn_hrn.")


@pytest.mark.parametrize("page", ["api.rst", "changelog.rst"])
def test_every_public_name_is_in_the_documentation(page):
    words = set((DOCS / page).read_text(encoding="utf-8").replace("`", " ").split())
    names = {*sklearn_hrn.__all__, *inspection.__all__} - {"__version__"}
    missing = sorted(names - words)
    assert not missing, f"docs/{page} does not name {missing}"


@pytest.mark.slow
def test_importing_the_package_takes_at_most_half_again_as_long_as_scikit_learn():
    def seconds(statement):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - start

    pairs = [(seconds("import sklearn_hrn"), seconds("import sklearn.base")) for _ in range(7)]
    # The median of alternating pairs: what else the machine does hits both sides alike.
    assert statistics.median(ours / theirs for ours, theirs in pairs) <= 1.5
