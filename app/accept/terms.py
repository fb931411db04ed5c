"""Define the limits and rules that apply to a caller's messages."""

from collections.abc import Callable, Sequence
from datetime import datetime

from app.accept.policy import SenderRule
from app.domain.mime.dkim import UNSIGNED, Signing
from app.domain.tenants.routing import EVERYBODY, Routing
from app.domain.types import SealedContent
from app.domain.value import value

SealContent = Callable[..., SealedContent]  # `Vault.seal_content`


@value(kw_only=True)
class Terms:
    """Whom it may be from and go to, how large it may be, and how long it is tried at most.

    It is accepted `now`; a sensitive one is sealed with `seal_content`. `signing` says whose
    messages are signed.
    """

    allowed_from: Sequence[SenderRule] = ()
    routing: Routing = EVERYBODY
    now: datetime
    max_message_bytes: int
    max_age_seconds: float
    seal_content: SealContent
    signing: Signing = UNSIGNED
