"""SMTP sessions: what a client said, and what Heloise replied."""

import socket

import pytest

from app.submission.listener import Listener
from tests.console.conftest import Start
from tests.support.console import sign_in, with_scopes
from tests.support.submission import HOST, connecting, key_of, message_id_of
from tests.support.waiting import until

HOSTILE = "<script>alert(1)</script>"


@pytest.mark.one_database
async def test_a_session_shows_its_dialogue(start: Start) -> None:
    """From a message to its session and back, with what a hostile client said as text."""
    with socket.create_server((HOST, 0)) as listening:
        heloise = await start(listeners=[Listener(listening)], submission_allow_plaintext_auth=True)
        acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
        await acme.profile("main", 1)
        async with connecting(listening.getsockname()[1]) as client:
            assert (await client.log_in("main", key_of(acme)))[:3] == "235"
            reply = await client.submit(
                b"From: main@example.com\r\n\r\nHi\r\n", sender="main@example.com"
            )
            assert (await client("QUIT"))[:3] == "221"
        async with connecting(listening.getsockname()[1]) as client:
            assert (await client.log_in("main", key_of(acme)))[:3] == "235"
            await client(f'MAIL FROM:<"{HOSTILE}"@example.com>')
        message_id = message_id_of(reply)

        async def is_listed() -> bool | None:
            return len((await acme.read("/submissions"))["items"]) == 2 or None

        await until(is_listed)

    session = await sign_in(acme)
    link = f"/submissions?message={message_id}"
    assert f'href="{session.prefix}{link}"' in (await session.get(f"/messages/{message_id}")).text
    [submission] = (await acme.read(link))["items"]
    page = await session.get(link)
    assert f'href="{session.prefix}/submissions/{submission["id"]}"' in page.text
    assert page.text.count("<tr id=") == 1
    page = await session.get(f"/submissions/{submission['id']}")
    for text in ("AUTH as main", "RCPT TO:&lt;ann@example.org&gt;", f"Queued as {message_id}"):
        assert text in page.text
    assert f'href="{session.prefix}/messages/{message_id}"' in page.text

    [attacker] = [
        item
        for item in (await acme.read("/submissions"))["items"]
        if item["id"] != submission["id"]
    ]
    page = await session.get(f"/submissions/{attacker['id']}")
    assert HOSTILE not in page.text
    assert "&lt;script&gt;" in page.text
    page = await session.get("/submissions?client_address=here")
    assert (page.status_code, 'id="e-client_address"' in page.text) == (422, True)
    for stranger in (
        await sign_in(other, tenant="other"),
        await sign_in(await with_scopes(acme, "messages:send", "templates:manage")),
    ):
        page = await stranger.get(f"/submissions/{submission['id']}")
        assert page.status_code in {403, 404}
        assert "AUTH as" not in page.text
