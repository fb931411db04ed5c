"""The console without a browser: the requests that a browser would send."""

import re
from dataclasses import dataclass
from html import unescape

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


async def sign_in(caller: Caller, *, tenant: str = "acme") -> Session:
    """Sign in with a caller's key, for the pages of a tenant."""
    key = caller.headers["Authorization"].partition(" ")[2]
    response = await caller.http.post("/console/sign-in", data={"key": key})
    cookie = response.headers["set-cookie"].partition(";")[0]
    page = await caller.http.get(f"/console/t/{tenant}/messages", headers={"Cookie": cookie})
    [csrf] = re.findall(r'name="csrf" value="(\w+)"', page.text)[:1]
    return Session(caller.http, cookie, csrf, f"/console/t/{tenant}")


async def with_scopes(tenant: Caller, *scopes: str) -> Caller:
    """Return a caller of the same tenant whose key has only these scopes."""
    key = await tenant.made("/keys", {"name": " ".join(scopes)[:50], "scopes": list(scopes)})
    return Caller(tenant.http, {"Authorization": f"Bearer {key['key']}"})


def text_of(response: httpx.Response) -> str:
    """Return the text of a page without its markup, with single blanks."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", response.text)))
