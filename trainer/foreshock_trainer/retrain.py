"""The central job: what the lake knows becomes a registered challenger, or a reason why not.

Open `retrain`: it reads as the steps.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import xgboost as xgb

from foreshock_converter.assemble import assemble
from foreshock_converter.keepsake import kept
from foreshock_converter.parity import PROOF_WINDOWS, ParityReport, parity
from foreshock_trainer.baselines import single_threshold
from foreshock_trainer.blueprint import blueprint, healthy_baseline
from foreshock_trainer.evaluate import NS_PER_HOUR, WindowFigures, numbers
from foreshock_trainer.fit import Fitted, fit
from foreshock_trainer.gate import MIN_FAILURES
from foreshock_trainer.gathered import Gathered, feature_graph, gather
from foreshock_trainer.judging import LEARNT_UNTIL, Judged, Rival, judged
from foreshock_trainer.later import Later, across_time
from foreshock_trainer.leaks import Claim, refuse_leaks
from foreshock_trainer.model_card import card
from foreshock_trainer.page import page
from foreshock_trainer.result import Outcome
from foreshock_trainer.signature import FILE as SIGNATURE_FILE
from foreshock_trainer.signature import mlmodel
from foreshock_trainer.tracking import (
    CHALLENGER,
    CHAMPION,
    MODEL_FILE,
    MODEL_FOLDER,
    Tracking,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from foreshock_trainer.examples import Progress
    from foreshock_trainer.settings import RetrainSettings
    from foreshock_wire.spec import ModelSpec

    Float32 = npt.NDArray[np.float32]

PARITY_WINDOWS: Final = 1024
TYPICAL_WINDOWS: Final = 4096
"""How many training windows stand for all: reference histograms and golden windows."""
PAGE: Final = "page.html"
CARD: Final = "card.md"
FIGURES: Final = "figures.json"
"""Artifacts of the run: its page, its model card, and the same figures for programs."""

Say = Callable[[str], object]
"""Takes a line for a person who waits."""


def retrain(
    settings: RetrainSettings, say: Say = lambda _: None, progress: Progress | None = None
) -> Outcome:
    """Train, convert, judge and register one model.

    `say` is told each step that is done, `progress` each machine that has been read.

    Raises:
        ForeshockError: the lake cannot train a model; says what it lacks.
    """
    watch = _Watch(say)
    with xgb.config_context(nthread=1), Tracking.opening(settings.tracking) as opening:
        with watch("read the lake"):
            gathered = gather(settings, progress)
        with watch("look for leaks"):
            _refuse_leaks(settings, gathered)
        with watch("train"):
            fitted = _fit(settings, gathered)
        with watch("convert and prove parity"):
            built = _build(settings, gathered, fitted)
        with watch("wait for the registry"):
            tracking = opening.result()
        rival = Rival.of(tracking.champion(settings.name))
        with watch("judge across time"):
            later = _later(settings, gathered, rival)
        with watch("evaluate and judge"):
            found = _judge(settings, gathered, built, rival, later)
        with watch("register"):
            run, version, aliases = _register(
                settings,
                tracking,
                gathered=gathered,
                fitted=fitted,
                built=built,
                found=found,
                later=later,
            )
    outcome = Outcome(
        name=settings.name,
        run=run,
        version=version,
        aliases=aliases,
        sha256=built.sha256,
        model_bytes=len(built.data),
        verdict=found.verdict,
        test=found.test,
        test_clean=found.clean,
        test_later=later.figures if later else None,
        validation_f1=fitted.validation.f1,
        champion=found.champion,
        study=found.study,
        parity=built.parity,
        provenance=_provenance(settings, gathered, fitted),
        counts=gathered.counts(),
        seconds=watch.seconds,
    )
    _tell(settings, tracking, outcome)
    return outcome


def _tell(settings: RetrainSettings, tracking: Tracking, outcome: Outcome) -> None:
    """Put what a person reads of a run beside its model."""
    told = card(outcome, settings)
    files = {PAGE: page(outcome), CARD: told, FIGURES: json.dumps(outcome.whole())}
    tracking.attach(outcome.run, files)
    tracking.draw(outcome.run, outcome.study.points())
    if outcome.version is not None:
        tracking.describe(outcome.name, outcome.version, told)


class _Watch:
    """Names each step for the person who waits, and how long it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - begin, 2)
        self._say(f"{step}: {self.seconds[step]:.1f} s")


@dataclass(frozen=True, slots=True)
class _Built:
    data: bytes
    sha256: str
    parity: ParityReport
    spec: ModelSpec


def _refuse_leaks(settings: RetrainSettings, gathered: Gathered) -> None:
    split = gathered.split
    vouched = {name for name in gathered.names if name.rpartition(".")[0] in settings.vouched}
    refuse_leaks(
        gathered.side(split.train, split.validation),
        gathered.side(split.test),
        Claim(gathered.names, vouched=vouched),
    )


def _fit(settings: RetrainSettings, gathered: Gathered) -> Fitted:
    horizon_h, how = settings.horizon_h, settings.training
    return fit(gathered.features, gathered.examples, gathered.split, horizon_h, how)


def _build(settings: RetrainSettings, gathered: Gathered, fitted: Fitted) -> _Built:
    windows = gathered.examples.windows
    typical = windows[_spread(gathered.of(gathered.split.train), TYPICAL_WINDOWS)]
    unseen = windows[_spread(gathered.of(gathered.split.validation), PARITY_WINDOWS)]
    spec = blueprint(
        settings.name,
        graph=feature_graph(settings),
        cut=settings.cut,
        horizon_h=settings.horizon_h,
        fitted=fitted,
        baseline=healthy_baseline(windows, gathered.features, fitted.healthy, fitted.novelty),
        provenance=_provenance(settings, gathered, fitted),
    )
    data = assemble(spec, fitted.heads, fitted.calibration, fitted.novelty, windows=typical)
    proof = parity(data, fitted.heads, fitted.calibration, unseen, at_least=PROOF_WINDOWS)
    return _Built(data, hashlib.sha256(data).hexdigest(), proof, spec)


def _provenance(settings: RetrainSettings, gathered: Gathered, fitted: Fitted) -> dict[str, str]:
    """Say where the model comes from; no clock in it: the same lake gives the same bytes."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - used here only

    try:
        code = version("foreshock")
    except PackageNotFoundError:
        code = "unknown"
    split = gathered.split
    learnt = gathered.of((*split.train, *split.validation))
    return {
        **gathered.provenance,
        LEARNT_UNTIL: str(gathered.examples.end_ns[learnt].max()),
        "code_version": code,
        "seed": str(settings.seed),
        "train_machines": str(len(gathered.split.train)),
        "validation_machines": str(len(gathered.split.validation)),
        "validation_f1": f"{fitted.validation.f1:.4f}",
        "validation_pr_auc": f"{fitted.validation.pr_auc:.4f}",
    }


def _judge(
    settings: RetrainSettings,
    gathered: Gathered,
    built: _Built,
    rival: Rival,
    later: Later | None,
) -> Judged:
    valid, test = (gathered.of(group) for group in (gathered.split.validation, gathered.split.test))
    max_fpr = settings.training.max_fpr
    since = later if later and later.after(_new_to(settings, gathered, rival)) else None
    return judged(
        built.data,
        gathered.examples.take(test),
        rival,
        later=replace(since, rows=since.rows[test]) if since else None,
        single=single_threshold(gathered.features[valid], gathered.examples.label[valid], max_fpr),
        stride_ns=settings.cut.stride_ns,
        parity_ok=built.parity.ok,
        seed=settings.seed,
    )


def _later(settings: RetrainSettings, gathered: Gathered, rival: Rival) -> Later | None:
    return across_time(
        gathered.features,
        gathered.examples,
        gathered.split,
        _embargo_ns(settings, gathered),
        settings.training,
        champion_ns=_new_to(settings, gathered, rival),
        fewest_failures=MIN_FAILURES,
    )


def _new_to(settings: RetrainSettings, gathered: Gathered, rival: Rival) -> int | None:
    """Return the moment after which a window shares nothing with what the champion learnt from."""
    until_ns = rival.learnt_until_ns
    return None if until_ns is None else until_ns + _embargo_ns(settings, gathered)


def _embargo_ns(settings: RetrainSettings, gathered: Gathered) -> int:
    return gathered.window_ns + round(settings.horizon_h * NS_PER_HOUR)


def _named(group: str, figures: WindowFigures | None) -> dict[str, float]:
    found = numbers(asdict(figures)) if figures else {}
    return {f"{group}_{name}": value for name, value in found.items()}


def _register(
    settings: RetrainSettings,
    tracking: Tracking,
    *,
    gathered: Gathered,
    fitted: Fitted,
    built: _Built,
    found: Judged,
    later: Later | None,
) -> tuple[str, int | None, tuple[str, ...]]:
    """Record the run; admit the model if it passed. Return run, version and aliases."""
    tags = {
        **gathered.provenance,
        "sha256": built.sha256,
        "verdict": "passed" if found.verdict.passed else "refused",
    }
    run = tracking.record(
        settings.name,
        built.data,
        parameters=_parameters(settings, gathered, fitted),
        figures=found.figures()
        | {"validation_f1": fitted.validation.f1}
        | _named("test_later", later.figures if later else None),
        tags=tags,
        files={
            f"{MODEL_FOLDER}/{SIGNATURE_FILE}": mlmodel(built.spec, MODEL_FILE),
            "spec.json": built.spec.to_json(),
            "verdict.json": json.dumps(asdict(found.verdict)),
            "parity.json": json.dumps(asdict(built.parity)),
            "boosters.json": kept(fitted.heads, fitted.calibration),
        },
    )
    if not found.verdict.passed:
        return run, None, ()
    number = tracking.register(settings.name, run, tags=tags).number
    if not settings.promote:
        return run, number, (CHALLENGER,)
    tracking.promote(settings.name, number)
    return run, number, (CHALLENGER, CHAMPION)


def _parameters(settings: RetrainSettings, gathered: Gathered, fitted: Fitted) -> dict[str, object]:
    return {
        **asdict(settings.training),
        **{f"tuned_{name}": value for name, value in settings.tuned.items()},
        "horizon_h": settings.horizon_h,
        "length": settings.length,
        "stride": settings.stride,
        "period_s": settings.period_s,
        "min_fill": settings.min_fill,
        "kept_rounds": fitted.rounds,
        "threshold_margin": fitted.threshold_margin,
        **{f"n_{name}": count for name, count in gathered.counts().items()},
    }


def _spread(chosen: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of the chosen rows, evenly spread."""
    rows = np.flatnonzero(chosen)
    return rows[np.unique(np.linspace(0, len(rows), most, endpoint=False).astype(np.int64))]
