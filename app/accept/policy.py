"""Define the rules for a caller's messages, and check senders and recipients against them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from app.domain.address.parse import is_allowed
from app.domain.errors import Forbidden
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.mime.dkim import NO_SIGNING, Signing
from app.domain.tenants.routing import NO_RULES, Routing
from app.domain.types import NamedAddress, Origin, Profile, RecipientAddress, SealedContent

SealContent = Callable[..., SealedContent]  # `Vault.seal_content`


@frozen_dataclass
class SenderRule:
    """The senders that `owner` allows; without patterns any. `owner` begins a sentence."""

    owner: str
    patterns: Sequence[str]

    def check(self, sender: NamedAddress) -> None:
        """Raise Forbidden unless a pattern matches."""
        if is_allowed(sender, self.patterns):
            return
        raise Forbidden(
            "sender-not-allowed",
            f"{self.owner} does not allow the sender {sender.address}. It allows"
            f" {', '.join(self.patterns)}: use such an address in `from`, or add this one to its"
            " allowed_from.",
        )


@frozen_dataclass(kw_only=True)
class AcceptPolicy:
    """Allowed senders and recipients, size and lifetime of a message.

    `now` is the time of acceptance. `seal_content` encrypts sensitive messages. `signing` has the
    DKIM signers.
    """

    origin: Origin
    allowed_from: Sequence[SenderRule] = ()
    routing: Routing = NO_RULES
    now: datetime
    max_message_bytes: int
    max_age_seconds: float
    seal_content: SealContent
    signing: Signing = NO_SIGNING


def check_senders(
    sender: NamedAddress,
    submitter: NamedAddress | None,
    return_path: str | None,
    profile: Profile,
    rules: Sequence[SenderRule],
) -> None:
    """Raise Forbidden unless all three addresses match the same rules."""
    check_sender(sender, profile, rules)
    if submitter is not None:
        check_sender(submitter, profile, rules)
    if return_path:  # an empty one gets no bounces
        check_sender(NamedAddress(return_path), profile, rules)


def check_sender(sender: NamedAddress, profile: Profile, rules: Iterable[SenderRule]) -> None:
    """Raise Forbidden unless the profile and all rules allow the sender."""
    for rule in (SenderRule(f"The profile {profile.name!r}", profile.allowed_from), *rules):
        rule.check(sender)


def check_recipients(recipients: Iterable[RecipientAddress], routing: Routing) -> None:
    """Raise Forbidden if a recipient is neither allowed nor redirected."""
    for recipient in recipients:
        address = recipient.named_address.address
        if routing.destination(address) is None and not routing.is_simulated(address):
            domains = [", ".join(rule.domains) for rule in routing.rules if rule.domains]
            raise Forbidden(
                "recipient-not-allowed",
                f"The recipient {address} is not allowed: allowed_recipient_domains of the tenant"
                f" or the service allows only {', and of these '.join(domains)}. Add its domain"
                " there, or set redirect_all_to to receive such messages yourself.",
            )
