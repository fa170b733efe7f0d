"""The model update: what the centre desires becomes what this gateway runs, or a reason why not.

In: a `Desired` directive and the blocks of a model file. Out: a swapped model and a `Report` for
every transition. Open `updater.py` for the flow; `fetch.py` downloads, `trial.py` tests in a child
process, `store.py` keeps files and outcomes, `trust.py` says who may update.
"""
