"""Who asks to be forgotten is named nowhere afterwards, in whatever letters."""

import json
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, unquote

import pytest
from sqlalchemy import JSON, String, insert, select, update

from app.domain.events import EventType
from app.domain.ids import new_id
from app.store import submissions
from app.store.db.column_types import Id
from app.store.tables import core as tables
from app.store.tables import events as event_tables
from app.store.tables.core import recipients
from app.store.tables.metadata import metadata
from tests.store.test_submissions import a_session, transaction
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.harness import cells
from tests.support.rows import NOW

JORG: Final = "Jörg.Lee@Müller.example"
FORMS: Final = (
    "jörg.lee@müller.example",
    "JÖRG.LEE@MÜLLER.EXAMPLE",
    "Jo\u0308rg.Lee@xn--mller-kva.example",
)
BOB: Final = "bob@example.org"
SAID: Final = (
    "550 <JÖRG.Lee@Xn--mller-kva.example>: no such user, see /j%C3%B6rg.lee%40müller.example"
)

# What the tenant has set itself, and whom it sends as: erasing a recipient changes none of it.
SET: Final = """
    tenants.slug tenants.name tenants.ehlo_name tenants.quota tenants.allowed_from tenants.retention
    tenants.redirect_all_to tenants.allowed_recipient_domains tenants.notify api_keys.name
    api_keys.hint api_keys.scopes api_keys.profiles api_keys.allowed_from api_keys.networks
    profiles.name profiles.host profiles.tls_ca profiles.client_certificate profiles.tls_server_name
    profiles.tls_pins profiles.ehlo_name profiles.source_address profiles.username profiles.oauth
    profiles.default_from_address profiles.default_from_name profiles.allowed_from
    profiles.destinations profiles.ramp mailboxes.name
    mailboxes.host mailboxes.tls_ca mailboxes.username mailboxes.folder
    provider_webhooks.name provider_webhooks.networks webhooks.name webhooks.url
    webhooks.event_types webhooks.profiles webhooks.tags templates.name template_versions.content
    sending_domains.domain suppressions.address suppressions.tag audit_log.actor_id
    audit_log.actor_name console_sessions.name console_sessions.subject console_sessions.scopes
    messages.envelope_from message_contents.sender_address
    message_contents.sender_name message_contents.message_id_header
    message_contents.given_message_id message_contents.key_id message_contents.request_id
    message_contents.traceparent submissions.login
"""
# Words and numbers of ours, hashes, hosts.
OURS: Final = """
    audit_log.actor_kind audit_log.source
    console_sessions.source console_sessions.issuer audit_log.action audit_log.refused_as
    events.type
    workers.hostname idempotency_keys.key_hash mailboxes.tls
    provider_webhooks.provider provider_webhooks.public_key provider_webhooks.topic_arn
    webhooks.format profiles.transport profiles.tls
    profiles.tls_min_version profiles.auth_mechanism suppressions.reason dkim_keys.selector
    dkim_keys.algorithm dkim_keys.public_key dkim_keys.problem lanes.code notices.code
    lanes.recommended_ehlo_name lanes.recommended_why messages.status messages.priority
    messages.guarantee messages.source messages.dsn webhook_deliveries.event_type
    webhook_deliveries.status
    attempts.host attempts.remote_address attempts.ehlo_name attempts.ehlo_source
    attempts.tls_version attempts.tls_cipher attempts.auth_mechanism attempts.stage attempts.scope
    attempts.verdict attempts.classification attempts.reply_enhanced_code recipients.kind
    recipients.status recipients.reply_enhanced_code recipients.classification recipients.report
    recipients.report_code submissions.client_address submissions.tls submissions.login_reply
    submissions.ehlo_name submissions.outcome message_contents.client_address
"""
HIS_OWN: Final = ("recipients.name", "recipients.sent_to")
# What he is written to with is put there by the message itself.
BY_THE_MESSAGE: Final = ("recipients.address", "recipients.folded_address")
# Written with a session of the submission server, which is deleted as a whole.
BY_A_SESSION: Final = ("submissions.addresses", "submissions.transactions")
TEXTS: Final = """
    audit_log.object_id audit_log.changes audit_log.request_id events.data idempotency_keys.response
    mailboxes.reason suppressions.detail webhooks.disabled_reason webhooks.last_error
    lanes.reason notices.reason
    attempts.reply_text attempts.detail attempts.provider_message_id attempts.recipients
    attempt_transcripts.transcript message_contents.subject message_contents.metadata
    message_tags.tag recipients.reply_text
    recipients.report_text webhook_attempts.response webhook_attempts.error
"""
PLANTED: Final = {*TEXTS.split(), *HIS_OWN}


def texts_in_tables() -> dict[str, Any]:
    """Every column that holds text or JSON, but for ids."""
    return {
        f"{table.name}.{column.name}": column
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | JSON) and getattr(column.type, "length", 0) != Id.length
    }


def named_in(value: object) -> bool:
    """Whether a cell names him: no other begins so."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    with suppress(ValueError):
        text = json.dumps(json.loads(text), ensure_ascii=False)
    folded = unquote(text).casefold().replace("o\u0308", "ö")
    return "jörg.lee" in folded


async def columns_that_name(url: str) -> set[str]:
    """The columns that name him."""
    return {column for column, value in await cells(url) if named_in(value)}


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A tenant with something of everything."""
    await acme.made("/profiles", PROFILE)
    await acme.made("/webhooks", {"name": "w", "url": "https://log.example.com/"})
    inbox = {"name": "in", "host": "imap.example.com", "username": "u", "password": "p"}
    await acme.made("/mailboxes", inbox)
    await acme.made("/suppressions", {"address": "eve@example.net"})
    return acme


def value_of(column: Any) -> Any:
    """What is planted: a text that names him, within JSON where the column holds that."""
    name = str(column)
    if name == "message_tags.tag":
        return f"for:{JORG}"
    if name == "attempts.recipients":
        return [{"address": JORG, "reply_text": SAID}]
    if name == "audit_log.changes":
        return {"address": [None, JORG], "filter": [None, {"recipient": FORMS[1]}]}
    return {"text": SAID} if isinstance(column.type, JSON) else SAID


async def plant(api: Api, message: str) -> None:
    """Name him in every text of every table; what delivery writes is written here."""
    attempt, delivery = new_id("att"), new_id("whd")
    columns = texts_in_tables()
    async with api.services.database.transaction() as connection:
        event = (await connection.execute(select(event_tables.events))).mappings().first()
        assert event is not None
        hook = (await connection.execute(select(event_tables.webhooks.c.id))).scalar_one()
        about = {"tenant_id": event["tenant_id"], "message_id": message}
        row = {
            **about,
            "id": attempt,
            "profile_id": event["profile_id"],
            "worker": "wrk_1",
            "started_at": NOW,
            "duration_ms": 1.0,
            "stage": "rcpt",
            "verdict": "bounce",
            "classification": "mailbox_unknown",
            "outcome_unknown": False,
            "recipients": [],
        }
        await connection.execute(insert(tables.attempts).values(row))
        transcript = {"attempt_id": attempt, "transcript": ""}
        await connection.execute(insert(tables.attempt_transcripts).values(transcript))
        webhook_delivery = {
            "id": delivery,
            "tenant_id": event["tenant_id"],
            "webhook_id": hook,
            "event_number": event["number"],
            "event_id": event["id"],
            "event_type": event["type"],
            "ordering_key": message,
            "status": "failed",
            "attempts": 1,
            "created_at": NOW,
            "finished_at": NOW,
        }
        await connection.execute(insert(event_tables.webhook_deliveries).values(webhook_delivery))
        answer = {"id": new_id("wha"), "delivery_id": delivery, "started_at": NOW}
        await connection.execute(
            insert(event_tables.webhook_attempts).values(answer | {"duration_ms": 1.0})
        )
        failing = {"failing_since": NOW, "next_probe_at": NOW, "faults": 1, "code": "x"}
        await connection.execute(update(tables.lanes).values(failing | {"reason": "x"}))
        notice = {"tenant_id": event["tenant_id"], "profile_id": event["profile_id"]}
        failed = {"version": 1, "failed_at": NOW, "code": "x", "reason": "x", "is_told": True}
        await connection.execute(insert(tables.notices).values(notice | failed))
        await connection.execute(
            update(metadata.tables["mailboxes"]).values(failing_since=NOW, reason="x")
        )
        off = {"disabled_at": NOW, "disabled_reason": "x", "last_error": "x", "last_error_at": NOW}
        await connection.execute(update(event_tables.webhooks).values(off))
        profile_event = {
            "id": new_id("evt"),
            "tenant_id": event["tenant_id"],
            "transaction_id": 0,
            "type": EventType.PROFILE_FAILING.value,
            "profile_id": event["profile_id"],
            "created_at": NOW,
        }
        await connection.execute(insert(event_tables.events).values(profile_event))
        said_in_session = transaction(JORG, BOB, reply=SAID)
        session = a_session(tenant_id=event["tenant_id"], transactions=[said_in_session])
        await submissions.insert(connection, [session])
        for name in sorted(PLANTED):
            column = columns[name]
            statement = update(column.table).values({column.name: value_of(column)})
            if name in HIS_OWN:
                statement = statement.where(recipients.c.position == 0)
            await connection.execute(statement)


async def test_every_column_of_text_is_known() -> None:
    """Whether it may name a recipient is decided here, before it can be left out below."""
    known = {*SET.split(), *OURS.split(), *PLANTED, *BY_THE_MESSAGE, *BY_A_SESSION}
    assert texts_in_tables().keys() == known


@pytest.mark.parametrize("asked", FORMS)
async def test_nothing_names_them_any_more(
    api: Api, sender: Caller, migrated_url: str, asked: str
) -> None:
    """Planted in every text of every table, in several spellings, and erased by another one."""
    body = MESSAGE | {"to": [f"Jörg Lee <{JORG}>", BOB], "tags": ["x"], "metadata": {"k": "v"}}
    key = {"Idempotency-Key": "receipt-jorg"}
    message = (await sender("POST", "/messages", body, headers=key)).json()["id"]
    await sender("POST", f"/messages/{message}/cancel")
    await plant(api, message)
    other = await sender.made("/messages", MESSAGE | {"to": [BOB], "tags": [f"by-{FORMS[1]}", "y"]})
    assert await columns_that_name(migrated_url) == {
        *PLANTED,
        *BY_THE_MESSAGE,
        *BY_A_SESSION,
        "message_contents.mime",
    }
    answer = await sender("DELETE", f"/recipients/{quote(asked)}")
    assert answer.json() == {"erased": 1, "sending": 0, "uncertain": 0}
    assert await columns_that_name(migrated_url) == set()
    left = await sender.read(f"/messages/{message}")
    assert [recipient["address"] for recipient in left["recipients"]] == [None, BOB]
    assert left["tags"] == []
    assert (await sender.read(f"/messages/{other['id']}"))["tags"] == ["y"]


async def test_a_key_that_names_somebody_is_not_stored(sender: Caller, migrated_url: str) -> None:
    """Only its hash is, so it works until it is forgotten, and nothing is to be erased."""
    for path, body in (("/messages", MESSAGE), ("/messages/batch", {"messages": [MESSAGE]})):
        headers = {"Idempotency-Key": f"receipt-ann@example.org{path}"}
        first = await sender("POST", path, body, headers=headers)
        second = await sender("POST", path, body, headers=headers)
        assert second.content == first.content
        assert second.headers["Idempotent-Replayed"] == "true"
    assert not [cell for cell, value in await cells(migrated_url) if "receipt-ann" in str(value)]


async def test_a_tag_of_another_is_left(sender: Caller) -> None:
    """A longer local part, or a longer domain, is another address."""
    tags = ["joann@example.org", "ann@example.org.uk", "ann@example.orgs", "ann"]
    message = await sender.made(
        "/messages", MESSAGE | {"to": [BOB], "tags": [*tags, "to=ann@example.org"]}
    )
    await sender("DELETE", "/recipients/ann@example.org")
    assert (await sender.read(f"/messages/{message['id']}"))["tags"] == sorted(tags)


@pytest.mark.parametrize("written", FORMS)
async def test_letters_of_any_script_have_no_case(sender: Caller, written: str) -> None:
    """To find, to suppress and to send again: what is one address for one is for all."""
    message = await sender.made("/messages", MESSAGE | {"to": [JORG]})
    page = await sender.read(f"/messages?recipient={quote(written)}")
    assert [item["id"] for item in page["items"]] == [message["id"]]
    await sender("POST", f"/messages/{message['id']}/cancel")
    second = await sender.made(f"/messages/{message['id']}/retry", {"recipients": [written]})
    assert [recipient["address"].casefold() for recipient in second["recipients"]] == [
        "jörg.lee@xn--mller-kva.example"
    ]
    suppression = await sender.made("/suppressions", {"address": written})
    assert suppression["address"] == "jörg.lee@xn--mller-kva.example"
    twice = await sender("POST", "/suppressions", {"address": JORG})
    assert (twice.status_code, twice.json()["type"]) == (409, "/problems/suppression-exists")
    list_page = await sender.read(f"/suppressions?address={quote(JORG)}")
    assert [item["id"] for item in list_page["items"]] == [suppression["id"]]
    late = await sender.made("/messages", MESSAGE | {"to": [JORG]})
    [recipient] = (await sender.read(f"/messages/{late['id']}"))["recipients"]
    assert recipient["status"] == "suppressed"


async def test_an_address_in_two_cases_is_one_recipient(sender: Caller) -> None:
    """`ß` and `ss` are two."""
    to = [
        *FORMS,
        "straße@example.org",
        "strasse@example.org",
        "ΝΙΚΟΣ@example.gr",
        "νικος@example.gr",
    ]
    message = await sender.made("/messages", MESSAGE | {"to": to})
    assert [recipient["address"] for recipient in message["recipients"]] == [
        "jörg.lee@xn--mller-kva.example",
        "straße@example.org",
        "strasse@example.org",
        "ΝΙΚΟΣ@example.gr",
    ]
