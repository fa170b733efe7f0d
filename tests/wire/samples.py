"""One value of every released message, as it stood in version 1: never changed, only added to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foreshock_wire.batch import FLAG_FUTURE, FLAG_LATE, Batch, Readings, Scores
from foreshock_wire.messages import (
    Alarm,
    AlarmAction,
    AlarmAnswer,
    AlarmAnswered,
    AlarmCommand,
    AlarmPriority,
    AlarmState,
    ClockKind,
    ClockNoted,
    Gap,
    Message,
    Reason,
    RecordBatch,
    Score,
    Status,
    UpAck,
    UpRecord,
)
from foreshock_wire.spec import Advice, Channel, Golden, Histogram, ModelSpec, Role
from foreshock_wire.trials import LiveHealth, ModelFigures
from foreshock_wire.updates import (
    BlockRequest,
    Desired,
    DeviceState,
    Envelope,
    FileRequest,
    Halt,
    ModelRef,
    Report,
    Signature,
    TrialTerms,
)

if TYPE_CHECKING:
    import numpy.typing as npt

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
NOW = 1_704_067_200_000_000_000
REASON = Reason(channel="vibration", contribution=1.75, value=9.5, healthy=2.25, unit="mm/s")
MODEL = ModelRef(sha256=SHA, size=1_048_577, block_bytes=131_072, name="foreshock", version="7")
TERMS = TrialTerms(block_s=1800.0, shadow_blocks=4, trial_blocks=20)
FIGURES = ModelFigures(windows=120, alarms=1, latency_us=130.25, confirmed=1, missed=1)
SIGNATURE = Signature(keyid=SHA, sig="00ff" * 32)
ALARM = Alarm(
    site="north",
    gateway="gw-1",
    machine="press_01.a",
    episode=3,
    state=AlarmState.UNACKNOWLEDGED,
    priority=AlarmPriority.HIGH,
    time_ns=NOW,
    raised_ns=NOW - 7_200_000_000_000,
    probability=0.875,
    threshold=0.5,
    mode="bearing",
    lead_time_h=(6.0, 18.5, 40.0),
    reasons=(REASON, Reason(channel="torque", contribution=-0.25)),
    advice="Check the bearing's lubrication; order 6204-2RS \N{EN DASH} \N{DEGREE SIGN}C",
    model=SHA,
    trigger_received_ns=NOW + 1,
)

MESSAGES: dict[str, Message] = {
    "alarm": ALARM,
    "alarm_least": Alarm(
        site="north",
        gateway="gw-1",
        machine="m1",
        episode=0,
        state=AlarmState.NORMAL,
        time_ns=NOW,
        source="rule",
    ),
    "alarm_command": AlarmCommand(action=AlarmAction.SHELVE, operator="ada", until_ns=NOW),
    "alarm_command_answer": AlarmCommand(
        action=AlarmAction.ACKNOWLEDGE,
        operator="ada",
        answer=AlarmAnswer.REPAIRED,
        mode="bearing_wear",
        found="outer race pitted; bearing changed",
    ),
    "alarm_answered": AlarmAnswered(
        machine="m1",
        time_ns=NOW,
        kind=AlarmAnswer.FALSE_ALARM,
        detail="nothing found",
        operator="ada",
        episode=3,
    ),
    "clock_noted": ClockNoted(
        time_ns=NOW,
        kind=ClockKind.SET,
        step_ns=NOW - 600_000_000_000,
        boot="3f0c8f8e-64c5-4c50-9d54-6d3c8d1a8b11",
        boot_ns=600_000_000_000,
        readings_seq=421,
    ),
    "block_request": BlockRequest(sha256=SHA, index=8),
    "desired": Desired(gateway="gw-1", counter=12, model=MODEL),
    "desired_bound": Desired(
        gateway="gw-1",
        counter=13,
        model=MODEL,
        site="north",
        issued_ns=NOW,
        expires_ns=NOW + 604_800_000_000_000,
    ),
    "desired_trial": Desired(
        gateway="gw-1",
        counter=14,
        model=MODEL,
        site="north",
        issued_ns=NOW,
        expires_ns=NOW + 604_800_000_000_000,
        trial=TERMS,
    ),
    "envelope": Envelope(payload='{"v":1,"gateway":"gw-1"}', signatures=(SIGNATURE,)),
    "file_request": FileRequest(name="12.snapshot.json", index=2),
    "gap": Gap(epoch="018cc251f400", first_seq=101, last_seq=250, reason="retention"),
    "halt": Halt(number=3, halted=True, reason="a bad release", issued_ns=NOW),
    "live_health": LiveHealth(
        gateway="gw-1",
        counter=14,
        block=2,
        begin_ns=NOW,
        end_ns=NOW + 3_600_000_000_000,
        phase="trial",
        champion_sha256=SHA,
        candidate_sha256=SHA[::-1],
        champion=FIGURES,
        candidate=ModelFigures(windows=120, errors=1, alarms=2, latency_us=140.5, false_alarms=1),
        differing=5,
    ),
    "model_figures": FIGURES,
    "model_ref": MODEL,
    "reason": REASON,
    "record_batch": RecordBatch(
        epoch="018cc251f400",
        records=(
            UpRecord(seq=41, body={"kind": "started", "time_ns": NOW}),
            UpRecord(seq=42, body={"nested": {"list": [1, 2.5, None, True, "x"]}}),
        ),
    ),
    "report": Report(
        gateway="gw-1",
        state=DeviceState.COMMITTED,
        counter=12,
        reason="",
        model=SHA,
        version="0.1.0",
        accounts={"received": 9_007_199_254_740_993, "stored": 10, "rejected.bad_time": 2},
    ),
    "report_problem": Report(gateway="gw-1", problem="the directive is not signed"),
    "report_session": Report(
        gateway="gw-1",
        state=DeviceState.SHADOW,
        counter=14,
        model=SHA,
        session="018cc251f400",
        drift={"torque.mean": 0.125},
    ),
    "score": Score(machine="m1", time_ns=NOW, probability=0.125, novelty=None, model=None),
    "signature": SIGNATURE,
    "status_birth": Status(
        site="north",
        gateway="gw-1",
        online=True,
        epoch="018cc251f400",
        version="0.1.0",
        model=SHA,
        health_port=9464,
    ),
    "status_death": Status(
        site="north", gateway="gw-1", online=False, epoch="018cc251f400", version="0.1.0"
    ),
    "status_lost": Status(
        site="north",
        gateway="gw-1",
        online=True,
        epoch="018cc251f400",
        version="0.1.0",
        lost={"readings.dropped.damaged": 12, "store.damaged": 1},
    ),
    "trial_terms": TERMS,
    "up_ack": UpAck(epoch="018cc251f400", stream="readings", seq=250),
    "up_nack": UpAck(epoch="018cc251f400", stream="alarms", seq=0, expected=1),
    "up_record": UpRecord(seq=7, body={}),
}

READINGS = Readings(
    epoch="018cc251f400",
    first_seq=1001,
    machines=("m1", "press_01.a"),
    channels=("temperature", "pressure", "vibration"),
    machine=np.array([0, 0, 1, 1, 0], np.uint16),
    channel=np.array([0, 1, 2, 0, 0], np.uint16),
    time_ns=np.array([NOW, NOW, NOW + 5, NOW - 1_800_000_000_000, NOW + 6], np.int64),
    received_ns=np.array([NOW + 10, NOW + 10, NOW + 11, NOW + 12, NOW + 13], np.int64),
    value=np.array([61.25, -0.0, 3.4028235e38, 1e-45, 7.1], np.float32),
    flags=np.array([0, 0, FLAG_FUTURE, FLAG_LATE, FLAG_LATE | FLAG_FUTURE], np.uint8),
)
SCORES = Scores(
    epoch="018cc251f400",
    first_seq=1,
    machines=("m1",),
    models=(SHA, "rule"),
    machine=np.array([0, 0, 0], np.uint16),
    model=np.array([0, 0, 1], np.uint16),
    time_ns=np.array([NOW, NOW + 7_200_000_000_000, NOW + 14_400_000_000_000], np.int64),
    scored_ns=np.array([NOW + 1, NOW + 2, NOW + 3], np.int64),
    probability=np.array([0.125, 0.875, np.nan], np.float32),
    novelty=np.array([1.5, np.nan, np.nan], np.float32),
)
BATCHES: dict[str, Readings | Scores] = {"readings": READINGS, "scores": SCORES}


def _ramp(*shape: int) -> npt.NDArray[np.float32]:
    return (np.arange(np.prod(shape)) / 4).astype(np.float32).reshape(shape)


SPEC = ModelSpec(
    name="foreshock",
    channels=(
        Channel("torque", "N.m"),
        Channel("speed", "rpm"),
        Channel("motor_power", "kW", Role.DERIVED),
        Channel("cycles", "1", Role.CONTEXT),
    ),
    period_s=1800.0,
    length=3,
    stride=2,
    horizon_h=48.0,
    threshold=0.5,
    threshold_margin=0.125,
    features=("torque.mean", "speed.slope"),
    modes=("bearing", "winding"),
    lead_time_quantiles=(0.1, 0.5, 0.9),
    baseline=_ramp(3, 4),
    min_fill=0.5,
    thresholds={"press": 0.75},
    advice=(Advice("bearing", "Check the lubrication."),),
    reference={"torque.mean": Histogram((0.0, 1.0, 2.0), (3, 4))},
    provenance={"lake_version": "17", "seed": "0"},
    golden=Golden(
        windows=np.where(_ramp(2, 3, 4) == 1, np.float32(np.nan), _ramp(2, 3, 4)),
        margin=_ramp(2),
        shapley=_ramp(2, 4),
    ),
)


def same(one: object, other: object) -> bool:
    """Compare values that hold arrays bit for bit: equal dtype, shape and bytes."""
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, Batch | ModelSpec | Golden):
        names = one.__dataclass_fields__
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in names
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)  # JSON knows no tuples
    return bool(one == other)
