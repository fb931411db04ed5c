"""Hostile text, and a tenant that has some of it in every field."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.support.api_client import Caller
from tests.support.harness import Tenant
from tests.support.servers.receiver import Receiver, answering
from tests.support.servers.smtp_server import SmtpServer

# Whatever becomes an element has the attribute `pwned`; whatever runs says so by `alert`.
HOSTILE: Final = (
    "<script pwned>alert(1)</script>",
    "<img pwned src=x onerror=alert(1)>",
    '"><svg pwned onload=alert(1)>',
    "' onmouseover='alert(1)' pwned='",
    '" autofocus onfocus="alert(1)" pwned="',
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "{{7*7}}${7*7}{% raw %}<%= 7*7 %>#{7*7}",
    "</textarea><b pwned>",
    "</title><b pwned>",
    "</option></select><b pwned>",
    "</pre></code></td></table><b pwned>",
    "<!--<b pwned>--!><b pwned>",
    "<math><mtext><table><mglyph><style><img pwned src onerror=alert(1)>",
    "&lt;b pwned&gt; &#60;b pwned&#62; &amp;nbsp;",
    "</style><style>*{display:none}</style>",
    "x;background:url(https://evil.example/)",
    "<base pwned href=//evil.example/>",
    "<meta pwned http-equiv=refresh content=0;url=//evil.example/>",
    "<form pwned action=//evil.example/><button>",
    "<iframe pwned srcdoc='<script>alert(1)</script>'>",
    "<link pwned rel=stylesheet href=//evil.example/x.css>",
    "😀𝕏 مرحبا 日本語 ́",
    "W" * 60,
)
# Characters that no header and no name may have; servers and texts have them all the same.
DECEPTIVE: Final = ("gnp.\u202eexe", "a\u200b\u2066b\ufeff")
CONTROLS: Final = "a\x00b\x1b[2Jc\x7f\x85"  # nobody stores them as they are
EVERYTHING: Final = " ¦ ".join(HOSTILE)


def build_html(origin: str) -> str:
    """HTML that tries to run, and to tell the server at `origin` that it is read."""
    attempts = (
        "<script>alert(1);fetch('{0}/fetch')</script>",
        "<script src={0}/script.js></script>",
        "<img src={0}/image.png onerror=alert(1)>",
        "<img src=x onerror=alert(1)>",
        "<body onload=alert(1) background={0}/background>",
        "<svg onload=alert(1)><image href={0}/svg /></svg>",
        "<style>@import url({0}/import.css);p{{background:url({0}/css)}}</style>",
        "<link rel=stylesheet href={0}/link.css><LINK rel=preconnect href={0}>",
        "<link rel=prefetch href={0}/prefetch><link rel=dns-prefetch href={0}>",
        "<link rel=preload as=image href={0}/preload>",
        "<meta http-equiv=refresh content='0;url={0}/refresh'>",
        "<base href={0}/>",
        "<form action={0}/form><input autofocus onfocus=alert(1)></form>",
        "<iframe src={0}/frame></iframe><object data={0}/object></object><embed src={0}/embed>",
        "<video src={0}/video poster={0}/poster autoplay></video><audio src={0}/audio></audio>",
        "<a href=javascript:alert(1) target=_top>top</a><a ping={0}/ping href={0}/a>a</a>",
        "<iframe srcdoc='<script>top.location=`{0}/top`</script>'></iframe>",
    )
    return "\n".join(attempts).format(origin) + f"<p id=read>{'It works. ' * 20}</p>"


@dataclass
class HostileTenant:
    """The tenant `acme`, and the names of its objects for each parameter of a page's path."""

    tenant: Tenant
    places: Mapping[str, str]


async def fill(
    tenant: Tenant, server: SmtpServer, receiver: Receiver, *, origin: str
) -> HostileTenant:
    """Give a tenant one of everything, with hostile text wherever it may be."""
    replies = iter((*HOSTILE, *DECEPTIVE, CONTROLS))
    server.script["rcpt"] = lambda _: b"550 5.1.1 " + next(replies, "no").encode() + b"\r\n"
    receiver.answers = [
        answering("500 <b pwned>", body=text.encode())
        for text in (*HOSTILE[:4], *DECEPTIVE, CONTROLS)
    ]
    profile = await tenant.profile("main", server.port, is_default=True)
    places = {"tenant": "acme", "slug": "acme", "profile": "main", "number": "0", "view": "html"}
    places |= {"locale": "de", "version": "1"}
    webhook = {"name": HOSTILE[0], "url": receiver.url}
    places["webhook"] = (await tenant.made("/webhooks", webhook))["id"]
    # The crawl opens the first message of the list: the newest.
    await tenant.made("/messages", {"to": "a@example.org", "subject": HOSTILE[0], "text": "x"})
    files = [
        {"filename": text, "content": base64.b64encode(b"x").decode()} for text in HOSTILE[:12]
    ]
    message = {
        "from": {"name": EVERYTHING[:200], "email": "main@example.com"},
        "to": [
            {"name": text, "email": f"{number}@example.org"}
            for number, text in enumerate((*HOSTILE, *DECEPTIVE, CONTROLS))
        ],
        "subject": EVERYTHING[:900],
        "text": "\n".join((*HOSTILE, *DECEPTIVE, CONTROLS.replace("\0", ""))),
        "html": build_html(origin),
        "tags": [text[:64] for text in HOSTILE[:20]],
        "metadata": {text[:60]: text for text in HOSTILE},
        "headers": {f"X-Hostile-{number}": text for number, text in enumerate(HOSTILE)},
        "attachments": files,
    }
    for recipient in message["to"][len(HOSTILE) :]:
        recipient["name"] = ""
    places["message"] = (await tenant.made("/messages", message))["id"]
    await tenant.message(places["message"], status="failed")
    template = {
        "name": "receipt",
        "subject": "{{ text }}",
        "html": "<p>{{ text }}</p>",
        "text": "x",
    }
    places["template"] = (await tenant.made("/templates", template))["id"]
    await tenant("POST", f"/templates/{places['template']}/publish", {})
    suppression = {"address": '"<b pwned>"@example.org', "reason": "manual"}
    answer = await tenant("POST", "/suppressions", suppression)
    if answer.status_code != 201:
        answer = await tenant("POST", "/suppressions", {"address": "eve@example.org"})
    places["suppression"] = answer.json()["id"]
    places["domain"] = (await tenant.made("/domains", {"domain": "example.com"}))["id"]
    inbox = {"name": HOSTILE[1], "host": "127.0.0.1", "port": 1, "username": HOSTILE[2]}
    places["mailbox"] = (await tenant.made("/mailboxes", inbox | {"password": "p"}))["id"]
    hook = {"name": HOSTILE[3], "provider": "brevo"}
    places["provider_webhook"] = (await tenant.made("/provider-webhooks", hook))["id"]
    key = {"name": EVERYTHING[:200], "scopes": ["messages:read"]}
    places["key"] = (await tenant.made("/keys", key))["id"]
    places["event"] = (await tenant.read("/events?limit=1"))["items"][0]["id"]
    places["submission"] = places["session"] = places["mail"] = "none"
    assert profile["name"] == "main"
    return HostileTenant(tenant, places)


async def bind(tenant: Tenant, **fields: Any) -> Caller:
    """Return a caller of the tenant with another key."""
    key = await tenant.made("/keys", {"name": json.dumps(fields)[:50], **fields})
    return Caller(tenant.http, {"Authorization": f"Bearer {key['key']}"})
