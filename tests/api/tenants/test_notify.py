"""`notify`: mail when a profile of the tenant fails and when it recovers, once each."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Final

import pytest
from sqlalchemy import update

from app.accept.profile_notices import Notifier
from app.domain.notices import INTERVAL, RETRY_DELAY
from app.domain.tenants.routing import NO_RULES
from app.domain.types import NewMessage
from app.store.delivery import lane_health, profile_notices
from app.store.tables.core import tenants
from tests.support.api_client import Api, Caller
from tests.support.hand_clock import HandClock

OPS: Final = "ops@example.com"
REASON: Final = "At EHLO, the server replied: 504 5.5.2 <ann@example.org> refused. Set `ehlo_name`."
FAILS: Final = "Heloise: the profile main fails (ehlo_rejected)"
WORKS: Final = "Heloise: the profile main works again"
MINUTE: Final = timedelta(minutes=1)


class Delivery:
    """What delivery finds out about a tenant's profiles, and a worker that writes notices."""

    def __init__(self, api: Api, tenant: Caller) -> None:
        self.api, self.tenant = api, tenant
        self.clock = HandClock()
        self.recorded: list[NewMessage] = []
        self.profiles: dict[str, str] = {}

    async def profile(self, name: str, **fields: Any) -> str:
        """Make a profile; answers its id."""
        body = {"name": name, "host": "smtp.example.com", "default_from": f"{name}@example.com"}
        self.profiles[name] = (await self.tenant.made("/profiles", body | fields))["id"]
        return self.profiles[name]

    async def notify(self, profile: str = "alerts", *to: str) -> Any:
        """Set `notify`; answers the tenant."""
        body = {"notify": {"profile": profile, "to": to or [OPS]}}
        answer = await self.api.admin("PATCH", f"/tenants/{self.tenant.tenant_id}", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def fail(self, name: str = "main") -> None:
        """Its server refuses it."""
        async with self.api.services.database.transaction() as connection:
            await lane_health.record_fault(
                connection,
                profile_id=self.profiles[name],
                revision=1,
                code="ehlo_rejected",
                reason=REASON,
                now=self.clock.now(),
                wait=lambda _: MINUTE,
                is_probe=False,
            )

    async def recover(self, name: str = "main") -> None:
        """Its server takes it again."""
        async with self.api.services.database.transaction() as connection:
            await lane_health.record_recovery(
                connection, profile_id=self.profiles[name], now=self.clock.now()
            )

    def worker(self) -> Notifier:
        """One of the workers."""
        services = self.api.services
        return Notifier(
            services.database,
            clock=self.clock,
            vault=services.vault,
            routing=NO_RULES,
            max_message_bytes=100_000,
            max_age_seconds=3600,
            poll_interval=MINUTE,
            record=self.recorded.extend,
        )

    async def list_subjects(self) -> list[str]:
        """The subjects of all notices, oldest first, after a worker has looked."""
        await self.worker().write_due()
        return [message["subject"] for message in await self.notices()]

    async def notices(self) -> list[Any]:
        """The messages, oldest first."""
        notices: Sequence[Any] = (await self.tenant.read("/messages?source=notice"))["items"]
        return list(notices[::-1])

    async def mail(self) -> EmailMessage:
        """The newest notice as it is sent."""
        newest = (await self.notices())[-1]["id"]
        content = (await self.tenant("GET", f"/messages/{newest}/raw")).content
        return message_from_bytes(content, policy=default)


@pytest.fixture
async def delivery(api: Api, acme: Caller) -> Delivery:
    """A tenant that wants notices about `main` through `alerts`."""
    delivery = Delivery(api, acme)
    await delivery.profile("main")
    await delivery.profile("alerts")
    await delivery.notify()
    return delivery


async def test_it_is_set_read_and_removed(delivery: Delivery) -> None:
    """By the admin; a tenant's key reads no tenant."""
    path = f"/tenants/{delivery.tenant.tenant_id}"
    admin = delivery.api.admin
    assert (await admin.read(path))["notify"] == {
        "profile": delivery.profiles["alerts"],
        "to": [OPS],
    }
    assert (await delivery.notify("main", OPS, OPS))["notify"]["to"] == [OPS]
    assert (await admin("PATCH", path, {"name": "Acme"})).json()["notify"] is not None
    assert (await admin("PATCH", path, {"notify": None})).json()["notify"] is None
    entries = (await delivery.tenant.read("/audit-log"))["items"]
    assert entries[0]["changes"]["notify"]["after"] is None
    assert (await delivery.tenant("PATCH", path, {"notify": None})).status_code == 403


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("notify", "loc", "words"),
    [
        ({"profile": "alert", "to": [OPS]}, ["profile"], "did you mean 'alerts'"),
        ({"profile": "silent", "to": [OPS]}, ["profile"], "set default_from of 'silent'"),
        ({"profile": "theirs", "to": [OPS]}, ["profile"], "no profile 'theirs' exists"),
        ({"profile": "foreign", "to": [OPS]}, ["profile"], "allowed_from of the tenant"),
        ({"profile": "alerts", "to": ["bob@example.org"]}, ["to"], "allowed_recipient_domains"),
        ({"profile": "alerts", "to": []}, ["to"], "at least 1"),
        ({"profile": "alerts", "to": ["nobody"]}, ["to", 0], "@"),
        (
            {"profile": "alerts", "to": [f"{n}@example.com" for n in range(11)]},
            ["to"],
            "at most 10",
        ),
        ({"to": [OPS]}, ["profile"], "required"),
    ],
)
async def test_what_could_not_be_sent_is_refused(
    delivery: Delivery, notify: object, loc: list[object], words: str
) -> None:
    """422 names the field, and what to write instead; nothing is changed."""
    await delivery.profile("silent", default_from=None)
    await delivery.profile("foreign", default_from="alerts@example.net")
    theirs = Delivery(delivery.api, await delivery.api.tenant("theirs"))
    await theirs.profile("theirs")
    path = f"/tenants/{delivery.tenant.tenant_id}"
    body = {
        "notify": notify,
        "allowed_from": ["*@example.com"],
        "allowed_recipient_domains": ["example.com"],
    }
    answer = await delivery.api.admin("PATCH", path, body)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "notify", *loc]
    assert words in error["msg"]
    tenant = await delivery.api.admin.read(path)
    assert (tenant["notify"]["to"], tenant["allowed_from"]) == ([OPS], [])


async def test_the_only_profile_cannot_tell_of_itself(api: Api, acme: Caller) -> None:
    """Another one has to be there first."""
    delivery = Delivery(api, acme)
    await delivery.profile("main")
    body = {"notify": {"profile": "main", "to": [OPS]}}
    answer = await api.admin("PATCH", f"/tenants/{acme.tenant_id}", body)
    assert answer.status_code == 422
    assert "only profile" in answer.json()["detail"]


async def test_a_failure_and_a_recovery_are_told_once_each(delivery: Delivery) -> None:
    """By an ordinary message of the other profile, with the reason; it names no recipient."""
    await delivery.fail()
    assert await delivery.list_subjects() == [FAILS]
    assert await delivery.list_subjects() == [FAILS]
    [message] = await delivery.notices()
    assert (message["profile"], message["priority"]) == ("alerts", "high")
    assert (message["source"], message["key_id"]) == ("notice", None)
    assert [recipient["address"] for recipient in message["recipients"]] == [OPS]
    mail = await delivery.mail()
    assert (mail["Auto-Submitted"], mail["From"]) == ("auto-generated", "alerts@example.com")
    text = mail.get_content()
    assert "504 5.5.2 <a***@example.org> refused. Set `ehlo_name`." in text
    assert "Server: smtp.example.com, port 587" in text
    assert "heloise profile verify main --tenant acme" in text
    await delivery.recover()
    assert await delivery.list_subjects() == [FAILS, WORKS]
    assert await delivery.list_subjects() == [FAILS, WORKS]
    assert "504 5.5.2" in (await delivery.mail()).get_content()
    assert [message.subject for message in delivery.recorded] == [FAILS, WORKS]


async def test_however_many_workers_look_one_tells(delivery: Delivery) -> None:
    """The message and the mark that it is told are one transaction."""
    await delivery.fail()
    await asyncio.gather(*(delivery.worker().write_due() for _ in range(8)))
    assert len(await delivery.notices()) == 1
    await delivery.recover()
    await asyncio.gather(*(delivery.worker().write_due() for _ in range(8)))
    assert len(await delivery.notices()) == 2


async def test_a_profile_that_flaps_is_told_of_once_an_hour(delivery: Delivery) -> None:
    """And in the end what is true is told."""
    for _ in range(12 * 3):
        await delivery.fail()
        await delivery.list_subjects()
        await delivery.clock.advance(minutes=1)
        await delivery.recover()
        await delivery.list_subjects()
        await delivery.clock.advance(minutes=4)
    assert await delivery.list_subjects() == [FAILS, WORKS] * 3
    await delivery.fail()
    await delivery.clock.advance(minutes=1)
    assert len(await delivery.list_subjects()) == 7


async def test_a_failure_within_the_hour_is_told_if_it_lasts(delivery: Delivery) -> None:
    """When the hour is over, and not before."""
    await delivery.fail()
    await delivery.list_subjects()
    await delivery.recover()
    assert await delivery.list_subjects() == [FAILS, WORKS]
    await delivery.clock.advance(minutes=1)
    await delivery.fail()
    assert await delivery.list_subjects() == [FAILS, WORKS]
    await delivery.clock.advance(seconds=INTERVAL.total_seconds() - 61)
    assert await delivery.list_subjects() == [FAILS, WORKS]
    await delivery.clock.advance(seconds=1)
    assert await delivery.list_subjects() == [FAILS, WORKS, FAILS]


async def test_what_was_over_before_anybody_looked_is_not_told(delivery: Delivery) -> None:
    """Of a failure that nobody was told of, no recovery is."""
    await delivery.fail()
    await delivery.recover()
    assert await delivery.list_subjects() == []
    await delivery.fail()
    assert await delivery.list_subjects() == [FAILS]


async def test_a_server_that_is_silent_is_told_of_too(delivery: Delivery) -> None:
    """It is the same failure where the server then refuses."""
    database, profile_id = delivery.api.services.database, delivery.profiles["main"]
    async with database.transaction() as connection:
        now = delivery.clock.now()
        await lane_health.record_stall(connection, profile_id=profile_id, reason="silent", now=now)
    assert await delivery.list_subjects() == ["Heloise: the profile main fails (server_silent)"]
    await delivery.fail()
    assert len(await delivery.list_subjects()) == 1
    await delivery.recover()
    assert (await delivery.list_subjects())[1:] == [WORKS]


@pytest.mark.parametrize(
    ("fallback", "default_profile", "expected"),
    [("second", "third", "second"), (None, "third", "third"), (None, "alerts", None)],
)
async def test_the_profile_that_tells_does_not_tell_of_itself(
    delivery: Delivery, fallback: str | None, default_profile: str, expected: str | None
) -> None:
    """Its fallback does, or else the default profile; otherwise nobody, and the log says so."""
    for name in ("second", "third"):
        await delivery.profile(name)
    if fallback:
        body = {"fallback_profile": fallback}
        assert (await delivery.tenant("PATCH", "/profiles/alerts", body)).is_success
    body = {"is_default": True}
    assert (await delivery.tenant("PATCH", f"/profiles/{default_profile}", body)).is_success
    revision = 1 + sum([bool(fallback), default_profile == "alerts"])
    database = delivery.api.services.database
    async with database.transaction() as connection:
        await lane_health.record_fault(
            connection,
            profile_id=delivery.profiles["alerts"],
            revision=revision,
            code="dns_timeout",
            reason="x",
            now=delivery.clock.now(),
            wait=lambda _: MINUTE,
            is_probe=False,
        )
    await delivery.list_subjects()
    assert [message["profile"] for message in await delivery.notices()] == (
        [expected] if expected else []
    )


async def test_a_deleted_profile_is_replaced_by_the_default_one(delivery: Delivery) -> None:
    """So that nobody is left in the dark."""
    await delivery.profile("third", is_default=True)
    assert (await delivery.tenant("DELETE", "/profiles/alerts")).status_code == 204
    await delivery.fail()
    await delivery.list_subjects()
    [message] = await delivery.notices()
    assert message["profile"] == "third"


async def test_nothing_is_told_of_a_deleted_profile(delivery: Delivery) -> None:
    """Nor to a tenant that does not want it any more."""
    await delivery.fail()
    assert (await delivery.tenant("DELETE", "/profiles/main")).status_code == 204
    assert await delivery.list_subjects() == []
    await delivery.profile("main")
    await delivery.fail()
    path = f"/tenants/{delivery.tenant.tenant_id}"
    await delivery.api.admin("PATCH", path, {"notify": None})
    assert await delivery.list_subjects() == []
    await delivery.notify()
    await delivery.recover()
    assert await delivery.list_subjects() == []


async def test_a_suppressed_recipient_gets_none(delivery: Delivery) -> None:
    """As with any other message."""
    await delivery.tenant.made("/suppressions", {"address": OPS})
    await delivery.fail()
    await delivery.list_subjects()
    [message] = await delivery.notices()
    assert (message["status"], message["recipients"][0]["status"]) == ("failed", "suppressed")


async def test_a_full_quota_hides_no_failure(delivery: Delivery) -> None:
    """A notice counts in the quota, and is not refused by it."""
    path = f"/tenants/{delivery.tenant.tenant_id}"
    await delivery.api.admin("PATCH", path, {"quota": {"messages_per_day": 0}})
    await delivery.fail()
    assert await delivery.list_subjects() == [FAILS]
    [limit] = (await delivery.tenant.read("/usage"))["limits"]
    assert (limit["value"], limit["used"]) == (0, 1)


async def test_what_a_rule_refuses_is_not_tried_again(delivery: Delivery) -> None:
    """The log says what to change; other tenants' notices go."""
    path = f"/tenants/{delivery.tenant.tenant_id}"
    await delivery.api.admin("PATCH", path, {"allowed_recipient_domains": ["example.net"]})
    zeta = Delivery(delivery.api, await delivery.api.tenant("zeta"))
    for name in ("main", "alerts"):
        await zeta.profile(name)
    await zeta.notify()
    await delivery.fail()
    await zeta.fail()
    assert await delivery.list_subjects() == []
    assert await zeta.list_subjects() == [FAILS]
    await delivery.api.admin("PATCH", path, {"allowed_recipient_domains": []})
    assert await delivery.list_subjects() == []


async def test_notices_that_raise_hold_up_no_others(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though they are the oldest, and as many as a worker loads; they are retried later."""
    monkeypatch.setattr(profile_notices, "MAX_NOTICES", 1)
    zeta = Delivery(delivery.api, await delivery.api.tenant("zeta"))
    for name in ("main", "alerts"):
        await zeta.profile(name)
    await zeta.notify()
    await delivery.fail()
    await zeta.fail()
    database = delivery.api.services.database
    stored = update(tenants).where(tenants.c.id == delivery.tenant.tenant_id)
    async with database.transaction() as connection:
        await connection.execute(stored.values(notify={"to": 1}))
    await delivery.worker().write_due()
    assert await zeta.list_subjects() == [FAILS]
    async with database.transaction() as connection:
        notify = {"profile": delivery.profiles["alerts"], "to": [OPS]}
        await connection.execute(stored.values(notify=notify))
    assert await delivery.list_subjects() == []
    await delivery.clock.advance(seconds=RETRY_DELAY.total_seconds())
    assert await delivery.list_subjects() == [FAILS]
