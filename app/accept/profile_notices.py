"""Mail tenants about profiles that fail and recover, shared among any number of workers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.accept.build import prepare_message
from app.accept.dkim_keys import read_signing
from app.accept.draft import Draft
from app.accept.group import Acceptance, Group
from app.accept.policy import AcceptPolicy, SenderRule
from app.domain.clock import Clock
from app.domain.errors import Problem, Unavailable
from app.domain.notices import Notice, NoticeStep, choose_step, write_subject, write_text
from app.domain.tenants.notify import Notify
from app.domain.tenants.quotas import NO_QUOTA, Quota
from app.domain.tenants.routing import Routing
from app.domain.types import (
    MessageSource,
    NamedAddress,
    NewMessage,
    Origin,
    Priority,
    Profile,
    Tenant,
)
from app.store.db.database import Database
from app.store.db.errors import RolledBack
from app.store.db.retry_loop import run_until_stopped
from app.store.delivery import profile_notices
from app.store.profiles import queries as profiles
from app.store.secrets.encryption import Vault
from app.store.tenants import queries as tenants

log = logging.getLogger(__name__)

# Counts, and refuses nothing: a queue that is full because a profile fails must not hide that.
COUNTED_QUOTA: Final = Quota(stored_bytes=2**63 - 1)
TELLING: Final = frozenset({NoticeStep.TELL_FAILURE, NoticeStep.TELL_RECOVERY})


@dataclass(frozen=True, slots=True)
class Notifier:
    """Writes due notices as messages of their tenants; `record` counts these.

    A notice is an ordinary message of another profile. Only a change of a profile causes a notice,
    so one that fails causes no other.
    """

    database: Database
    _: KW_ONLY
    clock: Clock
    vault: Vault
    routing: Routing
    max_message_bytes: int
    max_age_seconds: float
    poll_interval: timedelta
    record: Callable[[Iterable[NewMessage]], None]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write notices while the block runs."""
        task = asyncio.create_task(run_until_stopped(self._poll, "notices"), name="notices")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _poll(self) -> None:
        await self.write_due()
        await self.clock.wait(asyncio.Event(), self.clock.now() + self.poll_interval)

    async def write_due(self) -> None:
        """Write what is due now; what one tenant breaks holds up no other."""
        async with self.database.reading() as connection:
            due_notices = await profile_notices.load_due(connection, now=self.clock.now())
        for notice in due_notices:
            try:
                await self._handle(notice)
            except (RolledBack, Unavailable) as error:
                log.warning("a notice waits: %s", error, extra=_name(notice))
                await self._postpone(notice)
            except Exception:
                log.exception("could not write a notice", extra=_name(notice))
                await self._postpone(notice)

    async def _postpone(self, notice: Notice) -> None:
        """Make room for later notices: the oldest are loaded first."""

        async def write(connection: AsyncConnection) -> None:
            await profile_notices.postpone(connection, notice=notice, now=self.clock.now())

        await self.database.retry_transaction(write)

    async def _handle(self, notice: Notice) -> None:
        """Write the mail and finish the notice, in one transaction: each is told once."""
        now = self.clock.now()
        step, acceptance = choose_step(notice, now), None
        if step in TELLING:
            acceptance = await self._prepare(notice, step, now)
            step = step if acceptance is not None else NoticeStep.SKIP

        async def write(connection: AsyncConnection) -> None:
            if acceptance is not None:
                await Group([acceptance]).write(connection, now)
            if not await profile_notices.finish(connection, notice=notice, step=step, now=now):
                raise _TakenError

        try:
            await self.database.retry_transaction(write, announce=acceptance is not None)
        except _TakenError:
            return
        if acceptance is not None:
            self.record([acceptance.message])

    async def _prepare(self, notice: Notice, step: NoticeStep, now: datetime) -> Acceptance | None:
        """Render the mail; None if nobody wants it, or if it cannot be sent."""
        try:
            async with self.database.reading() as connection:
                tenant = await tenants.get(connection, tenant=notice.tenant_id)
                profile = await profiles.find(
                    connection, tenant_id=tenant.id, profile=notice.profile_id
                )
                if tenant.notify is None or profile is None:
                    return None
                sender = await _find_sender(connection, tenant.notify, profile)
            if sender is None:
                log.warning("no other profile can send a notice", extra=_name(notice))
                return None
            policy = await self._build_policy(tenant, now)
            draft = _build_draft(notice, step, tenant, tenant.notify, profile)
            message = prepare_message(draft, profile=sender, policy=policy)
        except Unavailable:
            raise
        except Problem as problem:
            log.warning("a notice cannot be sent: %s", problem, extra=_name(notice))
            return None
        return Acceptance(message, COUNTED_QUOTA if tenant.quota.is_counted else NO_QUOTA)

    async def _build_policy(self, tenant: Tenant, now: datetime) -> AcceptPolicy:
        return AcceptPolicy(
            origin=Origin(MessageSource.NOTICE, key_id=None),
            allowed_from=(SenderRule("This tenant", tenant.allowed_from),),
            routing=self.routing.with_rule(tenant.recipient_rule),
            now=now,
            max_message_bytes=self.max_message_bytes,
            max_age_seconds=self.max_age_seconds,
            seal_content=self.vault.seal_content,
            signing=await read_signing(self.database, self.vault, tenant.id),
        )


class _TakenError(Exception):
    """The profile has changed, or another worker has written the notice."""


async def _find_sender(
    connection: AsyncConnection, notify: Notify, failing_profile: Profile
) -> Profile | None:
    """Find the profile to send through, which is never the failing one.

    It is the tenant's choice, or else its fallback, or else the default profile.
    """
    tenant_id = failing_profile.tenant_id
    chosen = await profiles.find(connection, tenant_id=tenant_id, profile=notify.profile)
    fallback = None
    if chosen is not None and chosen.fallback_profile_id is not None:
        fallback = await profiles.find(
            connection, tenant_id=tenant_id, profile=chosen.fallback_profile_id
        )
    default = await profiles.get_default(connection, tenant_id=tenant_id)
    return next(
        (
            profile
            for profile in (chosen, fallback, default)
            if profile is not None
            and profile.id != failing_profile.id
            and profile.default_from is not None
        ),
        None,
    )


def _build_draft(
    notice: Notice, step: NoticeStep, tenant: Tenant, notify: Notify, profile: Profile
) -> Draft:
    return Draft(
        sender=None,
        to=tuple(NamedAddress(address) for address in notify.to),
        subject=write_subject(step, notice, profile.name),
        text=write_text(
            step,
            notice,
            profile_name=profile.name,
            tenant_slug=tenant.slug,
            server=f"{profile.host}, port {profile.port}",
        ),
        headers={},
        metadata={},
        auto_submitted="auto-generated",  # RFC 3834: nobody's vacation program answers
        priority=Priority.HIGH,
    )


def _name(notice: Notice) -> dict[str, object]:
    return {"tenant_id": notice.tenant_id, "profile_id": notice.profile_id, "code": notice.code}
