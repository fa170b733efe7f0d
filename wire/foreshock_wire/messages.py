"""Control messages: JSON with a `v` field; unknown fields are kept, enums travel as strings.

Telemetry (readings, scores) travels in columnar batches instead: see `batch`. Alarms and events
go up as `UpRecord`s inside a `RecordBatch`; a `Gap` stands in any stream for records that
retention dropped. On a telemetry topic a payload that begins with `{` is a `Gap`.

What fleet and gateway tell each other of models is in `updates`.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from foreshock_wire.errors import InvalidIdError, MessageError
from foreshock_wire.ids import check_id


def _checked(kind: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            return check_id(value, kind)
        except InvalidIdError as error:
            raise ValueError(str(error)) from None

    return AfterValidator(check)


def _finite(body: dict[str, JsonValue]) -> dict[str, JsonValue]:
    json.dumps(body, allow_nan=False)
    return body


INT64_MAX: Final = (1 << 63) - 1
"""Tables and columns hold nothing larger, so a message may not either."""

Id = Annotated[str, _checked("id")]
Site = Annotated[str, _checked("site")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Int64 = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
Seq = Annotated[int, Field(ge=1, le=INT64_MAX)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Body = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
Epoch = Annotated[str, Field(pattern=r"^[0-9a-z]{1,40}$")]


class Message(BaseModel):
    """Base of the control messages.

    A message's checks are built when it is first used: a process uses few of the types.
    """

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)
    v: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """Return the message as compact UTF-8 JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, payload: bytes | bytearray | str) -> Self:
        """Parse and validate; nothing is coerced (`"5"` and `true` are no numbers).

        Raises:
            MessageError: names the message type and the first thing that is wrong with it.
        """
        try:
            return cls.model_validate_json(payload, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "payload"
            raise MessageError(f"{cls.__name__}: {where}: {first['msg']}") from None


class AlarmState(StrEnum):
    """States of an alarm (ISA-18.2-2016, figure 3)."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURN_TO_NORMAL_UNACKNOWLEDGED = "return_to_normal_unacknowledged"
    SHELVED = "shelved"


class AlarmPriority(StrEnum):
    """Priorities of an alarm (ISA-18.2, three in common use)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Reason(Message):
    """One sensor's part in an alarm: its Shapley value in margin (log-odds) units.

    `contribution_error` is its standard error, 0 where the value is exact.
    """

    channel: Id
    contribution: Finite
    value: Finite | None = None
    healthy: Finite | None = None
    unit: str = ""
    contribution_error: Finite = 0.0


class Alarm(Message):
    """A machine's alarm: what, why, how sure, how long, and what to do."""

    site: Site
    gateway: Id
    machine: Id
    episode: Count
    state: AlarmState
    priority: AlarmPriority = AlarmPriority.MEDIUM
    time_ns: Int64
    raised_ns: Int64 | None = None
    probability: Finite | None = None
    threshold: Finite | None = None
    mode: str | None = None
    lead_time_h: tuple[Finite, Finite, Finite] | None = None
    reasons: tuple[Reason, ...] = ()
    advice: str = ""
    model: Sha256 | None = None
    source: Literal["model", "rule"] = "model"
    trigger_received_ns: Int64 | None = None

    @property
    def stands(self) -> bool:
        """Whether the alarm's condition is announced and not yet over."""
        return self.state in {AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED}


class AlarmAction(StrEnum):
    """What an operator can do with an alarm."""

    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"


class AlarmAnswer(StrEnum):
    """What somebody found who went to the machine."""

    CONFIRMED = "confirmed"
    FALSE_ALARM = "false_alarm"
    REPAIRED = "repaired"


class AlarmCommand(Message):
    """An operator's action; `until_ns` (machine time) belongs to `shelve`.

    With any action may come the answer: what the alarm was, the failure mode if it is known, and
    what was found, in words. It goes up as an `AlarmAnswered`, and the next model learns from it.
    """

    action: AlarmAction
    operator: str = ""
    until_ns: Int64 | None = None
    answer: AlarmAnswer | None = None
    mode: str | None = None
    found: str = ""


class AlarmAnswered(Message):
    """The body of an `events` record: an operator's answer, at the machine's time."""

    machine: Id
    time_ns: Int64
    kind: AlarmAnswer
    mode: str | None = None
    detail: str | None = None
    source: Literal["answer"] = "answer"
    operator: str = ""
    episode: Count


class ClockKind(StrEnum):
    """What is noted of a gateway's clock."""

    UNSET = "clock_unset"
    SET = "clock_set"


class ClockNoted(Message):
    """The body of an `events` record: the gateway's clock is not set yet, or was set.

    `step_ns` is by how much; `time_ns` the clock's time afterwards, when the machine had run for
    `boot_ns` in this `boot` ("" where nobody says which). Readings of this epoch below
    `readings_seq` came before. What was stamped on arrival before is right when the steps that
    came after it are added; so is what an earlier epoch of the same boot has stamped, by the
    difference of `time_ns - boot_ns`.
    """

    time_ns: Int64
    kind: ClockKind
    step_ns: Int64
    boot: str = ""
    boot_ns: Count
    readings_seq: Seq
    source: Literal["clock"] = "clock"


class Score(Message):
    """The newest score of a machine, for local screens.

    `margin` (log-odds) is what decisions are made on; the probability is its calibrated form.
    """

    machine: Id
    time_ns: Int64
    probability: Finite | None
    novelty: Finite | None = None
    margin: Finite | None = None
    model: Sha256 | None


class Status(Message):
    """The agent's birth, said again when what it says changes, or (`online` false) its death.

    `lost` counts, over all starts, what damage, a full disk and the store's bounds have cost, by
    account (`readings.dropped.damaged`). The will that the broker says for an agent which died
    knows what was lost when the agent started.
    """

    site: Site
    gateway: Id
    online: bool
    epoch: Epoch
    version: str
    model: Sha256 | None = None
    health_port: int | None = Field(default=None, ge=1, le=65535)
    lost: dict[str, Count] = Field(default_factory=dict)


class UpRecord(Message):
    """One record of an `alarms` or `events` stream."""

    seq: Seq
    body: Body


class RecordBatch(Message):
    """Consecutive records of one epoch's stream, first seq first."""

    epoch: Epoch
    records: Annotated[tuple[UpRecord, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _without_holes(self) -> Self:
        first = self.records[0].seq
        for i, record in enumerate(self.records):
            if record.seq != first + i:
                raise ValueError(f"records are not consecutive: seq {record.seq}, not {first + i}")
        return self


class Gap(Message):
    """A tombstone: the records `first_seq` to `last_seq` of this stream were dropped, and why."""

    epoch: Epoch
    first_seq: Seq
    last_seq: Seq
    reason: str

    @model_validator(mode="after")
    def _not_backwards(self) -> Self:
        if self.last_seq < self.first_seq:
            raise ValueError(f"last_seq {self.last_seq} lies before first_seq {self.first_seq}")
        return self


class UpAck(Message):
    """The lake holds everything of this epoch's stream up to `seq`.

    `expected` is set on a refusal (nack): the batch began above it.
    """

    epoch: Epoch
    stream: str
    seq: Count
    expected: Seq | None = None
