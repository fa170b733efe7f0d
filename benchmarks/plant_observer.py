"""The perfect observer: a particle filter that knows the plant's process, parameters and classes.

Where a sensor value was delivered it sees the true one, and it is told what no real observer knows:
the true load and weather up to now, and the true wear whenever a machine starts after a standstill,
as if an inspection had measured it. So its figure is an upper bound. Sensor offsets are integrated
out exactly (a Kalman filter per particle; Doucet et al. 2000, Rao-Blackwellised particle filters);
so particles carry wear and onset only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import gammaincc, ndtr, ndtri

from benchmarks.plant_windows import HORIZON, STRIDE
from foreshock_plant.machine import Life, clip_load, persistence, planned_load
from foreshock_plant.parameters import CHANNELS, CLASSES, MODES, PROCESS, STEP_H, FailureMode
from foreshock_plant.physics import from_units, levels, wear_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.plant_windows import Machines

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
FUTURES: Final = 16
"""Sampled load paths per prediction."""
REFRESH: Final = 8
"""Steps between two draws of what no sensor has shown yet."""
SOON_H: Final = 12.0
"""Part of those draws falls within this reach, so that a fault's beginning finds particles."""
SOON_SHARE: Final = 0.5
POOR: Final = 0.2
"""Effective share of particles below which they are drawn again."""
FRESH: Final = 0
"""No sensor has shown this component's wear: its onset is still the prior's."""
SEEN: Final = 1
"""Its wear shows."""
_MODES: Final = tuple(MODES.values())
_OFFSET_VARIANCE: Final = np.square(np.array(PROCESS.offset))
_NOISE_VARIANCE: Final = np.square(np.array(PROCESS.noise))
_PERSISTENCE: Final = persistence(PROCESS.offset_memory_h)


def observe(
    lives: Sequence[Life],
    true: Floats,
    *,
    particles: int,
    seed: int,
    horizons: tuple[int, ...] = (HORIZON,),
) -> Floats:
    """Return P(fails within each horizon) before each step, for lives of one class.

    `true` float64[N, K, 5], NaN where nothing came; `horizons` in steps; the result is
    float64[H, N, K], NaN where no window ends.
    """
    filter_ = _Filter(lives, particles, np.random.default_rng(seed), horizons)
    gaussian = np.moveaxis(from_units(np.moveaxis(true, 2, 0)), 0, 2)
    return filter_.run(gaussian)


def observe_all(
    machines: Machines, *, particles: int, seed: int, horizons: tuple[int, ...] = (HORIZON,)
) -> Floats:
    """Return what `observe` says of machines of any class, float64[H, N, K]."""
    said = np.empty((len(horizons), *machines.true.shape[:2]))
    for name in CLASSES:
        own = [i for i, life in enumerate(machines.lives) if life.cls.name == name]
        said[:, own] = observe(
            [machines.lives[i] for i in own],
            machines.true[own],
            particles=particles,
            seed=seed,
            horizons=horizons,
        )
    return said


class _Filter:
    """Arrays are [N machines, P particles], with modes or channels in front."""

    def __init__(
        self,
        lives: Sequence[Life],
        particles: int,
        rng: np.random.Generator,
        horizons: tuple[int, ...],
    ) -> None:
        self.lives, self.cls, self.rng, self.horizons = lives, lives[0].cls, rng, horizons
        self.shape = (len(lives), particles)
        self.load = np.stack([life.load for life in lives])
        self.ambient = np.stack([life.ambient for life in lives])
        self.running = np.stack([life.running for life in lives])
        self.wear, self.onset = np.zeros((2, len(_MODES), *self.shape))
        self.peak = self.wear.copy()
        self.state = np.zeros(self.wear.shape, dtype=np.int64)
        self.log_weight = np.zeros(self.shape)
        self.mean = np.zeros((len(CHANNELS), *self.shape))
        self.variance = np.tile(_OFFSET_VARIANCE[:, None], (1, len(lives)))

    def run(self, gaussian: Floats) -> Floats:
        """Walk through all steps."""
        steps = self.load.shape[1]
        said = np.full((len(self.horizons), len(self.lives), steps), np.nan)
        for k in range(steps):
            if k % STRIDE == 0:
                said[:, :, k] = [self._predict(k, horizon) for horizon in self.horizons]
            if k % REFRESH == 0:
                self._refresh()
            self._wear(k)
            for n in np.flatnonzero(self.running[:, k] & ~self.running[:, k - 1] | (k == 0)):
                self._inspect(int(n), k)
            self._update(k, gaussian[:, k])
            self._resample()
        return said

    def _inspect(self, n: int, k: int) -> None:
        """Take the true wear; an onset is known once a sensor has shown that it was passed."""
        life = self.lives[n]
        for m in range(len(_MODES)):
            renewed = np.flatnonzero(np.diff(life.onset[m, : k + 1]))
            since = int(renewed[-1]) + 1 if len(renewed) else 0
            peak, onset = life.wear[m, since : k + 1].max(), life.onset[m, k]
            self.wear[m, n], self.peak[m, n], self.onset[m, n] = life.wear[m, k], peak, onset
            self.state[m, n] = SEEN if peak > onset else FRESH
        self._refresh_machine(n)

    def _wear(self, k: int) -> None:
        on = self.running[:, k]
        load = self.load[on, k][:, None]
        for m, mode in enumerate(_MODES):
            shape = np.broadcast_to(wear_rate(mode, load), (int(on.sum()), self.shape[1]))
            jump = self.rng.gamma(shape * STEP_H / mode.jump_h, mode.jump_h)
            before = self._survives(mode, self.wear[m, on] - self.onset[m, on])
            self.wear[m, on] += jump
            after = self._survives(mode, self.wear[m, on] - self.onset[m, on])
            self.log_weight[on] += np.log(np.maximum(after, 1e-30) / np.maximum(before, 1e-30))

    @staticmethod
    def _survives(mode: FailureMode, progress: Floats) -> Floats:
        left = mode.growth_h - progress
        return np.asarray(ndtr(left / (mode.growth_h * mode.growth_spread)))

    def _update(self, k: int, seen: Floats) -> None:
        progress = self.wear - self.onset
        self.state[progress > 0] = SEEN
        self.peak = np.maximum(self.peak, self.wear)
        severities = np.stack(
            [np.clip(p / mode.growth_h, 0.0, 1.5) for mode, p in zip(_MODES, progress, strict=True)]
        )
        load, ambient = self.load[:, k][:, None], self.ambient[:, k][:, None]
        expected = levels(self.cls, load, ambient, severities)
        self.mean *= _PERSISTENCE
        self.variance = (
            _PERSISTENCE**2 * self.variance + (1 - _PERSISTENCE**2) * _OFFSET_VARIANCE[:, None]
        )
        for c in range(len(CHANNELS)):
            on = ~np.isnan(seen[:, c])
            residual = seen[on, c][:, None] - expected[c, on] - self.mean[c, on]
            total = self.variance[c, on] + _NOISE_VARIANCE[c]
            self.log_weight[on] -= 0.5 * np.square(residual) / total[:, None]
            gain = self.variance[c, on] / total
            self.mean[c, on] += gain[:, None] * residual
            self.variance[c, on] *= 1.0 - gain

    def _weights(self) -> Floats:
        return _normal(self.log_weight)

    def _resample(self) -> None:
        weight = self._weights()
        poor = np.flatnonzero(1.0 / np.square(weight).sum(axis=1) < self.shape[1] * POOR)
        for n in poor:
            every = np.arange(self.shape[1])
            flat = np.sqrt(weight[n])
            pick = _systematic(flat / flat.sum(), self.rng)
            self._copy(int(n), every, pick)
            self.log_weight[n] = np.log(flat[pick])

    def _refresh(self) -> None:
        """Within groups of equal knowledge, resample and draw anew what is unknown.

        Without this the few particles whose onset comes at the right moment would be missing.
        """
        for n in range(self.shape[0]):
            self._refresh_machine(n)

    def _refresh_machine(self, n: int) -> None:
        weight = _normal(self.log_weight[n])
        kind = (self.state[:, n] * 2 ** np.arange(len(_MODES))[:, None]).sum(axis=0)
        for which in np.unique(kind):
            group = np.flatnonzero(kind == which)
            total = weight[group].sum()
            if total > 0:
                self._copy(n, group, group[_systematic(weight[group] / total, self.rng)])
                weight[group] = total / len(group) * self._redraw(n, group)
        self.log_weight[n] = np.log(np.maximum(weight, 1e-300))

    def _redraw(self, n: int, group: Ints) -> Floats:
        """Draw anew what no sensor has shown yet; return importance weights.

        A part of the particles lets one of the unknown onsets come soon, each mode alike often: the
        mixture's density is the prior's times 1 - share + share * mean(near / prior).
        """
        fresh = np.flatnonzero(self.state[:, n, group[0]] == FRESH)
        if not len(fresh):
            return np.ones(len(group))
        chosen = self.rng.choice(fresh, len(group))
        chosen[self.rng.random(len(group)) >= SOON_SHARE] = -1
        odds = np.zeros(len(group))
        for m in fresh:
            at = (m, n, group)
            onset, ratio = _onsets(_MODES[m], self.wear[at], self.peak[at], chosen == m, self.rng)
            self.onset[at] = onset
            odds += ratio / len(fresh)
        return np.asarray(1.0 / (1.0 - SOON_SHARE + SOON_SHARE * odds))

    def _copy(self, n: int, to: Ints, source: Ints) -> None:
        for state in (self.wear, self.onset, self.peak, self.state, self.mean):
            state[:, n, to] = state[:, n, source]

    def _predict(self, k: int, horizon: int) -> Floats:
        hours = self._future_rates(k, horizon)
        weight = self._weights()
        survive = np.full(self.shape, np.exp(-horizon * STEP_H / PROCESS.sudden_mean_h))
        future = np.arange(self.shape[1]) % FUTURES
        for m, mode in enumerate(_MODES):
            progress = self.wear[m] - self.onset[m]
            spread = mode.growth_h * mode.growth_spread
            below = ndtr((progress - mode.growth_h) / spread)
            draw = below + self.rng.random(self.shape) * (1.0 - below)
            limit = mode.growth_h + spread * ndtri(np.clip(draw, 1e-12, 1 - 1e-12))
            left = np.maximum(limit - progress, 1e-6)
            survive *= 1.0 - gammaincc(hours[m][:, future] / mode.jump_h, left / mode.jump_h)
        return np.asarray(1.0 - (weight * survive).sum(axis=1))

    def _future_rates(self, k: int, horizon: int) -> Floats:
        """Return effective hours over the horizon on sampled load paths, float64[M, N, FUTURES]."""
        step = np.arange(k, k + horizon)
        phi = persistence(PROCESS.load_memory_h)
        now = max(k - 1, 0)
        noise = self.load[:, now] - planned_load(self.cls, np.array([now]))
        state = np.repeat(noise[:, None], FUTURES, axis=1)
        shock = PROCESS.load_noise * np.sqrt(1 - phi**2)
        paths = np.empty((*state.shape, horizon))
        for h in range(horizon):
            state = phi * state + shock * self.rng.standard_normal(state.shape)
            paths[..., h] = state
        load = clip_load(planned_load(self.cls, step) + paths)
        return np.stack([wear_rate(mode, load).sum(axis=2) * STEP_H for mode in _MODES])


def _normal(log_weight: Floats) -> Floats:
    weight = np.exp(log_weight - log_weight.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def _systematic(weight: Floats, rng: np.random.Generator) -> Ints:
    start = (rng.random() + np.arange(len(weight))) / len(weight)
    return np.minimum(np.searchsorted(np.cumsum(weight), start), len(weight) - 1)


def _onsets(
    mode: FailureMode, wear: Floats, peak: Floats, soon: Bools, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return onsets beyond the `peak` of wear, some of them soon, and near / prior density there.

    Where a machine was worn further than now, no onset can come within reach: near is the prior.
    """
    scale, shape = mode.onset_h, mode.onset_shape
    base = (peak / scale) ** shape
    onset = scale * (base + rng.exponential(size=wear.shape)) ** (1 / shape)
    room = wear + SOON_H - peak
    onset = np.where(soon & (room > 0), peak + room * rng.random(wear.shape), onset)
    prior = shape / scale * (onset / scale) ** (shape - 1) * np.exp(base - (onset / scale) ** shape)
    near = (onset < peak + room) / np.maximum(room, 1e-9)
    return onset, np.where(room > 0, near / np.maximum(prior, 1e-300), 1.0)
