"""/docs and /redoc work without any other host."""

import asyncio
import re
import threading
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.api_client import Api

pytestmark = pytest.mark.one_database


class References(HTMLParser):
    """Collects what a page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in {"src", "spec-url"} or (name == "href" and tag == "link")):
                self.found.add(value)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_every_asset_is_served_here(api: Api, path: str) -> None:
    """Scripts, styles, icon and document, each from this app and not empty."""
    page = await api.nobody("GET", path)
    parser = References()
    parser.feed(page.text)
    urls = parser.found | set(re.findall(r"""url: ?['"]([^'"]+)['"]""", page.text))
    assert {"/openapi.json"} < urls
    assert any(url.endswith(".js") for url in urls)
    for url in urls:
        assert urlsplit(url).netloc == ""
        answer = await api.nobody("GET", urljoin(path, url))
        assert answer.status_code == 200
        assert answer.content


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_page_names_another_host(api: Api, path: str) -> None:
    """And none may ask one: the policy forbids images, fonts and requests from elsewhere."""
    page = await api.nobody("GET", path)
    assert re.findall(r"https?://[^\s\"'<]+", page.text) == []
    policy = page.headers["Content-Security-Policy"]
    for directive in ("img-src 'self' data:", "font-src 'self' data:", "connect-src 'self'"):
        assert directive in policy


async def test_docs_have_a_title(api: Api) -> None:
    """They are Heloise's."""
    assert "<title>Heloise" in (await api.nobody("GET", "/docs")).text


async def test_the_authorize_button_has_what_it_needs(document: dict[str, Any]) -> None:
    """Swagger UI shows it where the document has a scheme that operations use."""
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/messages"]["post"]["security"] == [{"key": []}]


async def test_docs_keep_the_key_and_have_a_filter(api: Api) -> None:
    """A reload does not log the reader out, and a word selects its sections."""
    page = (await api.nobody("GET", "/docs")).text
    assert '"persistAuthorization": true' in page
    assert '"filter": true' in page


async def test_sending_a_message_comes_first(document: dict[str, Any]) -> None:
    """In /docs and /redoc, which list tags, paths and methods in the document's order."""
    first_path, operations = next(iter(document["paths"].items()))
    assert (first_path, next(iter(operations))) == ("/messages", "post")
    assert operations["post"]["tags"] == [document["tags"][0]["name"]]


async def test_each_collection_comes_before_its_items(document: dict[str, Any]) -> None:
    """So that a section begins with what creates and lists its objects."""
    paths = list(document["paths"])
    for number, path in enumerate(paths):
        parents = {other for other in paths if path.startswith(f"{other}/")}
        assert parents <= set(paths[:number]), path


async def test_the_document_is_written_once(api: Api) -> None:
    """It takes seconds, and nobody needs a key for it."""
    made = list[threading.Thread]()
    write = api.app.openapi

    def count_calls() -> dict[str, Any]:
        made.append(threading.current_thread())
        return write()

    api.app.openapi = count_calls  # type: ignore[method-assign]
    answers = await asyncio.gather(*(api.nobody("GET", "/openapi.json") for _ in range(5)))
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["info"]["title"] == "Heloise"
    assert len(made) == 1
    assert made[0] is not threading.main_thread()
