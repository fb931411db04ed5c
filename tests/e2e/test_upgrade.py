"""While the schema changes, processes of both versions say so, and go on by themselves."""

from collections.abc import Sequence

import httpx
from sqlalchemy import text

from app.store.db.database import Database
from app.store.migrations import schema
from tests.e2e.conftest import Start
from tests.support.harness import Heloise
from tests.support.waiting import until

MESSAGE = {"to": "ann@example.org", "subject": "Hello", "text": "It works."}
REVISIONS: Sequence[str] = schema.list_revisions()


async def set_revision(url: str, revision: str) -> None:
    """Let the schema be of another version, as far as a process can see."""
    database = Database(url)
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision}
        )
    await database.close()


async def readiness(heloise: Heloise) -> httpx.Response:
    """What a load balancer gets."""
    return await heloise.http.get("/readyz?delivery=false")


async def test_a_new_process_waits_for_the_migration(start: Start, migrated_url: str) -> None:
    """It starts on the old schema, refuses requests, and needs no restart after the migration."""
    await set_revision(migrated_url, REVISIONS[-2])
    heloise = await start(delivery=False)
    answer = await readiness(heloise)
    assert (answer.status_code, "heloise migrate" in answer.json()["detail"]) == (503, True)
    refusal = await heloise.http.get("/tenants", headers=heloise.admin.headers)
    assert (refusal.status_code, refusal.json()["type"]) == (503, "/problems/not-ready")
    await set_revision(migrated_url, REVISIONS[-1])

    async def fact() -> bool | None:
        return (
            await heloise.http.get("/tenants", headers=heloise.admin.headers)
        ).is_success or None

    await until(fact)


async def test_an_old_process_stops_accepting_after_a_migration(
    start: Start, migrated_url: str
) -> None:
    """As soon as a load balancer asks: it does not know what it would write to.

    What it accepted before stays.
    """
    heloise = await start(delivery=False)
    acme = await heloise.tenant()
    await acme.profile("main", 2525)
    message = await acme.send()
    await set_revision(migrated_url, "9999")
    answer = await readiness(heloise)
    assert (answer.status_code, "newer version" in answer.json()["detail"]) == (503, True)
    refusal = await acme("POST", "/messages", MESSAGE)
    assert (refusal.status_code, refusal.json()["type"]) == (503, "/problems/not-ready")
    assert "Retry-After" in refusal.headers
    await set_revision(migrated_url, REVISIONS[-1])
    assert (await readiness(heloise)).status_code == 200
    assert (await acme.read(f"/messages/{message}"))["status"] == "queued"
