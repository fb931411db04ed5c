"""Single sign-on: people sign in through an OpenID Connect provider, and may do what rules say."""

import asyncio
import html
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from joserfc.jwk import RSAKey
from playwright.async_api import expect

from tests.console.conftest import Start
from tests.support.browser import window
from tests.support.console import cookie_of, read, send_form
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise
from tests.support.processes.ports import unused_port
from tests.support.servers.openid_server import CLIENT_ID, CLIENT_SECRET, OpenIdServer, keep

OIDC: Final = Path(__file__).parent / "oidc"
SUPPORT: Final = {
    "claim": "groups",
    "value": "mail-support",
    "tenant": "acme",
    "scopes": ["messages:read", "messages:send", "profiles:read"],
}
OPERATORS: Final = {"claim": "email", "value": "olga@example.com", "admin": True}
KEYS: Final = {"claim": "roles.mail", "value": "keys", "tenant": "acme", "scopes": ["keys:manage"]}
FAILURES: Final = 50
RULES: Final = json.dumps([SUPPORT, OPERATORS, KEYS])


@asynccontextmanager
async def certified_provider(port: int, console: str, **claims: Any) -> AsyncIterator[None]:
    """Run oidc-provider, the certified one for Node, at localhost."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(OIDC / "provider.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    order = {
        "port": port,
        "redirect_uris": [f"{console}/sign-in/callback"],
        "post_logout_redirect_uris": [f"{console}/sign-in"],
        "claims": claims,
    }
    process.stdin.write(f"{json.dumps(order)}\n".encode())
    await process.stdin.drain()
    try:
        while (line := await process.stdout.readline()) != b"ready\n":
            assert line, "the provider did not start"
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.mark.oidc_provider
@pytest.mark.skipif(
    shutil.which("node") is None or not (OIDC / "node_modules/oidc-provider").exists(),
    reason="oidc-provider is not installed: see .ci/run",
)
@pytest.mark.one_database
async def test_a_person_signs_in_through_a_certified_provider(start: Start, browser: Path) -> None:
    """From a page of the console through the provider, of another site, back; and out of both."""
    port = unused_port()
    heloise = await start(
        oidc_issuer=f"http://localhost:{port}",
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_rules=RULES,
    )
    await heloise.tenant("acme")
    console = str(heloise.http.base_url.join("/console"))
    ann = {"email": "ann@example.com", "email_verified": True, "groups": ["mail-support"]}
    async with certified_provider(port, console, ann=ann), window(browser) as browser_window:
        page = browser_window.page
        await page.goto(f"{console}/t/acme/messages?status=failed")
        await page.get_by_role("link", name="Sign in with localhost").click()
        await page.locator("[name=login]").fill("ann")
        await page.locator("[name=password]").fill("any")
        await page.locator("[type=submit]").click()
        await expect(page).to_have_url(f"{console}/t/acme/messages?status=failed")
        await expect(page.get_by_title("You are signed in as this person")).to_have_text(
            "ann@example.com"
        )
        cookies = {
            cookie["name"]: cookie for cookie in await browser_window.context.cookies(console)
        }
        assert cookies.keys() == {"__Host-heloise"}
        assert cookies["__Host-heloise"]["sameSite"] == "Strict"
        await page.get_by_role("button", name="Sign out").click()
        # The provider asks, because Heloise has kept no ID token.
        await page.get_by_role("button", name="Yes, sign me out").click()
        await expect(page).to_have_url(f"{console}/sign-in")
        await page.get_by_role("link", name="Sign in with localhost").click()
        await expect(page.locator("[name=login]")).to_be_visible()


async def begin(heloise: Heloise, path: str = "") -> tuple[str, str]:
    """Begin to sign in; answers where the provider is, and the cookie."""
    response = await heloise.http.get(f"/console/sign-in/provider{path}")
    assert response.status_code == 303, response.text
    assert "SameSite=lax" in response.headers["set-cookie"]
    return response.headers["location"], cookie_of(response)


async def finish(heloise: Heloise, cookie: str, params: dict[str, str]) -> httpx.Response:
    """Come back from the provider."""
    return await heloise.http.get(
        "/console/sign-in/callback", params=params, headers={"Cookie": cookie}
    )


async def sign_in(heloise: Heloise, server: OpenIdServer, code: str, **claims: Any) -> str:
    """Sign a person in; answers the session's cookie."""
    url, cookie = await begin(heloise)
    response = await finish(heloise, cookie, server.sign_in(url, code, **claims))
    assert response.status_code == 303, response.text
    return cookie_of(response)


@pytest.fixture
async def provider() -> AsyncIterator[OpenIdServer]:
    """A provider that does what the test says."""
    with OpenIdServer() as server:
        yield server


@pytest.fixture
async def heloise(start: Start, provider: OpenIdServer) -> Heloise:
    """A service whose people sign in there, with the tenant acme."""
    heloise = await start(auth_failures_per_minute=FAILURES, oidc_rules=RULES, **provider.settings)
    await heloise.tenant("acme")
    return heloise


async def test_any_replica_finishes_what_another_began(
    start: Start, provider: OpenIdServer
) -> None:
    """The browser keeps what has begun, the database keeps the session."""
    one = await start(oidc_rules=RULES, **provider.settings)
    other = await start(oidc_rules=RULES, delivery=False, **provider.settings)
    await one.tenant("acme")
    url, cookie = await begin(one, "?next=/console/t/acme/messages")
    answer = provider.sign_in(url, "ann", groups=["staff", "mail-support"])
    response = await finish(other, cookie, answer)
    assert response.headers["location"] == "/console/t/acme/messages"
    assert provider.forms[0]["redirect_uri"] == str(
        one.http.base_url.join("/console/sign-in/callback")
    )
    session = cookie_of(response)
    for replica in (one, other):
        assert (await read(replica, "/t/acme/messages", session)).status_code == 200


async def test_a_person_may_do_what_the_first_rule_says_that_applies(
    heloise: Heloise, provider: OpenIdServer
) -> None:
    """A group of a tenant, an admin by verified email address, a role within a claim."""
    other = await heloise.tenant("other")
    support = await sign_in(heloise, provider, "ann-1", groups="mail-support", name="Olga")
    page = await read(heloise, "/t/acme/messages", support)
    assert ("ann-1" in page.text, "Olga" in page.text) == (True, False)
    home = await read(heloise, f"/t/{other.tenant_id}/messages", support)
    assert home.headers["location"] == "/console/t/acme/messages"
    olga = {"email": "olga@example.com", "email_verified": True}
    admin = await sign_in(heloise, provider, "olga", **olga)
    assert (await read(heloise, "/t/other/messages", admin)).status_code == 200
    provider.userinfo["kim"] = {"roles": {"mail": ["keys"]}}
    keys = await sign_in(heloise, provider, "kim")
    page = await read(heloise, "/t/acme/messages", keys)
    assert "lacks the scope messages:read" in page.text


REFUSED: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"groups": ["mail"]},
    {"groups": {"mail-support": True}},
    {"email": "olga@example.com"},
    {"email": "olga@example.com", "email_verified": False},
    {"email": "olga@example.com", "email_verified": ["true"]},
    {"email": "a\0" * 300, "email_verified": True},
    {"roles": ["mail"]},
)


async def test_a_person_to_whom_no_rule_applies_is_refused(
    heloise: Heloise, provider: OpenIdServer
) -> None:
    """With a page that says so, and an entry in the audit log."""
    for claims in REFUSED:
        url, cookie = await begin(heloise)
        response = await finish(heloise, cookie, provider.sign_in(url, "eve", **claims))
        assert (claims, response.status_code) == (claims, 403)
        assert "no rule of HELOISE_OIDC_RULES gives you access" in response.text
        assert "set-cookie" not in response.headers
    entries = (await heloise.admin.read("/audit-log?action=console_sign_in"))["items"]
    assert len(entries) == len(REFUSED)
    for entry in entries:
        assert (entry["actor"]["kind"], entry["object_id"]) == ("person", "eve")
        assert entry["refused_as"] == "unauthenticated"


async def test_what_a_person_does_names_the_person(
    heloise: Heloise, provider: OpenIdServer
) -> None:
    """The audit log, and the origin of a message that they send."""
    session = await sign_in(
        heloise,
        provider,
        "ann",
        groups=["mail-support"],
        email="ann@example.com",
        email_verified=True,
    )
    [entry] = (await heloise.admin.read("/audit-log?action=console_sign_in"))["items"]
    actor = entry["actor"]
    assert (actor["kind"], actor["name"], actor["id"]) == (
        "person",
        "ann@example.com",
        entry["object_id"],
    )
    assert entry["changes"]["subject"] == {"before": None, "after": "ann"}
    assert entry["changes"]["issuer"]["after"] == provider.issuer
    assert session not in json.dumps(entry)


async def test_a_persons_session_ends_with_the_tenant_and_with_single_sign_on(
    start: Start, provider: OpenIdServer
) -> None:
    """And at its time."""
    clock = HandClock()
    heloise = await start(clock=clock, oidc_rules=RULES, **provider.settings)
    for slug in ("acme", "other"):
        await heloise.tenant(slug)
    admin = await sign_in(heloise, provider, "olga", email="olga@example.com", email_verified=True)
    support = await sign_in(heloise, provider, "ann", groups=["mail-support"])
    assert (await read(heloise, "/t/acme/messages", support)).status_code == 200
    without = await start(clock=clock, delivery=False)
    assert (await read(without, "/t/acme/messages", support)).status_code == 303
    with OpenIdServer() as successor:
        moved = await start(clock=clock, delivery=False, oidc_rules=RULES, **successor.settings)
        assert (await read(moved, "/t/acme/messages", support)).status_code == 303
    assert (await heloise.admin("DELETE", "/tenants/acme")).status_code == 204
    assert (await read(heloise, "/t/acme/messages", support)).status_code == 303
    for _ in range(24):
        assert (await read(heloise, "/t/other/messages", admin)).status_code == 200
        await clock.advance(seconds=timedelta(minutes=30).total_seconds())
    assert (await read(heloise, "/t/other/messages", admin)).status_code == 303


async def test_a_rule_for_a_missing_tenant_says_so(start: Start, provider: OpenIdServer) -> None:
    """To the person, who can tell the operator."""
    heloise = await start(oidc_rules=RULES, **provider.settings)
    url, cookie = await begin(heloise)
    response = await finish(heloise, cookie, provider.sign_in(url, "ann", groups=["mail-support"]))
    assert response.status_code == 403
    assert "tenant acme, but it does not exist" in response.text


@pytest.mark.one_database
async def test_an_answer_needs_the_browser_that_began(start: Start, provider: OpenIdServer) -> None:
    """Another browser, another state, a changed cookie, too late: nobody signs in."""
    clock = HandClock()
    heloise = await start(clock=clock, oidc_rules=RULES, **provider.settings)
    await heloise.tenant("acme")
    url, cookie = await begin(heloise)
    answer = provider.sign_in(url, "ann", groups=["mail-support"])
    _, other_cookie = await begin(heloise)
    cases = [
        ("", answer),
        (other_cookie, answer),
        (cookie[:-8] + "AAAAAAA=", answer),
        (cookie, {**answer, "state": answer["state"][:-1]}),
        (cookie, {"code": answer["code"]}),
    ]
    await clock.advance(seconds=11 * 60)
    late_url, late_cookie = url, cookie
    for sent_cookie, params in [*cases, (late_cookie, provider.sign_in(late_url, "ann"))]:
        response = await finish(heloise, sent_cookie, params)
        assert (response.status_code, "Sign-in expired" in response.text) == (400, True)
        assert "set-cookie" not in response.headers
    assert provider.forms == []


def _set(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(values)


def _remove(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(name)


HOSTILE: Final = {
    "another nonce": ("change_claims", _set(nonce="another"), "nonce"),
    "no nonce": ("change_claims", _remove("nonce"), "nonce"),
    "another audience": ("change_claims", _set(aud="somebody"), "aud"),
    "another party": ("change_claims", _set(aud=[CLIENT_ID, "b"], azp="b"), "azp"),
    "no party": ("change_claims", _set(aud=[CLIENT_ID, "b"]), "azp"),
    "another issuer": ("change_claims", _set(iss="https://sso.example.net"), "iss"),
    "expired": ("change_claims", lambda claims: claims.update(exp=claims["iat"] - 120), "expired"),
    "no end": ("change_claims", _remove("exp"), "exp"),
    "an end that is none": ("change_claims", _set(exp="never"), "exp"),
    "no subject": ("change_claims", _remove("sub"), "sub"),
    "a subject with a control": ("change_claims", _set(sub="s\0"), "subject"),
    "a long subject": ("change_claims", _set(sub="s" * 256), "subject"),
    "alg none": ("change_header", _set(alg="none"), "ID token is not valid"),
    "alg HS256": ("change_header", _set(alg="HS256"), "ID token is not valid"),
    "an unknown key": ("change_header", _set(kid="another"), "ID token is not valid"),
    "another access token": ("change_claims", _set(at_hash="AAAA"), "at_hash"),
    "no ID token": ("change_answer", _remove("id_token"), "no valid OpenID Connect response"),
    "a number as ID token": ("change_answer", _set(id_token=7), "ID token is not valid"),
    "an error": (
        "change_answer",
        lambda answer: (answer.clear(), answer.update(error="invalid_grant")),
        "invalid_grant",
    ),
}


@pytest.mark.one_database
async def test_no_hostile_id_token_signs_anybody_in(
    heloise: Heloise, provider: OpenIdServer
) -> None:
    """Whatever is wrong with it, the page says what."""
    for name, (field, change, reason) in HOSTILE.items():
        url, cookie = await begin(heloise)
        before = getattr(provider, field)
        setattr(provider, field, change)
        answer = provider.sign_in(url, "ann", groups=["mail-support"])
        response = await finish(heloise, cookie, answer)
        setattr(provider, field, before)
        assert (name, response.status_code) == (name, 502)
        assert reason in response.text, (name, response.text)
        assert "set-cookie" not in response.headers
    forged = RSAKey.generate_key(2048, {"kid": "key-1"})
    provider.signing_key = forged
    url, cookie = await begin(heloise)
    response = await finish(
        heloise, cookie, provider.sign_in(url, "mallory", groups=["mail-support"])
    )
    assert (response.status_code, "ID token is not valid" in response.text) == (502, True)
    # A new key of the provider's is known at once.
    provider.key = provider.signing_key = RSAKey.generate_key(2048, {"kid": "key-2"})
    session = await sign_in(heloise, provider, "ann", groups=["mail-support"])
    assert (await read(heloise, "/t/acme/messages", session)).status_code == 200


BROKEN: Final = {
    "huge": (200, b'{"issuer": "' + b"x" * 300_000 + b'"}', "longer than 262144 bytes"),
    "down": (503, b"", "HTTP 503"),
    "redirect": (302, b"", "HTTP 302"),
    "no JSON": (200, b"<html>", "no valid OpenID Connect response"),
    "no object": (200, b"[]", "no valid OpenID Connect response"),
    "deep": (200, b"[" * 100_000, "no valid OpenID Connect response"),
}


@pytest.mark.one_database
async def test_a_broken_provider_has_a_page(
    start: Start, provider: OpenIdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down, huge, slow or senseless, at the first step and at the second."""
    clock = HandClock()
    heloise = await start(
        clock=clock, auth_failures_per_minute=FAILURES, oidc_rules=RULES, **provider.settings
    )
    await heloise.tenant("acme")
    discovery = "/.well-known/openid-configuration"
    for name, (status, content, reason) in BROKEN.items():
        provider.raw = {discovery: (status, content)}
        response = await heloise.http.get("/console/sign-in/provider")
        assert (name, response.status_code) == (name, 502)
        assert reason in response.text, (name, response.text)
        for path in ("/token", "/jwks", "/userinfo"):
            provider.raw = {}
            url, cookie = await begin(heloise)
            answer = provider.sign_in(url, "ann", groups=["mail-support"])
            provider.raw = {path: (status, content)}
            response = await finish(heloise, cookie, answer)
            assert (name, path, response.status_code) == (name, path, 502)
        # The discovery document is kept for a while.
        await clock.advance(seconds=11 * 60)
    provider.raw = {}
    for change, reason in (
        (_set(issuer="https://sso.example.net"), "names another issuer"),
        (_set(token_endpoint="ftp://127.0.0.1/token"), "token_endpoint is no https"),
        (_remove("jwks_uri"), "no valid OpenID Connect response"),
    ):
        provider.change_metadata = change
        response = await heloise.http.get("/console/sign-in/provider")
        assert (response.status_code, reason in response.text) == (502, True), response.text
    provider.change_metadata = keep
    monkeypatch.setattr("app.oauth.openid.ANSWER_SECONDS", 0.5)
    provider.seconds = {discovery: 5}
    response = await heloise.http.get("/console/sign-in/provider")
    assert "did not answer in time" in response.text


@pytest.mark.one_database
async def test_guesses_do_not_keep_the_provider_busy(start: Start, provider: OpenIdServer) -> None:
    """After too many failures the provider is not asked; who is signed in stays so."""
    heloise = await start(auth_failures_per_minute=3, oidc_rules=RULES, **provider.settings)
    await heloise.tenant("acme")
    session = await sign_in(heloise, provider, "ann", groups=["mail-support"])
    url, cookie = await begin(heloise)
    answer = provider.sign_in(url, "ann")
    for _ in range(3):
        response = await finish(heloise, cookie, {**answer, "code": "junk"})
        assert response.status_code == 502
    asked = len(provider.forms)
    response = await finish(heloise, cookie, {**answer, "code": "junk"})
    assert response.status_code == 429
    assert "HELOISE_AUTH_FAILURES_PER_MINUTE" in response.text
    assert len(provider.forms) == asked
    assert (await read(heloise, "/t/acme/messages", session)).status_code == 200


@pytest.mark.one_database
async def test_a_sign_in_ends_the_browsers_former_session(
    heloise: Heloise, provider: OpenIdServer
) -> None:
    """Which the browser presents at the first step only."""
    former = await sign_in(heloise, provider, "ann", groups=["mail-support"])
    response = await heloise.http.get("/console/sign-in/provider", headers={"Cookie": former})
    url, cookie = response.headers["location"], cookie_of(response)
    answer = provider.sign_in(url, "ann", groups=["mail-support"])
    session = cookie_of(await finish(heloise, cookie, answer))
    assert (await read(heloise, "/t/acme/messages", former)).status_code == 303
    assert (await read(heloise, "/t/acme/messages", session)).status_code == 200


@pytest.mark.one_database
async def test_the_providers_words_are_shown_and_harmless(
    heloise: Heloise, provider: OpenIdServer
) -> None:
    """Its error is text; without the state that belongs to it, it is not shown at all."""
    url, cookie = await begin(heloise)
    state = provider.sign_in(url, "ann")["state"]
    words = {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
    response = await finish(heloise, cookie, {"state": state, **words})
    assert response.status_code == 502
    assert "access_denied: &lt;script&gt;" in response.text
    assert "<script>alert" not in response.text
    assert "access_denied" not in (await finish(heloise, cookie, words)).text
    foreign = {"state": state, "code": "ann", "iss": "https://sso.example.net"}
    assert (
        "the answer is from https://sso.example.net"
        in (await finish(heloise, cookie, foreign)).text
    )


END: Final = "/end?ui_locales=en"


async def test_sign_out_ends_the_session(heloise: Heloise, provider: OpenIdServer) -> None:
    """Here; the page says that the provider, which announces no sign-out, may know the person.

    People who are still signed in do not see that page.
    """
    session = await sign_in(heloise, provider, "ann", groups=["mail-support"])
    early = await read(heloise, "/signed-out", session)
    assert (early.status_code, early.headers["location"]) == (303, "/console/")
    response = await send_form(heloise, "/t/acme/messages", "/sign-out", session)
    assert (response.status_code, response.headers["location"]) == (303, "/console/signed-out")
    assert (await read(heloise, "/t/acme/messages", session)).status_code == 303
    page = await read(heloise, "/signed-out", "")
    assert "You may still be signed in at 127.0.0.1" in page.text
    assert "refresh" not in page.text


@pytest.mark.one_database
async def test_sign_out_leads_to_the_providers_if_it_has_one(
    start: Start, provider: OpenIdServer
) -> None:
    """Only by https or as the issuer; if the provider is down, the person is signed out here."""
    clock = HandClock()
    heloise = await start(clock=clock, oidc_rules=RULES, **provider.settings)
    back = quote(str(heloise.http.base_url.join("/console/sign-in")), safe="")
    endpoint = f"{provider.issuer}{END}"
    where = f"{endpoint}&client_id={CLIENT_ID}&post_logout_redirect_uri={back}"
    for url, leads in ((endpoint, True), ("javascript:alert(1)", False), (None, False)):
        provider.change_metadata = _set(end_session_endpoint=url)
        if url is None:
            provider.raw = {"/.well-known/openid-configuration": (503, b"")}
        await clock.advance(seconds=11 * 60)
        page = await read(heloise, "/signed-out", "")
        assert (page.status_code, url, html.escape(where) in page.text) == (200, url, leads)
        assert ('http-equiv="refresh"' in page.text, "javascript:" in page.text) == (leads, False)
        if url is not None:  # an endpoint that no one may be led to keeps nobody from signing in
            assert (await begin(heloise))[0].startswith(provider.issuer)
