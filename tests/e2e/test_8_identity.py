"""Invariant 8: every profile is itself."""

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import CANARY
from tests.support.servers.smtp_server import SmtpServer

CONTAINER = "4f2a9c1b77de"


def auth(user: str) -> dict[str, object]:
    """Credentials that may go in clear, on loopback."""
    return {"username": user, "password": CANARY, "allow_plaintext_auth": True}


@pytest.mark.one_database
async def test_profiles_never_share_a_connection(start: Start) -> None:
    """Each connection has one name and one user, over many interleaved messages of two tenants."""
    users = dict.fromkeys(("ann", "bob", "carol"), CANARY)
    async with SmtpServer(users=users) as server:
        heloise = await start()
        acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
        await acme.profile("ann", server.port, auth=auth("ann"))
        await acme.profile("bob", server.port, auth=auth("bob"))
        await other.profile("carol", server.port, auth=auth("carol"))
        for _ in range(10):
            await acme.send(profile="ann")
            await acme.send(profile="bob")
            await other.send(profile="carol")
        await server.wait_for_messages(30)
        for received in server.messages:
            name = received.mail_from.partition("@")[0]
            assert received.session.ehlo == [f"{name}.example.com"]
            assert received.session.user == name


@pytest.mark.one_database
async def test_the_name_shown_sent_and_recorded_is_one(start: Start, server: SmtpServer) -> None:
    """In the API, on the wire and on the attempt; the tenant's where the profile has none."""
    acme = await (await start()).tenant("acme", ehlo_name="mail.acme.example")
    profile = await acme.profile("main", server.port, ehlo_name=None)
    assert profile["effective_ehlo"]["name"] == "mail.acme.example"
    message = await acme.send()
    await acme.message(message, status="sent")
    [attempt] = await acme.attempts(message)
    assert (attempt["ehlo_name"], attempt["ehlo_source"]) == ("mail.acme.example", "tenant")
    assert server.sessions[0].ehlo == ["mail.acme.example"]


@pytest.mark.one_database
async def test_a_containers_id_is_never_the_name(start: Start, server: SmtpServer) -> None:
    """Without any name the address is greeted with, the same in API, wire and attempt."""
    acme = await (await start(hostname=CONTAINER)).tenant()
    profile = await acme.profile("main", server.port, ehlo_name=None)
    assert profile["effective_ehlo"]["name"] == "[127.0.0.1]"
    assert profile["effective_ehlo"]["warnings"]
    message = await acme.send()
    await acme.message(message, status="sent")
    [attempt] = await acme.attempts(message)
    assert (attempt["ehlo_name"], attempt["ehlo_source"]) == ("[127.0.0.1]", "address_literal")
    assert server.sessions[0].ehlo == ["[127.0.0.1]"]


@pytest.mark.one_database
async def test_a_changed_profiles_connection_is_retired(start: Start, server: SmtpServer) -> None:
    """The next message goes under the new name, through a new connection; the old one says QUIT."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port, max_connections=1)
    await acme.message(await acme.send(), status="sent")
    await acme("PATCH", "/profiles/main", {"ehlo_name": "new.example.com"})
    await acme.message(await acme.send(), status="sent")
    assert [session.ehlo for session in server.sessions] == [
        ["main.example.com"],
        ["new.example.com"],
    ]
    await server.wait_until(lambda server: server.sessions[0].commands[-1] == "QUIT")


@pytest.mark.one_database
async def test_a_changed_tenants_name_is_used_from_the_next_message_on(
    start: Start, server: SmtpServer
) -> None:
    """Warm connections of its profiles are retired too."""
    heloise = await start()
    acme = await heloise.tenant("acme", ehlo_name="old.acme.example")
    await acme.profile("main", server.port, ehlo_name=None, max_connections=1)
    await acme.message(await acme.send(), status="sent")
    await heloise.admin("PATCH", "/tenants/acme", {"ehlo_name": "new.acme.example"})
    await acme.message(await acme.send(), status="sent")
    assert [session.name for session in server.sessions] == ["old.acme.example", "new.acme.example"]


@pytest.mark.one_database
async def test_the_source_address_is_the_profiles(start: Start, server: SmtpServer) -> None:
    """The server sees the connection come from there."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port, source_address="127.0.0.2")
    await acme.message(await acme.send(), status="sent")
    assert server.sessions[0].peer == "127.0.0.2"
