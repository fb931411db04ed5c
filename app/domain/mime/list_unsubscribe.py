"""Write `List-Unsubscribe` headers (RFC 2369) with one-click (RFC 8058)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from app.domain.address.parse import make_named_address
from app.domain.urls import parse_url

MAX_URL_BYTES: Final = 800  # it must fit on one line
# The default subject; a list's tag may follow. `domain.inbound.bounce_parser` reads it.
UNSUBSCRIBE: Final = re.compile(r"unsubscribe(?:[\s:]+(\S.*))?", re.IGNORECASE)

_SCHEME: Final = re.compile(r"mailto:", re.IGNORECASE)
_MAILTO: Final = re.compile(r"(.*?@[^?@]*)(?:\?(.*))?")  # the local part may contain `?`
# Characters that `mailto:` allows unencoded in an address (RFC 6068 section 2).
_IN_LOCAL_PART: Final = "!$'*+"


def parse_page(text: str) -> str:
    """Normalize a page's URL to ASCII; raise ValueError if invalid or too long."""
    return _check_length(parse_url(text))


def parse_mailto(text: str) -> str:
    """Normalize a `mailto:` target: an address and the subject of the request.

    Accepts it with or without scheme, with `?subject=` and `body=` (RFC 6068); the default subject
    is `unsubscribe`. Raises ValueError with a correction.
    """
    is_uri = _SCHEME.match(text) is not None
    match = _MAILTO.fullmatch(_SCHEME.sub("", text, count=1))
    address, fields = (text, None) if match is None else match.groups()
    named_address = make_named_address(unquote(address) if is_uri else address)
    pairs = (pair.partition("=")[::2] for pair in (fields or "").split("&") if pair)
    parameters = {name.lower(): unquote(value) for name, value in pairs}
    if not parameters.keys() <= {"subject", "body"}:
        raise ValueError("write only subject= and body= after the address")
    subject = parameters.get("subject") or "unsubscribe"
    if UNSUBSCRIBE.fullmatch(subject) is None:
        raise ValueError(
            "write the subject `unsubscribe`, or `unsubscribe` and a tag, which Heloise recognizes"
            " when the mail comes back; for another subject, write List-Unsubscribe in `headers`"
        )
    local, _, domain = named_address.address.rpartition("@")
    query_parameters = {"subject": subject} | (
        {"body": body} if (body := parameters.get("body")) else {}
    )
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in query_parameters.items())
    return _check_length(f"{quote(local, safe=_IN_LOCAL_PART)}@{domain}?{query}")


def _check_length(text: str) -> str:
    if len(text) > MAX_URL_BYTES:
        raise ValueError(
            f"has {len(text)} bytes in ASCII; write at most {MAX_URL_BYTES}, which fit into a"
            " header line"
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUnsubscribe:
    """A page, an address or both; with `is_one_click`, one POST to the page is enough.

    `url` comes from `parse_page`, `mailto` from `parse_mailto`. Raises ValueError for an invalid
    combination.
    """

    url: str | None = None
    mailto: str | None = None
    is_one_click: bool = False

    def __post_init__(self) -> None:
        if self.url is None and self.mailto is None:
            raise ValueError("set a url, a mailto address, or both")
        if self.is_one_click and not (self.url or "").startswith("https://"):
            raise ValueError("one click needs an https:// url (RFC 8058 section 3.1)")

    def fields(self) -> dict[str, str]:
        """Return the header fields."""
        ways = [self.url, None if self.mailto is None else f"mailto:{self.mailto}"]
        fields = {"List-Unsubscribe": ", ".join(f"<{way}>" for way in ways if way is not None)}
        if self.is_one_click:
            fields["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        return fields
