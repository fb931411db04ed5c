"""HTTP: parse, authorise, call, answer."""

from typing import Final

from fastapi import APIRouter

from app.api import (
    audit_log,
    health,
    keys,
    messages,
    problems,
    profile_verify,
    profiles,
    tenants,
    usage,
)

routers: Final[list[APIRouter]] = [
    messages.router,
    usage.router,
    profile_verify.router,
    profiles.router,
    tenants.router,
    keys.router,
    audit_log.router,
    health.router,
    problems.router,
]
