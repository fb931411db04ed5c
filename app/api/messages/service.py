"""Send a message: the use case behind every way to `POST /messages`."""

import logging
from dataclasses import replace
from functools import partial
from typing import Final

from app.accept.build import prepare_message
from app.accept.dkim_keys import read_signing
from app.accept.draft import Draft, DsnOptions
from app.accept.group import Acceptance
from app.accept.policy import AcceptPolicy
from app.accept.raw import INLINE_BYTES, prepare_raw_message
from app.api.http.threads import run_in_thread_above, run_in_thread_if_large
from app.api.messages import message_actions
from app.api.messages.schemas import MessageCreate, MessageRetry
from app.api.messages.template_service import render_template
from app.api.services import Services
from app.auth.caller import Caller
from app.auth.profiles import find_sending_profile
from app.auth.quotas import build_quota_problem, check_recipients
from app.domain.errors import QuotaError, Unavailable
from app.domain.types import NewMessage, Profile
from app.store.idempotency import KeyedRequest
from app.templating import TemplateError

log = logging.getLogger(__name__)

# Larger HTML gets no text part.
MAX_HTML_CHARACTERS: Final = 1_000_000


async def prepare_send(
    services: Services,
    caller: Caller,
    body: MessageCreate,
    *,
    dsn: DsnOptions | None = None,
    is_single: bool = True,
) -> tuple[NewMessage, Profile]:
    """Prepare a message for storage, and return it with its profile.

    `dsn`: the notifications, if they are not the body's. `is_single`: the request has only this
    message. Raises NotFound, InvalidRequest, Forbidden or TooLarge.
    """
    profile = await find_sending_profile(services.auth, caller, body.profile, is_single=is_single)
    draft = await _fill_in_template(services, caller, body, is_single=is_single)
    if dsn is not None:
        draft = replace(draft, dsn=dsn)
    check_recipients(caller.tenant, len(draft.to) + len(draft.cc) + len(draft.bcc))
    policy = await build_policy(services, caller)
    files = sum(len(attachment.content) for attachment in draft.attachments)
    size = len(draft.text or "") + len(draft.html or "") + files
    return await run_in_thread_if_large(
        size, prepare_message, draft, profile=profile, policy=policy
    ), profile


async def _fill_in_template(
    services: Services, caller: Caller, body: MessageCreate, *, is_single: bool
) -> Draft:
    """Build the draft: render its template, or derive text from HTML."""
    draft = body.to_draft()
    if body.template is not None:
        _, content = await render_template(
            services,
            caller.tenant_id,
            body.template,
            version="published",
            variables=body.variables,
            locale=body.locale,
            is_single=is_single,
        )
        return replace(
            draft, subject=content.subject or "", text=content.text or None, html=content.html
        )
    if draft.html is None or draft.text is not None or len(draft.html) > MAX_HTML_CHARACTERS:
        return draft
    try:
        text = await services.renderer.extract_text(draft.html, tenant_id=caller.tenant_id)
    except (TemplateError, Unavailable) as error:  # send it without a text part
        log.warning("could not derive text from HTML: %s", error)
        return draft
    return replace(draft, text=text or None)


async def prepare_raw(
    services: Services, caller: Caller, content: bytes, draft: Draft, profile_name: str | None
) -> tuple[NewMessage, Profile]:
    """Prepare a raw message for storage, and return it with its profile.

    Raises NotFound, InvalidRequest, Forbidden, QuotaExceeded or TooLarge.
    """
    profile = await find_sending_profile(services.auth, caller, profile_name)
    check_recipients(caller.tenant, len(draft.to))
    policy = await build_policy(services, caller)
    return await run_in_thread_above(
        INLINE_BYTES,
        len(content),
        prepare_raw_message,
        content,
        draft,
        profile=profile,
        policy=policy,
    ), profile


async def prepare_resend(
    services: Services, caller: Caller, message_id: str, body: MessageRetry
) -> tuple[NewMessage, Profile]:
    """Prepare a new message with the content of an earlier one, for the same profile.

    Raises NotFound, Gone, Conflict or Forbidden.
    """
    async with services.database.reading() as connection:
        return await message_actions.prepare_resend(
            connection,
            caller,
            message_id,
            body,
            routing=services.routing,
            now=services.now(),
        )


async def build_policy(services: Services, caller: Caller) -> AcceptPolicy:
    """Build the limits and rules for the caller's messages."""
    key, cache = (caller.tenant_id, None), services.signing_cache
    read = partial(read_signing, services.database, services.vault, caller.tenant_id)
    return AcceptPolicy(
        origin=caller.origin,
        allowed_from=caller.allowed_from,
        routing=services.routing.with_rule(caller.tenant.recipient_rule),
        now=services.now(),
        max_message_bytes=max_message_bytes(services, caller),
        max_age_seconds=services.message_max_age_seconds,
        seal_content=services.vault.seal_content,
        signing=cache.get(key) or await cache.read(key, read),
    )


def max_message_bytes(services: Services, caller: Caller) -> int:
    """Return the size limit of the caller's messages: the service's, or the tenant's if smaller."""
    limit = caller.tenant.quota.message_bytes
    return services.max_message_bytes if limit is None else min(services.max_message_bytes, limit)


async def commit_message(
    services: Services, caller: Caller, message: NewMessage, request: KeyedRequest | None = None
) -> KeyedRequest | None:
    """Return once the message is durable.

    Returns the earlier request with the same idempotency key, if there is one. Raises the
    committer's errors as problems.
    """
    try:
        return await services.committer.accept(Acceptance(message, caller.tenant.quota, request))
    except QuotaError as error:
        raise build_quota_problem(error.exceeded, services.now()) from None
