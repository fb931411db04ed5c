"""Follow the links of the console, from its first pages to every page that they reach."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from playwright.async_api import Error, Page

from app.console.pages import inbox
from app.console.rendering import show
from app.console.site import MODULES
from tests.support.browser import Window

# Chromium tells of what the policy of a framed document stops.
FRAMING: Final = re.compile(r"/(html|preview|document)$|/inbox/cap_\w+$")
MAX_PAGES: Final = 100
# Of pages with the same route and the same parameters, so many are opened.
MAX_ALIKE: Final = 1
_LINKS: Final = "[...document.querySelectorAll('a[href]:not([download])')].map(link => link.href)"


def find_route(path: str) -> str | None:
    """Return the path of the route that serves a page, as its module has it."""
    for module in (inbox, *MODULES):
        for method, route, _ in module.PAGES:
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route))
            if method == "GET" and re.fullmatch(f"/console{pattern}", path):
                return str(route)
    return None


async def crawl(page: Page, url: str, starts: Sequence[str]) -> AsyncIterator[str]:
    """Open each page that can be reached by links, and yield its path while it is open."""
    waiting, seen_urls, alike = [url + start for start in starts], set(starts), Counter[object]()
    page_count = 0
    while waiting and page_count < MAX_PAGES:
        link = waiting.pop(0)
        parts = urlsplit(link)
        names = frozenset(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        route = find_route(parts.path)
        # The views of a message have one route, and are different pages.
        view = parts.path.rpartition("/")[2] if route and route.endswith("{view}") else ""
        kind = (route, view, names)
        alike[kind] += 1
        if alike[kind] > MAX_ALIKE or "remote" in names:
            continue
        try:
            response = await page.goto(link)
        except Error as error:
            assert "Download is starting" in str(error) or "ERR_ABORTED" in str(error), link  # noqa: PT017
            continue
        assert response is not None
        assert response.status == 200 or find_route(urlsplit(page.url).path) is None, (
            response.status,
            page.url,
        )
        page_count += 1
        yield urlsplit(page.url).path
        for href in await page.evaluate(_LINKS):
            target = href.partition("#")[0]
            if target.startswith(f"{url}/console/") and target not in seen_urls:
                seen_urls.add(target)
                waiting.append(target)
    assert page_count < MAX_PAGES


def squeeze(text: str) -> str:
    """The text with single blanks."""
    return " ".join(text.split())


async def read_text(page: Page) -> str:
    """All text of a page, and all values of its fields."""
    parts = await page.evaluate(
        "[document.title, document.body.textContent,"
        " ...[...document.querySelectorAll('input, textarea')].map(field => field.value)]"
    )
    return squeeze(" ".join(parts))


async def look_no_further(_: str) -> None:
    """Find the text of a page enough."""


async def read_pages(
    shown_page: Window,
    url: str,
    starts: Sequence[str],
    look_further: Callable[[str], Awaitable[None]] = look_no_further,
) -> dict[str, str]:
    """Return the text of each page by its path, after a look whether hostile text did something.

    `look_further` is called with the path while the page is open, and may change the page.
    """
    texts = dict[str, str]()
    async for path in crawl(shown_page.page, url, starts):
        assert await shown_page.page.evaluate("document.querySelectorAll('[pwned]').length") == 0
        assert await shown_page.page.evaluate("document.querySelectorAll('base').length") == 0
        texts[path] = texts.get(path, "") + await read_text(shown_page.page)
        if FRAMING.search(path):
            shown_page.errors.clear()
        assert [error for error in shown_page.errors if "404" not in error] == [], path
        await look_further(path)
    return texts


def find_missing(hostile: Sequence[str], texts: Mapping[str, str]) -> list[str]:
    """Return the hostile texts that no page shows as they are, or with visible controls."""
    shown = "\n".join(texts.values())
    return [text for text in hostile if squeeze(str(show(text))) not in shown]


@asynccontextmanager
async def trap() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve on loopback, and note who comes: yields the origin, and what was asked."""
    requests: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(b"(connected)")
        requests.append(await reader.read(4096))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
    finally:
        server.close()
