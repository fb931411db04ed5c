"""`heloise dev` from the first start on: what is printed works when it is pasted."""

import errno
import json
import shlex
import shutil
import signal
import smtplib
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from typing import Final

import httpx
import pytest
import trustme

from app.dev.data_folder import Keys
from app.dev.first_run import Start
from app.dev.screen import Screen
from benchmarks.trial.processes import held_port
from tests.support.dev_process import Dev, developing
from tests.support.processes.forked import Forker
from tests.support.rows import a_tenant
from tests.support.terminal import CommandResult, NearTerminal, Terminal

# Two starts, one after another, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)
NEW_NAME: Final = "new.dev.example"
INBOX: Final = ("/inbox", "/inbox/cap_1", "/inbox/cap_1/raw")


def paste(command: str) -> dict[str, object]:
    """Run the printed command as a shell would, with curl or what does the same."""
    words = shlex.split(command)
    if shutil.which("curl"):
        result = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - the command that we printed
        answer: dict[str, object] = json.loads(result.stdout)
        return answer
    headers = [word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H"]
    body = words[words.index("-d") + 1]
    url = next(word for word in words if word.startswith("http"))
    answer = httpx.post(url, content=body, headers=dict(headers), timeout=60)
    posted: dict[str, object] = answer.json()
    return posted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one runs that the tests share."""
    return tmp_path_factory.mktemp("dev")


@pytest.fixture(scope="module")
def dev(folder: Path, forking: Forker) -> Iterator[Dev]:
    """It runs, for the first time in its folder; several tests send to it, and none stops it."""
    with developing(Terminal(folder, forker=forking)) as dev:
        yield dev


@dataclass(frozen=True)
class Lived:
    """What came of three runs in one folder, the first on a database of the settings."""

    first: Dev
    second: Dev
    changed: Dev
    new_key_status: int
    too_long: httpx.Response
    mails: list[list[str]]
    refused: dict[str, httpx.Response]
    codes: dict[signal.Signals, int]
    settings_database: Path
    without_keys: CommandResult
    extensions: set[str]
    submission_elsewhere: int


@pytest.fixture(scope="module")
def dev_runs(tmp_path_factory: pytest.TempPathFactory, forking: Forker) -> Lived:
    """It ran, ran off loopback, was changed, ran again, lost its keys, and was started."""
    terminal = Terminal(tmp_path_factory.mktemp("lived"), forker=forking)
    other = terminal.folder / "real.db"
    certificate = terminal.folder / "tls.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    options = {
        "DATABASE_URL": f"sqlite:///{other}",
        "MAX_MESSAGE_BYTES": "2048",
        "SUBMISSION_ALLOW_PLAINTEXT_AUTH": "false",
        "SUBMISSION_TLS_CERTIFICATE": str(certificate),
    }
    codes, mails = {}, []
    with developing(terminal, **options) as first, first.http() as http:
        body = {"to": ["ann@example.org"], "subject": "Long", "text": "x" * 4096}
        too_long = http.post("/messages", json=body)
        paste(first.first_request)
        first.read_until("EHLO ")
        with smtplib.SMTP("127.0.0.1", first.submission_port, timeout=60) as client:
            client.ehlo()
        extensions = {name.upper() for name in client.esmtp_features}
        codes[signal.SIGTERM] = first.stop(signal.SIGTERM)
    with developing(terminal, "--host", str(IPv4Address(0))) as second:
        refused = {path: httpx.get(f"{second.url}{path}", timeout=60) for path in INBOX}
        with socket.socket() as client_socket:
            elsewhere = client_socket.connect_ex(("127.0.0.2", second.submission_port))
        mails.append([mail["subject"] for mail in second.mails()])
        paste(second.first_request)
        second.read_until("EHLO ")
        mails.append([mail["subject"] for mail in second.mails()])
        codes[signal.SIGINT] = second.stop(signal.SIGINT)
    changed, new_key_status = run_changed(terminal, second)
    (terminal.folder / "heloise-data" / "keys.json").unlink()
    without_keys = NearTerminal(terminal.folder).run("dev")
    return Lived(
        first,
        second,
        changed,
        new_key_status,
        too_long,
        mails,
        refused,
        codes,
        other,
        without_keys,
        extensions,
        elsewhere,
    )


def operator(terminal: Terminal, dev: Dev) -> NearTerminal:
    """Someone who pasted the printed line."""
    operator = NearTerminal(terminal.folder)
    operator.environment |= dev.sourced()
    return operator


def run_changed(terminal: Terminal, before: Dev) -> tuple[Dev, int]:
    """Another run, once profiles, tenant and key are others; and what its key is answered."""
    commands = operator(terminal, before)
    server = ("--host", "smtp.example.com", "--port", "587", "--password-file", "-")
    commands.done("profile", "update", "transactional", "-t", "dev", "--ehlo-name", NEW_NAME)
    commands.done("profile", "update", "marketing", "-t", "dev", *server, stdin="secret")
    commands.done("profile", "pause", "marketing", "-t", "dev")
    commands.done("tenant", "update", "dev", "--slug", "acme")
    [key] = commands.done("key", "list", "-t", "acme", "--json").json
    commands.done("key", "revoke", key["id"], "-t", "acme", "--yes")
    with developing(terminal) as changed, changed.http() as http:
        return changed, http.get("/messages").status_code


def test_the_printed_curl_brings_a_mail(dev: Dev) -> None:
    """It arrives under the profile's name and login, and is shown in the terminal."""
    before = dev.mails()
    answer = paste(dev.first_request)
    assert str(answer["id"]).startswith("msg_")
    output = dev.read_until("EHLO ")
    mail, *older = dev.mails()
    assert older == before
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
        assert fact in output
    full = httpx.get(f"{dev.url}/inbox/{mail['id']}", timeout=60).json()
    assert full["text"].strip() == "It works."
    raw = httpx.get(f"{dev.url}/inbox/{mail['id']}/raw", timeout=60)
    assert raw.headers["content-type"].startswith("message/rfc822")
    assert b"Subject: Hello\r\n" in raw.content


def test_the_printed_smtp_settings_bring_a_mail(dev: Dev) -> None:
    """A program that greets as `localhost` sends through the profile, under the profile's name."""
    host, port = dev.printed("host"), int(dev.printed("port"))
    assert dev.printed("encryption") == "none"
    content = "From: app@dev.example\r\nSubject: By SMTP\r\n\r\nIt works.\r\n"
    with smtplib.SMTP(host, port, local_hostname="localhost", timeout=60) as client:
        client.login(dev.printed("user"), dev.printed("password"))
        assert client.sendmail("app@dev.example", ["ann@example.org"], content) == {}
    assert "By SMTP" in dev.read_until("EHLO ")
    mail = dev.mails()[0]
    assert (mail["subject"], mail["mail_from"]) == ("By SMTP", "app@dev.example")
    assert (mail["ehlo_name"], mail["auth_user"]) == ("mail.dev.example", "transactional")
    with dev.http() as http:
        [message] = http.get("/messages?limit=1").json()["items"]
    assert message["source"] == "smtp"


def test_each_profile_is_itself(dev: Dev) -> None:
    """Two profiles, two names, two logins (invariant 8)."""
    with dev.http() as http:
        for profile in ("transactional", "marketing"):
            body = {"profile": profile, "to": ["ann@example.org"], "subject": profile, "text": "."}
            assert http.post("/messages", json=body).status_code == 202
            dev.read_until(profile)
    newest = dev.mails()[:2]
    identities = {(mail["subject"], mail["ehlo_name"], mail["auth_user"]) for mail in newest}
    assert identities == {
        ("transactional", "mail.dev.example", "transactional"),
        ("marketing", "news.dev.example", "marketing"),
    }


def test_a_restart_finds_keys_and_mails_again(dev_runs: Lived) -> None:
    """On other ports too: the profiles follow the inbox."""
    first, second = dev_runs.first, dev_runs.second
    assert second.smtp_port != first.smtp_port
    assert second.printed("key") == first.printed("key")
    assert second.printed("admin key") == first.printed("admin key")
    assert dev_runs.mails == [["Hello"], ["Hello", "Hello"]]


def test_the_start_tells_what_was_changed_since(dev_runs: Lived) -> None:
    """Profiles, tenant and key as they are now, not as the first start made them."""
    changed = dev_runs.changed
    profile_lines = [line.strip() for line in changed.lines if line.strip().startswith("profile ")]
    assert profile_lines == [
        f"profile      transactional (EHLO {NEW_NAME}) → the inbox",
        "profile      marketing (EHLO news.dev.example) → smtp.example.com:587, paused",
        "profile      practice (EHLO practice.dev.example) → the inbox",
    ]
    assert changed.printed("tenant") == "acme"
    assert changed.printed("key") != dev_runs.second.printed("key")
    assert changed.printed("password") == changed.printed("key")
    assert changed.sourced()["KEY"] == changed.printed("key")
    assert dev_runs.new_key_status == 200


def test_without_a_profile_nothing_is_offered_to_paste(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that fails would be no help."""
    screen = Screen(
        url="http://127.0.0.1:8000",
        smtp_port=2525,
        submission_port=2587,
        data_folder=tmp_path,
        inbox_needs_key=False,
    )
    start = Start(Keys("secret key", "admin key", "key"), a_tenant(), profiles=[])
    screen.show_start(start, tmp_path / "env.sh")
    printed = capsys.readouterr().out
    assert "No profile" in printed
    assert "curl" not in printed
    assert "password" not in printed
    assert "practice" not in printed


COMMANDS: Final = (
    "doctor",
    "queue",
    "message list --tenant dev",
    "profile list --tenant dev",
    "profile verify transactional --tenant dev",
    "send ann@example.org --tenant dev",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_printed_line_lets_commands_see_the_same(dev: Dev, folder: Path, command: str) -> None:
    """Database, keys and addresses, wherever the other terminal is."""
    commands = operator(Terminal(folder), dev)
    commands.done(*command.split())


def test_the_file_of_the_printed_line_holds_the_key(dev: Dev) -> None:
    """So that commands with `$KEY` can be pasted as they are."""
    sourced = dev.sourced()
    assert sourced["KEY"] == dev.printed("key")
    assert sourced["HELOISE_ADMIN_KEY"] == dev.printed("admin key")
    assert sourced["HELOISE_PORT"] == dev.url.rpartition(":")[2]


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    """Who points `--data` to a folder of theirs loses nothing."""
    path = tmp_path / "env.sh"
    path.write_text("export MINE=1\n")
    with ExitStack() as stack:
        options = ("--port", "--smtp-port", "--submission-port")
        ports = [(name, str(stack.enter_context(held_port()))) for name in options]
        words = [word for pair in ports for word in pair]
        result = NearTerminal(tmp_path).run("dev", "--data", str(tmp_path), *words)
    assert result.code == 2
    assert str(path) in result.err
    assert path.read_text() == "export MINE=1\n"


def test_the_keys_are_for_the_users_eyes_alone(dev: Dev, folder: Path) -> None:
    """The folder too."""
    data = folder / "heloise-data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for path in data.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    bearer = {"Authorization": f"Bearer {dev.printed('admin key')}"}
    answer = httpx.get(f"{dev.url}/tenants", headers=bearer, timeout=60)
    assert answer.json()["items"][0]["slug"] == "dev"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_it_is_told(dev_runs: Lived, number: signal.Signals) -> None:
    """That is no failure, and leaves nothing to complain about."""
    assert dev_runs.codes[number] == 0


def test_the_inbox_is_in_the_documents(dev: Dev) -> None:
    """Beside the API itself."""
    paths = httpx.get(f"{dev.url}/openapi.json", timeout=60).json()["paths"]
    assert {"/inbox", "/inbox/{mail}", "/inbox/{mail}/raw", "/messages"} <= set(paths)
    assert httpx.get(f"{dev.url}/docs", timeout=60).status_code == 200


def test_a_mail_that_is_not_there_is_a_problem(dev: Dev) -> None:
    """Answered as all others are."""
    answer = httpx.get(f"{dev.url}/inbox/../keys.json", timeout=60)
    assert answer.status_code == 404
    answer = httpx.get(f"{dev.url}/inbox/cap_1", timeout=60)
    assert answer.json()["type"] == "/problems/not-found"


@pytest.mark.parametrize(
    "path", ["/inbox", "/inbox/cap_1/raw", "/docs", "/metrics", "/openapi.json"]
)
def test_a_site_whose_name_points_here_reads_nothing(dev: Dev, path: str) -> None:
    """Its browser sends the site's name as Host (DNS rebinding); names of loopback are taken."""
    assert httpx.get(f"{dev.url}{path}", headers={"Host": "evil.example"}).status_code == 400
    port = dev.url.rpartition(":")[2]
    for name in ("localhost", "LOCALHOST", "127.0.0.1", "[::1]"):
        answer = httpx.get(f"{dev.url}/inbox", headers={"Host": f"{name}:{port}"}, timeout=60)
        assert answer.status_code == 200


@pytest.mark.parametrize("path", INBOX)
def test_off_loopback_the_inbox_asks_for_the_key(dev_runs: Lived, path: str) -> None:
    """Whoever reaches the port reads no mail without it."""
    refused = dev_runs.refused[path]
    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthenticated")
    assert "(with the key)" in "".join(dev_runs.second.lines)


def test_it_never_touches_the_database_of_the_settings(dev_runs: Lived) -> None:
    """What is tried out goes nowhere else; other settings hold."""
    assert dev_runs.too_long.status_code == 413
    assert not dev_runs.settings_database.exists()


def test_submission_is_in_clear_and_on_loopback_alone(dev_runs: Lived) -> None:
    """Whatever the environment and `--host` say."""
    assert "AUTH" in dev_runs.extensions
    assert "STARTTLS" not in dev_runs.extensions
    assert dev_runs.second.printed("host") == "127.0.0.1"
    assert dev_runs.submission_elsewhere == errno.ECONNREFUSED


@pytest.mark.parametrize("option", ["--port", "--smtp-port", "--submission-port"])
def test_a_port_that_is_taken_is_told(option: str, tmp_path: Path) -> None:
    """With the option to change it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = str(listener.getsockname()[1])
        options = ("--port", "--smtp-port", "--submission-port")
        free = {name: str(stack.enter_context(held_port())) for name in options}
        words = [word for pair in (free | {option: port}).items() for word in pair]
        result = NearTerminal(tmp_path).run("dev", *words)
    assert result.code == 2
    assert f"port {port}" in result.err
    assert option in result.err


@pytest.mark.usefixtures("dev")
def test_a_folder_has_one_process(folder: Path) -> None:
    """A second one is told, before it changes anything."""
    result = NearTerminal(folder).run("dev")
    assert result.code == 2
    assert "heloise-data" in result.err


def test_keys_that_are_gone_are_told(dev_runs: Lived) -> None:
    """The credentials in the database would open no more."""
    assert dev_runs.without_keys.code == 2
    assert "keys.json" in dev_runs.without_keys.err
