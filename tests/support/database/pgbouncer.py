"""A real pgbouncer on loopback, in transaction mode, before a PostgreSQL server.

Where Debian's package is missing, tests marked `pgbouncer` are skipped.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import make_url

from tests.support.database.postgresql import Account
from tests.support.processes.ports import unused_port

PGBOUNCER: Final = Path("/usr/sbin/pgbouncer")
START_SECONDS: Final = 30
# Fewer server connections than clients: each transaction may meet another one.
CONF: Final = """\
[databases]
* = host={host} port={server_port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


@contextmanager
def pgbouncer_before(url: str) -> Iterator[str]:
    """Start it before the server of a database; answers the database's URL through it."""
    if not PGBOUNCER.exists():
        pytest.skip("no pgbouncer")
    server, port = make_url(url), unused_port()
    folder = Path(tempfile.mkdtemp(prefix="heloise-pgbouncer-"))
    account, conf, log = Account(), folder / "pgbouncer.ini", folder / "log"
    conf.write_text(
        CONF.format(
            host=server.host,
            server_port=server.port,
            user=server.username,
            password=server.password,
            port=port,
        )
    )
    for path in (folder, conf):
        account.own(path)
    process = account.start(PGBOUNCER, conf, output=log)
    try:
        _wait_until_open(port, process, log)
        yield server.set(port=port).render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait(START_SECONDS)
        shutil.rmtree(folder)


def _wait_until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        try:
            with socket.create_connection(("127.0.0.1", port)):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.02)
    pytest.fail(f"pgbouncer did not start: {log.read_text()}")
