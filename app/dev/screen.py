"""Print the terminal output of `heloise dev`."""

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from app import __version__
from app.api.profiles.responses import ProfileRead
from app.dev.first_run import LOOPBACK, PRACTICE_PROFILE, Start
from app.dev.inbox import Mail
from app.domain.types import ProfileState

FIRST_MESSAGE: Final = {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}


class Screen:
    """Print to the terminal."""

    def __init__(
        self,
        *,
        url: str,
        smtp_port: int,
        submission_port: int,
        data_folder: Path,
        inbox_needs_key: bool,
    ) -> None:
        self._url = url
        self._smtp_port = smtp_port
        self._submission_port = submission_port
        self._data_folder = data_folder
        self._key = " (with the key)" if inbox_needs_key else ""
        self._console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)

    def show_start(self, start: Start, environment_file: Path) -> None:
        """Print the addresses and keys, and commands to paste."""
        names = {profile.name for profile in start.profiles}
        practice = (
            "practice",
            "click “See a refused EHLO name” in the console, and mend it by clicks",
        )
        rows = (
            ("console", f"{self._url}/"),
            ("documents", f"{self._url}/docs"),
            ("inbox", f"{self._url}/inbox{self._key}, by SMTP on {LOOPBACK}:{self._smtp_port}"),
            ("tenant", start.tenant.slug),
            *(("profile", self._describe_profile(profile)) for profile in start.profiles),
            *((practice,) if PRACTICE_PROFILE in names else ()),
            ("key", start.keys.api_key),
            ("admin key", start.keys.admin_key),
            ("data folder", str(self._data_folder)),
        )
        self._print(Text(f"Heloise {__version__}, development server", "bold"))
        self._print_rows(rows)
        self._print(Text("\nFor the commands of heloise, paste this into their terminal:", "bold"))
        self._print(Text(f"\n{shlex.join(['.', str(environment_file.absolute())])}"))
        profile = next(filter(self._can_send_to_inbox, start.profiles), None)
        if profile is None:
            self._print(Text("\nNo profile with a default_from sends to the inbox.\n", "bold"))
            return
        self._print(Text("\nTo send a mail, paste this into another terminal:", "bold"))
        self._print(Text(f"\n{self._format_first_request(profile.name, start.keys.api_key)}\n"))
        self._print(Text("To send by SMTP, give your program these settings:\n", "bold"))
        self._print_rows(self._list_smtp_settings(profile.name, start.keys.api_key))
        self._print(Text())

    def _describe_profile(self, profile: ProfileRead) -> str:
        server = f"{profile.host}:{profile.port}" if profile.host else profile.transport
        destination = "the inbox" if self._is_to_inbox(profile) else server
        state = "" if profile.state is ProfileState.ACTIVE else f", {profile.state}"
        return f"{profile.name} (EHLO {profile.effective_ehlo.name}) → {destination}{state}"

    def _is_to_inbox(self, profile: ProfileRead) -> bool:
        return (profile.host, profile.port) == (LOOPBACK, self._smtp_port)

    def _can_send_to_inbox(self, profile: ProfileRead) -> bool:
        return (
            self._is_to_inbox(profile)
            and profile.default_from is not None
            and profile.paused_at is None
        )

    def _format_first_request(self, profile: str, key: str) -> str:
        """Format a command that sends a first mail, on one line."""
        words = (
            *("curl", "-sS", f"{self._url}/messages"),
            *("-H", f"Authorization: Bearer {key}"),
            *("-H", "Content-Type: application/json"),
            *("-d", json.dumps({"profile": profile, **FIRST_MESSAGE})),
        )
        return shlex.join(words)

    def _list_smtp_settings(self, profile: str, key: str) -> Sequence[tuple[str, str]]:
        """List what a program needs to send through a profile."""
        return (
            ("host", LOOPBACK),
            ("port", str(self._submission_port)),
            ("encryption", "none"),
            ("user", profile),
            ("password", key),
        )

    def show_mail(self, mail: Mail) -> None:
        """Print a captured mail."""
        self._print(
            Text.assemble(
                (f"{mail.received_at.astimezone():%H:%M:%S}", "dim"),
                ("  EHLO ", "dim"),
                (_escape(mail.ehlo_name), "cyan"),
                ("  AUTH ", "dim"),
                (_escape(mail.auth_user), "cyan"),
                f"  {_escape(mail.mail_from)} → {_escape(', '.join(mail.rcpt_to))}  ",
                (_escape(mail.subject), "bold"),
            )
        )

    def _print_rows(self, rows: Iterable[tuple[str, str]]) -> None:
        for name, value in rows:
            self._print(Text.assemble((f"  {name:<13}", "dim"), value))

    def _print(self, text: Text) -> None:
        # No wrapping, so that copied commands are complete.
        self._console.print(text, soft_wrap=True)
        self._console.file.flush()


def _escape(text: str) -> str:
    """Replace control characters, which a terminal would execute."""
    return "".join(char if char.isprintable() else "�" for char in text)
