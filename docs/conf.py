"""Configuration of the documentation builder."""

import ast
from html import escape
from importlib.util import find_spec
from pathlib import Path

import sklearn_hrn

project = "sklearn-hrn"
author = "The sklearn-hrn developers"
copyright = "2026, The sklearn-hrn developers"
version = release = sklearn_hrn.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "results/*.rst"]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "sklearn-hrn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "github_url": "https://github.com/sklearn-hrn/sklearn-hrn",
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "header_links_before_dropdown": 4,
}
# Pages without pages below them have nothing to show at the side.
ALONE = (
    "mathematics",
    "reproduction",
    "performance",
    "troubleshooting",
    "changelog",
    "contributing",
)
html_sidebars = {page: [] for page in ALONE}

# Beside the page of a class its methods are listed without its name, which would be cut off.
toc_object_entries_show_parents = "hide"

# A name in single backticks is a link where it names something of ours, and code where it does not.
default_role = "obj"
nitpicky = True
# A role that names something of ours must find it; other projects are looked up with a network,
# and so are the terms of NumPy's and scikit-learn's glossaries.
nitpick_ignore_regex = [("py:obj", ".*"), ("py:.*", r"(?!sklearn_hrn).*")]
suppress_warnings = ["ref.term"]
autosummary_generate = True
# What the docstrings say with shapes and defaults need not stand in the signatures as well.
autodoc_typehints = "none"
# The template of a class lists its methods.
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # but for these:
numpydoc_xref_aliases = {name: f"sklearn_hrn.{name}" for name in sklearn_hrn.__all__}

# `sphinx-build -t online` adds links into other projects; without it the build needs no network.
if tags.has("online"):  # noqa: F821 - Sphinx puts `tags` here
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
    }
else:
    from numpydoc.xref import DEFAULT_LINKS

    DEFAULT_LINKS.clear()  # numpydoc's own, into Python's and NumPy's pages


def missing_packages(example):
    """Packages that an example imports and that are not installed."""
    imported = set()
    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    return sorted(name for name in imported if find_spec(name) is None)


# An example that lacks an optional package becomes a page that shows its code and says so.
EXAMPLES = sorted(Path(__file__).parent.parent.glob("examples/plot_*.py"))
NOT_RUN = {path.stem: missing for path in EXAMPLES if (missing := missing_packages(path))}


def say_what_is_missing(app, docname, source):
    folder, _, example = docname.rpartition("/")
    if folder == "auto_examples" and example in NOT_RUN:
        needed = ", ".join(NOT_RUN[example])
        source[0] += f"\n\n.. note:: Not run when this page was made: {needed} was not installed.\n"


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/(" + "|".join(p.stem for p in EXAMPLES if p.stem not in NOT_RUN) + ").py",
    "within_subsection_order": "FileNameSortKey",
    # "Examples" on the page of every name they use, and links from their code to these pages.
    "backreferences_dir": "generated/backreferences",
    "write_computation_times": False,
    "remove_config_comments": True,
    "doc_module": ("sklearn_hrn",),
    "reference_url": {"sklearn_hrn": None},
}


def skip_routing_methods(app, what, name, item, skip, options):
    # scikit-learn makes set_fit_request and its like, and explains them.
    return True if name.startswith("set_") and name.endswith("_request") else None


MANY_ROWS, LONG = 18, 30


def set_tables_of_results(app, doctree):
    """Columns as wide as their figures, the line above for a title, long tables folded."""
    from docutils import nodes

    for table in list(doctree.findall(nodes.table)):
        if Path(table.source or "").parent.name != "results":
            continue
        table["classes"] += ["results", "colwidths-auto"]
        for cell in table.findall(nodes.entry):
            if len(cell.astext()) > LONG:
                cell["classes"].append("words")
        place = table.parent.index(table)
        above = table.parent[place - 1] if place else None
        titled = isinstance(above, nodes.paragraph) and above.source == table.source
        titled = titled and not above.astext().endswith(".")  # a note below another table
        if titled:
            above["classes"].append("title-of-results")
        rows = len(list(table.findall(nodes.row))) - 1
        if rows > MANY_ROWS:
            section, by = table.parent.next_node(nodes.title), table.next_node(nodes.entry)
            what = above.astext() if titled else f"{section.astext()}, by {by.astext()}"
            opening = f"<details><summary>{escape(what)}: {rows} rows</summary>"
            table.parent.insert(place + 1, nodes.raw("", "</details>", format="html"))
            table.parent.insert(place, nodes.raw("", opening, format="html"))
            if titled:
                table.parent.remove(above)


def setup(app):
    app.connect("doctree-read", set_tables_of_results)
    app.connect("source-read", say_what_is_missing)
    app.connect("autodoc-skip-member", skip_routing_methods)
