"""Cache profiles' access tokens, and renew them before they expire."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.errors import NotFound, SealError, Unavailable
from app.domain.ids import new_id
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import OAuth, Profile
from app.oauth.token_types import GrantedToken, TokenRequest
from app.smtp.resolve import Network
from app.store.db.database import Database
from app.store.profiles import oauth_tokens
from app.store.profiles.oauth_tokens import SealedSecrets
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import SealContext, Vault

# Renew a token when a fifth of its life is left, at most this long before its end.
MAX_RENEW_AHEAD: Final = timedelta(minutes=5)
RENEW_AHEAD_SHARE: Final = 0.2
# A token that ends sooner might expire on its way to the server.
MIN_LEFT: Final = timedelta(seconds=10)
# Longer than a token request can take.
RENEWAL: Final = timedelta(seconds=60)
POLL_SECONDS: Final = 0.2
RETRY_SECONDS: Final = 1.0
FIELD: Final = "access_token"


def _build_failure(detail: str) -> Failure:
    return Failure(Stage.AUTH, fault=Fault.TOKEN_UNAVAILABLE, detail=detail)


NO_DATABASE: Final = _build_failure("the database with the token did not answer")
CHANGED: Final = _build_failure("the profile changed during a token request")
RENEWAL_IN_PROGRESS: Final = _build_failure("another worker is requesting the token")
NO_GRANT: Final = _build_failure("the profile has no grant")


@dataclass(frozen=True, slots=True)
class _Token:
    """A token in memory, and its sealed bytes, which all replicas share."""

    text: str = field(repr=False)
    sealed: bytes = field(repr=False)
    renew_at: datetime
    expires_at: datetime


@dataclass(slots=True)
class _Turn:
    """The requests for the token of a profile at one revision, and the last result."""

    revision: int
    context: SealContext
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    request_count: int = 0
    result: "_Token | Failure | None" = None


class AccessTokens:
    """Provides access tokens to profiles. One replica renews a token for all.

    No log, error or `repr` contains a token (invariant 9).
    """

    def __init__(
        self, database: Database, vault: Vault, network: Network, *, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._vault = vault
        self._network = network
        self._now = now
        self._owner = new_id("wrk")
        self._turns: dict[str, _Turn] = {}

    async def get(self, profile: Profile) -> str | Failure:
        """Return a valid token, or the reason why there is none.

        Concurrent callers share one result, so a failing token server gets one request.
        """
        if profile.oauth is None:
            return NO_GRANT
        turn, context = self._turns.get(profile.id), profile_secret(profile, FIELD)
        if turn is None or (turn.revision, turn.context) != (profile.revision, context):
            turn = self._turns[profile.id] = _Turn(profile.revision, context)
        previous_count = turn.request_count
        async with turn.lock:
            if turn.request_count == previous_count or turn.result is None:
                turn.result = await self._find_token(profile, profile.oauth, turn.result)
                turn.request_count += 1
            return turn.result.text if isinstance(turn.result, _Token) else turn.result

    async def invalidate(self, profile: Profile, token: str) -> None:
        """Drop a token that the mail server refused."""
        turn = self._turns.get(profile.id)
        cached_token = None if turn is None else turn.result
        if turn is None or not isinstance(cached_token, _Token) or cached_token.text != token:
            return
        turn.result = None
        try:
            async with self._database.transaction() as connection:
                await oauth_tokens.discard(connection, profile=profile, sealed=cached_token.sealed)
        except Unavailable:  # the server refuses it again, and it is dropped then
            return

    async def _find_token(
        self, profile: Profile, oauth: OAuth, cached: _Token | Failure | None
    ) -> _Token | Failure:
        token = cached if isinstance(cached, _Token) else None
        if token is not None and self._now() < token.renew_at:
            return token
        try:
            return await self._get_shared_token(profile, oauth, token)
        except Unavailable:
            return token if token is not None and self._is_good(token) else NO_DATABASE
        except NotFound:
            return CHANGED
        except SealError as error:
            return Failure(Stage.AUTH, fault=Fault.UNREADABLE, detail=str(error))

    async def _get_shared_token(
        self, profile: Profile, oauth: OAuth, cached_token: _Token | None
    ) -> _Token | Failure:
        """Return the token that all replicas share, renewing it if it is time."""
        until = self._now() + RENEWAL
        while True:
            token = await self._read_shared_token(profile) or cached_token
            if token is not None and self._now() < token.renew_at:
                return token
            secrets, newer_token = await self._begin(profile)
            if newer_token is not None and self._now() < newer_token.renew_at:
                # Another replica renewed it between the first read and this one.
                await self._give_up(profile)
                return newer_token
            if secrets is not None:
                result = await self._renew(profile, oauth, secrets)
                is_lost = isinstance(result, Failure) and token is not None and self._is_good(token)
                return token if is_lost and token is not None else result
            if token is not None and self._is_good(token):
                return token
            if self._now() >= until:
                return RENEWAL_IN_PROGRESS
            await asyncio.sleep(POLL_SECONDS)

    def _is_good(self, token: _Token) -> bool:
        return self._now() + MIN_LEFT < token.expires_at

    async def _read_shared_token(self, profile: Profile) -> _Token | None:
        async with self._database.reading() as connection:
            return await self._load_token(connection, profile)

    async def _load_token(self, connection: AsyncConnection, profile: Profile) -> _Token | None:
        """Load and decrypt the token; None if it is missing or cannot be decrypted."""
        row = await oauth_tokens.find(connection, profile=profile)
        if row is None:
            return None
        sealed, expires_at = row
        try:
            content = json.loads(self._vault.open(sealed, profile_secret(profile, FIELD)))
        except SealError:
            return None
        return _Token(
            content["token"], sealed, datetime.fromisoformat(content["renew_at"]), expires_at
        )

    async def _begin(self, profile: Profile) -> tuple[SealedSecrets | None, _Token | None]:
        """Lock the renewal; return the secrets and the current token, or None if locked."""
        now = self._now()
        async with self._database.transaction() as connection:
            secrets = await oauth_tokens.begin_renewal(
                connection, profile=profile, owner=self._owner, now=now, until=now + RENEWAL
            )
            if secrets is None:
                return None, None
            return secrets, await self._load_token(connection, profile)

    async def _renew(
        self, profile: Profile, oauth: OAuth, secrets: SealedSecrets
    ) -> _Token | Failure:
        from app.oauth.token_request import request_token

        try:
            now = self._now()
            result = await request_token(
                self._build_request(profile, oauth, secrets), self._network, now=now
            )
            if isinstance(result, GrantedToken):
                return await self._save(profile, result, now)
        except BaseException:
            await self._give_up(profile)
            raise
        await self._give_up(profile)
        return result

    def _build_request(
        self, profile: Profile, oauth: OAuth, secrets: SealedSecrets
    ) -> TokenRequest:
        opened = {
            name: self._vault.open(sealed, profile_secret(profile, f"oauth_{name}"))
            for name in ("client_secret", "private_key", "refresh_token")
            if (sealed := getattr(secrets, name)) is not None
        }
        return TokenRequest(oauth=oauth, username=profile.username or "", **opened)

    async def _save(self, profile: Profile, granted: GrantedToken, now: datetime) -> _Token:
        life = granted.expires_at - now
        renew_at = granted.expires_at - min(MAX_RENEW_AHEAD, life * RENEW_AHEAD_SHARE)
        content = json.dumps({"token": granted.access_token, "renew_at": renew_at.isoformat()})
        sealed = self._vault.seal(content, profile_secret(profile, FIELD))
        token = _Token(granted.access_token, sealed, renew_at, granted.expires_at)
        new_refresh_token = granted.refresh_token
        refresh_token = (
            None
            if new_refresh_token is None
            else self._vault.seal(new_refresh_token, profile_secret(profile, "oauth_refresh_token"))
        )
        while True:
            try:
                async with self._database.transaction() as connection:
                    await oauth_tokens.save(
                        connection,
                        profile=profile,
                        owner=self._owner,
                        sealed=sealed,
                        expires_at=granted.expires_at,
                        refresh_token=refresh_token,
                    )
            except Unavailable:
                # An access token can be requested again. A rotated refresh token must not be lost.
                if refresh_token is None:
                    return token
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return token

    async def _give_up(self, profile: Profile) -> None:
        try:
            async with self._database.transaction() as connection:
                await oauth_tokens.cancel_renewal(connection, profile=profile, owner=self._owner)
        except Unavailable:  # the lock expires
            return
