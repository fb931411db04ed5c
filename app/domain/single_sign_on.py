"""Decide what a person may do who signs in through an OpenID Connect provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import Scope

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdClient:
    """This service as its provider knows it; `client_secret` is None for a public client."""

    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    scopes: str

    @property
    def provider_name(self) -> str:
        """The provider's name for people: its host."""
        return urlsplit(self.issuer).hostname or self.issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A sign-in that has begun: what the provider's answer must match, and where it leads to."""

    redirect_uri: str
    state: str
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    target: str
    former: str | None  # the hash of the token of the session that the new one replaces
    expires_at: datetime


@frozen_dataclass(kw_only=True)
class AccessRule:
    """Gives access to people whose claim is, or contains, a value.

    `tenant` is a slug or id; None makes an admin.
    """

    claim: str
    value: str
    tenant: str | None = None
    scopes: frozenset[Scope] = frozenset()

    def matches(self, claims: Claims) -> bool:
        """Whether the rule applies to a person; an unverified email address never matches."""
        if self.claim == "email" and not is_email_verified(claims):
            return False
        claim_value = find_claim(claims, self.claim)
        return (
            self.value in claim_value
            if isinstance(claim_value, list)
            else claim_value == self.value
        )


@frozen_dataclass(kw_only=True)
class Person:
    """A person as the provider `issuer` knows them; `subject` never changes, `name` may."""

    issuer: str
    subject: str
    name: str
    claims: Claims


def find_claim(claims: Claims, name: str) -> object:
    """Return a claim by name; `realm_access.roles` also finds `roles` in `realm_access`."""
    if name in claims:
        return claims[name]
    outer, _, inner = name.partition(".")
    nested = claims.get(outer)
    return find_claim(nested, inner) if inner and isinstance(nested, dict) else None


def find_rule(rules: Sequence[AccessRule], claims: Claims) -> AccessRule | None:
    """Return the first rule that applies to a person, or None."""
    return next((rule for rule in rules if rule.matches(claims)), None)


def is_email_verified(claims: Claims) -> bool:
    """Whether the provider says so; some providers send a text."""
    return claims.get("email_verified") in (True, "true")


def name_person(claims: Claims) -> str:
    """Return the name for lists and the audit log: the verified email address, or the subject.

    Anybody may give themselves another name.
    """
    email = claims.get("email")
    if isinstance(email, str) and email and email.isprintable() and is_email_verified(claims):
        return email
    return str(claims["sub"])
