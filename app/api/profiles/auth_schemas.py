"""Define the JSON of a profile's authentication: password or OAuth 2.0."""

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, StrictBool, model_validator

from app.api.http.fields import Patch, RequestModel
from app.api.profiles import fields
from app.api.profiles import oauth_fields as oauth
from app.domain.types import AuthMechanism, OAuth, OAuthGrant

AUTH: Final = (
    "`auto` picks the best mechanism that the server offers. Without a username, Heloise does not"
    " log in."
)
GRANT: Final = (
    "The OAuth grant: `client_credentials` (needs `client_secret`), `refresh_token` (needs"
    " `refresh_token`, and `client_secret` if the client has one) or `jwt_bearer` (needs"
    " `private_key`)."
)
PRESET: Final = (
    "Sets `token_url` and `scope` to those of `google` or `microsoft`. Fields that you set take"
    " precedence. Not stored itself."
)
Mechanism = Annotated[AuthMechanism, Field(description=AUTH)]
Grant = Annotated[OAuthGrant, Field(description=GRANT)]
Preset = Annotated[Literal["google", "microsoft"], Field(description=PRESET)]

OAUTH_MECHANISMS: Final = frozenset({AuthMechanism.AUTO, AuthMechanism.OAUTH2})
PLAINTEXT_MECHANISMS: Final = frozenset(
    {AuthMechanism.PLAIN, AuthMechanism.LOGIN, AuthMechanism.OAUTH2}
)
SETTINGS: Final = ("grant", "token_url", "client_id", "scope", "subject", "preset", "tenant")
SECRETS: Final = ("client_secret", "private_key", "refresh_token")

ReportError = Callable[[str, str], None]


class _Grant(NamedTuple):
    """The secrets that a grant needs, and optional ones."""

    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()


GRANTS: Final[Mapping[OAuthGrant, _Grant]] = {
    OAuthGrant.CLIENT_CREDENTIALS: _Grant(("client_secret",)),
    OAuthGrant.REFRESH_TOKEN: _Grant(("refresh_token",), ("client_secret",)),
    OAuthGrant.JWT_BEARER: _Grant(("private_key",)),
}
# The grants with which each provider issues tokens for mail, and the scope to request.
SCOPES: Final[Mapping[str, Mapping[OAuthGrant, str]]] = {
    "google": {
        OAuthGrant.JWT_BEARER: "https://mail.google.com/",
        OAuthGrant.REFRESH_TOKEN: "https://mail.google.com/",
    },
    "microsoft": {
        OAuthGrant.CLIENT_CREDENTIALS: "https://outlook.office365.com/.default",
        OAuthGrant.REFRESH_TOKEN: "https://outlook.office.com/SMTP.Send offline_access",
    },
}
GOOGLE: Final = "https://oauth2.googleapis.com/token"
MICROSOFT: Final = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"


class Auth(RequestModel):
    """SMTP authentication."""

    mechanism: Mechanism = AuthMechanism.AUTO
    username: fields.Username | None = None
    password: fields.Password | None = Field(
        default=None, description="Write-only: stored encrypted, never returned."
    )
    allow_plaintext_auth: StrictBool = Field(
        default=False,
        description="Whether Heloise may send the password or access token over an unencrypted"
        " connection.",
    )
    grant: Grant | None = None
    token_url: oauth.TokenUrl | None = None
    client_id: oauth.ClientId | None = None
    client_secret: oauth.ClientSecret | None = None
    private_key: oauth.TokenKey | None = None
    refresh_token: oauth.RefreshToken | None = None
    scope: oauth.OAuthScope | None = None
    subject: oauth.Subject | None = None
    preset: Preset | None = None
    tenant: oauth.EntraTenant | None = None

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        if self.preset is None or self.grant is None:
            return self
        self.scope = self.scope or SCOPES[self.preset].get(self.grant)
        if self.preset == "google":
            self.token_url = self.token_url or GOOGLE
        elif self.tenant is not None:
            self.token_url = self.token_url or MICROSOFT.format(tenant=self.tenant)
        return self

    def to_oauth(self) -> OAuth | None:
        """Convert to the domain's value, or None if OAuth is not configured."""
        if self.grant is None or self.token_url is None or self.client_id is None:
            return None
        return OAuth(
            grant=self.grant,
            token_url=self.token_url,
            client_id=self.client_id,
            scope=self.scope,
            subject=self.subject,
        )


class AuthUpdate(Patch, of=Auth):
    """Changes to the authentication. Omitted fields stay; null removes a value."""


def check_auth(auth: Auth, secret_names: Collection[str], report_error: ReportError) -> None:
    """Report contradictions by field.

    `secret_names` includes stored secrets.
    """
    if auth.username is None and "password" in secret_names:
        msg = "set the user name of this password, or set the password to null"
        report_error("username", msg)
    if auth.username is None and auth.mechanism not in (AuthMechanism.AUTO, AuthMechanism.NONE):
        report_error("username", f"mechanism={auth.mechanism} needs a user name; set it")
    oauth_fields = [name for name in SETTINGS if getattr(auth, name) is not None]
    oauth_fields += [name for name in SECRETS if name in secret_names]
    by_password = not oauth_fields and auth.mechanism not in (
        AuthMechanism.OAUTH2,
        AuthMechanism.NONE,
    )
    if auth.username is not None and by_password and "password" not in secret_names:
        report_error("password", "set the password of this user name, or set the user name to null")
    if oauth_fields and auth.mechanism not in OAUTH_MECHANISMS:
        names = ", ".join(oauth_fields)
        report_error(
            "mechanism",
            f"{names} belong to OAuth 2.0; set mechanism to oauth2, or set them to null",
        )
    elif oauth_fields or auth.mechanism is AuthMechanism.OAUTH2:
        _check_oauth(auth, secret_names, report_error)


def _check_oauth(auth: Auth, secret_names: Collection[str], report_error: ReportError) -> None:
    if auth.username is None and auth.mechanism is AuthMechanism.AUTO:
        report_error("username", "set the mailbox of the access token")
    if auth.mechanism is AuthMechanism.OAUTH2 and "password" in secret_names:
        report_error("password", "mechanism=oauth2 uses no password; set it to null")
    if auth.grant is None:
        report_error(
            "grant",
            "write client_credentials, refresh_token or jwt_bearer, or leave out all OAuth fields",
        )
        return
    _check_preset(auth, auth.grant, report_error)
    if auth.token_url is None and auth.preset != "microsoft":
        report_error("token_url", "set the URL of the token endpoint, or a preset")
    if auth.client_id is None:
        report_error(
            "client_id", "set the client id; for a Google service account, its client_email"
        )
    if auth.subject is not None and auth.grant is not OAuthGrant.JWT_BEARER:
        report_error("subject", "only grant=jwt_bearer uses a subject; set it to null")
    grant = GRANTS[auth.grant]
    for name in SECRETS:
        if name in grant.needs and name not in secret_names:
            report_error(name, f"grant={auth.grant} needs this field; set it")
        if name in secret_names and name not in (*grant.needs, *grant.may_have):
            report_error(name, f"grant={auth.grant} does not use it; set it to null")


def _check_preset(auth: Auth, grant: OAuthGrant, report_error: ReportError) -> None:
    if auth.tenant is not None and auth.preset != "microsoft":
        report_error("tenant", "set this only with preset=microsoft")
    if auth.preset is None:
        return
    scope_by_grant = SCOPES[auth.preset]
    if grant not in scope_by_grant:
        names = " or ".join(supported_grant.value for supported_grant in scope_by_grant)
        report_error("grant", f"for mail, {auth.preset} supports only {names}")
    if auth.preset == "microsoft" and auth.token_url is None:
        report_error("tenant", "set the directory (tenant) id of Microsoft Entra, or token_url")
