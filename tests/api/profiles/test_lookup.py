"""An unknown name: the answer has the one that is spelt alike, within the caller's reach."""

from typing import Any

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

TYPO = "transactionl"
LIKELY = "did you mean 'transactional'?"
ACT = {"action": "cancel", "filter": {"profile": TYPO}}
WEBHOOK = {"name": "log", "url": "https://log.example.com/", "profiles": [TYPO]}
KEY = {"name": "app", "scopes": ["messages:send"], "profiles": [TYPO]}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/profiles/{TYPO}", None),
        ("PATCH", f"/profiles/{TYPO}", {"port": 25}),
        ("DELETE", f"/profiles/{TYPO}", None),
        ("POST", f"/profiles/{TYPO}/pause", None),
        ("POST", f"/profiles/{TYPO}/verify", None),
        ("POST", "/messages", MESSAGE | {"profile": TYPO}),
        ("GET", f"/messages?profile={TYPO}", None),
        ("POST", "/messages/actions", ACT),
        ("GET", f"/events?profile={TYPO}", None),
        ("GET", f"/stats?by=tag&profile={TYPO}", None),
        ("POST", "/webhooks", WEBHOOK),
        ("POST", "/keys", KEY),
        ("PATCH", "/profiles/transactional", {"fallback_profile": "marketng"}),
    ],
)
async def test_the_likely_one_is_named(acme: Caller, method: str, path: str, body: Any) -> None:
    """Wherever a request refers to a profile."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/profiles", PROFILE | {"name": "marketing"})
    answer = await acme(method, path, body)
    assert answer.status_code in {404, 422}, answer.text
    likely = "did you mean 'marketing'?" if "marketng" in str(body) else LIKELY
    assert likely in answer.json()["detail"]


@pytest.mark.one_database
@pytest.mark.parametrize("name", ["billing", "x" * 5000, "prf_0198c5a2d3f07b6e8a4c1d2e3f405162"])
async def test_what_is_like_nothing_is_guessed_as_nothing(acme: Caller, name: str) -> None:
    """Nor is an id."""
    await acme.made("/profiles", PROFILE)
    answer = await acme("GET", f"/profiles/{name}")
    assert answer.status_code == 404
    assert "did you mean" not in answer.text


async def test_what_a_key_does_not_reach_is_not_named(api: Api, acme: Caller) -> None:
    """Nor is another tenant's."""
    mine = await acme.made("/profiles", PROFILE | {"name": "marketing"})
    await acme.made("/profiles", PROFILE)
    bound = await api.key(acme.tenant_id, ["profiles:read"], profiles=[mine["id"]])
    assert "did you mean 'marketing'?" in (await bound("GET", "/profiles/marketin")).text
    for name in (TYPO, "transactional"):
        answer = await bound("GET", f"/profiles/{name}")
        assert answer.json()["detail"] == f"There is no profile {name!r} here."
    other = await api.tenant("other")
    assert "did you mean" not in (await other("GET", f"/profiles/{TYPO}")).text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/templates/receit", None),
        ("POST", "/messages", {"to": ["ann@example.org"], "template": "receit"}),
    ],
)
async def test_so_is_a_template(acme: Caller, method: str, path: str, body: Any) -> None:
    """Its names are written by hand too."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/templates", {"name": "receipt", "subject": "Hi", "text": "Hi"})
    answer = await acme(method, path, body)
    assert answer.status_code == 404
    assert "There is no template 'receit' here; did you mean 'receipt'?" in answer.text


async def test_so_is_a_tenant_to_an_admin(api: Api, acme: Caller) -> None:
    """In the path, and in the header."""
    detail = "There is no tenant 'acne' here; did you mean 'acme'?"
    assert (await api.admin("GET", "/tenants/acne")).json()["detail"] == detail
    assert (await api.admin_for("acne")("GET", "/profiles")).json()["detail"] == detail
    assert (await acme("GET", "/tenants/acne")).status_code == 403


async def test_one_of_many_messages_is_refused_without_a_guess(acme: Caller) -> None:
    """To guess for each of a thousand costs more than to send them."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/templates", {"name": "receipt", "subject": "Hi", "text": "Hi"})
    batch = [MESSAGE | {"profile": TYPO}, {"to": ["ann@example.org"], "template": "receit"}]
    results = (await acme("POST", "/messages/batch", {"messages": batch})).json()["results"]
    assert [result["problem"]["detail"] for result in results] == [
        f"There is no profile {TYPO!r} here.",
        "There is no template 'receit' here.",
    ]
