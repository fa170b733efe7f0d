"""What to do about a failure mode: the advice that travels in the model to the gateway."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from foreshock_wire.spec import Advice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLAYBOOK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bearing_wear": (
            "Listen to and feel the bearings, check lubrication and alignment; plan a bearing "
            "change inside the interval given, and lower the load until then."
        ),
        "cooling_loss": (
            "Check coolant flow, filter, fan and heat exchanger for fouling; clean or top up, and "
            "lower the load until the temperature is back."
        ),
        "overstrain": (
            "Compare torque and power with the rating: look for a throttled or blocked outlet, a "
            "clogged filter, deposits on impeller or rotor and a heavier medium; take load off, "
            "then inspect coupling and shaft."
        ),
        "seal_leak": (
            "Look for leakage at shaft seal, glands, gaskets and flanges (soap, ultrasound or drip "
            "tray); check seal flush and pressure, have a seal set ready, and mind what escapes."
        ),
        "drive_fault": (
            "Measure the current of each phase and its spectrum, check the frequency converter's "
            "log, belts, couplings and terminals; plan a stop to repair motor or drive."
        ),
        "sudden": (
            "The sensors do not name a mode. Inspect the machine and the sensors that are listed "
            "first, and tell what was found: the answer trains the next model."
        ),
    },
)
"""Registry: one entry adds advice for a mode everywhere."""

UNKNOWN: Final = (
    "No playbook entry for {mode} yet. Inspect the machine, starting at the sensors that are "
    "listed first, and tell what was found."
)


def advice_for(modes: Iterable[str]) -> tuple[Advice, ...]:
    """Return the advice for each mode, in order; an unknown mode gets the general one."""
    return tuple(
        Advice(mode, PLAYBOOK.get(mode, UNKNOWN.format(mode=mode.replace("_", " "))))
        for mode in modes
    )
