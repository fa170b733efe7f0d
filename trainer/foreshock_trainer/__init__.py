"""The centre: what every gateway saw goes in, a better model (or a reason why not) comes out.

In: uploaded batches (`ingest`) and work orders (`labels`), kept in Delta tables (`lake`). Then
windows become examples, examples become a model, and a gate compares it with the champion.
Out: a registered model version for `foreshock fleet publish`. Open `inbox` first for the rule of
exactly once, `retrain` for the central job, `cli` for the commands.
"""
