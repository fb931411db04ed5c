"""A quota holds over all replicas together, over days, and whatever is written in one group."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Heloise, Tenant

LIMIT: Final = 25
BODY: Final = {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}


async def make_limited_tenant(heloise: Heloise, slug: str, **quota: int) -> Tenant:
    """A tenant with these limits, whose profile is paused so that nothing leaves the queue."""
    tenant = await heloise.tenant(slug, quota=quota)
    await tenant.profile("main", 25)
    await tenant("POST", "/profiles/main/pause")
    return tenant


async def test_two_replicas_keep_one_limit(start: Start) -> None:
    """To the message, however many come at once; another tenant's go all."""
    first = await start(delivery=False)
    second = await start(delivery=False)
    acme = await make_limited_tenant(first, "acme", messages_per_day=LIMIT)
    other = await make_limited_tenant(first, "other")
    elsewhere = Tenant(second.http, acme.headers, acme.tenant_id)

    async def send(caller: Tenant) -> int:
        return (await caller("POST", "/messages", BODY)).status_code

    callers = [acme, elsewhere] * LIMIT + [other] * LIMIT
    codes = await asyncio.gather(*map(send, callers))
    counts = Counter(zip([caller.tenant_id for caller in callers], codes, strict=True))
    assert counts == {
        (acme.tenant_id, 202): LIMIT,
        (acme.tenant_id, 429): LIMIT,
        (other.tenant_id, 202): LIMIT,
    }
    assert len((await acme.read("/messages?limit=200"))["items"]) == LIMIT


async def test_what_waits_for_a_day_goes_on_the_next(start: Start) -> None:
    """At midnight of UTC, and the month goes on."""
    clock = HandClock(datetime(2026, 3, 30, 20, tzinfo=UTC))
    heloise = await start(clock=clock, delivery=False)
    acme = await make_limited_tenant(heloise, "acme", messages_per_day=2, messages_per_month=3)

    async def send(count: int) -> list[Any]:
        return [await acme("POST", "/messages", BODY) for _ in range(count)]

    first = await send(3)
    assert [response.status_code for response in first] == [202, 202, 429]
    assert first[2].headers["Retry-After"] == str(4 * 3600)
    await clock.advance(hours=4)
    second = await send(2)
    assert [response.status_code for response in second] == [202, 429]
    assert "messages_per_month" in second[1].json()["detail"]
    assert second[1].headers["Retry-After"] == str(24 * 3600)
    await clock.advance(days=1)
    assert [response.status_code for response in await send(3)] == [202, 202, 429]
