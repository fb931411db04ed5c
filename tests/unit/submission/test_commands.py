"""Any line is a command or a refusal, and what a client renders is read as it was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.dsn_request import DsnNotify, DsnRequest, DsnReturn, RecipientDsn
from app.domain.outcome.replies import Reply
from app.submission.commands import CommandError, parse_mail, parse_rcpt
from app.submission.dialogue import CheckRecipient, CheckSender, Dialogue, Login
from app.submission.replies import format_reply

WORDS = st.sampled_from(
    [
        *("EHLO", "HELO", "AUTH", "PLAIN", "LOGIN", "*", "=", "AGFubgBw", "STARTTLS", "NOOP"),
        *("MAIL", "FROM:", "<a@example.com>", "<>", "RCPT", "TO:", "DATA", "BDAT", "LAST", "RSET"),
        *(
            "SIZE=",
            "RET=HDRS",
            "ENVID=+00",
            "NOTIFY=NEVER,",
            "ORCPT=utf-8;",
            "\\x{D800}",
            "rfc822;",
        ),
        *("SMTPUTF8", "BODY=", "9", "99999999999999999999999", "\0", "\x0b", "\x85", "é", "😀"),
    ]
).map(str.encode)
LINES = st.lists(
    st.one_of(WORDS, st.just(b" "), st.binary(max_size=3)).map(
        lambda word: word.replace(b"\r", b"").replace(b"\n", b"")
    ),
    max_size=12,
).map(b"".join)
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30)
NOTIFY = st.one_of(
    st.just((DsnNotify.NEVER,)),
    st.lists(st.sampled_from([*DsnNotify][1:]), max_size=3, unique=True).map(tuple),
)


def new_dialogue() -> Dialogue:
    """A dialogue that allows everything."""
    return Dialogue(
        "submit.example.com",
        check_client_name=str,
        max_message_bytes=100,
        max_recipients=3,
        can_start_tls=True,
        is_login_safe=True,
    )


@given(st.lists(LINES, max_size=5), st.booleans())
def test_any_line_is_answered(lines: list[bytes], is_logged_in: bool) -> None:  # noqa: FBT001
    """By a reply that goes over the wire, or by an action; never by an exception."""
    dialogue = new_dialogue()
    dialogue.receive(b"EHLO localhost")
    if is_logged_in:
        dialogue.logged_in()
    for line in lines:
        outcome = dialogue.receive(line)
        if isinstance(outcome, Reply):
            written = format_reply(outcome)
            assert written.endswith(b"\r\n")
            assert all(len(part) <= 510 for part in written.split(b"\r\n"))
        if isinstance(outcome, Login):
            assert "\0" not in outcome.credentials.username + outcome.credentials.password
        if isinstance(outcome, CheckSender):
            outcome.mail.address.encode()
            dialogue.sender_accepted(outcome.mail)
        if isinstance(outcome, CheckRecipient):
            assert (outcome.rcpt.original or "").isprintable()
            dialogue.recipient_accepted(outcome.rcpt)


@given(PRINTABLE, st.none() | st.sampled_from(DsnReturn))
def test_mail_is_read_as_our_client_writes_it(envelope_id: str, returns: DsnReturn | None) -> None:
    """RET and ENVID arrive as they were meant."""
    dsn = DsnRequest(envelope_id=envelope_id, returns=returns)
    mail = parse_mail(f"FROM:<ann@example.com> SIZE=12{dsn.mail_parameters()} BODY=8BITMIME")
    assert (mail.address, mail.size_bytes) == ("ann@example.com", 12)
    assert (mail.envelope_id, mail.returns) == (envelope_id, returns)


@given(PRINTABLE, NOTIFY)
def test_rcpt_is_read_as_our_client_writes_it(original: str, notify: tuple[DsnNotify, ...]) -> None:
    """NOTIFY and ORCPT arrive as they were meant."""
    own = RecipientDsn(notify, f"rfc822;{original}")
    dsn = DsnRequest(envelope_id="1", recipients={"ann@example.com": own})
    parameters = dsn.rcpt_parameters("ann@example.com")
    rcpt = parse_rcpt(f"TO:<ann@example.com>{parameters}", is_smtputf8=False)
    assert (rcpt.notify, rcpt.original) == (notify, own.original)


@pytest.mark.parametrize(
    ("parameter", "original"),
    [
        (r"ORCPT=utf-8;j\x{F6}rg@example.com", "utf-8;jörg@example.com"),
        ("ORCPT=UTF-8;jörg@example.com", "utf-8;jörg@example.com"),
        (r"ORCPT=utf-8;a\x{2B}b\x{5C}@example.com", "utf-8;a+b\\@example.com"),
        ("ORCPT=X400;a+3Db", "x400;a=b"),
        ("ORCPT=rfc822;j+C3+B6rg@example.com", "utf-8;jörg@example.com"),
    ],
)
def test_original_recipients(parameter: str, original: str) -> None:
    """RFC 3461 section 4.2 and RFC 6533 section 3."""
    assert parse_rcpt(f"TO:<a@example.com> {parameter}", is_smtputf8=True).original == original


@pytest.mark.parametrize(
    "parameter",
    [
        r"ORCPT=utf-8;a\x{D800}b",
        r"ORCPT=utf-8;a\x{0}b",
        r"ORCPT=utf-8;a\x{110000}b",
        r"ORCPT=utf-8;a\b",
        "ORCPT=rfc822;a+00b",
        "ORCPT=rfc822;a+E4",
        "ORCPT=rfc822;ä",
        "ORCPT=é;a",
        "ORCPT=;a",
        "ORCPT=rfc822;",
        "ORCPT=rfc822",
        f"ORCPT=rfc822;{'a' * 494}",
    ],
)
def test_an_original_recipient_is_printable(parameter: str) -> None:
    """A database could not store a NUL or half a character, and a report could not show them."""
    with pytest.raises(CommandError, match="ORCPT is rfc822; and an ASCII address as xtext, or"):
        parse_rcpt(f"TO:<a@example.com> {parameter}", is_smtputf8=True)


@pytest.mark.parametrize("envelope_id", ["a+00b", "a+E4b", "a+", "a+2b", "a+C3+B6", "a" * 101])
def test_an_envelope_id_is_printable_ascii(envelope_id: str) -> None:
    """RFC 3461 section 4.4."""
    with pytest.raises(CommandError, match="ENVID is printable ASCII as xtext"):
        parse_mail(f"FROM:<> ENVID={envelope_id}")


@pytest.mark.parametrize("separator", ["\x0b", "\x1f", "\xa0", "\u2028", "\t"])
def test_only_spaces_separate_parameters(separator: str) -> None:
    """RFC 5321 section 4.1.2: another server would read one parameter."""
    with pytest.raises(CommandError):
        parse_mail(f"FROM:<> SIZE=1{separator}RET=HDRS")
