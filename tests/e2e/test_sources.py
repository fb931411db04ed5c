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


async def test_a_message_keeps_only_an_ip_address(start: Start) -> None:
    """A proxy may hand on what its client wrote."""
    heloise = await start(trusted_proxies="127.0.0.1")
    acme = await heloise.tenant()
    await acme.profile("main", 1)
    addresses = {
        "198.51.100.7": "198.51.100.7",
        "::ffff:198.51.100.7": "198.51.100.7",
        "fe80::1%" + "z" * 65: "fe80::1",
        "a" * 65: None,
    }
    for forwarded, address in addresses.items():
        body = {"from": "a@example.com", "to": ["b@example.org"], "subject": "Hi", "text": "Hi."}
        answer = await acme("POST", "/messages", body, headers={"X-Forwarded-For": forwarded})
        assert (answer.status_code, answer.json()["client_address"]) == (202, address)
