"""Decide which recipients are allowed, refused or redirected.

For staging: real people must not get messages, whatever a copied database contains. So Heloise
decides at each transmission, not only at acceptance.
"""

from typing import Final

from app.domain.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RecipientRule:
    """Restricts recipients to domains, and redirects or refuses the others.

    `domains` are patterns such as `example.com` or `*.example.com`. `redirect_all_to` gets all
    other mail; without it other mail is refused. Without both, all recipients are allowed.
    """

    redirect_all_to: str | None = None
    domains: tuple[str, ...] = ()

    def destination(self, address: str) -> str | None:
        """Return where mail to an address goes, or None if it is refused."""
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
    """The rules that apply in order: the tenant's, then the service's.

    Mail to `simulator_domain` goes to no server.
    """

    rules: tuple[RecipientRule, ...] = ()
    simulator_domain: str | None = None

    def is_simulated(self, address: str) -> bool:
        """Whether the simulator answers instead of a server."""
        domain = address.rpartition("@")[2].lower()
        return self.simulator_domain is not None and domain == self.simulator_domain

    def destination(self, address: str) -> str | None:
        """Return the address for RCPT TO, or None if there is none."""
        if self.is_simulated(address):
            return None
        destination: str | None = address
        for rule in self.rules:
            if destination is not None and destination != rule.redirect_all_to:
                destination = rule.destination(destination)
        return destination

    def with_rule(self, rule: RecipientRule) -> "Routing":
        """Add a rule before the others."""
        if rule == ALLOW_ALL:
            return self
        return Routing((rule, *self.rules), self.simulator_domain)


NO_RULES: Final = Routing()
