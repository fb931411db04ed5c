"""Where connections may go, and where they come from."""

import asyncio
import ipaddress
from typing import Any, Final

import pytest

from app.domain.ehlo import EhloNames
from app.domain.networks import AddressGuard, is_public
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import Timeouts
from app.smtp.dns import Resolver
from app.smtp.resolve import Network, dial_all
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.mute import mute
from tests.support.servers.smtp_server import SmtpServer
from tests.support.smtp_identities import IMPATIENT, identity, look_up_by, refusal, session_to

PUBLIC_ONLY: Final = AddressGuard(allow_private=False, is_port_allowed=lambda _: True)
NO_PORT: Final = AddressGuard(allow_private=True, is_port_allowed=lambda port: port == 25)


async def _refuse_by_guard(server: SmtpServer, guard: AddressGuard, **fields: Any) -> Failure:
    return await refusal(server, network=Network(guard, Resolver()), **fields)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1"])
async def test_a_private_address_is_refused(host: str) -> None:
    """By the address, whatever the name; nothing is connected to."""
    async with SmtpServer() as server:
        failure = await _refuse_by_guard(server, PUBLIC_ONLY, host=host)
        assert server.sessions == []
    assert (failure.stage, failure.fault) == (Stage.DNS, Fault.NOT_ALLOWED)
    assert "HELOISE_ALLOW_PRIVATE_HOSTS" in failure.detail


async def test_a_port_that_is_not_allowed_is_refused() -> None:
    """And nothing is connected to."""
    async with SmtpServer() as server:
        failure = await _refuse_by_guard(server, NO_PORT)
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
    assert "10.0.0.1" not in failure.detail  # it may be one of our own network, which is not told


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("0.0.0.0", False),  # noqa: S104 - refused
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("100.100.100.200", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("168.63.129.17", True),
        ("172.16.0.1", False),
        ("192.0.0.1", False),
        ("192.0.0.9", False),
        ("192.0.1.1", True),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("192.168.1.1", False),
        ("198.18.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
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
        ("64:ff9b:1::101:101", False),
        ("::1.1.1.1", False),
        ("2001:db8::1", False),
        ("2001::1", False),
        ("2001:1::1", False),
        ("2001:2::1", False),
        ("2001:20::1", False),
        ("2001:1ff:ffff::1", False),
        ("2001:200::1", True),
        ("2002:a83f:8110::1", False),
        ("64:ff9b::a83f:8110", False),
        ("::ffff:168.63.129.16", False),
        ("100::1", False),
        ("100:0:0:1::1", False),
        ("3fff::1", False),
        ("3fff:fff::1", False),
        ("5f00::1", False),
        ("fec0::1", False),
        ("4000::1", False),
    ],
)
def test_public_is_what_the_internet_can_reach(address: str, *, expected: bool) -> None:
    """An IPv4 address inside an IPv6 one is judged itself, however it is written in."""
    assert is_public(ipaddress.ip_address(address)) is expected


async def test_connections_come_from_the_source_address() -> None:
    """The server sees it, and the literal that is greeted with is its own."""
    async with (
        SmtpServer() as server,
        session_to(server, source_address="127.0.0.9", ehlo_names=EhloNames()) as session,
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


async def test_the_address_connected_to_is_the_one_checked(dns: DnsServer) -> None:
    """A name that changes its mind between two lookups (rebinding) is looked up once."""
    dns.add("mx.example.com", "A", "127.0.0.1")
    async with (
        SmtpServer() as server,
        session_to(server, host="mx.example.com", network=look_up_by(dns)) as session,
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
        session_to(server, host="mx.example.com", network=look_up_by(dns)) as session,
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
                    server, host="mx.example.com", timeouts=waits, network=look_up_by(dns)
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
                server, host="mx.example.com", timeouts=IMPATIENT, network=look_up_by(dns)
            )
    assert (failure.stage, failure.fault) == (Stage.TCP, Fault.TIMEOUT)
    assert "127.0.0.78" in failure.detail
    assert "127.0.0.79" in failure.detail


async def test_each_address_is_dialled_for_verify(dns: DnsServer) -> None:
    """At once: which of them works is told, and one connection is kept."""
    dns.add("mx.example.com", "A", "127.0.0.77", "127.0.0.1")
    async with SmtpServer() as server:
        who = identity(server, host="mx.example.com")
        addresses = await look_up_by(dns).addresses(who)
        sock, dialled = await dial_all(who, addresses)
        assert sock is not None
        assert sock.getpeername()[0] == "127.0.0.1"
        sock.close()
    assert {str(dial.address): dial.error is None for dial in dialled} == {
        "127.0.0.77": False,
        "127.0.0.1": True,
    }


async def test_each_connection_asks_the_guard_anew(dns: DnsServer) -> None:
    """A name that was public yesterday and is inside today (DNS rebinding) is refused today."""
    guard = AddressGuard(
        allow_private=False,
        is_port_allowed=lambda _: True,
        allowed=(ipaddress.ip_network("127.0.0.1"),),
    )
    network = Network(guard, Resolver([dns.address]))
    async with SmtpServer() as server:
        dns.add("mx.example.com", "A", "127.0.0.1")
        async with session_to(server, host="mx.example.com", network=network) as session:
            assert session.facts.remote_address == "127.0.0.1"
        dns.add("mx.example.com", "A", "127.0.0.2")
        failure = await refusal(server, host="mx.example.com", network=network)
        assert len(server.sessions) == 1
    assert failure.fault is Fault.NOT_ALLOWED
    assert "127.0.0.2" not in failure.detail
