"""Decide which recipients are allowed, refused or redirected.

For staging: real people must not get messages, whatever a copied database contains. So the decision
is made at each transmission, not once at acceptance.
"""

from typing import Final

from app.domain.value import frozen_dataclass


@frozen_dataclass
class RecipientRule:
    """Which domains are sent to: all, unless there are patterns or somebody who gets all else.

    `domains` are such as `example.com` or `*.example.com`. `redirect_all_to` gets what is for any
    other; without one that is refused.
    """

    redirect_all_to: str | None = None
    domains: tuple[str, ...] = ()

    def destination(self, address: str) -> str | None:
        """Where mail to an address goes; None where it may not go anywhere."""
        if self.domains:
            domain = address.rpartition("@")[2].lower()
            if any(_matches(domain, pattern) for pattern in self.domains):
                return address
        elif self.redirect_all_to is None:
            return address
        return self.redirect_all_to


ALLOW_ALL: Final = RecipientRule()


def _matches(domain: str, pattern: str) -> bool:
    return domain.endswith(pattern[1:]) if pattern.startswith("*.") else domain == pattern


@frozen_dataclass
class Routing:
    """The rules that an address goes through, one after the other: the tenant's, the service's.

    Addresses at `simulator_domain` go to no server.
    """

    rules: tuple[RecipientRule, ...] = ()
    simulator_domain: str | None = None

    def is_simulated(self, address: str) -> bool:
        """Whether the simulator answers instead of a server."""
        domain = address.rpartition("@")[2].lower()
        return self.simulator_domain is not None and domain == self.simulator_domain

    def destination(self, address: str) -> str | None:
        """The address that a server is told; None where it is told none."""
        if self.is_simulated(address):
            return None
        destination: str | None = address
        for rule in self.rules:
            if destination is not None and destination != rule.redirect_all_to:
                destination = rule.destination(destination)
        return destination

    def with_rule(self, rule: RecipientRule) -> "Routing":
        """The same with a rule that comes before the others."""
        if rule == ALLOW_ALL:
            return self
        return Routing((rule, *self.rules), self.simulator_domain)


NO_RULES: Final = Routing()
