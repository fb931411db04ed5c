"""`/healthz` and `/readyz`: is the process alive, should it be given requests."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.openapi import open_problems
from app.api.state import ServicesEvenIfNotReady
from app.domain.errors import Unavailable

router = APIRouter(tags=["Health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
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
    response_description="The database is reachable and its schema is at head.",
    responses=open_problems("not-ready"),
)
async def get_readiness(services: ServicesEvenIfNotReady) -> Ready:
    """Send it requests while this answers 200; where it answers 503, `detail` says why."""
    if reasons := await services.readiness():
        raise Unavailable("not-ready", " ".join(reasons))
    return Ready()
