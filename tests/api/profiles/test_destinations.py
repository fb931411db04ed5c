"""Destinations and ramps of /profiles: what is accepted, what a change keeps, what is shown."""

from typing import Any

import pytest

from tests.support.api_client import PROFILE, Caller

GMAIL = {
    "match": ["gmail.com", "mx:*.google.com"],
    "rate_limit": {"messages": 5, "per_seconds": 60},
}
RAMP = {"start": 50, "factor": 1.5, "every": "day", "until": 5000}
PATH = "/profiles/transactional"


async def make_profile(acme: Caller, **fields: Any) -> Any:
    """A profile with these fields."""
    return await acme.made("/profiles", PROFILE | fields)


async def patch_profile(acme: Caller, **fields: Any) -> Any:
    """The profile after a change."""
    answer = await acme("PATCH", PATH, fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_destinations_are_read_with_what_is_left_of_them(acme: Caller) -> None:
    """Limits that are not set are null; nothing is used yet."""
    profile = await make_profile(
        acme, destinations=[GMAIL, {"match": ["*"], "ramp": RAMP}], ramp=RAMP
    )
    gmail, others = profile["destinations"]
    assert gmail == {
        "match": ["gmail.com", "mx:*.google.com"],
        "rate_limit": {"messages": 5, "recipients": None, "per_seconds": 60, "burst": None},
        "max_connections": None,
        "max_recipients_per_message": None,
        "ramp": None,
        "available": 5,
        "waits_until": None,
    }
    started_at = profile["created_at"]
    for ramp in (others["ramp"], profile["ramp"]):
        assert ramp["next_period_at"] > started_at
        assert ramp | RAMP == ramp
        assert (ramp["started_at"], ramp["allowance"], ramp["used"]) == (started_at, 50, 0)


async def test_a_ramp_keeps_its_clock_unless_it_changes(acme: Caller) -> None:
    """Other fields, and `until`, leave the clock running."""
    started_at = (await make_profile(acme, ramp=RAMP, destinations=[GMAIL | {"ramp": RAMP}]))[
        "created_at"
    ]
    profile = await patch_profile(acme, ehlo_name="mx.example.com", ramp={"until": 9000})
    assert (profile["ramp"]["started_at"], profile["ramp"]["until"]) == (started_at, 9000)
    profile = await patch_profile(
        acme, destinations=[{"match": ["new.example"], "ramp": RAMP}, GMAIL]
    )
    assert profile["destinations"][0]["ramp"]["started_at"] > started_at
    changed = await patch_profile(acme, ramp={"factor": 2})
    assert changed["ramp"]["started_at"] > started_at
    assert (await patch_profile(acme, ramp=None))["ramp"] is None


async def test_a_destination_with_the_same_match_keeps_its_ramp(acme: Caller) -> None:
    """Wherever it is in the list, and whatever else it says."""
    started_at = (await make_profile(acme, destinations=[GMAIL | {"ramp": RAMP}]))["created_at"]
    limited = GMAIL | {"ramp": RAMP, "max_connections": 2}
    profile = await patch_profile(
        acme, destinations=[{"match": ["a.example"], "max_connections": 1}, limited]
    )
    assert profile["destinations"][1]["ramp"]["started_at"] == started_at
    assert profile["destinations"][1]["max_connections"] == 2
    assert await patch_profile(acme, destinations=[]) | {"destinations": []} == await acme.read(
        PATH
    )


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"destinations": [{"match": ["gmail.com"]}]}, "set a limit: rate_limit"),
        ({"destinations": [GMAIL | {"match": []}]}, "at least 1"),
        ({"destinations": [GMAIL | {"match": ["@gmail.com"]}]}, "write a domain (gmail.com)"),
        ({"destinations": [GMAIL | {"match": ["mx:*"]}]}, "write a domain (gmail.com)"),
        ({"destinations": [GMAIL | {"match": ["a b"]}]}, "write a domain (gmail.com)"),
        ({"destinations": [GMAIL, GMAIL]}, "gmail.com is in destination 0 and again in 1"),
        ({"ramp": RAMP | {"until": 10}}, "until is less than start"),
        ({"ramp": RAMP | {"every": "month"}}, "'hour', 'day' or 'week'"),
    ],
)
async def test_an_invalid_destination_says_what_to_write(
    acme: Caller, fields: dict[str, Any], message: str
) -> None:
    """422, with the fault at the field."""
    answer = await acme("POST", "/profiles", PROFILE | fields)
    assert answer.status_code == 422
    assert message in answer.text


@pytest.mark.one_database
async def test_patterns_are_normalized(acme: Caller) -> None:
    """Names in any script, in lower case."""
    match = ["GMail.com", "*.Bücher.example", "MX.example"]
    profile = await make_profile(acme, destinations=[{"match": match, "max_connections": 1}])
    assert profile["destinations"][0]["match"] == [
        "gmail.com",
        "*.xn--bcher-kva.example",
        "mx.example",
    ]
