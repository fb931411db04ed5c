"""Track a server's EHLO extensions, and those that turn out to be broken.

A proxy or firewall in front of a server may announce more than the server supports. Heloise stops
using an extension that the server refuses.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from app.domain.clock import monotonic_seconds
from app.domain.outcome.failure_table import refuses_parameters
from app.domain.outcome.replies import Reply
from app.smtp.identity import Identity

_SIZE_LIMIT: Final = re.compile(r"[0-9]{1,20}")  # RFC 1870 section 4

DISTRUST_SECONDS: Final = 3600.0


class Extension(StrEnum):
    """Extensions that Heloise can do without; the values are fields of `Extensions`."""

    PIPELINING = "pipelining"
    CHUNKING = "chunking"
    SIZE = "size"
    BODY = "body"
    DSN = "dsn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """The extensions of a server that matter for mail transactions.

    `is_chunking_proved`: the server has accepted a chunk. `body`: BODY=8BITMIME is usable.
    `max_bytes` comes from SIZE.
    """

    pipelining: bool = False
    chunking: bool = False
    is_chunking_proved: bool = False
    size: bool = False
    max_bytes: int | None = None
    smtputf8: bool = False
    eight_bit: bool = False
    body: bool = True
    dsn: bool = False

    @classmethod
    def from_ehlo(cls, offered: Mapping[str, str]) -> Self:
        """Read the lower-case keywords of an EHLO reply, and their parameters."""
        limit = offered.get("size", "").strip()
        # RFC 1870: 0 or no value means no fixed limit.
        has_limit = _SIZE_LIMIT.fullmatch(limit) is not None and int(limit) > 0
        return cls(
            pipelining="pipelining" in offered,
            chunking="chunking" in offered,
            size="size" in offered,
            max_bytes=int(limit) if has_limit else None,
            smtputf8="smtputf8" in offered,
            eight_bit="8bitmime" in offered,
            dsn="dsn" in offered,
        )

    def without(self, refused: Collection[Extension]) -> Self:
        """Return a copy without the extensions that the server refused."""
        return replace(self, **dict.fromkeys(refused, False)) if refused else self


# The MAIL and RCPT parameters of each extension, and its names in replies.
_PARAMETERS: Final = {
    Extension.SIZE: ("SIZE", r"size"),
    Extension.BODY: ("BODY", r"body|8bitmime"),
    Extension.DSN: ("RET|ENVID|NOTIFY|ORCPT", r"dsn|ret|envid|notify|orcpt"),
}


def refused_extensions(reply: Reply, parameters: str) -> frozenset[Extension]:
    """Find the extensions that a reply refuses through a command's `parameters`.

    Returns those that the reply names, or else all that the parameters use. Empty if the reply
    refuses something else.
    """
    carried = {
        extension
        for extension, (words, _) in _PARAMETERS.items()
        if re.search(f" (?:{words})=", parameters) is not None
    }
    if not carried or not refuses_parameters(reply):
        return frozenset()
    named = {
        extension
        for extension in carried
        if re.search(rf"\b(?:{_PARAMETERS[extension][1]})\b", reply.text, re.IGNORECASE) is not None
    }
    return frozenset(named or carried)


class Distrust:
    """Remembers broken extensions by profile, and leaves each out for an hour.

    A profile learns only for itself, so a tenant cannot affect another one.
    """

    def __init__(self, monotonic: Callable[[], float] = monotonic_seconds) -> None:
        self._monotonic = monotonic
        self._until: dict[tuple[str, str, int], dict[Extension, float]] = {}

    def get(self, identity: Identity) -> frozenset[Extension]:
        """Return the extensions to leave out for this identity's server."""
        now = self._monotonic()
        until = self._until.get(_place(identity), {})
        return frozenset(extension for extension, end in until.items() if now < end)

    def add(self, identity: Identity, refused: Collection[Extension]) -> bool:
        """Leave these extensions out from now on; returns whether any is new."""
        news = frozenset(refused) - self.get(identity)
        if not news:
            return False
        now = self._monotonic()
        self._until = {
            place: until for place, until in self._until.items() if now < max(until.values())
        }
        ends = dict.fromkeys(news, now + DISTRUST_SECONDS)
        self._until[_place(identity)] = self._until.get(_place(identity), {}) | ends
        return True


def _place(identity: Identity) -> tuple[str, str, int]:
    return identity.profile_id, identity.host, identity.port
