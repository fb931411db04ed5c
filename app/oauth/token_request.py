"""Request access tokens from a token server, by each grant."""

import asyncio
import re
from datetime import datetime, timedelta
from typing import Any, Final

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncAssertionClient, AsyncOAuth2Client
from joserfc.jwk import RSAKey

from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import make_printable
from app.domain.types import OAuthGrant
from app.http_client import GuardedTransport
from app.oauth.token_types import GrantedToken, TokenRequest
from app.smtp.redaction import redact
from app.smtp.resolve import Network

ANSWER_SECONDS: Final = 20.0
# The lifetime of a token without `expires_in`, which RFC 6749 section 5.1 recommends.
DEFAULT_SECONDS: Final = 300.0
MAX_SECONDS: Final = 86_400.0
MAX_ERROR_CHARACTERS: Final = 500
# Temporary errors, not caused by the client (RFC 6749 section 4.1.2.1).
TEMPORARY_ERRORS: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})

_TOKEN: Final = re.compile(r"[!-~]+")  # RFC 6749 appendix A.12


async def request_token(
    request: TokenRequest, network: Network, *, now: datetime
) -> GrantedToken | Failure:
    """Request an access token. Errors of the server or network are returned."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await _fetch_token(request, await GuardedTransport.made(network), now)
        return _read_token(answer, request, now)
    except OAuthError as error:
        return _make_refusal(error, request)
    except TimeoutError:
        return _make_unavailable("did not answer in time", request)
    except httpx2.HTTPStatusError as error:
        return _make_unavailable(f"answered HTTP {error.response.status_code}", request)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return _make_unavailable(
            f"could not be reached: {str(error) or type(error).__name__}", request
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _make_unavailable("sent no valid OAuth 2.0 response", request)


async def _fetch_token(
    request: TokenRequest, transport: GuardedTransport, now: datetime
) -> dict[str, Any]:
    """Return the response of RFC 6749 section 5.1; raises what Authlib and httpx raise."""
    oauth = request.oauth
    settings = {"transport": transport, "follow_redirects": False, "trust_env": False}
    if oauth.grant is OAuthGrant.JWT_BEARER:
        claims = {} if oauth.scope is None else {"scope": oauth.scope}
        async with AsyncAssertionClient(
            oauth.token_url,
            issuer=oauth.client_id,
            subject=oauth.subject or request.username,
            claims=claims,  # Google expects the scope here; RFC 7521 puts it beside the assertion
            scope=oauth.scope,
            key=RSAKey.import_key(request.private_key or ""),
            header={"alg": "RS256"},
            issued_at=int(now.timestamp()),
            **settings,
        ) as client:
            return dict(await client.refresh_token())
    parameters = {} if request.refresh_token is None else {"refresh_token": request.refresh_token}
    async with AsyncOAuth2Client(
        oauth.client_id,
        request.client_secret,
        # Google and Microsoft document this; a public client has only an id.
        token_endpoint_auth_method="client_secret_post" if request.client_secret else "none",
        scope=oauth.scope,
        **settings,
    ) as client:
        return dict(
            await client.fetch_token(oauth.token_url, grant_type=oauth.grant.value, **parameters)
        )


def _read_token(
    answer: dict[str, Any], request: TokenRequest, now: datetime
) -> GrantedToken | Failure:
    token, refresh_token = answer.get("access_token"), answer.get("refresh_token")
    kind = str(answer.get("token_type", "bearer")).lower()
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None or kind != "bearer":
        return _make_unavailable("issued no bearer token", request)
    is_new = isinstance(refresh_token, str) and refresh_token != request.refresh_token
    return GrantedToken(
        access_token=token,
        expires_at=now + timedelta(seconds=_read_lifetime(answer.get("expires_in"))),
        refresh_token=refresh_token if is_new else None,
    )


def _read_lifetime(value: object) -> float:
    """Return the lifetime in seconds. Some servers send a string or a fraction."""
    return DEFAULT_SECONDS if value is None else min(max(float(str(value)), 0.0), MAX_SECONDS)


def _make_refusal(error: OAuthError, request: TokenRequest) -> Failure:
    reply = f"{error.error}: {error.description}" if error.description else str(error.error)
    is_temporary = str(error.error) in TEMPORARY_ERRORS
    fault = Fault.TOKEN_UNAVAILABLE if is_temporary else Fault.TOKEN_REFUSED
    return _make_failure(fault, f"replied: {reply}", request)


def _make_unavailable(what: str, request: TokenRequest) -> Failure:
    return _make_failure(Fault.TOKEN_UNAVAILABLE, what, request)


def _make_failure(fault: Fault, what: str, request: TokenRequest) -> Failure:
    """Build a failure with a short text on one line, without secrets that the server echoed."""
    text = make_printable(redact(what, request.secrets)).replace("\n", " ")[:MAX_ERROR_CHARACTERS]
    url = request.oauth.token_url.partition("?")[0]  # a query may hold a key
    return Failure(Stage.AUTH, fault=fault, detail=f"the token server {url} {text}")
