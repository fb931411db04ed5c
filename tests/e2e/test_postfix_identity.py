"""Each profile greets a real Postfix under its own name and as its own user (invariant 8).

The service runs on a machine that is called as a container is: a strict server refuses what such
a machine would say of itself.
"""

import asyncio
import socket
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import CANARY, Heloise, Tenant
from tests.support.machine import name_machine
from tests.support.servers.postfix import Postfix

pytestmark = pytest.mark.postfix

CONTAINER: Final = "4f2a9c1b77de"
LITERAL: Final = "[127.0.0.1]"
OWN_NAME: Final = "mail.example.com"
MESSAGES_EACH: Final = 25


@pytest.fixture
async def heloise(start: Start) -> Heloise:
    """The service on a machine with a container's name."""
    with name_machine(CONTAINER) as is_named:
        assert not is_named or socket.gethostname() == CONTAINER
        return await start(hostname=None if is_named else CONTAINER)


@pytest.fixture
async def acme(heloise: Heloise) -> Tenant:
    """A tenant without an EHLO name."""
    return await heloise.tenant("acme")


def user(postfix: Postfix, name: str) -> dict[str, str]:
    """How a user logs in; the password is one that is searched for everywhere afterwards."""
    username = f"{name}@users.test"
    password = postfix.users[username]
    assert CANARY in password
    return {"username": username, "password": password}


async def message_id(tenant: Tenant, message: str) -> str:
    """The Message-ID of a message, as Postfix logs it."""
    return str((await tenant.read(f"/messages/{message}"))["message_id_header"]).strip("<>")


async def change(tenant: Tenant, **fields: object) -> None:
    """Change the profile of these tests."""
    answer = await tenant("PATCH", "/profiles/billing", fields)
    assert answer.status_code == 200, answer.text


async def assert_untouched(tenant: Tenant, message: str) -> None:
    """The message waits as if it had never been tried (invariant 6)."""
    body = await tenant.read(f"/messages/{message}")
    assert body["status"] == "queued"
    assert [(recipient["status"], recipient["attempts"]) for recipient in body["recipients"]] == [
        ("queued", 0)
    ]


async def the_only_attempt(tenant: Tenant, message: str) -> dict[str, Any]:
    """The one attempt that sent the message."""
    await tenant.message(message, status="sent")
    attempts: list[dict[str, Any]] = await tenant.attempts(message)
    assert len(attempts) == 1
    return attempts[0]


@pytest.mark.one_database
@pytest.mark.parametrize("service", ["relaxed", "strict", "strict_delayed"])
async def test_a_container_id_never_reaches_the_wire(
    service: str, acme: Tenant, postfix: Postfix
) -> None:
    """Nor does `localhost`: where no name is set, the socket's own address is what is said."""
    profile = await acme.profile("billing", postfix.port(service), ehlo_name=None)
    effective = profile["effective_ehlo"]
    assert (effective["name"], effective["source"]) == (LITERAL, "address_literal")
    message = await acme.send()
    (accepted,) = await postfix.wait_accepted(1)
    assert (accepted.helo, accepted.message_id) == (LITERAL, await message_id(acme, message))
    attempt = await the_only_attempt(acme, message)
    assert (attempt["ehlo_name"], attempt["ehlo_source"]) == (LITERAL, "address_literal")


@pytest.mark.one_database
@pytest.mark.parametrize(("service", "command"), [("named", "EHLO"), ("named_delayed", "RCPT")])
async def test_a_refused_name_holds_the_profile_and_a_new_one_sends_the_same_message(
    service: str, command: str, acme: Tenant, postfix: Postfix
) -> None:
    """Whether the server refuses at EHLO or at RCPT, no attempt is used up (invariant 6)."""
    await acme.profile("billing", postfix.port(service), ehlo_name=None)
    message = await acme.send()
    failing = await acme.state("billing", "failing")
    reply = f"450 4.7.1 <{LITERAL}>: Helo command rejected: Host not found"
    assert failing["failing_code"] == "ehlo_rejected"
    assert reply in failing["reason"]
    assert "ehlo_name" in failing["reason"]
    refusal = await postfix.wait_refused(1)
    assert {(refusal.command, refusal.helo, refusal.reply) for refusal in refusal} == {
        (command, LITERAL, reply)
    }
    await assert_untouched(acme, message)
    before = await message_id(acme, message)

    await change(acme, ehlo_name=OWN_NAME)
    (accepted,) = await postfix.wait_accepted(1)
    assert (accepted.helo, accepted.message_id) == (OWN_NAME, before)
    sent = await acme.message(message, status="sent")
    assert [recipient["attempts"] for recipient in sent["recipients"]] == [1]
    await acme.state("billing", "active")


@pytest.mark.one_database
async def test_every_profile_keeps_its_own_name_and_user(
    heloise: Heloise, postfix: Postfix
) -> None:
    """Two profiles of one tenant and one of another, their messages mixed (invariant 8)."""
    acme, beta = await heloise.tenant("acme"), await heloise.tenant("beta")
    owners = {"alice": acme, "bob": acme, "carol": beta}
    secured = {"tls": "starttls", "tls_ca": postfix.ca_pem}
    for name, tenant in owners.items():
        port = postfix.port("starttls")
        await tenant.profile(name, port, auth=user(postfix, name), **secured)
    senders = list(owners.items()) * MESSAGES_EACH
    sending = (tenant.send(profile=name) for name, tenant in senders)
    messages = await asyncio.gather(*sending)

    accepted = await postfix.wait_accepted(len(messages))
    assert len(accepted) == len(messages)
    assert {
        acceptance.message_id: (acceptance.helo, acceptance.sasl_username, acceptance.sender)
        for acceptance in accepted
    } == {
        await message_id(tenant, message): (
            f"{name}.example.com",
            f"{name}@users.test",
            f"{name}@example.com",
        )
        for message, (name, tenant) in zip(messages, senders, strict=True)
    }


@pytest.mark.one_database
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_private_authority_is_trusted_by_the_profile_that_names_it(
    tls: str, acme: Tenant, postfix: Postfix
) -> None:
    """The name is said anew after STARTTLS."""
    secured = {"tls": tls, "tls_ca": postfix.ca_pem, "auth": user(postfix, "alice")}
    await acme.profile("billing", postfix.port(tls), **secured)
    message = await acme.send()
    (accepted,) = await postfix.wait_accepted(1)
    assert (accepted.helo, accepted.sasl_username) == ("billing.example.com", "alice@users.test")
    assert (await the_only_attempt(acme, message))["tls_version"].startswith("TLSv1.")


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("service", "code", "field"),
    [
        ("certified", "tls_client_certificate_refused", "client_certificate"),
        ("old", "tls_version_too_old", "tls_min_version"),
        ("implicit", "port_mismatch_implicit_tls", "tls"),
    ],
)
async def test_what_a_server_wants_of_tls_is_told_by_the_field_to_set(
    service: str, code: str, field: str, acme: Tenant, postfix: Postfix
) -> None:
    """Postfix's own refusals: an alert after the handshake, one within, and silence."""
    timeouts = {"connect": 5, "command": 2}
    secured = {"tls": "starttls", "tls_ca": postfix.ca_pem, "timeouts": timeouts}
    await acme.profile("billing", postfix.port(service), **secured)
    message = await acme.send()
    failing = await acme.state("billing", "failing")
    assert failing["failing_code"] == code
    assert f"`{field}`" in failing["reason"]
    await assert_untouched(acme, message)


@pytest.mark.one_database
async def test_a_server_of_old_gets_mail_where_the_profile_says_so(
    acme: Tenant, postfix: Postfix
) -> None:
    """With what `tls_min_version` allows, and no less protected than that."""
    secured = {"tls": "starttls", "tls_ca": postfix.ca_pem, "tls_min_version": "1.0"}
    await acme.profile("billing", postfix.port("old"), **secured)
    message = await acme.send()
    await postfix.wait_accepted(1)
    assert (await the_only_attempt(acme, message))["tls_version"] == "TLSv1.1"


@pytest.mark.one_database
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_certificate_of_an_unknown_authority_holds_the_profile(
    tls: str, acme: Tenant, postfix: Postfix
) -> None:
    """No mail goes to such a server; once `tls_ca` is set, the same message does."""
    await acme.profile("billing", postfix.port(tls), tls=tls, auth=user(postfix, "alice"))
    message = await acme.send()
    failing = await acme.state("billing", "failing")
    assert failing["failing_code"] == "tls_certificate_invalid"
    assert "tls_ca" in failing["reason"]
    await assert_untouched(acme, message)
    assert not postfix.accepted()

    await change(acme, tls_ca=postfix.ca_pem, auth=user(postfix, "alice"))
    (accepted,) = await postfix.wait_accepted(1)
    assert accepted.message_id == await message_id(acme, message)
    await acme.message(message, status="sent")
