"""/metrics (Prometheus) and /healthz, on loopback unless the settings say otherwise."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client.metrics_core import Metric

    from foreshock_agent.settings import HealthSettings


class HealthAddressError(ForeshockError):
    """The address for /metrics and /healthz cannot be listened on."""


class Vitals:
    """What the agent shows of itself; the functions are called at each scrape."""

    def __init__(
        self,
        *,
        accounts: Callable[[], Mapping[str, int]],
        gauges: Callable[[], Mapping[str, float]],
        problem: Callable[[], str],
    ) -> None:
        self.accounts = accounts
        self.gauges = gauges
        self.problem = problem


class _Accounts(Collector):
    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterable[Metric]:
        """Yield the accounts as one counter family, and the gauges."""
        family = CounterMetricFamily(
            "foreshock_agent_accounts",
            "What came in and what became of it (see the accounting law).",
            labels=["unit", "outcome", "reason"],
        )
        for name, value in sorted(self._vitals.accounts().items()):
            unit, outcome, reason = (*name.split("."), "", "")[:3]
            family.add_metric([unit, outcome, reason], value)
        yield family
        for name, gauge in sorted(self._vitals.gauges().items()):
            yield GaugeMetricFamily(f"foreshock_agent_{name}", name.replace("_", " "), value=gauge)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - their signature
        """Say nothing: a scrape every 15 s is no news."""


class Health:
    """The HTTP server of one agent."""

    def __init__(self, settings: HealthSettings, vitals: Vitals) -> None:
        registry = CollectorRegistry()
        registry.register(_Accounts(vitals))
        self._metrics = make_wsgi_app(registry)
        self._vitals = vitals
        self._server = self._listen(settings)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )

    def _listen(self, settings: HealthSettings) -> WSGIServer:
        try:
            return make_server(
                settings.host, settings.port, self._app, server_class=_Server, handler_class=_Quiet
            )
        except (OSError, UnicodeError) as error:
            raise HealthAddressError(
                f"health.host {settings.host}, health.port {settings.port}: {error}; "
                "port 0 takes a free one"
            ) from None

    @property
    def port(self) -> int:
        """The port that was given, or found."""
        return int(self._server.server_port)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                metrics: Iterable[bytes] = self._metrics(environ, start_response)
                return metrics
            case "/healthz":
                return self._healthz(start_response)
            case _:
                return _answer(
                    start_response, HTTPStatus.NOT_FOUND, {"try": ["/metrics", "/healthz"]}
                )

    def _healthz(self, start_response: StartResponse) -> Iterable[bytes]:
        problem = self._vitals.problem()
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        body = {"ok": not problem, "problem": problem, **self._vitals.gauges()}
        return _answer(start_response, status, body)


def _answer(
    start_response: StartResponse, status: HTTPStatus, body: Mapping[str, object]
) -> list[bytes]:
    content = json.dumps(body).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    start_response(f"{status.value} {status.phrase}", headers)
    return [content]
