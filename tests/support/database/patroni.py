"""Three PostgreSQL servers that Patroni manages, with etcd and HAProxy, all on loopback.

Patroni and HAProxy run with the files of `deploy/patroni`; only addresses and times differ.
Where Debian's packages are missing, tests marked `patroni` are skipped.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.support.database.postgresql import USER, VOLATILE, Account, binaries, reachable
from tests.support.memory import memory_folder
from tests.support.processes.ports import unused_ports
from tests.support.waiting import until

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "deploy/patroni"
PATRONI: Final = Path("/usr/bin/patroni")
ETCD: Final = Path("/usr/bin/etcd")
HAPROXY: Final = Path("/usr/sbin/haproxy")
DATABASE: Final = "heloise"
NAMES: Final = ("postgres1", "postgres2", "postgres3")
# Shorter than in `deploy`, so that a test waits less for a failover.
TIMES: Final = {"ttl": 10, "loop_wait": 1, "retry_timeout": 4}
STOP_SECONDS: Final = 60
LAST_LINES: Final = 40


class Member:
    """One of the servers, and the Patroni that runs it."""

    def __init__(self, name: str, folder: Path, launch: Callable[..., Any]) -> None:
        self.name = name
        self.port, self.rest_port = unused_ports(2)
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self._process = self._launch(self)

    def kill_server(self) -> None:
        """Kill PostgreSQL, as a crash would; Patroni goes on."""
        for pid in self._server_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill both at once, as a machine that loses power."""
        if self._process is not None:
            self._process.kill()
            self.kill_server()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def read_last_lines(self) -> str:
        """The end of what its Patroni and its PostgreSQL have written."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join([f"{self.name}:", *lines[-LAST_LINES:]])

    def stop_senders(self) -> None:
        """Stop the processes that send to the standbys, as a network does that drops packets."""
        for pid in self._server_pids():
            if "walsender" in _command_line(pid):
                os.kill(pid, signal.SIGSTOP)

    def _server_pids(self) -> list[int]:
        """The processes of the server, its main one first, if it runs."""
        with suppress(FileNotFoundError, IndexError):
            main = int((self.data / "postmaster.pid").read_text().split()[0])
            if "postgres" in _command_line(main):
                return [main, *_children(main)]
        return []


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def _children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which is in parentheses: the state, and the parent.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


class Cluster:
    """The servers, and the ways to them."""

    def __init__(self, members: Mapping[str, Member], password: str) -> None:
        self.members = members
        self.primary_port, self.standby_port = unused_ports(2)
        self._password = password

    @property
    def direct_url(self) -> str:
        """The database's URL with all servers, of which the primary is chosen."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members.values())
        return self._url(hosts, "?target_session_attrs=read-write")

    @property
    def proxied_url(self) -> str:
        """The database's URL through HAProxy."""
        return self._url(f"127.0.0.1:{self.primary_port}")

    @property
    def read_url(self) -> str:
        """The URL of a standby through HAProxy."""
        return self._url(f"127.0.0.1:{self.standby_port}")

    def _url(self, hosts: str, query: str = "") -> str:
        return f"postgresql://{USER}:{self._password}@{hosts}/{DATABASE}{query}"

    async def roles(self) -> dict[str, str]:
        """What each member is, as Patroni says: primary, standby, sync_standby."""
        roles = {}
        async with httpx.AsyncClient(timeout=5, verify=False) as http:  # noqa: S501 - it is no TLS
            for member in self.members.values():
                with suppress(httpx.HTTPError):
                    answer = await http.get(f"http://127.0.0.1:{member.rest_port}/patroni")
                    state = answer.json()
                    if answer.status_code == 200 and state["state"] == "running":
                        role = {"master": "primary", "replica": "standby"}[state["role"]]
                        roles[member.name] = "sync_standby" if "sync_standby" in state else role
        return roles

    async def primary(self) -> Member:
        """The primary, once there is one with a synchronous standby and another one."""
        seen: list[dict[str, str]] = []

        async def fact() -> Member | None:
            roles = await self.roles()
            if roles not in seen:
                seen.append(roles)
            by_role = {role: name for name, role in roles.items()}
            is_whole = by_role.keys() == {"primary", "sync_standby", "standby"}
            return self.members[by_role["primary"]] if is_whole else None

        try:
            return await until(fact, progress=lambda: len(seen))
        except TimeoutError:
            logs = [member.read_last_lines() for member in self.members.values()]
            raise AssertionError("\n".join([f"roles: {seen[-1:]}", *logs])) from None

    async def switch_over(self, leader: Member) -> None:
        """Make the synchronous standby the primary, in order."""
        [candidate] = [
            name for name, role in (await self.roles()).items() if role == "sync_standby"
        ]
        async with httpx.AsyncClient(timeout=60, verify=False) as http:  # noqa: S501 - as above
            answer = await http.post(
                f"http://127.0.0.1:{leader.rest_port}/switchover",
                json={"leader": leader.name, "candidate": candidate},
            )
        assert answer.status_code == 200, answer.text


@contextmanager
def patroni_cluster() -> Iterator[Cluster]:
    """A cluster of one's own, gone with all its data when the block ends."""
    programs = binaries()
    if programs is None or not all(path.exists() for path in (PATRONI, ETCD, HAPROXY)):
        pytest.skip("no PostgreSQL, Patroni, etcd or HAProxy")
    account = Account()
    folder = _make_folder(account)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        programs = reachable(programs, account, folder)
        etcd_port, peer_port = unused_ports(2)
        etcd = account.start(
            ETCD,
            f"--data-dir={folder}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            output=folder / "etcd.log",
        )
        stack.callback(_end, etcd)
        password = secrets.token_hex(16)
        launch = _launcher(folder, account, programs, etcd_port, password)
        cluster = Cluster({name: Member(name, folder, launch) for name in NAMES}, password)
        for member in cluster.members.values():
            stack.callback(member.kill)
            member.start()
        stack.callback(_end, _start_haproxy(cluster, folder, account))
        yield cluster


def _make_folder(account: Account) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="heloise-patroni-", dir=memory_folder()))
    folder.chmod(0o755)
    account.own(folder)
    return folder


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(STOP_SECONDS)


def _launcher(
    folder: Path, account: Account, programs: Path, etcd_port: int, password: str
) -> Callable[[Member], subprocess.Popen[bytes]]:
    """Build what starts the Patroni of a member, with the file of `deploy`."""
    conf: dict[str, Any] = yaml.safe_load((FOLDER / "patroni.yml").read_text())
    conf["bootstrap"]["dcs"] |= TIMES
    conf["bootstrap"]["dcs"]["postgresql"]["parameters"] |= VOLATILE
    conf["postgresql"]["parameters"] = {"unix_socket_directories": str(folder)}
    path = folder / "patroni.yml"
    path.write_text(yaml.safe_dump(conf))

    def launch(member: Member) -> subprocess.Popen[bytes]:
        variables = {
            "NAME": member.name,
            "ETCD3_HOSTS": f"127.0.0.1:{etcd_port}",
            "SUPERUSER_USERNAME": USER,
            "SUPERUSER_PASSWORD": password,
            "REPLICATION_USERNAME": "replication",
            "REPLICATION_PASSWORD": password,
            "POSTGRESQL_DATA_DIR": str(member.data),
            "POSTGRESQL_BIN_DIR": str(programs),
            "POSTGRESQL_PGPASS": str(folder / f"{member.name}.pgpass"),
            "POSTGRESQL_LISTEN": f"127.0.0.1:{member.port}",
            "POSTGRESQL_CONNECT_ADDRESS": f"127.0.0.1:{member.port}",
            "RESTAPI_LISTEN": f"127.0.0.1:{member.rest_port}",
            "RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{member.rest_port}",
        }
        words = [f"PATRONI_{name}={value}" for name, value in variables.items()]
        environment = ("env", "-i", f"PATH={programs}:/usr/bin:/bin", "LC_ALL=C.UTF-8", *words)
        return account.start(*environment, PATRONI, path, output=member.log)

    return launch


def _start_haproxy(cluster: Cluster, folder: Path, account: Account) -> subprocess.Popen[bytes]:
    conf = (FOLDER / "haproxy.cfg").read_text()
    conf = conf.replace("*:5432", f"127.0.0.1:{cluster.primary_port}")
    conf = conf.replace("*:5433", f"127.0.0.1:{cluster.standby_port}")
    for member in cluster.members.values():
        conf = conf.replace(
            f"{member.name}:5432", f"127.0.0.1:{member.port} port {member.rest_port}"
        )
    path = folder / "haproxy.cfg"
    path.write_text(conf)
    return account.start(HAPROXY, "-f", path, output=folder / "haproxy.log")
