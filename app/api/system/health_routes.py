"""Serve `/healthz`, `/readyz` and `/metrics` for orchestrators and monitoring."""

import hmac
from hashlib import sha256
from typing import Final, Literal

from fastapi import APIRouter, Request, Response

from app.api.auth.authentication import bearer_of, visitor_of
from app.api.http.fields import Answer
from app.api.openapi import Responses, open_problems
from app.api.services import Services, ServicesEvenIfNotReady, ServicesOf
from app.domain.errors import Unauthenticated, Unavailable

router = APIRouter(tags=["Health"])


class Alive(Answer):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(Answer):
    """The process can serve requests."""

    status: Literal["ready"] = "ready"


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Check that the process is alive",
    response_description="It is.",
    responses=open_problems(),
)
async def get_health() -> Alive:
    """Return 200 while the process runs, with any database state. Restart it if this fails."""
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
        "description": "Metrics of this process and of the queue in the database.",
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
    responses=open_problems(
        "unauthenticated", "too-many-auth-failures", "database-unavailable", "not-ready"
    )
    | METRICS,
)
async def get_metrics(request: Request, services: ServicesOf) -> Response:
    """Get queue depth and age, outcomes, attempt times, group sizes and connections.

    No label identifies a tenant. Each process has its own metrics: scrape them one by one. If
    HELOISE_METRICS_TOKEN is set, send `Authorization: Bearer <token>`.
    """
    if services.metrics_token is not None:
        _check_token(request, services, services.metrics_token)
    return Response(await services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _check_token(request: Request, services: Services, token: str) -> None:
    """Raise Unauthenticated or TooManyRequests where another is sent, or none."""
    sent = bearer_of(request.scope)
    if sent is None:
        raise Unauthenticated(
            "Metrics need a token: send the header `Authorization: Bearer <token>` with"
            " HELOISE_METRICS_TOKEN."
        )
    digests = [sha256(secret.encode()).digest() for secret in (sent, token)]
    if not hmac.compare_digest(*digests):
        services.guesses.wrong(visitor_of(request).source)
        raise Unauthenticated("The token does not match HELOISE_METRICS_TOKEN.")
