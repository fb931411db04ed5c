"""`heloise send`: a test mail through a profile, delivered by the running service."""

import asyncio
from pathlib import Path

from tests.e2e.conftest import Start
from tests.support.harness import key_of
from tests.support.servers.smtp_server import SmtpServer
from tests.support.terminal import Terminal

ANN = "ann@example.org"


async def test_a_test_mail_shows_its_dialogue(
    start: Start, server: SmtpServer, migrated_url: str, tmp_path: Path
) -> None:
    """The outcome too: the exit code says whether the server took it."""
    acme = await (await start()).tenant()
    await acme.profile("main", server.port)
    terminal = Terminal(tmp_path)
    terminal.environment["HELOISE_DATABASE_URL"] = migrated_url
    terminal.environment["HELOISE_SECRET_KEYS"] = key_of(migrated_url)
    result = await asyncio.to_thread(terminal.done, "send", ANN, "-t", acme.tenant_id)
    assert f"C: RCPT TO:<{ANN}>" in result.out
    assert "S: 250 2.0.0 Ok: queued as 4XyZ" in result.out
    assert "sent" in result.out
    assert len(server.messages) == 1
