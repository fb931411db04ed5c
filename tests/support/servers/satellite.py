"""A real Postfix as a client: it takes mail on loopback, and relays it to a server with a login."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes.ports import unused_port
from tests.support.servers.postfix import (
    APART_CF,
    DAEMONS,
    POSTFIX,
    missing,
    run_command,
    stop_at_the_end,
)
from tests.support.waiting import until

# Names of loopback are not in the DNS, and Postfix's own limit of a message is 10 MB. It would try
# again after minutes.
MAIN_CF: Final = (
    APART_CF
    + """\
smtp_host_lookup = native
message_size_limit = 40960000
queue_run_delay = 1s
minimal_backoff_time = 1s
"""
)
MASTER_CF: Final = "127.0.0.1:{port} inet n - n - - smtpd\nscache unix - - n - 1 scache\n" + DAEMONS
PASSWORDS: Final = "/etc/postfix/sasl_passwd"  # where settings name the file with logins
AUTHORITIES: Final = re.compile(r"^(smtp_tls_CAfile) = .*$", re.MULTILINE)


@dataclass(frozen=True)
class Satellite:
    """A Postfix: its folder, and the port where it takes mail."""

    folder: Path
    port: int

    def configure(self, settings: str, logins: str, authority: Path) -> None:
        """Relay by these lines of `main.cf` and of the file with logins from now on.

        Postfix starts anew: after a reload, a process with the settings of before may get the next
        message.
        """
        passwords = self.folder / "etc/sasl_passwd"
        passwords.write_text(logins)
        passwords.chmod(0o600)
        settings = AUTHORITIES.sub(rf"\1 = {authority}", settings)
        settings = settings.replace(PASSWORDS, str(passwords))
        main_cf = self.folder / "etc/main.cf"
        text = MAIN_CF.format(folder=self.folder) + settings
        before = main_cf.read_text()
        if text != before:
            main_cf.write_text(text)
            if before:
                self._run("stop")
            self._run("start")

    async def wait_relayed(self, recipients: Sequence[str]) -> None:
        """Return once a message was relayed to these; AssertionError with the log if never."""

        async def fact() -> bool | None:
            lines = (self.folder / "maillog").read_text().splitlines()
            sent = [line for line in lines if "status=sent" in line]
            return all(any(f"to=<{to}>" in line for line in sent) for to in recipients) or None

        try:
            await until(fact)
        except TimeoutError:
            raise AssertionError((self.folder / "maillog").read_text()[-4000:]) from None

    def _run(self, command: str) -> None:
        run_command(POSTFIX, "-c", str(self.folder / "etc"), command)


@contextmanager
def running_satellite() -> Iterator[Satellite]:
    """A Postfix with a folder and a port of its own, which starts once it is configured."""
    folder, port = Path(tempfile.mkdtemp(prefix="heloise-satellite-")), unused_port()
    folder.chmod(0o755)  # its daemons run as other users
    for name in ("etc", "spool", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "maillog").touch()
    (folder / "etc/main.cf").touch()
    (folder / "etc/master.cf").write_text(MASTER_CF.format(port=port))
    with stop_at_the_end(folder):
        yield Satellite(folder, port)


@pytest.fixture(scope="session")
def satellite() -> Iterator[Satellite]:
    """One Postfix for all tests of this process."""
    if reason := missing():
        pytest.skip(reason)
    with running_satellite() as running:
        yield running
