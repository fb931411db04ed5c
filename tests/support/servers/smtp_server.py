r"""An SMTP server that does as it is told: a script says what to answer at which stage.

Without a script it takes everything, as fast as it can. `script` maps a stage to an action, to a
list of actions (one an occurrence, counted over all connections; after the last one the server is
itself again), or to a function from the command's argument to an action. An action is a reply such
as `"550 5.1.1 No such user"` (lines separated by `\n`, raw bytes as they are), one of the constants
of `smtp_dialogue`, `slowly(…)`, or `None` for what the server does by itself.

Stages: banner ehlo helo starttls tls mechanism challenge auth mail rcpt data bdat body dot rset
noop quit. `tls` is asked before the handshake after STARTTLS. `mechanism` is asked at AUTH, before
anything of it is read: IGNORE overlooks what else stands on its line. `bdat` is asked before a
chunk is read: where anything is said then, the chunk is read by lines, as by a server that does not
know BDAT. `body` is asked once the message has begun to come in: whatever is done then, no more of
it is read. `dot` is asked when it has come in whole.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from tests.support.servers.smtp_dialogue import (
    BROKEN_RECORD,
    BROKEN_TLS,
    DISCONNECT,
    DRIBBLE,
    ENDLESS,
    IGNORE,
    RESET,
    SILENCE,
    TAKEN,
    Action,
    Dialogue,
    GoneError,
    Received,
    Seen,
    slowly,
)
from tests.support.waiting import Changes

__all__ = [
    "BROKEN_RECORD",
    "BROKEN_TLS",
    "DISCONNECT",
    "DRIBBLE",
    "ENDLESS",
    "IGNORE",
    "RESET",
    "SILENCE",
    "TAKEN",
    "Action",
    "Received",
    "Seen",
    "SmtpServer",
    "slowly",
]

Script = Mapping[str, Action | Sequence[Action] | Callable[[str], Action]]


class SmtpServer:
    """The server, on a free loopback port, or the one given, while its block runs.

    `users` maps names to passwords; with any, AUTH is asked for before MAIL. `tls` is offered by
    STARTTLS, or from the first byte where `is_implicit`. At a stage with a gate it answers once the
    gate is set. `sessions` and `messages` are what it saw.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE 33554432"),
        users: Mapping[str, str] | None = None,
        tokens: Mapping[str, str] | None = None,
        mechanisms: Sequence[str] = ("PLAIN", "LOGIN", "CRAM-MD5"),
        tls: ssl.SSLContext | None = None,
        is_implicit: bool = False,
        port: int = 0,
    ) -> None:
        self.script: dict[str, Any] = dict(script or {})
        self.extensions = extensions
        self.users = dict(users or {})
        self.tokens = {} if tokens is None else tokens  # whoever gives it may add to it
        self.mechanisms = mechanisms
        self.tls = tls
        self.is_implicit = is_implicit
        self.port = port
        self.gates: dict[str, asyncio.Event] = {}
        self.sessions: list[Seen] = []
        self.open_connections = 0
        self.most_open_connections = 0
        self._counts: Counter[str] = Counter()
        self._changes = Changes()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def messages(self) -> list[Received]:
        """Every message that came in whole, in the order of their connections."""
        return [message for session in self.sessions for message in session.messages]

    async def __aenter__(self) -> Self:
        tls = self.tls if self.is_implicit else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_until(self, fact: Callable[["SmtpServer"], bool]) -> None:
        """Return once something holds of what was seen."""
        await self._changes.wait_until(lambda: fact(self), progress=lambda: self.message_count)

    async def wait_for_messages(self, count: int) -> list[Received]:
        """The messages, once there are so many."""
        await self.wait_until(lambda server: server.message_count >= count)
        return self.messages

    @property
    def message_count(self) -> int:
        """How many messages came in whole."""
        return sum(len(session.messages) for session in self.sessions)

    def hang_up(self) -> None:
        """Close every connection without a word."""
        for task in self._tasks:
            task.cancel()

    def say(self, words: bytes) -> None:
        """Say something on every connection, though nothing was asked."""
        for writer in self._writers:
            writer.write(words)

    def note(self) -> None:
        """Wake those who wait for a fact."""
        self._changes.note()

    def action(self, stage: str, argument: str) -> Action:
        """What the script says to this occurrence of a stage."""
        number = self._counts[stage]
        self._counts[stage] += 1
        scripted = self.script.get(stage)
        if callable(scripted):
            return scripted(argument)
        if isinstance(scripted, list | tuple):
            return scripted[number] if number < len(scripted) else None
        return scripted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.open_connections += 1
        self.most_open_connections = max(self.most_open_connections, self.open_connections)
        try:
            with suppress(
                GoneError,
                ConnectionError,
                asyncio.CancelledError,
                asyncio.IncompleteReadError,
                ssl.SSLError,
            ):
                await Dialogue(self, reader, writer).run()
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()
            self.note()
