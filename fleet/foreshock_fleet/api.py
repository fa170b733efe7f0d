"""`/predict` over HTTP: the same model file that the gateways run, asked by anybody on loopback."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Annotated, Any, Final

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from foreshock_fleet.errors import FleetError
from foreshock_fleet.predict import InputError, answer, parse_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_wire.model import Model

HOST: Final = "127.0.0.1"
MAX_BODY_BYTES: Final = 4 << 20


class Metrics:
    """What `/metrics` tells about the predictions of one application."""

    def __init__(self, model: Model) -> None:
        self.registry = CollectorRegistry()
        self.predictions = Counter(
            "foreshock_predictions",
            "Windows that were scored.",
            ["label"],
            registry=self.registry,
        )
        self.refusals = Counter(
            "foreshock_prediction_refusals",
            "Requests that were answered with 4xx.",
            ["status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "foreshock_prediction_seconds",
            "From the parsed request to the answer.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0),
            registry=self.registry,
        )
        Info("foreshock_model", "The model that answers.", registry=self.registry).info(
            {"name": model.spec.name, "sha256": model.sha256}
        )


def create_app(model: Model) -> FastAPI:
    """Return the application that serves one model."""
    app = FastAPI(
        title="Foreshock",
        description="Will this machine fail within the horizon? One model file, one window.",
        version=str(model.spec.spec_version),
    )
    metrics = Metrics(model)

    @app.post("/predict", openapi_extra=_request_schema(model), summary="Score one window")
    async def predict(
        request: Request,
        *,
        explain: Annotated[bool, Query(description="Rank the sensors by Shapley value.")] = False,
    ) -> dict[str, Any]:
        try:
            document = _parse(await _body(request))
            with metrics.seconds.time():
                said = answer(model, parse_window(document, model.spec), explain=explain)
        except InputError as error:
            metrics.refusals.labels("422").inc()
            raise HTTPException(422, str(error)) from None
        metrics.predictions.labels(said["label_name"]).inc()
        return said

    @app.get("/healthz", summary="Is the model there, and which one")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "model": {"name": model.spec.name, "sha256": model.sha256}}

    @app.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return app


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise InputError(f"the body has more than {MAX_BODY_BYTES} bytes: send one window")
    return bytes(data)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise InputError("the body is nested too deep") from None
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}") from None


def _no_constant(name: str) -> float:
    raise InputError(f"{name} is not a number in JSON: send null for a missing value")


def _request_schema(model: Model) -> dict[str, Any]:
    names = model.spec.channel_ids
    cell: dict[str, Any] = {"type": ["number", "null"]}
    row = {"type": "array", "items": cell, "minItems": len(names), "maxItems": len(names)}
    column = {"type": "array", "items": cell, "minItems": 1, "maxItems": model.spec.length}
    point = _object(dict.fromkeys(names, cell), "One reading per channel, held over the window.")
    window = {**column, "items": row}
    readings = _object(dict.fromkeys(names, column), "Readings by channel, oldest first.")
    schema = {
        "oneOf": [
            point,
            _object({"window": window}, f"Rows of {', '.join(names)}, oldest first."),
            _object({"readings": readings}, "The same by channel."),
        ]
    }
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"requestBody": body}


def _object(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def serve(model: Model, port: int, ready: Callable[[str], None]) -> None:
    """Serve until a signal comes; `ready(url)` is called when it listens. Port 0 takes a free one.

    Raises:
        FleetError: the port is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise FleetError(
                f"port {port} on {HOST} cannot be used ({error}): choose another --port, or 0"
            ) from None
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        config = uvicorn.Config(create_app(model), log_level="warning", access_log=False)
        _Server(config, lambda: ready(url)).run(sockets=[listener])
