"""`heloise reseal`: keys are rotated without a credential being lost or shown."""

from collections.abc import Callable

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_profile_commands import opened_password, opened_secret

CANARY = "canary-3f9c-in-the-coal-mine"


@pytest.fixture
def sealed(operator: Terminal, profile_file: Callable[..., str]) -> dict[str, object]:
    """A profile whose password is sealed under the operator's key."""
    operator.done("tenant", "create", "acme")
    path = profile_file(auth={"username": "billing", "password": CANARY})
    profile: dict[str, object] = operator.done(
        "profile", "create", path, "-t", "acme", "--json"
    ).json
    return profile


def test_an_old_key_can_be_dropped_once_all_is_resealed(
    operator: Terminal, sealed: dict[str, object]
) -> None:
    """Old and new key together first; then the new one alone opens what the old one sealed."""
    old = operator.environment["HELOISE_SECRET_KEYS"]
    new = operator.done("secret-key").out.strip()
    operator.environment["HELOISE_SECRET_KEYS"] = f"{new},{old}"
    assert opened_password(operator, sealed) == CANARY
    assert operator.done("reseal").out.startswith("Sealed 1 profiles anew")
    assert operator.done("reseal").out.startswith("Sealed 0 profiles anew")
    operator.environment["HELOISE_SECRET_KEYS"] = new
    assert opened_password(operator, sealed) == CANARY
    assert CANARY not in operator.printed


def test_a_key_that_is_dropped_too_early_is_told(
    operator: Terminal, sealed: dict[str, object]
) -> None:
    """Whose credential it is; nothing is changed, and with the key it opens again."""
    old = operator.environment["HELOISE_SECRET_KEYS"]
    operator.environment["HELOISE_SECRET_KEYS"] = operator.done("secret-key").out.strip()
    ended = operator.run("reseal")
    assert ended.code == 1
    assert str(sealed["id"]) in ended.err
    operator.environment["HELOISE_SECRET_KEYS"] = old
    assert opened_password(operator, sealed) == CANARY


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
    made = operator.done("profile", "create", profile_file(auth=auth), "-t", "acme", "--json").json
    new = operator.done("secret-key").out.strip()
    old = operator.environment["HELOISE_SECRET_KEYS"]
    operator.environment["HELOISE_SECRET_KEYS"] = f"{new},{old}"
    assert operator.done("reseal").out.startswith("Sealed 1 profiles anew")
    operator.environment["HELOISE_SECRET_KEYS"] = new
    for name in ("client_secret", "refresh_token"):
        assert opened_secret(operator, made, f"oauth_{name}") == auth[name]
    assert CANARY not in operator.printed
