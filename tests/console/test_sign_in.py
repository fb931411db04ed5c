"""Sign-in: a key becomes a session, which can do what the key can do, and ends when it should."""

from datetime import timedelta

import httpx
import pytest
from playwright.async_api import expect

from tests.console.conftest import Console, Start
from tests.support.console import cookie_of, enter_key, key_of, read
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant


async def test_a_key_signs_in_and_out(console: Console, acme: Tenant) -> None:
    """The first page of a tenant's key is its messages; signed out, its cookie is worth nothing."""
    await console.sign_in(acme)
    await expect(console.page).to_have_url(f"{console.url}/console/t/acme/messages")
    await expect(console.page.get_by_text("There is no message yet.")).to_be_visible()
    [cookie] = await console.window.context.cookies()
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    await console.page.get_by_role("button", name="Sign out").click()
    await expect(console.page).to_have_url(f"{console.url}/console/sign-in")
    await console.window.context.add_cookies([cookie])  # type: ignore[list-item]
    await console.open("/t/acme/messages")
    await expect(console.page).to_have_url(
        f"{console.url}/console/sign-in?next=%2Fconsole%2Ft%2Facme%2Fmessages"
    )


@pytest.mark.one_database
async def test_the_sign_in_leads_to_the_page_that_was_asked_for(
    console: Console, acme: Tenant
) -> None:
    """Somebody follows a link to a page, signs in, and is there."""
    await console.open("/t/acme/messages?status=failed")
    await console.page.get_by_label("Key").fill(key_of(acme))
    await console.page.get_by_role("button", name="Sign in").click()
    await expect(console.page).to_have_url(f"{console.url}/console/t/acme/messages?status=failed")


@pytest.mark.one_database
@pytest.mark.parametrize("target", ["https://example.com/", "//example.com", "/docs", "/consoles/"])
async def test_the_sign_in_leads_nowhere_else(heloise: Heloise, acme: Tenant, target: str) -> None:
    """A link from a stranger does not lead out of the console (open redirect)."""
    response = await heloise.http.post(
        "/console/sign-in", data={"key": key_of(acme), "next": target}
    )
    assert (response.status_code, response.headers["location"]) == (303, "/console/")


@pytest.mark.one_database
async def test_a_wrong_key_does_not_sign_in(heloise: Heloise) -> None:
    """The page says so, with no cookie; after too many guesses it says that too."""
    response = await enter_key(heloise, "hel_wrong")
    assert response.status_code == 401
    assert "unknown, revoked or expired" in response.text
    assert "set-cookie" not in response.headers
    for _ in range(30):
        response = await enter_key(heloise, "hel_wrong")
    assert "HELOISE_AUTH_FAILURES_PER_MINUTE" in response.text

    [*entries] = (await heloise.admin.read("/audit-log?action=console_sign_in"))["items"]
    assert entries[0]["refused_as"] == "unauthenticated"
    assert entries[0]["object_id"] == "/console/sign-in"


@pytest.mark.one_database
async def test_guesses_of_sessions_are_limited(heloise: Heloise, acme: Tenant) -> None:
    """They keep out nobody who is signed in; to sign in again ends the former session."""
    former = cookie_of(await enter_key(heloise, key_of(acme)))
    assert (await read(heloise, "/t/acme/messages", former)).status_code == 200
    cookie = cookie_of(await enter_key(heloise, key_of(acme), Cookie=former))
    guesses = [await read(heloise, "/", former) for _ in range(30)]
    assert (guesses[0].status_code, guesses[-1].status_code) == (303, 429)
    assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 200


async def test_a_page_that_nobody_uses_keeps_no_session(start: Start) -> None:
    """An open page loads its live parts by itself."""
    clock = HandClock()
    heloise = await start(clock=clock)
    cookie = cookie_of(await enter_key(heloise, key_of(await heloise.tenant("acme"))))
    headers = {"Cookie": cookie, "Heloise-Live": "true"}
    for status in (200, 200, 200, 303):
        page = await heloise.http.get("/console/t/acme/messages", headers=headers)
        assert page.status_code == status
        await clock.advance(seconds=25 * 60)


@pytest.mark.one_database
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://example.com"},
    ],
    ids=["cross-site", "same-site", "origin"],
)
async def test_a_form_of_another_site_changes_nothing(
    heloise: Heloise, acme: Tenant, headers: dict[str, str]
) -> None:
    """Neither does it sign in, nor does it act for somebody who is signed in (CSRF)."""
    refusal = await enter_key(heloise, key_of(acme), **headers)
    assert "set-cookie" not in refusal.headers
    cookie = cookie_of(await enter_key(heloise, key_of(acme)))
    response = await heloise.http.post("/console/sign-out", headers={"Cookie": cookie, **headers})
    assert response.status_code == 403
    assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 200


@pytest.mark.one_database
async def test_a_form_needs_the_token_of_its_session(heloise: Heloise, acme: Tenant) -> None:
    """A form without the token of the session changes nothing."""
    cookie = cookie_of(await enter_key(heloise, key_of(acme)))
    response = await heloise.http.post(
        "/console/sign-out", data={"csrf": "wrong"}, headers={"Cookie": cookie}
    )
    assert response.status_code == 403
    assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 200


async def test_a_session_ends_with_its_key(heloise: Heloise, acme: Tenant) -> None:
    """Who revokes a key ends the sessions that it began."""
    body = {"name": "support", "scopes": ["messages:read"]}
    key = await heloise.admin.made(f"/tenants/{acme.tenant_id}/keys", body)
    cookie = cookie_of(await enter_key(heloise, key["key"]))
    assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 200
    await heloise.admin("DELETE", f"/tenants/{acme.tenant_id}/keys/{key['id']}")
    response = await read(heloise, "/t/acme/messages", cookie)
    assert (response.status_code, response.headers["location"]) == (
        303,
        "/console/sign-in?next=%2Fconsole%2Ft%2Facme%2Fmessages",
    )


@pytest.mark.one_database
async def test_a_session_is_not_over_where_its_key_does_not_work(
    heloise: Heloise, acme: Tenant
) -> None:
    """The page says from which network the key works, and the session goes on there."""
    body = {"name": "office", "scopes": ["messages:read"], "networks": ["127.0.0.1/32"]}
    key = await acme.made("/keys", body)
    cookie = cookie_of(await enter_key(heloise, key["key"]))
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(transport=elsewhere, base_url=heloise.http.base_url) as client:
        page = await client.get("/console/t/acme/messages", headers={"Cookie": cookie})
    assert (page.status_code, "works only from 127.0.0.1/32" in page.text) == (403, True)
    assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 200


@pytest.mark.parametrize(
    ("step", "steps"), [(timedelta(minutes=62), 1), (timedelta(minutes=30), 24)]
)
async def test_a_session_ends_when_idle_and_at_the_latest_after_its_time(
    start: Start, step: timedelta, steps: int
) -> None:
    """After an hour without a request, or twelve hours in all."""
    clock = HandClock()
    heloise = await start(clock=clock)
    acme = await heloise.tenant("acme")
    cookie = cookie_of(await enter_key(heloise, key_of(acme)))
    for number in range(steps):
        assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 200, number
        await clock.advance(seconds=step.total_seconds())
    assert (await read(heloise, "/t/acme/messages", cookie)).status_code == 303


@pytest.mark.one_database
async def test_the_console_can_be_switched_off(start: Start) -> None:
    """Then there is nothing at its path, and `/` leads to the API's documentation."""
    heloise = await start(console=False)
    assert (await heloise.http.get("/console/")).status_code == 404
    assert (await heloise.http.get("/")).headers["location"] == "/docs"


@pytest.mark.one_database
async def test_the_console_has_its_own_path_below_a_proxys(start: Start) -> None:
    """Its links begin with the path of the proxy and its own."""
    heloise = await start(root_path="/mail", console_path="/ui")
    assert (await heloise.http.get("/mail/")).headers["location"] == "/mail/ui/"
    page = await heloise.http.get("/mail/ui/sign-in")
    assert 'action="/mail/ui/sign-in"' in page.text
    assert 'src="/mail/ui/static/htmx.min.js' in page.text
    acme = await heloise.tenant("acme")
    signed_in = await heloise.http.post("/ui/sign-in", data={"key": key_of(acme)})
    assert signed_in.headers["location"] == "/mail/ui/"
    headers = {"Cookie": cookie_of(signed_in)}
    home = await heloise.http.get("/ui/", headers=headers)
    assert home.headers["location"] == "/mail/ui/t/acme/messages"
    messages = await heloise.http.get("/ui/t/acme/messages", headers=headers)
    assert 'href="/mail/ui/t/acme/messages"' in messages.text
