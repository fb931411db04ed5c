"""Which login opens what: by tenant, state of the key, and what the key is bound to."""

from typing import Any, Final

import pytest

from tests.support.api_client import PROFILE, Api, Caller
from tests.support.key_states import STATES, make_key
from tests.support.submission import SubmissionServer, key_of

FROM: Final = "From: {}\r\n\r\nHi\r\n"
SENDER: Final = "billing@example.com"
OTHER_SENDER: Final = "ann@example.com"
# What a key is bound to, and what of it is within reach; `heloise` means the default profile,
# or the only one that the key is bound to.
BOUNDS: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "the profile": {"profiles": ["transactional"]},
    "another profile": {"profiles": ["news"]},
    "both profiles": {"profiles": ["transactional", "news"]},
    "the sender": {"allowed_from": [SENDER]},
    "another sender": {"allowed_from": [OTHER_SENDER]},
    "this network": {"networks": ["127.0.0.0/8"]},
}


@pytest.fixture
async def names(acme: Caller, api: Api) -> dict[str, str | None]:
    """User names, and the profile that each means to a key without bounds; None for none."""
    own = await acme.made("/profiles", PROFILE | {"is_default": True})
    await acme.made("/profiles", PROFILE | {"name": "news"})
    other = await api.tenant("other")
    foreign = await other.made("/profiles", PROFILE | {"name": "foreign"})
    return {
        "transactional": "transactional",
        own["id"]: "transactional",
        "news": "news",
        "heloise": "transactional",
        "foreign": None,
        foreign["id"]: None,
        "": None,
    }


def reached_profile(bound: dict[str, Any], username: str, profile: str | None) -> str | None:
    """The profile that a login opens with a key in good state."""
    profiles = bound.get("profiles", ["transactional", "news"])
    if username == "heloise" and len(bound.get("profiles", ())) == 1:
        return str(profiles[0])
    return profile if profile in profiles else None


@pytest.mark.parametrize("state", STATES)
async def test_a_login_opens_what_its_key_does(
    submission: SubmissionServer, acme: Caller, names: dict[str, str | None], state: str
) -> None:
    """Another tenant's profile is one that does not exist, whatever the key is bound to."""
    api, problem, sent = submission.api, STATES[state], set[str]()
    bounds = {"nothing": BOUNDS["nothing"]} if state == "deleted" else BOUNDS
    for what, bound in bounds.items():
        key = key_of(await make_key(api, acme.tenant_id, state, **bound))
        for username, means in names.items():
            api.monotonic.seconds += 60  # or guesses would be limited
            profile = None if problem else reached_profile(bound, username, means)
            async with submission.connect() as client:
                reply = await client.log_in(username, key)
                case = what, username, reply
                assert reply[:9] == ("535 5.7.8" if profile is None else "235 2.7.0"), case
                if profile is None and problem is None:
                    assert f"There is no profile {username!r} here" in reply, case
                if profile is None:
                    assert (await client(f"MAIL FROM:<{SENDER}>"))[:9] == "530 5.7.0", case
                    continue
                is_sender = SENDER in bound.get("allowed_from", [SENDER])
                reply = await client(f"MAIL FROM:<{SENDER}>")
                assert reply[:9] == ("250 2.1.0" if is_sender else "553 5.7.1"), case
                if username == "heloise" and is_sender:
                    await client("RCPT TO:<ann@example.org>")
                    reply = await client.data(FROM.format(SENDER).encode())
                    message = await submission.stored(acme, reply)
                    assert message["profile"] == profile, case
                    sent.add(message["id"])
    if state != "deleted":
        stored = {message["id"] for message in (await acme.read("/messages?limit=200"))["items"]}
        assert stored == sent


@pytest.mark.parametrize("option", ["X-Heloise-Profile", "X-Heloise-Template"])
async def test_an_option_reaches_no_further_than_the_key(
    submission: SubmissionServer, acme: Caller, names: dict[str, str | None], option: str
) -> None:
    """Another tenant's object, one outside the key's bounds, and none have the same reply."""
    other = await submission.api.tenant("third")
    await other.made("/templates", {"name": "foreign", "subject": "Hi", "text": "Hi"})
    bound = await make_key(submission.api, acme.tenant_id, "active", profiles=["transactional"])
    hidden = [name for name, means in names.items() if name and means in {None, "news"}]
    async with submission.login(bound) as client:
        for name in [*hidden, "absent"]:
            content = f"From: {SENDER}\r\n{option}: {name}\r\n\r\nHi\r\n".encode()
            reply = await client.submit(content)
            noun = option.rpartition("-")[2].lower()
            assert reply.startswith(f"550 5.6.0 There is no {noun} {name!r} here"), reply
    assert (await acme.read("/messages"))["items"] == []
