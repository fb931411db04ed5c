"""Encrypt stored secrets again with the newest key."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from sqlalchemy import RowMapping, Table, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import SealError
from app.store.inbound.mailboxes import build_mailbox
from app.store.profiles import queries as profiles
from app.store.profiles.queries import SealedProfile
from app.store.profiles.rows import secret_field
from app.store.secrets.contexts import (
    dkim_private_key,
    mailbox_password,
    profile_secret,
    provider_webhook_secret,
    webhook_secret,
)
from app.store.secrets.encryption import SealContext, Vault, content_key
from app.store.tables.core import message_contents
from app.store.tables.domains import dkim_keys
from app.store.tables.events import webhooks
from app.store.tables.inbound import mailboxes, provider_webhooks
from app.store.webhooks.queries import build_webhook

BATCH_SIZE: Final = 200


async def reseal_profiles(connection: AsyncConnection, vault: Vault) -> int:
    """Reseal the credentials of all profiles; return how many profiles changed.

    Raises SealError, which names the row that does not open.
    """
    count, after = 0, None
    while rows := await profiles.load_sealed_page(connection, limit=BATCH_SIZE, after=after):
        after = rows[-1].profile.id
        for row in rows:
            count += await _reseal(connection, vault, row)
    return count


async def reseal_profile(
    connection: AsyncConnection, vault: Vault, *, tenant_id: str, profile_id: str
) -> None:
    """Reseal the credentials of a profile that are not under the newest key."""
    row = await profiles.load_sealed(connection, tenant_id=tenant_id, profile_id=profile_id)
    if row is not None:
        await _reseal(connection, vault, row)


async def _reseal(connection: AsyncConnection, vault: Vault, row: SealedProfile) -> bool:
    profile = row.profile
    try:
        contexts = {name: profile_secret(profile, secret_field(name)) for name in row.sealed}
        resealed = _reseal_columns(vault, row.sealed, contexts)
    except SealError as error:
        raise SealError(
            f"{error} It belongs to a profile: add the key that encrypted it to"
            " HELOISE_SECRET_KEYS, or set the credential again."
        ) from None
    if resealed:
        await profiles.replace_sealed(
            connection, tenant_id=profile.tenant_id, profile_id=profile.id, sealed=resealed
        )
    return bool(resealed)


def _reseal_columns(
    vault: Vault, sealed: Mapping[str, bytes | None], contexts: Mapping[str, SealContext]
) -> dict[str, bytes]:
    """Return the columns not under the newest key, resealed; raise SealError."""
    return {
        name: vault.reseal(value, contexts[name])
        for name, value in sealed.items()
        if value is not None and not vault.is_current(value, contexts[name])
    }


async def _reseal_rows(
    connection: AsyncConnection,
    vault: Vault,
    *,
    table: Table,
    columns: Sequence[str],
    build_context: Callable[[RowMapping], SealContext],
) -> int:
    """Reseal columns of all rows that have one of them; return how many rows changed."""
    query = (
        select(table)
        .where(or_(*(table.c[name].is_not(None) for name in columns)))
        .order_by(table.c.id)
        .with_for_update()
    )
    count = 0
    for row in (await connection.execute(query)).mappings().all():
        sealed = {name: row[name] for name in columns}
        contexts = dict.fromkeys(columns, build_context(row))
        if resealed := _reseal_columns(vault, sealed, contexts):
            await connection.execute(update(table).where(table.c.id == row["id"]).values(resealed))
            count += 1
    return count


async def reseal_contents(connection: AsyncConnection, vault: Vault) -> int:
    """Reseal the keys of sensitive messages; return how many changed."""
    count, after = 0, ""
    while rows := await _load_sealed_contents(connection, after):
        for message_id, sealed_key in rows:
            after = message_id
            if not vault.is_current(sealed_key, content_key(message_id)):
                resealed = vault.reseal(sealed_key, content_key(message_id))
                await connection.execute(
                    update(message_contents)
                    .where(message_contents.c.message_id == message_id)
                    .values(sealed_key=resealed)
                )
                count += 1
    return count


async def _load_sealed_contents(
    connection: AsyncConnection, after: str
) -> Sequence[tuple[str, bytes]]:
    query = (
        select(message_contents.c.message_id, message_contents.c.sealed_key)
        .where(message_contents.c.sealed_key.is_not(None), message_contents.c.message_id > after)
        .order_by(message_contents.c.message_id)
        .limit(BATCH_SIZE)
        .with_for_update()
    )
    return [(row.message_id, row.sealed_key) for row in await connection.execute(query)]


# What reseals the secrets of each kind; returns how many rows changed.
RESEAL: Final[Mapping[str, Callable[[AsyncConnection, Vault], Awaitable[int]]]] = {
    "profiles": reseal_profiles,
    "webhooks": partial(
        _reseal_rows,
        table=webhooks,
        columns=("sealed_secret", "sealed_former_secret"),
        build_context=lambda row: webhook_secret(build_webhook(row)),
    ),
    "DKIM keys": partial(
        _reseal_rows,
        table=dkim_keys,
        columns=("sealed_private_key",),
        build_context=lambda row: dkim_private_key(row["id"]),
    ),
    "mailboxes": partial(
        _reseal_rows,
        table=mailboxes,
        columns=("sealed_password",),
        build_context=lambda row: mailbox_password(build_mailbox(row)),
    ),
    "provider webhooks": partial(
        _reseal_rows,
        table=provider_webhooks,
        columns=("sealed_secret",),
        build_context=lambda row: provider_webhook_secret(row["id"]),
    ),
    "sensitive messages": reseal_contents,
}
