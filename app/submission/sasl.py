"""Run the server's side of SASL without I/O: PLAIN (RFC 4616) and LOGIN (a draft)."""

from base64 import b64decode
from collections.abc import Generator
from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass

MAX_RESPONSE_BYTES: Final = 12_288  # RFC 4954 section 4
MAX_CREDENTIAL_CHARACTERS: Final = 1000
MECHANISMS: Final = ("PLAIN", "LOGIN")
CANCEL: Final = "*"
EMPTY: Final = "="
# "Username:" and "Password:" in base64: clients compare them letter by letter.
USERNAME_CHALLENGE: Final = "VXNlcm5hbWU6"
PASSWORD_CHALLENGE: Final = "UGFzc3dvcmQ6"  # noqa: S105 - no password


@frozen_dataclass
class Credentials:
    """What a client logs in with."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"


class SaslError(Exception):
    """The client's response is not one of the mechanism's."""


class SaslCancelledError(Exception):
    """The client ended the exchange with `*`."""


# Yields challenges in base64, is sent responses in base64, and returns the credentials.
Exchange = Generator[str, str, Credentials]


def begin(mechanism: str, initial: str | None) -> Exchange:
    """Return the server's side of a mechanism; `initial` is the initial response, if any.

    The exchange raises SaslError or SaslCancelledError.
    """
    return {"PLAIN": _plain, "LOGIN": _login}[mechanism](initial)


def _plain(initial: str | None) -> Exchange:
    response = (yield "") if initial is None else initial
    parts = _decode(response).split("\0")
    if len(parts) != 3:  # noqa: PLR2004 - authorization identity, name, password
        raise SaslError
    authorization_id, username, password = parts
    if authorization_id not in {"", username}:
        raise SaslError
    return _check(username, password)


def _login(initial: str | None) -> Exchange:
    username = _decode((yield USERNAME_CHALLENGE) if initial is None else initial)
    password = _decode((yield PASSWORD_CHALLENGE))
    return _check(username, password)


def _check(username: str, password: str) -> Credentials:
    if max(len(username), len(password)) > MAX_CREDENTIAL_CHARACTERS or not password:
        raise SaslError
    if "\0" in username or "\0" in password:  # LOGIN allows it; no database stores it
        raise SaslError
    return Credentials(username, password)


def _decode(response: str) -> str:
    if response == CANCEL:
        raise SaslCancelledError
    if response == EMPTY:
        return ""
    try:
        return b64decode(response, validate=True).decode()
    except ValueError:  # UnicodeDecodeError is one
        raise SaslError from None
