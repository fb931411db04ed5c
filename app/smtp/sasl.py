"""Run SASL mechanisms without I/O.

PLAIN RFC 4616, LOGIN a draft, CRAM-MD5 RFC 2195, SCRAM-SHA-256 RFC 7677, OAUTHBEARER RFC 7628,
XOAUTH2 as Google and Microsoft publish it.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OAUTHBEARER: Final = "oauthbearer"
XOAUTH2: Final = "xoauth2"
SCRAM_SHA_256: Final = "scram-sha-256"
CRAM_MD5: Final = "cram-md5"
PLAIN: Final = "plain"
LOGIN: Final = "login"
OAUTH: Final = (OAUTHBEARER, XOAUTH2)

MAX_QUESTIONS: Final = 2
_USER: Final = re.compile(rb"user|login|name|account|mail", re.IGNORECASE)
_PASSWORD: Final = re.compile(rb"pass", re.IGNORECASE)


class Response(NamedTuple):
    """The client's next response; `data` is None if the server speaks first.

    `may_end`: 235 may follow.
    """

    data: bytes | None
    may_end: bool = False


Dialogue = Generator[Response, bytes, None]


class UnprovenError(Exception):
    """The server did not prove that it knows the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """SASL credentials; `repr` shows no secret."""

    username: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    host: str = ""
    port: int = 0


def start_dialogue(mechanism: str, credentials: Credentials) -> Dialogue:
    """Start the client's part of a mechanism; send it each challenge.

    Raises ValueError for an invalid challenge, and UnprovenError if the server does not know the
    password.
    """
    return {
        PLAIN: _plain,
        LOGIN: _login,
        CRAM_MD5: _cram_md5,
        SCRAM_SHA_256: _scram,
        OAUTHBEARER: _oauthbearer,
        XOAUTH2: _xoauth2,
    }[mechanism](credentials)


def plain_response(credentials: Credentials) -> bytes:
    """Encode PLAIN: empty authorization identity, user name, password (RFC 4616)."""
    return f"\0{credentials.username}\0{credentials.password}".encode()


def oauthbearer_response(credentials: Credentials) -> bytes:
    """Encode OAUTHBEARER with host and port (RFC 7628 section 3.1)."""
    # RFC 5801 section 4: the header must escape these two.
    name = credentials.username.replace("=", "=3D").replace(",", "=2C")
    where = f"host={credentials.host}\1port={credentials.port}"
    return f"n,a={name},\1{where}\1auth=Bearer {credentials.token}\1\1".encode()


def xoauth2_response(credentials: Credentials) -> bytes:
    """Encode XOAUTH2.

    See https://developers.google.com/workspace/gmail/imap/xoauth2-protocol.
    """
    return f"user={credentials.username}\1auth=Bearer {credentials.token}\1\1".encode()


def _plain(credentials: Credentials) -> Dialogue:
    yield Response(plain_response(credentials), may_end=True)


def _login(credentials: Credentials) -> Dialogue:
    # A server that ignores the user name on the AUTH line asks for it again. Answering with the
    # password would send it as a name.
    challenge = yield Response(credentials.username.encode())
    for _ in range(MAX_QUESTIONS):
        if not is_about_user(challenge):
            break
        challenge = yield Response(credentials.username.encode())
    else:
        return
    challenge = yield Response(credentials.password.encode(), may_end=True)
    if is_about_user(challenge):  # some servers ask in the other order
        yield Response(credentials.username.encode(), may_end=True)


def is_about_user(challenge: bytes) -> bool:
    """Whether LOGIN's question is for the user name."""
    question = _decode_question(challenge)
    return _USER.search(question) is not None and _PASSWORD.search(question) is None


def is_about_password(challenge: bytes) -> bool:
    """Whether LOGIN's question is for the password."""
    question = _decode_question(challenge)
    return _PASSWORD.search(question) is not None and _USER.search(question) is None


def _decode_question(challenge: bytes) -> bytes:
    try:
        return base64.b64decode(challenge, validate=True)
    except ValueError:
        return challenge


def _cram_md5(credentials: Credentials) -> Dialogue:
    challenge = yield Response(None)
    digest = hmac.new(credentials.password.encode(), _decode(challenge), hashlib.md5).hexdigest()
    yield Response(f"{credentials.username} {digest}".encode(), may_end=True)


def _scram(credentials: Credentials) -> Dialogue:
    from scramp import ScramClient, ScramException

    try:
        client = ScramClient(["SCRAM-SHA-256"], credentials.username, credentials.password)
        challenge = yield Response(client.get_client_first().encode())
        client.set_server_first(_decode(challenge).decode())
        proof: str = client.get_client_final()
    except ScramException as error:
        raise ValueError(str(error)) from None
    final = _decode((yield Response(proof.encode()))).decode()
    if final.startswith("e="):  # RFC 5802 section 7: a refusal; the reply reports it too
        yield Response(b"")
        return
    try:
        client.set_server_final(final)
    except ScramException:
        raise UnprovenError from None
    yield Response(b"", may_end=True)


def _oauthbearer(credentials: Credentials) -> Dialogue:
    yield Response(oauthbearer_response(credentials), may_end=True)
    yield Response(b"\1")  # RFC 7628 section 3.2.3: acknowledge the error


def _xoauth2(credentials: Credentials) -> Dialogue:
    yield Response(xoauth2_response(credentials), may_end=True)
    yield Response(b"")


def _decode(challenge: bytes) -> bytes:
    return base64.b64decode(challenge, validate=True)
