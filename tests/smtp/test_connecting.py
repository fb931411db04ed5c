"""Where connections may go, and where they come from."""

import asyncio
import ipaddress
import socket
from typing import Any, Final

import pytest

from app.domain.failure_table import classify
from app.domain.networks import is_public
from app.domain.outcome import Failure, Fault, Stage
from app.smtp.opening import NotOpened, open_session
from app.smtp.resolve import AddressGuard
from tests.fixtures.smtp_server import SmtpServer
from tests.smtp.identities import IMPATIENT, identity, refusal, session_to

PUBLIC_ONLY: Final = AddressGuard(allow_private=False, is_port_allowed=lambda _: True)
NO_PORT: Final = AddressGuard(allow_private=True, is_port_allowed=lambda port: port == 25)


async def _guarded(server: SmtpServer, guard: AddressGuard, **fields: Any) -> Failure:
    found = await open_session(identity(server, **fields), guard)
    assert isinstance(found, NotOpened)
    return found.failure


def _names(monkeypatch: pytest.MonkeyPatch, host: str, addresses: list[str]) -> None:
    """Have the host stand for these addresses."""
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def resolved(asked: str, port: int, **fields: Any) -> Any:
        if asked != host:
            return await real(asked, port, **fields)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", resolved)


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
    assert failure.fault is Fault.NOT_ALLOWED
    assert f"port {server.port}" in failure.detail


async def test_a_name_with_one_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever of them would have answered first."""
    _names(monkeypatch, "rebind.example.com", ["1.1.1.1", "10.0.0.1"])
    async with SmtpServer() as server:
        failure = await _guarded(server, PUBLIC_ONLY, host="rebind.example.com")
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


async def test_a_name_that_does_not_exist_is_told() -> None:
    """`.invalid` never resolves (RFC 6761)."""
    async with SmtpServer() as server:
        failure = await refusal(server, host="mx.invalid")
    assert (failure.stage, failure.fault) == (Stage.DNS, Fault.NOT_FOUND)
    assert classify(failure, fresh=True, authenticated=False).classification == "dns_failed"


async def test_a_dns_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time for connecting."""

    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    async with SmtpServer() as server:
        failure = await refusal(server, host="mx.example.com", timeouts=IMPATIENT)
    assert (failure.stage, failure.fault) == (Stage.DNS, Fault.TIMEOUT)


async def test_a_port_where_nobody_listens_is_told() -> None:
    """With the address and port that were tried."""
    async with SmtpServer() as server:
        port = server.port
    failure = await refusal(server)
    assert (failure.stage, failure.fault) == (Stage.TCP, Fault.UNREACHABLE)
    assert f"127.0.0.1 [127.0.0.1] port {port}" in failure.detail


async def test_the_next_address_is_tried_where_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name with several addresses is reached by whichever works."""
    async with SmtpServer() as server:
        _names(monkeypatch, "mx.example.com", ["127.0.0.77", "127.0.0.1"])
        async with session_to(server, host="mx.example.com") as session:
            assert session.facts.remote_address == "127.0.0.1"
