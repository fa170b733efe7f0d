"""What a model file says of itself, for a person and for a machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from foreshock_wire.container import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from foreshock_wire.model import Model
    from foreshock_wire.spec import Histogram, ModelSpec

BARS: Final = " ▁▂▃▄▅▆▇█"
COLUMNS: Final = 16


def facts(model: Model, data: bytes) -> dict[str, Any]:
    """Return the facts of a model and its file: its spec but for the large arrays, its graph."""
    spec = model.spec
    plain = json.loads(spec.to_json())
    golden = plain.pop("golden")
    plain.pop("baseline")
    return {
        "sha256": model.sha256,
        "bytes": len(data),
        **plain,
        "golden_windows": golden["windows"]["shape"][0] if golden else 0,
        "healthy": _healthy(spec),
        "graph": _graph(data),
    }


def lines(spec: ModelSpec, told: dict[str, Any]) -> list[str]:
    """Return the facts of a model file for a person."""
    return [*_rows(spec, told), "", *_references(spec)]


def _rows(spec: ModelSpec, told: dict[str, Any]) -> Iterator[str]:
    hours = spec.length * spec.period_s / 3600
    graph, healthy = told["graph"], told["healthy"]
    rows = {
        "model": f"{spec.name}, {told['bytes']} bytes, sha256 {told['sha256']}",
        "window": f"{spec.length} samples of {spec.period_s:g} s ({hours:g} h), "
        f"every {spec.stride} samples, at least {spec.min_fill:.0%} filled",
        "channels": ", ".join(f"{c.id} [{c.unit}] {c.role}" for c in spec.channels),
        "derived": ", ".join(f"{d.id} = {d.formula} [{d.unit}]" for d in spec.derived) or "none",
        "healthy": ", ".join(f"{name} {value:g}" for name, value in healthy.items()),
        "features": f"{len(spec.features)}: {', '.join(_kinds(spec))}",
        "alarm": f"probability of a failure within {spec.horizon_h:g} h at or above "
        f"{spec.threshold:g} (margin {spec.threshold_margin:g})",
        **{f"alarm of {kind}": f"{limit:g}" for kind, limit in spec.thresholds.items()},
        "modes": ", ".join(spec.modes) or "none",
        "lead time": f"quantiles {', '.join(f'{q:g}' for q in spec.lead_time_quantiles) or 'none'}",
        "explained": explained(spec),
        "advice": "; ".join(f"{entry.mode}: {entry.text}" for entry in spec.advice) or "none",
        "provenance": ", ".join(f"{k} {v}" for k, v in spec.provenance.items()) or "none",
        "golden": f"{told['golden_windows']} windows",
        "graph": f"{graph['nodes']} nodes, {graph['trees']} trees with {graph['splits']} splits, "
        f"{graph['metadata_bytes']} bytes of metadata",
        "operators": ", ".join(
            f"{domain} {version}" for domain, version in graph["opsets"].items()
        ),
    }
    return (f"{name:<12}{text}" for name, text in rows.items())


def _kinds(spec: ModelSpec) -> dict[str, None]:
    """Return the features' names without their channels, in order."""
    return dict.fromkeys(name.rpartition(".")[2] for name in spec.features)


def explained(spec: ModelSpec) -> str:
    """Return how the model explains an alarm."""
    told = spec.explanation
    if told.permutations:
        return (
            f"sampled Shapley values, {told.permutations} permutations, {told.rows} rows a window"
        )
    return f"exact Shapley values, {told.rows} rows a window"


def _healthy(spec: ModelSpec) -> dict[str, float]:
    """Return each channel's mean in the healthy window that explanations compare with."""
    held = np.isfinite(spec.baseline)
    total = np.where(held, spec.baseline, 0).sum(axis=0, dtype=np.float64)
    means = total / np.maximum(held.sum(axis=0), 1)
    return {
        name: round(float(means[i]), 6)
        for i, name in enumerate(spec.channel_ids)
        if held[:, i].any()
    }


def _graph(data: bytes) -> dict[str, Any]:
    container, graph = Container(data), onnx.load_from_string(data).graph
    found = [_forest(node) for node in graph.node if node.op_type.startswith("TreeEnsemble")]
    return {
        "nodes": len(graph.node),
        "trees": sum(trees for trees, _ in found),
        "splits": sum(splits for _, splits in found),
        "opsets": {domain or "ai.onnx": version for domain, version in container.opsets.items()},
        "metadata_bytes": sum(len(text) for text in container.metadata.values()),
    }


def _forest(node: onnx.NodeProto) -> tuple[int, int]:
    """Return trees and splits of either generation of the operator."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if "tree_roots" in values:
        return len(values["tree_roots"]), len(values["nodes_featureids"])
    modes = [mode for mode in values["nodes_modes"] if mode != b"LEAF"]
    return len(set(values["nodes_treeids"])), len(modes)


def _references(spec: ModelSpec) -> Iterator[str]:
    """Return a line per feature: where its values lay when the model was made."""
    width = max((len(name) for name in spec.reference), default=0)
    for name in spec.features:
        if name in spec.reference:
            told = spec.reference[name]
            ends = f"{told.edges[0]:.6g} to {told.edges[-1]:.6g}"
            yield f"{name:<{width}}  |{_bars(told)}|  {ends}"


def _bars(histogram: Histogram) -> str:
    heights = np.ceil(density(histogram) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[height] for height in heights)


def density(histogram: Histogram, columns: int = COLUMNS) -> npt.NDArray[np.float64]:
    """Return how densely values lay in equal steps, the densest as 1: float64[columns].

    The histogram's own bins hold about equal shares and differ in width.
    """
    edges = np.array(histogram.edges)
    cumulative = np.concatenate([[0], np.cumsum(histogram.counts)])
    steps = np.interp(np.linspace(edges[0], edges[-1], columns + 1), edges, cumulative)
    found: npt.NDArray[np.float64] = np.diff(steps)
    found /= max(float(found.max()), 1e-300)
    return found
