"""The frozen parameters of the plant: what each class of machine is and how each mode wears it.

They were chosen before the first model was trained (docs/plant.md says how), and a test pins
`digest()`: a change of any number is a new plant, whose difficulty has to be measured again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNELS: Final = ("temperature", "pressure", "vibration", "torque", "motor_power")
"""Channels in wire order: degC, bar, mm/s, N.m, kW."""
PERIOD_S: Final = 1800
"""Sampling period."""
STEP_H: Final = PERIOD_S / 3600

PerChannel = tuple[float, float, float, float, float]
"""One number per channel, in the order of `CHANNELS`."""


@dataclass(frozen=True, slots=True)
class MachineClass:
    """Normal levels of a class; load is a share of the rating.

    `pressure_curve` and `vibration_curve` are polynomials in load, lowest power first; torque and
    power run from their idle share at load 0 to 1 at load 1 along `load**exponent`.
    """

    name: str
    load_mean: float
    shift_swing: float
    temperature_rise_k: float
    pressure_bar: float
    pressure_curve: tuple[float, float, float]
    vibration_mm_s: float
    vibration_curve: tuple[float, float, float]
    resonance_load: float
    resonance_gain: float
    torque_n_m: float
    torque_exponent: float
    power_kw: float
    power_exponent: float


@dataclass(frozen=True, slots=True)
class FailureMode:
    """A way to fail: gamma-process wear in effective hours (hours at a rate of one).

    Sensors see nothing until wear passes the component's own onset (Weibull, `onset_h` and
    `onset_shape`); from there `growth_h` effective hours lead to the failure on average, with
    relative spread `growth_spread` that no sensor shows (the P-F interval of reliability-centred
    maintenance). `jump_h` is the scale of the gamma jumps. The rate is
    `1 + load_stress * (load**2 - 0.5)`. A channel's log level (the log temperature rise for
    temperature) moves by `gain * severity**shape * load**load_power`; `gains` is per class.
    """

    name: str
    load_stress: float
    gains: Mapping[str, PerChannel]
    onset_h: float = 1010.0
    onset_shape: float = 2.0
    growth_h: float = 110.0
    growth_spread: float = 0.02
    jump_h: float = 0.12
    shape: PerChannel = (1.0, 1.0, 1.0, 1.0, 1.0)
    load_power: PerChannel = (0.5, 1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Process:
    """What all machines share: load, weather, sensors and the people who mend.

    Temperature's noise and offset are in K, those of other channels relative. An offset is an
    Ornstein-Uhlenbeck process: machines differ, and each drifts slowly within its own lot.
    """

    load_noise: float
    load_memory_h: float
    load_low: float
    load_high: float
    resonance_width: float
    ambient_mean_c: float
    ambient_daily_k: float
    weather_k: float
    weather_memory_h: float
    case_k: float
    idle_share: float
    noise: PerChannel
    offset: PerChannel
    offset_memory_h: float
    sudden_mean_h: float
    maintenance_every_h: float
    maintenance_spread_h: float
    maintenance_h: float
    maintenance_keeps: tuple[float, float]
    repair_h: tuple[float, float]
    burn_in_h: float


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How often sensors and links lie: shares per message or value, lengths in samples.

    `spike_share` and `drift_share` are shares of the true value; a skewed clock steps by
    `skew_step_s` and then gains or loses `skew_rate` (s per s).
    """

    silent_message: float
    silent_channel: float
    dead_channel: float
    dead_channel_steps: tuple[int, int]
    late: float
    hold: float
    hold_steps: tuple[int, int]
    copy: float
    stuck: float
    stuck_steps: tuple[int, int]
    spike: float
    spike_share: tuple[float, float]
    drift: float
    drift_steps: tuple[int, int]
    drift_share: tuple[float, float]
    skew: float
    skew_steps: tuple[int, int]
    skew_step_s: tuple[float, float]
    skew_rate: tuple[float, float]


FAULT_RATES: Final = FaultRates(
    silent_message=0.01,
    silent_channel=0.01,
    dead_channel=0.0005,
    dead_channel_steps=(4, 24),
    late=0.01,
    hold=0.002,
    hold_steps=(2, 6),
    copy=0.01,
    stuck=0.00008,
    stuck_steps=(8, 49),
    spike=0.0003,
    spike_share=(0.2, 0.8),
    drift=0.00002,
    drift_steps=(96, 481),
    drift_share=(0.02, 0.06),
    skew=0.0002,
    skew_steps=(24, 193),
    skew_step_s=(60.0, 2400.0),
    skew_rate=(0.0, 0.01),
)
PROCESS: Final = Process(
    load_noise=0.10,
    load_memory_h=30.0,
    load_low=0.2,
    load_high=1.15,
    resonance_width=0.06,
    ambient_mean_c=21.0,
    ambient_daily_k=4.0,
    weather_k=4.0,
    weather_memory_h=60.0,
    case_k=9.0,
    idle_share=0.2,
    noise=(0.7, 0.015, 0.05, 0.02, 0.015),
    offset=(1.0, 0.016, 0.028, 0.016, 0.016),
    offset_memory_h=300.0,
    sudden_mean_h=40000.0,
    maintenance_every_h=500.0,
    maintenance_spread_h=60.0,
    maintenance_h=4.0,
    maintenance_keeps=(0.3, 0.7),
    repair_h=(10.0, 30.0),
    burn_in_h=900.0,
)

_CLASSES: Final = (
    MachineClass(
        name="pump",
        load_mean=0.66,
        shift_swing=0.16,
        temperature_rise_k=34.0,
        pressure_bar=6.0,
        pressure_curve=(1.15, 0.0, -0.25),
        vibration_mm_s=2.2,
        vibration_curve=(0.55, 0.0, 0.6),
        resonance_load=0.52,
        resonance_gain=0.5,
        torque_n_m=140.0,
        torque_exponent=1.2,
        power_kw=22.0,
        power_exponent=1.5,
    ),
    MachineClass(
        name="compressor",
        load_mean=0.74,
        shift_swing=0.12,
        temperature_rise_k=58.0,
        pressure_bar=8.5,
        pressure_curve=(0.8, 0.25, 0.0),
        vibration_mm_s=4.2,
        vibration_curve=(0.7, 0.35, 0.0),
        resonance_load=0.8,
        resonance_gain=0.45,
        torque_n_m=310.0,
        torque_exponent=1.0,
        power_kw=55.0,
        power_exponent=1.0,
    ),
    MachineClass(
        name="fan",
        load_mean=0.6,
        shift_swing=0.2,
        temperature_rise_k=26.0,
        pressure_bar=1.4,
        pressure_curve=(0.55, 0.0, 0.5),
        vibration_mm_s=1.3,
        vibration_curve=(0.4, 0.0, 0.9),
        resonance_load=0.68,
        resonance_gain=0.9,
        torque_n_m=70.0,
        torque_exponent=2.0,
        power_kw=11.0,
        power_exponent=2.6,
    ),
)

_MODES: Final = (
    FailureMode(
        name="bearing_wear",
        load_stress=1.0,
        shape=(1.2, 1.0, 1.2, 1.0, 1.0),
        gains=MappingProxyType(
            {
                "pump": (0.35, -0.15, 1.5, 0.3, 0.2),
                "compressor": (0.45, -0.14, 1.3, -0.25, -0.2),
                "fan": (0.3, -0.2, 1.5, 0.35, 0.25),
            },
        ),
    ),
    FailureMode(
        name="cooling_loss",
        onset_h=1080.0,
        load_stress=0.7,
        shape=(1.2, 1.0, 1.0, 1.0, 1.0),
        gains=MappingProxyType(
            {
                "pump": (1.3, -0.36, -0.5, -0.28, -0.2),
                "compressor": (1.1, 0.36, -0.45, 0.24, 0.3),
                "fan": (1.4, -0.4, 0.35, -0.34, -0.28),
            },
        ),
    ),
    FailureMode(
        name="overstrain",
        load_stress=1.4,
        gains=MappingProxyType(
            {
                "pump": (0.3, 0.16, 0.6, 0.5, 0.45),
                "compressor": (0.3, 0.28, 0.35, 0.45, 0.45),
                "fan": (0.25, -0.28, 0.8, 0.55, 0.45),
            },
        ),
    ),
    FailureMode(
        name="seal_leak",
        load_stress=0.5,
        gains=MappingProxyType(
            {
                "pump": (0.18, -0.5, 0.45, -0.26, -0.24),
                "compressor": (-0.3, -0.5, 0.0, 0.2, 0.25),
                "fan": (-0.25, -0.55, 0.2, 0.25, 0.3),
            },
        ),
    ),
    FailureMode(
        name="drive_fault",
        load_stress=1.0,
        gains=MappingProxyType(
            {
                "pump": (0.5, -0.16, 0.6, -0.25, 0.5),
                "compressor": (0.45, -0.2, 0.6, -0.35, 0.45),
                "fan": (0.5, -0.32, 0.8, -0.45, 0.34),
            },
        ),
    ),
)

CLASSES: Final[Mapping[str, MachineClass]] = MappingProxyType({c.name: c for c in _CLASSES})
"""Registry of classes by name; machine i of a plant is of class i modulo their number."""
MODES: Final[Mapping[str, FailureMode]] = MappingProxyType({m.name: m for m in _MODES})
"""Registry of failure modes by name: one entry here adds a mode everywhere."""
SUDDEN: Final = "sudden"
"""The mode of a failure that no sensor announces."""


def digest() -> str:
    """Return the SHA-256 over all frozen numbers, in hex."""
    modes = [
        {name: getattr(m, name) for name in m.__slots__ if name != "gains"}
        | {"gains": dict(m.gains)}
        for m in _MODES
    ]
    shared = [asdict(PROCESS), asdict(FAULT_RATES)]
    frozen = [CHANNELS, PERIOD_S, shared, [asdict(c) for c in _CLASSES], modes]
    return hashlib.sha256(json.dumps(frozen, sort_keys=True).encode()).hexdigest()
