"""Prepare a retry: the same bytes for the failed recipients."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.accept.policy import SenderRule, check_recipients, check_sender
from app.domain.address.folding import fold
from app.domain.errors import Conflict
from app.domain.ids import new_id
from app.domain.tenants.routing import NO_RULES, Routing
from app.domain.types import NewMessage, Origin, Profile, RecipientAddress
from app.store.messages.queries import Original


def prepare_retry(
    original: Original,
    *,
    retry_of: str,
    addresses: Sequence[str] | None,
    profile: Profile,
    origin: Origin,
    allowed_from: Sequence[SenderRule] = (),
    routing: Routing = NO_RULES,
    now: datetime,
) -> NewMessage:
    """Build a new message with the same bytes and Message-ID for failed recipients.

    Sends to `addresses`, or to all that failed, for as long as the original. Raises Conflict if no
    recipient failed or an address did not, and Forbidden as for any message.
    """
    recipients = _select_failed(original, addresses)
    check_sender(original.view.sender, profile, allowed_from)
    check_recipients(recipients, routing)
    message_id = new_id("msg")
    return NewMessage(
        id=message_id,
        tenant_id=profile.tenant_id,
        profile_id=profile.id,
        profile_revision=profile.revision,
        profile_name=profile.name,
        origin=origin,
        envelope_from=original.envelope_from,
        sender=original.view.sender,
        recipients=recipients,
        subject=original.view.subject,
        message_id_header=original.view.message_id_header,
        tags=original.view.tags,
        metadata=original.view.metadata,
        mime=original.mime,
        created_at=now,
        expires_at=now + original.max_age,
        priority=original.view.priority,
        guarantee=original.view.guarantee,
        retry_of=retry_of,
        dsn=original.dsn and replace(original.dsn, envelope_id=message_id),
        has_verp=original.has_verp,
    )


def _select_failed(
    original: Original, addresses: Sequence[str] | None
) -> tuple[RecipientAddress, ...]:
    if not original.failed_recipients:
        raise Conflict(
            "nothing-to-retry",
            "No recipient failed. You can retry only bounced, expired and cancelled recipients.",
        )
    if addresses is None:
        return original.failed_recipients
    failed_by_address = {
        fold(recipient.named_address.address): recipient for recipient in original.failed_recipients
    }
    for address in addresses:
        if fold(address) not in failed_by_address:
            raise Conflict(
                "nothing-to-retry",
                f"{address} is not a failed recipient of this message. Write addresses whose"
                " status is bounced, expired or cancelled.",
            )
    return tuple(failed_by_address[address] for address in dict.fromkeys(map(fold, addresses)))
