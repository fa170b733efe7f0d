"""The fleet: publishes model files, rolls them out to gateways, and answers `/predict`.

In: registered models (MLflow aliases or `.onnx` files) and the gateways' reports. Out: retained
signed directives, blocks of signed files, and who runs what. Open `rollout.py` for the rules,
`signed.py` for who may sign, `coordinator.py` for the process that serves, `state.py` for what it
remembers, `api.py` for HTTP.
"""
