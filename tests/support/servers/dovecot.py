"""A real Dovecot on loopback, which asks who sends by every mechanism that we know.

It needs root and the packages `dovecot-core` and `dovecot-submissiond`; where they are missing,
tests marked `dovecot` are skipped.
"""

import os
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

from tests.support.processes.ports import unused_port

DOVECOT: Final = "/usr/sbin/dovecot"
SUBMISSION: Final = "/usr/lib/dovecot/submission-login"
USER: Final = "ann@example.com"
# Commas and signs of equality are letters of SCRAM's own.
PASSWORD: Final = "pw-£,=x"
# Kept as a salted hash, which neither CRAM-MD5 nor SCRAM can use.
HASHED_USER: Final = "bob@example.com"
HASHED_PASSWORD: Final = "pw-of-bob"
WITHIN_SECONDS: Final = 60.0

CONF: Final = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = submission
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
auth_mechanisms = plain login cram-md5 scram-sha-256 xoauth2 oauthbearer
mail_location = maildir:{folder}/mail
first_valid_uid = 1
submission_relay_host = 127.0.0.1
submission_relay_port = {relay_port}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
  mechanisms = plain login cram-md5 scram-sha-256
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf.ext
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={folder}/mail
}}
service anvil {{  # who fails is else kept waiting, longer each time
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {port}
  }}
}}
"""
OAUTH: Final = """\
introspection_mode = post
introspection_url = {url}
username_attribute = username
active_attribute = active
active_value = true
"""


def missing() -> str | None:
    """Why Dovecot cannot be run here, or None."""
    if os.geteuid() != 0:
        return "Dovecot is started by root alone"
    absent = [path for path in (DOVECOT, SUBMISSION) if not Path(path).exists()]
    return f"not installed: {', '.join(absent)}" if absent else None


@contextmanager
def dovecot_at(*, relay_port: int, introspection_url: str) -> Iterator[int]:
    """The port of a Dovecot that hands mail on to a relay, and has tokens looked at by a URL."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="heloise-dovecot-"))
    folder.chmod(0o755)
    port = unused_port()
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", 65534, 65534)
    conf = CONF.format(folder=folder, port=port, relay_port=relay_port)
    (folder / "dovecot.conf").write_text(conf)
    (folder / "oauth2.conf.ext").write_text(OAUTH.format(url=introspection_url))
    hashed = subprocess.run(  # noqa: S603 - our own words
        ["/usr/bin/doveadm", "pw", "-s", "SSHA256", "-p", HASHED_PASSWORD],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (folder / "users").write_text(
        f"{USER}:{{PLAIN}}{PASSWORD}\n{HASHED_USER}:{hashed}\n", encoding="utf-8"
    )
    running = subprocess.Popen([DOVECOT, "-F", "-c", str(folder / "dovecot.conf")])  # noqa: S603 - our own words
    try:
        _wait_open(port, running)
        yield port
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)


def _wait_open(port: int, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + WITHIN_SECONDS
    while running.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("Dovecot does not listen")
