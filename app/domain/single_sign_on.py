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
        if self.claim == "email" and claims.get("email_verified") in {False, "false"}:
            return False
        found = find_claim(claims, self.claim)
        return self.value in found if isinstance(found, list) else found == self.value


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


def name_person(claims: Claims) -> str:
    """Return the name for lists and the audit log: the email address, if there is one."""
    for name in ("email", "preferred_username", "name", "sub"):
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    return ""
