"""A message that a provider took, and what it posts about it."""

import json

from tests.support.harness import Heloise
from tests.support.provider_posts import sendgrid_headers, sendgrid_public_key
from tests.support.servers.smtp_server import SmtpServer

SENDGRID_ID = "pR3v1dErAssIgn5-Th1s_A"


async def test_the_reply_to_the_final_dot_names_the_message(
    heloise: Heloise, server: SmtpServer
) -> None:
    """The provider's id in it is all that the post has of the message."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    server.script["dot"] = f"250 Ok: queued as {SENDGRID_ID}"
    message = await acme.send()
    await acme.message(message, status="sent")
    [attempt] = (await acme.read(f"/messages/{message}/attempts"))["items"]
    assert attempt["provider_message_id"] == SENDGRID_ID
    hook = {"name": "sg", "provider": "sendgrid", "public_key": sendgrid_public_key()}
    path = (await acme.made("/provider-webhooks", hook))["path"]
    event = {
        "event": "bounce",
        "email": "ann@example.org",
        "sg_event_id": "event-1",
        "sg_message_id": f"{SENDGRID_ID}.recvd-1",
        "smtp-id": "<1@geopod-ismtpd-1>",
        "reason": "550 5.1.1 No such user",
    }
    content = json.dumps([event]).encode()
    answer = await heloise.http.post(path, content=content, headers=sendgrid_headers(content))
    assert answer.json() == {"events": 1, "repeated": 0, "unmatched": 0, "ignored": 0}
    [recipient] = (await acme.read(f"/messages/{message}"))["recipients"]
    assert (recipient["status"], recipient["report"]["kind"]) == ("sent", "bounced_later")
