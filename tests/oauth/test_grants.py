"""Asking for access tokens: each grant, and whatever a token server may do instead."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from app.domain.networks import AddressGuard
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import OAuth, OAuthGrant
from app.oauth.token_request import request_token
from app.oauth.token_types import GrantedToken, TokenRequest
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from tests.support.servers.token_server import (
    CLIENT,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    SCOPE,
    TokenServer,
    private_key,
)

NOW: Final = datetime.now(UTC).replace(microsecond=0)
ANYWHERE: Final = Network(
    AddressGuard(allow_private=True, is_port_allowed=lambda _: False), Resolver()
)
SECRETS: Final[dict[OAuthGrant, dict[str, str]]] = {
    OAuthGrant.CLIENT_CREDENTIALS: {"client_secret": CLIENT_SECRET},
    OAuthGrant.REFRESH_TOKEN: {"client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN},
    OAuthGrant.JWT_BEARER: {"private_key": private_key()},
}


def request(
    server: TokenServer, grant: OAuthGrant = OAuthGrant.CLIENT_CREDENTIALS, **fields: Any
) -> TokenRequest:
    """One that the server grants."""
    oauth = OAuth(grant=grant, token_url=server.url, client_id=CLIENT, scope=SCOPE)
    return TokenRequest(oauth=oauth, username="billing@example.com", **(SECRETS[grant] | fields))


async def refusal(server: TokenServer, **fields: Any) -> Failure:
    """Why there is no token."""
    failure = await request_token(request(server, **fields), ANYWHERE, now=NOW)
    assert isinstance(failure, Failure), failure
    assert failure.stage is Stage.AUTH
    return failure


@pytest.mark.parametrize("grant", OAuthGrant)
async def test_each_grant_gets_a_token(grant: OAuthGrant) -> None:
    """The server checks who asks, and tells for how long it is good."""
    with TokenServer(seconds=1800) as server:
        token = await request_token(request(server, grant), ANYWHERE, now=NOW)
    assert isinstance(token, GrantedToken), token
    assert server.valid == {"billing@example.com": token.access_token}
    assert token.expires_at == NOW + timedelta(seconds=1800)
    assert token.refresh_token is None
    assert token.access_token not in repr(token)


async def test_a_subject_is_asked_for_instead_of_the_user() -> None:
    """A service account may act for others than the mailbox."""
    with TokenServer() as server:
        token_request = request(server, OAuthGrant.JWT_BEARER)
        token_request = replace(
            token_request, oauth=replace(token_request.oauth, subject="boss@example.com")
        )
        assert isinstance(await request_token(token_request, ANYWHERE, now=NOW), GrantedToken)
    assert list(server.valid) == ["boss@example.com"]


async def test_a_refresh_token_that_is_replaced_is_told() -> None:
    """Such servers take each once."""
    with TokenServer(rotates=True) as server:
        token_request = request(server, OAuthGrant.REFRESH_TOKEN)
        token = await request_token(token_request, ANYWHERE, now=NOW)
        assert isinstance(token, GrantedToken)
        assert token.refresh_token == server.refresh_token
        second = await request_token(token_request, ANYWHERE, now=NOW)
    assert isinstance(second, Failure)
    assert second.fault is Fault.TOKEN_REFUSED
    assert second.detail.endswith("replied: invalid_grant: Revoked, or used.")


async def test_a_refusal_is_told_without_what_is_secret() -> None:
    """In the server's words, on one line, whatever it quotes (invariant 9)."""
    with TokenServer() as server:
        description = f"no\n{CLIENT_SECRET.upper()}"
        server.answers = [(400, {"error": "invalid_client", "error_description": description})]
        failure = await refusal(server)
    assert failure.fault is Fault.TOKEN_REFUSED
    assert failure.detail == f"the token server {server.url} replied: invalid_client: no ***"
    assert CLIENT_SECRET not in repr(request(server))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, "<html>Busy</html>", "answered HTTP 503"),
        (500, {"error": "server_error"}, "answered HTTP 500"),
        (400, {"error": "temporarily_unavailable"}, "replied: temporarily_unavailable"),
        (200, {"access_token": "x", "expires_in": "soon"}, "sent no valid"),
        (200, {"access_token": "x", "expires_in": [600]}, "sent no valid"),
        (200, '{"access_token": "x", "expires_in": Infinity}', "sent no valid"),
        (200, '{"access_token": "x", "expires_in": NaN}', "sent no valid"),
        (200, "nonsense", "sent no valid"),
        (200, "[]", "sent no valid"),
        (200, {}, "issued no bearer token"),
        (200, {"access_token": "two words"}, "issued no bearer token"),
        (200, {"access_token": "x\1y"}, "issued no bearer token"),
        (200, {"access_token": "x", "token_type": "mac"}, "issued no bearer token"),
        (200, "x" * 70_000, "longer than 65536 bytes"),
        (302, "", "answered HTTP 302"),
        (404, "", "answered HTTP 404"),
    ],
)
async def test_an_answer_that_is_none_leaves_no_token(
    status: int, body: dict[str, object] | str, expected: str
) -> None:
    """Nothing is raised, no redirection followed, no more read than there should be."""
    with TokenServer() as server:
        server.answers = [(status, body)]
        failure = await refusal(server)
        assert len(server.requests) == 1
    assert failure.fault is Fault.TOKEN_UNAVAILABLE
    assert expected in failure.detail


async def test_an_error_of_any_shape_is_a_refusal() -> None:
    """RFC 6749 section 5.2 has a text there."""
    with TokenServer() as server:
        server.answers = [(400, '{"error": {"code": 7}}')]
        failure = await refusal(server)
    assert failure.fault is Fault.TOKEN_REFUSED


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [("600", 600), (600.5, 600.5), (None, 300), (-5, 0), (10**9, 86_400)],
)
async def test_how_long_a_token_is_good_is_read_whatever_it_is(
    expires_in: object, seconds: float
) -> None:
    """Some write numbers as strings, some nothing."""
    with TokenServer() as server:
        server.answers = [(200, {"access_token": "x", "expires_in": expires_in})]
        token = await request_token(request(server), ANYWHERE, now=NOW)
    assert isinstance(token, GrantedToken)
    assert token.expires_at == NOW + timedelta(seconds=seconds)


async def test_a_token_server_that_is_down_is_told() -> None:
    """With what the network says."""
    with TokenServer() as server:
        pass
    failure = await refusal(server)
    assert failure.fault is Fault.TOKEN_UNAVAILABLE
    assert "could not be reached" in failure.detail


async def test_a_token_server_that_is_mute_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor does it keep anything else waiting."""
    monkeypatch.setattr("app.oauth.token_request.ANSWER_SECONDS", 0.3)
    with TokenServer() as server:
        server.gate.clear()
        failure = await refusal(server)
    assert failure.fault is Fault.TOKEN_UNAVAILABLE
    assert "did not answer in time" in failure.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/token",
        "https://localhost/token",
        "https://[::ffff:10.0.0.1]/token",
        "https://169.254.169.254/token",
    ],
)
async def test_a_private_address_is_not_connected_to(url: str) -> None:
    """The guard sees each address that a name stands for."""
    with TokenServer() as server:
        token_request = request(server)
        token_request = replace(token_request, oauth=replace(token_request.oauth, token_url=url))
        guarded = AddressGuard(allow_private=False, is_port_allowed=lambda _: True)
        failure = await request_token(token_request, Network(guarded, Resolver()), now=NOW)
    assert isinstance(failure, Failure)
    assert "not a public address" in failure.detail


@pytest.mark.parametrize("url", ["http://example.com/token", "https://example.com:8443/token"])
async def test_a_public_server_is_asked_by_https_alone(url: str) -> None:
    """At its own port, so that nothing else is spoken to."""
    with TokenServer() as server:
        token_request = request(server)
        token_request = replace(token_request, oauth=replace(token_request.oauth, token_url=url))
        guarded = AddressGuard(allow_private=False, is_port_allowed=lambda _: True)
        failure = await request_token(token_request, Network(guarded, Resolver()), now=NOW)
    assert isinstance(failure, Failure)
    assert "https://" in failure.detail


@pytest.mark.parametrize(
    ("name", "expected"), [("127.0.0.1", GrantedToken), ("tokens.example", Failure)]
)
async def test_the_token_servers_certificate_is_verified(
    name: str,
    expected: type[GrantedToken | Failure],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the authorities of the machine, and for the name in the URL."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    with TokenServer(tls=context) as server:
        outcome = await request_token(request(server), ANYWHERE, now=NOW)
    assert isinstance(outcome, expected), outcome
    if isinstance(outcome, Failure):
        assert "certificate" in outcome.detail.lower()
