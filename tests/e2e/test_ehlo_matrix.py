"""Real servers and the names they refuse: what verify, the doctor and delivery make of each.

`ehlo_replies.txt` holds what each server says to each name. The refused ones are the starts.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from app.diagnostics.ehlo_trials import EHLO_REJECTED, Check
from app.diagnostics.report import NameTrial, Report, Step
from app.diagnostics.verify import Subject, verify
from app.domain.ehlo import EhloNames
from app.domain.types import TlsMode
from app.smtp.dns import Resolver
from app.smtp.identity import Identity
from app.smtp.resolve import Network
from tests.e2e.conftest import Start
from tests.e2e.ehlo_replies import (
    LITERAL,
    NAMES,
    RECIPIENT,
    SENDER,
    SERVICES,
    Said,
    Server,
    ask,
    load_recorded,
)
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.exim import Exim
from tests.support.servers.postfix import Postfix
from tests.support.servers.postfix_services import ALLOWED, RESOLVED
from tests.support.smtp_identities import ANYWHERE

pytestmark = pytest.mark.one_database  # the claim is what is said on the wire
CHECK: Final = Check(SENDER, RECIPIENT)
POD: Final = "pod-1.ns.svc.cluster.local"
SERVICE_NAME: Final = "host.example.net"
SAID: Final[Mapping[tuple[str, str, str], Said]] = {
    (reply.server, reply.service, reply.name): reply for reply in load_recorded()
}


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """What the servers find in theirs; our address is named as the allow-list wants."""
    with DnsServer() as dns:
        for name in RESOLVED:
            dns.add(name, "A", "127.0.0.1")
        dns.point("127.0.0.1", ALLOWED)
        yield dns


@pytest.fixture
def network(dns: DnsServer) -> Network:
    """Which asks that DNS."""
    return replace(ANYWHERE, resolver=Resolver([dns.address]))


@pytest.fixture(
    params=[
        pytest.param(service, marks=getattr(pytest.mark, service[0]), id="-".join(service))
        for service in SERVICES
    ]
)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A server and one of its services, each in turn."""
    server, service = request.param
    return server, service


@pytest.fixture
def port(place: tuple[str, str], request: pytest.FixtureRequest) -> int:
    """Where the service listens."""
    server: Server = request.getfixturevalue(place[0])
    return server.port(place[1])


def identity(port: int, name: str) -> Identity:
    """A pod that greets with the name; its service and its address have better ones."""
    return Identity(
        profile_id="pro_matrix",
        host="127.0.0.1",
        port=port,
        tls=TlsMode.NONE,
        ehlo_names=EhloNames(profile=name, service=SERVICE_NAME, hostname=POD),
    )


def table_row(tried: NameTrial) -> tuple[str, str, str]:
    """A row of the doctor's table, as the file has it."""
    if tried.is_accepted:
        return tried.candidate.name, "taken", ""
    assert tried.reply is not None
    return tried.candidate.name, tried.at or "", str(tried.reply)


def test_the_file_knows_every_service_and_name() -> None:
    """And no other."""
    places = [(server, service, name) for server, service in SERVICES for name in NAMES]
    assert list(SAID) == places


async def test_the_servers_still_say_so(place: tuple[str, str], port: int) -> None:
    """To each name, at the same command and in the same words."""
    replies = [await asyncio.to_thread(ask, *place, name, port) for name in NAMES]
    assert replies == [SAID[*place, name] for name in NAMES]


async def test_a_refused_name_is_told_and_a_good_one_found(
    place: tuple[str, str], port: int, network: Network
) -> None:
    """From each name that the service refuses, the doctor comes to one that it takes."""

    async def run_verify(name: str, check: Check | None) -> Report:
        subject = Subject(identity=identity(port, name), check=check)
        return await verify(subject, network, now=datetime.now(UTC))

    async def examine(start: Said) -> None:
        report = await run_verify(start.name, CHECK if "delayed" in start.service else None)
        assert report.failed_stage is not None, start
        assert (report.failed_stage.stage, report.failed_stage.code) == (
            Step(start.at),
            EHLO_REJECTED,
        )
        assert start.reply in report.failed_stage.detail
        assert report.diagnosis is not None
        table = [table_row(name) for name in report.diagnosis.names]
        expected = [SAID[*place, name] for name, _, _ in table]
        assert table == [(name.name, name.at, name.reply) for name in expected]
        assert any(name.is_taken for name in expected)
        recommendation = report.diagnosis.recommendation
        assert recommendation is not None
        assert (await run_verify(recommendation.name, CHECK)).is_ok

    starts = [SAID[*place, name] for name in NAMES if not SAID[*place, name].is_taken]
    assert starts
    async with asyncio.TaskGroup() as tasks:
        for start in starts:
            tasks.create_task(examine(start))


async def postfix_got(postfix: Postfix) -> tuple[str, str]:
    """The name and the Message-ID of the one message that came."""
    (accepted,) = await postfix.wait_accepted(1)
    return accepted.helo, accepted.message_id


async def exim_got(exim: Exim) -> tuple[str, str]:
    """The same of the other server."""
    (arrived,) = await exim.wait_arrived(1)
    return arrived.helo, arrived.message_id


@pytest.mark.parametrize(
    ("server", "service", "refused", "recommended"),
    [
        pytest.param(*case, marks=getattr(pytest.mark, case[0]), id="-".join(case[:2]))
        for case in (
            ("postfix", "named", LITERAL, SERVICE_NAME),
            ("postfix", "resolved", POD, SERVICE_NAME),
            ("postfix", "resolved_delayed", POD, SERVICE_NAME),
            ("postfix", "listed", POD, ALLOWED),
            ("postfix", "listed_delayed", POD, ALLOWED),
            ("exim", "qualified", LITERAL, SERVICE_NAME),
            ("exim", "qualified_delayed", LITERAL, SERVICE_NAME),
            ("exim", "addressed", POD, LITERAL),
            ("exim", "addressed_delayed", POD, LITERAL),
        )
    ],
)
async def test_the_same_message_arrives_under_the_recommended_name(
    server: str,
    service: str,
    refused: str,
    recommended: str,
    start: Start,
    dns: DnsServer,
    request: pytest.FixtureRequest,
) -> None:
    """It waits while the name is refused, and goes once the profile has the doctor's."""
    running: Postfix | Exim = request.getfixturevalue(server)
    heloise = await start(hostname=POD, ehlo_name=SERVICE_NAME, dns_servers=dns.setting)
    acme = await heloise.tenant()
    await acme.profile("main", running.port(service), ehlo_name=refused)
    message = await acme.send(RECIPIENT)
    failing = await acme.state("main", "failing")
    assert failing["failing_code"] == EHLO_REJECTED
    assert SAID[server, service, refused].reply in failing["reason"]

    verified = await acme("POST", "/profiles/main/verify", {"recipient": RECIPIENT})
    assert verified.json()["code"] == EHLO_REJECTED
    name = verified.json()["ehlo_diagnosis"]["recommendation"]["name"]
    assert name == recommended
    changed = await acme("PATCH", "/profiles/main", {"ehlo_name": name})
    assert changed.status_code == 200, changed.text
    await acme.message(message, status="sent")
    sent = (await acme.read(f"/messages/{message}"))["message_id_header"].strip("<>")
    got = await (postfix_got(running) if isinstance(running, Postfix) else exim_got(running))
    assert got == (recommended, sent)


@pytest.mark.postfix
async def test_a_relay_that_knows_the_domain_of_the_senders_gets_it(
    postfix: Postfix, start: Start, dns: DnsServer
) -> None:
    """Though no name of the service or of the machine is on its list."""
    dns.point("127.0.0.1")
    heloise = await start(hostname=POD, ehlo_name=SERVICE_NAME, dns_servers=dns.setting)
    acme = await heloise.tenant()
    senders = {"default_from": f"ann@{ALLOWED}", "allowed_from": [f"*@{ALLOWED}", "*@example.org"]}
    await acme.profile("main", postfix.port("listed"), ehlo_name=None, **senders)
    diagnosis = (await acme("POST", "/profiles/main/verify")).json()["ehlo_diagnosis"]
    tried = [(name["name"], name["source"], name["accepted"]) for name in diagnosis["names"]]
    assert tried == [
        (ALLOWED, "sender_domain", True),
        ("example.org", "sender_domain", False),
        (SERVICE_NAME, "service", False),
        (LITERAL, "address_literal", False),
    ]
    assert diagnosis["recommendation"]["name"] == ALLOWED
    assert "the domain of the profile's senders" in diagnosis["recommendation"]["reason"]


@pytest.mark.postfix
async def test_where_postfix_takes_no_name_its_operator_is_to_be_asked(
    postfix: Postfix, start: Start, dns: DnsServer
) -> None:
    """With what its answers mean."""
    dns.point("127.0.0.1")
    heloise = await start(hostname=POD, dns_servers=dns.setting)
    acme = await heloise.tenant()
    await acme.profile("main", postfix.port("listed"), ehlo_name=None, default_from="a@b.example")
    diagnosis = (await acme("POST", "/profiles/main/verify")).json()["ehlo_diagnosis"]
    assert diagnosis["recommendation"] is None
    assert diagnosis["detail"] == (
        "127.0.0.1 accepts none of the names that Heloise tried. b.example, [127.0.0.1]: it does"
        " not allow the name; it may have a list of allowed names. Ask the operator of 127.0.0.1"
        " which EHLO name the server accepts from 127.0.0.1, and set `ehlo_name` to it. Or ask for"
        " permission to use b.example."
    )
