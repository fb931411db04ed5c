"""What the DNS and the RFCs say of a name, whether any server refuses it or not."""

from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.diagnostics.ehlo_advice import Advice, AdviceStatus, Lookup, NameFacts, advise, look_up
from app.smtp.dns import Resolver
from tests.support.servers.dns_server import Behaviour, DnsServer, lying, refuse, servfail, silent

NAME: Final = "mail.example.com"
PUBLIC: Final = "93.184.215.14"
PRIVATE: Final = "10.0.0.7"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """In which the name and the address lead to each other."""
    with DnsServer() as server:
        server.add(NAME, "A", PUBLIC)
        server.point(PUBLIC, NAME)
        yield server


async def advice(
    dns: DnsServer, name: str = NAME, address: str | None = PUBLIC, *, is_told: bool = True
) -> dict[str, Advice]:
    """What is said, by the check."""
    facts = await look_up(
        Resolver([dns.address]), name, address, is_server_reported=is_told, seconds=0.5
    )
    return {advice.check: advice for advice in advise(facts)}


async def test_a_name_that_is_as_it_should_be_is_ok(dns: DnsServer) -> None:
    """In every respect, and each has its rule."""
    findings = await advice(dns)
    assert list(findings) == [
        "name_form",
        "name_resolves",
        "name_matches_address",
        "outgoing_address",
        "pointer_exists",
        "pointer_agrees",
    ]
    assert {advice.status for advice in findings.values()} == {AdviceStatus.OK}
    assert all(advice.reason.startswith(("RFC", "https://")) for advice in findings.values())


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("localhost", AdviceStatus.FAIL),
        ("3f2a9c1b7d4e", AdviceStatus.FAIL),
        ("pod.ns.svc.cluster.local", AdviceStatus.FAIL),
        ("ip-10-0-0-1.ec2.internal", AdviceStatus.FAIL),
        ("[192.0.2.1]", AdviceStatus.WARN),
        (NAME, AdviceStatus.OK),
    ],
)
async def test_the_form_of_a_name(dns: DnsServer, name: str, verdict: AdviceStatus) -> None:
    """What would leak, or strict servers refuse, fails; an address is warned of."""
    finding = (await advice(dns, name))["name_form"]
    assert finding.status is verdict
    assert name in finding.detail


async def test_a_name_without_an_address_fails(dns: DnsServer) -> None:
    """It says what to add."""
    findings = await advice(dns, "unknown.example.com")
    assert findings["name_resolves"].status is AdviceStatus.FAIL
    assert "no A or AAAA" in findings["name_resolves"].detail
    assert "name_matches_address" not in findings


@pytest.mark.parametrize("behaviour", [servfail, refuse, silent, lying])
async def test_a_dns_that_does_not_tell_is_warned_of(dns: DnsServer, behaviour: Behaviour) -> None:
    """What is not known is neither good nor bad; that the DNS lies is found out."""
    dns.behave(NAME, behaviour)
    findings = await advice(dns)
    assert findings["name_resolves"].status is AdviceStatus.WARN
    assert "192.0.2.66" not in str(findings)


@pytest.mark.parametrize("behaviour", [servfail, silent])
async def test_a_pointer_that_cannot_be_looked_up_is_warned_of(
    dns: DnsServer, behaviour: Behaviour
) -> None:
    """As for the name."""
    dns.behave("14.215.184.93.in-addr.arpa", behaviour)
    findings = await advice(dns)
    assert findings["pointer_exists"].status is AdviceStatus.WARN
    assert "pointer_agrees" not in findings


async def test_a_name_that_leads_elsewhere_is_warned_of(dns: DnsServer) -> None:
    """RFC 5321 section 4.1.4 forbids to refuse mail for it; strict servers do."""
    dns.add(NAME, "A", "93.184.215.99")
    finding = (await advice(dns))["name_matches_address"]
    assert finding.status is AdviceStatus.WARN
    assert "93.184.215.99" in finding.detail
    assert PUBLIC in finding.detail


async def test_an_ipv4_address_in_an_ipv6_one_is_itself(dns: DnsServer) -> None:
    """A socket of both families shows it so."""
    findings = await advice(dns, address=f"::ffff:{PUBLIC}")
    assert findings["name_matches_address"].status is AdviceStatus.OK


@pytest.mark.parametrize(
    ("address", "is_told", "verdict", "word"),
    [
        (PUBLIC, True, AdviceStatus.OK, "sees us from"),
        (PUBLIC, False, AdviceStatus.OK, "connect from"),
        (PRIVATE, True, AdviceStatus.OK, "sees us from"),
        (PRIVATE, False, AdviceStatus.WARN, "NAT"),
        (None, False, AdviceStatus.WARN, "no known address"),
    ],
)
async def test_the_address_that_is_seen_is_told(
    dns: DnsServer, address: str | None, word: str, verdict: AdviceStatus, *, is_told: bool
) -> None:
    """By the server, or by us: behind NAT the two differ."""
    finding = (await advice(dns, address=address, is_told=is_told))["outgoing_address"]
    assert finding.status is verdict
    assert word in finding.detail


@pytest.mark.parametrize(
    ("address", "verdict"), [(PUBLIC, AdviceStatus.FAIL), (PRIVATE, AdviceStatus.WARN)]
)
async def test_an_address_without_a_name_fails_where_it_is_public(
    dns: DnsServer, address: str, verdict: AdviceStatus
) -> None:
    """Gmail wants a PTR record for each sending address; one inside is seen by nobody outside."""
    dns.point(PUBLIC)
    finding = (await advice(dns, address=address))["pointer_exists"]
    assert finding.status is verdict
    assert "PTR" in finding.detail
    assert "google" in finding.reason


async def test_a_pointer_that_does_not_lead_back_fails(dns: DnsServer) -> None:
    """Forward-confirmed reverse DNS: both ways, or it counts for nothing."""
    dns.point(PUBLIC, "liar.example.net")
    finding = (await advice(dns))["pointer_agrees"]
    assert finding.status is AdviceStatus.FAIL
    assert "liar.example.net" in finding.detail


async def test_another_name_that_agrees_both_ways_is_told(dns: DnsServer) -> None:
    """To who greets by one that does not: a warning; to who greets by an address: a way out."""
    dns.add("out.example.com", "A", PUBLIC)
    dns.point(PUBLIC, "out.example.com")
    finding = (await advice(dns))["pointer_agrees"]
    assert finding.status is AdviceStatus.WARN
    assert "out.example.com" in finding.detail
    by_address = (await advice(dns, f"[{PUBLIC}]"))["pointer_agrees"]
    assert by_address.status is AdviceStatus.OK
    assert "use that name" in by_address.detail


async def test_one_of_several_pointers_is_enough(dns: DnsServer) -> None:
    """Where it agrees both ways."""
    dns.point(PUBLIC, "liar.example.net", NAME)
    assert (await advice(dns))["pointer_agrees"].status is AdviceStatus.OK


ADDRESSES = st.one_of(st.ip_addresses().map(str), st.just("fe80::1%eth0"))
LOOKED = st.builds(
    Lookup, values=st.lists(ADDRESSES, max_size=6).map(tuple), error=st.sampled_from(["", "mute"])
)
NAMES = st.sampled_from([NAME, "localhost", "x", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a.local"])


@given(
    name=NAMES,
    address=st.none() | ADDRESSES,
    is_reported=st.booleans(),
    addresses=LOOKED,
    theirs=st.dictionaries(NAMES, LOOKED, max_size=3),
)
def test_there_is_advice_whatever_was_found(
    name: str,
    address: str | None,
    addresses: Lookup,
    theirs: dict[str, Lookup],
    *,
    is_reported: bool,
) -> None:
    """Each check once, each with words and a rule."""
    facts = NameFacts(
        name=name,
        outgoing_address=address,
        is_server_reported=is_reported and address is not None,
        addresses=addresses,
        pointers=Lookup(tuple(theirs)),
        pointer_addresses=theirs,
    )
    findings = advise(facts)
    assert len({advice.check for advice in findings}) == len(findings)
    assert all(advice.detail and advice.reason for advice in findings)
