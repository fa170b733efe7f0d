"""Load and run a model file with numpy and onnxruntime, and nothing else.

Open `Model.load`; what the file says of itself is in `spec`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_wire.container import SEAL_KEY, Container
from foreshock_wire.errors import (
    ChannelMismatchError,
    NotAModelError,
    SelfTestError,
    SpecError,
)
from foreshock_wire.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import onnxruntime as ort

    Float32 = npt.NDArray[np.float32]

OUTPUTS: Final = (
    "margin",
    "probability",
    "modes",
    "lead_time",
    "novelty",
    "features",
    "shapley",
    "shapley_error",
)
LATER_OUTPUTS: Final = frozenset({"shapley_error"})
"""Outputs that a file may lack: one without `shapley_error` explains exactly."""
MOST_MIXED_CELLS: Final = 2**22
"""Feature values that explaining mixes at once: 16 MiB, however many windows are asked for."""
GOLDEN_TOLERANCE: Final = 1e-4
"""Largest margin difference (log-odds) between converter and device in the self-test."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the graph says of N windows; rows without a score are NaN throughout.

    `margin` and `probability` and `novelty` float32[N]; `modes` float32[N, M]; `lead_time`
    float32[N, Q] in hours, ordered; `features` float32[N, F]; `shapley` float32[N, C] in margin
    units and `shapley_error` float32[N, C], its standard error (zero where the values are exact):
    zero rows unless they were asked for.
    """

    margin: Float32
    probability: Float32
    modes: Float32
    lead_time: Float32
    novelty: Float32
    features: Float32
    shapley: Float32
    shapley_error: Float32


class Model:
    """One loaded model file: `spec`, `sha256`, and the graph behind `run`."""

    def __init__(self, spec: ModelSpec, sha256: str, session: ort.InferenceSession) -> None:
        self.spec = spec
        self.sha256 = sha256
        self._session = session
        given = {output.name for output in session.get_outputs()}
        self._names = [name for name in OUTPUTS if name in given]
        mixed = spec.explanation.rows * max(1, len(spec.features))
        self._explained_at_once = max(1, MOST_MIXED_CELLS // mixed)

    @classmethod
    def load(cls, source: Path | bytes, *, available: Sequence[str] | None = None) -> Model:
        """Load a model file, or its bytes; what is wrong with it is named before anything runs.

        `available` are the channels that there are, if the model shall be held against them.

        Raises:
            NotAModelError, TruncatedModelError: not ONNX, not ours, or cut off.
            DamagedModelError: its bytes are not those that the converter wrote.
            SpecTooNewError, UnknownOpsetError: a newer converter wrote it.
            SpecError: the metadata contradicts itself or the graph.
            ChannelMismatchError: it reads a channel that is not `available`.
        """
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        spec = _checked_spec(data)
        if available is not None:
            check_channels(spec, available)
        session = _session(data)
        _check_graph(session, spec)
        return cls(spec, hashlib.sha256(data).hexdigest(), session)

    def run(self, windows: Float32, *, explain: bool = False) -> Outputs:
        """Score windows float32[N, T, C] (NaN = missing); `explain` fills `shapley`.

        Raises:
            ChannelMismatchError: the windows have another shape than the model's.
        """
        expected = (self.spec.length, len(self.spec.channels))
        if windows.ndim != 3 or windows.shape[1:] != expected:  # noqa: PLR2004 - [N, T, C]
            raise ChannelMismatchError(
                f"windows have shape {windows.shape}, the model reads [N, {expected[0]}, "
                f"{expected[1]}] of {', '.join(self.spec.channel_ids)}"
            )
        windows = np.ascontiguousarray(windows, dtype=np.float32)
        most = self._explained_at_once if explain else len(windows)
        if len(windows) <= most:
            return self._run(windows, explain=explain)
        parts = [
            self._run(windows[start : start + most], explain=explain)
            for start in range(0, len(windows), most)
        ]
        return Outputs(*(np.concatenate([getattr(p, name) for p in parts]) for name in OUTPUTS))

    def _run(self, windows: Float32, *, explain: bool) -> Outputs:
        feed = {"window": windows, "explain": np.array(explain)}
        outputs = dict(zip(self._names, self._session.run(self._names, feed), strict=True))
        if "shapley_error" not in outputs:
            values = outputs["shapley"]
            outputs["shapley_error"] = np.where(np.isnan(values), values, np.float32(0))
        return Outputs(**outputs)

    def self_test(self) -> None:
        """Run the golden windows that travel in the file.

        Raises:
            SelfTestError: outputs differ from what the converter saw, or no golden windows.
        """
        golden = self.spec.golden
        if golden is None or not len(golden.windows):
            raise SelfTestError(f"model {self.spec.name!r} carries no golden windows")
        got = self.run(golden.windows, explain=True)
        for name, have, want in (
            ("margin", got.margin, golden.margin),
            ("shapley", got.shapley, golden.shapley),
        ):
            worst = _difference(have, want)
            if not worst <= GOLDEN_TOLERANCE:
                raise SelfTestError(
                    f"model {self.spec.name!r} does not repeat its golden {name}: off by {worst:g}"
                )


def check_channels(spec: ModelSpec, available: Sequence[str]) -> None:
    """Raise unless every channel that the model reads is among `available`.

    Raises:
        ChannelMismatchError: names the missing ones.
    """
    missing = [name for name in spec.channel_ids if name not in set(available)]
    if missing:
        raise ChannelMismatchError(
            f"model {spec.name!r} reads {', '.join(missing)}, which this gateway's sources do not "
            f"give (they give {', '.join(available)})"
        )


def _checked_spec(data: bytes) -> ModelSpec:
    container = Container(data)
    text = container.metadata.get(METADATA_KEY)
    if text is None and SEAL_KEY not in container.metadata:
        raise NotAModelError(f"the ONNX file has no {METADATA_KEY}: convert it with foreshock")
    container.check_seal()
    spec = ModelSpec.from_json(text or "")
    container.check_opsets()
    return spec


def _difference(have: Float32, want: Float32) -> float:
    """Return the largest difference; infinite where only one has a value, or shapes differ."""
    if have.shape != want.shape:
        return float("inf")
    alike = (have == want) | (np.isnan(have) & np.isnan(want))
    off = np.abs(have[~alike] - want[~alike])
    return float(np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _session(data: bytes) -> ort.InferenceSession:
    import onnxruntime as ort  # noqa: PLC0415 - the contract is importable without the runtime

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime raises bare C++ exception types
        raise NotAModelError(f"not a model file that this runtime can load: {error}") from None


def _check_graph(session: ort.InferenceSession, spec: ModelSpec) -> None:
    outputs = {output.name for output in session.get_outputs()}
    inputs = {entry.name: entry.shape for entry in session.get_inputs()}
    if missing := [name for name in OUTPUTS if name not in outputs | LATER_OUTPUTS]:
        raise SpecError(f"model {spec.name!r} lacks the outputs {', '.join(missing)}")
    if set(inputs) != {"window", "explain"}:
        raise SpecError(f"model {spec.name!r} has the inputs {', '.join(inputs)}")
    if list(inputs["window"][1:]) != [spec.length, len(spec.channels)]:
        raise SpecError(f"model {spec.name!r}: the graph's window is not the spec's")
