"""Domains, keys, suppressions and webhooks of the Resend-compatible API are Heloise's own."""

from typing import Any

import pytest

from tests.api.resend.conftest import EMAIL, ResendCaller, check_error, resend_of
from tests.support.api_client import Api, Caller, bearer

URL = "https://hooks.example.com/resend"


async def read(caller: Caller, path: str, **params: Any) -> Any:
    """What a GET answers; it has to succeed."""
    answer = await caller("GET", path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(caller: Caller, path: str, json: Any = None) -> Any:
    """What a POST answers; it has to succeed, with 200."""
    answer = await caller("POST", path, json)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_domains(resend: ResendCaller, acme: Caller) -> None:
    """With the records of their DKIM keys, which nobody has added yet."""
    created_domain = await post(resend, "/domains", {"name": "Example.com", "region": "eu-west-1"})
    keys = (await acme.read(f"/domains/{created_domain['id']}"))["keys"]
    records = [
        {
            "record": "DKIM",
            "name": key["dns_record"]["name"],
            "type": "TXT",
            "ttl": "Auto",
            "status": "not_started",
            "value": key["dns_record"]["value"],
        }
        for key in keys
    ]
    assert created_domain == {
        "id": created_domain["id"],
        "name": "example.com",
        "status": "not_started",
        "region": "eu-west-1",
        "capabilities": {"sending": "enabled", "receiving": "disabled"},
        "created_at": created_domain["created_at"],
        "records": records,
    }
    path = f"/domains/{created_domain['id']}"
    assert await post(resend, f"{path}/verify") == {
        "object": "domain",
        "id": created_domain["id"],
    }
    domain = await read(resend, path)
    assert (domain["object"], domain["status"]) == ("domain", "pending")
    assert {record["status"] for record in domain["records"]} == {"pending"}
    page = await read(resend, "/domains")
    assert [domain["id"] for domain in page["data"]] == [created_domain["id"]]
    assert "records" not in page["data"][0]
    for body in (
        {"name": "example.com"},
        {"name": "x y"},
        {"name": "a.org", "open_tracking": True},
    ):
        check_error(await resend("POST", "/domains", body), 422, "validation_error")
    deleted = (await resend("DELETE", path)).json()
    assert deleted == {"object": "domain", "id": created_domain["id"], "deleted": True}
    check_error(await resend("GET", path), 404, "not_found")


async def test_keys(api: Api, resend: ResendCaller) -> None:
    """For everything or only for sending, as addresses of one domain; no key exceeds its maker."""
    full = await post(resend, "/api-keys", {"name": "all"})
    assert (await resend_with(resend, full["token"])("GET", "/webhooks")).status_code == 200
    domain = await post(resend, "/domains", {"name": "example.com"})
    body = {"name": "sender", "permission": "sending_access", "domain_id": domain["id"]}
    key = await post(resend, "/api-keys", body)
    sender = resend_with(resend, key["token"])
    await sender.send()
    await sender.refuse(403, "validation_error", **{"from": "a@news.example.com"})
    check_error(await sender("GET", "/emails"), 401, "restricted_api_key")
    list_page = await read(resend, "/api-keys")
    assert [key["id"] for key in list_page["data"][:2]] == [key["id"], full["id"]]
    assert list_page["data"][0].keys() == {"id", "name", "created_at", "last_used_at"}
    page = await read(resend, "/api-keys", limit=1, after=key["id"])
    assert ([key["id"] for key in page["data"]], page["has_more"]) == ([full["id"]], True)
    weak = resend_of(await api.key(resend.tenant_id, ["keys:manage"]))
    check_error(await weak("POST", "/api-keys", {"name": "x"}), 401, "restricted_api_key")
    deleted = await resend("DELETE", f"/api-keys/{key['id']}")
    assert (deleted.status_code, deleted.json()) == (200, {})
    check_error(await sender("POST", "/emails", EMAIL), 403, "invalid_api_key")
    assert key["id"] not in (await resend("GET", "/api-keys")).text


def resend_with(caller: ResendCaller, key: str) -> ResendCaller:
    """A caller with another key."""
    return ResendCaller(caller.http, bearer(key), caller.tenant_id)


async def test_suppressions(resend: ResendCaller, acme: Caller) -> None:
    """By id or by address; to add one again is no error."""
    created_suppression = await post(resend, "/suppressions", {"email": "Ann@example.org"})
    assert created_suppression == {"object": "suppression", "id": created_suppression["id"]}
    assert await post(resend, "/suppressions", {"email": "ann@EXAMPLE.org"}) == created_suppression
    tagged = {"address": "ann@example.org", "tag": "news", "reason": "complaint"}
    other = await acme.made("/suppressions", tagged)
    suppression = {
        "id": created_suppression["id"],
        "email": "ann@example.org",
        "origin": "manual",
        "source_id": None,
        "created_at": (await read(resend, f"/suppressions/{created_suppression['id']}"))[
            "created_at"
        ],
    }
    for name in (created_suppression["id"], "ANN%40example.org"):
        assert (
            await read(resend, f"/suppressions/{name}") == {"object": "suppression"} | suppression
        )
    page = await read(resend, "/suppressions")
    assert [item["id"] for item in page["data"]] == [other["id"], created_suppression["id"]]
    complaints = await read(resend, "/suppressions", origin="complaint")
    assert [item["id"] for item in complaints["data"]] == [other["id"]]
    newer = await read(resend, "/suppressions", before=created_suppression["id"])
    assert [item["id"] for item in newer["data"]] == [other["id"]]
    email_id = await resend.send()
    assert (await read(resend, f"/emails/{email_id}"))["last_event"] == "suppressed"
    deleted = (await resend("DELETE", "/suppressions/ann%40example.org")).json()
    assert deleted == {"object": "suppression", "id": created_suppression["id"], "deleted": True}
    check_error(await resend("GET", "/suppressions/ann%40example.org"), 404, "not_found")
    check_error(await resend("POST", "/suppressions", {"email": "x"}), 422, "validation_error")


async def test_webhooks(resend: ResendCaller, acme: Caller) -> None:
    """In Resend's format, with its names of events."""
    events = ["email.sent", "email.bounced", "email.opened"]
    created_webhook = await post(resend, "/webhooks", {"endpoint": URL, "events": events})
    assert created_webhook["object"] == "webhook"
    assert created_webhook["signing_secret"].startswith("whsec_")
    native = await acme.read(f"/webhooks/{created_webhook['id']}")
    assert (native["format"], native["url"]) == ("resend", URL)
    assert native["events"] == ["message.queued", "recipient.bounced", "recipient.bounced_later"]
    path = f"/webhooks/{created_webhook['id']}"
    webhook = await read(resend, path)
    assert webhook == {
        "object": "webhook",
        "id": created_webhook["id"],
        "created_at": webhook["created_at"],
        "status": "enabled",
        "endpoint": URL,
        "events": ["email.sent", "email.bounced"],
    }
    await post(resend, "/webhooks", {"endpoint": URL, "events": events})  # the same URL again
    assert len((await read(resend, "/webhooks"))["data"]) == 2
    changes = {
        "webhook_id": created_webhook["id"],
        "status": "disabled",
        "events": ["email.delivered"],
    }
    assert (await resend("PATCH", path, changes)).json() == {
        "object": "webhook",
        "id": created_webhook["id"],
    }
    changed = await read(resend, path)
    assert (changed["status"], changed["events"]) == ("disabled", ["email.delivered"])
    elsewhere = {"endpoint": "https://other.example.com/"}
    check_error(await resend("PATCH", path, elsewhere), 422, "missing_required_field")
    elsewhere["signing_secret"] = created_webhook["signing_secret"]
    assert (await resend("PATCH", path, elsewhere)).status_code == 200
    rotated = await post(resend, f"{path}/signing-secret/rotate")
    assert rotated["signing_secret"] != created_webhook["signing_secret"]
    for event_types in (["email.lost"], ["email.opened"], []):
        body = {"endpoint": URL, "events": event_types}
        message = check_error(await resend("POST", "/webhooks", body), 422, "validation_error")
        assert "email.delivered" in message
    deleted = (await resend("DELETE", path)).json()
    assert deleted == {"object": "webhook", "id": created_webhook["id"], "deleted": True}
    check_error(await resend("GET", path), 404, "not_found")


@pytest.mark.one_database
async def test_changes_are_in_the_audit_log(resend: ResendCaller, acme: Caller) -> None:
    """As those of the native API are, and what was refused too."""
    await post(resend, "/suppressions", {"email": "ann@example.org"})
    await resend_with(resend, "re_1")("POST", "/emails", EMAIL)
    entries = (await acme.read("/audit-log"))["items"]
    assert "suppression.create" in {entry["action"] for entry in entries}
