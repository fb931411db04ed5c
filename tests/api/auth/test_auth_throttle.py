"""Whoever tries keys out is refused for a while; whoever has a key never is."""

import asyncio
from functools import partial
from typing import Final

import pytest

from app.auth.authentication import CachedKey
from app.auth.caches import MAX_UNKNOWN_READS, HashCache
from app.auth.throttle import AuthThrottle
from app.domain.errors import TooManyRequests
from tests.api.auth.test_auth import a_key
from tests.support.api_client import Api, Caller, HandClock, bearer

pytestmark = pytest.mark.one_database

A_MINUTE: Final = 5
WRONG: Final = bearer("hel_wrong")


@pytest.fixture
async def throttled_api(api: Api) -> Api:
    """The API, which takes five wrong keys a minute from one source."""
    api.replace_auth(auth_throttle=AuthThrottle(A_MINUTE, monotonic=api.monotonic))
    return api


async def exhaust(api: Api) -> None:
    """Use up the guesses of this machine."""
    for _ in range(A_MINUTE):
        assert (await api.nobody("GET", "/messages", headers=WRONG)).status_code == 401


async def test_after_some_wrong_keys_further_ones_are_refused(throttled_api: Api) -> None:
    """429 with when to come back; and then it is heard again."""
    await exhaust(throttled_api)
    answer = await throttled_api.nobody("GET", "/messages", headers=WRONG)
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/too-many-auth-failures")
    assert answer.headers["Retry-After"] == "12"
    assert answer.headers["RateLimit-Policy"] == '"too-many-auth-failures";q=5;w=60'
    throttled_api.monotonic.seconds += 12
    assert (await throttled_api.nobody("GET", "/messages", headers=WRONG)).status_code == 401
    assert (await throttled_api.nobody("GET", "/messages", headers=WRONG)).status_code == 429


async def test_no_key_is_no_guess(throttled_api: Api) -> None:
    """It is refused each time, counts for nothing, and is written nowhere."""
    before = len((await throttled_api.admin.read("/audit-log"))["items"])
    for _ in range(2 * A_MINUTE):
        assert (await throttled_api.nobody("GET", "/messages")).status_code == 401
    assert (await throttled_api.nobody("GET", "/messages", headers=WRONG)).status_code == 401
    log = (await throttled_api.admin.read("/audit-log"))["items"]
    assert [entry["refused_as"] for entry in log[: len(log) - before]] == ["unauthenticated"]


async def test_no_guess_locks_out_a_valid_key(throttled_api: Api) -> None:
    """From the same source, and whether the key was seen before or not: as after a restart."""
    acme = await throttled_api.tenant("acme")
    await exhaust(throttled_api)
    assert (await throttled_api.nobody("GET", "/messages", headers=WRONG)).status_code == 429
    for _ in range(2 * A_MINUTE):
        assert (await acme("GET", "/messages")).status_code == 200
        assert (await throttled_api.admin("GET", "/tenants")).status_code == 200
        throttled_api.monotonic.seconds += 0.001
    assert (await throttled_api.nobody("GET", "/messages", headers=WRONG)).status_code == 429


async def test_guesses_have_a_few_look_ups_at_a_time() -> None:
    """A key that was seen before waits for none of them."""
    monotonic, asked, is_over = HandClock(), list[bytes](), asyncio.Event()
    cache, cached_hash = HashCache[CachedKey](monotonic=monotonic), b"seen"

    async def find(key_hash: bytes) -> CachedKey | None:
        asked.append(key_hash)
        if key_hash == cached_hash:
            return CachedKey(a_key(1), None)  # type: ignore[arg-type]
        await is_over.wait()
        return None

    await cache.read(cached_hash, partial(find, cached_hash))
    guesses = [bytes([number]) for number in range(3 * MAX_UNKNOWN_READS)]
    tasks = [asyncio.create_task(cache.read(guess, partial(find, guess))) for guess in guesses]
    await asyncio.sleep(0)
    monotonic.seconds += 60  # it has to be read anew
    assert cache.get(cached_hash) is None
    assert await cache.read(cached_hash, partial(find, cached_hash)) is not None
    assert asked == [cached_hash, *guesses[:MAX_UNKNOWN_READS], cached_hash]
    is_over.set()
    assert await asyncio.gather(*tasks) == [None] * len(guesses)
    assert sorted(asked) == sorted([cached_hash, cached_hash, *guesses])


async def test_what_is_refused_as_a_guess_is_not_written_down(throttled_api: Api) -> None:
    """So that guessing does not fill the log."""
    assert (await throttled_api.admin("GET", "/tenants")).status_code == 200
    await exhaust(throttled_api)
    for _ in range(10):
        await throttled_api.nobody("GET", "/messages", headers=WRONG)
    log = (await throttled_api.admin.read("/audit-log"))["items"]
    assert len([entry for entry in log if entry["refused_as"]]) == A_MINUTE


async def test_what_a_key_may_not_do_is_no_guess(throttled_api: Api, acme: Caller) -> None:
    """403 as often as it asks."""
    reader = await throttled_api.key(acme.tenant_id, ["messages:read"])
    for _ in range(2 * A_MINUTE):
        assert (await reader("GET", "/profiles")).status_code == 403


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("192.0.2.1", True),
        ("::ffff:192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", False),
    ],
)
def test_a_source_is_an_address(other: str, *, is_same: bool) -> None:
    """However it is written."""
    _check("192.0.2.1", other, is_same=is_same)


@pytest.mark.parametrize(
    ("other", "is_same"), [("2001:db8::ffff", True), ("2001:db8:0:1::1", False), (None, False)]
)
def test_a_source_is_a_network_of_ipv6(other: str | None, *, is_same: bool) -> None:
    """A site's addresses are all its own."""
    _check("2001:db8::1", other, is_same=is_same)


def _check(source: str, other: str | None, *, is_same: bool) -> None:
    guesses = AuthThrottle(1, monotonic=HandClock())
    guesses.record_failure(source)
    if is_same:
        with pytest.raises(TooManyRequests):
            guesses.record_failure(other)
    else:
        guesses.record_failure(other)


def test_sources_are_bounded() -> None:
    """The one that was seen longest ago is forgotten."""
    guesses = AuthThrottle(1, monotonic=HandClock())
    guesses.record_failure("192.0.2.1")
    for number in range(10_000):
        guesses.record_failure(f"source {number}")
    guesses.record_failure("192.0.2.1")
