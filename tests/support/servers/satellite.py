"""A real Postfix as a client: it takes mail on loopback, and relays it to a server with a login."""

import re
import shutil
import tempfile
from collections.abc import Iterator
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
    stopped_at_the_end,
)

# Names of loopback are not in the DNS, and Postfix's own limit of a message is 10 MB. A message
# that it sends by the settings of before is deferred, so it tries again after a second.
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
    """A running Postfix: its folder, and the port where it takes mail."""

    folder: Path
    port: int

    def configure(self, settings: str, logins: str, authority: Path) -> None:
        """Relay by these lines of `main.cf` and of the file with logins from now on."""
        passwords = self.folder / "etc/sasl_passwd"
        passwords.write_text(logins)
        passwords.chmod(0o600)
        settings = AUTHORITIES.sub(rf"\1 = {authority}", settings)
        settings = settings.replace(PASSWORDS, str(passwords))
        main_cf = self.folder / "etc/main.cf"
        before = main_cf.read_text()
        main_cf.write_text(MAIN_CF.format(folder=self.folder) + settings)
        if main_cf.read_text() != before:
            run_command(POSTFIX, "-c", str(self.folder / "etc"), "reload")

    def log(self) -> str:
        """The end of its log."""
        return "\n".join((self.folder / "maillog").read_text().splitlines()[-20:])


@contextmanager
def running_satellite() -> Iterator[Satellite]:
    """A Postfix with a folder and a port of its own, stopped at the end."""
    folder, port = Path(tempfile.mkdtemp(prefix="heloise-satellite-")), unused_port()
    folder.chmod(0o755)  # its daemons run as other users
    for name in ("etc", "spool", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "maillog").touch()
    (folder / "etc/main.cf").write_text(MAIN_CF.format(folder=folder))
    (folder / "etc/master.cf").write_text(MASTER_CF.format(port=port))
    with stopped_at_the_end(folder):
        run_command(POSTFIX, "-c", str(folder / "etc"), "start")
        yield Satellite(folder, port)


@pytest.fixture(scope="session")
def satellite() -> Iterator[Satellite]:
    """One Postfix for all tests of this process."""
    if reason := missing():
        pytest.skip(reason)
    with running_satellite() as running:
        yield running
