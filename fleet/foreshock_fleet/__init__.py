"""The fleet: publishes model files, rolls them out to gateways, and answers `/predict`.

In: registered models (MLflow aliases or `.onnx` files) and the gateways' reports. Out: retained
directives, blocks of model files, and who runs what. Open `rollout.py` for the rules,
`coordinator.py` for the process that serves, `state.py` for what it remembers, `api.py` for HTTP.
"""
