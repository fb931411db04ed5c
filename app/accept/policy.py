"""Check senders and recipients against the rules of profile, tenant, key and service."""

from collections.abc import Iterable, Sequence

from app.domain.address.parse import is_allowed
from app.domain.errors import Forbidden
from app.domain.tenants.routing import Routing
from app.domain.types import Mailbox, Profile, RecipientAddress
from app.domain.value import frozen_dataclass


@frozen_dataclass
class SenderRule:
    """The senders that `owner` allows; without patterns any. `owner` begins a sentence."""

    owner: str
    patterns: Sequence[str]

    def check(self, sender: Mailbox) -> None:
        """Raise Forbidden unless a pattern matches."""
        if is_allowed(sender, self.patterns):
            return
        raise Forbidden(
            "sender-not-allowed",
            f"{self.owner} does not allow the sender {sender.address}. It allows"
            f" {', '.join(self.patterns)}: use such an address in `from`, or add this one to its"
            " allowed_from.",
        )


def check_senders(
    sender: Mailbox,
    submitter: Mailbox | None,
    return_path: str | None,
    profile: Profile,
    rules: Sequence[SenderRule],
) -> None:
    """Raise Forbidden unless all three addresses match the same rules."""
    check_sender(sender, profile, rules)
    if submitter is not None:
        check_sender(submitter, profile, rules)
    if return_path:  # an empty one gets no bounces
        check_sender(Mailbox(return_path), profile, rules)


def check_sender(sender: Mailbox, profile: Profile, rules: Iterable[SenderRule]) -> None:
    """Raise Forbidden unless the profile and all rules allow the sender."""
    for rule in (SenderRule(f"The profile {profile.name!r}", profile.allowed_from), *rules):
        rule.check(sender)


def check_recipients(recipients: Iterable[RecipientAddress], routing: Routing) -> None:
    """Raise Forbidden if a recipient is neither allowed nor redirected."""
    for recipient in recipients:
        address = recipient.mailbox.address
        if routing.destination(address) is None and not routing.is_simulated(address):
            domains = [", ".join(rule.domains) for rule in routing.rules if rule.domains]
            raise Forbidden(
                "recipient-not-allowed",
                f"The recipient {address} is not allowed: allowed_recipient_domains of the tenant"
                f" or the service allows only {', and of these '.join(domains)}. Add its domain"
                " there, or set redirect_all_to to receive such messages yourself.",
            )
