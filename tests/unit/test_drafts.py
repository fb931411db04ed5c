"""From what the caller wants to a message that can be written (invariant 2)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any, Final

import pytest

from app.accept.message import Draft, prepare
from app.domain.errors import Forbidden, InvalidRequest, TooLarge
from app.domain.ids import is_id
from app.domain.types import Mailbox, NewMessage, Profile, RecipientKind

NOW: Final = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
PROFILE: Final = Profile(
    id="prf_1",
    tenant_id="ten_1",
    name="transactional",
    host="smtp.example.com",
    created_at=NOW,
    updated_at=NOW,
)
BILLING: Final = Mailbox("billing@example.com", "Billing")
ANN, BOB, CAROL = (Mailbox(f"{name}@example.org") for name in ("ann", "bob", "carol"))


def draft(**fields: Any) -> Draft:
    """A draft in order, but for what is said."""
    given: dict[str, Any] = {
        "sender": BILLING,
        "to": (ANN,),
        "subject": "Hello",
        "text": "It works.",
        "headers": {},
        "metadata": {},
    }
    return Draft(**(given | fields))


def prepared(
    wanted: Draft, *, profile: Profile = PROFILE, max_message_bytes: int = 100_000
) -> NewMessage:
    """The message made of it."""
    return prepare(
        wanted,
        profile=profile,
        now=NOW,
        max_message_bytes=max_message_bytes,
        max_age_seconds=3600,
    )


def wrong_fields(wanted: Draft, *, profile: Profile = PROFILE) -> dict[str, str]:
    """What is wrong with it, field by field."""
    with pytest.raises(InvalidRequest) as refused:
        prepared(wanted, profile=profile)
    return {".".join(map(str, error.loc[1:])): error.msg for error in refused.value.errors}


def test_a_message_is_ready_to_be_written() -> None:
    """Of the profile and its tenant, with an id, an envelope and an end."""
    message = prepared(draft(tags=("a", "b", "a"), metadata={"order": "42"}))
    assert is_id(message.id, "msg")
    assert (message.tenant_id, message.profile_id) == ("ten_1", "prf_1")
    assert message.envelope_from == "billing@example.com"
    assert message.tags == ("a", "b")
    assert message.metadata == {"order": "42"}
    assert (message.created_at, message.expires_at) == (NOW, NOW + timedelta(hours=1))


def test_what_is_stored_is_what_is_in_the_bytes() -> None:
    """Message-ID and subject are rendered once, and known by the same value."""
    message = prepared(draft())
    read = message_from_bytes(message.mime)
    assert read["Message-ID"] == message.message_id_header
    assert read["Subject"] == message.subject == "Hello"
    assert read["Date"] == "Thu, 15 Jan 2026 09:30:00 +0000"
    assert message.message_id_header.endswith("@example.com>")


def test_the_profiles_default_sender_stands_in() -> None:
    """Where the draft names nobody."""
    profile = replace(PROFILE, default_from=BILLING)
    assert prepared(draft(sender=None), profile=profile).sender == BILLING
    assert prepared(draft(sender=ANN), profile=profile).sender == ANN


def test_an_address_is_a_recipient_once() -> None:
    """The first of to, cc, bcc counts, whatever the letter case."""
    again = Mailbox("ANN@example.org", "Ann")
    message = prepared(draft(to=(ANN, again, BOB), cc=(again, CAROL), bcc=(BOB, CAROL)))
    assert [(each.mailbox, each.kind) for each in message.recipients] == [
        (ANN, RecipientKind.TO),
        (BOB, RecipientKind.TO),
        (CAROL, RecipientKind.CC),
    ]


def test_a_blind_copy_stands_in_no_byte_of_the_message() -> None:
    """Nor does the word."""
    message = prepared(draft(bcc=(CAROL,)))
    assert message.recipients[-1].kind is RecipientKind.BCC
    assert b"carol" not in message.mime
    assert b"bcc" not in message.mime.lower()


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"sender": None}, "from", "default_from"),
        ({"to": ()}, "to", "at least one recipient"),
        ({"to": (ANN,) * 1001}, "to", "at most 1000"),
        ({"cc": (ANN,) * 500, "bcc": (ANN,) * 500}, "to", "1001 recipients"),
        ({"text": None}, "text", "text, html or both"),
        ({"subject": "a\r\nBcc: eve@example.net"}, "subject", "line break"),
        ({"headers": {"Bcc": "eve@example.net"}}, "headers.Bcc", "`bcc`"),
        ({"headers": {"X-A": "a\nb"}}, "headers.X-A", "line break"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers.x-a", "given twice"),
    ],
)
def test_a_wrong_field_is_named_with_what_to_do(
    change: dict[str, Any], field: str, said: str
) -> None:
    """And it is the only one."""
    found = wrong_fields(draft(**change))
    assert list(found) == [field]
    assert said in found[field]


def test_every_wrong_field_is_named() -> None:
    """One answer for all mistakes; the detail tells how many, and the first."""
    bad = draft(sender=None, to=(), text=None, subject="a\nb", headers={"Date": "now"})
    assert list(wrong_fields(bad)) == ["from", "to", "text", "subject", "headers.Date"]
    with pytest.raises(InvalidRequest, match="5 fields are wrong; the first is from:"):
        prepared(bad)


def test_a_thousand_recipients_are_not_too_many() -> None:
    """The bound is inclusive."""
    many = tuple(Mailbox(f"a{number}@example.org") for number in range(1000))
    assert len(prepared(draft(to=many)).recipients) == 1000


def test_a_sender_that_the_profile_does_not_allow_is_forbidden() -> None:
    """The detail says whom it does allow."""
    profile = replace(PROFILE, allowed_from=("*@example.com", "ann@example.org"))
    assert prepared(draft(), profile=profile)
    assert prepared(draft(sender=ANN), profile=profile)
    with pytest.raises(Forbidden, match=r"bob@example\.org.*\*@example\.com, ann@example\.org"):
        prepared(draft(sender=BOB), profile=profile)


@pytest.mark.parametrize("text", ["x" * 2000, "x\n" * 800, "é" * 500])
def test_a_message_past_the_limit_is_too_large(text: str) -> None:
    """It is counted as it goes on the wire; just at the limit it is taken."""
    size = len(prepared(draft(text=text)).mime)
    assert prepared(draft(text=text), max_message_bytes=size)
    with pytest.raises(TooLarge, match=f"the limit is {size - 1} bytes"):
        prepared(draft(text=text), max_message_bytes=size - 1)


def test_what_is_far_too_large_is_not_even_rendered() -> None:
    """No encoding makes it shorter."""
    with pytest.raises(TooLarge, match="has 5000 bytes or more"):
        prepared(draft(text="x" * 5000), max_message_bytes=1024)
