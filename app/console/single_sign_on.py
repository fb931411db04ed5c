"""Sign people in and out through the OpenID Connect provider."""

import base64
import binascii
import hmac
import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.api.http.root_path import root_path
from app.api.services import Services
from app.console import sessions
from app.console.errors import PageError
from app.console.middleware import ConsoleConfig, SingleSignOn
from app.domain.audit import Actor, ActorKind, AuditEntry
from app.domain.errors import NotFound, SealError, SignInError, TooManyRequests
from app.domain.ids import new_id
from app.domain.single_sign_on import Person, SignIn, find_rule
from app.store import audit
from app.store.secrets.contexts import console_sign_in

if TYPE_CHECKING:
    from app.oauth.openid import OpenIdProvider

log = logging.getLogger(__name__)

SIGN_IN: Final = "sign-in"  # the cookie that keeps a sign-in that has begun
SIGN_IN_TIME: Final = timedelta(minutes=10)
RANDOM_BYTES: Final = 32
MAX_TARGET_CHARACTERS: Final = 1024
MAX_CODE_CHARACTERS: Final = 4096


class PersonSignIn:
    """The two steps of a sign-in, to the provider and back with its answer, and the sign-out there.

    The browser keeps a sign-in that has begun in a sealed cookie, so any replica can finish it.
    """

    def __init__(
        self, services: Services, config: ConsoleConfig, single_sign_on: SingleSignOn
    ) -> None:
        self._services = services
        self._config = config
        self._single_sign_on = single_sign_on
        self._made_provider: OpenIdProvider | None = None

    @property
    def _provider(self) -> "OpenIdProvider":
        if self._made_provider is None:
            # A process in which nobody signs in so needs neither Authlib nor an HTTP client.
            from app.oauth.openid import OpenIdProvider

            single_sign_on = self._single_sign_on
            self._made_provider = OpenIdProvider(
                single_sign_on.client, single_sign_on.network, now=self._services.now
            )
        return self._made_provider

    async def begin(self, request: Request) -> Response:
        """Lead to the provider."""
        self._services.auth.require_schema()
        # The browser does not send the session's cookie with the provider's answer.
        former = sessions.find_token_hash(request, self._config)
        path = f"{root_path.get()}{self._config.path}/sign-in/callback"
        sign_in = SignIn(
            redirect_uri=str(request.url.replace(path=path, query="", fragment="")),
            state=secrets.token_urlsafe(RANDOM_BYTES),
            nonce=secrets.token_urlsafe(RANDOM_BYTES),
            code_verifier=secrets.token_urlsafe(RANDOM_BYTES),
            target=request.query_params.get("next", "")[:MAX_TARGET_CHARACTERS],
            former=former.hex() if former else None,
            expires_at=self._services.now() + SIGN_IN_TIME,
        )
        with self._limit_failures(request):
            url = await self._provider.build_url(sign_in)
        response = RedirectResponse(url, 303)
        # Lax, because the provider's answer is a link of another site.
        sessions.set_cookie(
            response,
            self._config,
            self._seal(sign_in),
            purpose=SIGN_IN,
            seconds=int(SIGN_IN_TIME.total_seconds()),
            samesite="lax",
        )
        return response

    async def finish(self, request: Request) -> Response:
        """Start the session of the person whom the provider names.

        Raises PageError, TooManyRequests or Unavailable.
        """
        self._services.auth.require_schema()
        sign_in = self._find_sign_in(request)
        params = request.query_params
        if (issuer := params.get("iss", self._issuer)) != self._issuer:  # RFC 9207
            raise self._make_page_error(SignInError(f"the answer is from {issuer}"))
        if "error" in params:
            error = f"it replied {params['error']}: {params.get('error_description', '')}"
            raise self._make_page_error(SignInError(error[:MAX_TARGET_CHARACTERS]))
        code = params.get("code", "")
        if not 0 < len(code) <= MAX_CODE_CHARACTERS:
            raise self._make_page_error(SignInError("its answer has no code"))
        with self._limit_failures(request):
            person = await self._provider.identify(sign_in, code)
        token = await self._start_session(request, sign_in, person)
        response = sessions.lead_in(self._config, token, sign_in.target)
        sessions.set_cookie(response, self._config, "", purpose=SIGN_IN, seconds=0, samesite="lax")
        return response

    async def find_sign_out(self, request: Request) -> str | None:
        """Return the URL where the person signs out of the provider; None if it names none."""
        path = f"{root_path.get()}{self._config.path}/sign-in"
        return_uri = str(request.url.replace(path=path, query="", fragment=""))
        try:
            with self._limit_failures(request):
                return await self._provider.build_sign_out_url(return_uri)
        except (PageError, TooManyRequests):  # the person is signed out of Heloise all the same
            return None

    @contextmanager
    def _limit_failures(self, request: Request) -> Iterator[None]:
        """Ask the provider only while few sign-ins of the client's address fail."""
        throttle, source = self._services.auth.auth_throttle, sessions.find_source(request)
        throttle.check_sign_in(source)
        try:
            yield
        except SignInError as error:
            throttle.record_failure(source, of="sign-in")
            raise self._make_page_error(error) from None

    async def _start_session(self, request: Request, sign_in: SignIn, person: Person) -> str:
        rule = find_rule(self._single_sign_on.rules, person.claims)
        if rule is None:
            await self._record_refusal(request, person)
            raise PageError(
                403,
                "No access",
                f"You signed in as {person.name}, but no rule of HELOISE_OIDC_RULES gives you"
                " access. Ask the operator for it.",
            )
        former = bytes.fromhex(sign_in.former) if sign_in.former else None
        try:
            return await sessions.sign_in_person(
                self._services, self._config, request, person, rule, former
            )
        except NotFound:
            raise PageError(
                403,
                "No such tenant",
                f"You may use the tenant {rule.tenant}, but it does not exist. Ask the operator to"
                " create it, or to correct HELOISE_OIDC_RULES.",
            ) from None

    async def _record_refusal(self, request: Request, person: Person) -> None:
        """Write to the audit log that no rule gives access to a person."""
        source = sessions.find_source(request)
        entry = AuditEntry(
            id=new_id("aud"),
            at=self._services.now(),
            actor=Actor(ActorKind.PERSON, name=person.name, source=source),
            action="console_sign_in",
            object_id=person.subject,
            refused_as="unauthenticated",
        )
        async with self._services.database.transaction() as connection:
            await audit.record(connection, entry)

    def _find_sign_in(self, request: Request) -> SignIn:
        """Return what this browser began; raises PageError."""
        cookie = sessions.cookie_name(self._config, SIGN_IN)
        sign_in = self._open(request.cookies.get(cookie, ""))
        state = request.query_params.get("state", "")
        if (
            sign_in is None
            or self._services.now() >= sign_in.expires_at
            or not hmac.compare_digest(sign_in.state.encode(), state.encode())
        ):
            raise PageError(
                400,
                "Sign-in expired",
                "This browser did not begin this sign-in, began another one since, or took longer"
                " than ten minutes. Sign in again.",
            )
        return sign_in

    def _seal(self, sign_in: SignIn) -> str:
        text = json.dumps(asdict(sign_in) | {"expires_at": sign_in.expires_at.isoformat()})
        sealed = self._services.vault.seal(text, console_sign_in())
        return base64.urlsafe_b64encode(sealed).decode()

    def _open(self, cookie: str) -> SignIn | None:
        try:
            sealed = base64.urlsafe_b64decode(cookie.encode())
            fields = json.loads(self._services.vault.open(sealed, console_sign_in()))
        except (SealError, binascii.Error):
            return None
        return SignIn(**{**fields, "expires_at": datetime.fromisoformat(fields["expires_at"])})

    def _make_page_error(self, error: SignInError) -> PageError:
        name = self._single_sign_on.client.provider_name
        log.warning("the provider signed nobody in or out", extra={"reason": str(error)})
        detail = f"{name} could not sign you in: {error}. Try again."
        return PageError(502, "Could not sign in", detail)

    @property
    def _issuer(self) -> str:
        return self._single_sign_on.client.issuer
