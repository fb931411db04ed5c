"""A real Postfix on loopback: strict about HELO, with SASL users, and TLS by a private CA.

It needs root (its master drops to other users by itself) and the packages `postfix`, `sasl2-bin`
and `libsasl2-modules`; where they are missing, tests marked `postfix` are skipped.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import pytest
import trustme

from tests.support.processes.ports import unused_ports
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.postfix_log import Accepted, Refused, read_accepted, read_refused
from tests.support.servers.postfix_services import ALLOWED, CHROOTED, RESOLVED, SERVICES
from tests.support.waiting import until

# The realm is part of the user name, so that the log shows what the client sent. The passwords
# hold the canary that the end-to-end tests search for.
USERS: Final[Mapping[str, str]] = {
    f"{name}@users.test": f"{name}-canary-7c41-in-the-coal-mine"
    for name in ("alice", "bob", "carol")
}

# What keeps an instance apart: folders of its own, loopback alone, no mail for this machine, and no
# look-ups or bounds that tests and benchmarks would meet.
APART_CF: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mx.test.invalid
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
"""
MAIN_CF: Final = (
    APART_CF
    + """\
enable_long_queue_ids = yes
transport_maps = regexp:$config_directory/transports, static:discard:
smtpd_error_sleep_time = 0
smtpd_helo_required = yes
smtpd_delay_reject = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit
smtpd_data_restrictions = check_client_access static:{{INFO accepted}}
smtpd_sasl_local_domain = users.test
smtpd_tls_chain_files = $config_directory/tls.pem
"""  # `helo=` is logged of what is refused; the INFO line says it of what is accepted, too
)

DAEMONS: Final = """\
postlog unix-dgram n - n - 1 postlogd
qmgr unix n - n 300 1 qmgr
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
"""

# `smtpd` reads it here alone: `cyrus_sasl_config_path` is ignored by Debian's.
SASL_CONF: Final = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN CRAM-MD5
sasldb_path: {etc}/sasl/db
"""

# Waits for the end of its input, which also comes when the tests are killed.
STOP: Final = 'read -r _; /usr/sbin/postfix -c "$0/etc" stop; rm -rf "$0"'
POSTFIX: Final = "/usr/sbin/postfix"  # where Debian has them; PATH may lack it
SASLPASSWD: Final = "/usr/sbin/saslpasswd2"
CAPTURE: Final = "capture"  # the port that `forwarding` hands on to
RETURNED: Final = "returned.example.com"  # what is for there goes to the same port
STARTS: Final = 3  # so often it is tried

Read = TypeVar("Read", Accepted, Refused)


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running Postfix, and its log from some place on."""

    ca_pem: str
    ports: Mapping[str, int]
    log: Path
    log_start_bytes: int = 0

    @property
    def users(self) -> Mapping[str, str]:
        """The passwords of those who may log in."""
        return USERS

    def port(self, service: str) -> int:
        """The TCP port on 127.0.0.1 of one of `SERVICES`, or `CAPTURE`, where a test listens."""
        return self.ports[service]

    def from_now(self) -> "Postfix":
        """The same server, its log read from here on."""
        return Postfix(self.ca_pem, self.ports, self.log, self.log.stat().st_size)

    def lines(self) -> list[str]:
        """The whole lines of the log."""
        with self.log.open("rb") as file:
            file.seek(self.log_start_bytes)
            return file.read().decode().rpartition("\n")[0].splitlines()

    def accepted(self) -> list[Accepted]:
        """The messages that were taken and delivered so far."""
        return read_accepted(self.lines())

    def refused(self) -> list[Refused]:
        """The commands that were refused so far."""
        return read_refused(self.lines())

    async def wait_accepted(self, count: int) -> list[Accepted]:
        """All messages that were taken, as soon as there are `count`; AssertionError if never."""
        return await self._wait(count, self.accepted)

    async def wait_refused(self, count: int) -> list[Refused]:
        """All commands that were refused, as soon as there are `count`; AssertionError if never."""
        return await self._wait(count, self.refused)

    async def _wait(self, count: int, read: Callable[[], list[Read]]) -> list[Read]:
        entries = read()

        async def fact() -> list[Read] | None:
            nonlocal entries
            entries = read()
            return entries if len(entries) >= count else None

        try:
            return await until(fact, progress=lambda: len(entries))
        except TimeoutError:
            tail = "\n".join(self.lines()[-20:])
            raise AssertionError(f"{len(entries)} of {count} are in the log:\n{tail}") from None


def missing() -> str | None:
    """Why Postfix cannot be run here, or None."""
    if os.geteuid() != 0:
        return "Postfix is started by root alone"
    absent = [path for path in (POSTFIX, SASLPASSWD) if not Path(path).exists()]
    return f"not installed: {', '.join(absent)}" if absent else None


def run_command(*words: str, stdin: str = "") -> None:
    """Run a command to its end; raises RuntimeError with what it said if it fails."""
    with tempfile.TemporaryFile("w+") as output:  # a pipe would be kept open by the master
        result = subprocess.run(  # noqa: S603 - our own words
            words, input=stdin, stdout=output, stderr=subprocess.STDOUT, text=True, check=False
        )
        output.seek(0)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {output.read()}")


def _master_cf(ports: Mapping[str, int]) -> str:
    lines = []
    for name, options in SERVICES.items():
        chroot = "y" if name in CHROOTED else "n"
        lines.append(f"127.0.0.1:{ports[name]} inet n - {chroot} - - smtpd")
        options_of_service = [option.format(capture=ports[CAPTURE]) for option in options]
        lines += [
            f"  -o {{ {option} }}"
            for option in (f"syslog_name = postfix/{name}", *options_of_service)
        ]
    return "\n".join(lines) + "\n" + DAEMONS


def write_users(etc: Path) -> None:
    """Write the passwords of USERS to where `smtpd` of a Postfix in `etc` reads them."""
    (etc / "sasl").mkdir()
    (etc / "sasl/smtpd.conf").write_text(SASL_CONF.format(etc=etc))
    database = etc / "sasl/db"
    for user, password in USERS.items():
        name, _, realm = user.partition("@")
        words = (SASLPASSWD, "-f", str(database), "-p", "-c", "-u", realm, name)
        run_command(*words, stdin=password)
    shutil.chown(database, "postfix")


def _configure(folder: Path, ports: Mapping[str, int], nameserver: str) -> str:
    """Write all that Postfix reads into `folder`; returns the CA's certificate (PEM)."""
    etc, data, authority = folder / "etc", folder / "data", trustme.CA()
    for path in (etc, folder / "spool", data):
        path.mkdir()
    shutil.chown(data, "postfix")
    (folder / "maillog").touch()
    (folder / "spool/etc").mkdir()
    (folder / "spool/etc/resolv.conf").write_text(f"nameserver {nameserver}\n")
    (etc / "main.cf").write_text(MAIN_CF.format(folder=folder))
    (etc / "master.cf").write_text(_master_cf(ports))
    returned = f"/@{re.escape(RETURNED)}$/ smtp:[127.0.0.1]:{ports[CAPTURE]}\n"
    (etc / "transports").write_text(returned)
    (etc / "literals").write_text("/^\\[/ 450 4.7.1 Host not found\n")
    (etc / "allowed").write_text(f"/^{re.escape(ALLOWED)}$/ OK\n")
    (etc / "tls.pem").touch(mode=0o600)
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(etc / "tls.pem"))
    write_users(etc)
    return authority.cert_pem.bytes().decode()


@contextmanager
def stop_at_the_end(folder: Path) -> Iterator[None]:
    """Stop the Postfix of `folder` and remove the folder, however this process ends."""
    guard = subprocess.Popen(  # noqa: S603 - our own words
        ["/bin/sh", "-c", STOP, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt from the keyboard is not for it
    )
    try:
        yield
    finally:
        guard.communicate(timeout=60)


@contextmanager
def _nameserver() -> Iterator[str]:
    """The address of a DNS, of those of loopback, at the port that resolvers take for granted."""
    for last in range(1, 255):
        try:
            server = DnsServer(at=(f"127.0.53.{last}", 53))
        except OSError:  # of another process that runs tests
            continue
        for name in RESOLVED:
            server.add(name, "A", "127.0.0.1")
        with server:
            yield server.address[0]
        return
    raise RuntimeError("no port 53 of 127.0.53.0/24 is free")


@contextmanager
def running_postfix() -> Iterator[Postfix]:
    """A Postfix with folders and ports of its own, stopped at the end.

    One that does not start is tried again with others, for its failure would be that of all tests.
    """
    with _nameserver() as nameserver, ExitStack() as stack:
        reasons = list[str]()
        for _ in range(STARTS):
            folder = Path(tempfile.mkdtemp(prefix="heloise-postfix-"))
            folder.chmod(0o755)  # its daemons run as other users
            stack.enter_context(stop_at_the_end(folder))
            try:
                server = _start(folder, nameserver)
            except RuntimeError as error:
                reasons.append(str(error))
            else:
                yield server
                return
        raise RuntimeError("\n".join(reasons))


def _start(folder: Path, nameserver: str) -> Postfix:
    """Start a Postfix in a folder; raises RuntimeError with what it said if it does not start."""
    names = [*SERVICES, CAPTURE]
    ports = dict(zip(names, unused_ports(len(names)), strict=True))
    ca_pem = _configure(folder, ports, nameserver)
    log = folder / "maillog"
    try:
        run_command(POSTFIX, "-c", str(folder / "etc"), "start")
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{log.read_text()}") from error
    return Postfix(ca_pem, ports, log)


@pytest.fixture(scope="session")
def postfix_server() -> Iterator[Postfix]:
    """One Postfix for all tests of this process."""
    if reason := missing():
        pytest.skip(reason)
    with running_postfix() as server:
        yield server


@pytest.fixture
def postfix(postfix_server: Postfix) -> Postfix:
    """The running Postfix; its log begins with the test."""
    return postfix_server.from_now()
