"""Tenants are walls (invariant 10), on every route of the OpenAPI document, new ones too."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

# The parameters of tenants' own paths; those of the admin's and of the open ones lead elsewhere.
OBJECTS = {
    "profile",
    "message",
    "key",
    "suppression",
    "submission",
    "event",
    "webhook",
    "template",
    "domain",
    "mailbox",
    "provider_webhook",
    "console_session",
}
# It does not end by itself: who follows is told of in tests/e2e/test_events.
STREAM = "/events/stream"
# An address is no object: what is found by it is the caller's, or nothing.
NOT_OF_TENANTS = {"tenant", "key_id", "slug", "address"}
# Of a provider's own path, which a token opens and no key.
NOT_OF_TENANTS |= {"provider", "token"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every (method, path, operation)."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def parameters(path: str) -> set[str]:
    """The names in a path's braces."""
    return set(re.findall(r"{(\w+)}", path))


def least_body(operation: dict[str, Any]) -> Any:
    """A body that the operation takes, from its own example."""
    if "requestBody" not in operation:
        return None
    media = next(iter(operation["requestBody"]["content"].values()))
    return next(iter(media["examples"].values()))["value"]


@pytest.fixture
async def objects(api: Api, acme: Caller) -> dict[str, list[str]]:
    """By which names tenant A's objects can be called, for each parameter of a path."""
    profile = await acme.made("/profiles", PROFILE)
    message = await acme.made("/messages", MESSAGE)
    suppression = await acme.made("/suppressions", {"address": "eve@example.org"})
    webhook = await acme.made("/webhooks", {"name": "log", "url": "https://log.example.com/"})
    template = await acme.made("/templates", {"name": "receipt", "subject": "Hi", "text": "Hi"})
    inbox = {"name": "in", "host": "imap.example.com", "username": "u", "password": "p"}
    mailbox = await acme.made("/mailboxes", inbox)
    hook = await acme.made("/provider-webhooks", {"name": "relay", "provider": "brevo"})
    domain = await acme.made("/domains", {"domain": "example.com"})
    session = await api.session(acme.tenant_id, profile_id=profile["id"])
    [event] = (await acme.read("/events"))["items"]
    return {
        "event": [event["id"]],
        "mailbox": [mailbox["id"]],
        "provider_webhook": [hook["id"]],
        "domain": [domain["id"], domain["domain"]],
        "webhook": [webhook["id"]],
        "template": [template["id"], template["name"]],
        "profile": [profile["id"], profile["name"]],
        "message": [message["id"]],
        "key": [acme.key_id],
        "suppression": [suppression["id"]],
        "submission": [session.id],
        "console_session": [(await api.console_session(acme.tenant_id)).id],
    }


async def read_everything(
    caller: Caller, document: dict[str, Any], objects: dict[str, list[str]]
) -> Any:
    """All that a tenant can read of its own."""
    contents = {}
    for method, path, _ in operations(document):
        names = parameters(path)
        if method == "GET" and names and names <= OBJECTS:
            address = path.format(**{name: objects[name][0] for name in names})
            answer = await caller(method, address)
            assert answer.status_code == 200
            contents[address] = answer.content
    return contents


async def test_every_parameter_of_a_path_is_known(document: dict[str, Any]) -> None:
    """A new kind of object cannot be forgotten here."""
    known = {name for _, path, _ in operations(document) for name in parameters(path)}
    assert known == OBJECTS | NOT_OF_TENANTS


async def test_another_tenants_object_is_404_on_every_route(
    api: Api, acme: Caller, document: dict[str, Any], objects: dict[str, list[str]]
) -> None:
    """By id and by name, to read and to change; and nothing of it has changed."""
    other = await api.tenant("other")
    before = await read_everything(acme, document, objects)
    tried = set()
    for method, path, operation in operations(document):
        for name in parameters(path) & OBJECTS:
            for called in objects[name]:
                body = least_body(operation)
                answer = await other(method, path.format(**{name: called}), body)
                assert answer.status_code == 404, (method, path, answer.text)
                noun = name.replace("_", "-")
                assert answer.json()["type"] == f"/problems/{noun}-not-found"
                tried.add(operation["operationId"])
    assert await read_everything(acme, document, objects) == before
    assert tried >= {"get_message", "get_raw_message", "update_profile", "delete_profile"}


async def test_no_list_shows_anything_of_another_tenant(
    api: Api, document: dict[str, Any], objects: dict[str, list[str]]
) -> None:
    """Nor is one of its objects found by a filter."""
    assert objects
    other = await api.tenant("other")
    listed = set()
    for method, path, operation in operations(document):
        if method != "GET" or "security" not in operation or parameters(path):
            continue
        if path == STREAM:
            continue
        if path.startswith("/tenants"):
            assert (await other(method, path)).status_code == 403
            continue
        answer = await other(method, path)
        assert answer.status_code == 200
        assert not any(name in answer.text for names in objects.values() for name in names), path
        listed.add(path)
    assert listed == {
        *("/messages", "/profiles", "/suppressions", "/keys", "/audit-log", "/usage"),
        *("/events", "/webhooks", "/templates", "/domains", "/mailboxes", "/suppressions/export"),
        "/messages/export",
        "/provider-webhooks",
        "/stats",
        "/submissions",
        *("/queue", "/queue/depth"),
        "/console-sessions",
    }
    by_id = await other("GET", f"/messages?profile={objects['profile'][0]}")
    assert by_id.json()["items"] == []
    by_address = await other("GET", f"/messages?recipient={MESSAGE['to'][0]}")
    assert by_address.json()["items"] == []


@pytest.mark.parametrize("by", ["id", "name"])
async def test_nothing_is_sent_through_another_tenants_profile(
    api: Api, objects: dict[str, list[str]], by: str
) -> None:
    """Neither by its id nor by its name."""
    other = await api.tenant("other")
    called = objects["profile"][0 if by == "id" else 1]
    body = MESSAGE | {"from": "billing@example.com", "profile": called}
    answer = await other("POST", "/messages", body)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/profile-not-found")


async def test_the_admin_key_acts_for_one_tenant_at_a_time(
    api: Api, document: dict[str, Any], objects: dict[str, list[str]]
) -> None:
    """Acting for B, it finds nothing of A."""
    await api.admin.made("/tenants", {"slug": "other"})
    admin = api.admin_for("other")
    for method, path, operation in operations(document):
        for name in parameters(path) & OBJECTS:
            address = path.format(**{name: objects[name][0]})
            answer = await admin(method, address, least_body(operation))
            assert answer.status_code == 404, (method, path, answer.text)
