"""Profiles whose server cannot be reached, or is none."""

import asyncio
from dataclasses import replace

from app.domain.networks import AddressGuard
from tests.diagnostics.misconfigurations import Attempts, misconfiguration
from tests.diagnostics.small_internet import HOST, SHORT_OF_PATIENCE, SmallInternet
from tests.support.servers.dns_server import Behaviour, DnsServer, servfail, silent
from tests.support.servers.mute import mute
from tests.support.servers.smtp_server import SILENCE, SmtpServer
from tests.support.smtp_identities import look_up_by


@misconfiguration("The host name has a typo")
async def misspelt(net: SmallInternet) -> Attempts:
    async with SmtpServer() as server:
        yield net.subject(server, host="smpt.example.org")
        yield net.subject(server)


async def _with_another_dns(net: SmallInternet, behaviour: Behaviour) -> Attempts:
    net.dns.behave(HOST, behaviour)
    async with SmtpServer() as server:
        yield net.subject(server)
        with DnsServer() as other:
            other.add(HOST, "A", "127.0.0.1")
            net.network = look_up_by(other)
            yield net.subject(server)


@misconfiguration("The machine's DNS server is broken")
def broken_dns(net: SmallInternet) -> Attempts:
    return _with_another_dns(net, servfail)


@misconfiguration("The machine's DNS server does not answer")
def mute_dns(net: SmallInternet) -> Attempts:
    return _with_another_dns(net, silent)


@misconfiguration("The server has a private address, and the operator allows only public ones")
async def private_address(net: SmallInternet) -> Attempts:
    free = net.network
    net.network = replace(free, guard=AddressGuard(allow_private=False, is_port_allowed=bool))
    async with SmtpServer() as server:
        yield net.subject(server)
        net.network = free
        yield net.subject(server)


@misconfiguration("The operator does not allow the port")
async def forbidden_port(net: SmallInternet) -> Attempts:
    async with SmtpServer() as server, SmtpServer() as other:
        guard = AddressGuard(allow_private=True, is_port_allowed=lambda port: port == other.port)
        net.network = replace(net.network, guard=guard)
        yield net.subject(server)
        yield net.subject(server, port=other.port)


@misconfiguration("No program listens on the port")
async def nobody_listens(net: SmallInternet) -> Attempts:
    async with SmtpServer() as server:
        async with SmtpServer() as closed:
            port = closed.port
        yield net.subject(server, port=port)
        yield net.subject(server)


@misconfiguration("A firewall drops packets to the port")
async def firewall(net: SmallInternet) -> Attempts:
    async with SmtpServer() as closed:
        port = closed.port
    async with SmtpServer() as server:
        with mute("127.0.0.1", port):
            yield net.subject(server, port=port, timeouts=SHORT_OF_PATIENCE)
        yield net.subject(server, timeouts=SHORT_OF_PATIENCE)


@misconfiguration("The server on the port is not a mail server, and is silent")
async def says_nothing(net: SmallInternet) -> Attempts:
    async with SmtpServer({"banner": SILENCE}) as silence, SmtpServer() as server:
        yield net.subject(server, port=silence.port, timeouts=SHORT_OF_PATIENCE)
        yield net.subject(server, timeouts=SHORT_OF_PATIENCE)


@misconfiguration("The server on the port is not a mail server, and speaks another protocol")
async def speaks_otherwise(net: SmallInternet) -> Attempts:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other, SmtpServer() as server:
        yield net.subject(server, port=other.sockets[0].getsockname()[1])
        yield net.subject(server)
