"""Prepare submitted content: take out options and Bcc, add Received, repair what MIME allows.

All other bytes stay as they are (RFC 6409 section 8).
"""

import re
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from app.domain.errors import InvalidRequest
from app.domain.mime.blocks import join_blocks
from app.domain.mime.header_reader import MAX_HEADER_BYTES, Header, check_bound, read_header
from app.domain.mime.long_lines import encode_long_lines
from app.domain.mime.raw import MAX_HOPS
from app.domain.value import frozen_dataclass
from app.submission.options import Options, is_option, read_options

# More than this many of our own Received fields mean that messages come back to us.
MAX_OWN_HOPS: Final = 5
CRLF: Final = b"\r\n"
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")


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
            f" id {self.session_id};\r\n {format_datetime(self.now)}\r\n"
        ).encode()


@frozen_dataclass
class Prepared:
    """A message ready for acceptance, its options and header as submitted, its Received field."""

    mime: bytes
    options: Options
    header: Header
    received: bytes


def prepare_content(content: bytes, trace: Trace) -> Prepared:
    """Return the message as it is accepted; raises InvalidRequest or RefusedContent."""
    try:
        return _prepare(content, trace)
    except ValueError as error:
        raise RefusedContent(f"The message cannot be sent: {error}") from None


def _prepare(content: bytes, trace: Trace) -> Prepared:
    end = 0 if content.startswith(CRLF) else content.find(b"\r\n\r\n") + len(CRLF)
    if end == len(CRLF) - 1:  # a header without a body needs no empty line (RFC 5322 section 2.1)
        end = len(content)
    check_bound("its header has", end, "bytes", MAX_HEADER_BYTES)
    header = read_header(content, 0, end)
    _check_loop(header, trace.hostname)
    kept = _FIELD.sub(_drop_private_field, content[:end])
    body = content[end:] or CRLF
    mime = encode_long_lines(join_blocks([kept, body]))
    return Prepared(mime, read_options(header), header, trace.field())


def _drop_private_field(match: re.Match[bytes]) -> bytes:
    name = match[1].decode().lower()
    return b"" if name == "bcc" or is_option(name) else match[0]


def _check_loop(header: Header, hostname: str) -> None:
    hops = header.get_all("received")
    own = sum(f" by {hostname} (Heloise)" in hop for hop in hops)
    if len(hops) > MAX_HOPS or own > MAX_OWN_HOPS:
        raise RefusedContent(
            f"The message has {len(hops)} Received fields, {own} of this server: it is in a mail"
            " loop",
            "5.4.6",
        )
