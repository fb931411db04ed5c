"""Verify profiles with their decrypted secrets and effective EHLO name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from app.diagnostics.ehlo_candidates import list_sender_domains
from app.diagnostics.ehlo_trials import Check
from app.diagnostics.report import Report
from app.diagnostics.verify import Subject, Token, verify
from app.domain.ehlo import NO_OTHER_NAMES, EhloNames, OtherNames
from app.domain.errors import SealError
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.oauth.token_cache import AccessTokens
from app.oauth.token_types import GrantedToken, TokenRequest
from app.smtp.identity import NO_NAMES, make_identity
from app.smtp.resolve import Network
from app.store.profiles.queries import DeliveryProfile
from app.store.secrets.encryption import OpenSealed

NO_SECRETS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Verifies profiles with the service's settings; `open_sealed` is `Vault.open`."""

    network: Network
    tokens: AccessTokens
    open_sealed: OpenSealed
    ehlo_names: EhloNames = NO_NAMES
    now: Callable[[], datetime]

    async def verify_stored(
        self,
        delivery_profile: DeliveryProfile,
        check: Check | None = None,
        *,
        other_names: OtherNames = NO_OTHER_NAMES,
    ) -> Report:
        """Verify a stored profile as delivery would use it.

        If the server refuses its EHLO name, verify tries the domains of its senders and
        `other_names`.
        """
        profile, secrets, unreadable = delivery_profile.profile, NO_SECRETS, None
        try:
            secrets = delivery_profile.open_secrets(self.open_sealed)
        except SealError as error:
            unreadable = Failure(Stage.AUTH, fault=Fault.UNREADABLE, detail=str(error))

        async def token() -> str | Failure | None:
            if unreadable is not None or profile.oauth is None:
                return unreadable
            return await self.tokens.get(profile)

        return await self._verify(delivery_profile, secrets, token, check, other_names)

    async def verify_unsaved(
        self,
        delivery_profile: DeliveryProfile,
        secrets: Mapping[str, str],
        check: Check | None = None,
        *,
        other_names: OtherNames = NO_OTHER_NAMES,
    ) -> Report:
        """Verify a profile that is not stored, with secrets by name. Stores nothing."""
        oauth, username = delivery_profile.profile.oauth, delivery_profile.profile.username

        async def token() -> str | Failure | None:
            if oauth is None:
                return None
            from app.oauth.token_request import request_token

            request = TokenRequest(
                oauth=oauth,
                username=username or "",
                client_secret=secrets.get("client_secret"),
                private_key=secrets.get("private_key"),
                refresh_token=secrets.get("refresh_token"),
            )
            granted = await request_token(request, self.network, now=self.now())
            return granted.access_token if isinstance(granted, GrantedToken) else granted

        return await self._verify(delivery_profile, secrets, token, check, other_names)

    async def _verify(
        self,
        delivery_profile: DeliveryProfile,
        secrets: Mapping[str, str],
        token: Token,
        check: Check | None,
        other_names: OtherNames,
    ) -> Report:
        profile, names = delivery_profile.profile, delivery_profile.ehlo_names(self.ehlo_names)
        subject = Subject(
            identity=make_identity(profile, secrets, names),
            other_names=replace(other_names, sender_domains=list_sender_domains(profile)),
            token=token,
            check=check,
        )
        return await verify(subject, self.network, now=self.now())
