"""The MX hosts of recipients' domains: looked up behind the claims, and remembered."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from app.delivery import mail_exchangers
from app.delivery.mail_exchangers import KNOWN_SECONDS, UNRESOLVED_SECONDS, MailExchangers
from app.domain.delivery.destinations import UNRESOLVED
from app.smtp.dns import Resolver
from tests.support.servers.dns_server import DnsServer, servfail
from tests.support.waiting import until


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """A server that knows some domains."""
    with DnsServer() as server:
        server.add("example.org", "MX", "20 second.example.net.", "10 First.example.net.")
        server.add("null.example", "MX", "0 .")
        server.add("hosts.example", "A", "192.0.2.1")
        server.behave("broken.example", servfail)
        yield server


class Seconds:
    """A monotonic clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def look_up(exchangers: MailExchangers, domain: str) -> Sequence[str]:
    """The hosts of a domain, once they are known."""

    async def find() -> Sequence[str] | None:
        return exchangers.find(domain)

    exchangers.look_up([domain])
    return await until(find)


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("example.org", ["first.example.net", "second.example.net"]),
        ("null.example", []),
        ("hosts.example", ["hosts.example"]),
        ("absent.example", ["absent.example"]),
        ("broken.example", UNRESOLVED),
    ],
)
async def test_a_domain_has_hosts_or_is_its_own_or_cannot_be_resolved(
    dns: DnsServer, domain: str, hosts: Sequence[str]
) -> None:
    """The preferred host first (RFC 5321 section 5.1, RFC 7505)."""
    exchangers = MailExchangers(Resolver([dns.address]), Seconds())
    assert exchangers.find(domain) is None
    assert await look_up(exchangers, domain) == hosts


@pytest.mark.parametrize(
    ("domain", "seconds"), [("example.org", KNOWN_SECONDS), ("broken.example", UNRESOLVED_SECONDS)]
)
async def test_an_answer_is_remembered_for_a_while(
    dns: DnsServer, domain: str, seconds: float
) -> None:
    """A failure for a shorter one."""
    clock = Seconds()
    exchangers = MailExchangers(Resolver([dns.address]), clock)
    await look_up(exchangers, domain)
    clock.now = seconds - 1
    assert exchangers.find(domain) is not None
    clock.now = seconds
    assert exchangers.find(domain) is None


async def test_lookups_in_progress_end_with_the_worker(dns: DnsServer) -> None:
    """And one domain is asked for once at a time."""
    exchangers = MailExchangers(Resolver([dns.address]), Seconds())
    exchangers.look_up(["example.org", "example.org"])
    assert len(asyncio.all_tasks()) == 2
    await exchangers.close()
    assert exchangers.find("example.org") is None


async def test_the_oldest_answers_are_forgotten_where_there_are_too_many(
    dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes to ever new domains does not fill the memory."""
    monkeypatch.setattr(mail_exchangers, "MAX_DOMAINS", 2)
    exchangers = MailExchangers(Resolver([dns.address]), Seconds())
    for domain in ("hosts.example", "example.org", "null.example"):
        await look_up(exchangers, domain)
    assert exchangers.find("hosts.example") is None
    assert exchangers.find("null.example") == []
    assert exchangers.find("example.org") is not None
