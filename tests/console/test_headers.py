"""The headers of every answer of the console."""

import pytest

from app.console.page import POLICY
from tests.support.console import sign_in
from tests.support.harness import Heloise, Tenant


@pytest.mark.one_database
async def test_every_answer_keeps_others_out(heloise: Heloise, acme: Tenant) -> None:
    """Pages, errors, redirects and the sign-in: no frame, no cache, no referrer, no inline script.

    Scripts and styles are cached, since their URLs change with them.
    """
    user = await sign_in(acme)
    for path in ("/sign-in", "/", "/nothing", "/t/acme/messages", "/t/acme/messages/none"):
        for cookie in ("", user.cookie):
            headers = {"Cookie": cookie}
            answer = (await heloise.http.get(f"/console{path}", headers=headers)).headers
            assert answer["content-security-policy"] == POLICY, path
            assert answer["x-frame-options"] == "DENY"
            assert answer["x-content-type-options"] == "nosniff"
            assert answer["referrer-policy"] == "same-origin"
            assert answer["cache-control"] == "no-store"
    assert "unsafe" not in POLICY
    assert "frame-ancestors 'none'" in POLICY
    script = await heloise.http.get("/console/static/console.js")
    assert "immutable" in script.headers["cache-control"]
