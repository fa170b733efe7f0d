"""One machine's life (pure, seeded): load, weather, wear, events and what its sensors read.

Everything random comes from `SeedSequence` spawned by (seed, machine id), so a life depends on
nothing but its arguments and a run repeats bit for bit. No clock, file or socket in here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_plant.parameters import (
    CHANNELS,
    CLASSES,
    MODES,
    PERIOD_S,
    PROCESS,
    STEP_H,
    SUDDEN,
    FailureMode,
    MachineClass,
)
from foreshock_plant.physics import Floats, levels, severity, to_units, wear_rate
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    import numpy.typing as npt

START_NS: Final = 1_704_067_200_000_000_000
"""Plant time begins at 2024-01-01T00:00:00Z."""
PERIOD_NS: Final = PERIOD_S * 1_000_000_000
HOURS_PER_DAY: Final = 24
_STREAMS: Final = ("load", "wear", "life", "noise", "offset")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a machine.

    `step` counts sampling periods since `START_NS`; `kind` is failure, maintenance, installed,
    repaired or observed_until; `mode` is the failure mode, or empty.
    """

    step: int
    kind: str
    mode: str = ""
    detail: str = ""

    @property
    def time_ns(self) -> int:
        """UTC plant time."""
        return START_NS + self.step * PERIOD_NS


@dataclass(frozen=True, slots=True)
class Life:
    """A machine's life over K sampling periods and M modes.

    `load` float64[K] share of the rating; `ambient` float64[K] degC; `wear`, `onset` and `limit`
    float64[M, K] effective hours; `severity` float64[M, K]; `running` bool[K]; `values`
    float32[K, 5] in the channels' units, NaN while the machine stands.
    """

    machine: str
    cls: MachineClass
    load: Floats
    ambient: Floats
    wear: Floats
    onset: Floats
    limit: Floats
    severity: Floats
    running: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float32]
    events: tuple[Event, ...]

    @property
    def time_ns(self) -> npt.NDArray[np.int64]:
        """Source time of each step, int64[K]."""
        return START_NS + np.arange(len(self.load), dtype=np.int64) * PERIOD_NS

    @property
    def health(self) -> Floats:
        """1 as new, 0 at the expected failure of the worst component; float64[K]."""
        worst: Floats = self.severity.max(axis=0)
        return 1.0 - np.minimum(1.0, worst)


def machine_ids(count: int, prefix: str = "") -> tuple[str, ...]:
    """Return ids for a plant: classes in turn, numbered within each class."""
    if count < 1:
        raise ForeshockError(f"a plant needs at least 1 machine, not {count}: raise --machines")
    names = tuple(CLASSES)
    width = max(2, len(str((count - 1) // len(names) + 1)))
    return tuple(
        f"{prefix}{names[i % len(names)]}-{i // len(names) + 1:0{width}d}" for i in range(count)
    )


def class_of(machine: str) -> MachineClass:
    """Return the class that a machine's id names.

    Raises:
        ForeshockError: the id names no class of this plant.
    """
    for part in machine.split("-"):
        if part in CLASSES:
            return CLASSES[part]
    raise ForeshockError(
        f"machine {machine!r} names no class: use an id like 'pump-01' ({', '.join(CLASSES)})"
    )


def simulate(machine: str, *, seed: int, hours: float) -> Life:
    """Return the life of a machine over `hours` of plant time, begun at random wear."""
    cls = class_of(machine)
    burn, steps = _steps(PROCESS.burn_in_h), _steps(hours)
    rng = _streams(seed, machine)
    load = load_path(cls, rng["load"], burn, steps)
    ambient = ambient_path(seed, burn, steps)
    wearing = _Wearing(load, rng["wear"], rng["life"])
    wearing.run()
    past = slice(burn, None)
    severities = wearing.severity[:, past]
    values = _readings(cls, load[past], ambient[past], severities, rng)
    values[~wearing.running[past]] = np.nan
    return Life(
        machine=machine,
        cls=cls,
        load=load[past],
        ambient=ambient[past],
        wear=wearing.wear[:, past],
        onset=wearing.onset[:, past],
        limit=wearing.limit[:, past],
        severity=severities,
        running=wearing.running[past],
        values=values,
        events=_observed(wearing.events, burn, steps, cls),
    )


def shift_pattern(step: npt.NDArray[np.int64]) -> Floats:
    """Return the planned swing, -1 (night) to 1 (day), less at weekends; step 0 is Monday 0:00."""
    hour = (step * PERIOD_S // 3600) % HOURS_PER_DAY
    day = (step * PERIOD_S // 86400) % 7
    by_hour = np.select([hour < 6, hour < 14, hour < 22], [-1.0, 1.0, 0.4], -1.0)  # noqa: PLR2004
    return np.where(day < 5, by_hour, 0.5 * by_hour - 0.5)  # noqa: PLR2004


def planned_load(cls: MachineClass, step: npt.NDArray[np.int64]) -> Floats:
    """Return the load without its noise."""
    return cls.load_mean + cls.shift_swing * shift_pattern(step)


def clip_load(load: Floats) -> Floats:
    """Return the load that a machine can carry."""
    return np.clip(load, PROCESS.load_low, PROCESS.load_high)


def load_path(cls: MachineClass, rng: np.random.Generator, burn: int, steps: int) -> Floats:
    """Return the load of each step from -burn to steps."""
    step = np.arange(-burn, steps, dtype=np.int64)
    noise = PROCESS.load_noise * autoregression(
        rng.standard_normal(len(step)), PROCESS.load_memory_h
    )
    return clip_load(planned_load(cls, step) + noise)


def ambient_path(seed: int, burn: int, steps: int) -> Floats:
    """Return the temperature around the machines in degC: one weather per seed."""
    step = np.arange(-burn, steps, dtype=np.int64)
    rng = _streams(seed, "weather")["load"]
    weather = autoregression(rng.standard_normal(len(step)), PROCESS.weather_memory_h)
    daily = -np.cos(2.0 * np.pi * (step * STEP_H - 3.0) / HOURS_PER_DAY)
    return PROCESS.ambient_mean_c + PROCESS.ambient_daily_k * daily + PROCESS.weather_k * weather


def persistence(memory_h: float) -> float:
    """Return the lag-1 correlation of a process that forgets with `memory_h`."""
    return float(np.exp(-STEP_H / memory_h))


def autoregression(white: Floats, memory_h: float) -> Floats:
    """Return a stationary AR(1) of unit variance along the last axis from unit white noise."""
    phi = persistence(memory_h)
    path: Floats = white * np.sqrt(1.0 - phi**2)
    path[..., 0] = white[..., 0]
    shift, weight = 1, phi
    while shift < path.shape[-1] and weight > np.finfo(np.float64).tiny:
        # Doubling: sums of 2s terms are sums of s terms plus weighted sums s steps earlier.
        path[..., shift:] += weight * path[..., :-shift].copy()
        shift, weight = shift * 2, weight * weight
    return path


class _Wearing:
    """Walks a life from event to event; between two events wear is a cumulative sum."""

    def __init__(self, load: Floats, wear: np.random.Generator, life: np.random.Generator) -> None:
        self.modes = tuple(MODES.values())
        self.steps = len(load)
        self.grow = np.stack([_jumps(mode, load, wear) for mode in self.modes])
        shape = (len(self.modes), self.steps)
        self.wear, self.onset, self.limit = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.running = np.ones(self.steps, dtype=np.bool_)
        self.events: list[Event] = []
        self._life = life
        self._now = np.zeros(len(self.modes))
        self._onset = np.zeros(len(self.modes))
        self._limit = np.zeros(len(self.modes))

    @property
    def severity(self) -> Floats:
        """Severity of each mode, float64[M, K]."""
        rows = zip(self.modes, self.wear, self.onset, strict=True)
        return np.stack([severity(mode, wear, onset) for mode, wear, onset in rows])

    def run(self) -> None:
        """Fill the paths and the events."""
        for m in range(len(self.modes)):
            self._renew(m)
        step, service = 0, self._next_service(0)
        while step < self.steps:
            sudden = step + _steps(self._life.exponential(PROCESS.sudden_mean_h))
            crossing, mode = self._crossing(step)
            end = min(crossing, sudden, service, self.steps)
            self._wear_until(step, end, worn_out=end == crossing)
            if end >= self.steps:
                break
            if end in (crossing, sudden):
                step = self._fail(end, mode if end == crossing else None)
            else:
                step = self._maintain(end)
            if service < step:
                service = self._next_service(step)

    def _crossing(self, step: int) -> tuple[int, int]:
        paths = self._now[:, None] + np.cumsum(self.grow[:, step:], axis=1)
        first = [int(np.searchsorted(p, x)) for p, x in zip(paths, self._limit, strict=True)]
        mode = int(np.argmin(first))
        return step + first[mode], mode

    def _wear_until(self, step: int, end: int, *, worn_out: bool) -> None:
        last = min(self.steps, end + 1)
        path = self._now[:, None] + np.cumsum(self.grow[:, step:last], axis=1)
        self.wear[:, step:last] = path
        self.onset[:, step:] = self._onset[:, None]
        self.limit[:, step:] = self._limit[:, None]
        if last > step:
            self._now = path[:, -1].copy()
        if not worn_out and last > end > step:
            # Stopped by something else than wear: the step at which it stands adds none.
            self._now = path[:, -2].copy()
            self.wear[:, end] = self._now

    def _fail(self, step: int, mode: int | None) -> int:
        name = SUDDEN if mode is None else self.modes[mode].name
        self.events.append(Event(step, "failure", name))
        end = self._stand(step + 1, self._life.uniform(*PROCESS.repair_h))
        self.running[step] = False
        if mode is not None:
            self._renew(mode)
        self.events.append(Event(end, "repaired", name))
        return end

    def _maintain(self, step: int) -> int:
        keeps = float(self._life.uniform(*PROCESS.maintenance_keeps))
        self.running[step] = False
        end = self._stand(step + 1, PROCESS.maintenance_h)
        self._now = self._now * keeps
        self.events.append(Event(step, "maintenance", "", "planned"))
        return end

    def _stand(self, step: int, hours: float) -> int:
        end = step + max(1, _steps(hours))
        self.running[step:end] = False
        self.wear[:, step:end] = self._now[:, None]
        return end

    def _renew(self, m: int) -> None:
        mode = self.modes[m]
        onset = mode.onset_h * float(self._life.weibull(mode.onset_shape))
        spread = 1.0 + mode.growth_spread * float(self._life.standard_normal())
        self._now[m], self._onset[m] = 0.0, onset
        self._limit[m] = onset + mode.growth_h * max(0.5, spread)

    def _next_service(self, step: int) -> int:
        spread = PROCESS.maintenance_spread_h * float(self._life.uniform(-1.0, 1.0))
        return step + _steps(PROCESS.maintenance_every_h + spread)


def _jumps(mode: FailureMode, load: Floats, rng: np.random.Generator) -> Floats:
    shape: Floats = wear_rate(mode, load) * STEP_H / mode.jump_h
    return rng.gamma(shape, mode.jump_h)


def _readings(
    cls: MachineClass,
    load: Floats,
    ambient: Floats,
    severities: Floats,
    rng: dict[str, np.random.Generator],
) -> npt.NDArray[np.float32]:
    shape = (len(CHANNELS), len(load))
    offset = autoregression(rng["offset"].standard_normal(shape), PROCESS.offset_memory_h)
    noise = rng["noise"].standard_normal(shape)
    gaussian = levels(cls, load, ambient, severities)
    gaussian += (
        np.array(PROCESS.offset)[:, None] * offset + np.array(PROCESS.noise)[:, None] * noise
    )
    return to_units(gaussian).T.astype(np.float32)


def _observed(events: list[Event], burn: int, steps: int, cls: MachineClass) -> tuple[Event, ...]:
    inside = [
        Event(e.step - burn, e.kind, e.mode, e.detail)
        for e in events
        if burn <= e.step < burn + steps
    ]
    return (Event(0, "installed", "", cls.name), *inside, Event(steps, "observed_until"))


def _steps(hours: float) -> int:
    return max(0, round(hours / STEP_H))


def _streams(seed: int, name: str) -> dict[str, np.random.Generator]:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    spawned = np.random.SeedSequence([seed, key]).spawn(len(_STREAMS))
    return {
        stream: np.random.Generator(np.random.PCG64(child))
        for stream, child in zip(_STREAMS, spawned, strict=True)
    }
