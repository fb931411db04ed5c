"""The `heloise` commands: parse, call, print, exit code.

Exit codes: 0 done; 1 refused, as the API would refuse it; 2 invalid setting or argument. Each
command is imported when it is called, so that it pays only for its own imports.
"""

import gc
import logging
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from app import __version__
from app.domain.errors import InvalidRequest, Problem, SealError, SettingsError
from app.process import GC_THRESHOLD

REFUSED: Final = 1
INVALID_SETTINGS: Final = 2

# Modules stay in memory, and collecting them again and again takes a fifth of the start. The
# processes of `serve --workers` import this module and do not call `run`.
gc.set_threshold(GC_THRESHOLD)

# The function or the group of each command, and its summary, for a help that imports none of them.
COMMANDS: Final = {
    "dev": ("app.cli.dev:dev", "Run the API, delivery and an SMTP inbox on this machine."),
    "serve": ("app.cli.serve:serve", "Serve the HTTP API and deliver messages."),
    "submission": (
        "app.cli.processes:submission",
        "Accept messages over SMTP, without the HTTP API.",
    ),
    "worker": ("app.cli.processes:worker", "Deliver messages without the HTTP API."),
    "migrate": ("app.cli.maintenance:migrate", "Create or upgrade the database schema."),
    "backup": (
        "app.cli.backup:backup",
        "Copy the SQLite database to a new file, while Heloise runs.",
    ),
    "hold": ("app.cli.backup:hold", "Hold all unfinished messages after you restored a backup."),
    "queue": ("app.cli.queue:queue", "Show what waits, and which profiles hold it up."),
    "message": ("app.cli.messages:app", "List, show, cancel, retry and resolve messages."),
    "send": (
        "app.cli.send:send",
        "Send a test mail through a profile, and print its SMTP dialogue.",
    ),
    "event": ("app.cli.events:app", "Follow the events of a tenant."),
    "settings": ("app.cli.settings:settings", "Print every setting with its value and source."),
    "secret-key": ("app.cli:print_secret_key", "Print a new random key."),
    "reseal": (
        "app.cli.maintenance:reseal",
        "Encrypt all stored credentials with the newest secret key.",
    ),
    "purge": ("app.cli.maintenance:purge", "Delete data past its retention period."),
    "tenant": ("app.cli.tenants:app", "Create, list, show, update and delete tenants."),
    "key": ("app.cli.keys:app", "Create, list, rotate and revoke the API keys of a tenant."),
    "profile": (
        "app.cli.profiles:app",
        "Create, list, verify, update, pause, resume and delete profiles.",
    ),
    "doctor": (
        "app.cli.doctor:doctor",
        "Find problems on this machine and at every profile's server.",
    ),
    "version": ("app.cli:print_version", "Print the version."),
}


def load_command(name: str) -> Any:  # noqa: ANN401 - typer keeps these types to itself
    """Import a command, or a group of commands, and build it."""
    place, summary = COMMANDS[name]
    module, _, attribute = place.partition(":")
    command = getattr(import_module(module), attribute)
    app = typer.Typer(add_completion=False, help=summary, no_args_is_help=True)
    if isinstance(command, typer.Typer):
        app.add_typer(command)
    else:
        app.command()(command)
    return get_command(app)


class DeferredCommand(TyperCommand):
    """A command that is imported when it is called."""

    def make_context(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - typer keeps these types to itself
        """Import the command and make its context."""
        return load_command(str(self.name)).make_context(*args, **extra)


def print_version() -> None:
    """Print the version."""
    typer.echo(__version__)


def print_secret_key() -> None:
    """Print a new random key.

    Use it in HELOISE_SECRET_KEYS (put it first and keep the old ones after it) or in
    HELOISE_ADMIN_KEY.
    """
    from app.domain.secret_keys import generate_key

    typer.echo(generate_key())


def _print_version(is_set: bool) -> None:  # noqa: FBT001 - as typer calls it
    if is_set:
        print_version()
        raise typer.Exit


# Only the root offers completion: a shell completes the program, not a single command.
root: Final = typer.Typer(name="heloise", no_args_is_help=True)


@root.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Send email over HTTP: durable queue, one SMTP identity per profile."""


def _command() -> TyperGroup:
    group = get_command(root)
    assert isinstance(group, TyperGroup)  # noqa: S101 - as one with a callback is
    group.commands = {
        name: DeferredCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()
    }
    return group


heloise: Final = _command()


def run() -> None:
    """Run the command line that the process was started with, and exit."""
    # Commands print their errors themselves; long-running ones configure a log.
    logging.getLogger("app").addHandler(logging.NullHandler())
    try:
        heloise(prog_name="heloise")
    except SettingsError as error:
        _exit(INVALID_SETTINGS, str(error))
    except InvalidRequest as error:
        fields = [f"  {'.'.join(map(str, field.loc))}: {field.msg}" for field in error.errors]
        _exit(REFUSED, "\n".join([error.detail, *fields]))
    except Problem as error:
        _exit(REFUSED, error.detail)
    except SealError as error:
        _exit(REFUSED, str(error))


def _exit(code: int, message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise SystemExit(code)
