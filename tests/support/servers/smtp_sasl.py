"""The server's part of SCRAM-SHA-256, XOAUTH2 and OAUTHBEARER."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from scramp import ScramException, ScramMechanism

if TYPE_CHECKING:
    from tests.support.servers.smtp_server import SmtpServer

Challenge = Callable[[str], Awaitable[str]]

REFUSED: Final = json.dumps({"status": "401", "schemes": "bearer", "scope": "https://mail.test/"})


async def scram(initial: str, challenge: Challenge, users: Mapping[str, str]) -> tuple[str, bool]:
    """Who logs in, and whether the proof was right (RFC 5802 section 3)."""
    mechanism = ScramMechanism("SCRAM-SHA-256")
    names = list[str]()

    def known(name: str) -> tuple[bytes, bytes, bytes, int] | None:
        names.append(name)
        return mechanism.make_auth_info(users[name]) if name in users else None

    server = mechanism.make_server(known)
    try:
        server.set_client_first(_text(initial or await challenge("")))
        server.set_client_final(_text(await challenge(server.get_server_first())))
    except ScramException:
        return "".join(names), False
    assert await challenge(server.get_server_final()) == ""
    return names[0], True


async def bearer(
    mechanism: str, initial: str, challenge: Challenge, server: "SmtpServer"
) -> tuple[str, bool]:
    """Who logs in, and whether the token is the one of that user; the whole string is checked."""
    response = _text(initial or await challenge(""))
    name, token = (
        _xoauth2(response) if mechanism == "XOAUTH2" else _oauthbearer(response, server.port)
    )
    if server.tokens.get(name) == token:
        return name, True
    assert _text(await challenge(REFUSED)) == ("" if mechanism == "XOAUTH2" else "\1")
    return name, False


def _xoauth2(response: str) -> tuple[str, str]:
    match = re.fullmatch("user=([^\1]*)\1auth=Bearer ([!-~]+)\1\1", response)
    assert match is not None, "no XOAUTH2"
    return match[1], match[2]


def _oauthbearer(response: str, port: int) -> tuple[str, str]:
    """RFC 7628 section 3.1."""
    match = re.fullmatch(
        f"n,a=((?:[^=,\1]|=2C|=3D)*),\1host=127\\.0\\.0\\.1\1port={port}\1auth=Bearer ([!-~]+)\1\1",
        response,
    )
    assert match is not None, "no OAUTHBEARER"
    return match[1].replace("=2C", ",").replace("=3D", "="), match[2]


def _text(words: str) -> str:
    return base64.b64decode(words, validate=True).decode()
