"""Limits by destination: they wait, over all workers, and hold up nobody else (6, 7)."""

from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import Process, Tenant, until
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SILENCE, Received, SmtpServer

HOURLY = {"messages": 2, "per_seconds": 3600}


def domains_of(messages: list[Received]) -> list[str]:
    """The recipients' domains of the messages that a server took."""
    return [to.rpartition("@")[2] for message in messages for to in message.recipients]


async def send_many(acme: Tenant, domain: str, count: int) -> list[str]:
    """Send so many messages to one domain."""
    return [await acme.send(f"ann@{domain}") for _ in range(count)]


async def test_a_destinations_limit_waits_beside_those_that_leave(
    start: Start, server: SmtpServer
) -> None:
    """The profile says how long; no attempt is used."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    gmail = {"match": ["gmail.com"], "rate_limit": {"messages": 2, "per_seconds": 60}}
    await acme.profile("main", server.port, destinations=[gmail])
    waiting = await send_many(acme, "gmail.com", 4)
    await acme.all_sent(await send_many(acme, "example.org", 10))
    await acme.all_sent(waiting[:2])
    shown_body = (await acme.read("/profiles/main"))["destinations"][0]
    assert (shown_body["available"], shown_body["waits_until"] is None) == (0, False)
    await clock.advance(seconds=30)
    await acme.all_sent(waiting[:3])
    assert domains_of(server.messages).count("gmail.com") == 3
    await clock.advance(seconds=30)
    body = await acme.message(waiting[3], status="sent")
    assert body["recipients"][0]["attempts"] == 1


@pytest.mark.postgresql
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_two_workers_keep_a_destinations_limit_together(
    start: Start, server: SmtpServer, launch: Any
) -> None:
    """As many leave as one worker could send."""
    acme = await (await start(delivery=False)).tenant()
    workers: list[Process] = [launch("worker") for _ in range(2)]
    for worker in workers:
        await until(worker.delivers)
    await acme.profile(
        "main", server.port, destinations=[{"match": ["gmail.com"], "rate_limit": HOURLY}]
    )
    limited = await send_many(acme, "gmail.com", 20)
    await acme.all_sent(await send_many(acme, "example.org", 20))
    await acme.all_sent(limited[:2])
    assert domains_of(server.messages).count("gmail.com") == 2


async def test_a_slow_destination_leaves_connections_to_the_others(start: Start) -> None:
    """Its server never answers, on as many connections as the destination may have."""

    def answer(argument: str) -> str | None:
        return SILENCE if "slow.example" in argument else None

    async with SmtpServer({"rcpt": answer}) as server:
        acme = await (await start(shutdown_grace_seconds=1)).tenant()
        slow = {"match": ["slow.example"], "max_connections": 1}
        await acme.profile("main", server.port, max_connections=2, destinations=[slow])
        await send_many(acme, "slow.example", 30)
        await server.wait_until(lambda server: server.open_connections >= 1)
        await acme.all_sent(await send_many(acme, "fast.example", 10))
        both = await acme.send(["ann@slow.example", "bob@fast.example"])
        await acme.recipient(both, "bob@fast.example", status="sent")
        assert server.most_open_connections == 2


async def test_a_ramp_lets_more_leave_each_day(start: Start, server: SmtpServer) -> None:
    """A profile with a new identity sends 2 on the first day, and then twice as many."""
    clock = HandClock()
    acme = await (await start(clock=clock)).tenant()
    ramp = {"start": 2, "factor": 2, "every": "day", "until": 100}
    await acme.profile("main", server.port, ramp=ramp)
    sent = await send_many(acme, "example.org", 10)
    for day, allowed in enumerate((2, 6, 10)):
        await acme.all_sent(sent[:allowed])
        body = (await acme.read("/profiles/main"))["ramp"]
        assert (body["allowance"], body["used"]) == (2 ** (day + 1), (2, 4, 4)[day])
        assert len(server.messages) == allowed
        await clock.advance(days=1)


@pytest.mark.one_database
async def test_a_destination_limits_the_recipients_of_a_transaction(
    start: Start, server: SmtpServer
) -> None:
    """The others follow in further transactions, and those of other destinations go along."""
    acme = await (await start()).tenant()
    gmail = {"match": ["gmail.com"], "max_recipients_per_message": 2}
    await acme.profile("main", server.port, destinations=[gmail])
    to = [f"{n}@gmail.com" for n in range(5)] + [f"{n}@example.org" for n in range(3)]
    await acme.message(await acme.send(to), status="sent")
    counts = [domains_of([message]) for message in server.messages]
    assert sorted(domains.count("gmail.com") for domains in counts) == [1, 2, 2]
    assert sorted(domains.count("example.org") for domains in counts) == [0, 0, 3]


@pytest.mark.one_database
async def test_a_destination_may_be_named_by_its_mx_hosts(start: Start, server: SmtpServer) -> None:
    """Whatever its domain."""
    with DnsServer() as dns:
        dns.add("hosted.example", "MX", "1 aspmx.l.google.com.")
        dns.add("own.example", "MX", "1 mx.own.example.")
        acme = await (await start(dns_servers=dns.setting)).tenant()
        google = {"match": ["mx:*.google.com"], "rate_limit": HOURLY}
        await acme.profile("main", server.port, destinations=[google])
        await send_many(acme, "hosted.example", 5)
        await acme.all_sent(await send_many(acme, "own.example", 5))
        await server.wait_for_messages(7)
        await acme.all_sent(await send_many(acme, "own.example", 5))
        assert domains_of(server.messages).count("hosted.example") == 2
