"""The states of an API key that decide what it opens: one list for HTTP and SMTP."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import update

from app.store.tables.core import api_keys
from tests.support.api_client import ADMIN_KEY, EVERY_SCOPE, Api, Caller, bearer

# For each state the problem that a request to send is refused with; None where it is not.
STATES: Final[dict[str, str | None]] = {
    "active": None,
    "unknown": "unauthenticated",
    "revoked": "unauthenticated",
    "expired": "unauthenticated",
    "deleted": "unauthenticated",
    "admin cut": "unauthenticated",
    "elsewhere": "network-not-allowed",
    "no scope": "scope-missing",
}
# These open nothing at all.
INVALID: Final = [state for state, problem in STATES.items() if problem == "unauthenticated"]


async def make_key(api: Api, tenant_id: str, state: str, **bound: Any) -> Caller:
    """A caller with a key in a state; `deleted` deletes its tenant."""
    if state == "unknown":
        return Caller(api.http, bearer("hel_unknown"), tenant_id)
    if state == "admin cut":
        return Caller(api.http, bearer(ADMIN_KEY[:-1]), tenant_id)
    if state == "elsewhere":
        bound["networks"] = ["192.0.2.0/24"]
    scopes = [scope for scope in EVERY_SCOPE if state != "no scope" or scope != "messages:send"]
    caller = await api.key(tenant_id, scopes, **bound)
    if state == "revoked":
        await _delete(api.admin, f"/tenants/{tenant_id}/keys/{caller.key_id}")
    if state == "expired":
        await _expire(api, caller.key_id)
    if state == "deleted":
        tenant = api.admin_for(tenant_id)
        for profile in (await tenant.read("/profiles"))["items"]:
            await _delete(tenant, f"/profiles/{profile['id']}")
        await _delete(api.admin, f"/tenants/{tenant_id}")
    return caller


async def _delete(caller: Caller, path: str) -> None:
    answer = await caller("DELETE", path)
    assert answer.status_code == 204, answer.text


async def _expire(api: Api, key_id: str) -> None:
    """Let a key have expired: the API makes none that has."""
    past = datetime.now(UTC) - timedelta(minutes=1)
    async with api.services.database.transaction() as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.id == key_id).values(expires_at=past)
        )
