"""Generate prefixed UUIDv7 ids (RFC 9562 section 5.7), which sort by time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from uuid_utils import uuid7

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

Prefix = Literal[
    "msg",
    "prf",
    "ten",
    "key",
    "att",
    "wrk",
    "req",
    "cap",
    "aud",
    "sup",
    "tpl",  # template
    "evt",  # event
    "whk",  # webhook
    "whd",  # delivery to a webhook
    "wha",  # attempt of such a delivery
    "dom",  # sending domain
    "dkm",  # DKIM key
    "mbx",  # mailbox
    "pwh",  # webhook of an email provider
    "sub",  # a session of the submission server
    "ses",  # a session of the console
]

_ID: Final = re.compile(r"[a-z]{3}_[0-9a-f]{32}")


def new_id(prefix: Prefix) -> str:
    """Generate an id such as `msg_0193…`: prefix, underscore, 32 hex digits."""
    return f"{prefix}_{uuid7().hex}"


def first_id(prefix: Prefix, moment: datetime) -> str:
    """Return a lower bound for all ids generated at or after a moment."""
    return f"{prefix}_{max(0, (moment - EPOCH) // MILLISECOND):012x}"


def is_id(text: str, prefix: Prefix) -> bool:
    """Whether `text` has the form of an id with this prefix."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None
