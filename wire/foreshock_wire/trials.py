"""What a gateway tells of a candidate beside its champion, in blocks that do not overlap."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from foreshock_wire.messages import Count, Id, Int64, Message, Seq, Sha256

Micros = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelFigures(Message):
    """One model's part of a block.

    `windows` is how many it was given, `errors` how many of these it gave no usable score for (it
    failed, was too late, or said NaN), `alarms` how many
    episodes of it stood in the block, raised before or in it.
    `latency_us` is the 95th percentile of the processor's time for a window. The rest is what
    became known in this block from answers to alarms: true and false alarms of this model, and
    faults that it had raised no alarm for.
    """

    windows: Count
    errors: Count = 0
    alarms: Count = 0
    latency_us: Micros | None = None
    confirmed: Count = 0
    false_alarms: Count = 0
    missed: Count = 0

    @model_validator(mode="after")
    def _no_more_errors_than_windows(self) -> Self:
        if self.errors > self.windows:
            raise ValueError(f"{self.errors} errors in {self.windows} windows")
        return self


class LiveHealth(Message):
    """One device-block: champion and candidate on the same windows of one gateway.

    `counter` is the directive's, `block` counts from 1 without holes under it, and no block begins
    (machine time) before the one before has ended. It is repeated until it was sent; a copy changes
    nothing. `differing` is how many windows the two models judge differently.
    """

    gateway: Id
    counter: Seq
    block: Seq
    begin_ns: Int64
    end_ns: Int64
    phase: Literal["shadow", "trial"]
    champion_sha256: Sha256
    candidate_sha256: Sha256
    champion: ModelFigures
    candidate: ModelFigures
    differing: Count = 0

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.end_ns <= self.begin_ns:
            raise ValueError(f"end_ns {self.end_ns} does not lie after begin_ns {self.begin_ns}")
        return self
