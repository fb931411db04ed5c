"""Declare what all operations that accept messages share in OpenAPI."""

from typing import Any, Final

from app.api.messages.examples import MESSAGE
from app.api.messages.idempotency import REPLAYED_HEADER
from app.api.openapi import Responses, location_header

ACCEPT_PROBLEMS: Final = (
    "sender-not-allowed",
    "recipient-not-allowed",
    "profile-not-found",
    "quota-exceeded",
    "sending-quota-exceeded",
    "queue-full",
    "signing-key-unreadable",
)
KEYED_PROBLEMS: Final = (
    *ACCEPT_PROBLEMS,
    "idempotency-key-reused",
    "idempotency-key-in-flight",
)


def accept_responses(example: dict[str, Any], *, is_keyed: bool = True) -> Responses:
    """Document the 202 of an operation that accepts messages, perhaps by an idempotency key."""
    headers = location_header(f"/messages/{MESSAGE['id']}")
    return {
        202: {
            "headers": headers | REPLAYED_HEADER if is_keyed else headers,
            "content": {"application/json": {"example": example}},
        }
    }
