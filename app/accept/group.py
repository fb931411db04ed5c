"""Write a group of messages in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import QuotaError
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.tenants.quotas import NO_QUOTA, Quota
from app.domain.types import NewMessage
from app.store import idempotency, suppressions
from app.store.idempotency import KeyedRequest
from app.store.outbox import acceptance as outbox_acceptance
from app.store.outbox import leases
from app.store.outbox import results as outcomes
from app.store.outbox.acceptance import Admission
from app.store.outbox.leases import NO_LEASE, Lease
from app.store.suppressions import Addressee
from app.store.tenants import quota_usage


@frozen_dataclass
class Acceptance:
    """A message to accept within its tenant's quota; `request` has an idempotency key.

    The quota admits all messages of a `unit` or none; None: this message alone.
    """

    message: NewMessage
    quota: Quota = NO_QUOTA
    request: KeyedRequest | None = None
    unit: str | None = None

    @property
    def size_bytes(self) -> int:
        """The bytes that count for quota and group size."""
        return len(self.message.mime)


@dataclass(slots=True)
class Group:
    """Messages to store together, with the lease reserved for some of them.

    After `write`: `admitted` are the stored messages, or after an error those to store, and `lease`
    covers those that delivery takes over. `refused` maps message ids to exceeded quotas,
    `earlier_requests` to the first requests with their keys.
    """

    acceptances: Sequence[Acceptance]
    reserved: Lease = NO_LEASE
    lease: Lease = NO_LEASE
    admitted: Sequence[NewMessage] = ()
    refused: dict[str, QuotaError] = field(default_factory=dict)
    earlier_requests: dict[str, KeyedRequest] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether no request has a key and no quota counts."""
        return not any(
            acceptance.request or acceptance.quota.is_counted for acceptance in self.acceptances
        )

    async def write_plain(self, connection: AsyncConnection) -> bool:
        """Store a plain group in one statement; return False if that is not possible.

        Each statement may be its own transaction.
        """
        messages = [acceptance.message for acceptance in self.acceptances]
        if not outbox_acceptance.fits_one_statement(connection, messages):
            return False
        answers = await self._check_admission(connection, messages)
        if not answers.may_suppress:
            await self._accept(connection, messages, answers)
        return not answers.may_suppress

    async def write(self, connection: AsyncConnection, now: datetime) -> None:
        """Store the group with keys, quotas and suppressions, in the connection's transaction."""
        requests = [
            acceptance.request for acceptance in self.acceptances if acceptance.request is not None
        ]
        self.earlier_requests = await idempotency.claim(connection, requests)
        new_acceptances = [
            acceptance
            for acceptance in self.acceptances
            if acceptance.message.id not in self.earlier_requests
        ]
        self.refused = await _charge_quotas(connection, new_acceptances, now)
        await idempotency.release(
            connection, [request for request in requests if request.message_id in self.refused]
        )
        messages = [
            acceptance.message
            for acceptance in new_acceptances
            if acceptance.message.id not in self.refused
        ]
        self.admitted, self.lease = (), NO_LEASE
        if messages:
            answers = await self._check_admission(connection, messages)
            await self._accept(connection, messages, answers)
            if answers.may_suppress:
                await self._suppress(connection, now)

    async def _check_admission(
        self, connection: AsyncConnection, messages: Sequence[NewMessage]
    ) -> Admission:
        profile_ids = {
            message.profile_id for message in messages if message.id in self.reserved.message_ids
        }
        return await outbox_acceptance.check_admission(
            connection, messages, profile_ids=list(profile_ids)
        )

    async def _accept(
        self, connection: AsyncConnection, messages: Sequence[NewMessage], answers: Admission
    ) -> None:
        """Keep the lease only for messages whose profile is unchanged."""
        ready = frozenset(
            message.id
            for message in messages
            if message.id in self.reserved.message_ids
            and (message.profile_id, message.profile_revision) in answers.ready
        )
        self.admitted, self.lease = messages, replace(self.reserved, message_ids=ready)
        await outbox_acceptance.accept(connection, messages, self.lease)

    async def _suppress(self, connection: AsyncConnection, now: datetime) -> None:
        """Apply suppressions to new messages."""
        addressees = [
            Addressee(message.tenant_id, message.id, position, recipient.named_address.address)
            for message in self.admitted
            for position, recipient in enumerate(message.recipients)
        ]
        changed_ids = await suppressions.apply(connection, addressees=addressees, now=now)
        if not changed_ids:  # a suppression for a tag that none of the messages has
            return
        leased_ids = self.lease.message_ids & set(changed_ids)
        await leases.release(
            connection, owner=self.lease.owner, message_ids=list(leased_ids), now=now
        )
        await outcomes.close(connection, message_ids=changed_ids, now=now)
        self.lease = replace(self.lease, message_ids=self.lease.message_ids - leased_ids)


async def _charge_quotas(
    connection: AsyncConnection, acceptances: Sequence[Acceptance], now: datetime
) -> dict[str, QuotaError]:
    """Charge the messages to quotas; return those without room, by message id.

    Locks tenants in the order of their ids, so that two processes cannot deadlock.
    """
    acceptances_by_tenant = dict[str, list[Acceptance]]()
    for acceptance in acceptances:
        if acceptance.quota.is_counted:
            acceptances_by_tenant.setdefault(acceptance.message.tenant_id, []).append(acceptance)
    refused = dict[str, QuotaError]()
    for tenant_id in sorted(acceptances_by_tenant):
        tenant_acceptances = acceptances_by_tenant[tenant_id]
        units = [list(unit) for _, unit in groupby(tenant_acceptances, key=get_unit)]
        verdicts = await quota_usage.charge(
            connection,
            tenant_id=tenant_id,
            quota=tenant_acceptances[-1].quota,
            units=[[acceptance.size_bytes for acceptance in unit] for unit in units],
            now=now,
        )
        for unit, exceeded in zip(units, verdicts, strict=True):
            if exceeded is not None:
                refused |= {acceptance.message.id: QuotaError(exceeded) for acceptance in unit}
    return refused


def get_unit(acceptance: Acceptance) -> str:
    """Return what is accepted as a whole: the acceptance's unit, or else its message."""
    return acceptance.unit or acceptance.message.id
