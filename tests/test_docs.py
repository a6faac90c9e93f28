"""Documentation that cannot drift: docstrings against signatures, pages against what they name."""

import ast
import functools
import importlib
import inspect
import itertools
import json
import operator
import os
import pkgutil
import re
import runpy
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.utils import estimator_html_repr
from test_sklearn_contract import instance, public_estimators

import sklearn_hrn
from sklearn_hrn import exceptions, inspection, interop
from sklearn_hrn.benchmark import __main__ as command_line
from sklearn_hrn.benchmark import figures

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")

# Figures on the page on reproduction that are neither measured here nor in the paper's tables: the
# authors' constants, what noise costs in the paper (differences of table 5), and later papers.
OF_OTHERS = ["0.01", "0.006", "0.1", "4.89", "2.04", "94.3", "94.2", "96.2", "98.6", "98.3", "94.4"]
OF_OTHERS += ["99.1", "80.5"]

# Public names without a section of examples, and why.
NO_EXAMPLES = {}


def sections(documented):
    """Sections of a numpydoc docstring: {title: lines}, the title as it is underlined."""
    lines = (inspect.getdoc(documented) or "").splitlines()
    starts = [
        i
        for i, (title, line) in enumerate(itertools.pairwise(lines))
        if title and re.fullmatch("-{3,}", line)
    ]
    ends = [*starts, len(lines)][1:]
    return {lines[a]: lines[a + 2 : b] for a, b in zip(starts, ends, strict=True)}


def documented_parameters(documented):
    """Names of a Parameters section in order; "a, b : int" documents two."""
    names = []
    for line in sections(documented).get("Parameters", []):
        if line and not line[0].isspace():
            names.extend(name.strip().lstrip("*") for name in line.split(" :")[0].split(","))
    return names


def parameters(function):
    names = list(inspect.signature(function).parameters)
    return [name for name in names if name != "self"]


def package_modules():
    names = [sklearn_hrn.__name__]
    for module in pkgutil.walk_packages(sklearn_hrn.__path__, "sklearn_hrn."):
        if not module.name.endswith("__main__"):
            names.append(module.name)
    return [importlib.import_module(name) for name in names]


def members(module):
    """Functions and classes written in a module, and the methods of its classes, by full name."""
    for name, item in vars(module).items():
        if getattr(item, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(item) or inspect.isclass(item):
            yield f"{module.__name__}.{name}", item
        if inspect.isclass(item):
            for method, function in vars(item).items():
                if inspect.isfunction(function):
                    yield f"{module.__name__}.{name}.{method}", function


MEMBERS = {
    name: item
    for module in package_modules()
    for name, item in members(module)
    if "Parameters" in sections(item)
}
PUBLIC = {
    name: getattr(module, name)
    for module in (sklearn_hrn, inspection, interop)
    for name in module.__all__
    if name != "__version__"
}
PUBLIC_METHODS = {
    f"{name}.{method}": function
    for name, item in PUBLIC.items()
    if inspect.isclass(item)
    for method, function in inspect.getmembers(item, inspect.isfunction)
    if not method.startswith("_") and function.__module__.startswith("sklearn_hrn.")
}


@pytest.mark.parametrize("name", PUBLIC | PUBLIC_METHODS)
def test_a_public_docstring_documents_exactly_its_parameters(name):
    item = (PUBLIC | PUBLIC_METHODS)[name]
    assert inspect.getdoc(item), f"{name} has no docstring"
    assert documented_parameters(item) == parameters(item)


@pytest.mark.parametrize("name", PUBLIC | PUBLIC_METHODS)
def test_the_defaults_that_a_docstring_states_are_those_of_the_signature(name):
    item = (PUBLIC | PUBLIC_METHODS)[name]
    defaults = {p.name: p.default for p in inspect.signature(item).parameters.values()}
    for line in sections(item).get("Parameters", []):
        if line and not line[0].isspace():
            names, _, kind = line.partition(" :")
            _, states, stated = kind.partition("default=")
            expected = np.nan if stated == "nan" else ast.literal_eval(stated or "None")
            expected = expected if states else inspect.Parameter.empty
            assert {defaults[n.strip().lstrip("*")] for n in names.split(",")} == {expected}, line


@pytest.mark.parametrize("name", MEMBERS)
def test_a_parameters_section_anywhere_follows_its_signature(name):
    documented = documented_parameters(MEMBERS[name])
    assert documented == [p for p in parameters(MEMBERS[name]) if p in documented]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_docstring_has_examples(name):
    assert ">>>" in "\n".join(sections(PUBLIC[name]).get("Examples", [])) or name in NO_EXAMPLES


@pytest.mark.parametrize("name", PUBLIC)
def test_what_a_docstring_sends_to_has_a_page_by_the_name_that_links_to_it(name):
    lines = sections(PUBLIC[name]).get("See Also", [])
    named = [
        other for line in lines if line[:1].strip() for other in line.split(" :")[0].split(", ")
    ]
    listed = names_on_the_api_page()
    beside = next(names for names in listed.values() if name in names)
    elsewhere = {f"{module}.{other}" for module, names in listed.items() for other in names}
    assert not [o for o in named if o not in (*beside, *elsewhere) and o[:8] != "sklearn."]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstring_begins_with_one_line_that_ends_in_a_full_stop(name):
    first, *rest = inspect.getdoc(PUBLIC[name]).splitlines()
    assert first.endswith(".")
    assert not rest or not rest[0]


def names_on_the_api_page():
    """{module: names} of the autosummaries of docs/api.rst."""
    names, module, inside = {}, None, False
    for line in (ROOT / "docs" / "api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif line.strip() and not line.startswith("   "):
            inside = line == ".. autosummary::"
        elif inside and (name := line.strip()) and not name.startswith(":"):
            names.setdefault(module, []).append(name)
    return names


def test_the_api_page_lists_what_is_public_once_and_nothing_else():
    for module, names in names_on_the_api_page().items():
        public = set(importlib.import_module(module).__all__) - {"__version__"}
        assert sorted(names) == sorted(public), module


ALL_ESTIMATORS = [*map(instance, public_estimators()), interop.PyODDetector(None)]


@pytest.mark.parametrize("estimator", ALL_ESTIMATORS, ids=lambda e: type(e).__name__)
def test_in_a_notebook_an_estimator_links_to_its_page(estimator):
    name, listed = type(estimator).__name__, names_on_the_api_page().items()
    (page,) = [f"{module}.{name}" for module, names in listed if name in names]
    link = f"https://sklearn-hrn.github.io/sklearn-hrn/generated/{page}.html"
    assert f'href="{link}"' in estimator_html_repr(estimator)


def test_what_a_module_offers_is_on_the_api_page_of_the_package_or_of_the_module():
    listed = names_on_the_api_page()
    private = re.compile(r"\._|\.core|\.benchmark")
    for module in package_modules():
        if hasattr(module, "__all__") and not private.search(module.__name__):
            page = {*listed["sklearn_hrn"], *listed.get(module.__name__, ()), "__version__"}
            assert set(module.__all__) <= page, module.__name__


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_named_warning_and_error_is_explained_on_the_troubleshooting_page(name):
    page = (ROOT / "docs" / "troubleshooting.rst").read_text(encoding="utf-8")
    assert re.search(rf"^{name}\n[-~^]{{{len(name)}}}$", page, re.MULTILINE)


def command(word):
    """The one line of README.rst's literal blocks that installs and then runs `word`."""
    pattern = rf"^    python -m pip install .* && .*{re.escape(word)}.*$"
    lines = re.findall(pattern, README, re.MULTILINE)
    assert len(lines) == 1, f"README.rst needs one command that installs and runs {word}"
    return lines[0].strip()


@pytest.mark.parametrize("word", ["examples/plot_quickstart.py", "pytest", "sphinx-build"])
def test_the_readme_installs_and_runs_in_one_command_with_torch_pinned(word):
    assert "-c constraints.txt" in command(word)
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_the_test_command_switches_the_array_api_on_and_uses_two_processes():
    assert command("pytest").endswith("&& SCIPY_ARRAY_API=1 python -m pytest -n 2")


def test_files_that_the_readme_points_to_exist_and_are_absolute_for_the_index_page():
    home = "https://(?:github|raw.githubusercontent).com/sklearn-hrn/sklearn-hrn/"
    paths = re.findall(rf"{home}(?:blob/)?main/(\S+)", README)
    assert "docs/images/quickstart.png" in paths
    assert not [path for path in paths if not (ROOT / path).exists()]
    assert not re.findall(r"^\.\. (?:image|_[\w ]+):: ?(?!https)\S+|<(?!https)\S+>`_", README, re.M)


def test_the_python_code_of_the_readme_runs(tmp_path, monkeypatch):
    classifier = sklearn_hrn.HRNOneClassClassifier
    fit, fit_together = classifier.fit, classifier.fit_together

    def short_fit(self, X, y=None):
        return fit(self.set_params(max_updates=20), X, y)

    def short_fit_together(estimators, *arguments, **options):
        fit_together([e.set_params(max_updates=20) for e in estimators], *arguments, **options)

    # What is asked here is whether it runs; how well it does is asked of each recipe elsewhere.
    monkeypatch.setattr(classifier, "fit", short_fit)
    monkeypatch.setattr(classifier, "fit_together", staticmethod(short_fit_together))
    monkeypatch.chdir(tmp_path)  # whatever the code writes is gone with the test
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(textwrap.dedent(block), "README.rst", "exec"), names)


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_never_ends_the_process(path):
    # It would end the build of the documentation with it, without a page and without an error.
    assert not re.search(r"\b(sys\.exit|SystemExit|os\._exit|quit|exit)\(", path.read_text("utf-8"))


def test_an_example_that_lacks_a_package_is_a_page_that_says_so(tmp_path):
    online = SimpleNamespace(has=lambda tag: True)  # else conf.py asks for numpydoc
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"), init_globals={"tags": online})
    example = tmp_path / "plot_rare.py"
    example.write_text("import numpy as np\nfrom no_such_package.part import name\n", "utf-8")
    assert conf["missing_packages"](example) == ["no_such_package"]
    conf["NOT_RUN"]["plot_rare"] = ["no_such_package"]
    page, other = ["Its code"], ["Its code"]
    conf["say_what_is_missing"](None, "auto_examples/plot_rare", page)
    conf["say_what_is_missing"](None, "auto_examples/plot_quickstart", other)
    assert "no_such_package was not installed" in page[0]
    assert other == ["Its code"] or "plot_quickstart" in conf["NOT_RUN"]


def test_the_source_that_a_page_shows_is_there():
    shown = re.findall(
        r"^\.\. literalinclude:: (\S+)\n   :pyobject: (\S+)$",
        (ROOT / "docs" / "mathematics.rst").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert shown
    for path, name in shown:
        module = importlib.import_module(
            path.removeprefix("../").removesuffix(".py").replace("/", ".")
        )
        assert operator.attrgetter(name)(module)


def test_the_changelog_names_everything_public():
    changelog = (ROOT / "docs" / "changelog.rst").read_text(encoding="utf-8")
    public = {name for names in names_on_the_api_page().values() for name in names}
    assert not [name for name in public if not re.search(rf"\b{name}\b", changelog)]


def test_the_changelog_tells_of_this_version():
    changelog = (ROOT / "docs" / "changelog.rst").read_text(encoding="utf-8")
    version = re.escape(sklearn_hrn.__version__)
    assert re.search(rf"^{version}( .*)?\n[-=]{{3,}}$", changelog, re.MULTILINE)


@pytest.mark.parametrize("path", ["CITATION.cff", "conda/meta.yaml"])
def test_metadata_that_cannot_read_the_version_repeats_it(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    found = re.search(r"""^(?:version: |{% set version = ")([\d.\w]+)""", text, re.MULTILINE)
    assert found[1] == sklearn_hrn.__version__


def test_the_conda_recipe_needs_what_the_package_needs():
    def versions(requirements):
        return dict(re.fullmatch(r"([\w-]+) ?(>=\S+)", line).groups() for line in requirements)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    run = re.findall(r"^    - (.*)$", recipe.split("  run:\n")[1].split("\n\n")[0], re.MULTILINE)
    needed = versions(run)
    assert needed.pop("python") == project["requires-python"]
    needed["torch"] = needed.pop("pytorch")
    assert needed == versions(project["dependencies"])


@pytest.mark.slow
def test_the_areas_in_the_readme_are_what_the_main_example_prints():
    pytest.importorskip("matplotlib", reason="matplotlib is the extra [plot]")
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "plot_quickstart.py"],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
    )
    printed = dict(re.findall(r"^(\w+) +(0\.\d{4})", run.stdout, re.MULTILINE))
    told = dict(re.findall(r"^(\w+) .* (0\.\d{3})$", README, re.MULTILINE))
    assert len(printed) == 4
    assert {k: float(v) for k, v in told.items()} == pytest.approx(
        {k: float(v) for k, v in printed.items()}, abs=0.0015
    )


records_of = functools.cache(command_line.load)  # which two tests read
RESULTS = sorted((ROOT / "docs" / "results").glob("*.jsonl"))
REPRODUCTION = (ROOT / "docs" / "reproduction.rst").read_text(encoding="utf-8")
ANEW = "write it anew: python -m sklearn_hrn.benchmark docs"


@pytest.mark.parametrize("path", RESULTS, ids=[path.stem for path in RESULTS])
def test_a_table_in_the_documentation_is_what_its_records_say(path):
    text = command_line.rendered(path.stem, records_of(path.stem, path))
    assert path.with_suffix(".rst").read_text(encoding="utf-8") == text, ANEW
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.rst")]
    assert any(f".. include:: results/{path.stem}.rst" in page for page in pages)


def test_the_figures_of_the_text_are_what_the_records_say():
    paths = {path.stem: path for path in RESULTS}
    text = figures.render(lambda table: records_of(table, paths[table]))
    path = ROOT / "docs" / "results" / "figures.rst"
    assert path.read_text(encoding="utf-8") == text, ANEW


def test_no_difference_in_the_text_is_negative_as_the_words_beside_it_say_who_is_ahead():
    text = (ROOT / "docs" / "results" / "figures.rst").read_text(encoding="utf-8")
    assert not re.findall(r"^\.\. \|(.+)\| replace:: [-−]", text, re.MULTILINE)


def test_the_text_on_reproduction_names_every_figure_and_writes_none_by_hand():
    words = set(re.findall(r"\|([^|\n]+)\|", re.sub(r"\s+", " ", REPRODUCTION)))
    assert words == set(figures.FIGURES)
    published = inspect.getsource(importlib.import_module("sklearn_hrn.benchmark.published"))
    for name in ("table2", "table6"):
        published += inspect.getsource(importlib.import_module(f"sklearn_hrn.benchmark.{name}"))
    known = set(re.findall(r"\d+\.\d+", published)) | set(OF_OTHERS)
    written = set(re.findall(r"(?<![\w.])\d+\.\d+", REPRODUCTION))
    assert not written - known, "a measured figure is a substitution of benchmark/figures.py"


@pytest.mark.parametrize("path", RESULTS, ids=[path.stem for path in RESULTS])
def test_records_name_commits_of_this_history_or_are_marked(path):
    run = subprocess.run(
        ["git", "rev-list", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    history = {line[:12] for line in run.stdout.split()}
    if not history or (ROOT / ".git" / "shallow").exists():
        pytest.skip("needs the history of the repository")
    environments = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    named = {e["commit"] for e in environments if "id" in e}
    assert not {commit for commit in named if re.fullmatch("[0-9a-f]{12}", commit)} - history


def test_every_guarantee_names_tests_that_are_there():
    page = (Path(__file__).parents[1] / "docs/guarantees.rst").read_text(encoding="utf-8")
    tests = Path(__file__).parent
    defined = "".join(p.read_text(encoding="utf-8") for p in tests.glob("test_*.py"))
    named = re.findall(r"``(test_\w+)``", page)
    assert len(named) > 10
    assert not [name for name in named if f"def {name}(" not in defined]


@pytest.mark.slow
def test_two_processes_with_half_of_the_rows_end_where_one_does(tmp_path):
    example = str(ROOT / "examples" / "script_data_parallel.py")
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for start, path in (([], one), (torchrun, two)):
        command = [sys.executable, *start, example, str(path)]
        subprocess.run(command, env=environment, check=True, timeout=300)
    one, two = (np.load(path) for path in (one, two))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5)
