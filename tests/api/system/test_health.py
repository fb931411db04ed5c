"""/healthz and /readyz."""

from dataclasses import replace

import pytest

from app.auth.throttle import AuthThrottle
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller, bearer

pytestmark = pytest.mark.one_database


async def test_alive(api: Api) -> None:
    """Without a key, whatever the database does."""
    assert await api.nobody.read("/healthz") == {"status": "ok"}


async def test_ready(api: Api) -> None:
    """Where there is no reason against it."""
    assert await api.nobody.read("/readyz") == {"status": "ready"}


async def test_not_ready_says_why(api: Api) -> None:
    """503 with every reason."""

    async def reasons() -> list[str]:
        return ["The schema is not at head: run `heloise migrate`.", "It rains."]

    api.app.state.services = replace(api.services, readiness=reasons)
    answer = await api.nobody("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/not-ready"
    assert answer.json()["detail"] == (
        "The schema is not at head: run `heloise migrate`. It rains."
    )
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(("lease_seconds", "status"), [(0.0, 503), (3600.0, 200)])
async def test_mail_that_nobody_delivers_is_no_readiness(
    api: Api, acme: Caller, lease_seconds: float, status: int
) -> None:
    """Once it has been due for the time of a lease; a load balancer need not care."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/messages", MESSAGE)
    api.app.state.services = replace(api.services, lease_seconds=lease_seconds)
    answer = await api.nobody("GET", "/readyz")
    assert answer.status_code == status
    if status == 503:
        assert "Mail is queued and nobody delivers" in answer.json()["detail"]
        assert "`heloise worker`" in answer.json()["detail"]
    assert (await api.nobody("GET", "/readyz?delivery=false")).status_code == 200


async def test_without_tables_only_health_answers(api: Api, acme: Caller) -> None:
    """An API that was started on an old schema refuses with the reason, and does no harm."""
    fault = "The database schema is empty, not at 0001: run `heloise migrate`."
    api.replace_auth(schema_fault=lambda: fault)
    for caller, path in ((acme, "/messages"), (acme, "/profiles"), (api.admin, "/tenants")):
        answer = await caller("GET", path)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
        assert answer.json()["detail"] == fault
    assert (await api.nobody("GET", "/healthz")).status_code == 200
    assert (await api.nobody("GET", "/readyz")).status_code == 200


TOKEN = "a-token-of-more-than-32-characters-for-prometheus"


async def test_metrics_ask_for_their_token(api: Api, acme: Caller) -> None:
    """401 without it, with another and with a key; a wrong one is a guess like any other."""
    assert (await api.nobody("GET", "/metrics")).status_code == 200
    api.replace_auth(auth_throttle=AuthThrottle(2, monotonic=api.monotonic))
    api.app.state.services = replace(api.services, metrics_token=TOKEN)
    for caller, status in ((api.nobody, 401), (acme, 401), (api.admin, 401), (acme, 429)):
        answer = await caller("GET", "/metrics")
        assert answer.status_code == status
        assert TOKEN not in answer.text
    assert (await api.nobody("GET", "/metrics", headers=bearer(TOKEN))).status_code == 200
