"""The OpenAPI document: complete, true, and good to copy from."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.api.api_keys import schemas as key_bodies
from app.api.audit import routes as audit_log
from app.api.domains import schemas as domain_bodies
from app.api.events import responses as event_reads
from app.api.http.problem_types import PROBLEMS
from app.api.inbound import bounce_routes as inbound
from app.api.inbound import mailbox_schemas as mailbox_bodies
from app.api.inbound import provider_event_routes as provider_events
from app.api.inbound import provider_webhook_schemas as provider_bodies
from app.api.messages import responses as message_reads
from app.api.messages import stats_routes as stats
from app.api.profiles import responses as profile_reads
from app.api.profiles import verify_schemas as verify_bodies
from app.api.queue import schemas as queue_reads
from app.api.system import problem_routes as problems
from app.api.templates import schemas as template_bodies
from app.api.tenants import schemas as tenant_bodies
from app.api.tenants import usage_routes as usage
from app.api.webhooks import schemas as webhook_bodies
from tests.support.api_client import MESSAGE, Api, Caller
from tests.support.uncertain_message import held_message

pytestmark = pytest.mark.one_database

PROBLEM = {"$ref": "#/components/schemas/ProblemBody"}
OPEN = {"get_health", "get_readiness", "get_metrics", "list_problem_types", "get_problem_type"}
OPEN |= {"receive_provider_events"}

LISTS = {
    "webhook": "/webhooks",
    "mailbox": "/mailboxes",
    "provider_webhook": "/provider-webhooks",
}

Operation = tuple[str, str, dict[str, Any]]


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Every (path, method, operation)."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """Summary, description, one tag, and an id that a client generator can use."""
    ids = []
    for _, _, operation in operations(document):
        ids.append(operation["operationId"])
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert len(operation["tags"]) == 1
    assert len(ids) == len(set(ids))
    named = {tag["name"] for tag in document["tags"]}
    assert named == {operation["tags"][0] for _, _, operation in operations(document)}


async def test_every_error_is_a_problem_with_examples(document: dict[str, Any]) -> None:
    """`application/problem+json` alone, and an example for every type it can be."""
    for _, _, operation in operations(document):
        errors = {
            code: response for code, response in operation["responses"].items() if code >= "4"
        }
        assert "500" in errors
        for code, response in errors.items():
            assert list(response["content"]) == ["application/problem+json"]
            media = response["content"]["application/problem+json"]
            assert media["schema"] == PROBLEM
            for slug, example in media["examples"].items():
                assert example["value"]["status"] == PROBLEMS[slug].status == int(code)


async def test_every_operation_says_which_errors_it_has(document: dict[str, Any]) -> None:
    """Keys, bodies, paths and lists each bring theirs."""
    for path, _, operation in operations(document):
        codes = set(operation["responses"])
        if operation["operationId"] in OPEN:
            assert "security" not in operation
        else:
            assert codes >= {"401", "403", "503"}
            assert operation["security"] == [{"key": []}]
        if "requestBody" in operation:
            assert codes >= {"413", "415", "422"}
        if "{" in path:
            assert "404" in codes
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
            assert "422" in codes


async def test_the_frameworks_own_error_is_nowhere(document_text: str) -> None:
    """No HTTPValidationError."""
    assert "HTTPValidationError" not in document_text
    assert '"ValidationError"' not in document_text


async def test_every_reference_leads_somewhere(
    document_text: str, document: dict[str, Any]
) -> None:
    """And every schema is used."""
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', document_text))
    assert used == set(document["components"]["schemas"])


async def test_what_is_made_says_where(document: dict[str, Any]) -> None:
    """201 and 202 document Location, but for what makes many."""
    for _, _, operation in operations(document):
        if operation["operationId"] in {"send_batch", "upload_messages"}:
            continue
        for code in {"201", "202"} & set(operation["responses"]):
            assert "Location" in operation["responses"][code]["headers"]


async def test_both_kinds_of_key_go_through_one_button(document: dict[str, Any]) -> None:
    """One bearer scheme; the tenant to act for is a documented header."""
    [scheme] = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    parameters = document["paths"]["/messages"]["get"]["parameters"]
    assert {"Heloise-Tenant"} == {
        parameter["name"] for parameter in parameters if parameter["in"] == "header"
    }


async def test_every_parameter_is_explained(document: dict[str, Any]) -> None:
    """In words, or by its name and its values."""
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description") or parameter["name"] in {"status", "tag", "slug"}


async def newest(caller: Caller, path: str) -> dict[str, str]:
    """What a path names of which any will do: the newest object, a token that was just made."""
    acting = {
        noun: (await caller.read(listed))["items"][0]["id"]
        for noun, listed in LISTS.items()
        if f"{{{noun}}}" in path
    }
    if "{token}" in path:
        hook = {"name": "open", "provider": "postmark"}
        provider_webhook = await caller.made("/provider-webhooks", hook)
        acting["provider"], acting["token"] = provider_webhook["path"].split("/")[2:]
    return acting


async def test_every_request_example_works(api: Api, document: dict[str, Any]) -> None:
    """Pasted one after the other, each is accepted."""
    acting: dict[str, Any] = {"tenant": "acme", "profile": "transactional"}
    acting["template"] = "receipt"
    order = [
        "create_tenant",
        "create_key",
        "create_own_key",
        "rotate_key",
        "rotate_own_key",
        "create_profile",
        "update_tenant",
        "create_template",
        "update_template",
        "preview_template",
        "publish_template",
        "send_message",
        "send_batch",
        "send_raw_message",
        "upload_messages",
        "test_template",
        "create_domain",
        "create_webhook",
        "update_webhook",
        "rotate_webhook_secret",
        "replay_webhook",
        "update_profile",
        "verify_profile",
        "verify_unsaved_profile",
        "resolve_message",
        "update_message",
        "act_on_messages",
        "retry_message",
        "import_suppressions",
        "receive_bounce",
        "create_mailbox",
        "update_mailbox",
        "create_provider_webhook",
        "update_provider_webhook",
        "rotate_provider_webhook",
        "receive_provider_events",
        "create_suppression",  # nothing goes to ann from then on
    ]
    operation_by_id = {
        operation["operationId"]: (path, method, operation)
        for path, method, operation in operations(document)
    }
    assert {
        name for name, (_, _, operation) in operation_by_id.items() if "requestBody" in operation
    } == set(order)
    for name in order:
        path, method, operation = operation_by_id[name]
        kind, media = next(iter(operation["requestBody"]["content"].items()))
        for example in media["examples"].values():
            caller = api.admin if path.startswith("/tenants") else api.admin_for("acme")
            if "{message}" in path:
                acting["message"] = await held_message(api, caller)
            if name == "update_message":
                soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
                acting["message"] = (await caller.made("/messages", MESSAGE | {"send_at": soon}))[
                    "id"
                ]
            if name == "retry_message":
                message = await caller.made("/messages", MESSAGE)
                acting["message"] = message["id"]
                await caller("POST", f"/messages/{message['id']}/cancel")
            acting |= await newest(caller, path)
            if "{key" in path:
                body = {"name": "test", "scopes": ["messages:send"]}
                acting["key"] = (await api.admin_for("acme").made("/keys", body))["id"]
                acting["key_id"] = acting["key"]
            address, value = path.format(**acting), example["value"]
            if not kind.endswith("/json"):
                sent = {"content": value.encode(), "headers": {"Content-Type": kind}}
                address += "?to=ann@example.org" if name == "send_raw_message" else ""
                answer = await caller("POST", address, **sent)
            else:
                answer = await caller(method.upper(), address, value)
            assert answer.is_success, (name, answer.text)


MODELS = [
    audit_log.AuditRead,
    key_bodies.KeyRead,
    key_bodies.KeyCreated,
    message_reads.AttemptRead,
    message_reads.MessageRead,
    problems.ProblemTypeRead,
    profile_reads.ProfileRead,
    queue_reads.QueueRead,
    usage.UsageRead,
    stats.StatsRead,
    event_reads.EventRead,
    domain_bodies.DomainRead,
    inbound.InboundRead,
    mailbox_bodies.MailboxRead,
    provider_bodies.ProviderWebhookRead,
    provider_bodies.ProviderWebhookCreated,
    provider_events.ProviderEventsRead,
    webhook_bodies.WebhookRead,
    webhook_bodies.WebhookCreated,
    template_bodies.TemplateRead,
    template_bodies.TemplateVersionRead,
    template_bodies.TemplateRendered,
    verify_bodies.VerifyRead,
    tenant_bodies.TenantRead,
]


@pytest.mark.parametrize("model", MODELS)
def test_every_answers_example_is_one(model: Any) -> None:
    """It has every field, and none that the answer would not have."""
    [example] = model.model_json_schema()["examples"]
    read = model.model_validate(example)
    assert read.model_dump(mode="json", by_alias=True) == example


async def test_no_example_holds_a_secret(document_text: str) -> None:
    """Passwords in examples are placeholders (invariant 9)."""
    assert set(re.findall(r'"password": ?"([^"]*)"', document_text)) <= {
        "<the password>",
        "<the new password>",
    }
