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
from app.dev.first_run import LOOPBACK, PROFILES, Keys
from app.dev.inbox import Mail

FIRST_MESSAGE: Final = {
    "profile": PROFILES[0].name,
    "to": ["ann@example.org"],
    "subject": "Hello",
    "text": "It works.",
}


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

    def show_start(self, keys: Keys) -> None:
        """Print the addresses and keys, and a command that sends a first mail."""
        rows = (
            ("documents", f"{self._url}/docs"),
            ("inbox", f"{self._url}/inbox{self._key}, by SMTP on {LOOPBACK}:{self._smtp_port}"),
            *(("profile", f"{profile.name} (EHLO {profile.ehlo_name})") for profile in PROFILES),
            ("key", keys.api_key),
            ("admin key", keys.admin_key),
            ("data folder", str(self._data_folder)),
        )
        self._print(Text(f"Heloise {__version__}, development server", "bold"))
        self._print_rows(rows)
        self._print(Text("\nTo send a mail, paste this into another terminal:", "bold"))
        self._print(Text(f"\n{self.format_first_request(keys)}\n"))
        self._print(Text("To send by SMTP, give your program these settings:\n", "bold"))
        self._print_rows(self.list_smtp_settings(keys))
        self._print(Text())

    def format_first_request(self, keys: Keys) -> str:
        """Format a command that sends a first mail, on one line."""
        words = (
            *("curl", "-sS", f"{self._url}/messages"),
            *("-H", f"Authorization: Bearer {keys.api_key}"),
            *("-H", "Content-Type: application/json"),
            *("-d", json.dumps(FIRST_MESSAGE)),
        )
        return shlex.join(words)

    def list_smtp_settings(self, keys: Keys) -> Sequence[tuple[str, str]]:
        """List what a program needs to send through the first profile."""
        return (
            ("host", LOOPBACK),
            ("port", str(self._submission_port)),
            ("encryption", "none"),
            ("user", PROFILES[0].name),
            ("password", keys.api_key),
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
