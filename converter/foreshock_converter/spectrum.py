"""Spectral features: octave band energies, centroid, and the envelope spectrum for bearings.

Gaps are filled by straight lines while at most a quarter of the window is missing; above that every
spectral feature is NaN. Spectra are of the Hann-tapered deviations from the mean (Welch 1967).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import integers, scalar, zero_or_nan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from spox import Var

    from foreshock_converter.blocks import Block

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

MOST_MISSING: Final = 0.25
"""Share of missing cells up to which a window has a spectrum."""
MOST_BY_MATMUL: Final = 512
"""Longest DFT that is a constant matrix (1 MB); above it the operator's radix-2 path is faster."""
OCTAVES: Final = (0.0, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Edges of the bands in shares of the Nyquist frequency: octaves, as in IEC 61260-1."""
ENVELOPE_OCTAVES: Final = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""The same of the envelope, whose bandwidth is that of the filter: half the Nyquist frequency."""
TAPS: Final = 31
"""Length of the filter that takes the upper half of the spectrum for the envelope."""


def band(number: int) -> Callable[[Block], Var]:
    """Return the feature: mean square within octave `number` (0 is the lowest) below Nyquist."""
    return lambda block: block.memo(_bands)[number]


def centroid(block: Block) -> Var:
    """Spectral centroid in Hz: sum(f P(f)) / sum(P(f)); NaN for a sensor that does not move."""
    *_, everything, weighted = block.memo(_bands)
    return op.add(op.div(weighted, everything), block.shape_gate)


def envelope_band(number: int) -> Callable[[Block], Var]:
    """Return the feature: octave `number` of the squared envelope spectrum (Randall, Antoni 2011).

    The squared magnitude of the analytic signal in the upper half of the spectrum, where a
    bearing's impacts ring; its energy in the octave over its squared mean, so 0 is a steady tone.
    """
    return lambda block: op.add(block.memo(_envelope_bands)[number], block.shape_gate)


def _bands(block: Block) -> Sequence[Var]:
    """Mean square in each octave, in all of them, and all weighted with the frequency in Hz."""
    length = block.length
    power = _power(block.memo(_interpolated), block.times(_hann(length).astype(np.float32)))
    share = _share_of_nyquist(power_length(length))
    per_bin = 2 / (power_length(length) * np.square(_hann(length)).sum())
    hertz = share * (0.5 / block.period_s)
    weights = np.column_stack([_octaves(share, OCTAVES), share > 0, hertz]) * per_bin
    weights[share == 1] /= 2  # The Nyquist bin has no mirror image.
    sums = op.matmul(power, op.const(weights.astype(np.float32)))
    return op.split(sums, integers(*[1] * weights.shape[1]), axis=2)


def _envelope_bands(block: Block) -> Sequence[Var]:
    length = block.length - TAPS + 1
    envelope = _squared_envelope(block)
    padded = block.padded - TAPS + 1
    steady = np.pad(np.full((length, 1), 1 / length), ((0, padded - length), (0, 0)))
    level = op.matmul(envelope, op.const(steady.astype(np.float32)))
    # Relative to its level before it is squared again, so that it neither over- nor underflows.
    relative = op.sub(op.div(envelope, level), scalar(1))
    taper = np.pad(_hann(length), (0, padded - length)).astype(np.float32)
    power = _power(relative, taper)
    share = _share_of_nyquist(power_length(length))
    per_bin = 2 / (power_length(length) * np.square(_hann(length)).sum())
    weights = (_octaves(share, ENVELOPE_OCTAVES) * per_bin).astype(np.float32)
    sums = op.matmul(power, op.const(weights))
    return op.split(sums, integers(*[1] * weights.shape[1]), axis=2)


def _squared_envelope(block: Block) -> Var:
    """Return |x * h|^2 float32[N, C, T' - TAPS + 1] of a complex band-pass filter h."""
    lanes = op.reshape(block.memo(_interpolated), integers(-1, 1, block.padded))
    kernel = analytic_filter()
    weights = np.stack([kernel.real, kernel.imag])[:, None, ::-1].astype(np.float32)
    both = op.conv(lanes, op.const(np.ascontiguousarray(weights)))
    real, imaginary = op.split(both, integers(1, 1), axis=1)
    squared = op.add(op.mul(real, real), op.mul(imaginary, imaginary))
    shape = op.concat([op.shape(block.count, start=0, end=2), integers(-1)], axis=0)
    return op.reshape(squared, shape)


def analytic_filter() -> npt.NDArray[np.complex128]:
    """Return the filter complex[TAPS] of the band from half the Nyquist frequency up to it.

    A Hamming-windowed sinc of an eighth of the sampling rate, moved to three eighths.
    """
    n = np.arange(TAPS) - TAPS // 2
    low_pass = np.sinc(n / 4) * np.hamming(TAPS)
    moved: npt.NDArray[np.complex128] = low_pass / low_pass.sum() * np.exp(0.75j * np.pi * n)
    return moved


def _interpolated(block: Block) -> Var:
    """Deviations from the mean with gaps filled by straight lines; NaN when too much is missing."""
    cells, reach = block.padded, int(block.length * MOST_MISSING) + 1
    place = np.arange(1, cells + 1, dtype=np.float32)
    earlier = _greatest(op.mul(block.present, op.const(place)), reach, forward=True)
    mirrored = op.mul(block.present, op.const(place[::-1].copy()))
    later = op.sub(scalar(cells + 1), _greatest(mirrored, reach, forward=False))
    # Before the first reading and after the last one there is one neighbour only.
    before = op.where(op.equal(earlier, scalar(0)), later, earlier)
    after = op.where(op.greater(later, scalar(cells)), earlier, later)
    start, end = _at(block.centred, before, cells), _at(block.centred, after, cells)
    gap = op.max([op.sub(after, before), scalar(1)])
    part = op.div(op.sub(op.const(place), before), gap)
    line = op.add(start, op.mul(op.sub(end, start), part))
    least = block.length - int(block.length * MOST_MISSING)
    enough = zero_or_nan(op.log(op.sub(block.count, scalar(least - 0.5))))
    return op.add(line, enough)


def _greatest(x: Var, reach: int, *, forward: bool) -> Var:
    """Return each cell's maximum with the `reach` cells before it, or after it."""
    covered = 1
    while covered <= reach:
        shift = covered if forward else -covered
        x = op.max([x, op.pad(x, integers(0, 0, shift, 0, 0, -shift))])
        covered *= 2
    return x


def _at(values: Var, place: Var, cells: int) -> Var:
    """Take the value at each place, counted from 1; anything where there is no such place."""
    index = op.sub(op.clip(place, scalar(1), scalar(cells)), scalar(1))
    return op.gather_elements(values, op.cast(index, to=np.int64), axis=2)


def power_length(length: int) -> int:
    """Return the length of the DFT of so many samples: padded to a power of two when it is long."""
    return length if length <= MOST_BY_MATMUL else 1 << (length - 1).bit_length()


def _power(x: Var, taper: Float32) -> Var:
    """Return |DFT|^2 float32[N, C, K] of x float32[N, C, t] tapered, zeros at the taper's end."""
    length = power_length(int(np.flatnonzero(taper)[-1]) + 1)
    tapered = op.mul(x, op.const(taper))
    if length > MOST_BY_MATMUL:
        signal = op.unsqueeze(tapered, integers(3))
        size, axis = op.const(np.int64(length)), op.const(np.int64(2))
        spectrum = op.dft(signal, size, axis, onesided=1)
        return op.reduce_sum(op.mul(spectrum, spectrum), integers(3), keepdims=0)
    bins = np.arange(length // 2 + 1)
    angle = 2 * np.pi * (np.arange(len(taper))[:, None] * bins % length) / length
    real = op.matmul(tapered, op.const(np.cos(angle).astype(np.float32)))
    imaginary = op.matmul(tapered, op.const(np.sin(angle).astype(np.float32)))
    return op.add(op.mul(real, real), op.mul(imaginary, imaginary))


def _hann(length: int) -> Float64:
    """Hann taper without its two zeros."""
    taper: Float64 = np.hanning(length + 2)[1:-1]
    return taper


def _share_of_nyquist(length: int) -> Float64:
    share: Float64 = np.arange(length // 2 + 1) * 2.0 / length
    return share


def _octaves(share: Float64, edges: Sequence[float]) -> Float64:
    """Return 0 and 1 float64[K, B]: which bins belong to which band; the mean is in none."""
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    inside: Float64 = ((share[:, None] > low) & (share[:, None] <= high)).astype(np.float64)
    return inside
