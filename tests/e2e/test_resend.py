"""Resend's SDKs meet a service that delivers: its READMEs' examples, and signed webhooks."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, Final

import pytest
import resend as sdk
from anymail.exceptions import AnymailInsecureWebhookWarning
from anymail.webhooks.resend import ResendTrackingWebhookView
from django.conf import settings

from tests.api.resend.test_node_sdk import NODE, call_node
from tests.support.harness import Heloise, Tenant, until
from tests.support.servers.receiver import Post, Receiver
from tests.support.servers.smtp_server import SmtpServer

pytestmark = pytest.mark.one_database

NEEDS_NODE: Final = (
    pytest.mark.resend_node,
    pytest.mark.skipif(
        not (NODE / "node_modules/resend").exists(),
        reason="Resend's SDK for Node is not installed: see .ci/run",
    ),
)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def acme(heloise: Heloise, server: SmtpServer) -> Tenant:
    """A tenant with a profile for the server."""
    tenant = await heloise.tenant()
    await tenant.profile("main", server.port, is_default=True)
    return tenant


def find_python_example(function: str) -> str:
    """The example of this call in Python's README, complete in one block."""
    readme = str(metadata("resend").get_payload())
    blocks = re.findall(r"```py\n(.*?)```", readme, re.DOTALL)
    return next(block for block in blocks if f"resend.Emails.{function}(params)" in block)


async def run(*words: str, cwd: Path, **environment: str) -> str:
    """What a program prints; it has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=cwd,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


def get_url(tenant: Tenant) -> str:
    """The base URL for SDKs."""
    return f"http://127.0.0.1:{tenant.http.base_url.port}/resend"


def get_key(tenant: Tenant) -> str:
    """The tenant's key."""
    return tenant.headers["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    ("function", "recipients", "metadata_entries"),
    [
        (
            "send",
            {"delivered@resend.dev", "cc@resend.dev", "bcc@resend.dev"},
            {"tag1": "tagvalue1", "tag2": "tagvalue2"},
        ),
        ("send_async", {"delivered@resend.dev"}, {}),
    ],
)
async def test_the_examples_of_pythons_readme(
    acme: Tenant,
    tmp_path: Path,
    function: str,
    recipients: set[str],
    metadata_entries: dict[str, str],
) -> None:
    """As they stand in the package, with a key and the base URL in a variable."""
    example = find_python_example(function)
    assert "re_yourkey" in example
    program = tmp_path / "example.py"
    program.write_text(example.replace("re_yourkey", get_key(acme)))
    output = await run(sys.executable, str(program), cwd=tmp_path, RESEND_API_URL=get_url(acme))
    email_id = re.search(r"msg_\w+", output)
    assert email_id is not None
    message = await acme.message(email_id[0], status="sent")
    assert {recipient["address"] for recipient in message["recipients"]} == recipients
    assert message["metadata"] == metadata_entries


@pytest.mark.parametrize("number", [0, 1], ids=["text", "HTML"])
@pytest.mark.parametrize("mark", [pytest.param("node", marks=NEEDS_NODE)])
async def test_the_examples_of_nodes_readme(acme: Tenant, number: int, mark: str) -> None:
    """As they stand in the package, with a key and the base URL in a variable."""
    readme = (NODE / "node_modules/resend/readme.md").read_text()
    blocks = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)
    setup = next(block for block in blocks if "new Resend(" in block)
    sends = [block for block in blocks if "emails.send(" in block and "react" not in block]
    program = re.sub(r"'re_[^']*'", json.dumps(get_key(acme)), setup) + sends[number]
    words = (mark, "--input-type=module", "--eval", program)
    output = await run(*words, cwd=NODE, RESEND_BASE_URL=get_url(acme))
    email_id = re.search(r"msg_\w+", output)
    assert email_id is not None
    await acme.message(email_id[0], status="sent")


async def wait_posts(receiver: Receiver, count: int) -> list[Post]:
    """What was posted, once there is so much."""

    async def fact() -> list[Post] | None:
        return receiver.posts if len(receiver.posts) >= count else None

    return await until(fact)


def svix_headers(post: Post) -> Any:
    """The headers that the SDKs' `verify` takes."""
    return {name: post.headers[f"svix-{name}"] for name in ("id", "timestamp", "signature")}


async def test_webhooks_are_those_of_resend(
    acme: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's SDK verifies them, and anymail knows them: bodies, headers, signature."""
    monkeypatch.setattr(sdk, "api_url", get_url(acme))
    monkeypatch.setattr(sdk, "api_key", get_key(acme))
    events = ["email.sent", "email.delivered", "email.bounced", "email.scheduled"]
    hook = await asyncio.to_thread(
        sdk.Webhooks.create, {"endpoint": receiver.url, "events": events}
    )
    email = {
        "from": "Billing <main@example.com>",
        "to": ["ann@example.org", "bounce@simulator.heloise.test"],
        "subject": "Your receipt",
        "text": "Thanks.",
        "tags": [{"name": "category", "value": "receipt"}],
    }
    sent = await asyncio.to_thread(sdk.Emails.send, email)
    posts = await wait_posts(receiver, 3)
    bodies = dict[str, Any]()
    for post in posts:
        verified = sdk.Webhooks.verify(
            {
                "payload": post.body.decode(),
                "headers": svix_headers(post),
                "webhook_secret": hook["signing_secret"],
            }
        )
        bodies[verified["type"]] = verified
        with pytest.raises(ValueError, match="signature"):
            sdk.Webhooks.verify(
                {
                    "payload": post.body.decode() + " ",
                    "headers": svix_headers(post),
                    "webhook_secret": hook["signing_secret"],
                }
            )
    assert bodies.keys() == {"email.sent", "email.delivered", "email.bounced"}
    data = bodies["email.sent"]["data"]
    assert data["to"] == email["to"]
    assert (data["email_id"], data["from"], data["subject"]) == (
        sent["id"],
        email["from"],
        email["subject"],
    )
    assert data["tags"] == {"category": "receipt"}
    assert bodies["email.delivered"]["data"]["to"] == ["ann@example.org"]
    bounce = bodies["email.bounced"]["data"]
    assert bounce["to"] == ["bounce@simulator.heloise.test"]
    assert (bounce["bounce"]["type"], bounce["bounce"]["subType"]) == ("Permanent", "NoEmail")
    if not settings.configured:
        settings.configure()
    with pytest.warns(AnymailInsecureWebhookWarning):  # the signature was verified above
        view = ResendTrackingWebhookView()
    for post in posts:
        request = type("Request", (), {"headers": post.headers})
        event = view.esp_to_anymail_event(json.loads(post.body), request)
        assert event.message_id == sent["id"]
        assert event.event_type in {"sent", "delivered", "bounced"}
        assert event.reject_reason == ("bounced" if event.event_type == "bounced" else None)
        assert event.timestamp is not None


@pytest.mark.parametrize("mark", [pytest.param("", marks=NEEDS_NODE)])
async def test_nodes_sdk_verifies_a_webhook(acme: Tenant, receiver: Receiver, mark: str) -> None:
    """Also one that was made with the native API, with the format of Resend."""
    assert not mark
    webhook = {"name": "log", "url": receiver.url, "format": "resend"}
    secret = (await acme.made("/webhooks", webhook))["secret"]
    await acme.send()
    [post, *_] = await wait_posts(receiver, 2)
    order = {
        "payload": post.body.decode(),
        "headers": svix_headers(post),
        "webhookSecret": secret,
    }
    verified, refused = await call_node(
        acme,
        ("webhooks.verify", order),
        ("webhooks.verify", order | {"payload": order["payload"] + " "}),
    )
    assert verified == json.loads(post.body)
    assert "signature" in refused["thrown"]
