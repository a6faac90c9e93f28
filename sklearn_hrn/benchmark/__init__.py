"""The paper's tables and the peers: ``python -m sklearn_hrn.benchmark TABLE``.

Nothing of the package imports this one. Each table is a module with

- ``add_arguments(parser)``: its options;
- ``settings(args)``: a list of dicts, one a run, each with all that the figures depend on;
- ``measure(data_home=None, **settings)``: a dict of figures;
- ``render(records)``: the table as reStructuredText, beside published values where there are any.
"""
