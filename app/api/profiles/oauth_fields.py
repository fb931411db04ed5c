"""Define the field types of OAuth 2.0 grants (RFC 6749, RFC 7523)."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from app.api.http.fields import Line, Secret
from app.api.profiles.fields import MAX_PEM_CHARACTERS
from app.api.profiles.pem import check_rsa_key
from app.domain.urls import parse_url

_TENANT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749 section 3.3


def _check_tenant(text: str) -> str:
    if _TENANT.fullmatch(text) is None:
        raise ValueError("write the directory's id or one of its domain names")
    return text


def _check_scope(text: str) -> str:
    if _SCOPE.fullmatch(text) is None:
        raise ValueError("write scopes in printable ASCII, separated by one space")
    return text


TokenUrl = Annotated[
    Line,
    Field(
        max_length=2000,
        description="The token endpoint: an https:// URL.",
        examples=["https://login.example.com/oauth2/token"],
    ),
    AfterValidator(parse_url),
]
ClientId = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=1000,
        description="The OAuth client id. For a Google service account: its `client_email`.",
    ),
]
ClientSecret = Annotated[
    Secret,
    Field(min_length=1, max_length=4096, description="Write-only: stored encrypted."),
]
TokenKey = Annotated[
    Secret,
    Field(
        max_length=MAX_PEM_CHARACTERS,
        description="The RSA private key (PEM) with which `jwt_bearer` signs (RS256). For a Google"
        " service account: its `private_key`. Write-only: stored encrypted.",
    ),
    AfterValidator(check_rsa_key),
]
RefreshToken = Annotated[
    Secret,
    Field(
        min_length=1,
        max_length=16_384,
        description="Write-only: stored encrypted. Heloise replaces it when the token server"
        " issues a new one.",
    ),
]
OAuthScope = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=2000,
        description="The OAuth scope.",
        examples=["https://mail.google.com/"],
    ),
    AfterValidator(_check_scope),
]
Subject = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=320,
        description="The user for whom `jwt_bearer` requests tokens. Default: `username`.",
    ),
]
EntraTenant = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=254,
        description="The directory (tenant) in Microsoft Entra, with `preset` microsoft. Becomes"
        " part of `token_url`.",
        examples=["contoso.example"],
    ),
    AfterValidator(_check_tenant),
]
