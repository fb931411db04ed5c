"""From what the caller wants to a message that can be written: resolved, checked, rendered once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any, Final

import pytest

from app.accept.build import prepare_message
from app.accept.draft import Draft, Importance
from app.accept.policy import AcceptPolicy
from app.domain.address.parse import needs_smtputf8
from app.domain.errors import Forbidden, InvalidRequest, TooLarge
from app.domain.types import (
    Guarantee,
    MessageSource,
    NamedAddress,
    NewMessage,
    Origin,
    Priority,
    Profile,
    RecipientKind,
    RetryPolicy,
)
from app.store.secrets.encryption import Vault

NOW: Final = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
BILLING: Final = NamedAddress("billing@example.com", "Billing")
ANN, BOB, EVE = (
    NamedAddress(f"{name}@example.org", name.title()) for name in ("ann", "bob", "eve")
)
PROFILE: Final = Profile(
    id="prf_1",
    tenant_id="ten_1",
    name="main",
    default_from=BILLING,
    allowed_from=("*@example.com",),
    created_at=NOW,
    updated_at=NOW,
)


def draft(**fields: Any) -> Draft:
    """A draft of which only some fields matter."""
    defaults: dict[str, Any] = {
        "sender": None,
        "to": (ANN,),
        "text": "Thanks.",
        "headers": {},
        "metadata": {},
    }
    return Draft(**(defaults | fields))


def prepare(profile: Profile = PROFILE, *, limit_bytes: int = 10_000, **fields: Any) -> NewMessage:
    """The message made of such a draft, with a service that keeps trying for a day."""
    return prepare_message(
        draft(**fields),
        profile=profile,
        policy=AcceptPolicy(
            origin=Origin(MessageSource.API, "key_0198c5a2d3f07b6e8a4c1d2e3f405162"),
            now=NOW,
            max_message_bytes=limit_bytes,
            max_age_seconds=86_400,
            seal_content=Vault([bytes(32)]).seal_content,
        ),
    )


def errors_of(profile: Profile = PROFILE, **fields: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """Where such a draft is wrong, and how."""
    with pytest.raises(InvalidRequest) as excinfo:
        prepare(profile, **fields)
    return [(error.loc[1:], error.type) for error in excinfo.value.errors]


def test_a_message_belongs_to_its_profile_and_its_tenant() -> None:
    """And is as it was asked for."""
    message = prepare(
        subject="Hello",
        tags=("receipt",),
        metadata={"order": "42"},
        priority=Priority.HIGH,
        guarantee=Guarantee.AT_MOST_ONCE,
    )
    assert (message.tenant_id, message.profile_id) == ("ten_1", "prf_1")
    assert (message.subject, message.tags, message.metadata) == (
        "Hello",
        ("receipt",),
        {"order": "42"},
    )
    assert (message.priority, message.guarantee) == (Priority.HIGH, Guarantee.AT_MOST_ONCE)
    assert message.created_at == NOW


def test_without_a_sender_the_profile_sends() -> None:
    """Envelope and header name the same address."""
    message = prepare()
    assert (message.sender, message.envelope_from) == (BILLING, "billing@example.com")
    assert b"From: Billing <billing@example.com>\r\n" in message.mime
    own = prepare(sender=NamedAddress("sales@example.com"))
    assert (own.envelope_from, b"From: sales@example.com\r\n" in own.mime) == (
        "sales@example.com",
        True,
    )


def test_the_message_id_is_the_messages_id_at_the_senders_domain() -> None:
    """So that one finds one by the other; and it is unique."""
    message, other = prepare(), prepare()
    assert message.message_id_header.replace("-", "") == f"<{message.id[4:]}@example.com>"
    assert f"Message-ID: {message.message_id_header}\r\n".encode() in message.mime
    assert message.message_id_header != other.message_id_header


def test_each_address_is_a_recipient_once() -> None:
    """Named twice, the first of to, cc, bcc counts; letter case makes no other address."""
    shouted = NamedAddress("ANN@EXAMPLE.ORG")
    message = prepare(to=(ANN, shouted), cc=(BOB, ANN), bcc=(EVE, BOB, shouted))
    assert [(recipient.named_address, recipient.kind) for recipient in message.recipients] == [
        (ANN, RecipientKind.TO),
        (BOB, RecipientKind.CC),
        (EVE, RecipientKind.BCC),
    ]
    assert message.mime.count(b"ann@") == 1


def test_blind_copies_stand_in_no_header() -> None:
    """Neither the address nor that there is one."""
    message = prepare(cc=(BOB,), bcc=(EVE,))
    assert b"eve" not in message.mime.lower()
    assert b"bcc" not in message.mime.lower()
    alone = prepare(to=(), bcc=(EVE,))
    assert b"\r\nTo:" not in alone.mime


def test_an_address_in_another_script_is_a_recipient_like_any_other() -> None:
    """Once, whatever its letter case; the header holds it in UTF-8, the envelope as it is."""
    message = prepare(
        to=(NamedAddress("Änne@example.org"), NamedAddress("änne@example.org")), bcc=(BOB,)
    )
    assert [recipient.named_address.address for recipient in message.recipients] == [
        "Änne@example.org",
        "bob@example.org",
    ]
    assert "\r\nTo: Änne@example.org\r\n".encode() in message.mime
    everyone = [recipient.named_address.address for recipient in message.recipients]
    assert needs_smtputf8(message.envelope_from, everyone, message.mime)


def test_a_blind_copy_in_another_script_leaves_the_header_in_ascii() -> None:
    """It is the envelope alone that needs SMTPUTF8: the others' transaction does not."""
    message = prepare(bcc=(NamedAddress("änne@example.org"),))
    assert message.mime.isascii()
    assert needs_smtputf8(message.envelope_from, ["änne@example.org"], message.mime)
    assert not needs_smtputf8(message.envelope_from, [ANN.address], message.mime)


def test_a_sender_in_another_script_has_an_ascii_message_id() -> None:
    """It holds the domain alone."""
    sender = NamedAddress("rechnung-für@example.com")
    message = prepare(sender=sender)
    assert message.envelope_from == sender.address
    assert message.message_id_header.isascii()


def test_a_message_expires_when_it_says_else_when_the_profile_or_the_service_does() -> None:
    """In this order."""
    own_end = NOW + timedelta(minutes=5)
    hasty = replace(PROFILE, retry=RetryPolicy(max_age_seconds=60))
    assert prepare(hasty, expires_at=own_end).expires_at == own_end
    assert prepare(hasty).expires_at == NOW + timedelta(seconds=60)
    assert prepare().expires_at == NOW + timedelta(days=1)


def test_tags_are_kept_once_in_their_order() -> None:
    """As they were first named."""
    assert prepare(tags=("b", "a", "b")).tags == ("b", "a")


@pytest.mark.parametrize(("importance", "number"), [("high", "1"), ("low", "5")])
def test_importance_is_written_for_every_mail_program(importance: str, number: str) -> None:
    """RFC 4021 has Importance; Outlook Express and its kind read X-Priority."""
    mail = message_from_bytes(prepare(importance=Importance(importance)).mime)
    assert (mail["Importance"], mail["X-Priority"]) == (importance, number)


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"to": ()}, [(("to",), "missing")]),
        ({"text": None}, [(("text",), "missing")]),
        ({"subject": "a\r\nBcc: eve@example.org"}, [(("subject",), "value_error")]),
        ({"headers": {"Bcc": "x"}}, [(("headers", "Bcc"), "value_error")]),
        ({"headers": {"X-A": "a\nBcc: x"}}, [(("headers", "X-A"), "value_error")]),
        ({"headers": {"X-A": "1", "x-a": "2"}}, [(("headers", "x-a"), "value_error")]),
        (
            {"importance": Importance.LOW, "headers": {"Importance": "high"}},
            [(("headers", "Importance"), "value_error")],
        ),
        ({"expires_at": NOW}, [(("expires_at",), "value_error")]),
        ({"expires_at": NOW + timedelta(days=31)}, [(("expires_at",), "value_error")]),
        ({"to": (ANN,) * 500, "bcc": (BOB,) * 501}, [(("to",), "too_long")]),
        (
            {"to": (), "text": None, "subject": "\0"},
            [(("to",), "missing"), (("text",), "missing"), (("subject",), "value_error")],
        ),
    ],
)
def test_every_wrong_field_is_named(fields: dict[str, Any], errors: list[Any]) -> None:
    """All at once, each where it stands in the request."""
    assert errors_of(**fields) == errors


def test_somebody_must_send() -> None:
    """Where the profile has no default, `from` is missing."""
    assert errors_of(replace(PROFILE, default_from=None)) == [(("from",), "missing")]


def test_the_summary_counts_what_is_wrong_and_tells_the_first() -> None:
    """For those who read no further."""
    with pytest.raises(InvalidRequest, match=r"^2 fields are invalid; the first is headers\.Date:"):
        prepare(headers={"Date": "x", "Received": "y"})


def test_a_sender_must_be_allowed() -> None:
    """And is told which would be."""
    with pytest.raises(Forbidden, match=r"\*@example\.com") as excinfo:
        prepare(sender=NamedAddress("eve@evil.example"))
    assert excinfo.value.slug == "sender-not-allowed"


def test_a_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    """The limit counts the rendered bytes, and is told."""
    size_bytes = len(prepare().mime)
    assert len(prepare(limit_bytes=size_bytes).mime) == size_bytes
    with pytest.raises(TooLarge, match=f"the limit is {size_bytes - 1} bytes"):
        prepare(limit_bytes=size_bytes - 1)


def test_what_is_far_too_large_is_refused_before_it_is_rendered() -> None:
    """Text and HTML alone are more than the limit."""
    with pytest.raises(TooLarge, match="20000 bytes or more"):
        prepare(text="é" * 5000, html="x" * 10_000)
