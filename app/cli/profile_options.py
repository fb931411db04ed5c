"""How a profile is told on the command line: by a file as the API takes it, and by options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.cli.bodies import read_json, read_text
from app.domain.errors import InvalidRequest
from app.domain.types import TlsMode

IN_AUTH: Final = frozenset({"username", "password", "allow_plaintext_auth"})

File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="JSON as the API takes it, every field of it; - is stdin. Options come on top.",
    ),
]
Name = Annotated[str | None, typer.Option(help="Unique in the tenant.")]
Host = Annotated[str | None, typer.Option(help="The SMTP server.")]
Port = Annotated[int | None, typer.Option(help="Its TCP port.")]
Tls = Annotated[TlsMode | None, typer.Option(help="How the connection is protected.")]
Ehlo = Annotated[str | None, typer.Option(help="The name to greet the server with.")]
Username = Annotated[str | None, typer.Option(help="Who logs in.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="A file whose first line is the password; - is stdin."),
]
AskPassword = Annotated[
    bool, typer.Option("--ask-password", help="Ask for the password, without showing it.")
]
PlaintextAuth = Annotated[
    bool | None,
    typer.Option(
        "--allow-plaintext-auth/--no-plaintext-auth",
        help="Whether the password may go over an unencrypted connection.",
    ),
]
DefaultFrom = Annotated[str | None, typer.Option(help="Who sends where a message has no `from`.")]
IsDefault = Annotated[
    bool, typer.Option("--default", help="Send what names no profile through this one.")
]


def told(
    file: Path | None,
    *,
    password_file: Path | None,
    ask_password: bool,
    is_default: bool,
    **options: object,
) -> dict[str, Any]:
    """The body that file and options say together; raises InvalidRequest.

    A password never stands among the arguments: every user of a machine can list those.
    """
    body = _object(file)
    options["password"] = _password(password_file, ask=ask_password)
    options["is_default"] = is_default or None
    given = {name: value for name, value in options.items() if value is not None}
    auth = {name: value for name, value in given.items() if name in IN_AUTH}
    body |= {name: value for name, value in given.items() if name not in IN_AUTH}
    if auth:
        before = body.get("auth")
        body["auth"] = {**before, **auth} if isinstance(before, Mapping) else auth
    return body


def _object(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    given = read_json(file)
    if not isinstance(given, dict):
        raise InvalidRequest(f"{file} holds no JSON object.")
    return given


def _password(file: Path | None, *, ask: bool) -> str | None:
    if ask:
        asked: str = typer.prompt("Password", hide_input=True, err=True)
        return asked
    if file is None:
        return None
    lines = read_text(file).splitlines()
    if not lines:
        raise InvalidRequest(f"{file} is empty: there is no password in it.")
    return lines[0]
