"""A real Exim on loopback, whose access lists look at the EHLO name, at EHLO or not before RCPT.

It needs root, the user `Debian-exim`, and Debian's `exim4-daemon-light` unpacked into `/opt/exim`:
as a package it would take Postfix's place (`.ci/run` shows how). Where one is missing, tests marked
`exim` are skipped.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes.ports import unused_ports
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS, until

EXIM: Final = "/opt/exim/usr/sbin/exim4"
USER: Final = "Debian-exim"  # compiled in

# Neither a single label nor a literal: what administrators copy from one another.
UNQUALIFIED: Final = r"match{$sender_helo_name}{\N^[^.]+$|^\[\N}"
UNQUALIFIED_SAYS: Final = "Access denied - Invalid HELO name (See RFC2821 4.1.1.1)"
# What `helo_verify_hosts` comes to for a client whose address has no name, in its own words.
NOT_ITS_ADDRESS: Final = r"!eqi{$sender_helo_name}{[$sender_host_address]}"
NOT_ITS_ADDRESS_SAYS: Final = "EHLO argument does not match calling host"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which names are refused, with which words, and at which command."""

    acl: str
    refused: str
    message: str


SERVICES: Final[Mapping[str, Policy]] = {
    "qualified": Policy("helo", UNQUALIFIED, UNQUALIFIED_SAYS),
    "qualified_delayed": Policy("rcpt", UNQUALIFIED, UNQUALIFIED_SAYS),
    "addressed": Policy("helo", NOT_ITS_ADDRESS, NOT_ITS_ADDRESS_SAYS),
    "addressed_delayed": Policy("rcpt", NOT_ITS_ADDRESS, NOT_ITS_ADDRESS_SAYS),
}

CONF: Final = """\
keep_environment =
exim_path = {exim}
primary_hostname = exim.test.invalid
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {ports}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
smtp_accept_max = 0
queue_only = true
acl_smtp_helo = helo
acl_smtp_rcpt = rcpt
begin acl
"""
DENY: Final = """\
  deny condition = ${{if ={{$received_port}}{{{port}}}}}
       condition = ${{if {refused}}}
       message = {message}
"""
_ARRIVED: Final = re.compile(
    r" <= (?P<sender>\S+) H=\((?P<helo>\S+)\) .* id=(?P<message_id>\S+)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that Exim took, and the name that its sender greeted with."""

    sender: str
    helo: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Exim:
    """A running Exim, and its log from some place on."""

    ports: Mapping[str, int]
    log: Path
    log_start_bytes: int = 0

    def port(self, service: str) -> int:
        """The TCP port on 127.0.0.1 of one of `SERVICES`."""
        return self.ports[service]

    def from_now(self) -> "Exim":
        """The same server, its log read from here on."""
        return Exim(self.ports, self.log, self.log.stat().st_size)

    def arrived(self) -> list[Arrived]:
        """The messages that were taken so far."""
        text = self.log.read_bytes()[self.log_start_bytes :].decode()
        return [Arrived(**match.groupdict()) for match in _ARRIVED.finditer(text)]

    async def wait_arrived(self, count: int) -> list[Arrived]:
        """All messages that were taken, as soon as there are `count`; AssertionError if never."""
        mails = self.arrived()

        async def fact() -> list[Arrived] | None:
            nonlocal mails
            mails = self.arrived()
            return mails if len(mails) >= count else None

        try:
            return await until(fact, progress=lambda: len(mails))
        except TimeoutError:
            raise AssertionError(self.log.read_text()[-2000:]) from None


def missing() -> str | None:
    """Why Exim cannot be run here, or None."""
    if os.geteuid() != 0:
        return "Exim is started by root alone"
    if not Path(EXIM).exists():
        return f"not unpacked: {EXIM}"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"no such user: {USER}"
    return None


def _conf(folder: Path, ports: Mapping[str, int]) -> str:
    conf = CONF.format(exim=EXIM, folder=folder, ports=" : ".join(map(str, ports.values())))
    for acl in ("helo", "rcpt"):
        rules = [
            DENY.format(port=ports[name], refused=policy.refused, message=policy.message)
            for name, policy in SERVICES.items()
            if policy.acl == acl
        ]
        conf += f"{acl}:\n{''.join(rules)}  accept\n"
    return conf


@contextmanager
def running_exim() -> Iterator[Exim]:
    """An Exim with a folder and ports of its own, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="heloise-exim-"))
    folder.chmod(0o755)
    log = folder / "spool/mainlog"
    log.parent.mkdir()
    log.touch()
    for path in (log.parent, log):
        shutil.chown(path, USER, USER)
    ports = dict(zip(SERVICES, unused_ports(len(SERVICES)), strict=True))
    (folder / "conf").write_text(_conf(folder, ports))
    running = subprocess.Popen([EXIM, "-C", str(folder / "conf"), "-bdf"])  # noqa: S603 - our own words
    try:
        _wait_open(list(ports.values())[-1], running)
        yield Exim(ports, log)
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)


def _wait_open(port: int, running: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while running.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_SECONDS)
    raise AssertionError("Exim does not listen")


@pytest.fixture(scope="session")
def exim_server() -> Iterator[Exim]:
    """One Exim for all tests of this process."""
    if reason := missing():
        pytest.skip(reason)
    with running_exim() as server:
        yield server


@pytest.fixture
def exim(exim_server: Exim) -> Exim:
    """The running Exim; its log begins with the test."""
    return exim_server.from_now()
