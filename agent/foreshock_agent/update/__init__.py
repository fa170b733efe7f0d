"""The model update: what the centre desires becomes what this gateway runs, or a reason why not.

In: a signed directive, the repository's metadata, the blocks of a model file. Out: a swapped model
and a `Report` for every transition. Open `installer.py` for the flow; `updater.py` is its transport
over MQTT and `folder.py` the one from a stick, `trust.py` and `times.py` say what is believed,
`fetch.py` downloads, `trial.py` tests in a child process, `store.py` keeps files and outcomes.
"""
