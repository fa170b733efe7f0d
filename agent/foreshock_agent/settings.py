"""The agent's settings: one TOML file, checked whole before anything starts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from foreshock_wire.broker import UNIX, BrokerAddress, BrokerError, check_socket, is_this_machine
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import Id  # noqa: TC001 - pydantic reads it
from foreshock_wire.topics import PREFIX, Gateway

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

YEARS: Final = 20
"""The longest duration, so that no sum of times leaves the 64 bits of its nanoseconds."""

Seconds = Annotated[NotNegative, Field(le=YEARS * 365 * 86_400)]
Hours = Annotated[NotNegative, Field(le=YEARS * 365 * 24)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class SettingsError(ForeshockError):
    """A settings file that cannot be used; the message names the file, the entry and the fault."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BrokerSettings(_Section):
    """How to reach a broker. A network is crossed with TLS, unless `insecure` says otherwise.

    `host` may be `unix:PATH`, a socket of this machine; port and TLS have no meaning there.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    tls: bool = False
    insecure: bool = False
    keepalive_s: int = Field(default=30, ge=2, le=3600)
    reconnect_max_s: int = Field(default=30, ge=1, le=3600)

    @model_validator(mode="after")
    def _tls_across_networks(self) -> Self:
        if not (self.tls or self.insecure or is_this_machine(self.host)):
            message = (
                f"{self.host} is across a network: set tls = true (and ca_file), "
                "or insecure = true if the network itself is protected"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _socket_stands_alone(self) -> Self:
        try:
            check_socket(self.host)
        except BrokerError as error:
            raise ValueError(str(error)) from None
        needless = sorted({"port", "tls", "ca_file", "insecure"} & self.model_fields_set)
        if self.host.startswith(UNIX) and needless:
            message = f"{self.host} is a socket of this machine: leave out {', '.join(needless)}"
            raise ValueError(message)
        return self

    @property
    def address(self) -> BrokerAddress:
        """Where it listens, and who asks."""
        return BrokerAddress(
            self.host, self.port, self.tls, self.ca_file, self.username, self.password_file
        )


class LocalSettings(BrokerSettings):
    """The broker beside the machines; `client` takes paho-mqtt in place of our own client."""

    client: Literal["direct", "paho"] = "direct"


class SourceSettings(_Section):
    """Where readings come from: a topic pattern with {machine} (and {channel}), and a shape.

    `paths` (json_path) says where each channel stands; there `time_key` is a path as well.
    """

    topic: str
    adapter: Literal["foreshock_batch", "json_batch", "json_object", "json_path", "number"] = (
        "json_object"
    )
    time_key: str | None = "t"
    time_unit: Literal["ns", "us", "ms", "s"] = "ns"
    channels: tuple[Id, ...] = ()
    paths: dict[Id, str] = Field(default_factory=dict)

    @field_validator("topic")
    @classmethod
    def _one_machine_a_level(cls, topic: str) -> str:
        levels = topic.split("/")
        if levels.count("{machine}") != 1 or levels.count("{channel}") > 1:
            raise ValueError("needs {machine} once, and {channel} at most once, as whole levels")
        if re.search(r"[#+{}\x00]", re.sub(r"\{(machine|channel)\}", "", topic)):
            raise ValueError("wildcards and other braces cannot stand in a source's topic")
        if topic.startswith((PREFIX, "{")) or not levels[0]:
            raise ValueError(f"must begin with a level of its own that is not {PREFIX}")
        return topic

    @model_validator(mode="after")
    def _channel_from_somewhere(self) -> Self:
        if self.adapter == "number" and "{channel}" not in self.topic:
            raise ValueError("adapter 'number' takes the channel from {channel} in the topic")
        return self

    @model_validator(mode="after")
    def _the_adapter_has_what_it_needs(self) -> Self:
        if self.adapter == "json_batch" and self.time_key is None:
            raise ValueError("adapter 'json_batch' needs time_key: its readings bring their times")
        if (self.adapter == "json_path") != bool(self.paths):
            raise ValueError("paths and adapter 'json_path' belong together")
        return self


class WindowSettings(_Section):
    """How windows are cut while there is no model, and how long they wait for stragglers."""

    period_s: float = Field(default=1800, ge=0.001, allow_inf_nan=False)
    length: int = Field(default=48, ge=1, le=100_000)
    stride: int = Field(default=4, ge=1)
    min_fill: Annotated[float, Field(gt=0, le=1)] = 0.5
    lateness_s: Seconds = 0

    @model_validator(mode="after")
    def _within_years(self) -> Self:
        if self.period_s * (self.length + self.stride) > YEARS * 365 * 86_400:
            raise ValueError(f"period_s times length and stride is more than {YEARS} years")
        return self


class CommitSettings(_Section):
    """When a transaction ends: at once on an alarm, by `messages`, or after `interval_s`.

    It also ends when it holds many readings, so that batches do not fill the memory.

    `messages` is half of the broker's in-flight window (Mosquitto's default is 20): a full window
    would stop the broker until the interval is over.
    """

    interval_s: Positive = 1.0
    messages: int = Field(default=10, ge=1, le=30_000)


class AlarmSettings(_Section):
    """ISA-18.2 delays in machine time, and the deadband in margin (log-odds) units."""

    on_delay_s: Seconds = 0
    off_delay_s: Seconds = 4 * 3600
    deadband: NotNegative = 0.5
    latching: bool = False


class LimitSettings(_Section):
    """Fallback limits of one channel, used while no model gives a score."""

    low: Finite | None = None
    high: Finite | None = None

    @model_validator(mode="after")
    def _one_at_least_and_in_order(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("needs low or high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


RECORD_BYTES: Final = 40
"""No reading or score is larger in an upload."""

ALARM_BYTES: Final = 8192
"""No alarm or event is larger; an upload holds as many as go into the bytes of its records."""


class UplinkSettings(_Section):
    """How records go up, and how many bytes they may take a second and a (local) day.

    Alarms and events have no bound a second.
    """

    batch_records: int = Field(default=2000, ge=1, le=50_000)
    resend_s: Positive = 5.0
    resend_max_s: Positive = 60.0
    max_bytes_per_s: Positive = 4_000_000
    bytes_per_day: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _a_day_holds_two_uploads(self) -> Self:
        least = 2 * max(RECORD_BYTES * self.batch_records, ALARM_BYTES)
        if self.bytes_per_day is not None and self.bytes_per_day < least:
            raise ValueError(
                f"bytes_per_day {self.bytes_per_day} does not hold two uploads of "
                f"{self.batch_records} records: give it {least}, or make batch_records smaller"
            )
        return self


class RetentionSettings(_Section):
    """What the store may take, what goes when it is more, and what a disk that refuses may cost.

    `max_bytes` bounds the pages that the database uses; the file may have been larger, and the
    write-ahead log comes on top. Where the file system has less than `min_free_bytes`, the store
    drops as if it were full; only `ballast_bytes` of it are kept for alarms and accounts alone.
    """

    keep_delivered_h: Hours = 0
    max_bytes: int = Field(default=4 << 30, ge=1 << 18)
    min_free_bytes: int = Field(default=64 << 20, ge=0)
    ballast_bytes: int = Field(default=4 << 20, ge=0)
    around_alarms_h: Hours = 24
    hold_s: Seconds = 5

    @model_validator(mode="after")
    def _drops_before_it_only_alarms(self) -> Self:
        if self.min_free_bytes < 2 * self.ballast_bytes:
            raise ValueError(
                f"min_free_bytes {self.min_free_bytes} is less than twice ballast_bytes "
                f"{self.ballast_bytes}: old readings must go before new ones are refused"
            )
        return self


class HealthSettings(_Section):
    """Where /metrics and /healthz listen; port 0 takes a free one and says which in the status."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    stalled_s: Positive = 30


class UpdateSettings(_Section):
    """Whom to trust for updates: the fleet's root.json, which `fleet keys init` writes.

    And what a model may take here: milliseconds for a window (95th percentile), and memory.
    """

    root: Path | None = None
    max_window_ms: Positive = 50
    max_rss_mib: int = Field(default=256, ge=1, le=65_536)
    max_model_bytes: int = Field(default=64 << 20, ge=1024, le=1 << 30)


class Settings(_Section):
    """Everything that one agent process needs to know."""

    site: Id
    gateway: Id
    data_dir: Path
    channels: tuple[Id, ...] = Field(min_length=1)
    local: LocalSettings = LocalSettings()
    cloud: BrokerSettings | None = None
    sources: tuple[SourceSettings, ...] = Field(min_length=1)
    windows: WindowSettings = WindowSettings()
    commit: CommitSettings = CommitSettings()
    alarms: AlarmSettings = AlarmSettings()
    limits: dict[Id, LimitSettings] = Field(default_factory=dict)
    uplink: UplinkSettings = UplinkSettings()
    retention: RetentionSettings = RetentionSettings()
    update: UpdateSettings = UpdateSettings()
    health: HealthSettings = HealthSettings()
    max_message_bytes: int = Field(default=262_144, ge=64)
    max_ahead_s: Seconds = 3600

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels: a name stands twice in {', '.join(self.channels)}")
        if unknown := sorted(set(self.limits) - set(self.channels)):
            raise ValueError(
                f"limits.{unknown[0]}: no such channel (channels are {', '.join(self.channels)})"
            )
        return self

    @property
    def at(self) -> Gateway:
        """This gateway's address."""
        return Gateway(self.site, self.gateway)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "agent.db"

    @property
    def uplink_spent(self) -> Path:
        """What went up today, where `uplink.bytes_per_day` is set."""
        return self.data_dir / "uplink-day.json"

    @property
    def last_reload(self) -> Path:
        """How the last reload of the running agent went (JSON)."""
        return self.data_dir / "reload.json"

    @property
    def followed(self) -> Path:
        """The topics that were ever subscribed to at the local broker (JSON)."""
        return self.data_dir / "topics.json"

    @property
    def models(self) -> Path:
        """The folder of model files."""
        return self.data_dir / "models"

    @property
    def metadata(self) -> Path:
        """The folder of verified update metadata."""
        return self.data_dir / "metadata"

    @property
    def root_of_trust(self) -> Path:
        """The root metadata that this gateway was given."""
        return self.update.root or self.data_dir / "root.json"


def load(path: Path) -> Settings:
    """Read a settings file.

    Raises:
        SettingsError: it is missing, not TOML, or an entry is wrong or unknown.
    """
    try:
        return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"settings {path}: {error.strerror}") from None
    except ValidationError as error:
        raise SettingsError("\n".join([f"settings {path}:", *faults_of(error)])) from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"settings {path} is not TOML: {error}") from None


def faults_of(error: ValidationError) -> list[str]:
    """Return a line for each entry that is wrong."""
    return [
        f"  {'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    ]
