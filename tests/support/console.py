"""The console without a browser: the requests that a browser would send."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx

from tests.support.api_client import Caller


@dataclass
class Session:
    """A session of the console; `prefix` is the path of its pages."""

    http: httpx.AsyncClient
    cookie: str
    csrf: str
    prefix: str

    async def get(self, path: str) -> httpx.Response:
        """Read a page."""
        return await self.http.get(self.prefix + path, headers={"Cookie": self.cookie})

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form."""
        headers = {"Cookie": self.cookie, "Sec-Fetch-Site": "same-origin"}
        data = {"csrf": self.csrf, **fields}
        return await self.http.post(self.prefix + path, data=data, headers=headers)


def key_of(caller: Any) -> str:
    """Return the key of a caller."""
    return str(caller.headers["Authorization"].partition(" ")[2])


def cookie_of(response: httpx.Response) -> str:
    """Return the cookie that a response sets first."""
    return response.headers["set-cookie"].partition(";")[0]


async def enter_key(service: Any, key: str, **headers: str) -> httpx.Response:
    """Send the form of the sign-in, as a browser does; `service` has `http`."""
    return await service.http.post(
        "/console/sign-in", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin", **headers}
    )


async def read(service: Any, path: str, cookie: str) -> httpx.Response:
    """Read a page with a session's cookie."""
    return await service.http.get(f"/console{path}", headers={"Cookie": cookie})


async def open_session(service: Any, page: str, cookie: str, prefix: str = "") -> Session:
    """Return the session of a cookie, with the token of the forms of a page."""
    text = (await read(service, page, cookie)).text
    token = re.search(r'name="csrf" value="(\w+)"', text)
    assert token is not None, text
    return Session(service.http, cookie, token[1], f"/console{prefix}")


async def send_form(
    service: Any, page: str, path: str, cookie: str, **fields: str
) -> httpx.Response:
    """Send a form of a page, with the token that the page has."""
    return await (await open_session(service, page, cookie)).post(path, **fields)


async def sign_in(caller: Caller, *, tenant: str = "acme") -> Session:
    """Sign in with a caller's key, for the pages of a tenant."""
    cookie = cookie_of(await enter_key(caller, key_of(caller)))
    return await open_session(caller, f"/t/{tenant}/messages", cookie, f"/t/{tenant}")


async def with_scopes(tenant: Caller, *scopes: str) -> Caller:
    """Return a caller of the same tenant whose key has only these scopes."""
    key = await tenant.made("/keys", {"name": " ".join(scopes)[:50], "scopes": list(scopes)})
    return Caller(tenant.http, {"Authorization": f"Bearer {key['key']}"})


def text_of(response: httpx.Response) -> str:
    """Return the text of a page without its markup, with single blanks."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", response.text)))
