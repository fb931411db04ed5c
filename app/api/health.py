"""`/healthz` and `/readyz`: is the process alive, should it be given requests."""

from typing import Final, Literal

from fastapi import APIRouter, Response

from app.api.bodies import Answer
from app.api.openapi import Responses, open_problems
from app.api.state import ServicesEvenIfNotReady, ServicesOf
from app.domain.errors import Unavailable

router = APIRouter(tags=["Health"])


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Answer):
    """The process can do its work."""

    status: Literal["ready"] = "ready"


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Is the process alive?",
    response_description="It is.",
    responses=open_problems(),
)
async def get_health() -> Alive:
    """Answers as long as the process runs, whatever the database does: restart it if this fails."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="get_readiness",
    summary="Can it do its work?",
    response_description="The database takes writes, and its schema is at head.",
    responses=open_problems("not-ready"),
)
async def get_readiness(services: ServicesEvenIfNotReady) -> Ready:
    """Send it requests while this answers 200; where it answers 503, `detail` says why."""
    if reasons := await services.readiness():
        raise Unavailable("not-ready", " ".join(reasons))
    return Ready()


METRICS: Final[Responses] = {
    200: {
        "description": "The metrics of this process, and what waits in the database.",
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
    summary="Metrics for Prometheus",
    responses=open_problems("database-unavailable", "not-ready") | METRICS,
)
async def get_metrics(services: ServicesOf) -> Response:
    """Queue depth and age, outcomes, attempt times, group sizes, connections; no label is a tenant.

    With several processes each counts for itself: scrape them one by one.
    """
    return Response(await services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
