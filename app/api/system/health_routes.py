"""Serve `/healthz`, `/readyz` and `/metrics` for orchestrators and monitoring."""

from typing import Final, Literal

from fastapi import APIRouter, Request, Response

from app.api.auth.visitors import get_visitor
from app.api.http.fields import ResponseModel
from app.api.openapi import Responses, open_problems
from app.api.services import ServicesEvenIfNotReady
from app.domain.errors import Unavailable

router = APIRouter(tags=["Health"])


class Alive(ResponseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(ResponseModel):
    """The process can serve requests."""

    status: Literal["ready"] = "ready"


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Check that the process is alive",
    response_description="The process runs.",
    responses=open_problems(),
)
async def get_health() -> Alive:
    """Return 200 while the process runs, with any database state.

    Restart the process if this fails.
    """
    return Alive()


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Check that the service is ready",
    response_description="The database is writable and its schema is current.",
    responses=open_problems("not-ready"),
)
async def get_readiness(services: ServicesEvenIfNotReady) -> Ready:
    """Return 200 if the process can serve requests, otherwise 503 with the reason in `detail`."""
    if reasons := await services.readiness():
        raise Unavailable("not-ready", " ".join(reasons))
    return Ready()


METRICS: Final[Responses] = {
    200: {
        "description": "Metrics of this service and of the queue in the database.",
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": 'heloise_messages{status="queued"} 0.0\n',
            }
        },
    }
}


@router.get(
    "/metrics",
    response_class=Response,
    operation_id="get_metrics",
    summary="Get metrics for Prometheus",
    responses=open_problems("unauthenticated", "too-many-auth-failures") | METRICS,
)
async def get_metrics(request: Request, services: ServicesEvenIfNotReady) -> Response:
    """Get the metrics of this `heloise serve` and of the queue, whatever the database does.

    No label names a tenant or a profile, unless HELOISE_METRICS_BY is set. If HELOISE_METRICS_TOKEN
    is set, send `Authorization: Bearer <token>`.
    """
    if services.metrics_token is not None:
        get_visitor(request).require_secret("HELOISE_METRICS_TOKEN", services.metrics_token)
    return Response(await services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
