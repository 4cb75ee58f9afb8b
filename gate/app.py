"""The HTTP application puts a model, any function from images to probabilities, behind the gate.

    app = create_app(predict, meter, service, ledger)

`POST /v1/predict` with images gives 402 and a challenge, `POST /v1/redeem` with its solution the answer.
Where strangers may open accounts, `POST /v1/accounts` and `POST /v1/accounts/redeem` do the same for a key.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Response

from gate.gate import Gate, Service
from gate.http import openapi
from gate.http.access_log import AccessLog
from gate.http.endpoints import Endpoints
from gate.http.metrics import Metrics
from gate.http.pages import add_page
from gate.http.refusals import Endpoint, Refusals, guarded_endpoint
from gate.http.strangers import Strangers, StrangersFirst
from gate.ledgers.base import Ledger, Unavailable
from gate.meters import GateMeter
from gate.model.asking import Model, Predict
from gate.model.effort import Effort

log = logging.getLogger("tollgate.gate")

LEDGER_SECONDS = 30.0
"""Seconds, beside the model's, that an admitted request may take until it is charged."""

SWEEP_SECONDS = 30.0
"""Seconds between two sweeps of the ledger."""

LOAD_SECONDS = 5.0
"""Seconds over which the load is measured that work follows."""

KEYS_SECONDS = 5.0
"""Seconds after which signing keys that another host made are known."""


@dataclass(frozen=True)
class Hosting:
    """How an application is run.

    Args:
        model_seconds: Seconds that the model may take for a batch; longer, and its requests are refused.
        on_stuck: Called once when it takes longer: a process can end itself, so that another one begins.
        load_target: Share of time that the model is busy from which work rises; see Effort.
        strangers_a_minute: Requests without a key that an address may make in a minute.
        defended: Whether defenses change the model's answers, which need not sum to 1 then.
        observed: Whether the application shows its own counts and documents itself; see `observing_app`.
    """

    model_seconds: float = 60.0
    on_stuck: Callable[[], None] | None = None
    load_target: float | None = None
    strangers_a_minute: int = 600
    defended: bool = False
    observed: bool = True


def create_app(
    predict: Predict,
    meter: GateMeter,
    service: Service,
    ledger: Ledger,
    hosting: Hosting | None = None,
) -> FastAPI:
    """Make the application, which closes the ledger when it shuts down. The model is tried first.

    Args:
        predict: The model. One that takes a single image at a time is asked so.
        meter: Measures what its answers reveal.
        service: What is served, and for what work.
        ledger: Accounts, standings, answers and signing keys.
        hosting: How it is run.

    Raises:
        ValueError: The ledger counts something else than the service, or the model does not take its images,
            or answers no probabilities of its classes.
    """
    return _Application(predict, Gate(service, meter, ledger), hosting or Hosting()).app


def observing_app(app: FastAPI) -> FastAPI:
    """Make an application that shows the counts and the document of another one, at its own address."""
    metrics: Metrics = app.state.metrics
    observing = FastAPI(openapi_url=None, redirect_slashes=False)

    def exposition() -> Response:
        return Response(metrics.exposition(), media_type=Metrics.MEDIA_TYPE)

    observing.add_api_route("/metrics", exposition, methods=["GET"], response_model=None)
    observing.add_api_route("/openapi.json", app.openapi, methods=["GET"], response_model=None)
    return observing


class _Application:
    """Puts the endpoints together, and does the gate's duties beside them."""

    def __init__(self, predict: Predict, gate: Gate, hosting: Hosting) -> None:
        self.gate, self.hosting, self.metrics = gate, hosting, Metrics()
        self.effort = Effort(hosting.load_target)
        self.model = Model(predict, gate, self.metrics, hosting.model_seconds, hosting.defended)
        gate.holding = self.model.longest_wait + LEDGER_SECONDS
        self.strangers = Strangers(hosting.strangers_a_minute)
        self.endpoints = Endpoints(gate, self.model, self.metrics, self.strangers.count)
        self.app = _DocumentedApp(
            title="Tollgate",
            description="A model whose answers are paid for with work.",
            version="1",
            lifespan=self._lifespan,
            openapi_url="/openapi.json" if hosting.observed else None,
            redirect_slashes=False,  # a redirection would be built from what the client says of this host
            docs_url=None,  # FastAPI's pages load their scripts from elsewhere
            redoc_url=None,
        )
        self.app.state.metrics, self.app.state.model = self.metrics, self.model
        self._add_routes()

    def _add_routes(self) -> None:
        app, service, does = self.app, self.gate.service, self.endpoints
        routes: list[tuple[str, Endpoint, str, dict[str, Any]]] = [
            ("/v1/predict", does.ask, "POST", openapi.predict(service)),
            ("/v1/redeem", does.redeem, "POST", openapi.redeem(service)),
            ("/v1/model", does.served, "GET", openapi.model()),
            ("/healthz", does.healthz, "GET", openapi.healthz()),
        ]
        if self.hosting.observed:
            routes.append(("/metrics", does.exposition, "GET", openapi.metrics()))
        if service.open_accounts:
            routes += [
                ("/v1/accounts", does.ask_account, "POST", openapi.ask_account(service)),
                ("/v1/accounts/redeem", does.open_account, "POST", openapi.open_account()),
            ]
        for path, endpoint, method, document in routes:
            guarded = guarded_endpoint(endpoint)
            app.add_api_route(path, guarded, methods=[method], response_model=None, **document)
        health = guarded_endpoint(does.healthz)
        app.add_api_route("/healthz", health, methods=["HEAD"], include_in_schema=False, response_model=None)
        add_page(app)
        refusals = Refusals(self.metrics)
        refusals.add_to(app)
        app.add_middleware(StrangersFirst, strangers=self.strangers, refuse=refusals.refuse)
        app.add_middleware(AccessLog, metrics=self.metrics)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        duties = [
            asyncio.create_task(self._from_time_to_time(SWEEP_SECONDS, self._sweep)),
            asyncio.create_task(self._from_time_to_time(KEYS_SECONDS, self.gate.refresh_keys)),
            asyncio.create_task(self.model.watch(self.hosting.on_stuck)),
            asyncio.create_task(self._follow_the_load()),
        ]
        try:
            yield
        finally:
            for duty in duties:
                duty.cancel()
            await self.model.close()
            await anyio.to_thread.run_sync(self.gate.ledger.close)

    async def _follow_the_load(self) -> None:
        """Have the work follow the load, where it shall."""
        while self.hosting.load_target is not None:
            before, began = self.model.batcher.busy, time.monotonic()
            await asyncio.sleep(LOAD_SECONDS)
            self.effort.follow((self.model.batcher.busy - before) / (time.monotonic() - began))
            self.gate.effort = self.effort.factor
            self.metrics.effort.set(self.effort.factor)

    def _sweep(self) -> None:
        self.gate.ledger.sweep(self.gate.clock())

    async def _from_time_to_time(self, seconds: float, duty: Callable[[], None]) -> None:
        """Do a duty again and again; after an error, log it and go on."""
        while True:
            try:
                await self.endpoints.in_thread(duty)
            except Unavailable as error:
                log.warning("%s", error)
            except Exception:
                log.exception("a duty failed")
            await asyncio.sleep(seconds)


class _DocumentedApp(FastAPI):
    """An application whose OpenAPI document says how to send an API key."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document.setdefault("components", {})["securitySchemes"] = openapi.SCHEMES
        return document
