"""Which key opens what: every operation of the OpenAPI document, by scope and state of the key."""

from typing import Any, Final

import httpx
import pytest

from tests.api.auth.test_isolation import STREAM, least_body, operations, parameters
from tests.support.api_client import EVERY_SCOPE, MESSAGE, PROFILE, Api, Caller
from tests.support.key_states import INVALID, STATES, make_key

# What each operation asks of a key; a new operation cannot be forgotten here.
NEEDS: Final = {
    "get_usage": "messages:read",
    "get_stats": "messages:read",
    "get_queue": "messages:read",
    "get_queue_depth": "messages:read",
    "send_message": "messages:send",
    "send_batch": "messages:send",
    "send_raw_message": "messages:send",
    "upload_messages": "messages:send",
    "list_messages": "messages:read",
    "export_messages": "messages:read",
    "get_message": "messages:read",
    "list_attempts": "messages:read",
    "get_raw_message": "messages:read",
    "resolve_message": "messages:manage",
    "cancel_message": "messages:manage",
    "update_message": "messages:manage",
    "act_on_messages": "messages:manage",
    "retry_message": "messages:manage",
    "erase_recipient": "messages:manage",
    "list_profiles": "profiles:read",
    "get_profile": "profiles:read",
    "create_profile": "profiles:manage",
    "update_profile": "profiles:manage",
    "delete_profile": "profiles:manage",
    "pause_profile": "profiles:manage",
    "resume_profile": "profiles:manage",
    "verify_profile": "profiles:manage",
    "verify_unsaved_profile": "profiles:manage",
    "create_domain": "profiles:manage",
    "list_domains": "profiles:read",
    "get_domain": "profiles:read",
    "check_domain": "profiles:manage",
    "rotate_domain": "profiles:manage",
    "delete_domain": "profiles:manage",
    "create_suppression": "suppressions:manage",
    "list_suppressions": "suppressions:manage",
    "delete_suppression": "suppressions:manage",
    "create_template": "templates:manage",
    "list_templates": "templates:manage",
    "get_template": "templates:manage",
    "list_template_versions": "templates:manage",
    "update_template": "templates:manage",
    "delete_template": "templates:manage",
    "publish_template": "templates:manage",
    "preview_template": "templates:manage",
    "test_template": "templates:manage",
    "list_events": "events:read",
    "get_event": "events:read",
    "stream_events": "events:read",
    "list_submissions": "messages:read",
    "get_submission": "messages:read",
    "create_webhook": "webhooks:manage",
    "list_webhooks": "webhooks:manage",
    "get_webhook": "webhooks:manage",
    "update_webhook": "webhooks:manage",
    "delete_webhook": "webhooks:manage",
    "rotate_webhook_secret": "webhooks:manage",
    "list_message_deliveries": "webhooks:manage",
    "list_webhook_deliveries": "webhooks:manage",
    "replay_webhook": "webhooks:manage",
    "export_suppressions": "suppressions:manage",
    "import_suppressions": "suppressions:manage",
    "create_mailbox": "suppressions:manage",
    "list_mailboxes": "suppressions:manage",
    "get_mailbox": "suppressions:manage",
    "update_mailbox": "suppressions:manage",
    "delete_mailbox": "suppressions:manage",
    "receive_bounce": "suppressions:manage",
    "create_provider_webhook": "suppressions:manage",
    "list_provider_webhooks": "suppressions:manage",
    "get_provider_webhook": "suppressions:manage",
    "update_provider_webhook": "suppressions:manage",
    "rotate_provider_webhook": "suppressions:manage",
    "delete_provider_webhook": "suppressions:manage",
    "create_own_key": "keys:manage",
    "list_own_keys": "keys:manage",
    "rotate_own_key": "keys:manage",
    "revoke_own_key": "keys:manage",
    "list_audit_log": "keys:manage",
    "list_console_sessions": "keys:manage",
    "end_console_session": "keys:manage",
}
ADMINS: Final = {
    "create_tenant",
    "list_tenants",
    "get_tenant",
    "update_tenant",
    "delete_tenant",
    "create_key",
    "list_keys",
    "rotate_key",
    "revoke_key",
}
OPEN: Final = {
    "get_health",
    "get_readiness",
    "get_metrics",
    "list_problem_types",
    "get_problem_type",
    "receive_provider_events",  # a token opens it, and no key
}
NEED_TWO: Final = {"test_template": "messages:send"}
MANAGING_READS: Final = {"messages:read": "messages:manage", "profiles:read": "profiles:manage"}


async def ask(caller: Caller, method: str, path: str, operation: Any) -> httpx.Response:
    """The operation on objects that are not there, so that nothing changes."""
    there = path.format(**dict.fromkeys(parameters(path), "none"))
    if path == STREAM:  # where it is let in, it is to come to an end
        there += "?cursor=none"
    return await caller(method, there, least_body(operation))


def test_every_operation_is_known(document: dict[str, Any]) -> None:
    """By what it needs, if anything."""
    named = {operation["operationId"] for _, _, operation in operations(document)}
    assert named == NEEDS.keys() | ADMINS | OPEN


@pytest.mark.one_database
@pytest.mark.parametrize("held", EVERY_SCOPE)
async def test_a_scope_opens_its_operations_and_no_others(
    api: Api, document: dict[str, Any], held: str
) -> None:
    """Who may change something may look at it; a refusal says which scope is missing."""
    caller = await api.tenant("acme", [held])
    for method, path, operation in operations(document):
        needed = NEEDS.get(operation["operationId"])
        if needed is None:
            continue
        answer = await ask(caller, method, path, operation)
        if held == needed and operation["operationId"] in NEED_TWO:
            assert NEED_TWO[operation["operationId"]] in answer.json()["detail"]
        elif held in {needed, MANAGING_READS.get(needed)}:
            assert answer.status_code != 401, (method, path, answer.text)
            assert "/problems/scope-missing" not in answer.text, (method, path)
        else:
            assert answer.status_code == 403, (method, path, answer.text)
            assert answer.json()["type"] == "/problems/scope-missing"
            assert needed in answer.json()["detail"]


async def test_no_key_of_a_tenant_opens_what_is_an_admins(
    api: Api, document: dict[str, Any]
) -> None:
    """Whatever its scopes."""
    caller = await api.tenant("acme")
    for method, path, operation in operations(document):
        if operation["operationId"] in ADMINS:
            answer = await ask(caller, method, path, operation)
            assert answer.json()["type"] == "/problems/admin-only", (method, path)


@pytest.mark.one_database
@pytest.mark.parametrize("state", ["none", *INVALID])
async def test_a_key_that_is_none_opens_nothing(
    api: Api, document: dict[str, Any], state: str
) -> None:
    """401 on every operation that needs one."""
    acme = await api.tenant("acme")
    caller = api.nobody if state == "none" else await make_key(api, acme.tenant_id, state)
    for method, path, operation in operations(document):
        api.monotonic.seconds += 60  # or it would not be heard any more
        if operation["operationId"] not in OPEN:
            answer = await ask(caller, method, path, operation)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.one_database
@pytest.mark.parametrize("state", STATES)
async def test_a_message_is_accepted_from_an_active_key(api: Api, acme: Caller, state: str) -> None:
    """Every other state has its problem; over SMTP the same ones are refused."""
    await acme.made("/profiles", PROFILE)
    caller = await make_key(api, acme.tenant_id, state)
    answer = await caller("POST", "/messages", MESSAGE)
    problem = STATES[state]
    assert answer.json().get("type") == (None if problem is None else f"/problems/{problem}")


async def test_what_is_refused_is_not_done(api: Api, document: dict[str, Any]) -> None:
    """A key without the scope leaves things as they were."""
    acme = await api.tenant("acme")
    profile = await acme.made("/profiles", PROFILE)
    message = await acme.made("/messages", MESSAGE)
    named = {"profile": profile["id"], "message": message["id"], "key": acme.key_id}
    named |= {"address": MESSAGE["to"][0], "suppression": "sup_1", "webhook": "whk_1"}
    named |= {"template": "none", "domain": "none", "mailbox": "none"}
    named |= {"provider_webhook": "pwh_1", "console_session": "ses_1"}
    for method, path, operation in operations(document):
        needed = NEEDS.get(operation["operationId"])
        if needed is None or method == "GET":
            continue
        without = [scope for scope in EVERY_SCOPE if scope != needed]
        caller = await api.key(acme.tenant_id, without)
        answer = await caller(method, path.format(**named), least_body(operation))
        assert answer.status_code == 403, (method, path)
    assert (await acme.read(f"/profiles/{profile['id']}")) == profile
    assert (await acme.read("/profiles"))["items"] == [profile]
    assert len((await acme.read("/messages"))["items"]) == 1
