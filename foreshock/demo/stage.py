"""Who is on stage: a plant, a broker and an agent per gateway, a cloud broker, ingest and fleet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from foreshock.brokers import Broker, make_broker
from foreshock.demo.crew import Crew
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SITE: Final = "works"
MODEL: Final = "foreshock"

AGENT_TOML: Final = """\
# The agent of gateway {gateway} in the demo; `foreshock agent run --config` reads it.
site = "{site}"
gateway = "{gateway}"
data_dir = "{data_dir}"
channels = [{channels}]

[local]
port = {local_port}

[cloud]
port = {cloud_port}
reconnect_max_s = 2

[[sources]]
topic = "plant/{{machine}}/sample"
adapter = "json_object"

[windows]
lateness_s = {lateness_s}

[uplink]
resend_s = 2

[update]
root = "{root}"  # the demo's own throw-away keys

[retention]
keep_delivered_h = 100000  # the summary counts every reading that this gateway ever stored

{limits}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a show is played: a folder, and how many gateways with which broker each."""

    folder: Path
    gateways: int = 3
    broker: str = "embedded"

    @property
    def at(self) -> list[Gateway]:
        """The gateways' addresses."""
        return [Gateway(SITE, f"gw-{number + 1}") for number in range(self.gateways)]

    @property
    def lake(self) -> Path:
        """The Delta tables."""
        return self.folder / "lake"

    @property
    def plant(self) -> Path:
        """The plant's own log, work orders and truth."""
        return self.folder / "plant"

    @property
    def fleet(self) -> Path:
        """The fleet's folder."""
        return self.folder / "fleet"

    @property
    def tracking(self) -> Path:
        """The folder of the MLflow registry."""
        return self.folder / "tracking"

    def config(self, at: Gateway) -> Path:
        """A gateway's settings file."""
        return self.folder / at.gateway / "agent.toml"

    def database(self, at: Gateway) -> Path:
        """A gateway's SQLite file."""
        return self.folder / at.gateway / "data" / "agent.db"


@dataclass(frozen=True, slots=True)
class Sensors:
    """What the gateways are told of their machines: channels, lateness, highest values."""

    channels: Sequence[str]
    lateness_s: int = 0
    highest: Mapping[str, float] = field(default_factory=dict)


class Stage:
    """The processes of one demo; `close` leaves none of them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.crew = Crew(place.folder / "logs")
        self.cloud = make_broker(place.broker, place.folder / "cloud-broker")
        self.local: dict[str, Broker] = {
            at.gateway: make_broker(place.broker, place.folder / at.gateway / "broker")
            for at in place.at
        }

    def open(self, sensors: Sensors) -> None:
        """Start the brokers, then everything that listens to them; the plant is not yet on."""
        self._make_keys()
        place, brokers = self.place, [self.cloud, *self.local.values()]
        with ThreadPoolExecutor(len(brokers)) as pool:
            list(pool.map(lambda broker: broker.start(), brokers))
        for at in place.at:
            self._write_config(at, sensors)
            config = str(place.config(at))
            self.crew.start(f"agent-{at.gateway}", "agent", "run", "--config", config)
        cloud, lake = self.cloud.address, str(place.lake)
        self.crew.start("ingest", "trainer", "ingest", "--broker", cloud, "--lake", lake)
        self.crew.start("fleet", "fleet", "serve", "--broker", cloud, "--state", str(place.fleet))

    def _make_keys(self) -> None:
        """Make signing keys for this demo alone; they go with its folder."""
        keys = ("--root-keys", str(self.place.folder / "root-keys"), "--no-passphrase")
        self.crew.run("keys", "fleet", "keys", "init", "--state", str(self.place.fleet), *keys)

    def close(self) -> None:
        """End everything."""
        self.crew.stop()
        for broker in (*self.local.values(), self.cloud):
            broker.stop()

    def start_plant(self, how: str, *arguments: str) -> None:
        """Let the machines speak: `foreshock plant HOW`, on every gateway's broker."""
        brokers = [
            part
            for name, broker in self.local.items()
            for part in ("--broker", f"{SITE}/{name}={broker.address}")
        ]
        out = ("--out", str(self.place.plant))
        self.crew.start("plant", "plant", how, *brokers, *arguments, *out, "--json")

    def _write_config(self, at: Gateway, sensors: Sensors) -> None:
        path = self.place.config(at)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = AGENT_TOML.format(
            site=at.site,
            gateway=at.gateway,
            data_dir=path.parent / "data",
            channels=", ".join(f'"{channel}"' for channel in sensors.channels),
            local_port=self.local[at.gateway].port,
            cloud_port=self.cloud.port,
            root=self.place.fleet / "root.json",
            lateness_s=sensors.lateness_s,
            limits="\n".join(
                f"[limits.{channel}]\nhigh = {high}\n" for channel, high in sensors.highest.items()
            ),
        )
        path.write_text(text, encoding="utf-8")
