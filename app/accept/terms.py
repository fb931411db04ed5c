"""Define the limits and rules for a caller's messages."""

from collections.abc import Callable, Sequence
from datetime import datetime

from app.accept.policy import SenderRule
from app.domain.mime.dkim import NO_SIGNING, Signing
from app.domain.tenants.routing import NO_RULES, Routing
from app.domain.types import Origin, SealedContent
from app.domain.value import frozen_dataclass

SealContent = Callable[..., SealedContent]  # `Vault.seal_content`


@frozen_dataclass(kw_only=True)
class AcceptPolicy:
    """Allowed senders and recipients, size and lifetime of a message.

    `origin` is who sends it, `now` its acceptance. `seal_content` encrypts sensitive messages.
    `signing` has the DKIM signers.
    """

    origin: Origin
    allowed_from: Sequence[SenderRule] = ()
    routing: Routing = NO_RULES
    now: datetime
    max_message_bytes: int
    max_age_seconds: float
    seal_content: SealContent
    signing: Signing = NO_SIGNING
