"""The paper's tables and the peers: ``python -m sklearn_hrn.benchmark TABLE``.

Nothing of the package imports this one. Each table is a module with

- ``add_arguments(parser)``: its options;
- ``settings(args)``: a list of dicts, one a run, each with all that the figures depend on;
- ``measure(data_home=None, **settings)``: a dict of figures;
- ``render(records)``: the table as reStructuredText, beside published values where there are any.
- ``recipe(settings)``, where recipes of ours are measured: their digest, None for other runs. What
  was measured with another one is marked, and done again.

Data that several tables read are in ``data``, figures of the paper in ``published``. The command
``docs`` writes the tables, and the figures that the text names (``figures``), from the records.
"""
