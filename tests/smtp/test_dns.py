"""What a host's addresses and an address's names are, and what is said where there are none."""

import asyncio
import ipaddress
from pathlib import Path
from typing import Final

import pytest
from dns.message import Message, make_response
from dns.rrset import from_text

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Fault, Stage
from app.smtp.dns import CONF, Resolver
from app.smtp.faults import StageFailedError
from tests.support.servers.dns_server import (
    DnsServer,
    lying,
    misnumber,
    refuse,
    servfail,
    silent,
)
from tests.support.servers.smtp_server import SmtpServer
from tests.support.smtp_identities import IMPATIENT, look_up_by, refusal


async def _look_up(
    dns: DnsServer, host: str, *, seconds: float = 5, conf: Path = CONF
) -> list[str]:
    return [
        str(address)
        for address in await Resolver([dns.address], conf=conf).addresses(host, seconds)
    ]


def _conf(folder: Path, *lines: str) -> Path:
    path = folder / "resolv.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def circular(query: Message) -> Message:
    """An alias of itself."""
    answer = make_response(query)
    name = query.question[0].name
    answer.answer.append(from_text(name, 0, "IN", "CNAME", name.to_text()))
    return answer


NO_ADDRESS: Final = {
    "absent.example.com": (Fault.NOT_FOUND, "dns_not_found"),
    "mail-only.example.com": (Fault.NOT_FOUND, "dns_not_found"),
    "mx.invalid": (Fault.NOT_FOUND, "dns_not_found"),
    "broken.example.com": (Fault.LOOKUP_FAILED, "dns_failed"),
    "closed.example.com": (Fault.LOOKUP_FAILED, "dns_failed"),
    "mute.example.com": (Fault.TIMEOUT, "dns_timeout"),
    "lies.example.com": (Fault.TIMEOUT, "dns_timeout"),
    "forged.example.com": (Fault.TIMEOUT, "dns_timeout"),
    "circle.example.com": (Fault.LOOKUP_FAILED, "dns_failed"),
}


@pytest.mark.parametrize("host", NO_ADDRESS)
async def test_why_a_name_has_no_address_is_told(host: str, dns: DnsServer) -> None:
    """That it is not there, that its DNS is broken, and that nobody answers, are three things."""
    dns.add("mail-only.example.com", "TXT", '"v=spf1 -all"')
    dns.behave("broken.example.com", servfail)
    dns.behave("closed.example.com", refuse)
    dns.behave("mute.example.com", silent)
    dns.behave("lies.example.com", lying)
    dns.behave("forged.example.com", misnumber)
    dns.behave("circle.example.com", circular)
    async with SmtpServer() as server:
        failure = await refusal(server, host=host, timeouts=IMPATIENT, network=look_up_by(dns))
    fault, word = NO_ADDRESS[host]
    assert (failure.stage, failure.fault) == (Stage.DNS, fault)
    assert classify(failure, fresh=True, authenticated=False).classification == word


async def test_one_familys_broken_lookup_does_not_hide_the_others_address(dns: DnsServer) -> None:
    """Some servers answer SERVFAIL for AAAA, since they have never heard of it."""
    dns.add("old.example.com", "A", "127.0.0.1")
    dns.behave("old.example.com", servfail, kind="AAAA")
    assert await _look_up(dns, "old.example.com") == ["127.0.0.1"]


async def test_one_familys_silence_holds_the_other_up_for_a_moment_only(dns: DnsServer) -> None:
    """Others drop questions for AAAA; not every new connection shall wait for its whole time."""
    dns.add("old.example.com", "A", "127.0.0.1")
    dns.behave("old.example.com", silent, kind="AAAA")
    async with asyncio.timeout(60):
        assert await _look_up(dns, "old.example.com", seconds=600) == ["127.0.0.1"]


async def test_a_long_answer_and_an_alias_are_followed(dns: DnsServer) -> None:
    """A truncated answer is asked for again over TCP."""
    dns.add("relay.example.com", "CNAME", "pool.example.com.")
    dns.add("pool.example.com", "A", *(f"127.0.1.{n}" for n in range(1, 100)))
    addresses = await _look_up(dns, "relay.example.com")
    assert len({address for address in addresses if address.startswith("127.0.1.")}) == 16


async def test_both_families_are_tried_in_turn(dns: DnsServer) -> None:
    """IPv6 first (RFC 8305 section 4)."""
    dns.add("both.example.com", "A", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    dns.add("both.example.com", "AAAA", "2001:db8::1")
    addresses = await _look_up(dns, "both.example.com")
    assert addresses[0] == "2001:db8::1"
    assert sorted(addresses[1:]) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


async def test_the_hosts_file_is_read_first(dns: DnsServer, tmp_path: Path) -> None:
    """As it stands now; `localhost` is known without one (RFC 6761)."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.5 Relay.example.com relay # ours\nnonsense\n")
    resolver = Resolver([dns.address], hosts=hosts)
    assert [str(address) for address in await resolver.addresses("relay.example.com", 5)] == [
        "127.0.0.5"
    ]
    hosts.write_text("127.0.0.6 relay.example.com\n")
    assert [str(address) for address in await resolver.addresses("relay.example.com", 5)] == [
        "127.0.0.6"
    ]
    assert "127.0.0.1" in map(str, await resolver.addresses("localhost", 5))
    assert dns.asked == []


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("relay", ["relay.ns.svc.cluster.local"]),
        ("relay.ns", ["relay.ns.ns.svc.cluster.local", "relay.ns.svc.cluster.local"]),
        (
            "mx.example.com",
            [
                "mx.example.com.ns.svc.cluster.local",
                "mx.example.com.svc.cluster.local",
                "mx.example.com",
            ],
        ),
    ],
)
async def test_search_domains_are_tried_as_resolv_conf_says(
    host: str, names: list[str], dns: DnsServer, tmp_path: Path
) -> None:
    """As in Kubernetes: a name with fewer than five dots is looked for in the cluster first."""
    conf = _conf(tmp_path, "search ns.svc.cluster.local svc.cluster.local", "options ndots:5")
    for name in ("relay.ns.svc.cluster.local", "mx.example.com"):
        dns.add(name, "A", "127.0.0.1")
    await Resolver([dns.address], conf=conf).addresses(host, 5)
    assert [name for name, kind in dns.asked if kind == "A"] == names


@pytest.mark.parametrize("lines", [[], ["nonsense"], ["nameserver of-ours"], ["search a..b"]])
async def test_a_machine_without_a_usable_resolv_conf_still_starts(
    lines: list[str], dns: DnsServer, tmp_path: Path
) -> None:
    """It may get one later; addresses and the hosts file work without."""
    resolver = Resolver(conf=_conf(tmp_path, *lines))
    assert await resolver.addresses("192.0.2.1", 5) == [ipaddress.ip_address("192.0.2.1")]
    assert await resolver.addresses("localhost", 5)
    dns.add("mx.example.com", "A", "127.0.0.1")
    assert await _look_up(dns, "mx.example.com", conf=_conf(tmp_path, *lines)) == ["127.0.0.1"]


async def test_resolv_conf_is_read_again_when_it_changes(dns: DnsServer, tmp_path: Path) -> None:
    """A service that starts before the network does need not be started again."""
    dns.add("relay.late.example.com", "A", "127.0.0.1")
    conf = tmp_path / "resolv.conf"
    resolver = Resolver([dns.address], conf=conf)
    with pytest.raises(StageFailedError, match="not in the DNS"):
        await resolver.addresses("relay", 5)
    _conf(tmp_path, "search late.example.com")
    assert await resolver.addresses("relay", 5) == [ipaddress.ip_address("127.0.0.1")]


async def test_an_answer_is_kept_for_its_time_to_live() -> None:
    """And no longer."""
    with DnsServer(ttl=60) as lasting, DnsServer(ttl=0) as fleeting:
        for server, query_count in ((lasting, 2), (fleeting, 4)):
            server.add("mx.example.com", "A", "127.0.0.1")
            server.add("mx.example.com", "AAAA", "::1")
            resolver = Resolver([server.address])
            await resolver.addresses("mx.example.com", 5)
            await resolver.addresses("mx.example.com", 5)
            assert len(server.asked) == query_count


async def test_a_name_is_found_as_soon_as_it_is_there(dns: DnsServer) -> None:
    """That it was not there before is not kept: whoever mends it need not wait to see it work."""
    resolver = Resolver([dns.address])
    with pytest.raises(StageFailedError, match="not in the DNS"):
        await resolver.addresses("mx.example.com", 5)
    dns.add("mx.example.com", "A", "127.0.0.1")
    assert await resolver.addresses("mx.example.com", 5) == [ipaddress.ip_address("127.0.0.1")]


async def test_the_names_of_an_address_are_found(dns: DnsServer) -> None:
    """In lower case, without the last dot; one that has none says so."""
    dns.point("192.0.2.1", "Mail.example.com")
    resolver = Resolver([dns.address])
    assert await resolver.pointers("192.0.2.1", 5) == ["mail.example.com"]
    with pytest.raises(StageFailedError, match="not in the DNS"):
        await resolver.pointers("2001:db8::1", 5)
