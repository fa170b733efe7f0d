"""The MLmodel file beside a registered model: MLflow's signature of the one ONNX file (pure).

Written as text (MLflow's model format, https://mlflow.org/docs/latest/ml/model/), because importing
what would write it takes seconds; a test reads it back with MLflow itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_wire.spec import ModelSpec

FILE: Final = "MLmodel"
"""Its name, in the model's folder."""
ANY: Final = -1
"""How many windows there are is not fixed."""


def mlmodel(spec: ModelSpec, model_file: str) -> str:
    """Return the MLmodel file of a model with this spec."""
    content = {
        "artifact_path": "model",
        "flavors": {"onnx": {"data": model_file, "providers": ["CPUExecutionProvider"]}},
        "signature": {"inputs": json.dumps(_inputs(spec)), "outputs": json.dumps(_outputs(spec))},
    }
    return json.dumps(content, indent=2) + "\n"  # JSON is YAML


def _inputs(spec: ModelSpec) -> list[dict[str, Any]]:
    window = (ANY, spec.length, len(spec.channels))
    return [_tensor("window", "float32", window), _tensor("explain", "bool", ())]


def _outputs(spec: ModelSpec) -> list[dict[str, Any]]:
    widths = {
        "modes": len(spec.modes),
        "lead_time": len(spec.lead_time_quantiles),
        "features": len(spec.features),
    }
    flat = [_tensor(name, "float32", (ANY,)) for name in ("margin", "probability", "novelty")]
    wide = [_tensor(name, "float32", (ANY, width)) for name, width in widths.items()]
    reasons = [_tensor(name, "float32", (ANY, ANY)) for name in ("shapley", "shapley_error")]
    return [*flat, *wide, *reasons]


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "tensor",
        "tensor-spec": {"dtype": dtype, "shape": list(shape)},
    }
