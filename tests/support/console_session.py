"""The console without a browser: sign in, and read pages with the session's cookie."""

import re
from typing import Any

import httpx

from tests.support.harness import Heloise


def key_of(caller: Any) -> str:
    """The key of a caller."""
    return str(caller.headers["Authorization"].partition(" ")[2])


def cookie_of(response: httpx.Response) -> str:
    """The cookie that a response sets first."""
    return response.headers["set-cookie"].partition(";")[0]


async def sign_in(heloise: Heloise, key: str, **headers: str) -> httpx.Response:
    """Send the form of the sign-in, as a browser does."""
    return await heloise.http.post(
        "/console/sign-in", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin", **headers}
    )


async def read(heloise: Heloise, path: str, cookie: str) -> httpx.Response:
    """Read a page with a session's cookie."""
    return await heloise.http.get(f"/console{path}", headers={"Cookie": cookie})


async def send_form(
    heloise: Heloise, page: str, path: str, cookie: str, **fields: str
) -> httpx.Response:
    """Send a form of a page, with the token that the page has."""
    text = (await read(heloise, page, cookie)).text
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None, text
    return await heloise.http.post(
        f"/console{path}", data={"csrf": found[1], **fields}, headers={"Cookie": cookie}
    )
