"""`heloise dev` from the first start on: what is printed works when it is pasted."""

import json
import shlex
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest

from tests.cli.terminal import Terminal
from tests.dev.running import Dev, developing, unused_port


def paste(command: str) -> dict[str, object]:
    """Run the printed command as a shell would, with curl or what does the same."""
    words = shlex.split(command)
    if shutil.which("curl"):
        done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - the command that we printed
        answer: dict[str, object] = json.loads(done.stdout)
        return answer
    headers = [word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H"]
    body = words[words.index("-d") + 1]
    url = next(word for word in words if word.startswith("http"))
    posted: dict[str, object] = httpx.post(url, content=body, headers=dict(headers)).json()
    return posted


@pytest.fixture
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A terminal in an empty folder."""
    return Terminal(tmp_path_factory.mktemp("dev"))


@pytest.fixture
def dev(terminal: Terminal) -> Iterator[Dev]:
    """It runs, for the first time in this folder."""
    with developing(terminal) as dev:
        yield dev


def test_the_printed_curl_brings_a_mail(dev: Dev) -> None:
    """It arrives under the profile's name and login, and is shown in the terminal."""
    answer = paste(dev.first_request)
    assert str(answer["id"]).startswith("msg_")
    shown = dev.read_until("EHLO ")
    (mail,) = dev.mails()
    assert mail["ehlo_name"] == "mail.dev.example"
    assert mail["auth_user"] == "transactional"
    assert mail["rcpt_to"] == ["ann@example.org"]
    for fact in (
        "mail.dev.example",
        "transactional",
        mail["mail_from"],
        "ann@example.org",
        "Hello",
    ):
        assert fact in shown
    full = httpx.get(f"{dev.url}/inbox/{mail['id']}").json()
    assert full["text"].strip() == "It works."
    raw = httpx.get(f"{dev.url}/inbox/{mail['id']}/raw")
    assert raw.headers["content-type"].startswith("message/rfc822")
    assert b"Subject: Hello\r\n" in raw.content


def test_each_profile_is_itself(dev: Dev) -> None:
    """Two profiles, two names, two logins (invariant 8)."""
    with dev.http() as http:
        for profile in ("transactional", "marketing"):
            body = {"profile": profile, "to": ["ann@example.org"], "subject": profile, "text": "."}
            assert http.post("/messages", json=body).status_code == 202
            dev.read_until(profile)
    seen = {(mail["subject"], mail["ehlo_name"], mail["auth_user"]) for mail in dev.mails()}
    assert seen == {
        ("transactional", "mail.dev.example", "transactional"),
        ("marketing", "news.dev.example", "marketing"),
    }


def test_a_restart_finds_keys_and_mails_again(terminal: Terminal) -> None:
    """On other ports too: the profiles follow the inbox."""
    with developing(terminal) as first:
        paste(first.first_request)
        first.read_until("EHLO ")
        assert first.stop() == 0
    with developing(terminal) as second:
        assert second.smtp_port != first.smtp_port
        assert second.printed("key") == first.printed("key")
        assert second.printed("admin key") == first.printed("admin key")
        assert [mail["subject"] for mail in second.mails()] == ["Hello"]
        paste(second.first_request)
        second.read_until("EHLO ")
        assert len(second.mails()) == 2


def test_the_keys_are_for_the_users_eyes_alone(dev: Dev, terminal: Terminal) -> None:
    """The folder too."""
    folder = terminal.folder / "heloise-data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "keys.json").stat().st_mode) == 0o600
    with httpx.Client(headers={"Authorization": f"Bearer {dev.printed('admin key')}"}) as admin:
        assert admin.get(f"{dev.url}/tenants").json()["items"][0]["slug"] == "dev"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_it_is_told(dev: Dev, number: signal.Signals) -> None:
    """That is no failure, and leaves nothing to complain about."""
    assert dev.stop(number) == 0


def test_the_inbox_is_in_the_documents(dev: Dev) -> None:
    """Beside the API itself."""
    paths = httpx.get(f"{dev.url}/openapi.json").json()["paths"]
    assert {"/inbox", "/inbox/{mail}", "/inbox/{mail}/raw", "/messages"} <= set(paths)
    assert httpx.get(f"{dev.url}/docs").status_code == 200


def test_a_mail_that_is_not_there_is_a_problem(dev: Dev) -> None:
    """Answered as all others are."""
    answer = httpx.get(f"{dev.url}/inbox/../keys.json")
    assert answer.status_code == 404
    answer = httpx.get(f"{dev.url}/inbox/cap_1")
    assert answer.json()["type"] == "/problems/not-found"


def test_it_never_touches_the_database_of_the_settings(terminal: Terminal) -> None:
    """What is tried out goes nowhere else; other settings hold."""
    other = terminal.folder / "real.db"
    given = {"DATABASE_URL": f"sqlite:///{other}", "MAX_MESSAGE_BYTES": "2048"}
    with developing(terminal, **given) as dev, dev.http() as http:
        body = {"to": ["ann@example.org"], "subject": "Long", "text": "x" * 4096}
        assert http.post("/messages", json=body).status_code == 413
    assert not other.exists()


@pytest.mark.parametrize("option", ["--port", "--smtp-port"])
def test_a_port_that_is_taken_is_told(option: str, terminal: Terminal) -> None:
    """With the option to change it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        free = {"--port": str(unused_port()), "--smtp-port": str(unused_port())}
        words = [word for pair in (free | {option: port}).items() for word in pair]
        ended = terminal.run("dev", *words)
    assert ended.code == 2
    assert f"port {port}" in ended.err
    assert option in ended.err


@pytest.mark.usefixtures("dev")
def test_a_folder_has_one_process(terminal: Terminal) -> None:
    """A second one is told, before it changes anything."""
    ended = terminal.run("dev")
    assert ended.code == 2
    assert "heloise-data" in ended.err


def test_keys_that_are_gone_are_told(terminal: Terminal) -> None:
    """The credentials in the database would open no more."""
    with developing(terminal) as dev:
        dev.stop()
    (terminal.folder / "heloise-data" / "keys.json").unlink()
    ended = terminal.run("dev")
    assert ended.code == 2
    assert "keys.json" in ended.err
