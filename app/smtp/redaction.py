"""Redact secrets in quoted text, in all their encodings."""

import base64
import re
from collections.abc import Iterable
from typing import Final

from app.domain.outcome.replies import make_printable
from app.smtp import sasl
from app.smtp.identity import Identity
from app.smtp.sasl import Credentials

REDACTED: Final = "***"
MIN_REDACTED_CHARACTERS: Final = 3


def make_credentials(identity: Identity, token: str | None = None) -> Credentials:
    """The identity's credentials."""
    return Credentials(
        username=identity.username or "",
        password=identity.password or "",
        token=token or "",
        host=identity.host,
        port=identity.port,
    )


def list_secret_forms(credentials: Credentials) -> tuple[str, ...]:
    """The password and the access token as they are, and as SASL encodes them; longest first."""
    forms = set[str]()
    if credentials.password:
        password = credentials.password.encode()
        # A password is stripped where it stands at the end of a line.
        forms |= {
            make_printable(credentials.password),
            make_printable(credentials.password.strip()),
        }
        forms |= {_base64(password), _base64(sasl.plain_response(credentials))}
    if credentials.token:
        messages = (sasl.xoauth2_response(credentials), sasl.oauthbearer_response(credentials))
        forms |= {
            make_printable(credentials.token),
            *map(_base64, (credentials.token.encode(), *messages)),
        }
    long_enough = (form for form in forms if len(form) >= MIN_REDACTED_CHARACTERS)
    return tuple(sorted(long_enough, key=len, reverse=True))


def redact(text: str, forms: Iterable[str]) -> str:
    """The text without these forms (invariant 9)."""
    lower_text = text.lower()
    for form in forms:
        if (
            form.lower() in lower_text
        ):  # each line of each message passes here: `re` costs ten times that
            text = re.sub(re.escape(form), REDACTED, text, flags=re.IGNORECASE)
    return text


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
