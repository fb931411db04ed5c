"""Signatures as whoever gets the mail sees them: after our wire, and after a Postfix."""

import dkim
import pytest

from tests.e2e.conftest import Start
from tests.support.harness import Tenant, until
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.mail_dkim import mail_dkim, verify_by_perl
from tests.support.servers.postfix import CAPTURE, Postfix
from tests.support.servers.smtp_server import SmtpServer

__all__ = ["mail_dkim"]

pytestmark = [
    pytest.mark.mail_dkim,
    pytest.mark.usefixtures("mail_dkim"),
    pytest.mark.one_database,  # the claim is what is signed on the wire
]
GOOD = [True, True]
MESSAGES = [
    {"text": "It works.\n.\n..\n  \n\n"},
    {"html": "<p>Grüße</p>", "subject": "Grüße an alle " * 12, "text": "long " * 300},
    {
        "attachments": [{"filename": "Rechnung für Zoë.pdf", "content": "JVBERi0="}],
        "list_unsubscribe": {"url": "https://example.com/u", "one_click": True},
        "cc": ["Zoë <zoe@example.org>"],
    },
]


async def signing(acme: Tenant, dns: DnsServer) -> None:
    """Have example.com signed, as a tenant would."""
    domain = await acme.made("/domains", {"domain": "example.com"})
    for key in domain["keys"]:
        dns.say(key["dns_record"]["name"], key["dns_record"]["value"])
    assert (await acme("POST", "/domains/example.com/check")).json()["signed"]


def verdicts(mime: bytes, dns: DnsServer) -> list[bool]:
    """Whether both signatures hold: the RSA one by Mail::DKIM, the Ed25519 one by dkimpy."""

    def record(name: bytes, timeout: int = 5) -> bytes:
        assert timeout
        return dns.texts(name.decode())[0].encode()

    try:
        is_valid = bool(dkim.DKIM(mime).verify(idx=1, dnsfunc=record))
    except dkim.ValidationError:
        is_valid = False
    by_perl = verify_by_perl(mime, dns)
    return [("rsa-sha256", "example.com", "pass") in by_perl, is_valid]


async def test_every_signature_holds_after_the_wire(start: Start, server: SmtpServer) -> None:
    """For text, for HTML in another script, for files."""
    with DnsServer() as dns:
        acme = await (await start(dns_servers=dns.setting)).tenant()
        await acme.profile("main", server.port)
        await signing(acme, dns)
        for fields in MESSAGES:
            message = await acme.send(**fields)
            await acme.message(message, status="sent")
            assert verdicts(server.messages[-1].data, dns) == GOOD
        last = server.messages[-1].data
        changed = last.replace(b"https://example.com/u", b"https://example.net/u")
        assert verdicts(changed, dns) == [False, False]


@pytest.mark.postfix
async def test_every_signature_holds_after_a_postfix(start: Start, postfix: Postfix) -> None:
    """Which adds fields of its own, and passes the message on."""
    with DnsServer() as dns:
        async with SmtpServer(port=postfix.port(CAPTURE), extensions=["8BITMIME"]) as behind:
            acme = await (await start(dns_servers=dns.setting)).tenant()
            await acme.profile("main", postfix.port("forwarding"))
            await signing(acme, dns)
            for fields in MESSAGES:
                await acme.send(**fields)
            for mail in await wait_mails(behind, len(MESSAGES)):
                assert mail.startswith(b"Received: ")
                assert verdicts(mail, dns) == GOOD


async def wait_mails(server: SmtpServer, count: int) -> list[bytes]:
    """What a server got, once it is so many."""

    async def fact() -> list[bytes] | None:
        mails = [message.data for message in server.messages]
        return mails if len(mails) == count else None

    return await until(fact)
