"""Verify over HTTP: what will fail is known before the first mail, and what to change."""

import asyncio
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.harness import CANARY, Caller, bearer, until
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SmtpServer

STRICT = "504 5.5.2 <{}>: Helo command rejected: need fully-qualified hostname"
GOOD = "relay.example.com"


def only_good(name: str) -> str | None:
    """Takes one name alone."""
    return None if name == GOOD else STRICT.format(name)


def stages(report: Any) -> dict[str, str]:
    """How each stage ended."""
    return {stage["stage"]: stage["status"] for stage in report["stages"]}


async def verify(caller: Any, path: str, body: Any = None) -> Any:
    """What verify answers."""
    answer = await caller("POST", path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.one_database
async def test_a_profile_that_works_passes_every_stage(start: Start) -> None:
    """Up to RCPT; nothing is sent, and the password is in no line."""
    users = {"ann": CANARY}
    async with SmtpServer(users=users) as server:
        acme = await (await start()).tenant()
        auth = {"username": "ann", "password": CANARY, "allow_plaintext_auth": True}
        await acme.profile("main", server.port, auth=auth)
        body = {"recipient": "bob@example.org"}
        report = await verify(acme, "/profiles/main/verify", body)
    assert report["ok"], report
    assert (report["code"], report["hint"], report["ehlo_diagnosis"]) == (None, None, None)
    assert list(stages(report)) == [
        "address_guard",
        "dns",
        "tcp",
        "banner",
        "ehlo",
        "tls",
        "ehlo_after_tls",
        "auth",
        "mail",
        "rcpt",
    ]
    assert set(stages(report).values()) == {"ok", "skipped"}
    auth_stage = report["stages"][7]
    assert auth_stage["mechanism"] == "cram-md5"
    assert auth_stage["mechanisms_offered"] == ["PLAIN", "LOGIN", "CRAM-MD5"]
    assert server.messages == []
    assert "DATA" not in server.sessions[0].commands


@pytest.mark.one_database
async def test_a_false_announcement_of_chunking_is_a_warning(start: Start) -> None:
    """Mail will go by DATA, so the profile works; a true one is no warning."""
    body = {"recipient": "bob@example.org"}
    acme = await (await start()).tenant()
    async with SmtpServer(extensions=["PIPELINING", "CHUNKING"]) as server:
        await acme.profile("main", server.port)
        report = await verify(acme, "/profiles/main/verify", body)
        assert stages(report)["rcpt"] == "ok"
        assert server.sessions[0].commands[-3:] == ["BDAT 1", "RSET", "QUIT"]
        server.script["bdat"] = "502 5.5.1 Not implemented"
        report = await verify(acme, "/profiles/main/verify", body)
    assert report["ok"], report
    stage = report["stages"][-1]
    assert (stage["status"], stage["code"]) == ("warning", "chunking_broken")
    assert "uses DATA" in stage["detail"]
    assert stage["transcript"][-1]["text"] == "502 5.5.1 Not implemented"
    assert server.messages == []


@pytest.mark.one_database
async def test_the_doctor_names_a_name_that_is_taken(start: Start) -> None:
    """The profile then says so where it fails; with the name set it works, and the hint goes."""
    with DnsServer() as dns:
        dns.add(GOOD, "A", "127.0.0.1")
        dns.point("127.0.0.1", GOOD)
        async with SmtpServer({"ehlo": only_good}) as server:
            heloise = await start(hostname="4f2a9c1b77de", dns_servers=dns.setting)
            acme = await heloise.tenant("acme", ehlo_name="tenant.example.net")
            await acme.profile("main", server.port, ehlo_name=None)
            message = await acme.send()
            failing = await acme.state("main", "failing")
            assert failing["failing_code"] == "ehlo_rejected"
            assert failing["recommended_ehlo_name"] is None
            report = await verify(acme, "/profiles/main/verify")
            assert (report["ok"], report["code"]) == (False, "ehlo_rejected")
            tried = {name["name"]: name["accepted"] for name in report["ehlo_diagnosis"]["names"]}
            assert tried == {
                "example.com": False,
                "tenant.example.net": False,
                GOOD: True,
                "[127.0.0.1]": False,
            }
            assert report["ehlo_diagnosis"]["recommendation"]["name"] == GOOD
            read = await acme.read("/profiles/main")
            assert read["recommended_ehlo_name"] == GOOD
            assert f"set `ehlo_name` to {GOOD}" in read["reason"]
            await acme("PATCH", "/profiles/main", {"ehlo_name": GOOD})
            await acme.message(message, status="sent")
            assert (await verify(acme, "/profiles/main/verify"))["ok"]
            assert (await acme.read("/profiles/main"))["recommended_ehlo_name"] is None


async def test_names_of_other_profiles_are_tried_as_far_as_the_key_reaches(start: Start) -> None:
    """Its tenant's domains too; another tenant's names never (invariant 10)."""
    async with SmtpServer({"ehlo": STRICT.format("x")}) as server:
        heloise = await start()
        zeta = await heloise.tenant("zeta")
        await zeta.profile("main", server.port, ehlo_name="zeta.example.net")
        acme = await heloise.tenant("acme")
        await acme.profile("main", server.port, ehlo_name="main.example.net")
        await acme.profile("other", server.port, ehlo_name="other.example.net")
        assert (await acme("POST", "/domains", {"domain": "signed.example.net"})).is_success
        body = {"name": "bound", "scopes": ["profiles:manage"], "profiles": ["main"]}
        key = await acme.made("/keys", body)
        bound = Caller(heloise.http, bearer(key["key"]))
        for caller, path, body, expected in (
            (acme, "/profiles/main/verify", {}, {"signing_domain", "other_profile"}),
            (bound, "/profiles/main/verify", {}, {"signing_domain"}),
        ):
            diagnosis = (await verify(caller, path, body))["ehlo_diagnosis"]
            names = {name["source"]: name["name"] for name in diagnosis["names"]}
            assert names.keys() - {"sender_domain", "profile", "address_literal"} == expected
            assert "zeta.example.net" not in names.values()
            assert names["profile"] == "main.example.net"
        assert (await acme.read("/profiles/main"))["recommended_ehlo_name"] is None


@pytest.mark.one_database
async def test_a_profile_is_tried_before_it_is_stored(start: Start) -> None:
    """Nothing of it is kept, its password least of all."""
    async with SmtpServer(users={"ann": CANARY}) as server:
        acme = await (await start()).tenant()
        body = {
            "host": "127.0.0.1",
            "port": server.port,
            "tls": "none",
            "ehlo_name": "mail.example.com",
            "auth": {"username": "ann", "password": CANARY, "allow_plaintext_auth": True},
        }
        assert (await verify(acme, "/profiles/verify", body))["ok"]
        wrong_body = body | {"auth": {**body["auth"], "password": f"not {CANARY}"}}  # type: ignore[dict-item]
        report = await verify(acme, "/profiles/verify", wrong_body)
        assert (report["ok"], report["code"]) == (False, "auth_rejected")
        assert (await acme.read("/profiles"))["items"] == []


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"recipient": "nobody"}, "recipient"),
        ({"recipient": "ann@example.org", "to": "x"}, "to"),
    ],
)
async def test_what_is_asked_wrongly_is_refused(
    start: Start, server: SmtpServer, body: dict[str, str], field: str
) -> None:
    """With the field and what to write instead."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    answer = await acme("POST", "/profiles/main/verify", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", field]


@pytest.mark.one_database
async def test_a_recipient_needs_a_sender(start: Start, server: SmtpServer) -> None:
    """The profile's own, or one that is given."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port, default_from=None)
    body = {"recipient": "ann@example.org"}
    answer = await acme("POST", "/profiles/main/verify", body)
    assert answer.status_code == 422
    assert "default_from" in answer.json()["detail"]
    assert (await verify(acme, "/profiles/main/verify", body | {"sender": "a@example.com"}))["ok"]


@pytest.mark.one_database
async def test_a_sandbox_has_nothing_to_verify(start: Start) -> None:
    """And says so."""
    acme = await (await start()).tenant()
    await acme.made("/profiles", {"name": "sandbox", "transport": "sandbox"})
    answer = await acme("POST", "/profiles/sandbox/verify")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/nothing-to-verify")
    answer = await acme("POST", "/profiles/verify", {"transport": "sandbox"})
    assert answer.status_code == 422


@pytest.mark.one_database
async def test_another_tenants_profile_is_not_there(start: Start, server: SmtpServer) -> None:
    """Nor is its server connected to."""
    heloise = await start()
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    profile = await acme.profile("main", server.port)
    answer = await other("POST", f"/profiles/{profile['id']}/verify")
    assert answer.status_code == 404
    assert server.sessions == []


@pytest.mark.one_database
async def test_a_tenant_may_verify_so_often_a_minute(start: Start, server: SmtpServer) -> None:
    """Of many at once no more than that; another tenant has its own share."""
    heloise = await start(verify_per_minute=3)
    acme, other = await heloise.tenant("acme"), await heloise.tenant("other")
    for tenant in (acme, other):
        await tenant.profile("main", server.port)
    answers = await asyncio.gather(*(acme("POST", "/profiles/main/verify") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["type"] == "/problems/too-many-verifications"
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert refused.headers["RateLimit-Policy"] == '"too-many-verifications";q=3;w=60'
    assert refused.headers["RateLimit"].startswith('"too-many-verifications";r=0;t=')
    assert (await other("POST", "/profiles/main/verify")).status_code == 200


@pytest.mark.one_database
async def test_verify_changes_nothing_of_delivery(start: Start) -> None:
    """A failing profile stays so until delivery itself finds it well."""
    async with SmtpServer({"mail": ["530 5.7.0 Authentication required"]}) as server:
        acme = await (await start()).tenant()
        await acme.profile("main", server.port)
        await acme.send()
        before = await acme.state("main", "failing")
        assert (await verify(acme, "/profiles/main/verify"))["ok"]

        async def load_state() -> Any:
            return await acme.read("/profiles/main")

        after = await until(load_state)
        assert after["failing_since"] in {before["failing_since"], None}
