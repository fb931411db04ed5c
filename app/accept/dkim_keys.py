"""Read the DKIM keys that sign a tenant's messages."""

import logging
from collections import defaultdict

from app.domain.errors import SealError, Unavailable
from app.domain.mime.dkim import DkimSigner, Signing, load_key
from app.store import domains as sending_domains
from app.store.db.database import Database
from app.store.domains import SealedKey
from app.store.secrets.contexts import dkim_private_key
from app.store.secrets.encryption import OpenSealed, Vault

log = logging.getLogger(__name__)


async def read_signing(database: Database, vault: Vault, tenant_id: str) -> Signing:
    """Read the DKIM keys of the tenant's domains.

    Raises Unavailable if a key cannot be decrypted: no message may leave unsigned by mistake.
    """
    async with database.reading() as connection:
        keys = await sending_domains.load_signing_keys(connection, tenant_id=tenant_id)
    signers = defaultdict[str, list[DkimSigner]](list)
    try:
        for key in keys:
            signers[key.domain].append(_build_signer(key, vault.open))
    except SealError as error:
        log.error("could not decrypt a DKIM key: %s", error)  # noqa: TRY400 - it says all there is
        raise Unavailable(
            "signing-key-unreadable",
            "HELOISE_SECRET_KEYS lacks the key that encrypted a DKIM key of this tenant; add it."
            " Nothing was written.",
        ) from None
    return Signing({domain: tuple(domain_signers) for domain, domain_signers in signers.items()})


def _build_signer(key: SealedKey, open_sealed: OpenSealed) -> DkimSigner:
    pem = open_sealed(key.sealed_private_key, dkim_private_key(key.key_id))
    return DkimSigner(key.domain, key.selector, key.algorithm, load_key(pem))
