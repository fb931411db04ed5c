"""Statistics with charts, and the use of quotas."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from app.console.pages.statistics import draw, list_keys
from tests.console.conftest import Console
from tests.support.console import sign_in
from tests.support.harness import Heloise, Tenant
from tests.support.servers.smtp_server import SmtpServer


@pytest.mark.one_database
async def test_recipients_are_counted_by_time_and_group(console: Console, acme: Tenant) -> None:
    """A chart with a title and a description, and the same numbers in tables."""
    page = console.page
    async with SmtpServer({"rcpt": ["550 5.1.1 No such user"]}) as server:
        await acme.profile("main", server.port)
        await acme.message(await acme.send("nobody@example.org"), status="failed")
        await acme.message(await acme.send(["ann@example.org", "bob@example.net"]), status="sent")
    await console.sign_in(acme)
    await page.get_by_role("link", name="Statistics").click()
    chart = page.get_by_role("img", name="Recipients by day")
    await expect(chart).to_be_visible()
    await expect(chart).to_have_accessible_description(
        "A bar for each day, of recipients sent, waiting and not sent; at most 3."
        " The table below has the numbers."
    )
    await expect(chart.locator("rect")).to_have_count(2)
    await expect(page.get_by_role("row", name="main 3 2 0 1 1 0")).to_be_visible()
    await page.get_by_label("Group by").select_option("domain")
    await page.get_by_label("Messages of the last").select_option("1")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("row", name="example.net 1 1 0 0 0 0")).to_be_visible()
    await expect(page.get_by_role("img", name="Recipients by hour")).to_be_visible()


@pytest.mark.one_database
async def test_filters_that_match_nothing_say_so(acme: Tenant) -> None:
    """And an unknown profile is a message on the page."""
    session = await sign_in(acme)
    assert "No message was accepted in this time." in (await session.get("/statistics")).text
    page = await session.get("/statistics?profile=nobody")
    assert 'role="alert"' in page.text


@pytest.mark.one_database
async def test_usage_is_shown_against_the_quota(heloise: Heloise) -> None:
    """Limits of single messages have no use; without a quota there is none to show."""
    quota = {"messages_per_day": 2, "message_bytes": 100_000}
    acme, other = await heloise.tenant("acme", quota=quota), await heloise.tenant("other")
    await acme.profile("main", 1)
    await acme.send()
    text = (await (await sign_in(acme)).get("/usage")).text
    assert "50 %" in text
    assert "of each message or request" in text
    session = await sign_in(other, tenant="other")
    assert "The tenant has no quota." in (await session.get("/usage")).text


def test_a_chart_has_a_column_for_each_period() -> None:
    """Those without mail are empty; the highest bar fills the height."""
    before = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
    keys = list_keys(before - timedelta(hours=4), before, timedelta(hours=1))
    assert keys == [f"2026-01-15T0{hour}:00:00Z" for hour in range(5, 10)]
    counts = {"sent": 3, "waiting": 0, "not sent": 1}
    chart = draw([{"key": keys[1], "recipients": 4, "counts": counts}], keys)
    [sent, failed] = chart["bars"]
    column = chart["width"] / 5
    assert column < sent["x"] < sent["x"] + sent["width"] < 2 * column
    assert (sent["y"], sent["height"]) == (chart["height"] / 4, 3 * chart["height"] / 4)
    assert (failed["part"], failed["y"]) == ("not-sent", 0)
