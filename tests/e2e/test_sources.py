"""Whom a request counts as coming from: the peer, or whoever a trusted proxy says."""

from typing import Any, Final

import pytest

from tests.e2e.conftest import Start

pytestmark = pytest.mark.one_database
FORWARDED: Final = {"X-Forwarded-For": "198.51.100.7, 192.0.2.1"}


@pytest.mark.parametrize(
    ("trusted", "source"),
    [
        ("", "127.0.0.1"),
        ("192.0.2.0/24", "127.0.0.1"),  # not the one who asks
        ("127.0.0.1", "192.0.2.1"),
        ("127.0.0.0/8,192.0.2.0/24", "198.51.100.7"),
    ],
)
async def test_a_proxy_is_believed_where_it_is_trusted(
    start: Start, trusted: str, source: str
) -> None:
    """As far as the chain of trusted ones goes; nobody is by default."""
    heloise = await start(trusted_proxies=trusted)
    acme = await heloise.tenant()
    body: dict[str, Any] = {"name": "k", "scopes": ["messages:send"]}
    answer = await acme("POST", "/keys", body, headers=FORWARDED)
    assert answer.status_code == 201, answer.text
    log = (await acme.read("/audit-log?action=key.create&limit=1"))["items"]
    assert log[0]["actor"]["source"] == source
