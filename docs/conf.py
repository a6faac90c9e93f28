"""Configuration of the documentation builder."""

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
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "sklearn-hrn"

autosummary_generate = True
# numpydoc writes the methods of a class into its own page.
numpydoc_show_class_members = True
numpydoc_class_members_toctree = False
numpydoc_show_inherited_class_members = False

# Links into other projects need a network; `sphinx-build -t offline` builds the pages without them.
if not tags.has("offline"):  # noqa: F821 - Sphinx puts `tags` here
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
}
