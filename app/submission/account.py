"""Log in with an API key, and submit messages as the API does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final

from app.accept.build import check_message_size
from app.accept.draft import Draft, DsnOptions
from app.accept.policy import check_recipients as check_routing
from app.accept.policy import check_sender
from app.accept.raw import INLINE_BYTES, prepare_raw_message
from app.api.http.threads import run_in_thread_above, run_in_thread_if_large
from app.api.messages.idempotency import accept_once, fingerprint_value
from app.api.messages.service import build_policy, max_message_bytes, prepare_send
from app.api.services import Services
from app.auth.authentication import Visitor
from app.auth.caller import Caller
from app.auth.profiles import find_sending_profile
from app.auth.quotas import check_recipients
from app.domain.api_keys import looks_like_key
from app.domain.audit import Actor
from app.domain.dsn_request import RecipientDsn
from app.domain.errors import Forbidden, Problem, Unauthenticated
from app.domain.mime.header_reader import Header
from app.domain.mime.raw import is_message_id
from app.domain.trace_context import traceparent
from app.domain.types import (
    MessageSource,
    NamedAddress,
    NewMessage,
    Profile,
    RecipientAddress,
    RecipientKind,
    Scope,
)
from app.submission.commands import Mail, Rcpt
from app.submission.content import Content, Trace, build_mime, read_content
from app.submission.dialogue import Envelope
from app.submission.sasl import Credentials
from app.submission.session_record import Identity, LoginRefusedError
from app.submission.template_message import build_template_message

DEFAULT_PROFILE: Final = "heloise"  # the user name that names no profile
REMEDY: Final = "log in with an API key as password"
LOGIN_ACTION: Final = "smtp_login"
SUBMIT_ACTION: Final = "smtp_submit"
AUDIT_OBJECT: Final = "submission"


@dataclass(slots=True, eq=False, repr=False)
class Account:
    """A client that has logged in: a caller, and the profile that it sends through.

    Each message authenticates anew, so a key that is revoked within a session sends no more.
    """

    services: Services
    credentials: Credentials
    client: str | None
    visitor: Visitor
    caller: Caller
    profile: Profile
    is_deduplicated: bool
    has_other_profiles: bool = False
    has_refused_recipients: bool = False

    @property
    def identity(self) -> Identity:
        """Whose key it is, and the profile; no profile once a message named another one."""
        profile_id = None if self.has_other_profiles else self.profile.id
        return Identity(self.caller.tenant_id, self.caller.actor.id, profile_id)

    async def renew(self) -> None:
        """Authenticate for another message, and count it as a request of the tenant.

        Raises as `log_in`.
        """
        self.visitor = _make_visitor(self.services, self.credentials, self.client)
        self.has_refused_recipients = False
        async with self._auditing():
            caller = await self.visitor.authorize(Scope.MESSAGES_SEND)
            self.profile = await _find_profile(self.services, caller, self.credentials.username)
        self.caller = caller

    async def check_sender(self, mail: Mail) -> None:
        """Raise Forbidden or TooLarge if MAIL is not acceptable."""
        async with self._auditing():
            if mail.address:  # no sender, no rule: it is a notification
                check_sender(NamedAddress(mail.address), self.profile, self.caller.allowed_from)
        check_message_size(mail.size_bytes or 0, max_message_bytes(self.services, self.caller))

    async def check_recipient(self, rcpt: Rcpt, count: int) -> None:
        """Raise Forbidden or QuotaExceeded if the recipient, the `count`th, is not acceptable.

        The audit log gets the first refused recipient of a message.
        """
        check_recipients(self.caller.tenant, count)
        routing = self.services.routing.with_rule(self.caller.tenant.recipient_rule)
        try:
            check_routing([RecipientAddress(NamedAddress(rcpt.address), RecipientKind.TO)], routing)
        except Forbidden as problem:
            if not self.has_refused_recipients:
                await self._audit(problem)
            self.has_refused_recipients = True
            raise

    @asynccontextmanager
    async def _auditing(self) -> AsyncIterator[None]:
        """Write to the audit log, as over HTTP, if the block refuses the key."""
        try:
            yield
        except Problem as problem:
            await self._audit(problem)
            raise

    async def _audit(self, problem: Problem) -> None:
        await self.visitor.audit_refusal(problem, action=SUBMIT_ACTION, object_id=AUDIT_OBJECT)

    async def submit(self, envelope: Envelope, data: bytes, trace: Trace) -> str:
        """Store the message durably, and return its id.

        A repeated message is stored once: one with the same Idempotency-Key or, by default, with
        the same Message-ID and envelope. Raises what `POST /messages/raw` does.
        """
        content = read_content(data, trace.hostname)
        del data  # `build_mime` releases it
        if content.options.profile not in {None, self.profile.id, self.profile.name}:
            self.has_other_profiles = True
        token = traceparent.set(content.options.traceparent)
        try:
            return await self._accept(envelope, content, trace)
        finally:  # the session's next message may have none
            traceparent.reset(token)

    async def _accept(self, envelope: Envelope, content: Content, trace: Trace) -> str:
        key = content.options.idempotency_key
        # A malformed Message-ID may not be unique, so it identifies no message.
        has_identity = is_message_id(content.header.get("message-id") or "")
        if key is None and self.is_deduplicated and has_identity:
            key = _duplicate_key(self.caller, envelope, content.header)

        async def fingerprint_content() -> str:
            if content.options.idempotency_key is None:
                return fingerprint_value("smtp", key)
            return await run_in_thread_if_large(len(content.data), _fingerprint, envelope, content)

        async with self._auditing():
            accepted = await accept_once(
                self.services,
                self.caller,
                key,
                fingerprint_content,
                partial(self._make, envelope, content, trace),
                is_probably_new=content.options.idempotency_key is None,
                dump_response=_dump_profile_id,
            )
        return accepted.message_id

    async def _make(
        self, envelope: Envelope, content: Content, trace: Trace
    ) -> tuple[NewMessage, Profile]:
        options = content.options
        if options.template is not None:
            # The message's author decides what parsing thousands of addresses costs.
            body = await asyncio.to_thread(
                build_template_message, envelope, content, profile_id=self.profile.id
            )
            return await prepare_send(self.services, self.caller, body, dsn=_dsn(envelope))
        profile = self.profile
        if options.profile is not None:
            profile = await find_sending_profile(self.services.auth, self.caller, options.profile)
        draft = Draft(
            sender=None,
            to=tuple(NamedAddress(rcpt.address) for rcpt in envelope.rcpts),
            return_path=envelope.mail.address,
            headers={},
            metadata=options.metadata,
            tags=tuple(options.tags),
            dsn=_dsn(envelope),
            send_at=options.send_at,
            priority=options.priority,
            guarantee=options.guarantee,
            is_sensitive=options.sensitive,
        )
        policy = await build_policy(self.services, self.caller)

        def prepare() -> NewMessage:
            return prepare_raw_message(
                build_mime(content),
                draft,
                profile=profile,
                policy=policy,
                trace=trace.field(),
                takes_any_message_id=True,
            )

        size = len(content.data)
        return await run_in_thread_above(INLINE_BYTES, size, prepare), profile


async def log_in(
    services: Services, credentials: Credentials, client: str | None, *, is_deduplicated: bool
) -> Account:
    """Authenticate, and return the account with its profile.

    Raises Unauthenticated, TooManyRequests or Unavailable; LoginRefusedError with the reason if the
    key is a tenant's.
    """
    visitor = _make_visitor(services, credentials, client)
    try:
        caller = await visitor.identify()
        if isinstance(caller, Actor):
            raise Unauthenticated("An admin key belongs to no tenant; use a tenant's API key.")
        caller.require_scope(Scope.MESSAGES_SEND)
        profile = await _find_profile(services, caller, credentials.username)
    except Problem as problem:
        await visitor.audit_refusal(problem, action=LOGIN_ACTION, object_id=AUDIT_OBJECT)
        if visitor.tenant_id is None or visitor.actor is None:
            raise
        raise LoginRefusedError(problem, Identity(visitor.tenant_id, visitor.actor.id)) from problem
    return Account(services, credentials, client, visitor, caller, profile, is_deduplicated)


def _make_visitor(services: Services, credentials: Credentials, client: str | None) -> Visitor:
    return Visitor(
        services.auth,
        credentials.password,
        client,
        remedy=REMEDY,
        proxies_setting="HELOISE_SUBMISSION_TRUSTED_PROXIES",
        message_source=MessageSource.SMTP,
    )


async def _find_profile(services: Services, caller: Caller, username: str) -> Profile:
    """Return the profile that a user name names; with one bound profile the default is that."""
    if looks_like_key(username):
        raise Unauthenticated(
            f"The user name is an API key: write the name of a profile, or {DEFAULT_PROFILE}."
        )
    name: str | None = username
    if username == DEFAULT_PROFILE:
        name = caller.profiles[0] if caller.profiles and len(caller.profiles) == 1 else None
    return await find_sending_profile(services.auth, caller, name)


def _dump_profile_id(_message: NewMessage, profile: Profile) -> str:
    """Return what a repetition needs of the response: over SMTP nobody reads it."""
    return json.dumps({"profile_id": profile.id})


def _dsn(envelope: Envelope) -> DsnOptions | None:
    """The DSN parameters of the envelope; None where it has none."""
    mail = envelope.mail
    recipients = {
        rcpt.address: RecipientDsn(rcpt.notify, rcpt.original)
        for rcpt in envelope.rcpts
        if rcpt.notify or rcpt.original
    }
    if not recipients and mail.returns is None and mail.envelope_id is None:
        return None
    return DsnOptions(returns=mail.returns, envelope_id=mail.envelope_id, recipients=recipients)


def _duplicate_key(caller: Caller, envelope: Envelope, header: Header) -> str | None:
    """Return what a message and its repetition have in common; None without a Message-ID.

    That includes the profiles that the key is bound to: a key does not learn of messages beyond
    its reach.
    """
    message_id = header.get("message-id")
    if message_id is None:
        return None
    profiles = ",".join(caller.profiles or ())
    parts = [
        profiles,
        message_id,
        envelope.mail.address,
        *sorted(rcpt.address for rcpt in envelope.rcpts),
    ]
    # A line break cannot be in a client's own key, so the two never collide.
    return f"smtp\n{sha256(chr(10).join(parts).encode()).hexdigest()}"


def _fingerprint(envelope: Envelope, content: Content) -> str:
    """Return what tells a message from another."""
    fields = [[name.lower(), text] for name, text in content.header.fields]
    rcpts = sorted(rcpt.address for rcpt in envelope.rcpts)
    digest = sha256(content.body).hexdigest()
    return fingerprint_value("smtp", [envelope.mail.address, rcpts, fields, digest])
