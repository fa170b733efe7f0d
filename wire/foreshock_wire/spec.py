"""What a model file says of itself: the metadata beside the graph, as JSON in one ONNX property.

Plain dataclasses, so that a device needs numpy and onnxruntime and nothing else to run a model.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_wire.derived import Derived, Operation, derived_problems
from foreshock_wire.errors import InvalidIdError, SpecError, SpecTooNewError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

SPEC_VERSION: Final = 1
LATER_FIELDS: Final = frozenset({"derived", "explanation"})
"""Fields that came after the first release: not written while they say nothing new."""
METADATA_KEY: Final = "foreshock.spec"
"""The ONNX metadata property that holds the spec."""


class Role(StrEnum):
    """What a channel is to the model (docs/adr/0003)."""

    MEASURED = "measured"
    DERIVED = "derived"
    """Of a column of features only: the window does not hold it (`ModelSpec.derived`)."""
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Channel:
    """One column of the window."""

    id: str
    unit: str
    role: Role = Role.MEASURED


@dataclass(frozen=True, slots=True)
class Golden:
    """Windows with the outputs that the converter saw, for the device's self-test.

    `windows` float32[N, T, C]; `margin` float32[N]; `shapley` float32[N, C].
    """

    windows: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    shapley: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How the graph explains: `rows` mixtures of window and baseline are scored per window.

    `permutations` of the sensors are sampled; 0 when the values are exact. The defaults stand for
    a file that does not tell: exact, with the most rows that an exact explanation has.
    """

    rows: int = 4096
    permutations: int = 0


@dataclass(frozen=True, slots=True)
class Histogram:
    """A feature's reference distribution: `len(edges) - 1 == len(counts)`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a failure mode."""

    mode: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything a gateway must know to use the model rightly.

    `length` T and `stride` count samples of `period_s`; `threshold` is a probability, and
    `thresholds` overrides it per machine class; `threshold_margin` is the same limit in margin
    space, where decisions are made; `baseline` float32[T, C] is the healthy window that
    explanations compare with; `derived` are computed from `channels` in the graph, and stand in no
    window.
    """

    name: str
    channels: tuple[Channel, ...]
    period_s: float
    length: int
    stride: int
    horizon_h: float
    threshold: float
    threshold_margin: float
    features: tuple[str, ...]
    modes: tuple[str, ...]
    lead_time_quantiles: tuple[float, ...]
    baseline: npt.NDArray[np.float32]
    min_fill: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()
    reference: Mapping[str, Histogram] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    golden: Golden | None = None
    explanation: Explanation = Explanation()
    derived: tuple[Derived, ...] = ()
    spec_version: int = SPEC_VERSION

    def __post_init__(self) -> None:
        problem = next(_problems(self), None)
        if problem:
            raise SpecError(f"model spec of {self.name!r}: {problem}")

    @property
    def period_ns(self) -> int:
        """The sampling period in nanoseconds."""
        return round(self.period_s * 1e9)

    @property
    def channel_ids(self) -> tuple[str, ...]:
        """The window's columns by name."""
        return tuple(channel.id for channel in self.channels)

    def advice_for(self, mode: str | None) -> str:
        """Return the playbook's text for a failure mode, or an empty string."""
        return next((entry.text for entry in self.advice if entry.mode == mode), "")

    def to_json(self) -> str:
        """Return the spec as it stands in the model's metadata."""
        plain = {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if f.name not in LATER_FIELDS or getattr(self, f.name) != f.default
        }
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse a spec.

        Raises:
            SpecTooNewError: it was written by a newer converter.
            SpecError: it is damaged or contradicts itself.
        """
        try:
            raw = json.loads(text)
            version = int(raw["spec_version"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SpecError(f"model spec is not readable: {error!r}") from None
        if version > SPEC_VERSION:
            raise SpecTooNewError(
                f"model spec has version {version}, this runtime knows up to {SPEC_VERSION}: "
                "update foreshock on this machine first"
            )
        try:
            return cls(**_parsed(raw))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise SpecError(f"model spec is damaged: {error!r}") from None


def _problems(spec: ModelSpec) -> Iterator[str]:
    yield from _channel_problems(spec.channel_ids)
    yield from derived_problems(spec.derived, spec.channel_ids)
    yield from _limit_problems(spec)
    yield from _explanation_problems(spec.explanation)
    shape = (spec.length, len(spec.channels))
    if spec.baseline.shape != shape:
        yield f"baseline has shape {spec.baseline.shape}, windows have {shape}"
    if spec.golden is not None:
        yield from _golden_problems(spec.golden, shape)
    for name, histogram in spec.reference.items():
        if len(histogram.edges) != len(histogram.counts) + 1:
            yield f"reference of {name!r} has not one edge more than counts"


def _channel_problems(ids: tuple[str, ...]) -> Iterator[str]:
    if not ids or len(set(ids)) != len(ids):
        yield "channels are missing or named twice"
    for channel in ids:
        try:
            check_id(channel, "channel")
        except InvalidIdError as error:
            yield str(error)


def _explanation_problems(explanation: Explanation) -> Iterator[str]:
    rows, permutations = explanation.rows, explanation.permutations
    if type(rows) is not int or type(permutations) is not int or rows < 1 or permutations < 0:
        yield f"explanation by {rows!r} rows and {permutations!r} permutations is none"


def _limit_problems(spec: ModelSpec) -> Iterator[str]:
    if any(type(count) is not int or count < 1 for count in (spec.length, spec.stride)):
        yield f"length {spec.length!r} and stride {spec.stride!r} must be whole and positive"
    if not 0 < spec.period_s < np.inf or not 0 < spec.horizon_h < np.inf:
        yield f"period_s {spec.period_s} and horizon_h {spec.horizon_h} must be positive"
    if any(not 0 < limit < 1 for limit in (spec.threshold, *spec.thresholds.values())):
        yield "threshold and thresholds must lie between 0 and 1"
    if not np.isfinite(spec.threshold_margin):
        yield f"threshold_margin {spec.threshold_margin} must be finite"
    quantiles = spec.lead_time_quantiles
    if any(not 0 < q < 1 for q in quantiles) or list(quantiles) != sorted(set(quantiles)):
        yield f"lead_time_quantiles {quantiles} must ascend between 0 and 1"
    if not 0 < spec.min_fill <= 1:
        yield f"min_fill {spec.min_fill} must lie in (0, 1]"


def _golden_problems(golden: Golden, shape: tuple[int, int]) -> Iterator[str]:
    windows = golden.windows.shape
    if windows[1:] != shape:
        yield f"golden windows have shape {windows}, expected (N, {shape[0]}, {shape[1]})"
    if golden.margin.shape != windows[:1] or golden.shapley.shape != (*windows[:1], shape[1]):
        yield f"golden outputs are not those of {windows[0]} windows of {shape[1]} channels"


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is untyped
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value, dtype="<f4")
        return {"shape": list(value.shape), "f4": base64.b64encode(data.tobytes()).decode()}
    if isinstance(value, Golden):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Channel | Derived | Histogram | Advice | Explanation):
        return asdict(value)
    return value


def _array(raw: dict[str, Any]) -> npt.NDArray[np.float32]:
    data = np.frombuffer(base64.b64decode(raw["f4"], validate=True), dtype="<f4")
    return data.reshape(raw["shape"]).astype(np.float32)


def _strings(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise TypeError(f"{raw!r:.80} is no list of strings")
    return tuple(raw)


def _derived(raw: dict[str, Any]) -> Derived:
    first, second = _strings(raw["parents"])
    name, unit = _strings([raw["id"], raw["unit"]])
    return Derived(name, unit, Operation(raw["operation"]), (first, second), raw["factor"])


def _parsed(raw: dict[str, Any]) -> dict[str, Any]:
    known = {f.name for f in fields(ModelSpec)}
    _strings([raw["name"], *raw.get("provenance", {}).values()])
    values = {key: value for key, value in raw.items() if key in known}
    golden = raw.get("golden")
    return values | {
        "channels": tuple(Channel(c["id"], c["unit"], Role(c["role"])) for c in raw["channels"]),
        "features": _strings(raw["features"]),
        "modes": _strings(raw["modes"]),
        "lead_time_quantiles": tuple(raw["lead_time_quantiles"]),
        "baseline": _array(raw["baseline"]),
        "advice": tuple(Advice(**entry) for entry in raw.get("advice", ())),
        "derived": tuple(_derived(entry) for entry in raw.get("derived", ())),
        "explanation": Explanation(**raw.get("explanation", {})),
        "reference": {
            name: Histogram(tuple(h["edges"]), tuple(h["counts"]))
            for name, h in raw.get("reference", {}).items()
        },
        "golden": Golden(**{key: _array(value) for key, value in golden.items()})
        if golden
        else None,
    }
