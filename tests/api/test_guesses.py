"""Whoever tries keys out is not heard for a while; whoever has a key is."""

from dataclasses import replace
from typing import Final

import pytest

from app.api.guesses import Guesses
from app.domain.errors import TooManyRequests
from tests.api.client import EVERY_SCOPE, Api, Caller, HandClock, bearer

pytestmark = pytest.mark.one_database

A_MINUTE: Final = 5
WRONG: Final = bearer("hel_wrong")


@pytest.fixture
async def guarded(api: Api) -> Api:
    """The API, which takes five wrong keys a minute from one source."""
    guesses = Guesses(A_MINUTE, monotonic=api.monotonic)
    api.services = api.app.state.services = replace(api.services, guesses=guesses)
    return api


async def exhaust(api: Api) -> None:
    """Use up the guesses of this machine."""
    for _ in range(A_MINUTE):
        assert (await api.nobody("GET", "/messages", headers=WRONG)).status_code == 401


async def test_after_some_wrong_keys_a_source_is_not_heard(guarded: Api) -> None:
    """429 with when to come back; and then it is heard again."""
    await exhaust(guarded)
    answer = await guarded.nobody("GET", "/messages", headers=WRONG)
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/too-many-keys")
    assert answer.headers["Retry-After"] == "12"
    assert answer.headers["RateLimit-Policy"] == '"too-many-keys";q=5;w=60'
    guarded.monotonic.seconds += 12
    assert (await guarded.nobody("GET", "/messages", headers=WRONG)).status_code == 401
    assert (await guarded.nobody("GET", "/messages", headers=WRONG)).status_code == 429


async def test_no_key_counts_as_a_wrong_one(guarded: Api) -> None:
    """Nor is the log filled by it."""
    for _ in range(A_MINUTE):
        assert (await guarded.nobody("GET", "/messages")).status_code == 401
    assert (await guarded.nobody("GET", "/messages")).status_code == 429


async def test_a_key_that_was_right_from_there_is_right_still(guarded: Api) -> None:
    """Behind one proxy a wrong key does not lock out the rest; one that is new has to wait."""
    acme = await guarded.tenant("acme")
    new = await guarded.key(acme.tenant_id, EVERY_SCOPE)
    assert (await acme("GET", "/messages")).status_code == 200
    await exhaust(guarded)
    guarded.monotonic.seconds += 4  # it is not known any more, and read anew
    assert (await acme("GET", "/messages")).status_code == 200
    assert (await guarded.admin("GET", "/tenants")).status_code == 200
    assert (await new("GET", "/messages")).status_code == 429


async def test_a_right_guess_is_not_heard_either(guarded: Api) -> None:
    """An admin key that was never used from there."""
    await exhaust(guarded)
    assert (await guarded.admin("GET", "/tenants")).status_code == 429


async def test_what_is_not_heard_is_not_written_down(guarded: Api) -> None:
    """So that guessing does not fill the log."""
    assert (await guarded.admin("GET", "/tenants")).status_code == 200
    await exhaust(guarded)
    for _ in range(10):
        await guarded.nobody("GET", "/messages", headers=WRONG)
    log = (await guarded.admin.read("/audit-log"))["items"]
    assert len([each for each in log if each["refused_as"]]) == A_MINUTE


async def test_what_a_key_may_not_do_is_no_guess(guarded: Api, acme: Caller) -> None:
    """403 as often as it asks."""
    reader = await guarded.key(acme.tenant_id, ["messages:read"])
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
    guesses = Guesses(1, monotonic=HandClock())
    guesses.check(source, None)
    guesses.wrong(source)
    if is_same:
        with pytest.raises(TooManyRequests):
            guesses.check(other, None)
    else:
        guesses.check(other, None)


def test_sources_are_bounded() -> None:
    """The one that was seen longest ago is forgotten."""
    guesses = Guesses(1, monotonic=HandClock())
    guesses.wrong("192.0.2.1")
    for number in range(10_000):
        guesses.wrong(f"source {number}")
    guesses.check("192.0.2.1", None)
