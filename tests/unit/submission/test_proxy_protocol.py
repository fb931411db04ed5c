"""Any header is an address, none, or an error that the module declares."""

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.submission.proxy_protocol import (
    MAX_V2_BYTES,
    V2_HEAD,
    V2_SIGNATURE,
    ProxyHeaderError,
    parse_v1,
    parse_v2,
    v2_length,
)

WORDS = st.sampled_from([b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"192.0.2.7", b"::1", b"1", b""])
PORTS = st.integers(0, 65_535)


@given(st.lists(WORDS | st.binary(max_size=4), max_size=7).map(b" ".join))
def test_any_line_is_an_address_or_an_error(line: bytes) -> None:
    """Version 1."""
    with contextlib.suppress(ProxyHeaderError):
        client = parse_v1(line)
        assert client is None or (ipaddress.ip_address(client[0]) and 0 <= client[1] <= 65_535)


@given(
    st.binary(min_size=V2_HEAD.size, max_size=V2_HEAD.size)
    | st.builds(
        V2_HEAD.pack,
        st.just(V2_SIGNATURE),
        st.sampled_from([0x20, 0x21, 0x22, 0]),
        st.sampled_from([0, 0x11, 0x21, 0x31]),
        st.integers(0, 0xFFFF),
    ),
    st.binary(max_size=50),
)
def test_any_bytes_are_an_address_or_an_error(head: bytes, body: bytes) -> None:
    """Version 2, whose length is bounded."""
    with contextlib.suppress(ProxyHeaderError):
        assert v2_length(head) <= MAX_V2_BYTES
        client = parse_v2(head, body)
        assert client is None or ipaddress.ip_address(client[0])


@given(st.ip_addresses(), PORTS)
def test_an_address_is_read_as_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """In both versions; IPv4 within IPv6 is IPv4, as networks of keys have it."""
    mapped = getattr(address, "ipv4_mapped", None)
    expected = str(mapped or address), port
    line = f"PROXY TCP{address.version} {address} {address} {port} 25"
    assert parse_v1(line.encode()) == expected
    body = address.packed * 2 + struct.pack("!HH", port, 25)
    head = V2_HEAD.pack(V2_SIGNATURE, 0x21, 0x11 if address.version == 4 else 0x21, len(body))
    assert v2_length(head) == len(body)
    assert parse_v2(head, body) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP6 fe80::1%a\x01b ::1 1 25",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 1_0 25",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 +1 25",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 65536 25",
        b"PROXY  TCP4 192.0.2.7 192.0.2.8 1 25",
        b"proxy TCP4 192.0.2.7 192.0.2.8 1 25",
    ],
)
def test_lines_that_are_none(line: bytes) -> None:
    """Python reads more numbers and addresses than the protocol has."""
    with pytest.raises(ProxyHeaderError):
        parse_v1(line)
