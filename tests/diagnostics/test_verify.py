"""Verify, stage by stage: what each says, in which order, and what is never done."""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import trustme

from app.diagnostics.report import Report, StageReport, Status, Step
from app.diagnostics.verify import Subject, verify
from app.domain.ehlo import EhloNames
from app.domain.types import AuthMechanism, TlsMode
from tests.diagnostics.small_internet import (
    CHECK,
    HOST,
    IN_CLEAR,
    OUR_NAME,
    PASSWORD,
    PTR_NAME,
    SHORT_OF_PATIENCE,
    USER,
    SmallInternet,
)
from tests.support.servers.dns_server import silent
from tests.support.servers.mute import mute
from tests.support.servers.smtp_server import DISCONNECT, SmtpServer
from tests.support.smtp_identities import ANN, come_true

LOGIN: Final = {"username": USER, "password": PASSWORD}
USERS: Final = {USER: PASSWORD}
BEFORE: Final = ("address_guard", "dns", "tcp")


async def verify_subject(net: SmallInternet, subject: Subject, **options: Any) -> Report:
    """What verify says of it."""
    return await verify(subject, net.network, now=options.pop("now", datetime.now(UTC)), **options)


def of(report: Report, step: Step) -> StageReport:
    """One stage."""
    return next(stage for stage in report.stages if stage.stage is step)


def begun_stages(report: Report) -> list[str]:
    """The stages that were not skipped, in their order."""
    return [stage.stage.value for stage in report.stages if stage.status is not Status.SKIPPED]


@pytest.mark.parametrize(
    ("mode", "offers_tls", "with_login", "with_check", "after_tcp"),
    [
        (TlsMode.NONE, False, False, False, ["banner", "ehlo"]),
        (TlsMode.NONE, False, True, True, ["banner", "ehlo", "auth", "mail", "rcpt"]),
        (TlsMode.OPPORTUNISTIC, False, False, False, ["banner", "ehlo"]),
        (TlsMode.OPPORTUNISTIC, True, False, False, ["banner", "ehlo", "tls", "ehlo_after_tls"]),
        (
            TlsMode.STARTTLS,
            True,
            True,
            True,
            ["banner", "ehlo", "tls", "ehlo_after_tls", "auth", "mail", "rcpt"],
        ),
        (TlsMode.IMPLICIT, True, True, True, ["tls", "banner", "ehlo", "auth", "mail", "rcpt"]),
    ],
)
async def test_the_stages_are_those_of_a_delivery(
    net: SmallInternet,
    mode: TlsMode,
    after_tcp: list[str],
    *,
    offers_tls: bool,
    with_login: bool,
    with_check: bool,
) -> None:
    """In its order; each that is skipped says why."""
    server_tls = net.server_tls() if offers_tls else None
    is_implicit = mode is TlsMode.IMPLICIT
    users = USERS if with_login else None
    async with SmtpServer(tls=server_tls, is_implicit=is_implicit, users=users) as server:
        login = LOGIN | {"allow_plaintext_auth": True} if with_login else {}
        check = CHECK if with_check else None
        report = await verify_subject(net, net.subject(server, tls=mode, check=check, **login))
        await server.wait_until(lambda server: server.open_connections == 0)
    assert report.is_ok, report.failed_stage
    assert begun_stages(report) == [*BEFORE, *after_tcp]
    assert {step.stage for step in report.stages} == set(Step)
    assert all(stage.detail for stage in report.stages)


async def test_each_stage_says_what_it_found(net: SmallInternet) -> None:
    """The name and its source, the server's words, TLS, the certificate, and how it logged in."""
    server_tls = net.server_tls(HOST, "other.example.org")
    async with SmtpServer(tls=server_tls, users=USERS) as server:
        report = await verify_subject(net, net.subject(server, tls=TlsMode.STARTTLS, **LOGIN))
    [address] = of(report, Step.DNS).addresses
    [dialled] = of(report, Step.TCP).addresses
    assert (address.address, dialled.address, dialled.error) == ("127.0.0.1", "127.0.0.1", None)
    assert dialled.duration_ms is not None
    assert of(report, Step.BANNER).greeting == "mx.test.invalid ESMTP"
    first, second = of(report, Step.EHLO), of(report, Step.EHLO_AFTER_TLS)
    for stage in (first, second):
        assert (stage.ehlo_name, stage.ehlo_source) == (OUR_NAME, "profile")
        assert stage.greeting == f"mx.test.invalid greets {OUR_NAME}"
    assert "STARTTLS" in first.extensions
    assert "STARTTLS" not in second.extensions
    tls = of(report, Step.TLS)
    assert tls.tls_version == "TLSv1.3"
    assert tls.tls_cipher
    assert tls.certificate is not None
    assert tls.certificate.names == (HOST, "other.example.org")
    login = of(report, Step.AUTH)
    assert login.mechanisms_offered == ("PLAIN", "LOGIN", "CRAM-MD5")
    assert login.mechanism == "cram-md5"
    assert (report.ehlo.name, report.ehlo.source) == (OUR_NAME, "profile")


async def test_each_stage_has_its_own_part_of_the_dialogue(net: SmallInternet) -> None:
    """And no more; of the login no more than the mechanism."""
    async with SmtpServer(users=USERS, mechanisms=["PLAIN"]) as server:
        report = await verify_subject(net, net.subject(server, check=CHECK, **IN_CLEAR, **LOGIN))
    lines_by_stage = {
        step.stage.value: [f"{line.by} {line.text}" for line in step.transcript]
        for step in report.stages
    }
    assert lines_by_stage["banner"][-1] == "server 220 mx.test.invalid ESMTP"
    assert lines_by_stage["ehlo"][0] == f"client EHLO {OUR_NAME}"
    assert lines_by_stage["ehlo"][-1].startswith("server 250 ")
    assert lines_by_stage["auth"] == [
        "client AUTH PLAIN ***",
        "server 235 2.7.0 Authentication successful",
    ]
    assert [line for line in lines_by_stage["mail"] if line.startswith("client")] == [
        f"client MAIL FROM:<{CHECK.sender}>"
    ]
    assert f"client RCPT TO:<{ANN}>" in lines_by_stage["rcpt"]
    assert PASSWORD not in str(report)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
@pytest.mark.parametrize("is_right", [True, False])
async def test_there_is_one_login_and_never_a_message(
    net: SmallInternet, mechanism: str, *, is_right: bool
) -> None:
    """A wrong password that is tried again and again locks accounts."""
    async with SmtpServer(users=USERS, mechanisms=[mechanism]) as server:
        login = LOGIN if is_right else LOGIN | {"password": "wrong"}
        report = await verify_subject(net, net.subject(server, check=CHECK, **IN_CLEAR, **login))
        await server.wait_until(lambda server: server.open_connections == 0)
    assert report.is_ok is is_right
    commands = [line for session in server.sessions for line in session.commands]
    assert len([line for line in commands if line.startswith("AUTH")]) == 1
    assert not [line for line in commands if line.upper().startswith(("DATA", "BDAT"))]
    if is_right:
        assert commands[-2:] == ["RSET", "QUIT"]


async def test_a_refused_name_costs_no_further_login(net: SmallInternet) -> None:
    """The doctor greets by other names, and logs in where nothing is asked but RCPT's word."""
    refusal = "504 5.5.2 <x>: Helo command rejected: need fully-qualified hostname"
    async with SmtpServer({"ehlo": refusal}, users=USERS) as server:
        report = await verify_subject(net, net.subject(server, **IN_CLEAR, **LOGIN))
    assert report.diagnosis is not None
    assert report.diagnosis.recommendation is None
    assert not [line for session in server.sessions for line in session.commands if "AUTH" in line]


@pytest.mark.parametrize(
    ("stage", "reply", "code"),
    [
        ("rcpt", "550 5.1.1 No such user here", "recipient_rejected"),
        ("rcpt", "450 4.2.0 Greylisted, come back later", "greylisted"),
        ("mail", "550 5.7.1 Sender not allowed", "sender_rejected"),
    ],
)
async def test_who_refuses_the_recipient_or_sender_does_not_blame_the_name(
    net: SmallInternet, stage: str, reply: str, code: str
) -> None:
    """The stage failed with the server's words; no other name is tried."""
    async with SmtpServer({stage: reply}) as server:
        report = await verify_subject(net, net.subject(server, check=CHECK))
    assert report.failed_stage is not None
    assert report.failed_stage.stage.value == stage
    assert reply.split(" ", 2)[2] in report.failed_stage.detail
    assert report.failed_stage.code == code
    assert report.diagnosis is None
    assert len(server.sessions) == 1


async def test_a_dead_address_is_warned_of(net: SmallInternet) -> None:
    """Each address is dialled, not the first that answers alone: one is slow to fail for others."""
    net.dns.add(HOST, "A", "127.0.0.1", "127.0.0.2")
    async with SmtpServer() as server:
        with mute("127.0.0.2", server.port):
            report = await verify_subject(net, net.subject(server, timeouts=SHORT_OF_PATIENCE))
    tcp = of(report, Step.TCP)
    assert tcp.status is Status.WARNING
    assert report.is_ok
    errors = {attempt.address: attempt.error for attempt in tcp.addresses}
    assert errors["127.0.0.1"] is None
    assert errors["127.0.0.2"] is not None
    assert "127.0.0.2" in tcp.detail


async def test_where_no_address_answers_each_says_why(net: SmallInternet) -> None:
    """The stage failed, with every address."""
    net.dns.add(HOST, "A", "127.0.0.1", "127.0.0.2")
    async with SmtpServer() as closed:
        port = closed.port
    with mute("127.0.0.1", port), mute("127.0.0.2", port):
        report = await verify_subject(net, net.subject(closed, timeouts=SHORT_OF_PATIENCE))
    assert report.failed_stage is not None
    assert (report.failed_stage.stage, report.failed_stage.code) == (Step.TCP, "connect_timeout")
    assert all(address.error for address in report.failed_stage.addresses)
    assert len(report.failed_stage.addresses) == 2


@pytest.mark.parametrize(("days", "status"), [(20, Status.WARNING), (22, Status.OK)])
async def test_a_certificate_that_ends_soon_is_warned_of(
    net: SmallInternet, days: int, status: Status
) -> None:
    """Three weeks before; it says how many days are left."""
    now = datetime.now(UTC)
    ends = now + timedelta(days=days, minutes=5)
    async with SmtpServer(tls=net.server_tls(not_after=ends)) as server:
        report = await verify_subject(net, net.subject(server, tls=TlsMode.STARTTLS), now=now)
    tls = of(report, Step.TLS)
    assert tls.status is status, tls.detail
    assert tls.certificate is not None
    assert tls.certificate.expires_in_days(now) == days
    assert (f"{days} days" in tls.detail) is (status is Status.WARNING)


async def test_a_certificate_that_nobody_verifies_is_warned_of(net: SmallInternet) -> None:
    """Under `opportunistic`, whoever signed it."""
    stranger = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stranger.issue_cert("somebody.example.net").configure_cert(context)
    async with SmtpServer(tls=context) as server:
        report = await verify_subject(net, net.subject(server, tls=TlsMode.OPPORTUNISTIC))
    assert report.is_ok
    assert of(report, Step.TLS).status is Status.WARNING
    assert "does not verify" in of(report, Step.TLS).detail


async def test_a_name_that_servers_may_dislike_is_warned_of(net: SmallInternet) -> None:
    """At the stage where it was said, though this server took it."""
    async with SmtpServer() as server:
        report = await verify_subject(net, net.subject(server, ehlo_names=EhloNames("[127.0.0.1]")))
    assert of(report, Step.EHLO).status is Status.WARNING
    assert report.is_ok


async def test_a_mute_dns_costs_its_share_and_is_told(net: SmallInternet) -> None:
    """What could not be looked up says so, of our own name too."""
    for name in (HOST, OUR_NAME):
        net.dns.behave(name, silent)
    async with SmtpServer() as server:
        report = await verify_subject(net, net.subject(server), seconds=3)
    assert report.failed_stage is not None
    assert (report.failed_stage.stage, report.failed_stage.code) == (Step.DNS, "dns_timeout")
    advice_by_check = {advice_item.check: advice_item for advice_item in report.advice}
    assert advice_by_check["name_resolves"].status.value == "warning"


async def test_the_mechanism_that_is_asked_for_is_the_one_used(net: SmallInternet) -> None:
    """Where the profile names one, the strongest is not picked."""
    async with SmtpServer(users=USERS) as server:
        login = LOGIN | {"mechanism": AuthMechanism.LOGIN}
        report = await verify_subject(net, net.subject(server, **IN_CLEAR, **login))
        await come_true(lambda: server.open_connections == 0)
    assert of(report, Step.AUTH).mechanism == "login"


async def test_where_a_server_hangs_up_on_the_name_others_are_tried(net: SmallInternet) -> None:
    """It says not why; that another name is taken tells."""
    script = {"ehlo": lambda name: None if name == PTR_NAME else DISCONNECT}
    async with SmtpServer(script) as server:
        report = await verify_subject(net, net.subject(server))
    assert report.failed_stage is not None
    assert (report.failed_stage.stage, report.failed_stage.code) == (Step.EHLO, "connection_lost")
    assert report.diagnosis is not None
    assert report.diagnosis.recommendation is not None
    assert report.diagnosis.recommendation.name == PTR_NAME
    assert f"`ehlo_name` to {PTR_NAME}" in (report.failed_stage.hint or "")


@pytest.mark.parametrize("stage", ["banner", "ehlo", "auth", "mail", "rcpt"])
async def test_a_password_that_the_server_says_back_is_not_told(
    net: SmallInternet, stage: str
) -> None:
    """Neither as a reply nor in the dialogue, whether that was what failed or not."""
    for code in (220, 250, 235, 550):
        script = {stage: f"{code} 2.0.0 you are {USER} with {PASSWORD}"}
        async with SmtpServer(script, users=USERS, mechanisms=["PLAIN"]) as server:
            report = await verify_subject(
                net, net.subject(server, check=CHECK, **IN_CLEAR, **LOGIN)
            )
        assert f"you are {USER} with ***" in str(report)
        assert PASSWORD not in str(report)


async def test_the_doctor_logs_in_by_the_token_that_verify_had(net: SmallInternet) -> None:
    """Where a server gives its word at RCPT, after the login; the token is asked for once."""
    refusal = f"550 5.7.1 <{OUR_NAME}>: Helo command rejected: Host not found"
    script = {"rcpt": [refusal, refusal]}
    asked_tokens = list[str]()

    async def token() -> str:
        asked_tokens.append("t0ken")
        return "t0ken"

    tokens = {USER: "t0ken"}
    async with SmtpServer(script, tokens=tokens, mechanisms=["XOAUTH2"]) as server:
        oauth = IN_CLEAR | {"username": USER, "mechanism": AuthMechanism.OAUTH2}
        report = await verify_subject(net, net.subject(server, check=CHECK, token=token, **oauth))
    assert report.failed_stage is not None
    assert report.failed_stage.code == "ehlo_rejected"
    assert report.diagnosis is not None
    assert report.diagnosis.recommendation is not None
    assert report.diagnosis.recommendation.name == PTR_NAME
    assert all(name.is_accepted for name in report.diagnosis.names[1:])
    assert asked_tokens == ["t0ken"]
