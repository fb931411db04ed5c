"""Postfix as an outbox: it takes mail by SMTP, queues it on disk, and may relay it to a sink."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.rounds import Reading
from benchmarks.smtp import by_hand
from benchmarks.trial.processes import POLL_SECONDS, unused_port
from benchmarks.trial.sink import Counts
from benchmarks.trial.submit import Server
from tests.support.servers.postfix import (
    APART_CF,
    DAEMONS,
    POSTFIX,
    STOP,
    USERS,
    write_users,
)

NAME: Final = "Postfix"
SUBMITTING: Final = 20  # connections
WITHIN_SECONDS: Final = 120.0

# As it is by default, but for folders and a relay of its own, and no look-ups in the DNS.
MAIN_CF: Final = (
    APART_CF
    + """\
transport_maps = static:smtp:[127.0.0.1]:{sink_port}
smtpd_relay_restrictions = permit_mynetworks, reject
"""
)
# Clients that have logged in may submit. Postfix keeps what it accepts in its queue.
SUBMISSION_CF: Final = (
    APART_CF
    + """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = users.test
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sender_restrictions = check_sender_access static:HOLD
"""
)
MASTER_CF: Final = f"""\
127.0.0.1:{{port}} inet n - n - - smtpd
smtp unix - - n - - smtp
scache unix - - n - 1 scache
{DAEMONS}"""


@contextmanager
def relaying(sink_port: int) -> Iterator[int]:
    """The port of a Postfix of one's own that relays to a sink."""
    with _running(MAIN_CF, sink_port=sink_port) as (port, _):
        yield port


@contextmanager
def submitting() -> Iterator[tuple[Server, int]]:
    """A Postfix of one's own that queues mail, and the id of its master process."""
    user, password = next(iter(USERS.items()))
    with _running(SUBMISSION_CF) as (port, pid):
        yield Server((port,), user, password), pid


@contextmanager
def _running(main_cf: str, **values: int) -> Iterator[tuple[int, int]]:
    """Run a Postfix with this `main.cf`: its port, and the id of its master process."""
    folder, port = Path(tempfile.mkdtemp(prefix="heloise-bench-postfix-")), unused_port()
    folder.chmod(0o755)  # its daemons run as other users
    etc = folder / "etc"
    for path in (etc, folder / "spool", folder / "data"):
        path.mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "maillog").touch()
    (etc / "main.cf").write_text(main_cf.format(folder=folder, **values))
    (etc / "master.cf").write_text(MASTER_CF.format(port=port))
    write_users(etc)
    # It stops Postfix at the end of its input, which comes however this process ends.
    guard = subprocess.Popen(  # noqa: S603 - our own words
        ["/bin/sh", "-c", STOP, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        words = [POSTFIX, "-c", str(etc), "start"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - as above
        yield port, int((folder / "spool/pid/master.pid").read_text())
    finally:
        guard.communicate()


def end_to_end(port: int, counts: Counts, content: bytes, messages: int) -> Reading:
    """Submit this message as often; from the first submission to the last one at the sink."""
    counts.reset()
    started_at = time.monotonic()
    by_hand(port, content, messages, SUBMITTING)
    while counts.messages < messages:
        if time.monotonic() > started_at + WITHIN_SECONDS:
            raise TimeoutError(f"Postfix relayed {counts.messages} of {messages}")
        time.sleep(POLL_SECONDS)
    return Reading(messages / (counts.last_at_seconds - started_at))
