"""A newcomer's own history: one table file becomes a lake, a model and the page of its figures.

In: a CSV or Parquet file, and perhaps a list of failures. Out: readings and work orders in a lake,
as if gateways had sent them, and then what `retrain` makes of it. Open `plan` for what is decided
about a file, `propose` for how it is guessed, `importing` for the order of things.
"""
