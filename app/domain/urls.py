"""Parse and normalize URLs for mail and HTTP (RFC 3986)."""

import re
from typing import Final
from urllib.parse import quote, urlsplit

import idna

URL_FORM: Final = "write the whole URL, such as https://www.example.com/path"

_HOST: Final = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# RFC 3986 sections 3.3 and 3.4, and the percent sign of encoded characters.
_PATH: Final = "%/:@!$&'()*+,;=~"
_QUERY: Final = _PATH + "?"


def parse_url(text: str) -> str:
    """Normalize an HTTP URL to ASCII: lower-case scheme and host, characters encoded.

    A host in another script becomes its A-label (RFC 5890). Raises ValueError with a correction,
    also for a user name, a password or a fragment.
    """
    if any(character.isspace() for character in text):
        raise ValueError("contains a space; write a space as %20")
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError(URL_FORM) from None
    if url.scheme not in {"http", "https"} or not host or port == 0:
        raise ValueError(URL_FORM)
    if url.username is not None or url.fragment:
        raise ValueError("remove the user name, password and fragment from the URL")
    port_suffix = "" if port is None else f":{port}"
    query = f"?{_encode(url.query, _QUERY)}" if url.query else ""
    return f"{url.scheme}://{_normalize_host(host)}{port_suffix}{_encode(url.path, _PATH)}{query}"


def _normalize_host(host: str) -> str:
    if ":" in host:
        host = f"[{host}]"
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise ValueError(
                "ASCII cannot express the host (IDNA 2008); write another one"
            ) from None
    if _HOST.fullmatch(host) is None:
        raise ValueError(URL_FORM)
    return host


def _encode(part: str, allowed: str) -> str:
    return quote(_LONE_PERCENT.sub("%25", part), safe=allowed)
