"""What comes back by mail, in the forms in which servers really write it (RFC 3464, RFC 5965)."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.inbound.bounce_parser import ReportKind, parse_report

CORPUS = Path(__file__).parent / "reports"
MESSAGE = "msg_0198c5a2d3f07b6e8a4c1d2e3f405162"
HEADER = "<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>"
BOUNCED_LATER, DELAYED, DELIVERED = (
    ReportKind.BOUNCED_LATER,
    ReportKind.DELAYED,
    ReportKind.DELIVERED,
)

# Kind, address, code, and the first words of what was said, for each recipient.
CASES: dict[str, list[tuple[Any, ...]]] = {
    "postfix_failed": [
        (
            BOUNCED_LATER,
            "ann@example.org",
            "5.1.1",
            "550 5.1.1 <ann@example.org>: Recipient address",
        ),
        (BOUNCED_LATER, "bob@example.org", "5.2.2", "552 5.2.2 mailbox full"),
    ],
    "postfix_delayed": [(DELAYED, "bob@example.org", "4.4.1", "connect to mx.example.org")],
    "exim": [(BOUNCED_LATER, "ann@example.org", "5.1.1", "550 5.1.1 User unknown")],
    "exim_old": [
        (BOUNCED_LATER, "ann@example.org", "5.1.1", "SMTP error from remote mail server"),
        (BOUNCED_LATER, "bob@example.org", "5.1.1", "SMTP error from remote mail server"),
    ],
    "exchange": [(BOUNCED_LATER, "ann@example.org", "5.1.10", "550 5.1.10 RESOLVER.ADR")],
    "gmail": [(BOUNCED_LATER, "ann@example.org", "5.1.1", "550-5.1.1 The email account")],
    "qmail": [
        (
            BOUNCED_LATER,
            "ann@example.org",
            "5.1.1",
            "Sorry, no mailbox here by that name. (#5.1.1)",
        ),
        (BOUNCED_LATER, "bob@example.org", "5.7.1", "192.0.2.25 does not like recipient."),
    ],
    "delivered": [(DELIVERED, "ann+40shop@example.org", "2.0.0", None)],
    "international": [(BOUNCED_LATER, "jörg@example.org", "5.1.1", "550 5.1.1 jörg kennt")],
    "complaint": [(ReportKind.COMPLAINED, "ann@example.org", None, "feedback of type abuse")],
    "complaint_redacted": [(ReportKind.COMPLAINED, None, None, "feedback of type abuse")],
    "unsubscribe": [(ReportKind.UNSUBSCRIBED, "Ann@example.org", None, "by mail")],
}


def corpus(name: str) -> bytes:
    """A mail as it came, with the line ends of the wire."""
    return (CORPUS / f"{name}.eml").read_bytes().replace(b"\n", b"\r\n")


def test_every_mail_of_the_corpus_has_its_case() -> None:
    """None is forgotten."""
    assert {path.stem for path in CORPUS.glob("*.eml")} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
def test_what_is_said_of_each_recipient(name: str, ends: bytes) -> None:
    """With the line ends of the wire, and as a mailbox file has them."""
    report = parse_report(corpus(name).replace(b"\r\n", ends))
    assert len(report.recipients) == len(CASES[name])
    for reported, (kind, address, code, text) in zip(report.recipients, CASES[name], strict=True):
        assert (reported.kind, reported.code) == (kind, code)
        assert next(iter(reported.addresses), None) == address
        assert (reported.text or "").startswith(text or "")


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"unsubscribe", "delivered"}))
def test_the_message_that_came_back_is_named(name: str) -> None:
    """By its Message-ID, from its copy, its header, a quotation or what it is an answer to."""
    assert parse_report(corpus(name)).message_ids[0] == HEADER


def test_other_places_name_the_message() -> None:
    """The envelope's id, the address that it was sent to, and the reverse-path that is told."""
    assert parse_report(corpus("delivered")).ids == (MESSAGE,)
    assert parse_report(corpus("postfix_delayed")).places == ((MESSAGE, 1),)
    assert parse_report(corpus("complaint")).places == ((MESSAGE, 0),)
    return_path = f"bounces+{MESSAGE.partition('_')[2]}-7@example.com"
    assert parse_report(corpus("gmail"), sent_to=return_path).places == ((MESSAGE, 7),)


def test_an_unsubscribe_may_name_a_list() -> None:
    """The word behind `unsubscribe`."""
    assert parse_report(corpus("unsubscribe")).tag == "newsletter"
    every = corpus("unsubscribe").replace(b"Unsubscribe newsletter", b"unsubscribe")
    assert parse_report(every).tag is None


@pytest.mark.parametrize(
    ("name", "codes"),
    [("postfix_failed", [True, False]), ("qmail", [True, False]), ("postfix_delayed", [False])],
)
def test_only_an_unknown_address_is_a_hard_bounce(name: str, codes: list[bool]) -> None:
    """A mailbox that is full, or a server that does not like us, is none."""
    assert [
        recipient.is_hard_bounce for recipient in parse_report(corpus(name)).recipients
    ] == codes


def test_no_spam_is_no_complaint() -> None:
    """It says nothing of anybody (RFC 5965 section 7.3)."""
    mail = corpus("complaint").replace(b"Feedback-Type: abuse", b"Feedback-Type: not-spam")
    assert parse_report(mail).recipients == ()


def test_a_report_within_a_mail_is_not_its_own() -> None:
    """Who forwards a bounce has not bounced."""
    inner = corpus("gmail")
    mail = (
        b"From: ann@example.org\r\nSubject: look at this\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n"
        b"--outer\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--outer--\r\n"
    )
    with pytest.raises(ValueError, match="not a delivery status notification"):
        parse_report(mail)


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"Subject: Re: unsubscribe\r\n\r\nHow?\r\n",
        b"Subject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n",
        b"\xff\xfe\x00",
        b"Content-Type: multipart/report\r\n\r\nno boundary\r\n",
    ],
)
def test_a_mail_that_is_no_report_is_refused(mail: bytes) -> None:
    """An answer of a person, or of a machine, is none."""
    with pytest.raises(ValueError, match="not a delivery status notification"):
        parse_report(mail)


def test_parts_that_are_nested_too_deeply_are_refused() -> None:
    """And end nothing but the report."""
    mail = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(3000)
    )
    with pytest.raises(ValueError, match=r"nested too deeply|neither"):
        parse_report(mail)


@given(
    name=st.sampled_from(sorted(CASES)),
    at=st.integers(0, 4000),
    junk=st.binary(min_size=1, max_size=40),
    cut=st.integers(0, 200),
)
def test_damage_never_ends_in_anything_else(name: str, at: int, junk: bytes, cut: int) -> None:
    """It is a report still, or none."""
    mail = corpus(name)
    at = min(at, len(mail))
    try:
        report = parse_report(mail[:at] + junk + mail[at + cut :])
    except ValueError:
        return
    for recipient in report.recipients:
        assert len(recipient.text or "") <= 1000
        assert "\n" not in (recipient.text or "")
