"""What requests need to know is read once for all that come at one moment."""

import asyncio

import pytest

from app.auth.caches import SharedReads
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller
from tests.support.database.statements import record_statements

AT_ONCE = 20


async def test_a_burst_of_messages_reads_key_tenant_profile_and_signing_once(
    api: Api, acme: Caller
) -> None:
    """Also when what was known of the key has just been let go."""
    await acme.made("/profiles", {**PROFILE, "is_default": True})
    api.monotonic.seconds += 60
    with record_statements() as statements:
        answers = await asyncio.gather(
            *(acme("POST", "/messages", MESSAGE) for _ in range(AT_ONCE))
        )
    assert {answer.status_code for answer in answers} == {202}
    for what in ("api_keys.hash", "tenants.slug", "profiles.ehlo_name", "sending_domains"):
        assert (
            sum("SELECT" in statement and what in statement for statement, _ in statements) == 1
        ), what


class Reading:
    """A read that ends when it is told, and how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.answers: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.kept: list[str] = []
        self.shared = SharedReads[str, str]()

    async def __call__(self) -> str:
        self.begun += 1
        return await self.answers

    async def ask(self, times: int = 1) -> list["asyncio.Task[str]"]:
        """So many who wait for it."""
        tasks = [
            asyncio.create_task(self.shared.get("a", self, self.kept.append)) for _ in range(times)
        ]
        for _ in range(3):  # a turn of the loop each until they ask, and until it begins to read
            await asyncio.sleep(0)
        return tasks


async def test_requests_at_the_same_time_share_the_answer() -> None:
    """Who asks afterwards has another."""
    reading = Reading()
    tasks = await reading.ask(3)
    reading.answers.set_result("one")
    assert await asyncio.gather(*tasks) == ["one"] * 3
    assert (reading.begun, reading.kept) == (1, ["one"])
    await asyncio.gather(*await reading.ask())
    assert reading.begun == 2


async def test_all_get_the_same_error() -> None:
    """And nothing is kept."""
    reading = Reading()
    tasks = await reading.ask(3)
    reading.answers.set_exception(LookupError())
    for task in tasks:
        with pytest.raises(LookupError):
            await task
    assert (reading.begun, reading.kept) == (1, [])


async def test_one_that_goes_away_ends_nobody_elses() -> None:
    """Not even where it was the first."""
    reading = Reading()
    first, second = await reading.ask(2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reading.answers.set_result("one")
    assert await second == "one"


async def test_a_request_after_a_change_reads_again() -> None:
    """Nor is it kept, whenever it ends."""
    reading = Reading()
    [before] = await reading.ask()
    reading.shared.invalidate()
    older, reading.answers = reading.answers, asyncio.get_running_loop().create_future()
    [after] = await reading.ask()
    reading.answers.set_result("new")
    assert await after == "new"
    older.set_result("old")
    assert await before == "old"
    assert (reading.begun, reading.kept) == (2, ["new"])
