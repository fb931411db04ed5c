"""Programs in wide use submit messages, and what is stored is what they sent."""

import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trustme

from app.api.requests.body_memory import Budget
from tests.support.api_client import Api, Caller
from tests.support.mail_clients import (
    CLIENTS,
    HIDDEN,
    SMTPUTF8_CLIENTS,
    Client,
    Mail,
    Target,
)
from tests.support.servers.satellite import satellite
from tests.support.submission import SubmissionServer, key_of, serving_submission
from tests.support.waiting import until

__all__ = ["satellite"]

pytestmark = pytest.mark.one_database

# What a submission server changes.
CHANGED: Final = re.compile(rb"(?:received|bcc|x-heloise-[a-z-]+):", re.IGNORECASE)
# Each has recipients of its own: a message with the same recipients and Message-ID is the same one.
CONTENTS: Final = {
    "text": Mail("One line.\n.\n..a line with dots\n.\nThe end.\n", ["text@example.org"]),
    "HTML with files": Mail(
        "Text\n",
        ["html@example.org"],
        html="<p>HTML</p>",
        files={"a.pdf": bytes(range(256)) * 40, "b.pdf": b"%PDF"},
    ),
    "many recipients": Mail("Text\n", [f"user{number}@example.org" for number in range(100)]),
    "other scripts": Mail(
        "Grüße, 世界\n",
        ["scripts@example.org"],
        subject="Счёт 請求書 فاتورة",
        name="Бухгалтерия 経理",
        files={"Rechnung März 請求書.pdf": b"%PDF"},
    ),
}
LARGE: Final = Mail("Text\n", ["ann@example.org"], files={"a.pdf": bytes(range(256)) * 71_500})
LARGE_BYTES: Final = 25_000_000
LIMIT_BYTES: Final = 26_214_400  # of the settings


def _strip_added(content: bytes) -> bytes:
    """The content without the fields that a submission server changes."""
    header, separator, body = content.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", header)
    return b"\r\n".join(field for field in fields if not CHANGED.match(field)) + separator + body


@pytest.fixture
async def submission(api: Api, server_tls: ssl.SSLContext) -> AsyncIterator[SubmissionServer]:
    """A server that takes as large messages as by its settings."""
    api.services = replace(api.services, max_message_bytes=LIMIT_BYTES)
    budget = Budget(4 * LIMIT_BYTES, LIMIT_BYTES)
    async with serving_submission(api, server_tls, budget=budget) as submission_server:
        yield submission_server


@pytest.fixture
def target(
    submission: SubmissionServer,
    sender: Caller,
    authority: trustme.CA,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Target:
    """The server; its authority is a file."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return Target(
        submission.port,
        submission.tls_port,
        key_of(sender),
        path,
        tmp_path,
        partial(request.getfixturevalue, "satellite"),
    )


async def _wait_stored(sender: Caller, mail: Mail) -> list[bytes]:
    """The content that each recipient of a mail gets, once it is stored for all of them.

    Postfix submits a mail with more than 50 recipients in several messages.
    """
    recipients_of_mail = set(mail.recipients)

    async def fact() -> list[bytes] | None:
        ids = [item["id"] for item in (await sender.read("/messages"))["items"]]
        messages = [await sender.read(f"/messages/{message_id}") for message_id in ids]
        stored = {
            message["id"]: [recipient["address"] for recipient in message["recipients"]]
            for message in messages
        }
        of_mail = [
            message_id for message_id in ids if recipients_of_mail.issuperset(stored[message_id])
        ]
        addresses = [address for message_id in of_mail for address in stored[message_id]]
        assert len(addresses) == len(set(addresses))
        assert all(message["tags"] == ["invoice"] for message in messages)
        if set(addresses) != recipients_of_mail:
            return None
        return [
            (await sender("GET", f"/messages/{message_id}/raw")).content for message_id in of_mail
        ]

    return await until(fact)


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "implicit-tls"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_what_is_stored_is_what_the_client_sent(
    target: Target, sender: Caller, client: Client, *, tls: bool
) -> None:
    """Byte for byte, except for Received, Bcc and the options."""
    for name, mail in CONTENTS.items():
        sent = await client(target, mail, tls=tls)
        for stored in await _wait_stored(sender, mail):
            assert HIDDEN.encode() not in stored, name
            assert b"X-Heloise" not in stored, name
            assert stored.startswith(b"Received: "), name
            assert _strip_added(stored) == _strip_added(sent), name


@pytest.mark.parametrize("client", SMTPUTF8_CLIENTS)
async def test_a_recipient_may_have_a_name_in_another_script(
    target: Target, sender: Caller, client: Client
) -> None:
    """RFC 6531; the other clients do not speak it."""
    mail = Mail("Text\n", ["用户@example.org"])
    sent = await client(target, mail, tls=False)
    [stored] = await _wait_stored(sender, mail)
    assert _strip_added(stored) == _strip_added(sent)


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_large_message_is_stored_as_the_client_sent_it(
    target: Target, sender: Caller, client: Client
) -> None:
    """A message of 25 MB."""
    sent = await client(target, LARGE, tls=False)
    [stored] = await _wait_stored(sender, LARGE)
    assert len(stored) > LARGE_BYTES
    assert _strip_added(stored) == _strip_added(sent)
