"""`/domains`: keys that the service makes, and that sign once their records are found."""

from typing import Any

import dkim
import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.servers.dns_server import DnsServer, servfail


@pytest.fixture(autouse=True)
def _often(api: Api) -> None:
    """As many look-ups as a test makes."""
    object.__setattr__(api.services, "verify_per_minute", 1000)


def publish(dns: DnsServer, domain: Any) -> None:
    """Add all records that the domain asks for."""
    for key in domain["keys"]:
        dns.say(key["dns_record"]["name"], key["dns_record"]["value"])


async def raw(caller: Caller, **fields: Any) -> bytes:
    """A message that was accepted, as it will go out."""
    message = await caller.made("/messages", MESSAGE | fields)
    return (await caller("GET", f"/messages/{message['id']}/raw")).content


def signers(mime: bytes, dns: DnsServer) -> list[str]:
    """The selectors whose signatures hold, as dkimpy reads them with the records of the DNS."""

    def record(name: bytes, timeout: int = 5) -> bytes:
        assert timeout
        return dns.texts(name.decode())[0].encode()

    verifier, held = dkim.DKIM(mime), []
    for number in range(mime.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:")):
        assert verifier.verify(idx=number, dnsfunc=record)
        held.append(verifier.selector.decode())
    return held


def selectors(domain: Any, status: str) -> set[str]:
    """Those of the domain's keys that stand so."""
    return {key["selector"] for key in domain["keys"] if key["status"] == status}


async def test_two_keys_are_made_whose_records_are_shown(acme: Caller) -> None:
    """An RSA key and an Ed25519 key, each under a selector of its own; no secret half anywhere."""
    answer = await acme("POST", "/domains", {"domain": "Grüße.example.com"})
    domain = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/domains/{domain['id']}"
    assert domain["domain"] == "xn--gre-6ka8l.example.com"
    assert not domain["signed"]
    assert {key["algorithm"] for key in domain["keys"]} == {"rsa-sha256", "ed25519-sha256"}
    for key in domain["keys"]:
        record = key["dns_record"]
        assert record["name"] == f"{key['selector']}._domainkey.{domain['domain']}"
        assert record["type"] == "TXT"
        assert record["value"].startswith(f"v=DKIM1; k={key['algorithm'].partition('-')[0]}; p=")
        assert key["status"] == "pending"
    assert "PRIVATE" not in answer.text
    assert await acme.read(f"/domains/{domain['id']}") == domain
    assert await acme.read(f"/domains/{domain['domain']}") == domain
    assert (await acme.read("/domains"))["items"] == [domain]


async def test_what_is_sent_is_signed_once_the_records_are_there(
    acme: Caller, dns: DnsServer
) -> None:
    """Not before; and by both keys, whatever the message is made of."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    domain = await acme.made("/domains", {"domain": "example.com"})
    checked = (await acme("POST", "/domains/example.com/check")).json()
    assert {key["problem"] for key in checked["keys"]} == {"there is no such TXT record"}
    assert b"DKIM-Signature" not in await raw(acme)
    publish(dns, domain)
    checked = (await acme("POST", "/domains/example.com/check")).json()
    assert checked["signed"]
    assert {key["problem"] for key in checked["keys"]} == {None}
    everyone = selectors(domain, "pending")
    assert selectors(checked, "active") == everyone
    file = {"filename": "a.bin", "content": "AAECAw==", "content_type": "application/octet-stream"}
    for fields in (
        {},
        {"html": "<p>Grüße</p>", "attachments": [file], "headers": {"X-A": "b"}},
        {"from": "a@mail.example.com", "cc": ["Bob <bob@example.org>"], "reply_to": ["c@d.ee"]},
        {"list_unsubscribe": {"url": "https://example.com/u", "one_click": True}},
    ):
        assert set(signers(await raw(acme, **fields), dns)) == everyone
    assert b"DKIM-Signature" not in await raw(acme, **{"from": "a@example.org"})


async def test_each_of_a_batch_is_signed_and_a_raw_message_once(
    acme: Caller, dns: DnsServer
) -> None:
    """One that its caller has signed stays as it is."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    publish(dns, await acme.made("/domains", {"domain": "example.com"}))
    await acme("POST", "/domains/example.com/check")
    answer = await acme("POST", "/messages/batch", {"messages": [MESSAGE, MESSAGE]})
    for item in answer.json()["results"]:
        signed = (await acme("GET", f"/messages/{item['message']['id']}/raw")).content
        assert len(signers(signed, dns)) == 2
    mime = b"From: billing@example.com\r\nSubject: Hi\r\n\r\nHello.\r\n"
    for raw_message, count in ((mime, 2), (b"DKIM-Signature: v=1; b=\r\n" + mime, 1)):
        sent = await acme(
            "POST",
            "/messages/raw?to=ann@example.org",
            content=raw_message,
            headers={"Content-Type": "message/rfc822"},
        )
        signed = (await acme("GET", f"/messages/{sent.json()['id']}/raw")).content
        assert signed.count(b"DKIM-Signature:") == count
        assert signed.endswith(raw_message)


async def test_new_keys_take_over_once_their_records_are_found(
    acme: Caller, dns: DnsServer
) -> None:
    """Until then the old ones sign; their records are needed while what they signed is sent."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    old = await acme.made("/domains", {"domain": "example.com"})
    publish(dns, old)
    await acme("POST", "/domains/example.com/check")
    rotated = (await acme("POST", "/domains/example.com/rotate")).json()
    new = selectors(rotated, "pending")
    assert len(new) == 2
    await acme("POST", "/domains/example.com/check")
    assert set(signers(await raw(acme), dns)) == selectors(old, "pending")
    second = await acme("POST", "/domains/example.com/rotate")
    assert (second.status_code, second.json()["type"]) == (409, "/problems/rotation-pending")
    waiting = await acme.made("/messages", MESSAGE)
    publish(dns, rotated)
    checked = (await acme("POST", "/domains/example.com/check")).json()
    assert selectors(checked, "active") == new
    assert selectors(checked, "retired") == selectors(old, "pending")
    assert set(signers(await raw(acme), dns)) == new
    for key in checked["keys"]:
        if key["status"] == "retired":
            assert key["record_needed_until"] > waiting["expires_at"]
    actions = [item["action"] for item in (await acme.read("/audit-log"))["items"]]
    assert {"domain.create", "domain.rotate", "domain.check"} <= set(actions)


async def test_a_key_whose_record_is_gone_signs_no_more(acme: Caller, dns: DnsServer) -> None:
    """A signature that nobody can verify is worse than none; a DNS that is silent says nothing."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    domain = await acme.made("/domains", {"domain": "gone.example.com"})
    publish(dns, domain)
    checked = (await acme("POST", "/domains/gone.example.com/check")).json()
    first, second = checked["keys"]
    dns.say(first["dns_record"]["name"], "v=DKIM1; p=")
    dns.behave(second["dns_record"]["name"], servfail)
    checked = (await acme("POST", "/domains/gone.example.com/check")).json()
    assert [key["status"] for key in checked["keys"]] == ["pending", "active"]
    assert "another key" in checked["keys"][0]["problem"]
    assert "could not answer" in checked["keys"][1]["problem"]
    assert b"s=" + second["selector"].encode() in await raw(acme, **{"from": "a@gone.example.com"})


async def test_a_domain_that_is_deleted_is_signed_no_more(acme: Caller, dns: DnsServer) -> None:
    """At once."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    publish(dns, await acme.made("/domains", {"domain": "example.com"}))
    await acme("POST", "/domains/example.com/check")
    assert (await acme("DELETE", "/domains/example.com")).status_code == 204
    assert b"DKIM-Signature" not in await raw(acme)


async def test_two_tenants_may_have_a_domain_each_with_keys_of_its_own(
    api: Api, acme: Caller, dns: DnsServer
) -> None:
    """One tenant's records do not let another sign."""
    other = await api.tenant("other")
    await other.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    mine = await acme.made("/domains", {"domain": "shared.example.com"})
    theirs = await other.made("/domains", {"domain": "shared.example.com"})
    assert not selectors(mine, "pending") & selectors(theirs, "pending")
    publish(dns, mine)
    assert (await acme("POST", "/domains/shared.example.com/check")).json()["signed"]
    assert not (await other("POST", "/domains/shared.example.com/check")).json()["signed"]
    assert b"DKIM-Signature" not in await raw(other, **{"from": "a@shared.example.com"})


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("domain", "detail"),
    [
        ("*.example.com", "write one domain"),
        ("ann@example.com", "is not a domain"),
        ("", "is not a domain"),
        ("exa mple.com", "is not a domain"),
    ],
)
async def test_what_is_no_domain_is_refused(acme: Caller, domain: str, detail: str) -> None:
    """And what to write is said."""
    answer = await acme("POST", "/domains", {"domain": domain})
    assert answer.status_code == 422
    assert detail in answer.text


async def test_a_domain_stands_once(acme: Caller) -> None:
    """A second time is a conflict."""
    await acme.made("/domains", {"domain": "example.com"})
    answer = await acme("POST", "/domains", {"domain": "EXAMPLE.com"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/domain-exists")


async def test_look_ups_are_limited(api: Api, acme: Caller) -> None:
    """As verifying profiles is."""
    object.__setattr__(api.services, "verify_per_minute", 1)
    await acme.made("/domains", {"domain": "example.com"})
    await acme("POST", "/domains/example.com/check")
    answer = await acme("POST", "/domains/example.com/check")
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/too-many-verifications")
