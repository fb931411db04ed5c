"""How a profile logs in, over the API: OAuth 2.0 by any grant, and what contradicts itself."""

from typing import Any, Final

import pytest

from tests.support.api_client import PROFILE, Api, Caller
from tests.support.servers.token_server import private_key

CANARY: Final = "canary-9e2d"
URL: Final = "https://login.example.com/token"
APP: Final[dict[str, Any]] = {
    "mechanism": "oauth2",
    "username": "billing@example.com",
    "grant": "client_credentials",
    "token_url": URL,
    "client_id": "app-1",
    "client_secret": CANARY,
}
GOOGLE: Final[dict[str, Any]] = {
    "mechanism": "oauth2",
    "username": "billing@example.com",
    "preset": "google",
    "grant": "jwt_bearer",
    "client_id": "mailer@project.iam.gserviceaccount.com",
    "private_key": private_key(),
}
SCOPE: Final = "https://outlook.office365.com/.default"
MICROSOFT: Final = "https://login.microsoftonline.com/{}/oauth2/v2.0/token"


def profile(auth: dict[str, Any]) -> dict[str, Any]:
    """A profile that logs in so."""
    return PROFILE | {"auth": auth}


async def make_auth(acme: Caller, auth: dict[str, Any]) -> Any:
    """What is read of `auth` once it is stored."""
    return (await acme.made("/profiles", profile(auth)))["auth"]


async def errors_of(acme: Caller, auth: dict[str, Any]) -> dict[str, str]:
    """What is said of each field."""
    answer = await acme("POST", "/profiles", profile(auth))
    assert answer.status_code == 422, answer.text
    return {".".join(error["loc"]): error["msg"] for error in answer.json()["errors"]}


async def test_an_app_is_stored_its_secret_sealed_and_never_read_back(
    api: Api, acme: Caller
) -> None:
    """Invariant 9: no answer has it, and the database has it bound to its row and field."""
    answer = await acme("POST", "/profiles", profile(APP | {"scope": "mail.send"}))
    assert CANARY not in answer.text
    read = answer.json()["auth"]
    assert read == {
        "mechanism": "oauth2",
        "username": "billing@example.com",
        "has_password": False,
        "allow_plaintext_auth": False,
        "grant": "client_credentials",
        "token_url": URL,
        "client_id": "app-1",
        "scope": "mail.send",
        "subject": None,
        "has_client_secret": True,
        "has_private_key": False,
        "has_refresh_token": False,
    }
    profile_id = answer.json()["id"]
    assert await api.open_secret(profile_id, "oauth_client_secret") == CANARY


@pytest.mark.parametrize(
    ("auth", "token_url", "scope"),
    [
        (GOOGLE, "https://oauth2.googleapis.com/token", "https://mail.google.com/"),
        (
            APP | {"token_url": None, "preset": "microsoft", "tenant": "contoso.example"},
            MICROSOFT.format("contoso.example"),
            SCOPE,
        ),
        (APP | {"preset": "microsoft", "scope": "other"}, URL, "other"),
    ],
)
async def test_a_preset_is_resolved_when_it_is_written(
    acme: Caller, auth: dict[str, Any], token_url: str, scope: str
) -> None:
    """What is written besides it counts; what is stored is what it meant."""
    read = await make_auth(acme, auth)
    assert (read["token_url"], read["scope"]) == (token_url, scope)
    assert "preset" not in read


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("auth", "field", "expected"),
    [
        ({"mechanism": "oauth2", "username": "a"}, "grant", "client_credentials"),
        (APP | {"mechanism": "plain"}, "mechanism", "set mechanism to oauth2"),
        (APP | {"username": None}, "username", "needs a user name"),
        (APP | {"username": None, "mechanism": "auto"}, "username", "mailbox"),
        (APP | {"password": "x"}, "password", "set it to null"),
        (APP | {"client_secret": None}, "client_secret", "grant=client_credentials needs"),
        (APP | {"refresh_token": "x"}, "refresh_token", "does not use it"),
        (APP | {"grant": "refresh_token"}, "refresh_token", "needs this field"),
        (APP | {"grant": None}, "grant", "leave out all OAuth fields"),
        (APP | {"client_id": None}, "client_id", "client_email"),
        (APP | {"token_url": None}, "token_url", "preset"),
        (APP | {"subject": "x"}, "subject", "only grant=jwt_bearer"),
        (APP | {"tenant": "x"}, "tenant", "preset=microsoft"),
        (APP | {"preset": "google"}, "grant", "jwt_bearer or refresh_token"),
        (APP | {"token_url": None, "preset": "microsoft"}, "tenant", "Microsoft Entra"),
        (GOOGLE | {"preset": "microsoft", "tenant": "x"}, "grant", "client_credentials"),
        (GOOGLE | {"private_key": None}, "private_key", "needs this field"),
        (GOOGLE | {"private_key": "nonsense"}, "private_key", "PEM"),
        (APP | {"token_url": "login.example.com/token"}, "token_url", "whole URL"),
        (APP | {"token_url": "https://a:b@example.com/"}, "token_url", "password"),
        (APP | {"token_url": "https://[/"}, "token_url", "whole URL"),
        (APP | {"scope": "a  b"}, "scope", "one space"),
        (APP | {"preset": "microsoft", "tenant": "a/../b"}, "tenant", "domain names"),
    ],
)
async def test_a_login_that_contradicts_itself_is_refused_with_what_to_write(
    acme: Caller, auth: dict[str, Any], field: str, expected: str
) -> None:
    """At the field, and without any secret."""
    errors = await errors_of(
        acme, {name: value for name, value in auth.items() if value is not None}
    )
    assert expected in errors[f"body.auth.{field}"]
    assert CANARY not in str(errors)


async def test_a_token_in_clear_is_refused_as_a_password_is(acme: Caller) -> None:
    """It is one while it lasts."""
    answer = await acme("POST", "/profiles", profile(APP) | {"tls": "none"})
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "auth", "allow_plaintext_auth"]
    assert "access token" in error["msg"]


async def test_a_change_keeps_what_it_does_not_name(acme: Caller) -> None:
    """RFC 7396: the secret stays, a new preset fills in anew, null takes away."""
    await make_auth(acme, APP | {"preset": "microsoft", "token_url": MICROSOFT.format("one")})
    change = {"auth": {"preset": "microsoft", "tenant": "two"}}
    refusal = await acme("PATCH", "/profiles/transactional", change)
    assert "set auth.client_secret again" in refusal.json()["detail"]
    change = {"auth": {"preset": "microsoft", "tenant": "one", "client_id": "app-2"}}
    after = (await acme("PATCH", "/profiles/transactional", change)).json()["auth"]
    assert (after["client_id"], after["scope"]) == ("app-2", SCOPE)
    assert after["token_url"] == MICROSOFT.format("one")
    assert after["has_client_secret"] is True
    change = {"auth": dict.fromkeys(("grant", "token_url", "client_id", "client_secret", "scope"))}
    change["auth"] |= {"mechanism": "login", "password": "x"}
    after = (await acme("PATCH", "/profiles/transactional", change)).json()["auth"]
    assert after["grant"] is after["token_url"] is None
    assert (after["has_client_secret"], after["has_password"]) == (False, True)


async def test_a_secret_that_is_left_over_is_named(acme: Caller) -> None:
    """Nothing secret is kept that nothing uses."""
    await make_auth(acme, APP)
    change = {"auth": {"grant": "jwt_bearer", "private_key": private_key()}}
    answer = await acme("PATCH", "/profiles/transactional", change)
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "auth", "client_secret"]
    assert "set it to null" in error["msg"]


async def test_all_is_gone_with_auth_null(acme: Caller) -> None:
    """Also what is sealed."""
    await make_auth(acme, APP)
    after = (await acme("PATCH", "/profiles/transactional", {"auth": None})).json()["auth"]
    assert after["mechanism"] == "auto"
    assert not any(value for name, value in after.items() if name != "mechanism")
