"""Who is on stage: a plant, a broker and an agent per gateway, a cloud broker, ingest and fleet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock.brokers import Broker, make_broker
from foreshock.demo.crew import Crew
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from pathlib import Path

SITE: Final = "works"
CHANNELS: Final = ("temperature", "pressure", "vibration", "torque", "motor_power")
LATENESS_S: Final = 3600
MODEL: Final = "foreshock"
LONGEST: Final = 5.0
"""How many times its length a show may last before its plant has no more to tell."""

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

[retention]
keep_delivered_h = 100000  # the summary counts every reading that this gateway ever stored

[limits.vibration]
high = 14.0

[limits.temperature]
high = 115.0
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a demo is made of."""

    folder: Path
    gateways: int = 3
    machines: int = 12
    past: int = 60
    seconds: float = 90.0
    hours_per_s: float = 8.0
    seed: int = 1
    broker: str = "embedded"

    @property
    def hours(self) -> float:
        """Plant hours that are prepared: the show goes on where a slow machine needs longer."""
        return self.seconds * self.hours_per_s * LONGEST

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

    def config(self, at: Gateway) -> Path:
        """A gateway's settings file."""
        return self.folder / at.gateway / "agent.toml"

    def database(self, at: Gateway) -> Path:
        """A gateway's SQLite file."""
        return self.folder / at.gateway / "data" / "agent.db"


class Stage:
    """The processes of one demo; `close` leaves none of them."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.crew = Crew(setting.folder / "logs")
        self.cloud = make_broker(setting.broker, setting.folder / "cloud-broker")
        self.local: dict[str, Broker] = {
            at.gateway: make_broker(setting.broker, setting.folder / at.gateway / "broker")
            for at in setting.at
        }

    def open(self) -> None:
        """Start the brokers, then everything that listens to them; the plant is not yet on."""
        brokers = [self.cloud, *self.local.values()]
        with ThreadPoolExecutor(len(brokers)) as pool:
            list(pool.map(lambda broker: broker.start(), brokers))
        for at in self.setting.at:
            self._write_config(at)
            config = str(self.setting.config(at))
            self.crew.start(f"agent-{at.gateway}", "agent", "run", "--config", config)
        cloud, lake = self.cloud.address, str(self.setting.lake)
        self.crew.start("ingest", "trainer", "ingest", "--broker", cloud, "--lake", lake)
        self.crew.start("fleet", "fleet", "serve", "--broker", cloud, "--state", self.fleet)

    def close(self) -> None:
        """End everything."""
        self.crew.stop()
        for broker in (*self.local.values(), self.cloud):
            broker.stop()

    @property
    def fleet(self) -> str:
        """The fleet's folder."""
        return str(self.setting.folder / "fleet")

    @property
    def tracking(self) -> str:
        """The folder of the MLflow registry."""
        return str(self.setting.folder / "tracking")

    def start_plant(self) -> None:
        """Let the machines run."""
        setting = self.setting
        brokers = [
            part
            for name, broker in self.local.items()
            for part in ("--broker", f"{SITE}/{name}={broker.address}")
        ]
        self.crew.start(
            "plant",
            "plant",
            "run",
            *brokers,
            *("--machines", str(setting.machines)),
            *("--hours", str(setting.hours)),
            *("--speed", str(setting.hours_per_s)),
            *("--seed", str(setting.seed)),
            *("--out", str(setting.plant)),
        )

    def _write_config(self, at: Gateway) -> None:
        path = self.setting.config(at)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = AGENT_TOML.format(
            site=at.site,
            gateway=at.gateway,
            data_dir=path.parent / "data",
            channels=", ".join(f'"{channel}"' for channel in CHANNELS),
            local_port=self.local[at.gateway].port,
            cloud_port=self.cloud.port,
            lateness_s=LATENESS_S,
        )
        path.write_text(text, encoding="utf-8")
