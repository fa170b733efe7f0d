"""Model files by hash, which of them runs, and the outcome of every directive: durable.

Each change is temp -> fsync -> rename -> fsync of the directory, so that a kill or a power cut
leaves the state before the change or after it.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from foreshock_agent.update.errors import StoreError
from foreshock_wire.files import hold, sync, write_durably
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KEEP_OUTCOMES: Final = 32
TERMINAL: Final = frozenset({DeviceState.COMMITTED, DeviceState.REJECTED, DeviceState.ROLLED_BACK})
"""States after which a directive's counter is never tried again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far the directive with this counter went, and why it ended there."""

    counter: int
    state: DeviceState
    sha256: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """The newest emergency stop of the fleet, or its end, that was heard here."""

    number: int = 0
    halted: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _State:
    current: str | None = None
    previous: str | None = None
    floor_ns: int = 0
    halt: Stop = field(default_factory=Stop)
    outcomes: Mapping[int, Outcome] = field(default_factory=dict)


class ModelStore:
    """The folder `directory`: `{sha256}.onnx` files, downloads in progress, and `state.json`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state_file = directory / "state.json"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._state = self._read()
        except OSError as error:
            raise StoreError(f"model store {directory} cannot be opened: {error}") from None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only process that changes this store.

        Raises:
            StoreError: another one is, for example the agent itself.
        """
        try:
            lock = hold(self.directory / "lock", wait=False)
        except BlockingIOError:
            raise StoreError(
                f"another process uses {self.directory}: stop the agent first, for example "
                "with `systemctl stop foreshock-agent`"
            ) from None
        with lock:
            yield

    @property
    def current_sha256(self) -> str | None:
        """The committed model's hash."""
        return self._state.current

    @property
    def floor_ns(self) -> int:
        """The newest signed time that was accepted here, UTC ns; it only grows."""
        return self._state.floor_ns

    def raise_floor(self, time_ns: int) -> None:
        """Make a later floor durable; an earlier one changes nothing.

        Raises:
            StoreError: the disk refuses; nothing has changed then.
        """
        if time_ns > self._state.floor_ns:
            self._write(replace(self._state, floor_ns=time_ns))

    @property
    def stop(self) -> Stop:
        """The newest emergency stop, or its end."""
        return self._state.halt

    def note_stop(self, stop: Stop) -> bool:
        """Make a newer emergency stop durable; say whether it was one.

        Raises:
            StoreError: the disk refuses; nothing has changed then.
        """
        if stop.number <= self._state.halt.number:
            return False
        self._write(replace(self._state, halt=stop))
        return True

    def current(self) -> Path | None:
        """Return the committed model's file, verified by its hash.

        A damaged file is set aside as `.damaged` and the model before it takes its place.
        """
        for sha256 in (self._state.current, self._state.previous):
            if sha256 is not None and self.verified(sha256):
                if sha256 != self._state.current:
                    self._write(replace(self._state, current=sha256, previous=None))
                return self.path(sha256)
        return None

    def path(self, sha256: str) -> Path:
        """Where the model file with this hash stands, or would stand."""
        return self.directory / f"{sha256}.onnx"

    def part(self, sha256: str) -> Path:
        """Where the file with this hash grows while it is downloaded."""
        return self.directory / f"{sha256}.part"

    def verified(self, sha256: str) -> bool:
        """Say whether the file is here and has its hash; one that has another is set aside."""
        path = self.path(sha256)
        if not path.exists():
            return False
        if file_sha256(path) == sha256:
            return True
        path.replace(path.with_suffix(".damaged"))
        return False

    def take_in(self, part: Path, sha256: str) -> bool:
        """Make a `.part` that has this hash the model file, durably; delete one that has not."""
        if file_sha256(part) != sha256:
            # The file first: marks alone are worth nothing.
            part.unlink()
            have_file(part).unlink(missing_ok=True)
            return False
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.path(sha256))
        sync(self.directory)
        have_file(part).unlink(missing_ok=True)
        return True

    def install(self, data: bytes) -> str:
        """Commit a model that came with the installation, not by a directive; return its hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.verified(sha256):
            write_durably(self.path(sha256), data)
        if sha256 != self._state.current:
            self._write(replace(self._state, current=sha256, previous=self._state.current))
        return sha256

    def last_outcome(self) -> Outcome | None:
        """Return what became of the directive with the highest counter, if there was any."""
        return max(self._state.outcomes.values(), key=lambda one: one.counter, default=None)

    def handled(self) -> int:
        """Return the highest counter that came to its end here; 0 when none did."""
        ended = (one.counter for one in self._state.outcomes.values() if one.state in TERMINAL)
        return max(ended, default=0)

    def record(self, outcome: Outcome) -> None:
        """Make a directive's transition durable; COMMITTED also makes its model the current one.

        Raises:
            StoreError: the disk refuses; nothing has changed then.
        """
        outcomes = dict(self._state.outcomes) | {outcome.counter: outcome}
        kept = sorted(outcomes)[-KEEP_OUTCOMES:]
        state = replace(self._state, outcomes={counter: outcomes[counter] for counter in kept})
        if outcome.state is DeviceState.COMMITTED and outcome.sha256 != state.current:
            state = replace(state, current=outcome.sha256, previous=state.current)
        self._write(state)

    def prune(self) -> None:
        """Delete every file that is neither the current model nor the one before it."""
        keep = {f"{sha}.onnx" for sha in (self._state.current, self._state.previous) if sha}
        for path in self.directory.iterdir():
            if path.suffix in {".onnx", ".part", ".have", ".temp"} and path.name not in keep:
                path.unlink(missing_ok=True)

    def _write(self, state: _State) -> None:
        document = {
            "v": 1,
            "current": state.current,
            "previous": state.previous,
            "floor_ns": state.floor_ns,
            "halt": asdict(state.halt),
            "last_counter": max(state.outcomes, default=0),
            "outcomes": [asdict(one) for one in state.outcomes.values()],
        }
        try:
            write_durably(self._state_file, json.dumps(document, indent=1).encode())
        except OSError as error:
            raise StoreError(f"{self._state_file} cannot be written: {error}") from None
        self._state = state

    def _read(self) -> _State:
        try:
            return _parse(json.loads(self._state_file.read_bytes()))
        except FileNotFoundError:
            return _State()
        except (ValueError, KeyError, TypeError, RecursionError):
            # The directive is retained in the centre: it brings the model back.
            self._state_file.replace(self._state_file.with_suffix(".damaged"))
            return _State()


def have_file(part: Path) -> Path:
    """Where it stands which blocks of a growing file are here."""
    return part.with_suffix(".have")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(raw: Any) -> _State:  # noqa: ANN401 - JSON is untyped
    outcomes = (
        Outcome(int(o["counter"]), DeviceState(o["state"]), str(o["sha256"]), str(o["reason"]))
        for o in raw["outcomes"]
    )
    floor_ns = int(raw.get("floor_ns", 0))
    halt = raw.get("halt", {})
    stop = Stop(
        int(halt.get("number", 0)), bool(halt.get("halted", False)), str(halt.get("reason", ""))
    )
    by_counter = {one.counter: one for one in outcomes}
    return _State(raw["current"], raw["previous"], floor_ns, stop, by_counter)
