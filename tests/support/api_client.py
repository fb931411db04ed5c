"""The API served by a real uvicorn on loopback, and callers with and without keys."""

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from datetime import timedelta
from json import dumps
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from app.api.api_keys import service as key_actions
from app.api.api_keys.schemas import KeyCreate
from app.api.http.server_protocol import BoundedProtocol
from app.api.requests.body_memory import Budget
from app.api.services import Services
from app.api.tenants import service as tenant_actions
from app.api.tenants.schemas import TenantCreate
from app.auth.audit_context import AuditContext
from app.domain.api_keys import hash_secret
from app.domain.audit import Actor, ActorKind
from app.domain.console_sessions import ConsoleSession
from app.domain.ids import new_id
from app.domain.submissions import SubmissionSession
from app.domain.types import Scope
from app.store import console_sessions, submissions
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import profile_secret
from tests.support.processes.served import listen

# Loaded once: a client's own would read all certificates of the machine's authorities.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ADMIN_KEY = "an-admin-key-of-more-than-32-characters"


class HandClock:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Caller:
    """Somebody with a key, or without one."""

    http: httpx.AsyncClient
    headers: dict[str, str]
    tenant_id: str = ""
    key_id: str = ""

    async def __call__(
        self, method: str, path: str, json: Any = None, **more: Any
    ) -> httpx.Response:
        headers = self.headers | more.pop("headers", {})
        if json is not None:
            # In ASCII, so that half a surrogate pair can be sent too.
            more["content"] = dumps(json)
            headers.setdefault("Content-Type", "application/json")
        return await self.http.request(method, path, headers=headers, **more)

    async def made(self, path: str, json: Any) -> Any:
        """What a POST made; it has to succeed."""
        answer = await self("POST", path, json)
        assert answer.status_code in {201, 202}, answer.text
        return answer.json()

    async def read(self, path: str) -> Any:
        """What a GET answers; it has to succeed."""
        answer = await self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass
class Api:
    """A running API and what is behind it."""

    app: FastAPI
    services: Services
    http: httpx.AsyncClient
    monotonic: HandClock
    budget: Budget

    def replace_auth(self, **changes: Any) -> None:
        """Serve with other parts of authentication."""
        auth = replace(self.services.auth, **changes)
        self.services = self.app.state.services = replace(self.services, auth=auth)

    @property
    def nobody(self) -> Caller:
        """A caller without a key."""
        return Caller(self.http, {})

    @property
    def admin(self) -> Caller:
        """A caller with the admin key."""
        return Caller(self.http, bearer(ADMIN_KEY))

    def admin_for(self, tenant: str) -> Caller:
        """The admin key acting for a tenant."""
        return Caller(self.http, bearer(ADMIN_KEY) | {"Heloise-Tenant": tenant}, tenant)

    async def tenant(self, slug: str = "acme", scopes: list[str] | None = None) -> Caller:
        """A new tenant's caller, with a key that has these scopes, or all.

        Both are made as their routes make them, in half the time.
        """
        context = self._admin_context()
        body = dumps({"name": "test", "scopes": scopes or EVERY_SCOPE})
        key_create = KeyCreate.model_validate_json(body)
        async with self.services.database.transaction() as connection:
            tenant = await tenant_actions.create(connection, context, TenantCreate(slug=slug))
            owner = key_actions.KeyOwner(tenant.id, context)
            key, secret = await key_actions.create(connection, owner, key_create)
        return Caller(self.http, bearer(secret), tenant.id, key.id)

    def _admin_context(self) -> AuditContext:
        actor = Actor(ActorKind.ADMIN, name="admin", source="127.0.0.1")
        return AuditContext(actor=actor, now=self.services.now())

    async def open_secret(self, profile_id: str, field: str) -> str:
        """A profile's stored secret, as delivery opens it."""
        async with self.services.database.reading() as connection:
            rows = await profiles.load_sealed_page(connection, limit=200, after=None)
        row = next(row for row in rows if row.profile.id == profile_id)
        secret = row.sealed[f"sealed_{field}"]
        assert secret is not None
        return self.services.vault.open(secret, profile_secret(row.profile, field))

    async def session(self, tenant_id: str | None, **fields: Any) -> SubmissionSession:
        """An SMTP session that has ended, in the log."""
        now = self.services.now()
        known: dict[str, Any] = dict.fromkeys(
            field.name for field in dataclass_fields(SubmissionSession)
        )
        known |= {"id": new_id("sub"), "tenant_id": tenant_id, "outcome": "the client quit"}
        known |= {"started_at": now, "ended_at": now, "message_count": 0, "transaction_count": 0}
        known |= {"transactions": [], "message_ids": (), **fields}
        session = SubmissionSession(**known)
        async with self.services.database.transaction() as connection:
            await submissions.insert(connection, [session])
        return session

    async def console_session(
        self,
        tenant_id: str | None,
        *,
        name: str = "billing",
        subject: str | None = None,
        lasts: timedelta = timedelta(hours=12),
        idle: timedelta = timedelta(0),
    ) -> ConsoleSession:
        """A session of the console, of a key of its own or of a person."""
        now, key_hash = self.services.now(), None
        if not subject:
            key = ADMIN_KEY
            if tenant_id is not None:
                caller = await self.key(tenant_id, ["messages:read"])
                key = caller.headers["Authorization"].removeprefix("Bearer ")
            key_hash = hash_secret(key)
        session = ConsoleSession(
            id=new_id("ses"),
            tenant_id=tenant_id,
            name=name,
            key_hash=key_hash,
            issuer="https://sso.example.com" if subject else None,
            subject=subject,
            scopes=frozenset({Scope.MESSAGES_READ}) if subject else None,
            source="192.0.2.1",
            created_at=now,
            last_used_at=now - idle,
            expires_at=now + lasts,
        )
        async with self.services.database.transaction() as connection:
            token_hash = secrets.token_bytes(32)
            await console_sessions.create(connection, session, token_hash=token_hash)
        return session

    async def key(self, tenant_id: str, scopes: list[str], **bound: Any) -> Caller:
        """A caller with a new key of a tenant, which may be bound to something."""
        body = {"name": "test", "scopes": scopes, **bound}
        key = await self.admin.made(f"/tenants/{tenant_id}/keys", body)
        return Caller(self.http, bearer(key["key"]), tenant_id, key["id"])


EVERY_SCOPE = [
    "events:read",
    "keys:manage",
    "messages:manage",
    "messages:read",
    "messages:send",
    "profiles:manage",
    "profiles:read",
    "suppressions:manage",
    "templates:manage",
    "webhooks:manage",
]


def bearer(key: str) -> dict[str, str]:
    """The header that a key is sent in."""
    return {"Authorization": f"Bearer {key}"}


def without_waiting(message: Any) -> Any:
    """A message without the reasons why it waits, which no answer to its sender has."""
    recipients = [recipient | {"waiting": None} for recipient in message["recipients"]]
    return message | {"waiting": None, "recipients": recipients}


@asynccontextmanager
async def serving(
    app: FastAPI, protocol: type[BoundedProtocol] = BoundedProtocol
) -> AsyncIterator[str]:
    """The app behind a real server on a free loopback port; answers its URL."""
    config = uvicorn.Config(
        app, http=protocol, lifespan="off", log_config=None, access_log=False, ws="none"
    )
    # pytest adds its handlers to this logger in each phase of a test, `access_log=False` or not.
    logging.getLogger("uvicorn.access").disabled = True
    server = uvicorn.Server(config)
    with listen() as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Its own way to stop waits a fifth of a second for clients, and there are none any more;
        # but what answered the last of them may still have a file to close.
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for listener in server.servers:
            listener.close()
            await listener.wait_closed()


PROFILE = {
    "name": "transactional",
    "host": "smtp.example.com",
    "ehlo_name": "mail.example.com",
    "auth": {"username": "billing", "password": "canary-8d1f"},
    "default_from": "Billing <billing@example.com>",
    "allowed_from": ["*@example.com"],
}
MESSAGE = {"to": ["ann@example.org"], "subject": "Your receipt", "text": "Thanks."}
