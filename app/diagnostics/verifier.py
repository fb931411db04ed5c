"""Verify profiles with their decrypted secrets and effective EHLO name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from app.diagnostics.ehlo_candidates import list_sender_domains
from app.diagnostics.ehlo_trials import Check
from app.diagnostics.report import Report
from app.diagnostics.verify import Subject, Token, get_no_token, verify
from app.domain.ehlo import NO_OTHER_NAMES, EhloNames, OtherNames
from app.domain.errors import SealError
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import Profile
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
        profile = delivery_profile.profile
        try:
            secrets = delivery_profile.open_secrets(self.open_sealed)
        except SealError as error:
            failure = Failure(Stage.AUTH, fault=Fault.UNREADABLE, detail=str(error))
            return await self._verify(
                delivery_profile, NO_SECRETS, _make_failing_token(failure), check, other_names
            )

        async def token() -> str | Failure:
            return await self.tokens.get(profile)

        return await self._verify(
            delivery_profile,
            secrets,
            token if profile.oauth else get_no_token,
            check,
            other_names,
        )

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


def _make_failing_token(failure: Failure) -> Token:
    async def token() -> Failure:
        return failure

    return token


def make_check(profile: Profile, recipient: str | None, sender: str | None) -> Check | None:
    """Choose the addresses for MAIL and RCPT; raises ValueError without a sender."""
    if recipient is None:
        return None
    sender_address = sender or (profile.default_from.address if profile.default_from else None)
    if sender_address is None:
        raise ValueError("set a sender: the profile has no default_from")
    return Check(sender_address, recipient)
