"""Windows, labels and simple features of simulated lives, as the difficulty figures need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_plant.machine import PERIOD_NS, START_NS, Life, machine_ids, simulate
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.sensor_faults import deliver, true_messages

if TYPE_CHECKING:
    import numpy.typing as npt

LENGTH: Final = 48
STRIDE: Final = 4
HORIZON: Final = 96
MIN_FILL: Final = 0.5
STATISTICS: Final = ("mean", "std", "slope", "last", "min", "max")

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Machines:
    """Lives, and what came of them, float64[N, K, 5], NaN where nothing did.

    `delivered` is what the sensors said, at the steps that the machines' clocks told; `true` is
    what they should have said, at the steps at which the samples were taken.
    """

    lives: tuple[Life, ...]
    delivered: Floats
    true: Floats


@dataclass(frozen=True, slots=True)
class Windows:
    """Labelled windows of 48 samples.

    `machine` and `end` (exclusive step) int64[n]; `label` bool[n]; `mode` of the failure to come,
    object[n], empty without one; `features` float64[n, 30].
    """

    machine: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    label: npt.NDArray[np.bool_]
    mode: npt.NDArray[np.str_]
    features: Floats


def simulate_many(count: int, *, seed: int, hours: float) -> Machines:
    """Simulate machines and pass their samples through the sensor faults."""
    lives = tuple(simulate(name, seed=seed, hours=hours) for name in machine_ids(count))
    messages, _ = deliver(true_messages(lives), seed=seed)
    said = np.full((count, len(lives[0].load), len(CHANNELS)), np.nan)
    true = said.copy()
    row, channel = np.nonzero(~np.isnan(messages.values))
    machine, told = messages.machine[row], _step(messages.time_ns[row], said.shape[1])
    taken = _step(messages.taken_ns[row], said.shape[1])
    said[machine, told, channel] = messages.values[row, channel]
    true[machine, taken, channel] = np.stack([life.values for life in lives])[
        machine, taken, channel
    ]
    return Machines(lives, said, true)


def _step(time_ns: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.int64]:
    """Return the steps that stamps fall into; a wrong clock may point beyond either end."""
    return np.clip((time_ns - START_NS) // PERIOD_NS, 0, steps - 1)


def labelled(machines: Machines) -> Windows:
    """Cut each life into windows of 24 h every 2 h and label those whose future was observed."""
    parts = [_of_life(i, life, machines.delivered[i]) for i, life in enumerate(machines.lives)]
    return Windows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def future(life: Life, end: int) -> str | None:
    """Return the mode of a failure within the horizon, '' without one, None where nobody can know.

    Maintenance before a failure changes the life: such a future is as unobserved as a cut-off one.
    """
    for event in life.events:
        if end <= event.step < end + HORIZON and event.kind in {"failure", "maintenance"}:
            return event.mode if event.kind == "failure" else None
    return "" if end + HORIZON <= len(life.load) else None


def _of_life(index: int, life: Life, delivered: Floats) -> tuple[Any, ...]:
    ends = np.arange(LENGTH, len(life.load), STRIDE)
    ends = ends[life.running[ends - 1] & life.running[ends]]
    futures = [future(life, int(end)) for end in ends]
    known = np.array([f is not None for f in futures])
    windows = np.stack([delivered[end - LENGTH : end] for end in ends])
    known &= np.mean(~np.isnan(windows), axis=(1, 2)) >= MIN_FILL
    kept = np.flatnonzero(known)
    mode = np.array([futures[k] for k in kept], dtype=np.str_)
    return np.full(len(kept), index), ends[kept], mode != "", mode, features(windows[kept])


def features(windows: Floats) -> Floats:
    """Return simple statistics of windows [n, T, 5]: float64[n, 30], NaN for an empty channel."""
    there = ~np.isnan(windows)
    count = there.sum(axis=1)
    safe = np.maximum(count, 1)
    filled = np.where(there, windows, 0.0)
    mean = filled.sum(axis=1) / safe
    centred = np.where(there, windows - mean[:, None], 0.0)
    std = np.sqrt(np.square(centred).sum(axis=1) / safe)
    time = np.arange(windows.shape[1], dtype=np.float64)[None, :, None]
    late = np.where(there, time - (np.where(there, time, 0.0).sum(axis=1) / safe)[:, None], 0.0)
    slope = (late * centred).sum(axis=1) / np.maximum(np.square(late).sum(axis=1), 1.0)
    last_index = np.where(there, time, -1.0).argmax(axis=1)
    last = np.take_along_axis(filled, last_index[:, None], axis=1)[:, 0]
    low = np.where(there, windows, np.inf).min(axis=1)
    high = np.where(there, windows, -np.inf).max(axis=1)
    stacked = np.stack([mean, std, slope, last, low, high], axis=2)
    stacked[count == 0] = np.nan
    return stacked.reshape(len(windows), -1)
