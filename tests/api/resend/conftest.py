"""A tenant that uses the Resend-compatible API."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.api_client import PROFILE, Caller

EMAIL = {
    "from": "Billing <billing@example.com>",
    "to": ["ann@example.org"],
    "subject": "Your receipt",
    "html": "<p>Thanks.</p>",
}


@dataclass
class ResendCaller(Caller):
    """A caller of `/resend`."""

    async def __call__(
        self, method: str, path: str, json: Any = None, **more: Any
    ) -> httpx.Response:
        return await super().__call__(method, f"/resend{path}", json, **more)

    async def send(self, **fields: Any) -> str:
        """The id of an email that was accepted."""
        answer = await self("POST", "/emails", EMAIL | fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def refuse(self, status: int, name: str, **fields: Any) -> str:
        """The message of the error that an email gets."""
        return check_error(await self("POST", "/emails", EMAIL | fields), status, name)


def check_error(answer: httpx.Response, status: int, name: str) -> str:
    """The message of an error in Resend's form, with this status and name."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert error.keys() == {"statusCode", "name", "message"}
    assert (answer.status_code, error["statusCode"], error["name"]) == (status, status, name), error
    return str(error["message"])


def resend_of(caller: Caller) -> ResendCaller:
    """The same caller, on `/resend`."""
    return ResendCaller(caller.http, caller.headers, caller.tenant_id, caller.key_id)


@pytest.fixture
async def profile(acme: Caller) -> Any:
    """The tenant's default profile."""
    return await acme.made("/profiles", PROFILE | {"is_default": True})


@pytest.fixture
async def resend(acme: Caller, profile: Any) -> ResendCaller:
    """A tenant's caller with a profile, whose key may do everything."""
    assert profile
    return resend_of(acme)
