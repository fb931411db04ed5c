"""The real Postfix refuses and takes what the tests that stand on it believe."""

import smtplib
import ssl
from collections.abc import Callable

import pytest

from tests.support.servers.postfix import Postfix

pytestmark = pytest.mark.postfix

MESSAGE = "Subject: Your receipt\nMessage-ID: <{}@example.com>\n\nThanks.\n"
SENDER = "billing@example.com"
CONTAINER = "4f2a9c1b77de"
LITERAL = "[127.0.0.1]"
NOT_QUALIFIED = f"5.5.2 <{CONTAINER}>: Helo command rejected: need fully-qualified hostname"
NOT_FOUND = f"4.7.1 <{LITERAL}>: Helo command rejected: Host not found"

Connect = Callable[[str, str], smtplib.SMTP]


@pytest.fixture
def connect(postfix: Postfix) -> Connect:
    """Connects to a service under an EHLO name."""

    def open_client(service: str, name: str) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", postfix.port(service), name, timeout=60)

    return open_client


def send(session: smtplib.SMTP, identity: str, *recipients: str) -> None:
    """Send a message through a session, and end it."""
    with session:
        session.sendmail(SENDER, recipients or ["ann@example.org"], MESSAGE.format(identity))


@pytest.mark.parametrize(
    ("service", "name", "reply"),
    [
        ("strict", CONTAINER, (504, NOT_QUALIFIED)),
        ("named", CONTAINER, (504, NOT_QUALIFIED)),
        ("named", LITERAL, (450, NOT_FOUND)),
    ],
)
async def test_without_delay_the_name_is_refused_at_ehlo(
    service: str, name: str, reply: tuple[int, str], postfix: Postfix, connect: Connect
) -> None:
    """And so says the log."""
    with connect(service, name) as session:
        code, text = session.ehlo()
    assert (code, text.decode()) == reply
    (refusal,) = await postfix.wait_refused(1)
    assert (refusal.service, refusal.command, refusal.helo) == (service, "EHLO", name)
    assert refusal.reply == f"{code} {text.decode()}"


@pytest.mark.parametrize(
    ("service", "name", "reply"),
    [
        ("strict_delayed", CONTAINER, (504, NOT_QUALIFIED)),
        ("named_delayed", CONTAINER, (504, NOT_QUALIFIED)),
        ("named_delayed", LITERAL, (450, NOT_FOUND)),
    ],
)
async def test_with_delay_the_name_is_refused_in_the_same_words_at_rcpt(
    service: str, name: str, reply: tuple[int, str], postfix: Postfix, connect: Connect
) -> None:
    """EHLO and MAIL are taken before."""
    with connect(service, name) as session:
        assert session.ehlo()[0] == 250
        assert session.mail(SENDER)[0] == 250
        code, text = session.rcpt("ann@example.org")
    assert (code, text.decode()) == reply
    (refusal,) = await postfix.wait_refused(1)
    assert (refusal.service, refusal.command, refusal.helo) == (service, "RCPT", name)


@pytest.mark.parametrize("service", ["relaxed", "strict", "strict_delayed"])
async def test_the_literal_is_qualified_enough_for_plain_postfix(
    service: str, postfix: Postfix, connect: Connect
) -> None:
    """Which is why the services that ask for a name refuse it themselves."""
    send(connect(service, LITERAL), service)
    (accepted,) = await postfix.wait_accepted(1)
    assert (accepted.service, accepted.helo) == (service, LITERAL)
    assert (accepted.sasl_username, accepted.sasl_method) == (None, None)


async def test_messages_that_interleave_are_told_apart(postfix: Postfix, connect: Connect) -> None:
    """Each with its own name, recipients and Message-ID."""
    recipients = {"first": ["ann@example.org", "bob@example.org"], "second": ["eve@example.org"]}
    with connect("strict", "mx1.example.com") as one, connect("strict", "mx2.example.com") as other:
        for session in (one, other):
            session.ehlo()
            session.mail(SENDER)
        for session, addresses in zip((one, other), recipients.values(), strict=True):
            for address in addresses:
                session.rcpt(address)
        for session, identity in zip((one, other), recipients, strict=True):
            session.data(MESSAGE.format(identity))
    first, second = sorted(await postfix.wait_accepted(2), key=lambda mail: mail.helo)
    assert (first.helo, first.message_id) == ("mx1.example.com", "first@example.com")
    assert first.recipients == ("ann@example.org", "bob@example.org")
    assert (second.helo, second.message_id) == ("mx2.example.com", "second@example.com")
    assert (second.sender, second.recipients) == (SENDER, ("eve@example.org",))
    assert first.queue_id != second.queue_id


@pytest.mark.parametrize("user", ["alice@users.test", "bob@users.test", "carol@users.test"])
async def test_who_logs_in_after_starttls_is_in_the_log(
    user: str, postfix: Postfix, connect: Connect
) -> None:
    """Beside the EHLO name; the certificate is of the private CA."""
    session = connect("starttls", "mail.example.com")
    session.starttls(context=ssl.create_default_context(cadata=postfix.ca_pem))
    session.login(user, postfix.users[user])
    send(session, "secured")
    (accepted,) = await postfix.wait_accepted(1)
    assert (accepted.helo, accepted.sasl_username) == ("mail.example.com", user)
    assert accepted.sasl_method in {"PLAIN", "CRAM-MD5"}


async def test_implicit_tls_speaks_tls_from_the_first_byte(postfix: Postfix) -> None:
    """With the same users."""
    context = ssl.create_default_context(cadata=postfix.ca_pem)
    port, (user, password) = postfix.port("implicit"), next(iter(postfix.users.items()))
    session = smtplib.SMTP_SSL("localhost", port, "mail.example.com", timeout=60, context=context)
    session.login(user, password)
    send(session, "wrapped")
    (accepted,) = await postfix.wait_accepted(1)
    assert (accepted.service, accepted.sasl_username) == ("implicit", user)


async def test_nothing_is_relayed_for_a_stranger_or_in_clear(
    postfix: Postfix, connect: Connect
) -> None:
    """STARTTLS comes first, then AUTH, then mail."""
    with connect("starttls", "mail.example.com") as session:
        session.ehlo()
        assert not session.has_extn("auth")
        assert session.mail(SENDER)[0] == 530
    with connect("clear", "mail.example.com") as session:
        session.ehlo()
        assert session.has_extn("auth")
        session.mail(SENDER)
        assert session.rcpt("ann@example.org")[0] == 554
    (refusal,) = await postfix.wait_refused(1)
    assert (refusal.service, refusal.command) == ("clear", "RCPT")


def test_a_wrong_password_is_refused(postfix: Postfix, connect: Connect) -> None:
    """By 535."""
    with connect("starttls", "mail.example.com") as session:
        session.starttls(context=ssl.create_default_context(cadata=postfix.ca_pem))
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            session.login("alice@users.test", "guess")


def test_the_public_authorities_do_not_know_the_certificate(connect: Connect) -> None:
    """Only who is given the private CA trusts it."""
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        connect("starttls", "mail.example.com") as session,
    ):
        session.starttls(context=ssl.create_default_context())
