"""Prepare submitted content: take out options and Bcc, add Received, repair what MIME allows.

All other bytes stay as they are (RFC 6409 section 8).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.errors import InvalidRequest
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.mime.build import format_date
from app.domain.mime.byte_blocks import join_blocks
from app.domain.mime.header_reader import MAX_HEADER_BYTES, Header, check_bound, read_header
from app.domain.mime.long_lines import encode_long_lines
from app.domain.mime.raw import MAX_HOPS
from app.submission.header_options import Options, is_option, read_options

# More than this many of our own Received fields mean that messages come back to us.
MAX_OWN_HOPS: Final = 5
CRLF: Final = b"\r\n"
# Tried only where a line begins, so the time is linear in the header's size.
_FIELD: Final = re.compile(rb"^([!-9;-~]+)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.MULTILINE)
_HOST: Final = re.compile(r"(?![0-9.]+\Z)[A-Za-z0-9._-]{1,255}")  # but no IPv4 address


class RefusedContent(InvalidRequest):
    """The content cannot be sent, whatever the envelope; `enhanced_code` is the reply's."""

    def __init__(self, detail: str, enhanced_code: str = "5.6.0") -> None:
        super().__init__(detail)
        self.enhanced_code = enhanced_code


@frozen_dataclass(kw_only=True)
class Trace:
    """What the Received field says (RFC 5321 section 4.4); `client` is None to conceal it."""

    client: str | None
    client_name: str
    hostname: str
    session_id: str
    is_tls: bool
    now: datetime

    def field(self) -> bytes:
        """The field, with its line end. Of the client's name, only a host's name is repeated."""
        name = self.client_name if _HOST.fullmatch(self.client_name) else "unknown"
        address = f" ([{self.client}])" if self.client else ""
        protocol = "ESMTPSA" if self.is_tls else "ESMTPA"  # RFC 3848
        return (
            f"Received: from {name}{address}\r\n by {self.hostname} (Heloise) with {protocol}"
            f" id {self.session_id};\r\n {format_date(self.now)}\r\n"
        ).encode()


@dataclass(slots=True)
class Content:
    """The data of a mail transaction, with its header, which ends before the empty line."""

    data: bytes
    header_end: int
    header: Header
    options: Options

    @property
    def body(self) -> memoryview:
        """What follows the header: the empty line, and the body."""
        return memoryview(self.data)[self.header_end :]


def read_content(data: bytes, hostname: str) -> Content:
    """Read the header, at a cost that `MAX_HEADER_BYTES` bounds.

    Raises InvalidRequest or RefusedContent.
    """
    end = 0 if data.startswith(CRLF) else _find_header_end(data)
    try:
        check_bound("its header has", end, "bytes", MAX_HEADER_BYTES)
        header = read_header(data, 0, end)
    except ValueError as error:
        raise _refusal(error) from None
    _check_loop(header, hostname)
    return Content(data, end, header, read_options(header))


def build_mime(content: Content) -> bytes:
    """Return the message as it is accepted, and release the data; raises RefusedContent.

    The message's author decides what this costs, so it belongs in a thread.
    """
    values = content.header.values
    if len(content.body) and not any(_is_dropped(name, values[name]) for name in values):
        mime = content.data
    else:
        header = _FIELD.sub(_drop_field, content.data[: content.header_end])
        mime = join_blocks([header, content.body or CRLF])
    content.data = b""
    try:
        return encode_long_lines(mime)
    except ValueError as error:
        raise _refusal(error) from None


def _refusal(error: ValueError) -> RefusedContent:
    return RefusedContent(f"The message cannot be sent: {error}")


def _find_header_end(data: bytes) -> int:
    """Return where the last field ends."""
    end = data.find(CRLF + CRLF, 0, MAX_HEADER_BYTES + 2 * len(CRLF))
    # A header without a body needs no empty line (RFC 5322 section 2.1).
    return len(data) if end < 0 else end + len(CRLF)


def _drop_field(match: re.Match[bytes]) -> bytes:
    value = match[0].partition(b":")[2].strip()
    return b"" if _is_dropped(match[1].decode().lower(), [value]) else match[0]


def _is_dropped(name: str, values: Sequence[str | bytes]) -> bool:
    """Whether a field, its name in lower case, is Bcc, an option, or a Message-ID without a value.

    Acceptance adds a Message-ID in place of that one.
    """
    return name == "bcc" or is_option(name) or (name == "message-id" and not all(values))


def _check_loop(header: Header, hostname: str) -> None:
    hops = header.get_all("received")
    own = sum(f" by {hostname} (Heloise)" in hop for hop in hops)
    if len(hops) > MAX_HOPS or own > MAX_OWN_HOPS:
        raise RefusedContent(
            f"The message has {len(hops)} Received fields, {own} of this server: it is in a mail"
            " loop",
            "5.4.6",
        )
