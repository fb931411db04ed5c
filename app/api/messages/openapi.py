"""Declare what all operations that accept messages share in OpenAPI."""

from typing import Any, Final

from app.api.messages.examples import MESSAGE
from app.api.messages.idempotency import REPLAYED_HEADER
from app.api.openapi import Responses, location_header, tenant_problems

KEY_PROBLEMS: Final = ("idempotency-key-reused", "idempotency-key-in-flight")


def accept_responses(example: dict[str, Any], *problems: str, is_keyed: bool = True) -> Responses:
    """Document the responses of an operation that accepts messages.

    `problems` are added to the common ones; `is_keyed` says that it takes an idempotency key.
    """
    headers = location_header(f"/messages/{MESSAGE['id']}")
    return tenant_problems(
        *problems,
        "sender-not-allowed",
        "recipient-not-allowed",
        "profile-not-found",
        "quota-exceeded",
        "sending-quota-exceeded",
        "queue-full",
        "signing-key-unreadable",
        *(KEY_PROBLEMS if is_keyed else ()),
        has_body=True,
    ) | {
        202: {
            "headers": headers | REPLAYED_HEADER if is_keyed else headers,
            "content": {"application/json": {"example": example}},
        }
    }
