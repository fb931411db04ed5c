"""Make what delivery and verify share: the network, the vault, the tokens, the EHLO names.

Imports nothing of delivery, so that `heloise doctor` starts without it.
"""

from dataclasses import dataclass

from app import process
from app.diagnostics.verifier import Verifier
from app.domain.clock import Clock
from app.domain.ehlo import EhloNames
from app.oauth.token_cache import AccessTokens
from app.settings.model import Settings
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.secrets.encryption import Vault


@dataclass(frozen=True, slots=True)
class Parts:
    """What delivery and profile verification share."""

    database: Database
    clock: Clock
    vault: Vault
    network: Network
    tokens: AccessTokens
    hostname: str
    ehlo_names: EhloNames

    def make_verifier(self) -> Verifier:
        """Make what verifies profiles with these parts."""
        return Verifier(
            network=self.network,
            tokens=self.tokens,
            open_sealed=self.vault.open,
            ehlo_names=self.ehlo_names,
            now=self.clock.now,
        )


def make_parts(settings: Settings, database: Database, clock: Clock, hostname: str) -> Parts:
    """Make the parts from the settings, for a machine of this name."""
    network = Network(settings.build_guard(), Resolver(settings.dns_server_addresses()))
    vault = Vault(settings.load_encryption_keys())
    tokens = AccessTokens(database, vault, network, now=clock.now)
    ehlo_names = EhloNames(service=settings.ehlo_name, hostname=hostname)
    return Parts(database, clock, vault, network, tokens, hostname, ehlo_names)


def make_verifier(settings: Settings, database: Database, clock: Clock) -> Verifier:
    """Make what verifies profiles as this machine would deliver through them."""
    return make_parts(settings, database, clock, process.find_hostname()).make_verifier()
