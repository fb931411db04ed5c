"""Every query that touches a tenant's rows takes the tenant (invariant 10)."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from app.store import api_keys, events, submissions, suppressions, templates
from app.store import domains as sending_domains
from app.store.inbound import mailboxes, provider_webhooks, reports
from app.store.inbound import mails as mailbox_mails
from app.store.messages import queries as messages
from app.store.profiles import deletion, oauth_tokens
from app.store.profiles import queries as profiles
from app.store.webhooks import deliveries as webhook_deliveries
from app.store.webhooks import enqueueing
from app.store.webhooks import queries as webhooks

MODULES = [
    api_keys,
    enqueueing,
    events,
    messages,
    oauth_tokens,
    profiles,
    submissions,
    suppressions,
]
MODULES += [
    deletion,
    enqueueing,
    mailbox_mails,
    mailboxes,
    provider_webhooks,
    reports,
    sending_domains,
    templates,
    webhook_deliveries,
    webhooks,
]
# Each with the reason why it reads or writes across tenants.
ACROSS_TENANTS = {
    "api_keys.find_by_hash": "the key is what names the tenant",
    "api_keys.record_use": "the service notes the uses of all keys in one go",
    "events.append": "a group of changes is of many tenants; each carries its own",
    "events.append_recipient_events": "messages of many tenants; each is its own tenant's",
    "events.append_profile_event": "the tenant is the profile's",
    "events.horizon": "it tells of no event, but how far all can be read",
    "events.load_tags": "it tells of given messages alone",
    "webhooks.enqueueing.has_webhooks": "a worker looks for everybody",
    "webhooks.enqueueing.find_backlogs": "as above",
    "webhooks.deliveries.load_due": "as above",
    "webhooks.deliveries.release": "a worker gives back what is leased to it",
    "submissions.insert": "a group of sessions is of many tenants; each carries its own",
    "submissions.delete_old": "a worker forgets everybody's",
    "suppressions.add_bounced": "recipients of given messages, each of its own tenant",
    "suppressions.apply": "a group of messages is of many tenants; each is held to its own",
    "inbound.mailboxes.claim": "a worker reads everybody's",
    "inbound.mailboxes.load_next_poll_at": "as above",
    "inbound.provider_webhooks.find_by_token": "the token is what names the tenant",
    "inbound.reports.delete_old": "a worker forgets everybody's",
    "profiles.queries.load_many_for_delivery": "a worker delivers for all; it reads given ids",
    "profiles.queries.load_sealed_page": "the operator seals all credentials anew",
}
# What is written carries its tenant itself.
CARRIES_ITS_TENANT = {"api_keys.insert": "key", "profiles.queries.insert": "profile"}
CARRIES_ITS_TENANT |= {"suppressions.insert": "suppression", "webhooks.queries.insert": "webhook"}
CARRIES_ITS_TENANT |= {"profiles.queries.write_destinations": "profile"}
CARRIES_ITS_TENANT |= {
    f"profiles.oauth_tokens.{name}": "profile"
    for name in ("find", "begin_renewal", "save", "cancel_renewal", "discard")
}
CARRIES_ITS_TENANT |= {"templates.insert": "template"}
CARRIES_ITS_TENANT |= {"suppressions.add": "new_suppressions"}
CARRIES_ITS_TENANT |= {
    f"domains.{name}": "domain"
    for name in ("insert", "update_keys", "delete_retired_keys", "delete")
}
CARRIES_ITS_TENANT |= {
    f"inbound.mailboxes.{name}": "mailbox" for name in ("insert", "record_poll", "record_failure")
}
CARRIES_ITS_TENANT |= {
    f"inbound.mails.{name}": "mailbox" for name in ("list_unfinished", "begin", "finish")
}
CARRIES_ITS_TENANT |= {"inbound.provider_webhooks.insert": "webhook"}
CARRIES_ITS_TENANT |= {"domains.insert_key": "domain_id"}
CARRIES_ITS_TENANT |= {f"webhooks.deliveries.{name}": "webhook" for name in ("claim", "settle")}
CARRIES_ITS_TENANT |= {"webhooks.enqueueing.enqueue_deliveries": "webhook_id"}


def functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public coroutine functions of a module, by the name that callers use."""
    noun = module.__name__.removeprefix("app.store.")
    for name, function in vars(module).items():
        if name.startswith("_") or not inspect.iscoroutinefunction(function):
            continue
        if not function.__module__.startswith("app.store.db."):  # which knows no tenants
            yield f"{noun}.{name}", function


@pytest.mark.parametrize("module", MODULES)
def test_every_function_takes_the_tenant(module: ModuleType) -> None:
    """By keyword, required; the few that do not are named above, with a reason."""
    functions_by_name = dict(functions(module))
    assert len(functions_by_name) >= 2
    for name, function in functions_by_name.items():
        parameters = inspect.signature(function).parameters
        if name in ACROSS_TENANTS:
            assert "tenant_id" not in parameters
            continue
        required = parameters.get(CARRIES_ITS_TENANT.get(name, "tenant_id"))
        assert required is not None, name
        assert required.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert required.default is inspect.Parameter.empty, name


def test_the_exceptions_exist() -> None:
    """A reason does not outlive its function."""
    names = {name for module in MODULES for name, _ in functions(module)}
    assert names >= {*ACROSS_TENANTS, *CARRIES_ITS_TENANT}
