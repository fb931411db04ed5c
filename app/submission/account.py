"""Log in with an API key, and submit messages as the API does."""

from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from typing import Final

from pydantic import ValidationError

from app.accept.draft import Draft, DsnOptions
from app.accept.policy import check_recipients as check_routing
from app.accept.policy import check_sender
from app.accept.raw import prepare_raw_message
from app.api.http.threads import beside_if_large
from app.api.messages.idempotency import accept_once, fingerprint
from app.api.messages.schemas import MessageCreate
from app.api.messages.service import prepared, terms_of
from app.api.services import Services
from app.auth.authentication import Visitor
from app.auth.caller import Caller
from app.auth.profiles import sending_profile
from app.auth.quotas import check_recipients
from app.domain.audit import Actor
from app.domain.dsn_request import RecipientDsn
from app.domain.errors import Problem, TooLarge, Unauthenticated
from app.domain.mime.custom_headers import parse_mailboxes
from app.domain.mime.header_reader import Header, decode_words
from app.domain.types import (
    Mailbox,
    MessageSource,
    NewMessage,
    Profile,
    RecipientAddress,
    RecipientKind,
    Scope,
)
from app.submission.commands import Mail, Rcpt
from app.submission.content import Prepared, Trace, prepare_content
from app.submission.dialogue import Envelope
from app.submission.options import first_error
from app.submission.sasl import Credentials

DEFAULT_PROFILE: Final = "heloise"  # the user name that names no profile
REMEDY: Final = "log in with an API key as password"
LOGIN_ACTION: Final = "smtp_login"


class Account:
    """A client that has logged in: a caller, and the profile that it sends through.

    Each message authenticates anew, so a key that is revoked within a session sends no more.
    """

    def __init__(
        self,
        services: Services,
        credentials: Credentials,
        client: str | None,
        *,
        is_deduplicated: bool,
    ) -> None:
        self._services = services
        self._is_deduplicated = is_deduplicated
        self._credentials = credentials
        self._client = client
        self._caller: Caller | None = None
        self._profile: Profile | None = None

    @property
    def caller(self) -> Caller:
        """The caller; raises AssertionError before the login."""
        if self._caller is None:
            raise AssertionError
        return self._caller

    @property
    def profile(self) -> Profile:
        """The profile; raises AssertionError before the login."""
        if self._profile is None:
            raise AssertionError
        return self._profile

    @property
    def tenant_id(self) -> str:
        """The tenant's id."""
        return self.caller.tenant_id

    @property
    def key_id(self) -> str | None:
        """The API key's id."""
        return self.caller.actor.id

    @property
    def profile_id(self) -> str:
        """The profile's id."""
        return self.profile.id

    async def log_in(self) -> None:
        """Authenticate and find the profile.

        Raises Unauthenticated, Forbidden, TooManyRequests, NotFound or Unavailable.
        """
        visitor = self._visitor()
        try:
            identity = await visitor.identify()
            if isinstance(identity, Actor):
                raise Unauthenticated("An admin key belongs to no tenant; use a tenant's API key.")
            identity.require_scope(Scope.MESSAGES_SEND)
            self._profile = await self._find_profile(identity)
        except Problem as problem:
            await visitor.audit_refusal(problem, action=LOGIN_ACTION, object_id="submission")
            raise
        self._caller = identity

    async def renew(self) -> None:
        """Authenticate for another message, and count it as a request of the tenant.

        Raises as `log_in`.
        """
        caller = await self._visitor().authorize(Scope.MESSAGES_SEND)
        self._profile, self._caller = await self._find_profile(caller), caller

    def _visitor(self) -> Visitor:
        return Visitor(
            self._services.auth,
            self._credentials.password,
            self._client,
            remedy=REMEDY,
            message_source=MessageSource.SMTP,
        )

    async def _find_profile(self, caller: Caller) -> Profile:
        username = self._credentials.username
        if username != DEFAULT_PROFILE:
            return await sending_profile(self._services.auth, caller, username)
        only = caller.profiles if caller.profiles and len(caller.profiles) == 1 else (None,)
        return await sending_profile(self._services.auth, caller, only[0])

    async def check_sender(self, mail: Mail) -> None:
        """Raise Forbidden or TooLarge if MAIL is not acceptable."""
        if mail.address:  # no sender, no rule: it is a notification
            check_sender(Mailbox(mail.address), self.profile, self.caller.allowed_from)
        terms = await terms_of(self._services, self.caller)
        if mail.size_bytes is not None and mail.size_bytes > terms.max_message_bytes:
            raise TooLarge(
                "message-too-large", f"A message has at most {terms.max_message_bytes} bytes."
            )

    def check_recipient(self, rcpt: Rcpt, count: int) -> None:
        """Raise Forbidden or QuotaExceeded if the recipient, the `count`th, is not acceptable."""
        check_recipients(self.caller.tenant, count)
        routing = self._services.routing.with_rule(self.caller.tenant.recipient_rule)
        check_routing([RecipientAddress(Mailbox(rcpt.address), RecipientKind.TO)], routing)

    async def submit(self, envelope: Envelope, content: bytes, trace: Trace) -> str:
        """Store the message durably, and return its id.

        A repeated message is stored once: one with the same Idempotency-Key or, by default, with
        the same Message-ID and envelope. Raises what `POST /messages/raw` does.
        """
        message = await beside_if_large(len(content), prepare_content, content, trace)
        size_bytes = len(content)
        del content
        key = message.options.idempotency_key
        if key is None and self._is_deduplicated:
            key = _duplicate_key(envelope, message.header)

        async def fingerprint_content() -> str:
            if message.options.idempotency_key is None:
                return fingerprint("smtp", key)
            return await beside_if_large(size_bytes, _fingerprint, envelope, message)

        accepted = await accept_once(
            self._services,
            self.caller,
            key,
            fingerprint_content,
            partial(self._make, envelope, message),
        )
        return accepted.message_id

    async def _make(self, envelope: Envelope, message: Prepared) -> tuple[NewMessage, Profile]:
        options = message.options
        if options.template is not None:
            try:
                body = _template_message(envelope, message, profile_id=self.profile.id)
            except ValidationError as error:
                raise first_error(error) from None
            return await prepared(self._services, self.caller, body)
        profile = self.profile
        if options.profile is not None:
            profile = await sending_profile(self._services.auth, self.caller, options.profile)
        check_recipients(self.caller.tenant, len(envelope.rcpts))
        terms = await terms_of(self._services, self.caller)
        draft = Draft(
            sender=None,
            to=tuple(Mailbox(rcpt.address) for rcpt in envelope.rcpts),
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
        new_message = await beside_if_large(
            len(message.mime),
            prepare_raw_message,
            message.mime,
            draft,
            profile=profile,
            policy=terms,
            trace=message.received,
        )
        return new_message, profile


async def log_in(
    services: Services, credentials: Credentials, client: str | None, *, is_deduplicated: bool
) -> Account:
    """Return the account that the credentials open; raises as `Account.log_in`."""
    account = Account(services, credentials, client, is_deduplicated=is_deduplicated)
    await account.log_in()
    return account


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


def _duplicate_key(envelope: Envelope, header: Header) -> str | None:
    """Return what a message and its repetition have in common; None without a Message-ID."""
    message_id = header.get("message-id")
    if message_id is None:
        return None
    parts = [message_id, envelope.mail.address, *sorted(rcpt.address for rcpt in envelope.rcpts)]
    # A line break cannot be in a client's own key, so the two never collide.
    return f"smtp\n{sha256(chr(10).join(parts).encode()).hexdigest()}"


def _fingerprint(envelope: Envelope, message: Prepared) -> str:
    """Return what tells a message from another."""
    body = memoryview(message.mime)[message.mime.index(b"\r\n\r\n") :]
    fields = [[name.lower(), text] for name, text in message.header.fields]
    rcpts = sorted(rcpt.address for rcpt in envelope.rcpts)
    digest = sha256(body).hexdigest()
    return fingerprint("smtp", [envelope.mail.address, rcpts, fields, digest])


def _template_message(envelope: Envelope, message: Prepared, *, profile_id: str) -> MessageCreate:
    """Return the message that a template makes, for the recipients of the envelope."""
    header, options = message.header, message.options
    addresses = {rcpt.address: Mailbox(rcpt.address) for rcpt in envelope.rcpts}
    to = _pick(addresses, header.get("to"))
    cc = _pick(addresses, header.get("cc"))
    return MessageCreate.model_validate(
        {
            "profile": options.profile or profile_id,
            "from": decode_words(header.get("from") or ""),
            "to": to,
            "cc": cc,
            "bcc": list(addresses.values()),
            "return_path": envelope.mail.address,
            "template": options.template,
            "variables": options.variables,
            "tags": options.tags,
            "metadata": options.metadata,
            "send_at": None if options.send_at is None else options.send_at.isoformat(),
            "priority": options.priority,
            "guarantee": options.guarantee,
            "sensitive": options.sensitive,
        }
    )


def _pick(addresses: dict[str, Mailbox], header: str | None) -> list[Mailbox]:
    """Remove from `addresses`, and return, those that a header field names."""
    try:
        named: Iterable[Mailbox] = parse_mailboxes(decode_words(header)) if header else ()
    except ValueError:
        named = ()
    return [mailbox for mailbox in named if addresses.pop(mailbox.address, None) is not None]
