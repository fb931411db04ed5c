"""Where connections may go, and where they come from."""

import asyncio
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from dns.message import Message, make_response
from dns.rdatatype import RdataType
from dns.rrset import from_text

from app.domain.failure_table import classify
from app.domain.networks import is_public
from app.domain.outcome import Failure, Fault, Stage
from app.domain.types import Timeouts
from app.smtp.dns import Resolver
from app.smtp.faults import StageFailedError
from app.smtp.resolve import AddressGuard, Network, dial_all
from tests.fixtures.dns_server import DnsServer, lying, refused, servfail, silent
from tests.fixtures.mute import mute
from tests.fixtures.smtp_server import SmtpServer
from tests.smtp.identities import IMPATIENT, identity, looked_up, refusal, session_to

PUBLIC_ONLY: Final = AddressGuard(allow_private=False, is_port_allowed=lambda _: True)
NO_PORT: Final = AddressGuard(allow_private=True, is_port_allowed=lambda port: port == 25)


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """A DNS server of this test's own."""
    with DnsServer() as server:
        yield server


async def _guarded(server: SmtpServer, guard: AddressGuard, **fields: Any) -> Failure:
    return await refusal(server, network=Network(guard, Resolver()), **fields)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1"])
async def test_a_private_address_is_refused(host: str) -> None:
    """By the address, whatever the name; nothing is connected to."""
    async with SmtpServer() as server:
        failure = await _guarded(server, PUBLIC_ONLY, host=host)
        assert server.sessions == []
    assert (failure.stage, failure.fault) == (Stage.DNS, Fault.NOT_ALLOWED)
    assert "HELOISE_ALLOW_PRIVATE_HOSTS" in failure.detail


async def test_a_port_that_is_not_allowed_is_refused() -> None:
    """And nothing is connected to."""
    async with SmtpServer() as server:
        failure = await _guarded(server, NO_PORT)
        assert server.sessions == []
    assert failure.fault is Fault.PORT_NOT_ALLOWED
    assert f"port {server.port}" in failure.detail


async def test_a_name_with_one_private_address_is_refused(dns: DnsServer) -> None:
    """Whichever of them would have answered first."""
    dns.add("rebind.example.com", "A", "1.1.1.1", "10.0.0.1")
    network = Network(PUBLIC_ONLY, Resolver([dns.address]))
    async with SmtpServer() as server:
        failure = await refusal(server, host="rebind.example.com", network=network)
    assert failure.fault is Fault.NOT_ALLOWED
    assert "10.0.0.1" in failure.detail


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("0.0.0.0", False),  # noqa: S104 - refused
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("2002:a00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::101:101", True),
    ],
)
def test_public_is_what_the_internet_can_reach(address: str, *, expected: bool) -> None:
    """An IPv4 address inside an IPv6 one is judged itself, however it is written in."""
    assert is_public(ipaddress.ip_address(address)) is expected


async def test_connections_come_from_the_source_address() -> None:
    """The server sees it, and the literal that is greeted with is its own."""
    async with (
        SmtpServer() as server,
        session_to(server, source_address="127.0.0.9", profile_ehlo_name=None) as session,
    ):
        assert session.facts.ehlo_name == "[127.0.0.9]"
    assert server.sessions[0].peer == "127.0.0.9"


async def test_a_source_address_that_is_not_this_machines_is_told() -> None:
    """The profile is at fault."""
    async with SmtpServer() as server:
        failure = await refusal(server, source_address="192.0.2.1")
    assert (failure.stage, failure.fault) == (Stage.TCP, Fault.UNREACHABLE)


async def test_a_source_address_of_the_other_family_is_told() -> None:
    """Rather than tried."""
    async with SmtpServer() as server:
        failure = await refusal(server, source_address="::1")
    assert failure.fault is Fault.UNREACHABLE
    assert "IPv6" in failure.detail


NO_ADDRESS: Final = {
    "absent.example.com": (Fault.NOT_FOUND, "dns_not_found"),
    "mail-only.example.com": (Fault.NOT_FOUND, "dns_not_found"),
    "mx.invalid": (Fault.NOT_FOUND, "dns_not_found"),
    "broken.example.com": (Fault.LOOKUP_FAILED, "dns_failed"),
    "closed.example.com": (Fault.LOOKUP_FAILED, "dns_failed"),
    "mute.example.com": (Fault.TIMEOUT, "dns_timeout"),
    "lies.example.com": (Fault.TIMEOUT, "dns_timeout"),
}


@pytest.mark.parametrize("host", NO_ADDRESS)
async def test_why_a_name_has_no_address_is_told(host: str, dns: DnsServer) -> None:
    """That it is not there, that its DNS is broken, and that nobody answers, are three things."""
    dns.add("mail-only.example.com", "TXT", '"v=spf1 -all"')
    dns.behave("broken.example.com", servfail)
    dns.behave("closed.example.com", refused)
    dns.behave("mute.example.com", silent)
    dns.behave("lies.example.com", lying)
    async with SmtpServer() as server:
        failure = await refusal(server, host=host, timeouts=IMPATIENT, network=looked_up(dns))
    fault, word = NO_ADDRESS[host]
    assert (failure.stage, failure.fault) == (Stage.DNS, fault)
    assert classify(failure, fresh=True, authenticated=False).classification == word


async def test_one_familys_broken_lookup_does_not_hide_the_others_address(dns: DnsServer) -> None:
    """Some servers answer SERVFAIL for AAAA, since they have never heard of it."""

    def only_v4(query: Message) -> Message | None:
        if query.question[0].rdtype == RdataType.AAAA:
            return servfail(query)
        answer = make_response(query)
        answer.answer.append(from_text("old.example.com.", 0, "IN", "A", "127.0.0.1"))
        return answer

    dns.behave("old.example.com", only_v4)
    async with (
        SmtpServer() as server,
        session_to(server, host="old.example.com", network=looked_up(dns)) as session,
    ):
        assert session.facts.remote_address == "127.0.0.1"


async def test_a_long_answer_and_an_alias_are_followed(dns: DnsServer) -> None:
    """A truncated answer is asked for again over TCP."""
    dns.add("relay.example.com", "CNAME", "pool.example.com.")
    dns.add("pool.example.com", "A", *(f"127.0.1.{n}" for n in range(1, 100)))
    found = await Resolver([dns.address]).addresses("relay.example.com", 5)
    assert len({each for each in found if str(each).startswith("127.0.1.")}) == 16


async def test_both_families_are_tried_in_turn(dns: DnsServer) -> None:
    """IPv6 first (RFC 8305 section 4)."""
    dns.add("both.example.com", "A", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    dns.add("both.example.com", "AAAA", "2001:db8::1")
    found = await Resolver([dns.address]).addresses("both.example.com", 5)
    assert str(found[0]) == "2001:db8::1"
    assert sorted(map(str, found[1:])) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


async def test_the_hosts_file_is_read_first(dns: DnsServer, tmp_path: Path) -> None:
    """As it stands now; `localhost` is known without one (RFC 6761)."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.5 Relay.example.com relay # ours\nnonsense\n")
    resolver = Resolver([dns.address], hosts=hosts)
    assert [str(each) for each in await resolver.addresses("relay.example.com", 5)] == ["127.0.0.5"]
    hosts.write_text("127.0.0.6 relay.example.com\n")
    assert [str(each) for each in await resolver.addresses("relay.example.com", 5)] == ["127.0.0.6"]
    assert "127.0.0.1" in map(str, await resolver.addresses("localhost", 5))
    assert dns.asked == []


async def test_an_answer_is_kept_for_its_time_to_live() -> None:
    """And no longer."""
    with DnsServer(ttl=60) as kept, DnsServer(ttl=0) as fleeting:
        for server, asked in ((kept, 2), (fleeting, 4)):
            server.add("mx.example.com", "A", "127.0.0.1")
            server.add("mx.example.com", "AAAA", "::1")
            resolver = Resolver([server.address])
            await resolver.addresses("mx.example.com", 5)
            await resolver.addresses("mx.example.com", 5)
            assert len(server.asked) == asked


async def test_the_names_of_an_address_are_found(dns: DnsServer) -> None:
    """In lower case, without the last dot; one that has none says so."""
    dns.point("192.0.2.1", "Mail.example.com")
    resolver = Resolver([dns.address])
    assert await resolver.pointers("192.0.2.1", 5) == ["mail.example.com"]
    with pytest.raises(StageFailedError, match="not in the DNS"):
        await resolver.pointers("2001:db8::1", 5)


async def test_the_address_connected_to_is_the_one_checked(dns: DnsServer) -> None:
    """A name that changes its mind between two lookups (rebinding) is looked up once."""
    dns.add("mx.example.com", "A", "127.0.0.1")
    async with (
        SmtpServer() as server,
        session_to(server, host="mx.example.com", network=looked_up(dns)) as session,
    ):
        assert session.facts.remote_address == "127.0.0.1"
    assert sorted(dns.asked) == [("mx.example.com", "A"), ("mx.example.com", "AAAA")]


async def test_a_port_where_nobody_listens_is_told() -> None:
    """With the address and port that were tried."""
    async with SmtpServer() as server:
        port = server.port
    failure = await refusal(server)
    assert (failure.stage, failure.fault) == (Stage.TCP, Fault.UNREACHABLE)
    assert f"127.0.0.1 [127.0.0.1] port {port}" in failure.detail


async def test_the_next_address_is_tried_where_one_does_not_answer(dns: DnsServer) -> None:
    """A name with several addresses is reached by whichever works."""
    dns.add("mx.example.com", "A", "127.0.0.77", "127.0.0.1")
    async with (
        SmtpServer() as server,
        session_to(server, host="mx.example.com", network=looked_up(dns)) as session,
    ):
        assert session.facts.remote_address == "127.0.0.1"


async def test_a_mute_address_holds_nothing_up(dns: DnsServer) -> None:
    """The next one is tried beside it after a moment (RFC 8305 section 5)."""
    dns.add("mx.example.com", "A", "127.0.0.78", "127.0.0.1")
    waits = Timeouts(connect=60, command=5, data=5)
    async with SmtpServer() as server:
        with mute("127.0.0.78", server.port):
            async with (
                asyncio.timeout(30),
                session_to(
                    server, host="mx.example.com", timeouts=waits, network=looked_up(dns)
                ) as session,
            ):
                assert session.facts.remote_address == "127.0.0.1"


async def test_addresses_of_which_none_answers_are_all_named(dns: DnsServer) -> None:
    """Within the time for connecting, however many they are."""
    dns.add("mx.example.com", "A", "127.0.0.78", "127.0.0.79")
    async with SmtpServer() as server:
        port = server.port
        with mute("127.0.0.78", port), mute("127.0.0.79", port):
            failure = await refusal(
                server, host="mx.example.com", timeouts=IMPATIENT, network=looked_up(dns)
            )
    assert (failure.stage, failure.fault) == (Stage.TCP, Fault.TIMEOUT)
    assert "127.0.0.78" in failure.detail
    assert "127.0.0.79" in failure.detail


async def test_each_address_is_dialled_for_verify(dns: DnsServer) -> None:
    """At once: which of them works is told, and one connection is kept."""
    dns.add("mx.example.com", "A", "127.0.0.77", "127.0.0.1")
    async with SmtpServer() as server:
        who = identity(server, host="mx.example.com")
        addresses = await looked_up(dns).addresses(who)
        sock, dialled = await dial_all(who, addresses)
        assert sock is not None
        assert sock.getpeername()[0] == "127.0.0.1"
        sock.close()
    assert {str(each.address): each.error is None for each in dialled} == {
        "127.0.0.77": False,
        "127.0.0.1": True,
    }
