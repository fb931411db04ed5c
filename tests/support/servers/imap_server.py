"""A real Dovecot on loopback that serves mailboxes over IMAP, by TLS and without.

It needs root and the packages `dovecot-core` and `dovecot-imapd`; where they are missing, tests
marked `dovecot` are skipped.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.support.processes.ports import unused_ports
from tests.support.servers.dovecot import DOVECOT, _wait_open

IMAP: Final = "/usr/lib/dovecot/imap-login"
USER: Final = "bounces@example.com"
NOBODY: Final = 65534

CONF: Final = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/tls.pem
ssl_key = <{folder}/tls.pem
disable_plaintext_auth = no
auth_failure_delay = 0
auth_mechanisms = plain
mail_location = maildir:{folder}/mail
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={folder}/mail
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
"""


@dataclass
class ImapServer:
    """Where it is, whom to trust, and what is in the mailbox."""

    folder: Path
    port: int
    tls_port: int
    authority: str
    password: str
    _count: int = 0

    def deliver(self, content: bytes) -> None:
        """Let a mail come in."""
        self._count += 1
        name = f"{self._count}.test"
        (self.folder / "mail/tmp" / name).write_bytes(content)
        shutil.chown(self.folder / "mail/tmp" / name, NOBODY, NOBODY)
        (self.folder / "mail/tmp" / name).rename(self.folder / "mail/new" / name)

    def unread(self) -> int:
        """How many mails nobody has opened; those that were deleted are not there."""
        new = list((self.folder / "mail/new").iterdir())
        flags_by_mail = [
            path.name.partition(":2,")[2] for path in (self.folder / "mail/cur").iterdir()
        ]
        return len(new) + sum("S" not in flags and "T" not in flags for flags in flags_by_mail)


def missing() -> str | None:
    """Why it cannot be run here, or None."""
    if os.geteuid() != 0:
        return "Dovecot is started by root alone"
    absent = [path for path in (DOVECOT, IMAP) if not Path(path).exists()]
    return f"not installed: {', '.join(absent)}" if absent else None


@pytest.fixture
def imap_server() -> Iterator[ImapServer]:
    """A server with one mailbox that is empty, whose password holds the canary."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="heloise-imap-"))
    folder.chmod(0o755)
    port, tls_port = unused_ports(2)
    for part in ("mail", "mail/new", "mail/cur", "mail/tmp"):
        (folder / part).mkdir()
        shutil.chown(folder / part, NOBODY, NOBODY)
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.pem"))
    password = "canary-7c41-in-the-coal-mine £"
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{password}\n", encoding="utf-8")
    (folder / "dovecot.conf").write_text(CONF.format(folder=folder, port=port, tls_port=tls_port))
    running = subprocess.Popen([DOVECOT, "-F", "-c", str(folder / "dovecot.conf")])  # noqa: S603 - our own words
    try:
        _wait_open(port, running)
        pem = authority.cert_pem.bytes().decode()
        yield ImapServer(folder, port, tls_port, pem, password)
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)
