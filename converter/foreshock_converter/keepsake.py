"""What a model file was made from, as one JSON text: so that its proof can be repeated anywhere.

The boosters stand in XGBoost's own JSON; nothing is pickled.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xgboost as xgb

from foreshock_converter.calibration import calibration_from_json
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.heads import Heads
from foreshock_converter.parity import PROOF_WINDOWS, ParityReport, parity
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_converter.calibration import Calibration

HEADS: Final = ("fault", "modes", "lead_time")
VERSION: Final = 1


def kept(heads: Heads, calibration: Calibration) -> str:
    """Return heads and calibration as JSON."""
    boosters = {name: getattr(heads, name) for name in HEADS}
    return json.dumps(
        {
            "version": VERSION,
            "boosters": {
                name: json.loads(bytes(booster.save_raw("json")))
                for name, booster in boosters.items()
                if booster is not None
            },
            "lead_time_shift": list(heads.lead_time_shift),
            "calibration": calibration.to_json(),
        },
        separators=(",", ":"),
    )


def read_kept(text: str) -> tuple[Heads, Calibration]:
    """Return what `kept` wrote.

    Raises:
        UnsupportedModelError: the text is something else.
    """
    try:
        raw = json.loads(text)
        if raw["version"] != VERSION:
            raise UnsupportedModelError(
                f"the boosters are kept in version {raw['version']!r}, this is {VERSION}: use the "
                "foreshock that wrote them"
            )
        boosters = {name: _booster(text) for name, text in raw["boosters"].items()}
        shift = tuple(map(float, raw["lead_time_shift"]))
        calibration = calibration_from_json(raw["calibration"])
        return Heads(**boosters, lead_time_shift=shift), calibration
    except (ValueError, KeyError, TypeError, AttributeError, xgb.core.XGBoostError) as error:
        raise UnsupportedModelError(
            f"these are not the boosters of a model file ({error!r:.120}): give the boosters.json "
            "that a retraining kept"
        ) from None


def recomputed(model: bytes, boosters: str, windows: Path | None = None) -> ParityReport:
    """Prove a model file again, on windows of a .npy file and on generated ones.

    Raises:
        UnsupportedModelError: the boosters or the windows are something else.
    """
    heads, calibration = read_kept(boosters)
    spec = Model.load(model).spec
    given = np.empty((0, spec.length, len(spec.channels)), np.float32)
    if windows is not None:
        given = np.load(windows, allow_pickle=False).astype(np.float32)
        if given.shape[1:] != (spec.length, len(spec.channels)):
            raise UnsupportedModelError(
                f"{windows} has shape {given.shape}, the model reads [N, {spec.length}, "
                f"{len(spec.channels)}] of {', '.join(spec.channel_ids)}"
            )
    return parity(model, heads, calibration, given, at_least=PROOF_WINDOWS)


def _booster(raw: dict[str, Any]) -> xgb.Booster:
    booster = xgb.Booster()
    booster.load_model(bytearray(json.dumps(raw).encode()))
    return booster
