"""The application: every endpoint on one desk, behind one gate."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from strop import __version__
from strop.serve import batch, rewards, sandbox_fusion
from strop.serve.desk import Desk, Full
from strop.serve.execution import JudgeFailed
from strop.serve.gate import Gate
from strop.types import StropError


class PlainJSON(JSONResponse):
    """JSON in ASCII: texts of programs may hold what UTF-8 cannot carry."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str | list[Any]


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "A head with two meanings, or data that cannot be judged."},
    401: {"model": Problem, "description": "No token, or not the server's."},
    403: {"model": Problem, "description": "A web page asked a server without a token."},
    408: {"model": Problem, "description": "The body took too long."},
    413: {"model": Problem, "description": "A larger body, or more programs, than the server takes at once."},
    415: {"model": Problem, "description": "A compressed body."},
    422: {"model": Problem, "description": "A field, task or program that cannot be used; each defect is named."},
    429: {"model": Problem, "description": "The queue is full; Retry-After says when to come again."},
    503: {"model": Problem, "description": "Strop failed. This says nothing about any program."},
}


class Health(BaseModel):
    status: str
    version: str
    isolation: str
    """Level of the isolation ladder that programs run at."""


def application(desk: Desk) -> FastAPI:
    """All endpoints, without the gate."""
    app = FastAPI(
        title="Strop judge",
        version=__version__,
        description="Programs in, verdicts out. A program influences its verdict only through the values it returns "
        "and the resources it uses.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        responses=REFUSALS,
    )
    app.state.desk = desk
    app.include_router(batch.router)
    app.include_router(sandbox_fusion.router)
    app.include_router(rewards.router)

    @app.get("/health", tags=["operation"])
    async def health() -> Health:
        """The server is there and takes requests. Needs no token."""
        return Health(status="ok", version=__version__, isolation=desk.isolation)

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(desk.counts.registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # FastAPI's own form without `input`: a body is not sent back to where it came from.
        kept = [{"type": one["type"], "loc": list(one["loc"]), "msg": one["msg"]} for one in error.errors()[:20]]
        return PlainJSON({"detail": kept}, 422)

    @app.exception_handler(Full)
    async def full(_: Request, error: Full) -> Response:
        if error.seconds is None:
            problem = f"More programs in one request than may wait at once ({desk.settings.queue})."
            return PlainJSON({"detail": problem}, 413)
        again = {"Retry-After": str(error.seconds)}
        return PlainJSON({"detail": f"The queue is full. Try again in {error.seconds} s."}, 429, again)

    @app.exception_handler(JudgeFailed)
    @app.exception_handler(StropError)
    async def failed(_: Request, error: Exception) -> Response:
        """Strop failed: says nothing about any program, and must not be counted against one."""
        return PlainJSON({"detail": f"The judge failed: {error}"}, 503, {"Retry-After": "1"})

    @app.exception_handler(RecursionError)
    async def deep(_: Request, error: RecursionError) -> Response:
        return PlainJSON({"detail": "The JSON is nested too deeply."}, 400)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return PlainJSON({"detail": f"The server failed: {type(error).__name__}."}, 500)

    return app


def gated(desk: Desk) -> Gate:
    """The application as it is served."""
    app = application(desk)
    return Gate(app, desk, frozenset(app.openapi()["paths"]) | {"/openapi.json"})
