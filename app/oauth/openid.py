"""Sign a person in through an OpenID Connect provider (Authorization Code with PKCE)."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.common.urls import add_params_to_uri
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from app.domain.errors import SignInError
from app.domain.outcome.replies import make_printable
from app.domain.single_sign_on import OpenIdClient, Person, SignIn, name_person
from app.http_client import GuardedTransport
from app.smtp.redaction import redact
from app.smtp.resolve import Network

ANSWER_SECONDS: Final = 15.0
MAX_ANSWER_BYTES: Final = 262_144
MAX_REASON_CHARACTERS: Final = 300
MAX_SUBJECT_CHARACTERS: Final = 255
MAX_NAME_CHARACTERS: Final = 255
METADATA_TIME: Final = timedelta(minutes=10)
LEEWAY_SECONDS: Final = 60
# Anybody can begin to sign in; so many requests to the provider run at a time.
MAX_SIGN_INS: Final = 8
# Only signatures with the provider's private key. `none` has no signature, and the key of an HMAC
# is the client secret.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
BASIC, POST, NONE = "client_secret_basic", "client_secret_post", "none"


class OpenIdProvider:
    """Speaks to the provider. Its methods raise SignInError, which quotes no secret."""

    def __init__(
        self, client: OpenIdClient, network: Network, *, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._network = network
        self._now = now
        self._context: ssl.SSLContext | None = None
        self._slots = asyncio.Semaphore(MAX_SIGN_INS)
        self._metadata: Mapping[str, Any] = {}
        self._metadata_until: datetime | None = None

    async def build_url(self, sign_in: SignIn) -> str:
        """Return the URL of the provider's page where the person signs in."""
        metadata = await self._find_metadata(sign_in.redirect_uri)
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._client.client_id,
            "code",
            redirect_uri=sign_in.redirect_uri,
            scope=self._client.scopes,
            state=sign_in.state,
            nonce=sign_in.nonce,
            code_challenge=create_s256_code_challenge(sign_in.code_verifier),
            code_challenge_method="S256",
        )
        return str(url)

    async def build_sign_out_url(self, return_uri: str) -> str | None:
        """Return the URL of the provider's page that signs out; None if the provider has none.

        It contains no ID token, so the provider asks the person first (RP-Initiated Logout 1.0
        section 2). The provider leads back to `return_uri`.
        """
        endpoint = (await self._find_metadata(return_uri)).get("end_session_endpoint")
        if not isinstance(endpoint, str) or not self._is_secure(endpoint):
            return None
        params = {"client_id": self._client.client_id, "post_logout_redirect_uri": return_uri}
        return str(add_params_to_uri(endpoint, list(params.items())))

    async def identify(self, sign_in: SignIn, code: str) -> Person:
        """Exchange the code of the provider's answer for the person who signed in."""
        secrets = (code, sign_in.code_verifier)
        async with self._connect(sign_in.redirect_uri, *secrets) as http:
            metadata = await self._load_metadata(http)
            http.token_endpoint_auth_method = self._choose_authentication(metadata)
            token = await http.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=sign_in.code_verifier,
            )
            # Always anew, so that a key of the provider's is trusted as long as it is there.
            key_set = await _get_json(http, metadata["jwks_uri"])
            keys = KeySet.import_key_set({"keys": key_set["keys"]})
            claims = self._read_id_token(token, keys, sign_in.nonce)
            if endpoint := metadata.get("userinfo_endpoint"):
                more = await _get_json(http, endpoint, with_token=True)
                if more.get("sub") != claims["sub"]:
                    raise SignInError("its UserInfo is about another person")
                claims = {**more, **claims}
        return Person(
            issuer=self._client.issuer,
            subject=claims["sub"],
            name=name_person(claims)[:MAX_NAME_CHARACTERS],
            claims=claims,
        )

    @asynccontextmanager
    async def _connect(self, redirect_uri: str, *secrets: str) -> AsyncIterator[AsyncOAuth2Client]:
        """Open an HTTP client; what goes wrong inside becomes SignInError, without `secrets`."""
        client = self._client
        try:
            async with (
                self._slots,
                asyncio.timeout(ANSWER_SECONDS),
                AsyncOAuth2Client(
                    client.client_id,
                    client.client_secret,
                    scope=client.scopes,
                    redirect_uri=redirect_uri,
                    transport=await self._make_transport(),
                    follow_redirects=False,
                    trust_env=False,
                    headers={"Accept-Encoding": "identity"},
                ) as http,
            ):
                yield http
        except TimeoutError:
            reason = "it did not answer in time"
        except OAuthError as error:
            reason = f"it replied {error.error}: {error.description or 'no description'}"
        except httpx2.HTTPStatusError as error:
            reason = f"it answered HTTP {error.response.status_code}"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = f"it could not be reached: {str(error) or type(error).__name__}"
        except JoseError as error:
            reason = f"its ID token is not valid: {error}"
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            reason = "it sent no valid OpenID Connect response"
        else:
            return
        known = [client.client_secret, *secrets]
        text = make_printable(redact(reason, [secret for secret in known if secret]))
        raise SignInError(text.replace("\n", " ")[:MAX_REASON_CHARACTERS])

    async def _find_metadata(self, redirect_uri: str) -> Mapping[str, Any]:
        if self._is_metadata_fresh():
            return self._metadata
        async with self._connect(redirect_uri) as http:
            return await self._load_metadata(http)

    async def _load_metadata(self, http: AsyncOAuth2Client) -> Mapping[str, Any]:
        """Return the provider's discovery document (OpenID Connect Discovery 1.0)."""
        if not self._is_metadata_fresh():
            issuer = self._client.issuer
            url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = await _get_json(http, url)
            if metadata.get("issuer") != issuer:
                raise SignInError("its discovery document names another issuer")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                self._check_endpoint(metadata[name], name)
            if "userinfo_endpoint" in metadata:
                self._check_endpoint(metadata["userinfo_endpoint"], "userinfo_endpoint")
            self._metadata, self._metadata_until = metadata, self._now() + METADATA_TIME
        return self._metadata

    def _is_metadata_fresh(self) -> bool:
        return self._metadata_until is not None and self._now() < self._metadata_until

    async def _make_transport(self) -> GuardedTransport:
        if self._context is None:  # reading whom the machine trusts takes a while
            self._context = await asyncio.to_thread(ssl.create_default_context)
        return GuardedTransport(self._network, self._context, max_bytes=MAX_ANSWER_BYTES)

    def _check_endpoint(self, url: str, name: str) -> None:
        if not self._is_secure(str(url)):
            raise SignInError(f"its {name} is no https:// URL")

    def _is_secure(self, url: str) -> bool:
        """Whether a URL uses TLS; only the endpoints of an issuer without TLS need none."""
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            return False
        return scheme in {"https", urlsplit(self._client.issuer).scheme}

    def _choose_authentication(self, metadata: Mapping[str, Any]) -> str:
        if self._client.client_secret is None:
            return NONE
        offered = metadata.get("token_endpoint_auth_methods_supported", [BASIC])
        return POST if POST in offered and BASIC not in offered else BASIC

    def _read_id_token(self, token: Mapping[str, Any], keys: KeySet, nonce: str) -> dict[str, Any]:
        """Return the claims of a valid ID token (OpenID Connect Core 1.0 section 3.1.3.7)."""
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        decoded = jwt.decode(token["id_token"], keys, registry=registry)
        client_id = self._client.client_id
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {"iss": {"value": self._client.issuer}, "aud": {"value": client_id}},
            {
                "nonce": nonce,
                "client_id": client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(now=int(self._now().timestamp()), leeway=LEEWAY_SECONDS)
        subject = claims["sub"]
        if (
            not isinstance(subject, str)
            or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS
            or not subject.isprintable()
        ):
            raise SignInError("its ID token has no valid subject")
        return dict(claims)


async def _get_json(
    http: AsyncOAuth2Client, url: str, *, with_token: bool = False
) -> dict[str, Any]:
    response = await http.request("GET", url, withhold_token=not with_token)
    response.raise_for_status()
    document = response.json()
    if not isinstance(document, dict):
        raise TypeError(url)
    return document
