"""What the sensors of a machine read, given its load, the weather and its wear (pure).

In: load, ambient temperature and severities of any common shape. Out: the expected level of each
channel on the scale on which its noise is Gaussian (degC for temperature, the log elsewhere).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foreshock_plant.parameters import CHANNELS, MODES, PROCESS

if TYPE_CHECKING:
    from foreshock_plant.parameters import FailureMode, MachineClass

Floats = np.ndarray[Any, np.dtype[np.float64]]
SEVERITY_CAP = 1.5


def wear_rate(mode: FailureMode, load: Floats) -> Floats:
    """Return effective hours per hour at a load."""
    return 1.0 + mode.load_stress * (np.square(load) - 0.5)


def severity(mode: FailureMode, wear: Floats, onset: Floats) -> Floats:
    """Return how far a component is from its onset (0) to its expected failure (1)."""
    return np.clip((wear - onset) / mode.growth_h, 0.0, SEVERITY_CAP)


def levels(cls: MachineClass, load: Floats, ambient: Floats, severities: Floats) -> Floats:
    """Return expected levels float64[5, ...] on the Gaussian scale.

    `load` and `ambient` broadcast against one severity; `severities` has the modes first.
    """
    effect = _effects(cls, load, severities)
    rise = cls.temperature_rise_k * np.square(load) * np.exp(effect[0])
    effect[0] = ambient + PROCESS.case_k + rise
    effect[1] += np.log(cls.pressure_bar * _polynomial(cls.pressure_curve, load))
    effect[2] += np.log(cls.vibration_mm_s * _polynomial(cls.vibration_curve, load))
    effect[2] += np.log1p(cls.resonance_gain * _bell(load - cls.resonance_load))
    effect[3] += np.log(cls.torque_n_m * _from_idle(load, cls.torque_exponent))
    effect[4] += np.log(cls.power_kw * _from_idle(load, cls.power_exponent))
    return effect


def to_units(gaussian: Floats) -> Floats:
    """Return readings in their units from values [5, ...] on the Gaussian scale."""
    return np.concatenate([gaussian[:1], np.exp(gaussian[1:])])


def from_units(values: Floats) -> Floats:
    """Return values on the Gaussian scale from readings [5, ...] in their units."""
    return np.concatenate([values[:1], np.log(values[1:])])


def _effects(cls: MachineClass, load: Floats, severities: Floats) -> Floats:
    shape = np.broadcast_shapes(load.shape, severities.shape[1:])
    effect = np.zeros((len(CHANNELS), *shape))
    for mode, amount in zip(MODES.values(), severities, strict=True):
        for c, gain in enumerate(mode.gains[cls.name]):
            if gain:
                effect[c] += gain * amount ** mode.shape[c] * load ** mode.load_power[c]
    return effect


def _polynomial(curve: tuple[float, float, float], load: Floats) -> Floats:
    return curve[0] + curve[1] * load + curve[2] * np.square(load)


def _bell(distance: Floats) -> Floats:
    return np.exp(-0.5 * np.square(distance / PROCESS.resonance_width))


def _from_idle(load: Floats, exponent: float) -> Floats:
    return PROCESS.idle_share + (1.0 - PROCESS.idle_share) * load**exponent
