"""What real servers say to a client's names, at EHLO or at RCPT, asked by Python's own client.

`python -m tests.e2e.ehlo_replies` asks them all and writes `ehlo_replies.txt` anew.
"""

import smtplib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.support.servers.exim import running_exim
from tests.support.servers.postfix import running_postfix

FILE: Final = Path(__file__).with_name("ehlo_replies.txt")
HEADER: Final = """\
# What each service of tests/support says to each name: where it refuses it and how, or `taken`.
# Written by `python -m tests.e2e.ehlo_replies`; a test holds the servers to it.

"""
SENDER: Final = "billing@example.com"
RECIPIENT: Final = "ann@example.org"
LITERAL: Final = "[127.0.0.1]"
NAMES: Final = (
    "localhost",
    "3f2a9c1b7d4e",
    "bad_name",
    "bad..name",
    "pod-1.ns.svc.cluster.local",
    "host.example.net",
    "out.example.com",
    "mail.example.com",
    LITERAL,
    "[IPv6:::1]",
)
STRICT: Final[Mapping[str, tuple[str, ...]]] = {
    "postfix": ("strict", "named", "syntax", "resolved", "listed"),
    "exim": ("qualified", "addressed"),
}
SERVICES: Final = tuple(
    (server, service + when)
    for server, services in STRICT.items()
    for service in services
    for when in ("", "_delayed")
)


class Server(Protocol):
    """A server with several services."""

    def port(self, service: str) -> int:
        """Where one of them listens."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a name: `at` is the command that was refused, or `taken`."""

    server: str
    service: str
    name: str
    at: str
    reply: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether mail could be sent under the name."""
        return self.at == "taken"

    def __str__(self) -> str:
        """A line of the file."""
        place = f"{self.server:7} {self.service:17} {self.name:26} {self.at:5}"
        return f"{place} | {self.reply}" if self.reply else place


def ask(server: str, service: str, name: str, port: int) -> Said:
    """Greet a service by a name and go as far as RCPT."""
    with smtplib.SMTP("127.0.0.1", port, name, timeout=60) as session:
        for at, command in (
            ("ehlo", f"EHLO {name}"),
            ("mail", f"MAIL FROM:<{SENDER}>"),
            ("rcpt", f"RCPT TO:<{RECIPIENT}>"),
        ):
            code, text = session.docmd(command)
            if code != 250:
                return Said(server, service, name, at, f"{code} {text.decode()}")
    return Said(server, service, name, "taken")


def load_recorded() -> tuple[Said, ...]:
    """What is in the file."""
    return tuple(_read(FILE.read_text()))


def _read(text: str) -> Iterator[Said]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            place, _, reply = line.partition(" | ")
            yield Said(*place.split(), reply=reply)


@contextmanager
def running() -> Iterator[Mapping[str, Server]]:
    """All servers, by name."""
    with ExitStack() as stack:
        yield {
            "postfix": stack.enter_context(running_postfix()),
            "exim": stack.enter_context(running_exim()),
        }


def main() -> None:
    """Write what they say today."""
    with running() as servers:
        lines = [
            str(ask(server, service, name, servers[server].port(service)))
            for server, service in SERVICES
            for name in NAMES
        ]
    FILE.write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
