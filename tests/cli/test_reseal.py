"""`heloise reseal`: keys are rotated without a credential being lost or shown."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain.errors import SealError
from app.domain.ids import new_id
from app.domain.mime.dkim import DkimAlgorithm, DkimKey, SendingDomain, generate_key
from app.domain.secret_keys import parse_key
from app.domain.types import SealedContent
from app.store import domains as sending_domains
from app.store.db.database import Database
from app.store.inbound import mailboxes, provider_webhooks
from app.store.outbox import acceptance as outbox
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import (
    dkim_private_key,
    mailbox_password,
    profile_secret,
    provider_webhook_secret,
)
from app.store.secrets.encryption import Vault
from app.store.tables.core import message_contents
from tests.cli.test_profile_commands import open_password, open_secret, with_database
from tests.support.rows import a_mailbox, a_message, a_provider_webhook, made_profile, made_tenant
from tests.support.terminal import Terminal

CANARY = "canary-3f9c-in-the-coal-mine"


@pytest.fixture
def sealed_profile(operator: Terminal, profile_file: Callable[..., str]) -> dict[str, object]:
    """A profile whose password is sealed under the operator's key."""
    operator.done("tenant", "create", "acme")
    path = profile_file(auth={"username": "billing", "password": CANARY})
    profile: dict[str, object] = operator.done(
        "profile", "create", path, "-t", "acme", "--json"
    ).json
    return profile


def test_an_old_key_can_be_dropped_once_all_is_resealed(
    operator: Terminal, sealed_profile: dict[str, object]
) -> None:
    """Old and new key together first; then the new one alone opens what the old one sealed."""
    old = operator.environment["HELOISE_SECRET_KEYS"]
    new = operator.done("secret-key").out.strip()
    operator.environment["HELOISE_SECRET_KEYS"] = f"{new},{old}"
    assert open_password(operator, sealed_profile) == CANARY
    assert operator.done("reseal").out.startswith("Encrypted 1 profiles, ")
    assert operator.done("reseal").out.startswith("Encrypted 0 profiles, ")
    operator.environment["HELOISE_SECRET_KEYS"] = new
    assert open_password(operator, sealed_profile) == CANARY
    assert CANARY not in operator.printed


def test_what_is_not_bound_to_its_destination_is_bound(
    operator: Terminal, sealed_profile: dict[str, object]
) -> None:
    """As it was stored before secrets were."""
    vault = Vault([parse_key(operator.environment["HELOISE_SECRET_KEYS"])])

    async def unbind(database: Database) -> None:
        async with database.transaction() as connection:
            [row] = await profiles.load_sealed_page(connection, limit=1, after=None)
            context = replace(profile_secret(row.profile, "password"), destination=None)
            await profiles.replace_sealed(
                connection,
                tenant_id=row.profile.tenant_id,
                profile_id=row.profile.id,
                sealed={"sealed_password": vault.seal(CANARY, context)},
            )

    with_database(operator, unbind)
    with pytest.raises(SealError):
        open_password(operator, sealed_profile)
    assert operator.done("reseal").out.startswith("Encrypted 1 profiles, ")
    assert open_password(operator, sealed_profile) == CANARY


@pytest.mark.one_database
def test_a_key_that_is_dropped_too_early_is_told(
    operator: Terminal, sealed_profile: dict[str, object]
) -> None:
    """Whose credential it is; nothing is changed, and with the key it opens again."""
    old = operator.environment["HELOISE_SECRET_KEYS"]
    operator.environment["HELOISE_SECRET_KEYS"] = operator.done("secret-key").out.strip()
    result = operator.run("reseal")
    assert result.code == 1
    assert str(sealed_profile["id"]) in result.err
    operator.environment["HELOISE_SECRET_KEYS"] = old
    assert open_password(operator, sealed_profile) == CANARY


def test_what_tokens_are_asked_for_with_is_resealed_too(
    operator: Terminal, profile_file: Callable[..., str]
) -> None:
    """Each secret is bound to its own field, old key or new."""
    operator.done("tenant", "create", "acme")
    auth = {
        "mechanism": "oauth2",
        "username": "a@example.com",
        "preset": "google",
        "grant": "refresh_token",
        "client_id": "1-2-3",
        "client_secret": f"secret {CANARY}",
        "refresh_token": f"token {CANARY}",
    }
    profile = operator.done(
        "profile", "create", profile_file(auth=auth), "-t", "acme", "--json"
    ).json
    new = operator.done("secret-key").out.strip()
    old = operator.environment["HELOISE_SECRET_KEYS"]
    operator.environment["HELOISE_SECRET_KEYS"] = f"{new},{old}"
    assert operator.done("reseal").out.startswith("Encrypted 1 profiles, ")
    operator.environment["HELOISE_SECRET_KEYS"] = new
    for name in ("client_secret", "refresh_token"):
        assert open_secret(operator, profile, f"oauth_{name}") == auth[name]
    assert CANARY not in operator.printed


def test_sensitive_messages_that_wait_are_resealed_too(operator: Terminal) -> None:
    """With their keys under the old one they would be lost when that goes."""
    old = operator.environment["HELOISE_SECRET_KEYS"]
    new = operator.done("secret-key").out.strip()
    content = b"Subject: x\r\n\r\nx\r\n"

    async def write(database: Database) -> str:
        profile = await made_profile(database, await made_tenant(database))
        message = a_message(profile, mime=content)
        sealed = Vault([parse_key(old)]).seal_content(content, row=message.id)
        async with database.transaction() as connection:
            await outbox.accept(connection, [replace(message, sealed=sealed)])
        return message.id

    async def read(database: Database) -> SealedContent:
        async with database.reading() as connection:
            row = (await connection.execute(select(message_contents))).one()
        return SealedContent(row.mime, row.sealed_key)

    message_id = with_database(operator, write)
    operator.environment["HELOISE_SECRET_KEYS"] = f"{new},{old}"
    assert "and 1 sensitive messages" in operator.done("reseal").out
    assert "and 0 sensitive messages" in operator.done("reseal").out
    vault = Vault([parse_key(new)])
    assert vault.open_content(with_database(operator, read), row=message_id) == content


def test_dkim_keys_and_mailboxes_are_resealed_too(operator: Terminal) -> None:
    """All that is sealed is, or an old key could not be dropped."""
    old = operator.environment["HELOISE_SECRET_KEYS"]
    new = operator.done("secret-key").out.strip()
    now = datetime.now(UTC)
    pem, public = generate_key(DkimAlgorithm.ED25519_SHA256)

    async def write(database: Database) -> None:
        tenant_id, vault = (await made_tenant(database)).id, Vault([parse_key(old)])
        domain = SendingDomain(
            id=new_id("dom"),
            tenant_id=tenant_id,
            domain="example.com",
            created_at=now,
            updated_at=now,
        )
        key = DkimKey(
            id=new_id("dkm"),
            selector="s",
            algorithm=DkimAlgorithm.ED25519_SHA256,
            public_key=public,
            created_at=now,
        )
        mailbox = a_mailbox(tenant_id)
        async with database.transaction() as connection:
            await sending_domains.insert(connection, domain=domain)
            sealed = vault.seal(pem, dkim_private_key(key.id))
            await sending_domains.insert_key(
                connection, domain_id=domain.id, key=key, sealed_private_key=sealed
            )
            sealed = vault.seal("pw", mailbox_password(mailbox))
            await mailboxes.insert(connection, mailbox=mailbox, sealed_password=sealed)
            hook = a_provider_webhook(tenant_id)
            await provider_webhooks.insert(
                connection,
                webhook=hook,
                token_hash=b"hash",
                sealed_secret=vault.seal("s", provider_webhook_secret(hook.id)),
            )

    with_database(operator, write)
    operator.environment["HELOISE_SECRET_KEYS"] = f"{new},{old}"
    summary = "1 DKIM keys, 1 mailboxes, 1 provider webhooks"
    assert summary in operator.done("reseal").out
    operator.environment["HELOISE_SECRET_KEYS"] = new
    assert summary.replace("1", "0") in operator.done("reseal").out


def printing(folder: Path, *lines: str) -> str:
    """A command that prints these lines."""
    path = folder / "keys.txt"
    path.write_text("\n".join(lines))
    return f"cat '{path}'"


@pytest.mark.one_database
def test_keys_may_come_from_a_command(
    operator: Terminal, sealed_profile: dict[str, object]
) -> None:
    """As a KMS gives them; they come before those of the setting, which so can be left."""
    new = operator.done("secret-key").out.strip()
    operator.environment["HELOISE_SECRET_KEYS_COMMAND"] = printing(operator.folder, new)
    assert operator.done("reseal").out.startswith("Encrypted 1 profiles, ")
    operator.environment["HELOISE_SECRET_KEYS"] = new
    assert open_password(operator, sealed_profile) == CANARY
    del operator.environment["HELOISE_SECRET_KEYS"]
    assert operator.done("reseal").out.startswith("Encrypted 0 profiles, ")


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/nonexistent/kms decrypt", "cannot run /nonexistent/kms: No such file"),
        ("false", "false exited with 1"),
        (f"echo {CANARY}", "echo must print one or more keys of 32 bytes in base64"),
        ("true", "true must print one or more keys of 32 bytes in base64"),
        ("cat 'unfinished", "HELOISE_SECRET_KEYS_COMMAND: found"),
    ],
)
def test_a_command_that_gives_no_key_stops_the_start(
    operator: Terminal, command: str, why: str
) -> None:
    """Exit 2, with what it did; what it printed is not shown."""
    operator.environment["HELOISE_SECRET_KEYS_COMMAND"] = command
    result = operator.run("reseal")
    assert result.code == 2
    assert why in result.err
    assert CANARY not in result.err
