"""Forms with what no browser sends by itself."""

import pytest

from app.console.forms import MAX_DIGITS, MAX_LEVELS, parse_json, parse_number
from app.console.pages import profile_form
from tests.support.api_client import Caller
from tests.support.console import Session, sign_in
from tests.support.harness import ADMIN_KEY, Heloise, Tenant

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5000


@pytest.mark.parametrize("text", [DEEP, LONG, "[" * 101 + "]" * 101, "{", "[1,]"])
def test_json_that_cannot_be_sent_says_what_to_write(text: str) -> None:
    """Too deep, too long a number, or none."""
    with pytest.raises(ValueError, match="write"):
        parse_json(text)


def test_what_is_sent_as_written() -> None:
    """Nested values within bounds; digits as a number, anything else as text."""
    levels = MAX_LEVELS - 1
    assert parse_json("[" * levels + "]" * levels)
    assert parse_number(" 25 ") == 25
    assert parse_number(" ") is None
    assert [parse_number(text) for text in ("²", "٣", "-1", LONG)] == ["²", "٣", "-1", LONG]
    assert parse_number("9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
    kept = profile_form.keep({"advanced": '{"tls_ca": "\\ud800", "client_key": "x"}'})
    assert kept["advanced"].encode()
    assert "client_key" not in kept["advanced"]


@pytest.mark.one_database
async def test_odd_input_is_refused(heloise: Heloise, acme: Tenant) -> None:
    """At its field, and never with a fault of the service."""
    await acme.profile("main", 1)
    user = await sign_in(acme)
    name = {"name": "odd", "host": "127.0.0.1"}
    for path, fields, field in (
        ("/new-profile", name | {"port": LONG}, "port"),
        ("/new-profile", name | {"advanced": DEEP}, "advanced"),
        ("/new-profile", name | {"advanced": '{"tls_ca": "\\ud800"}', "port": "x"}, "port"),
        ("/templates/new", {"name": "odd", "locales": DEEP}, "locales"),
        ("/templates/new", {"name": "odd", "variables_schema": LONG}, "variables_schema"),
    ):
        page = await user.post(path, **fields)
        assert (page.status_code, f'id="e-{field}"' in page.text) == (422, True), path
    admin = await sign_in(Caller(heloise.http, {"Authorization": f"Bearer {ADMIN_KEY}"}))
    page = await Session(admin.http, admin.cookie, admin.csrf, "/console").post(
        "/tenants/acme", name="acme", **{"quota.profiles": LONG}
    )
    assert (page.status_code, 'id="e-quota.profiles"' in page.text) == (422, True)
    for session in (user, admin):
        answer = await session.http.get(
            "/console/t/a%00b/messages", headers={"Cookie": session.cookie}
        )
        assert answer.status_code == 404
