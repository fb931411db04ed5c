"""What was sealed under an older key is sealed under the newest, so that the older can go."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import SealError
from app.store import profiles
from app.store.domain_tables import dkim_keys
from app.store.event_tables import webhooks
from app.store.mailbox_tables import mailboxes
from app.store.mailboxes import PASSWORD
from app.store.profile_rows import field_of
from app.store.profiles import SealedProfile
from app.store.sending_domains import PRIVATE_KEY
from app.store.tables import message_contents
from app.store.vault import CONTENT_KEY, Vault
from app.store.webhooks import SECRET

AT_ONCE: Final = 200


async def reseal_profiles(connection: AsyncConnection, vault: Vault) -> int:
    """Seal the credentials of all tenants' profiles anew; answers of how many that was.

    Raises SealError that says whose does not open.
    """
    count, after = 0, None
    while rows := await profiles.sealed(connection, limit=AT_ONCE, after=after):
        after = rows[-1].id
        for row in rows:
            count += await _reseal(connection, vault, row)
    return count


async def reseal_profile(
    connection: AsyncConnection, vault: Vault, *, tenant_id: str, profile_id: str
) -> None:
    """Seal the credentials of one profile anew, where they are not under the newest key."""
    row = await profiles.sealed_of(connection, tenant_id=tenant_id, profile_id=profile_id)
    if row is not None:
        await _reseal(connection, vault, row)


async def _reseal(connection: AsyncConnection, vault: Vault, row: SealedProfile) -> bool:
    try:
        fresh = _fresh(vault, row.id, row.sealed, field_of)
    except SealError as error:
        raise SealError(
            f"{error} It belongs to a profile: add the key that sealed it to HELOISE_SECRET_KEYS,"
            " or set the credential again."
        ) from None
    if fresh:
        await profiles.replace_sealed(
            connection, tenant_id=row.tenant_id, profile_id=row.id, sealed=fresh
        )
    return bool(fresh)


def _fresh(
    vault: Vault, row: str, sealed: Mapping[str, bytes | None], field_of: Callable[[str], str]
) -> dict[str, bytes]:
    """The columns of a row that are not under the newest key, sealed anew; raises SealError."""
    return {
        name: vault.resealed(old, row=row, field=field_of(name))
        for name, old in sealed.items()
        if old is not None and not vault.is_current(old)
    }


async def reseal_webhooks(connection: AsyncConnection, vault: Vault) -> int:
    """Seal the secrets of webhooks anew; answers of how many that was."""
    query = (
        select(webhooks.c.id, webhooks.c.sealed_secret, webhooks.c.sealed_former_secret)
        .order_by(webhooks.c.id)
        .with_for_update()
    )
    count = 0
    for row in (await connection.execute(query)).all():
        held = {
            "sealed_secret": row.sealed_secret,
            "sealed_former_secret": row.sealed_former_secret,
        }
        if fresh := _fresh(vault, row.id, held, lambda _: SECRET):
            await connection.execute(update(webhooks).where(webhooks.c.id == row.id).values(fresh))
            count += 1
    return count


async def reseal_dkim_keys(connection: AsyncConnection, vault: Vault) -> int:
    """Seal the keys that sign messages anew; answers of how many that was."""
    query = (
        select(dkim_keys.c.id, dkim_keys.c.sealed_private_key)
        .where(dkim_keys.c.sealed_private_key.is_not(None))
        .order_by(dkim_keys.c.id)
        .with_for_update()
    )
    count = 0
    for row in (await connection.execute(query)).all():
        held = {"sealed_private_key": row.sealed_private_key}
        if fresh := _fresh(vault, row.id, held, lambda _: PRIVATE_KEY):
            await connection.execute(
                update(dkim_keys).where(dkim_keys.c.id == row.id).values(fresh)
            )
            count += 1
    return count


async def reseal_mailboxes(connection: AsyncConnection, vault: Vault) -> int:
    """Seal the passwords of mailboxes anew; answers of how many that was."""
    query = select(mailboxes.c.id, mailboxes.c.sealed_password).order_by(mailboxes.c.id)
    count = 0
    for row in (await connection.execute(query.with_for_update())).all():
        held = {"sealed_password": row.sealed_password}
        if fresh := _fresh(vault, row.id, held, lambda _: PASSWORD):
            await connection.execute(
                update(mailboxes).where(mailboxes.c.id == row.id).values(fresh)
            )
            count += 1
    return count


async def reseal_contents(connection: AsyncConnection, vault: Vault) -> int:
    """Seal the keys of sensitive messages that wait anew; answers of how many that was."""
    count, after = 0, ""
    while rows := await _sealed_contents(connection, after):
        for message_id, sealed_key in rows:
            after = message_id
            if not vault.is_current(sealed_key):
                fresh = vault.resealed(sealed_key, row=message_id, field=CONTENT_KEY)
                await connection.execute(
                    update(message_contents)
                    .where(message_contents.c.message_id == message_id)
                    .values(sealed_key=fresh)
                )
                count += 1
    return count


async def _sealed_contents(connection: AsyncConnection, after: str) -> Sequence[tuple[str, bytes]]:
    query = (
        select(message_contents.c.message_id, message_contents.c.sealed_key)
        .where(message_contents.c.sealed_key.is_not(None), message_contents.c.message_id > after)
        .order_by(message_contents.c.message_id)
        .limit(AT_ONCE)
        .with_for_update()
    )
    return [(row.message_id, row.sealed_key) for row in await connection.execute(query)]
