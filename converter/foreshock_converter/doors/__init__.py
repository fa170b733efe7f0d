"""Doors for models that somebody else trained: they become model files like ours, after a proof.

In: an estimator's file (XGBoost, LightGBM, skops, or a pickle that is trusted), a small TOML file
that says what it means, and windows like those it was trained on. Out: a model file and its parity
report, or a refusal. Open `admit` first; `brought` is what all estimators have in common.
"""
