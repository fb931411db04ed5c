"""The name to greet with: which are taken, why others are not, and which one will be used."""

import ipaddress
import re
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.ehlo import (
    EffectiveEhlo,
    EhloNames,
    EhloSource,
    effective_ehlo,
    format_address_literal,
    is_private,
    parse_ehlo_name,
)

LONGEST: Final = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 63])

TAKEN: Final = [
    ("mail.example.com", "mail.example.com"),
    ("Mail.EXAMPLE.com", "mail.example.com"),
    ("mail.example.com.", "mail.example.com"),
    ("a.b", "a.b"),
    ("3com.example", "3com.example"),
    ("x--y.example.com", "x--y.example.com"),
    ("1.2.3.4.example.com", "1.2.3.4.example.com"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ("mail。example。com。é.fr", "mail.example.com.xn--9ca.fr"),
    (f"{'a' * 63}.com", f"{'a' * 63}.com"),
    (LONGEST, LONGEST),
    ("host.localdomain", "host.localdomain"),
    ("[192.0.2.1]", "[192.0.2.1]"),
    ("[127.0.0.1]", "[127.0.0.1]"),
    ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
    ("[ipv6:2001:DB8:0:0::1]", "[IPv6:2001:db8::1]"),
    ("[IPv6:::1]", "[IPv6:::1]"),
    ("[IPv6:::ffff:192.0.2.1]", "[192.0.2.1]"),
]


@pytest.mark.parametrize(("given_name", "name"), TAKEN)
def test_a_full_domain_name_or_an_address_literal_is_taken(given_name: str, name: str) -> None:
    """RFC 5321 sections 4.1.2 and 4.1.3, in its one usual form."""
    assert parse_ehlo_name(given_name) == name


REFUSED: Final = [
    ("", "empty", "mail.example.com"),
    ("localhost", "strict servers refuse localhost", "mail.example.com"),
    ("LOCALHOST.", "strict servers refuse localhost", "mail.example.com"),
    ("localhost.localdomain", "strict servers refuse", "mail.example.com"),
    ("app.localhost", "strict servers refuse", "mail.example.com"),
    ("4f2a9c1b77de", "without a domain", "mail.example.com"),
    ("pod-name-7c9f", "without a domain", "mail.example.com"),
    ("mail", "without a domain", "mail.example.com"),
    ("127.0.0.1", "bare IP address", "[127.0.0.1]"),
    ("2001:db8::1", "bare IP address", "[IPv6:2001:db8::1]"),
    ("fe80::1%eth0", "bare IP address", "[IPv6:fe80::1]"),
    ("127.1", "number", "mail.example.com"),
    ("mail.0x7f", "number", "mail.example.com"),
    ("under_score.example.com", "underscore", "mail.example.com"),
    ("mail.example.com\r\nMAIL FROM:<x@y>", "control character", "mail.example.com"),
    ("mail.example.com\n", "control character", "mail.example.com"),
    ("mail\0.example.com", "control character", "mail.example.com"),
    ("mail\x7f.example.com", "control character", "mail.example.com"),
    ("mail example.com", "space", "mail.example.com"),
    (" mail.example.com", "space", "mail.example.com"),
    ("mail\N{NO-BREAK SPACE}.example.com", "space", "mail.example.com"),
    ("-bad.example.com", "hyphen", "mail.example.com"),
    ("bad-.example.com", "hyphen", "mail.example.com"),
    ("a..example.com", "dots", "mail.example.com"),
    (".example.com", "dots", "mail.example.com"),
    ("mail.example.com..", "dots", "mail.example.com"),
    (".", "dot", "mail.example.com"),
    (f"{'a' * 64}.example.com", "63", "63"),
    (f"{LONGEST}.e", "255", "255"),
    ("mail@example.com", "letters, digits, hyphens", "mail.example.com"),
    ("mail.example.com:25", "letters, digits, hyphens", "mail.example.com"),
    ("mail.example.com/24", "letters, digits, hyphens", "mail.example.com"),
    ("☃️‍.example.com", "ASCII", "mail.example.com"),
    ("\ud800.example.com", "ASCII", "mail.example.com"),
    ("[::1]", "write [IPv6:::1]", "[IPv6:::1]"),
    ("[IPv6:192.0.2.1]", "write [192.0.2.1]", "[192.0.2.1]"),
    ("[192.0.2.1", "not an address literal", "[192.0.2.1]"),
    ("192.0.2.1]", "not an address literal", "[192.0.2.1]"),
    ("[192.0.2.256]", "not an address literal", "[192.0.2.1]"),
    ("[192.0.2]", "not an address literal", "[192.0.2.1]"),
    ("[]", "not an address literal", "[192.0.2.1]"),
    ("[mail.example.com]", "not an address literal", "domain name"),
    ("[IPv6:fe80::1%eth0]", "zone", "leave out"),
]


@pytest.mark.parametrize(("name", "reason", "instead"), REFUSED)
def test_any_other_is_refused_with_what_to_write_instead(
    name: str, reason: str, instead: str
) -> None:
    """The reason names what is wrong, without quoting control characters."""
    with pytest.raises(ValueError, match=re.escape(reason)) as excinfo:
        parse_ehlo_name(name)
    assert instead in str(excinfo.value)
    assert str(excinfo.value).isprintable()


def is_wellformed(name: str) -> bool:
    """A literal that `ipaddress` knows, or dotted labels of letters, digits and inner hyphens."""
    if name.startswith("["):
        return name == format_address_literal(name.strip("[]").removeprefix("IPv6:"))
    labels = name.split(".")
    return len(labels) > 1 and all(
        re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)", label) for label in labels
    )


NAMES: Final = st.one_of(
    st.text(max_size=80),
    st.text("aB1-._[]:Iv6é。ß☃ \r\n", max_size=40),
    st.ip_addresses().map(str),
    st.ip_addresses().map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[IPv6:{address}]"),
    st.lists(st.text("abc0-é", min_size=1, max_size=70), min_size=1, max_size=6).map(".".join),
)


@given(NAMES)
@example("[IPv6:::ffff:192.0.2.1]")
def test_what_is_taken_is_a_name_as_it_goes_on_the_wire(text: str) -> None:
    """ASCII, 255 octets at most, well-formed, and taken again as it is."""
    try:
        name = parse_ehlo_name(text)
    except ValueError:
        return
    assert name.isascii()
    assert len(name) <= 255
    assert is_wellformed(name)
    assert parse_ehlo_name(name) == name


@given(st.ip_addresses())
def test_any_address_has_a_literal_that_is_taken(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """So the ladder's last step is always one that a person could have written."""
    literal = format_address_literal(str(address))
    assert parse_ehlo_name(literal) == literal


LADDER: Final = {
    "profile": "profile.example.com",
    "tenant": "tenant.example.com",
    "service": "service.example.com",
    "hostname": "machine.example.com",
}


@pytest.mark.parametrize("step", range(5))
def test_the_first_name_of_the_ladder_is_used_and_says_where_it_is_from(step: int) -> None:
    """Profile, tenant, service, hostname, address literal."""
    names = {
        source: name if number >= step else None
        for number, (source, name) in enumerate(LADDER.items())
    }
    ehlo = effective_ehlo(EhloNames(**names), "192.0.2.1")
    source = list(EhloSource)[step]
    assert (ehlo.name, ehlo.source) == (LADDER.get(source.value, "[192.0.2.1]"), source)


def by_itself(hostname: str | None, local_address: str | None = "192.0.2.1") -> EffectiveEhlo:
    """What the machine alone leads to."""
    return effective_ehlo(EhloNames(hostname=hostname), local_address)


@pytest.mark.parametrize(
    "hostname",
    [
        None,
        "",
        "localhost",
        "localhost.localdomain",
        "localhost6.localdomain6",
        "4f2a9c1b77de",
        "pod-name-7c9f",
        "pod.ns.svc.cluster.local",
        "ip-10-0-0-1.eu-west-1.compute.internal",
        "machine.localdomain",
        "machine.lan",
        "machine.home.arpa",
        "machine.test",
        "machine.invalid",
        "under_score.example.com",
        "127.0.0.1",
        "::1",
        "[127.0.0.1]",
        "[::1]",
        "two words.example.com",
        "a.example.com\r\nMAIL",
    ],
)
def test_no_name_is_picked_that_means_nothing_outside(hostname: str | None) -> None:
    """Neither a container's id nor a private name: an address says more."""
    ehlo = by_itself(hostname)
    assert (ehlo.name, ehlo.source) == ("[192.0.2.1]", EhloSource.ADDRESS_LITERAL)


@given(NAMES)
def test_what_is_picked_by_itself_is_public_or_an_address(hostname: str) -> None:
    """Whatever the machine is called."""
    ehlo = by_itself(hostname)
    if ehlo.source is EhloSource.HOSTNAME:
        assert "." in ehlo.name
        assert not is_private(ehlo.name)
        assert not ehlo.name.startswith("[")
    assert is_wellformed(ehlo.name)


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("10.1.2.3", "[10.1.2.3]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::ffff:192.0.2.1", "[192.0.2.1]"),
        (None, "[127.0.0.1]"),
    ],
)
def test_the_last_step_is_the_sockets_own_address(address: str | None, literal: str) -> None:
    """RFC 5321 section 4.1.4: a client without a name greets with an address literal."""
    assert by_itself(None, address).name == literal


def test_a_public_host_name_is_picked_in_its_usual_form() -> None:
    """And it is told that it goes with the machine."""
    ehlo = by_itself("Machine.Example.COM.")
    assert (ehlo.name, ehlo.source) == ("machine.example.com", EhloSource.HOSTNAME)
    assert "Set ehlo_name" in ehlo.warnings[0]


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({}, "Set ehlo_name"),
        ({"profile": "[192.0.2.1]"}, "an address instead of a name"),
        ({"service": "mail.internal"}, "private"),
        ({"hostname": "machine.example.com"}, "changes with the machine"),
    ],
)
def test_names_that_servers_may_refuse_get_a_warning(fields: dict[str, str], warning: str) -> None:
    """Before a server says it."""
    ehlo = effective_ehlo(EhloNames(**fields), "192.0.2.1")
    assert any(warning in text for text in ehlo.warnings)


def test_a_public_name_of_the_profiles_own_has_no_warning() -> None:
    """There is nothing to say."""
    assert effective_ehlo(EhloNames(**LADDER), None).warnings == ()
