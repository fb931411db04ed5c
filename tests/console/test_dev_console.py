"""The console of `heloise dev`: open without a key on loopback, with the inbox as a page."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from app.dev.inbox import Inbox, Mail
from app.domain.ids import new_id
from tests.support.browser import window
from tests.support.crawling import find_missing, read_pages, trap
from tests.support.dev_process import Dev, developing
from tests.support.hostile import CONTROLS, DECEPTIVE, EVERYTHING, build_html
from tests.support.hostile import HOSTILE as HOSTILE_TEXTS
from tests.support.processes.forked import Forker
from tests.support.terminal import Terminal

NAME = "mail.dev.example"  # of another profile, which the doctor recommends
HOSTILE = "<script>fetch('http://192.0.2.1/')</script><img src=http://192.0.2.1/x>"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory, forking: Forker) -> Iterator[Dev]:
    """It runs on loopback."""
    with developing(Terminal(tmp_path_factory.mktemp("dev"), forker=forking)) as dev:
        yield dev


async def test_the_inbox_shows_mails_as_they_arrive(dev: Dev, browser: Path) -> None:
    """With the name that was said, files, and HTML that runs and loads nothing."""
    async with window(browser) as browser_window:
        page = browser_window.page
        await page.goto(f"{dev.url}/")
        await expect(page).to_have_url(f"{dev.url}/console/t/dev/messages")
        await page.get_by_role("link", name="Inbox").click()
        await expect(page.get_by_text("No mail has arrived yet.")).to_be_visible()
        body = {
            "profile": "transactional",
            "to": ["ann@example.org"],
            "subject": "Receipt <b>\u202e",
            "text": "Thanks.",
            "html": f"<p>Thanks.</p>{HOSTILE}",
            "attachments": [
                {"filename": "größe 1.txt", "content": "aGk=", "content_type": "text/plain"}
            ],
        }
        with dev.http() as http:
            answer = await asyncio.to_thread(http.post, "/messages", json=body)
            assert answer.status_code == 202, answer.text
        row = page.get_by_role("row", name="Receipt")
        await expect(row).to_contain_text("mail.dev.example")
        await row.get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Receipt <b>")
        await expect(page.frame_locator("iframe").get_by_text("Thanks.")).to_be_visible()
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="größe 1.txt").click()
        download = await downloading.value
        assert (await asyncio.to_thread(Path(await download.path()).read_bytes)) == b"hi"
        await page.get_by_role("link", name="Source").click()
        await expect(page.locator("body")).to_contain_text("Subject:")
        assert browser_window.requests_to_others(dev.url) == []


async def test_a_refused_name_is_mended_by_clicks_alone(dev: Dev, browser: Path) -> None:
    """From the first page to the inbox: why the message waits, the doctor's name, and the mail."""
    async with window(browser) as browser_window:
        page = browser_window.page
        await page.goto(f"{dev.url}/")
        await page.get_by_role("link", name="Inbox").click()
        await page.get_by_role("button", name="See a refused EHLO name").click()
        await expect(page.get_by_text("<app.invalid>: Helo command rejected").first).to_be_visible()
        await expect(page.locator(".waiting").first).to_contain_text("profile failing")
        await page.get_by_role("link", name="practice", exact=True).click()
        await page.get_by_role("button", name="Verify").click()
        await expect(page.get_by_text("Recommended:")).to_contain_text(NAME)
        trial = page.get_by_role("row", name=f"{NAME} ").first
        await trial.get_by_role("button", name="Use this name").click()
        await expect(page.locator("#live").get_by_text("active", exact=True)).to_be_visible()
        await page.get_by_role("link", name="Inbox").click()
        row = page.get_by_role("row", name="Practice: a refused EHLO name")
        await expect(row).to_contain_text(NAME)
        await page.get_by_role("link", name="Messages", exact=True).click()
        sent = page.get_by_role("row", name="Practice: a refused EHLO name")
        await expect(sent.get_by_text("sent", exact=True)).to_be_visible()
        assert browser_window.errors == []
        assert browser_window.requests_to_others(dev.url) == []


def plant(folder: Path, origin: str) -> None:
    """Put a mail with hostile text into the inbox: in its content, and in all that was said."""
    content = EmailMessage(policy=SMTP)
    for number, text in enumerate((*HOSTILE_TEXTS, *DECEPTIVE)):
        content[f"X-Hostile-{number}"] = text
    content.set_content("\n".join((*HOSTILE_TEXTS, *DECEPTIVE, CONTROLS)))
    content.add_alternative(build_html(origin), subtype="html")
    for text in HOSTILE_TEXTS:
        content.add_attachment(b"x", maintype="text", subtype="html", filename=text)
    mail = Mail(
        id=new_id("cap"),
        received_at=datetime.now(UTC),
        ehlo_name=f"ehlo {EVERYTHING}",
        auth_user=f"user {EVERYTHING}",
        mail_from=f"from {EVERYTHING}",
        rcpt_to=tuple(f"to {text}" for text in (*HOSTILE_TEXTS, CONTROLS)),
        subject=f"subject {EVERYTHING}",
        size_bytes=1,
    )
    folder.mkdir(parents=True)
    Inbox(folder).add(mail, content.as_bytes())


@pytest.mark.slow
async def test_hostile_mails_do_nothing(tmp_path: Path, browser: Path, forking: Forker) -> None:
    """What a client says, and what is in a mail: it is readable, runs nothing and loads nothing."""
    async with trap() as (origin, requests):
        await asyncio.to_thread(plant, tmp_path / "heloise-data" / "inbox", origin)
        with developing(Terminal(tmp_path, forker=forking)) as dev:
            async with window(browser) as opened:
                await opened.page.goto(f"{dev.url}/")
                texts = await read_pages(opened, dev.url, ["/console/t/dev/inbox"])
                mails = {path: text for path, text in texts.items() if "/inbox" in path}
                said = [f"{what} {EVERYTHING}" for what in ("ehlo", "user", "from", "subject")]
                [mail] = [path for path in mails if path.rpartition("/")[2].startswith("cap_")]
                for path in ("/console/t/dev/inbox", mail):
                    assert find_missing(said, {path: mails[path]}) == [], path
                assert find_missing((*HOSTILE_TEXTS, *DECEPTIVE, CONTROLS), mails) == []
                assert opened.dialogs == []
                assert opened.requests_to_others(dev.url) == []
                assert requests == []


def test_no_other_site_opens_it(dev: Dev) -> None:
    """A link of another site leads to the sign-in page; a name that points here reads nothing."""
    with httpx.Client(base_url=dev.url, timeout=60) as http:
        for site in ("cross-site", "same-site"):
            answer = http.get("/console/sign-in/dev", headers={"Sec-Fetch-Site": site})
            assert answer.headers["location"] == "/console/sign-in"
            assert "set-cookie" not in answer.headers
        assert "Sign in to heloise dev" in http.get("/console/sign-in").text
        assert http.get("/console/sign-in/dev", headers={"Host": "evil.example"}).status_code == 400
        first = http.get("/", follow_redirects=True)
        assert first.status_code == 200
        [cookie] = http.cookies.jar
        assert (cookie.name, cookie.has_nonstandard_attr("HttpOnly")) == ("heloise", True)
        second = http.get("/console/sign-in/dev")
        assert "set-cookie" not in second.headers


def test_practice_is_offered_where_its_profile_exists(dev: Dev) -> None:
    """Not to another tenant, which has none: the button would lead to a 404."""
    admin = {"Authorization": f"Bearer {dev.printed('admin key')}"}
    with (
        dev.http() as api,
        httpx.Client(base_url=dev.url, timeout=60, follow_redirects=True) as http,
    ):
        http.get("/")
        assert "See a refused EHLO name" in http.get("/console/t/dev/inbox").text
        api.post("/tenants", json={"slug": "new"}, headers=admin).raise_for_status()
        http.post(
            "/console/sign-in",
            data={"key": dev.printed("admin key")},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        for path in ("/console/t/new/inbox", "/console/t/new/messages"):
            page = http.get(path)
            assert page.status_code == 200
            assert "See a refused EHLO name" not in page.text
        assert "See a refused EHLO name" in http.get("/console/t/dev/inbox").text


def test_off_loopback_it_asks_for_the_key(tmp_path: Path, forking: Forker) -> None:
    """As the inbox does."""
    with developing(Terminal(tmp_path, forker=forking), "--host", "0.0.0.0") as dev:  # noqa: S104 - the claim is about it
        answer = httpx.get(f"{dev.url}/", follow_redirects=True, timeout=60)
        assert answer.url.path == "/console/sign-in"
        assert "Sign in to heloise dev" not in answer.text
        assert httpx.get(f"{dev.url}/console/sign-in/dev", timeout=60).status_code == 404
