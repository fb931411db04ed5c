"""The list of messages, and acting on many."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from playwright.async_api import Route, expect

from app.api.messages.schemas import MessageQuery
from app.console.pages.messages import FILTERS
from tests.console.conftest import Console
from tests.support.console import sign_in, text_of
from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import SmtpServer

LIST = re.compile(r"/t/acme/messages\??$")
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


async def test_the_list_is_live(console: Console, acme: Tenant) -> None:
    """A message and its state appear by themselves; a hidden page waits, a failure changes none."""
    await console.sign_in(acme)
    await expect(console.page.get_by_text("There is no message yet.")).to_be_visible()
    async with SmtpServer() as server:
        await acme.profile("main", server.port)
        await acme.send(subject="Your receipt", profile="main")
        row = console.page.get_by_role("row", name="Your receipt")
        await expect(row.get_by_text("sent", exact=True)).to_be_visible()
        async with console.page.expect_event(
            "requestfailed", lambda request: request.url.endswith("/live")
        ):
            await set_hidden(console, is_hidden=True)
        await acme.send(subject="While hidden", profile="main")
        await server.wait_for_messages(2)
        row = console.page.get_by_role("row", name="While hidden")
        await expect(row).to_have_count(0)
        await console.page.route(LIST, answer_503)
        async with console.page.expect_response(lambda response: response.status == 503):
            await set_hidden(console, is_hidden=False)
        await expect(console.page.get_by_role("row", name="Your receipt")).to_be_visible()
        await expect(console.page.get_by_text("Not ready")).to_have_count(0)
        await console.page.unroute(LIST)
        await set_hidden(console, is_hidden=False)
        await expect(row).to_be_visible()
    [refused] = console.window.errors
    assert "503" in refused
    console.window.errors.clear()


@pytest.mark.one_database
async def test_a_slow_load_pauses_the_list_at_most_half_a_minute(
    console: Console, acme: Tenant
) -> None:
    """Even if the machine slept for an hour while the list loaded."""
    await console.sign_in(acme)
    await expect(console.page.get_by_text("There is no message yet.")).to_be_visible()
    sleep = """() => {
        const now = performance.now.bind(performance);
        let slept = 0;
        performance.now = () => now() + (slept += 3600000);
        refresh();
    }"""
    await console.page.evaluate(sleep)
    await console.page.wait_for_function("pauseMs > PAUSE_MS")
    assert await console.page.evaluate("pauseMs") == 30_000


async def answer_503(route: Route) -> None:
    """Answers as a proxy does while the service starts."""
    await route.fulfill(status=503, content_type="text/html", body="<h1>Not ready</h1>")


async def set_hidden(console: Console, *, is_hidden: bool) -> None:
    """Show the page, or hide it as a browser hides a tab in the background."""
    await console.page.evaluate(
        """(isHidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, value: isHidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


@pytest.mark.one_database
async def test_reading_does_not_slow_down_senders(heloise: Heloise, acme: Tenant) -> None:
    """Open pages are not counted against the tenant's requests per second; changes are."""
    quota = {"requests_per_second": 1}
    await heloise.admin("PATCH", "/tenants/acme", {"quota": quota})
    user = await sign_in(acme)
    for _ in range(3):
        assert (await user.get("/messages")).status_code == 200
    await acme.read("/messages")
    assert (await user.get("/messages")).status_code == 200
    form = {"do": "cancel", "on": "filter", "tag": "x"}
    changes = await asyncio.gather(*(user.post("/messages/act", **form) for _ in range(3)))
    assert 429 in {response.status_code for response in changes}


async def test_keys_and_selection(console: Console, acme: Tenant) -> None:
    """Keys walk the list and reach the filter; what is selected is counted, then cancelled."""
    await acme.profile("main", 1)
    for subject in ("one", "two", "three"):
        await acme.send(subject=subject, send_at=TOMORROW)
    await console.sign_in(acme)
    page = console.page
    keys = page.keyboard
    await expect(page.get_by_role("row", name="three")).to_be_visible()
    await page.wait_for_load_state()
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await keys.press("Escape")
    for key in ("j", "x", "j", "j", "j", "x", "k"):
        await keys.press(key)
    await expect(page.get_by_role("link", name="two")).to_be_focused()
    await keys.press("/")
    await expect(page.get_by_label("Recipient")).to_be_focused()
    await keys.type("j/?x")
    await expect(page.get_by_label("Recipient")).to_have_value("j/?x")
    await acme.send(subject="four", send_at=TOMORROW)
    await page.get_by_role("button", name="Selected…").click()
    await expect(page.get_by_text("2 messages match.")).to_be_visible()
    await page.get_by_role("button", name="Cancel: 2 messages").click()
    await expect(page.get_by_role("status")).to_have_text("Cancelled: 2.")
    for subject, state in (("one", "cancelled"), ("two", "scheduled"), ("three", "cancelled")):
        row = page.get_by_role("row", name=subject)
        await expect(row.get_by_text(state, exact=True)).to_be_visible()
    await keys.press("j")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("four scheduled")


@pytest.mark.one_database
async def test_a_filter_is_in_the_url_and_an_action_applies_to_all_of_it(acme: Tenant) -> None:
    """Each page keeps it; the count comes first; what arrives after the count is left alone."""
    await acme.profile("main", 1)
    for number in range(3):
        await acme.send(subject=f"{number}", send_at=TOMORROW, tags=["x"])
    user = await sign_in(acme)
    page = await user.get("/messages?tag=x&limit=2")
    assert page.status_code == 200
    assert "scheduled 3" in text_of(page)
    assert 'href="/console/t/acme/messages?tag=x&amp;limit=2&amp;status=held"' in page.text
    form = {"do": "cancel", "on": "filter", "tag": "x"}
    counted = await user.post("/messages/act", **form)
    assert "3 messages match." in text_of(counted)
    counted_at = counted.text.partition('name="counted_at" value="')[2].partition('"')[0]
    later = await acme.send(send_at=TOMORROW, tags=["x"])
    done = await user.post("/messages/act", **form, confirmed="yes", counted_at=counted_at)
    assert (done.status_code, done.headers["location"]) == (303, "/console/t/acme/messages?tag=x")
    assert (await acme.read(f"/messages/{later}"))["status"] == "scheduled"
    assert len((await acme.read("/messages?status=cancelled"))["items"]) == 3


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"do": "cancel", "on": "selected"}, "No message selected"),
        ({"do": "cancel", "on": "filter"}, "the filter is empty"),
        ({"do": "erase", "on": "filter", "tag": "x"}, "Choose what to do"),
        ({"do": "retry", "on": "filter", "subject": "x"}, "filter.subject"),
        ({"do": "cancel", "on": "filter", "tag": "x", "done": "²", "created_after": "x"}, "offset"),
    ],
)
async def test_an_action_that_is_none_says_why(
    acme: Tenant, form: dict[str, str], text: str
) -> None:
    """A search, an empty filter and no selection change nothing."""
    user = await sign_in(acme)
    response = await user.post("/messages/act", **form)
    assert response.status_code == 422
    assert text in text_of(response)


@pytest.mark.one_database
async def test_an_action_that_fails_midway_continues(acme: Tenant) -> None:
    """The page keeps where it stopped and what was done; what was skipped is summed by reason."""
    await acme.profile("main", 1)
    await acme.send(send_at=TOMORROW, tags=["x"])
    user = await sign_in(acme)
    form = {"do": "retry", "on": "filter", "tag": "x", "confirmed": "yes", "progress.done": "7"}
    stopped = await user.post("/messages/act", **form, cursor="broken")
    assert stopped.status_code == 422
    assert 'role="alert"' in stopped.text
    assert "Done so far: 7." in text_of(stopped)
    assert 'name="cursor" value="broken"' in stopped.text
    assert 'name="progress.done" value="7"' in stopped.text
    skipped = {f"progress.{slug}": "2" for slug in ("nothing-to-retry", "key-is-bound")}
    done = await user.post("/messages/act", **form, **skipped)
    notice = unquote(unquote(done.cookies["__Host-heloise-notice"]))
    assert notice == "Retried: 7. Skipped 3: nothing to retry. Skipped 2: key is bound."
    live = {"Cookie": f"{user.cookie}; __Host-heloise-notice=Retried", "Heloise-Live": "true"}
    part = await acme.http.get("/console/t/acme/messages", headers=live)
    assert "heloise-notice" not in part.headers.get("set-cookie", "")


def test_each_filter_of_the_api_has_a_field() -> None:
    """A new one cannot be forgotten."""
    names = {field.name for field in FILTERS}
    assert names == MessageQuery.model_fields.keys() - {"id", "limit", "cursor"}


@pytest.mark.one_database
async def test_a_wrong_filter_says_what_to_write(acme: Tenant) -> None:
    """The API's message is at its field, and what was typed stays."""
    user = await sign_in(acme)
    page = await user.get("/messages?created_after=yesterday&recipient=ann")
    assert page.status_code == 200
    assert 'id="e-created_after"' in page.text
    assert 'value="yesterday"' in page.text
    unknown = await user.get("/messages?profile=nobody")
    assert "nobody" in text_of(unknown)
