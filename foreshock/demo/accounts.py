"""What every show must account for, recomputed from the files that each role left behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from foreshock.demo import ledger
from foreshock.demo.latency import latencies_ms, percentiles
from foreshock_agent.desk.status import read_status
from foreshock_agent.settings import load
from foreshock_agent.store.accounts import broken_laws, total

if TYPE_CHECKING:
    from foreshock.demo.stage import Place
    from foreshock.demo.watch import Seen
    from foreshock_wire.topics import Gateway

SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the demo trained and rolled out."""

    version: str
    sha256: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """What every show must account for; `problems` is empty when it adds up.

    `readings` counts at every station; `gateways` tells what each runs and holds.
    """

    readings: dict[str, int]
    gateways: list[dict[str, Any]]
    models: list[dict[str, Any]]
    score_latency_ms: dict[str, Any]
    problems: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return one object for machines; `ok` is the exit code's reason."""
        return asdict(self) | {"ok": not self.problems}


def account(place: Place, seen: Seen, models: list[Model], lateness_s: int) -> Accounts:
    """Read everything again that the roles left behind, and set it side by side."""
    book = ledger.compare(
        ledger.published_readings(place.plant / "published.jsonl"),
        ledger.stored_readings(place.database(at) for at in place.at),
        ledger.delivered_readings(place.lake, place.at[0].site),
    )
    gateways = [_gateway(place, at) for at in place.at]
    published = ledger.first_publish_ns(place.plant / "published.jsonl")
    return Accounts(
        readings={
            "published": book.published,
            "stored": book.stored,
            "delivered": book.delivered,
            "lost": book.lost,
            "duplicated": book.duplicated,
            "rejected": sum(gateway["rejected"] for gateway in gateways),
        },
        gateways=gateways,
        models=[asdict(model) for model in models],
        score_latency_ms=percentiles(latencies_ms(seen.scores, published, lateness_s * SECOND_NS)),
        problems=[
            *book.problems(),
            *(f"{gateway['id']}: {law}" for gateway in gateways for law in gateway["broken_laws"]),
            *_wrong_models(gateways, models),
        ],
    )


def _gateway(place: Place, at: Gateway) -> dict[str, Any]:
    status = read_status(load(place.config(at)))
    pending = sum(status["pending"].values())
    laws = broken_laws(status["accounts"], status["pending"]["readings"])
    if pending:
        laws.append(f"{pending} records are still waiting to go up")
    return {
        "id": at.gateway,
        "model": status["model"],
        "machines": status["machines"],
        "received": total(status["accounts"], "readings.received"),
        "duplicates_refused": total(status["accounts"], "readings.duplicate"),
        "rejected": total(status["accounts"], "readings.rejected"),
        "pending": pending,
        "broken_laws": laws,
    }


def _wrong_models(gateways: list[dict[str, Any]], models: list[Model]) -> list[str]:
    if not models:
        return ["no model was trained and rolled out"]
    newest = models[-1].sha256
    return [
        f"{gateway['id']} runs {str(gateway['model'])[:12]}, not {newest[:12]}"
        for gateway in gateways
        if gateway["model"] != newest
    ]
