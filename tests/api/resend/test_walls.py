"""Keys, scopes, tenants and reach hold on every operation of the Resend-compatible API.

The requests are made from a document of its routes: an operation, a parameter or a field that is
new has to be named here before anything passes.
"""

from typing import Any, Final

import httpx
import pytest
from fastapi.openapi.utils import get_openapi

from app.api.routers import resend_routers
from tests.api.auth.test_isolation import operations, parameters
from tests.api.auth.test_reach import last_name, places
from tests.api.resend.conftest import EMAIL, check_error
from tests.support.api_client import EVERY_SCOPE, PROFILE, Api, Caller

DOCUMENT: Final = get_openapi(
    title="Resend",
    version="1",
    routes=[route for router in resend_routers for route in router.routes],
)
HOOK: Final = {"endpoint": "https://hooks.example.com/", "events": ["email.sent"]}
AT: Final = "2099-01-01T00:00:00Z"
# What each operation asks of a key, and a body that it takes.
OPERATIONS: Final[dict[str, tuple[str, Any]]] = {
    "resend_send_email": ("messages:send", EMAIL),
    "resend_send_batch": ("messages:send", [EMAIL]),
    "resend_list_emails": ("messages:read", None),
    "resend_get_email": ("messages:read", None),
    "resend_update_email": ("messages:manage", {"scheduled_at": AT}),
    "resend_cancel_email": ("messages:manage", None),
    "resend_create_domain": ("profiles:manage", {"name": "new.example"}),
    "resend_list_domains": ("profiles:read", None),
    "resend_get_domain": ("profiles:read", None),
    "resend_verify_domain": ("profiles:manage", None),
    "resend_delete_domain": ("profiles:manage", None),
    "resend_create_key": ("keys:manage", {"name": "new", "permission": "sending_access"}),
    "resend_list_keys": ("keys:manage", None),
    "resend_delete_key": ("keys:manage", None),
    "resend_create_suppression": ("suppressions:manage", {"email": "new@example.org"}),
    "resend_list_suppressions": ("suppressions:manage", None),
    "resend_get_suppression": ("suppressions:manage", None),
    "resend_delete_suppression": ("suppressions:manage", None),
    "resend_create_webhook": ("webhooks:manage", HOOK),
    "resend_list_webhooks": ("webhooks:manage", None),
    "resend_get_webhook": ("webhooks:manage", None),
    "resend_update_webhook": ("webhooks:manage", {"status": "disabled"}),
    "resend_delete_webhook": ("webhooks:manage", None),
    "resend_rotate_webhook_secret": ("webhooks:manage", None),
}
IMPLIED: Final = {"messages:read": "messages:manage", "profiles:read": "profiles:manage"}
# The parameters of paths, and the fields of bodies that name an object.
OBJECTS: Final = {"message", "domain", "key", "suppression", "webhook"}
REFERENCES: Final = {("resend_create_key", "domain_id"), ("resend_send_email", "id")}
# What names no object of the caller's, or only a position in its own list.
PLAIN: Final = {
    *("after", "before", "bcc", "cc", "content_id", "content_type", "custom_return_path", "email"),
    *("endpoint", "events", "filename", "from", "headers", "Heloise-Tenant", "html", "name"),
    *("Idempotency-Key", "inline_content_id", "path", "region", "reply_to", "scheduled_at"),
    *("signing_secret", "subject", "text", "tls", "to", "topic_id", "value", "webhook_id"),
}


async def ask(
    caller: Caller, method: str, path: str, operation: dict[str, Any], **names: str
) -> httpx.Response:
    """A request that is right but for the names in its path."""
    _, body = OPERATIONS[operation["operationId"]]
    there = path.format(**dict.fromkeys(parameters(path), "none") | names)
    return await caller(method, there, body)


@pytest.mark.one_database
def test_every_operation_and_every_text_is_known() -> None:
    """A new one cannot be forgotten here."""
    assert {item["operationId"] for _, _, item in operations(DOCUMENT)} == OPERATIONS.keys()
    assert {name for _, path, _ in operations(DOCUMENT) for name in parameters(path)} == OBJECTS
    texts = {
        last_name(place) for _, _, item in operations(DOCUMENT) for place in places(item, DOCUMENT)
    }
    assert texts - PLAIN - OBJECTS == {name for _, name in REFERENCES} - OBJECTS


@pytest.mark.one_database
async def test_without_a_key_nothing_opens(api: Api) -> None:
    """401 on every operation."""
    for method, path, operation in operations(DOCUMENT):
        check_error(await ask(api.nobody, method, path, operation), 401, "missing_api_key")


@pytest.mark.one_database
@pytest.mark.parametrize("held", EVERY_SCOPE)
async def test_a_scope_opens_its_operations_and_no_others(api: Api, held: str) -> None:
    """A refusal says which scope is missing."""
    caller = await api.tenant("acme", [held])
    for method, path, operation in operations(DOCUMENT):
        needed, _ = OPERATIONS[operation["operationId"]]
        answer = await ask(caller, method, path, operation)
        if held in {needed, IMPLIED.get(needed)}:
            assert needed not in answer.text, (method, path, answer.text)
            assert answer.status_code not in {403, 500}, (method, path, answer.text)
        else:
            assert needed in check_error(answer, 401, "restricted_api_key")


async def make_everything(caller: Caller, name: str) -> dict[str, str]:
    """An object of each kind, by the parameter that names it."""
    profile = await caller.made("/profiles", PROFILE | {"name": name})
    message = {"profile": name, "to": "ann@example.org", "text": "x", "send_at": AT}
    hook = {"name": name, "url": "https://hooks.example.com/", "format": "resend"}
    key = {"name": name, "scopes": ["messages:send"], "profiles": [profile["id"]]}
    domain = await caller.made("/domains", {"domain": f"{name}.example"})
    message_id = (await caller.made("/messages", message | {"send_at": None}))["id"]
    suppressed = {"address": f"{name}@example.org"}
    return {
        "message": message_id,
        "domain": domain["id"],
        "key": (await caller.made("/keys", key))["id"],
        "suppression": (await caller.made("/suppressions", suppressed))["id"],
        "webhook": (await caller.made("/webhooks", hook))["id"],
    }


@pytest.mark.parametrize("who", ["another tenant", "a bound key"])
async def test_what_a_key_does_not_reach_is_not_there(api: Api, acme: Caller, who: str) -> None:
    """By id, in every path, in every list and in bodies; and nothing of it changes."""
    hidden = await make_everything(acme, "covert")
    if who == "another tenant":
        caller = await api.tenant("other")
        await caller.made("/profiles", PROFILE)
    else:
        await acme.made("/profiles", PROFILE)
        caller = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=[PROFILE["name"]])
        # Domains belong to the whole tenant, and a bound key may read them.
        hidden = {name: hidden[name] for name in ("message", "key")}
    before = {name: await show(acme, name, object_id) for name, object_id in hidden.items()}
    for method, path, operation in operations(DOCUMENT):
        for name in parameters(path) & hidden.keys():
            answer = await ask(caller, method, path, operation, **{name: hidden[name]})
            absent = await ask(
                caller, method, path, operation, **{name: hidden[name][:-6] + "000000"}
            )
            check_error(answer, 404, "not_found")
            assert absent.status_code == 404
            assert answer.text.replace(hidden[name], "x") == absent.text.replace(
                hidden[name][:-6] + "000000", "x"
            )
        if method == "GET" and not parameters(path):
            places = ({}, {"after": "f" * 32}, {"before": "0" * 32})
            for place in places:
                prefixed = {key: f"{PREFIXES[path]}_{value}" for key, value in place.items()}
                answer = await caller(method, path, params=prefixed)
                assert answer.status_code in {200, 401}, answer.text
                assert not any(object_id in answer.text for object_id in hidden.values()), path
    if who == "another tenant":
        body = {"name": "new", "permission": "sending_access", "domain_id": hidden["domain"]}
        check_error(await caller("POST", "/resend/api-keys", body), 404, "not_found")
    after = {name: await show(acme, name, object_id) for name, object_id in hidden.items()}
    assert after == before


PREFIXES: Final = {
    "/resend/emails": "msg",
    "/resend/domains": "dom",
    "/resend/api-keys": "key",
    "/resend/suppressions": "sup",
    "/resend/webhooks": "whk",
}
PATHS: Final = {
    "message": "/resend/emails/{}",
    "domain": "/resend/domains/{}",
    "suppression": "/resend/suppressions/{}",
    "webhook": "/resend/webhooks/{}",
}


async def show(owner: Caller, name: str, object_id: str) -> Any:
    """An object as its owner reads it."""
    if name == "key":
        keys = (await owner.read("/keys"))["items"]
        return next(key for key in keys if key["id"] == object_id)
    return await owner.read(PATHS[name].format(object_id))


@pytest.mark.one_database
async def test_a_repeated_request_shows_no_message_of_another_profile(
    api: Api, acme: Caller
) -> None:
    """A bound key that repeats a request gets none of its ids."""
    made = [await acme.made("/profiles", PROFILE | {"name": name}) for name in ("a", "b")]
    key = {"Idempotency-Key": "1"}
    first = await acme("POST", "/resend/emails", EMAIL, headers=key)
    batch = {"Idempotency-Key": "2"}
    await acme("POST", "/resend/emails/batch", [EMAIL], headers=batch)
    assert first.status_code == 200
    sent = (await acme.read(f"/messages/{first.json()['id']}"))["profile_id"]
    other = next(profile["id"] for profile in made if profile["id"] != sent)
    bound = await api.key(acme.tenant_id, EVERY_SCOPE, profiles=[other])
    answer = await bound("POST", "/resend/emails", EMAIL, headers=key)
    check_error(answer, 409, "invalid_idempotent_request")
    answer = await bound("POST", "/resend/emails/batch", [EMAIL], headers=batch)
    check_error(answer, 409, "invalid_idempotent_request")
