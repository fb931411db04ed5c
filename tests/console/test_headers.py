"""The headers of every answer of the console."""

import pytest

from app.console.page import POLICY
from app.console.rendering import read_static_files
from tests.support.console import sign_in
from tests.support.harness import Heloise, Tenant


@pytest.mark.one_database
async def test_every_answer_keeps_others_out(heloise: Heloise, acme: Tenant) -> None:
    """Pages, errors, redirects and the sign-in: no frame, no cache, no referrer, no inline script.

    Scripts and styles are cached in the version that their URL names.
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
    version = read_static_files()["console.js"][2]
    for asked, policy in (
        (f"?v={version}", "public, max-age=31536000, immutable"),
        ("?v=other", "no-store"),
        ("", "no-store"),
    ):
        script = await heloise.http.get(f"/console/static/console.js{asked}")
        assert (script.status_code, script.headers["cache-control"]) == (200, policy)


@pytest.mark.one_database
async def test_every_refusal_has_a_page(heloise: Heloise, acme: Tenant) -> None:
    """Wrong methods, missing files, too many guesses; each with the request's id."""
    user = await sign_in(acme)
    headers = {"Cookie": user.cookie, "X-Request-ID": "req-7"}
    for method, path, status, detail in (
        ("PUT", "/t/acme/messages", 405, "does not allow PUT"),
        ("DELETE", "/sign-in", 405, "does not allow DELETE"),
        ("GET", "/t/acme/messages/msg_none/download", 404, "There is no message"),
        ("HEAD", "/t/acme/live", 405, ""),
    ):
        answer = await heloise.http.request(method, f"/console{path}", headers=headers)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-request-id"] == "req-7"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert detail in answer.text
    for _ in range(30):
        answer = await heloise.http.post("/console/sign-in", data={"key": "hel_wrong"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
