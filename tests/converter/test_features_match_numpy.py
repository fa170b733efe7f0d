from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_converter.features import FeatureGraph
from foreshock_converter.sample import CHANNELS, synthetic_windows
from foreshock_converter.stress import STRESSES
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

VIBRATION = (Channel("vibration", "mm/s"),)
PERIOD_S = 1800.0


def reference(cells: Float32) -> Mapping[str, float]:
    """Every measured feature of one channel, float64, straight from the formulas."""
    length = len(cells)
    held = np.isfinite(cells)
    x, t = cells[held].astype(np.float64), np.flatnonzero(held) * PERIOD_S / 3600
    if not len(x):
        return {"missing": length}
    centred = x - x.mean()
    variance = np.mean(centred**2)
    rms = np.sqrt(np.mean(x**2))
    z = centred / np.sqrt(variance) if variance > 1e-10 * rms**2 else np.full(len(x), np.nan)
    place = dict(zip(np.flatnonzero(held), range(len(x)), strict=True))
    pairs = [(place[i], place[i + 1]) for i in place if i + 1 in place]
    quarter = max(1, length // 4)
    early, late = (cells[part][held[part]] for part in (slice(quarter), slice(-quarter, None)))
    facts = {
        "mean": x.mean(),
        "std": np.sqrt(variance),
        "min": x.min(),
        "max": x.max(),
        "last": x[-1],
        "rms": rms,
        "peak_to_peak": x.max() - x.min(),
        "skew": np.mean(z**3),
        "kurtosis": np.mean(z**4),
        "missing": length - len(x),
    }
    if not np.isnan(z).any():
        facts["zero_crossings"] = 0
    if rms > 0:
        facts["crest"] = np.abs(x).max() / rms
    if len(x) > 1:
        facts["slope"] = np.sum((t - t.mean()) * centred) / np.sum((t - t.mean()) ** 2)
    if pairs:
        facts["lag1"] = np.mean([z[i] * z[j] for i, j in pairs])
        signs = [z[i] * z[j] < -1e-4 for i, j in pairs]
        facts["zero_crossings"] = np.sum(signs) + 0 * z[0]
        facts["roughness"] = np.mean([abs(x[j] - x[i]) for i, j in pairs])
    if len(early) and len(late):
        facts["rise"] = late.astype(np.float64).mean() - early.astype(np.float64).mean()
    return facts


@pytest.mark.parametrize("stress", [name for name in STRESSES if name != "overflowing"])
@pytest.mark.parametrize("length", [1, 2, 47, 48])
def test_features_are_their_formulas(stress: str, length: int) -> None:
    graph = FeatureGraph(VIBRATION, length, PERIOD_S)
    windows = STRESSES[stress](synthetic_windows(20, 1, length, seed=3)[0])
    for window, row in zip(windows, graph.extract(windows), strict=True):
        wanted = reference(window[:, 0])
        want = [wanted.get(name.removeprefix("vibration."), np.nan) for name in graph.names]
        np.testing.assert_allclose(row, want, rtol=3e-4, atol=3e-4)


def test_names_and_units_tell_the_channel() -> None:
    graph = FeatureGraph(CHANNELS, 48, PERIOD_S)
    assert len(graph.names) == len(set(graph.names)) == len(graph.units)
    assert graph.units[graph.names.index("vibration.slope")] == "mm/s/h"
    assert graph.names[0] == "temperature.mean"


def test_missing_counts_are_exact_integers() -> None:
    graph = FeatureGraph(CHANNELS, 48, PERIOD_S)
    windows = STRESSES["drop_outs"](synthetic_windows(50, 5, 48)[0])
    columns = [graph.names.index(f"{channel.id}.missing") for channel in CHANNELS]
    np.testing.assert_array_equal(
        graph.extract(windows)[:, columns], np.isnan(windows).sum(axis=1, dtype=np.float32)
    )


def test_overflow_is_missing_and_not_zero_or_infinite() -> None:
    graph = FeatureGraph(VIBRATION, 48, PERIOD_S)
    features = graph.extract(STRESSES["overflowing"](synthetic_windows(5, 1, 48)[0]))
    by_name = dict(zip(graph.names, features.T, strict=True))
    assert not np.isinf(features).any()
    for name in ("rms", "std", "crest", "skew", "kurtosis", "lag1"):
        assert np.isnan(by_name[f"vibration.{name}"]).all(), name
    assert np.isfinite(by_name["vibration.max"]).all()


@pytest.mark.parametrize("value", [61.2, 0.1, 1e6, -273.15])
def test_a_stuck_sensor_does_not_move_at_all(value: float) -> None:
    graph = FeatureGraph(VIBRATION, 47, PERIOD_S)
    stuck = np.full((1, 47, 1), value, np.float32)
    stuck[0, ::6] = np.nan
    by_name = dict(zip(graph.names, graph.extract(stuck)[0], strict=True))
    assert by_name["vibration.std"] == by_name["vibration.slope"] == 0
    assert by_name["vibration.mean"] == np.float32(value)
    assert np.isnan([by_name["vibration.kurtosis"], by_name["vibration.lag1"]]).all()


def test_residue_of_one_ulp_has_no_kurtosis() -> None:
    graph = FeatureGraph(VIBRATION, 48, PERIOD_S)
    residue = np.full((1, 48, 1), 61.2, np.float32)
    residue[0, ::5] = np.nextafter(np.float32(61.2), np.float32(62))
    features = graph.extract(residue)[0]
    assert np.isnan(features[graph.names.index("vibration.kurtosis")])


def test_context_channels_have_last_and_sum_only_and_stand_after_the_measured() -> None:
    channels = (Channel("errors", "1", Role.CONTEXT), Channel("vibration", "mm/s"))
    graph = FeatureGraph(channels, 4, PERIOD_S)
    assert graph.names[-2:] == ("errors.last", "errors.sum")
    windows = np.array([[[1, 5], [2, 5], [np.nan, 5], [4, 5]]], np.float32)
    assert graph.extract(windows)[0, -2:].tolist() == [4, 7]


def test_no_windows_have_no_features() -> None:
    graph = FeatureGraph(CHANNELS, 48, PERIOD_S)
    assert graph.extract(np.empty((0, 48, 5), np.float32)).shape == (0, len(graph.names))
