"""Read a profile from a JSON file and command-line options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

import typer

from app.api.profiles.auth_schemas import Auth
from app.cli.input import read_json, read_text
from app.domain.errors import InvalidRequest
from app.domain.types import AuthMechanism, OAuthGrant, TlsMode

# Options that are not fields: they name a file, ask for a secret, or rename a field.
NON_FIELDS: Final = frozenset(
    {
        "password_file",
        "ask_password",
        "client_secret_file",
        "private_key_file",
        "refresh_token_file",
        "entra_tenant",
    }
)

File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="JSON as the API takes it; - is stdin. Options override it.",
    ),
]


class ProfileOptions(TypedDict):
    """The options of a profile, in the order of the help."""

    name: Annotated[str | None, typer.Option(help="Unique in the tenant.")]
    host: Annotated[str | None, typer.Option(help="The SMTP server.")]
    port: Annotated[int | None, typer.Option(help="The TCP port.")]
    tls: Annotated[TlsMode | None, typer.Option(help="The TLS mode.")]
    tls_min_version: Annotated[
        str | None, typer.Option(help="The minimum TLS version, such as 1.3.")
    ]
    tls_server_name: Annotated[
        str | None,
        typer.Option(help="The name in the server's certificate, if it is not the host."),
    ]
    tls_pins: Annotated[
        list[str] | None,
        typer.Option("--tls-pin", help="A pinned key: sha256/ and its digest; repeatable."),
    ]
    ehlo_name: Annotated[str | None, typer.Option(help="The EHLO name.")]
    mechanism: Annotated[AuthMechanism | None, typer.Option(help="The authentication mechanism.")]
    username: Annotated[str | None, typer.Option(help="The user name.")]
    password_file: Annotated[
        Path | None,
        typer.Option(help="A file whose first line is the password; - is stdin."),
    ]
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Prompt for the password.")]
    allow_plaintext_auth: Annotated[
        bool | None,
        typer.Option(
            "--allow-plaintext-auth/--no-plaintext-auth",
            help="Allow the password over an unencrypted connection.",
        ),
    ]
    grant: Annotated[OAuthGrant | None, typer.Option(help="The OAuth 2.0 grant.")]
    preset: Annotated[
        str | None, typer.Option(help="google or microsoft: sets the token URL and the scope.")
    ]
    entra_tenant: Annotated[
        str | None,
        typer.Option(help="The directory (tenant) in Microsoft Entra, with --preset microsoft."),
    ]
    token_url: Annotated[str | None, typer.Option(help="The token endpoint.")]
    client_id: Annotated[str | None, typer.Option(help="The OAuth client id.")]
    client_secret_file: Annotated[
        Path | None,
        typer.Option(help="A file whose first line is the client's secret; - is stdin."),
    ]
    private_key_file: Annotated[
        Path | None,
        typer.Option(help="A file with the RSA private key (PEM) for jwt_bearer; - is stdin."),
    ]
    refresh_token_file: Annotated[
        Path | None,
        typer.Option(help="A file whose first line is the refresh token; - is stdin."),
    ]
    scope: Annotated[str | None, typer.Option(help="The OAuth scope.")]
    subject: Annotated[
        str | None, typer.Option(help="The user for jwt_bearer. Default: the user name.")
    ]
    default_from: Annotated[str | None, typer.Option(help="The sender of messages without `from`.")]
    is_default: Annotated[
        bool, typer.Option("--default", help="Make this the tenant's default profile.")
    ]


def read_body(file: Path | None, cli_options: ProfileOptions) -> dict[str, Any]:
    """Merge file and options into a body. Raises InvalidRequest.

    Never takes secrets as arguments: every user of a machine can list those.
    """
    body = _read_object(file)
    options: dict[str, Any] = {
        name: value for name, value in cli_options.items() if name not in NON_FIELDS
    }
    options["password"] = _read_password(
        cli_options["password_file"], ask=cli_options["ask_password"]
    )
    options["client_secret"] = _read_first_line(cli_options["client_secret_file"])
    options["refresh_token"] = _read_first_line(cli_options["refresh_token_file"])
    key = cli_options["private_key_file"]
    options["private_key"] = None if key is None else read_text(key)
    options["tenant"] = cli_options["entra_tenant"]
    options["is_default"] = cli_options["is_default"] or None
    options["tls_pins"] = cli_options["tls_pins"] or None
    fields = {name: value for name, value in options.items() if value is not None}
    auth = {name: value for name, value in fields.items() if name in Auth.model_fields}
    body |= {name: value for name, value in fields.items() if name not in auth}
    if auth:
        file_auth = body.get("auth")
        body["auth"] = {**file_auth, **auth} if isinstance(file_auth, Mapping) else auth
    return body


def _read_object(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    content = read_json(file)
    if not isinstance(content, dict):
        raise InvalidRequest(f"{file} contains no JSON object. Write the fields in braces, {{…}}.")
    return content


def _read_password(file: Path | None, *, ask: bool) -> str | None:
    if ask:
        password: str = typer.prompt("Password", hide_input=True, err=True)
        return password
    return _read_first_line(file)


def _read_first_line(file: Path | None) -> str | None:
    if file is None:
        return None
    lines = read_text(file).splitlines()
    if not lines:
        raise InvalidRequest(f"{file} is empty; write the secret into it.")
    return lines[0]
