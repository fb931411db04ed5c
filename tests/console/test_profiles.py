"""Profiles: their state, verify with the doctor's names, changes, and the whole story."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import pytest
from playwright.async_api import expect

from tests.console.conftest import Console, Start
from tests.support.console import sign_in, with_scopes
from tests.support.harness import CANARY, Heloise
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SmtpServer

GOOD: Final = "relay.example.com"
STRICT: Final = "504 5.5.2 <{}>: Helo command rejected: need fully-qualified hostname"
HOSTILE: Final = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture
async def heloise(start: Start) -> AsyncIterator[Heloise]:
    """The service, with a DNS that knows the good name alone."""
    with DnsServer() as dns:
        dns.add(GOOD, "A", "127.0.0.1")
        dns.point("127.0.0.1", GOOD)
        yield await start(dns_servers=dns.setting)


def only_good(name: str) -> str | None:
    """Takes one name alone."""
    return None if name == GOOD else STRICT.format(name)


async def test_a_refused_name_is_mended_by_clicks(console: Console, heloise: Heloise) -> None:
    """From the waiting message to the doctor's name and back, without a keyboard."""
    acme, page = await heloise.tenant("acme"), console.page
    async with SmtpServer({"ehlo": only_good}) as server:
        await acme.profile("main", server.port)
        await acme.send(subject="Your receipt")
        await console.sign_in(acme)
        await page.get_by_role("link", name="Your receipt").click()
        await expect(page.get_by_text("need fully-qualified hostname").first).to_be_visible()
        await page.get_by_role("link", name="main", exact=True).first.click()
        await expect(page.locator("#live").get_by_text("failing", exact=True)).to_be_visible()
        gate = server.gates["ehlo"] = asyncio.Event()
        await page.get_by_role("button", name="Verify").click()
        await expect(page.get_by_text("Verifying.")).to_be_visible()
        gate.set()
        trial = page.get_by_role("row", name=f"{GOOD} ")
        await expect(trial.get_by_text("accepted")).to_be_visible()
        refused = page.get_by_role("row", name="main.example.com ").first
        await expect(refused.get_by_text("refused", exact=True)).to_be_visible()
        await trial.get_by_role("button", name="Use this name").click()
        await expect(page.get_by_role("status").first).to_contain_text(GOOD)
        await expect(page.locator("#live").get_by_text("active", exact=True)).to_be_visible()
        await page.get_by_role("link", name="Messages of this profile").click()
        row = page.get_by_role("row", name="Your receipt")
        await expect(row.get_by_text("sent", exact=True)).to_be_visible()
        [message] = await server.wait_for_messages(1)
    assert b"Your receipt" in message.data
    assert (await acme.read("/profiles/main"))["ehlo_name"] == GOOD


@pytest.mark.one_database
async def test_a_profile_is_tested_paused_and_resumed(console: Console, heloise: Heloise) -> None:
    """Each by a click; the page shows by itself what becomes of it."""
    acme, page = await heloise.tenant("acme"), console.page
    async with SmtpServer() as server:
        await acme.profile("main", server.port, default_from="Billing <billing@example.com>")
        await console.sign_in(acme)
        await console.open("/t/acme/profiles/main")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("Paused", exact=False).first).to_be_visible()
        assert console.window.dialogs == ["Pause main? Its messages wait until you resume it."]
        await page.get_by_role("button", name="Send a test").click()
        await expect(page.get_by_text("Heloise accepted the test message.")).to_be_visible()
        await page.get_by_role("link", name="main", exact=True).first.click()
        await expect(page.get_by_text("1 message, 1 due")).to_be_visible()
        await page.get_by_role("button", name="Resume").click()
        await server.wait_for_messages(1)
        await expect(page.locator("#live").get_by_text("nothing")).to_be_visible()
        await acme("POST", "/profiles/main/pause")  # by somebody else
        await expect(page.locator("#live").get_by_text("paused", exact=True)).to_be_visible()


@pytest.mark.one_database
async def test_the_form_creates_and_changes_a_profile(heloise: Heloise) -> None:
    """With the API's messages at the fields; a secret is never shown, and empty leaves it."""
    acme = await heloise.tenant("acme")
    session = await sign_in(acme)
    typed = {
        "name": "main",
        "host": "127.0.0.1",
        "port": "many",
        "tls": "none",
        "auth.username": "ann",
        "auth.password": CANARY,
        "allowed_from": "*@example.com\r\nann@example.org",
        "rate_limit.messages": "100",
        "rate_limit.per_seconds": "60",
        "advanced": f'{{"auth": {{"refresh_token": "{CANARY}"}}}}',
    }
    page = await session.post("/new-profile", **typed)
    assert page.status_code == 422
    assert 'id="e-port"' in page.text
    assert "Input should be a valid integer" in page.text
    assert 'value="127.0.0.1"' in page.text
    assert CANARY not in page.text
    page = await session.post("/new-profile", **typed | {"port": "2525", "advanced": "[]"})
    assert "Write a JSON object" in page.text
    plain = '{"auth": {"allow_plaintext_auth": true}, "timeouts": {"connect": 7}}'
    page = await session.post("/new-profile", **typed | {"port": "2525", "advanced": plain})
    assert page.status_code == 303, page.text
    before = await acme.read("/profiles/main")
    assert before["rate_limit"]["messages"] == 100
    assert before["allowed_from"] == ["*@example.com", "ann@example.org"]
    assert before["timeouts"]["connect"] == 7
    path = f"/profiles/{before['id']}/edit"
    page = await session.get(path)
    assert "allow_plaintext_auth" in page.text
    assert CANARY not in page.text
    change = typed | {"port": "2525", "auth.password": "", "advanced": '{"is_default": true}'}
    change |= {"ehlo_name": GOOD, "rate_limit.messages": "", "rate_limit.per_seconds": ""}
    assert (await session.post(path, **change)).status_code == 303
    after = await acme.read("/profiles/main")
    assert after == before | {
        "ehlo_name": GOOD,
        "effective_ehlo": {**before["effective_ehlo"], "name": GOOD, "source": "profile"}
        | {"warnings": []},
        "rate_limit": None,
        "available": None,
        "updated_at": after["updated_at"],
    }
    page = await session.post(path, **change | {"host": "127.0.0.2"})
    assert page.status_code == 422
    assert 'id="e-auth.password"' in page.text


@pytest.mark.one_database
async def test_deletion_tells_what_waits(heloise: Heloise) -> None:
    """And cancels it only where the form says so."""
    acme = await heloise.tenant("acme")
    profile = await acme.profile("main", 1)
    await acme("POST", "/profiles/main/pause")
    await acme.send()
    session, path = await sign_in(acme), f"/profiles/{profile['id']}/delete"
    assert "1 message waits for this profile" in (await session.get(path)).text
    page = await session.post(path)
    assert (page.status_code, 'role="alert"' in page.text) == (409, True)
    assert (await session.post(path, cancel_pending="true")).status_code == 303
    assert (await acme("GET", "/profiles/main")).status_code == 404


@pytest.mark.one_database
async def test_buttons_follow_the_scopes_of_the_key(heloise: Heloise) -> None:
    """A key that reads profiles changes none, and sees no messages."""
    acme = await heloise.tenant("acme")
    profile = await acme.profile("main", 1, rate_limit={"messages": 100, "per_seconds": 60})
    session = await sign_in(await with_scopes(acme, "profiles:read", "messages:read"))
    cards, page = await session.get("/profiles"), await session.get(f"/profiles/{profile['id']}")
    for text in (cards.text, page.text):
        assert "100 messages per 60 s, 100 left now" in text
        assert "main.example.com" in text
        assert "New profile" not in text
    for button in ("Pause", "Edit", "Delete", ">Verify</button>", "Send a test"):
        assert button not in page.text
    for action in ("pause", "resume", "verify", "ehlo-name", "edit", "delete"):
        refusal = await session.post(f"/profiles/{profile['id']}/{action}", ehlo_name=GOOD)
        assert refusal.status_code == 403, action
    assert (await acme.read("/profiles/main"))["state"] == "active"


@pytest.mark.one_database
async def test_words_of_servers_are_only_shown(console: Console, heloise: Heloise) -> None:
    """A reply with markup runs no script, and its hidden characters are visible."""
    acme, page = await heloise.tenant("acme"), console.page
    async with SmtpServer({"ehlo": f"504 5.5.2 {HOSTILE}"}) as server:
        await acme.profile("main", server.port)
        await acme.send()
        await acme.state("main", "failing")
        await console.sign_in(acme)
        await console.open("/t/acme/profiles")
        shown = page.get_by_text(re.compile(r"<img src=x onerror=alert\(1\)>\\u202e"))
        await expect(shown.first).to_be_visible()
        await page.get_by_role("link", name="main", exact=True).click()
        await page.get_by_label("Recipient (optional)").fill("nobody")
        await page.get_by_role("button", name="Verify").click()
        await expect(page.locator("#verification #e-recipient")).to_be_visible()
        [refused] = console.window.errors
        assert "422" in refused
        console.window.errors.clear()
        await page.get_by_label("Recipient (optional)").fill("")
        await page.get_by_role("button", name="Verify").click()
        await expect(page.get_by_text("EHLO names on this server")).to_be_visible()
        await expect(shown.nth(2)).to_be_visible()
    assert console.window.dialogs == []
