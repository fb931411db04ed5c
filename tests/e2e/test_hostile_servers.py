"""Servers that are broken, odd or hostile: `hostile_servers.txt` says what must become of a mail.

The next case is a line there. Whatever a server does, it ends with no message that is not ours.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.hand_clock import HandClock
from tests.support.harness import CANARY, Tenant, until
from tests.support.servers.smtp_server import Action, Received, SmtpServer

pytestmark = pytest.mark.one_database  # the claim is what is said on the wire
TABLE: Final = Path(__file__).with_name("hostile_servers.txt")
ANN: Final = "ann@example.org"
# A server that takes the content for commands has a second message.
TEXT: Final = (
    "RSET\r\nEHLO x.example.net\r\nMAIL FROM:<ceo@example.com>\r\nRCPT TO:<victim@example.net>\r\n"
    "DATA\r\nSubject: pay at once\r\n\r\nforged\r\n.\r\n"
)
USER: Final = "billing"
IMPATIENT: Final = {"connect": 30, "command": 1, "data": 1}


@dataclass(frozen=True)
class ScriptedReply:
    """One reply of a script: at a stage, to what line, and how many times."""

    stage: str
    to: str
    times: int | None
    reply: Action

    @classmethod
    def parse(cls, text: str) -> "ScriptedReply":
        match = re.fullmatch(r"(\w+)(?:/(.+?))?(?:\*(\d+))?: (.*)", text.strip())
        assert match is not None, text
        stage, to, times, reply = match.groups()
        raw = reply.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t")
        action: Action = raw.encode() if raw != reply else reply
        return cls(stage, to or "", int(times) if times else None, action)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    asked: frozenset[str]
    offered: tuple[str, ...]
    replies: tuple[ScriptedReply, ...]
    expected: str
    line: str

    @classmethod
    def parse(cls, line: str) -> "Case":
        asked, offered, replies, *expected = (part.strip() for part in line.split(" | "))
        return cls(
            asked=frozenset(asked.split()) - {"-"},
            offered=tuple(name.replace("=", " ") for name in offered.split() if name != "-"),
            replies=tuple(map(ScriptedReply.parse, replies.split(" & "))),
            expected=" | ".join(expected),
            line=line,
        )

    def server(self) -> SmtpServer:
        """Which does as the line says."""
        users = {USER: self.password} if self.word("auth") else {}
        mechanisms = [(self.word("auth") or "").upper()]
        server = SmtpServer(extensions=self.offered, users=users, mechanisms=mechanisms)
        for stage in {line.stage for line in self.replies}:
            server.script[stage] = self._acting(server, stage)
        return server

    def _acting(self, server: SmtpServer, stage: str) -> Any:
        counts = {line: count() for line in self.replies if line.stage == stage}

        def act(_: str) -> Action:
            line = server.sessions[-1].commands[-1:] or [""]
            for reply_line, number in counts.items():
                if reply_line.to in line[0] and (
                    reply_line.times is None or next(number) < reply_line.times
                ):
                    return reply_line.reply
            return None

        return act

    def word(self, name: str) -> str | None:
        """The value of `name=value` among what is asked."""
        values = dict(option.partition("=")[::2] for option in self.asked)
        return values.get(name)

    @property
    def is_to_wait(self) -> bool:
        """Whether the message is still queued at the end."""
        return self.expected.startswith(("deferred", "failing"))

    @property
    def password(self) -> str:
        return CANARY.ljust(int(self.word("password") or 0), "x")

    def profile(self) -> Mapping[str, Any]:
        if (mechanism := self.word("auth")) is None:
            return {}
        auth = {"username": USER, "password": self.password, "mechanism": mechanism}
        return {"auth": auth | {"allow_plaintext_auth": True}}

    def message(self) -> Mapping[str, Any]:
        fields: dict[str, Any] = {"text": TEXT, "profile": "", "to": [ANN]}
        if "dsn" in self.asked:
            fields["dsn"] = {"notify": ["failure"], "return": "headers"}
        if "at_most_once" in self.asked:
            fields["guarantee"] = "at_most_once"
        if "long" in self.asked:
            fields["text"] = TEXT * 3000
        return fields


def cases() -> Mapping[str, list[Case]]:
    """The table, by section."""
    cases_by_section = defaultdict[str, list[Case]](list)
    section = ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            cases_by_section[section].append(Case.parse(line))
    return cases_by_section


CASES: Final = cases()


class Play:
    """One case under way: its server, its profile and its message."""

    def __init__(self, case: Case, acme: Tenant, server: SmtpServer, number: int) -> None:
        self.case, self._acme, self._server = case, acme, server
        self._profile = f"p{number}"
        self.became = ""
        self.message = ""

    async def begin(self) -> None:
        timeouts = IMPATIENT if "(silence)" in {line.reply for line in self.case.replies} else {}
        fields = self.case.profile() | ({"timeouts": timeouts} if timeouts else {})
        await self._acme.profile(self._profile, self._server.port, **fields)
        if "8bit" in self.case.asked:
            raw = f"From: p@example.com\r\nTo: {ANN}\r\n\r\nGrüße\r\n{TEXT}".encode()
            headers = {"Content-Type": "message/rfc822"}
            query = f"/messages/raw?profile={self._profile}&to={ANN}"
            made = await self._acme("POST", query, content=raw, headers=headers)
            assert made.status_code == 202, made.text
            self.message = made.json()["id"]
        else:
            fields = dict(self.case.message()) | {"profile": self._profile}
            to = fields.pop("to")
            self.message = await self._acme.send(to, **fields)

    async def look(self) -> None:
        """Note what became of it so far, in the words of the table."""
        [recipient] = (await self._acme.read(f"/messages/{self.message}"))["recipients"]
        attempts = await self._acme.attempts(self.message)
        state = f"{recipient['status']} {recipient['attempts']}"
        if state == "queued 0":
            profile = await self._acme.read(f"/profiles/{self._profile}")
            state = f"{profile['state']} {profile['failing_code']}"
        words = " ".join(attempt["classification"] for attempt in attempts)
        self.became = f"{state} | {words} | {len(self._server.messages)}"

    async def check_received(self) -> None:
        """Whatever the server has is what we have sent it, and nobody else's."""
        raw = (await self._acme("GET", f"/messages/{self.message}/raw")).content
        for received in self._server.messages:
            assert _is_ours(received, raw), self.case


def _is_ours(received: Received, raw: bytes) -> bool:
    return received.recipients == [ANN] and received.data == raw


@pytest.mark.parametrize("section", CASES)
async def test_whatever_a_server_says_the_mail_becomes_what_it_must(
    start: Start, section: str
) -> None:
    """Each line of a section, all of them at once."""
    acme = await (await start(clock=HandClock())).tenant()
    async with AsyncExitStack() as stack:
        plays = [
            Play(case, acme, await stack.enter_async_context(case.server()), number)
            for number, case in enumerate(CASES[section])
        ]
        await asyncio.gather(*(play.begin() for play in plays))

        async def fact() -> bool | None:
            """Whether all are as they must be; each is read once it may be."""
            await acme.settled()
            waiting = await acme.read("/messages?status=queued&limit=200")
            queued = {message["id"] for message in waiting["items"]}
            left = [play for play in plays if play.became != play.case.expected]
            ended = [play for play in left if play.message not in queued or play.case.is_to_wait]
            await asyncio.gather(*(play.look() for play in ended))
            return not any(play.became != play.case.expected for play in plays) or None

        with suppress(TimeoutError):  # what is not as it must be is told below
            await until(fact, progress=lambda: [play.became for play in plays])
        await acme.settled()
        await asyncio.gather(*(play.look() for play in plays))
        problems = [
            f"{p.case.line}\n  became {p.became}" for p in plays if p.became != p.case.expected
        ]
        assert not problems, "\n".join(problems)
        for play in plays:
            await play.check_received()
