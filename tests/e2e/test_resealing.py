"""Credentials come under the newest key by being used, whether anybody reseals them or not."""

from app.domain.secret_keys import generate_key, parse_key
from app.store.db.database import Database
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import SealContext, Vault
from tests.e2e.conftest import Start
from tests.support.harness import CANARY, until
from tests.support.servers.smtp_server import SmtpServer


async def test_what_is_used_comes_under_the_newest_key(start: Start, migrated_url: str) -> None:
    """And what is not stays as it is, and opens as before."""
    old, new = generate_key(), generate_key()
    first = await start(delivery=False, secret_keys=old)
    auth = {"username": "billing", "password": CANARY, "allow_plaintext_auth": True}
    async with SmtpServer(users={"billing": CANARY}) as server:
        acme = await first.tenant()
        used = await acme.profile("used", server.port, auth=auth)
        idle = await acme.profile("idle", server.port, auth=auth)
        message = await acme.send(profile="used")
        await start(secret_keys=f"{new},{old}")
        await acme.message(message, status="sent")
        database = Database(migrated_url)

        async def load_sealed(profile_id: str) -> tuple[bytes, SealContext]:
            async with database.reading() as connection:
                rows = await profiles.load_sealed_page(connection, limit=10, after=None)
            row = next(row for row in rows if row.profile.id == profile_id)
            sealed_password = row.sealed["sealed_password"]
            assert sealed_password is not None
            return sealed_password, profile_secret(row.profile, "password")

        newest, older = Vault([parse_key(new)]), Vault([parse_key(old)])

        async def fact() -> tuple[bytes, SealContext] | None:
            sealed_password = await load_sealed(used["id"])
            return sealed_password if newest.is_current(*sealed_password) else None

        now = await until(fact)
        assert newest.open(*now) == CANARY
        assert older.open(*await load_sealed(idle["id"])) == CANARY
        await acme.message(await acme.send(profile="used"), status="sent")
        await database.close()
