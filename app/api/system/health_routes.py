"""Serve `/healthz`, `/readyz` and `/metrics` for orchestrators and monitoring."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from fastapi import Query, Request, Response

from app.api.auth.visitors import get_visitor
from app.api.http.fields import ResponseModel
from app.api.openapi import Responses, problems
from app.api.requests.json_limits import Router
from app.api.services import Services, ServicesEvenIfNotReady
from app.domain.clock import format_rfc3339
from app.domain.errors import Unavailable
from app.store.delivery.queue import find_undelivered

router = Router("Health")


class Alive(ResponseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(ResponseModel):
    """The process can serve requests."""

    status: Literal["ready"] = "ready"


@router.get(
    "/healthz", summary="Check that the process is alive", response_description="The process runs."
)
async def get_health() -> Alive:
    """Return 200 while the process runs, with any database state.

    Restart the process if this fails.
    """
    return Alive()


@router.get(
    "/readyz",
    summary="Check that the service is ready",
    response_description="The database is writable, its schema is current, and mail is delivered.",
)
@problems("not-ready", "database-unavailable")
async def get_readiness(
    services: ServicesEvenIfNotReady,
    *,
    delivery: Annotated[
        bool,
        Query(
            description="Whether to fail while mail is due and no process delivers. Set it to false"
            " in a load balancer's probe: Heloise still accepts messages then."
        ),
    ] = True,
) -> Ready:
    """Return 200 if the service works, otherwise 503 with the reason in `detail`.

    The database must accept writes, and its schema must be current. If mail has been due for
    HELOISE_LEASE_SECONDS, a process must deliver.
    """
    if reasons := await services.readiness():
        raise Unavailable("not-ready", " ".join(reasons))
    if delivery and (reason := await _find_delivery_fault(services)):
        raise Unavailable("not-ready", reason)
    return Ready()


async def _find_delivery_fault(services: Services) -> str | None:
    """Describe that nobody delivers; a worker gets the time of a lease to start."""
    now = services.now()
    async with services.database.reading() as connection:
        due_since = await find_undelivered(
            connection, now=now, alive_since=services.alive_since(now)
        )
    if due_since is None or now - due_since < timedelta(seconds=services.lease_seconds):
        return None
    return (
        f"Mail is queued and nobody delivers, since {format_rfc3339(due_since)}: run `heloise"
        " worker`, or `heloise serve` without --no-delivery."
    )


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
    "/metrics", response_class=Response, summary="Get metrics for Prometheus", responses=METRICS
)
@problems("unauthenticated", "too-many-auth-failures")
async def get_metrics(request: Request, services: ServicesEvenIfNotReady) -> Response:
    """Get the metrics of this `heloise serve` and of the queue, whatever the database does.

    No label names a tenant or a profile, unless HELOISE_METRICS_BY is set. If HELOISE_METRICS_TOKEN
    is set, send `Authorization: Bearer <token>`.
    """
    if services.metrics_token is not None:
        get_visitor(request).require_secret("HELOISE_METRICS_TOKEN", services.metrics_token)
    return Response(await services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
