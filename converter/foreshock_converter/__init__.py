"""Trained boosters become one ONNX file that goes from a raw window to every output.

In: a `ModelSpec`, XGBoost boosters, calibration. Out: the bytes of a model file that
`foreshock_wire.model` loads, and the proof (`parity`) that it is the model that was trained.
Open `assemble` first, then `features` (what a window becomes) and `trees` (the exporter).
"""
