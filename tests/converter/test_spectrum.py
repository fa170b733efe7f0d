"""Band energies, centroid and envelope bands against NumPy and SciPy, in float64."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.signal import firwin, lfilter

from foreshock_converter.assemble import assemble
from foreshock_converter.features import FeatureGraph
from foreshock_converter.oracle import brute_force_shapley
from foreshock_converter.sample import synthetic_windows, train
from foreshock_converter.spectrum import MOST_MISSING
from foreshock_converter.stress import stressed
from foreshock_wire.derived import parse_derived
from foreshock_wire.model import OUTPUTS, Model
from foreshock_wire.spec import Channel

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

VIBRATION = (Channel("vibration", "mm/s"),)
PERIOD_S = 0.001
CHOICE = ("spectral", "envelope")


def graph(length: int, *choice: str) -> FeatureGraph:
    return FeatureGraph(VIBRATION, length, PERIOD_S, choice=choice or CHOICE)


def filled(cells: Float32) -> Float64:
    """Deviations from the mean, gaps bridged by straight lines."""
    held = np.flatnonzero(np.isfinite(cells))
    x = cells[held].astype(np.float64)
    line: Float64 = np.interp(np.arange(len(cells)), held, x - x.mean())
    return line


def octaves(signal: Float64, edges: tuple[float, ...], padded: int) -> Float64:
    """Mean square per band of the tapered signal, by NumPy's FFT."""
    taper = np.hanning(len(signal) + 2)[1:-1]
    power = np.abs(np.fft.rfft(signal * taper, padded)) ** 2
    power *= 2 / (padded * np.sum(taper**2))
    share = np.fft.rfftfreq(padded) * 2
    power[share == 1] /= 2
    bands = pairwise(edges)
    return np.array([power[(share > low) & (share <= high)].sum() for low, high in bands])


def reference(cells: Float32) -> Float64:
    length = len(cells)
    padded = length if length <= 512 else 1 << (length - 1).bit_length()
    x = filled(cells)
    bands = octaves(x, (0, 1 / 8, 1 / 4, 1 / 2, 1), padded)
    taper = np.hanning(length + 2)[1:-1]
    power = np.abs(np.fft.rfft(x * taper, padded)) ** 2
    power[np.fft.rfftfreq(padded) == 0.5] /= 2
    centroid = (np.fft.rfftfreq(padded, PERIOD_S) * power)[1:].sum() / power[1:].sum()
    if length < 64:
        return np.array([*bands, centroid])
    taps = firwin(31, 0.25, window="hamming") * np.exp(0.75j * np.pi * (np.arange(31) - 15))
    envelope = np.abs(lfilter(taps, 1, x)[30:]) ** 2
    shape = envelope / envelope.mean() - 1
    size = length - 30
    padded = size if size <= 512 else 1 << (size - 1).bit_length()
    return np.array([*bands, centroid, *octaves(shape, (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2), padded)])


@pytest.mark.parametrize("length", [16, 47, 48, 64, 121, 512, 513, 1000, 2048])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_they_are_their_formulas(length: int, missing: float) -> None:
    rng = np.random.default_rng(length)
    time = np.arange(length)[:, None]
    rung = np.sin(2.3 * time) * (1 + np.sin(0.2 * time)) + 0.3 * np.sin(0.05 * time)
    windows = (100 + rung + rng.normal(0, 0.3, (8, length, 1))).astype(np.float32)
    lost = rng.random(windows.shape) < missing
    lost[:, : length // 10] |= missing > 0  # a gap where there is one neighbour only
    lost[:, 3 * length // 8 : length // 2] |= missing > 0
    windows[lost & (np.cumsum(lost, axis=1) <= int(MOST_MISSING * length))] = np.nan
    for window, row in zip(windows, graph(length).extract(windows), strict=True):
        # Float32 readings of 100 hold 1e-5; a sum over the spectrum keeps four digits.
        np.testing.assert_allclose(row, reference(window[:, 0]), rtol=1e-3, atol=1e-5)


def test_a_tone_is_where_it_is_and_as_strong_as_it_is() -> None:
    time = np.arange(240)
    windows = (3 * np.sin(2 * np.pi * 0.15 * time))[None, :, None].astype(np.float32)
    seen = dict(zip(graph(240).names, graph(240).extract(windows)[0], strict=True))
    assert seen["vibration.band2"] == pytest.approx(4.5, rel=0.01)
    assert seen["vibration.band0"] + seen["vibration.band3"] < 0.01
    assert seen["vibration.centroid"] == pytest.approx(150, rel=0.01)


def test_repeated_impacts_are_heard_in_the_envelope_where_the_spectrum_hears_none() -> None:
    """A resonance at 0.4 of the sampling rate, struck 20 times in 400 samples, in noise."""
    rng = np.random.default_rng(0)
    ring = np.exp(-np.arange(60) / 6) * np.sin(2 * np.pi * 0.4 * np.arange(60))
    struck = np.convolve(np.arange(400) % 20 == 0, ring)[:400]
    noise = rng.normal(0, 0.1, (2, 400, 1))
    steady = 0.37 * np.sin(2 * np.pi * 0.4 * np.arange(400))
    windows = np.stack([struck[:, None], steady[:, None]]) + noise
    names = graph(400).names
    struck_row, steady_row = graph(400).extract(windows.astype(np.float32))
    at = names.index("vibration.envelope1")  # 1/20 of the sampling rate is 1/10 of Nyquist
    assert struck_row[at] > 10 * steady_row[at]
    assert struck_row[at] > struck_row[names.index("vibration.envelope0")] * 10


@pytest.mark.parametrize(("missing", "known"), [(24, True), (25, False), (96, False)])
def test_up_to_a_quarter_may_be_missing(missing: int, *, known: bool) -> None:
    windows = synthetic_windows(1, 1, 96)[0]
    windows = np.nan_to_num(windows, nan=50)
    windows[0, :missing] = np.nan
    np.testing.assert_array_equal(np.isfinite(graph(96).extract(windows)), known)


def test_a_stuck_sensor_has_no_energy_and_no_shape() -> None:
    stuck = np.full((1, 96, 1), 61.2, np.float32)
    seen = dict(zip(graph(96).names, graph(96).extract(stuck)[0], strict=True))
    assert [seen[f"vibration.band{n}"] for n in range(4)] == [0] * 4
    assert np.isnan([seen["vibration.centroid"], seen["vibration.envelope0"]]).all()


def test_short_windows_leave_them_out() -> None:
    everything = FeatureGraph(VIBRATION, 15, PERIOD_S, choice=("time", *CHOICE))
    assert not [name for name in everything.names if "band" in name or "envelope" in name]
    assert len([n for n in graph(63).names if "envelope" in n]) == 0
    assert graph(96).units == (*["(mm/s)^2"] * 4, "Hz", *["1"] * 4)


@pytest.mark.parametrize("length", [67, 96, 600])
def test_a_model_with_spectra_has_the_same_bits_alone_and_explains_exactly(length: int) -> None:
    channels = (*VIBRATION, Channel("torque", "N.m"), Channel("speed", "rpm"))
    parts = train(
        channels,
        length=length,
        period_s=PERIOD_S,
        rounds=20,
        derived=(parse_derived("power=torque*speed:1"),),
        choice=("std", *CHOICE),
    )
    model = Model.load(
        assemble(
            parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows[:100]
        )
    )
    assert "power.envelope0" in model.spec.features
    rows = np.concatenate([stressed(parts.windows[:4]), parts.windows[4:32]])
    whole = model.run(rows, explain=True)
    alone = [model.run(rows[i : i + 1], explain=True) for i in range(len(rows))]
    for name in OUTPUTS:
        joined = np.concatenate([getattr(one, name) for one in alone])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name
    want = brute_force_shapley(model, parts.heads, rows[:4])
    np.testing.assert_allclose(whole.shapley[:4], want, rtol=0, atol=1e-5)
