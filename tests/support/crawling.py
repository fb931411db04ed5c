"""Follow the links of the console, from its first pages to every page that they reach."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from playwright.async_api import Error, Page

from app.console.site import MODULES

MAX_PAGES: Final = 100
# Of pages with the same route and the same parameters, so many are opened.
MAX_ALIKE: Final = 1
_LINKS: Final = "[...document.querySelectorAll('a[href]:not([download])')].map(link => link.href)"


def find_route(path: str) -> str | None:
    """Return the path of the route that serves a page, as its module has it."""
    for module in MODULES:
        for method, route, _ in module.PAGES:
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route))
            if method == "GET" and re.fullmatch(f"/console{pattern}", path):
                return str(route)
    return None


async def crawl(page: Page, url: str, starts: Sequence[str]) -> AsyncIterator[str]:
    """Open each page that can be reached by links, and yield its path while it is open."""
    waiting, seen, alike = [url + start for start in starts], set(starts), Counter[object]()
    opened = 0
    while waiting and opened < MAX_PAGES:
        link = waiting.pop(0)
        parts = urlsplit(link)
        names = frozenset(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        kind = (find_route(parts.path), names)
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
        opened += 1
        yield urlsplit(page.url).path
        for found in await page.evaluate(_LINKS):
            target = found.partition("#")[0]
            if target.startswith(f"{url}/console/") and target not in seen:
                seen.add(target)
                waiting.append(target)
    assert opened < MAX_PAGES
