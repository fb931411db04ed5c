"""Read the client's address from a PROXY protocol header, versions 1 and 2, without I/O.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
"""

import ipaddress
import struct
from typing import Final

from app.domain.networks import normalize_address, unmap_ipv4

MAX_V1_BYTES: Final = 107
V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEAD: Final = struct.Struct("!12sBBH")
MAX_V2_BYTES: Final = 2048
MAX_PORT: Final = 65_535
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_IPV4: Final = 0x11
_IPV6: Final = 0x21

Address = tuple[str, int]


class ProxyHeaderError(Exception):
    """A trusted proxy sent something other than a PROXY header."""


def parse_v1(line: bytes) -> Address | None:
    """Return the client's address and port from a line without CRLF; None for UNKNOWN.

    Raises ProxyHeaderError.
    """
    match line.split(b" "):
        case [b"PROXY", b"UNKNOWN", *_]:
            return None
        case [b"PROXY", b"TCP4" | b"TCP6", client, _, port, _]:
            return _address(client, port)
        case _:
            raise ProxyHeaderError


def v2_length(head: bytes) -> int:
    """Return how many bytes follow a 16-byte head; raises ProxyHeaderError."""
    signature, _, _, length = V2_HEAD.unpack(head)
    if signature != V2_SIGNATURE or length > MAX_V2_BYTES:
        raise ProxyHeaderError
    return int(length)


def parse_v2(head: bytes, body: bytes) -> Address | None:
    """Return the client's address and port; None for LOCAL, as health checks send.

    Raises ProxyHeaderError.
    """
    _, command, family, _ = V2_HEAD.unpack(head)
    if command == _LOCAL:
        return None
    try:
        if (command, family) == (_PROXY, _IPV4):
            client, _, port, _ = struct.unpack_from("!4s4sHH", body)
        elif (command, family) == (_PROXY, _IPV6):
            client, _, port, _ = struct.unpack_from("!16s16sHH", body)
        else:
            raise ProxyHeaderError
    except struct.error:
        raise ProxyHeaderError from None
    return normalize_address(client), port


def _address(client: bytes, port: bytes) -> Address:
    try:
        address = ipaddress.ip_address(client.decode("ascii"))
    except ValueError:
        raise ProxyHeaderError from None
    # A zone would be any text, and `int` takes blanks, signs and underscores.
    if b"%" in client or not port.isdigit() or int(port) > MAX_PORT:
        raise ProxyHeaderError
    return str(unmap_ipv4(address)), int(port)
