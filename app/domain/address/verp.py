"""Build variable envelope return paths (VERP): a bounce address per recipient.

The recipient's token follows a `+` in the local part (RFC 5233):
`bounces+<message>-<recipient>@example.com`.
"""

import re
from typing import Final

MAX_LOCAL_BYTES: Final = 64  # RFC 5321 section 4.5.3.1.1
TOKEN_CHARACTERS: Final = len("+") + 32 + len("-999")
MAX_BASE_BYTES: Final = MAX_LOCAL_BYTES - TOKEN_CHARACTERS
_TOKEN: Final = re.compile(r".*\+([0-9a-f]{32})-([0-9]{1,3})", re.DOTALL)


def check_base(address: str) -> None:
    """Raise ValueError if an address has no room for the recipient's token."""
    local = address.rpartition("@")[0]
    if not local:
        raise ValueError("verp needs a return_path: an empty one gets no bounces")
    if local.startswith('"'):
        raise ValueError(f"the local part of {address} is quoted; use a return_path without quotes")
    if len(local.encode()) > MAX_BASE_BYTES:
        raise ValueError(
            f"the local part of {address} may have at most {MAX_BASE_BYTES} bytes, to leave room"
            " for the recipient"
        )


def build_return_path(base: str, message_id: str, position: int) -> str:
    """Build the return path for the recipient at a position of a message."""
    local, _, domain = base.rpartition("@")
    return f"{local}+{message_id.rpartition('_')[2]}-{position}@{domain}"


def parse_return_path(address: str) -> tuple[str, int] | None:
    """Return the message id and the recipient's position, or None."""
    match = _TOKEN.fullmatch(address.rpartition("@")[0].lower())
    return None if match is None else (f"msg_{match[1]}", int(match[2]))
