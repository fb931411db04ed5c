"""`heloise profile`: what the API does with profiles, from a terminal, secrets kept."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.ids import new_id
from app.domain.secret_keys import parse_key
from app.domain.types import (
    MessageSource,
    NamedAddress,
    NewMessage,
    Origin,
    RecipientAddress,
    RecipientKind,
)
from app.store.db.database import Database
from app.store.delivery import lane_health
from app.store.outbox import acceptance as outbox
from app.store.profiles import queries as profiles
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import Vault
from tests.support.servers.token_server import private_key
from tests.support.terminal import Terminal

CANARY = "canary-3f9c-in-the-coal-mine"
ProfileFile = Callable[..., str]


@pytest.fixture
def acme(operator: Terminal) -> Terminal:
    """An operator with a tenant."""
    operator.done("tenant", "create", "acme")
    return operator


def with_database(operator: Terminal, work: Callable[[Database], Any]) -> Any:
    """Do something to the operator's database, as another process would."""

    async def run() -> Any:
        database = Database(operator.environment["HELOISE_DATABASE_URL"])
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def open_password(operator: Terminal, profile: dict[str, Any]) -> str:
    """The stored password, as delivery opens it."""
    return open_secret(operator, profile, "password")


def open_secret(operator: Terminal, profile: dict[str, Any], field: str) -> str:
    """A stored secret, as delivery opens it."""
    keys = operator.environment["HELOISE_SECRET_KEYS"].split(",")

    async def read(database: Database) -> str:
        async with database.reading() as connection:
            sealed = await profiles.load_sealed_page(connection, limit=10, after=None)
        (row,) = [
            sealed_profile
            for sealed_profile in sealed
            if sealed_profile.profile.id == profile["id"]
        ]
        secret = row.sealed[f"sealed_{field}"]
        assert secret is not None
        vault = Vault([parse_key(key) for key in keys])
        return vault.open(secret, profile_secret(row.profile, field))

    secret: str = with_database(operator, read)
    return secret


def test_a_profile_is_created_from_a_file(acme: Terminal, profile_file: ProfileFile) -> None:
    """It is what the API takes; its password is stored, and never shown (invariant 9)."""
    path = profile_file(auth={"username": "billing", "password": CANARY}, max_connections=3)
    profile = acme.done("profile", "create", path, "-t", "acme", "--json").json
    assert profile["id"].startswith("prf_")
    assert profile["max_connections"] == 3
    assert profile["auth"]["has_password"] is True
    assert profile["effective_ehlo"]["name"] == "mail.example.com"
    assert open_password(acme, profile) == CANARY
    assert acme.done("profile", "show", "transactional", "-t", "acme", "--json").json == profile
    acme.done("profile", "show", profile["id"], "-t", "acme")
    acme.done("profile", "list", "-t", "acme")
    assert CANARY not in acme.printed


@pytest.mark.one_database
def test_a_profile_is_created_from_stdin(acme: Terminal) -> None:
    """For programs that make one up."""
    body = '{"name": "a", "host": "smtp.example.com"}'
    profile = acme.done("profile", "create", "-", "-t", "acme", "--json", stdin=body).json
    assert (profile["name"], profile["is_default"]) == ("a", True)


@pytest.mark.one_database
def test_a_profile_is_created_from_options(acme: Terminal) -> None:
    """The password comes by stdin, where no list of processes shows it."""
    words = (
        *("--name", "a", "--host", "smtp.example.com", "--port", "465", "--tls", "implicit"),
        *("--ehlo-name", "mail.example.com", "--username", "billing", "--password-file", "-"),
        *("--default-from", "Billing <billing@example.com>"),
    )
    profile = acme.done(
        "profile", "create", "-t", "acme", *words, "--json", stdin=f"{CANARY}\nnot this\n"
    ).json
    assert (profile["port"], profile["tls"]) == (465, "implicit")
    assert profile["auth"]["username"] == "billing"
    assert profile["default_from"] == "Billing <billing@example.com>"
    assert open_password(acme, profile) == CANARY
    assert CANARY not in acme.printed


@pytest.mark.one_database
def test_what_is_asked_of_tls_is_told_by_options(acme: Terminal) -> None:
    """A pin may be followed by another; the list is replaced as a whole."""
    pins = [f"sha256/{'A' * 43}=", f"sha256/{'B' * 42}A="]
    words = (
        "--name",
        "a",
        "--host",
        "smtp.internal.example",
        "--tls-server-name",
        "mx.example.org",
    )
    more = ("--tls-min-version", "1.3", "--tls-pin", pins[0], "--tls-pin", pins[1])
    profile = acme.done("profile", "create", "-t", "acme", *words, *more, "--json").json
    assert (profile["tls_server_name"], profile["tls_min_version"]) == ("mx.example.org", "1.3")
    assert profile["tls_pins"] == pins
    changed = acme.done("profile", "update", "a", "-t", "acme", "--tls-pin", pins[1], "--json").json
    assert changed == profile | {"tls_pins": pins[1:], "updated_at": changed["updated_at"]}


@pytest.mark.one_database
def test_a_login_by_oauth_is_told_by_options(acme: Terminal, tmp_path: Path) -> None:
    """A preset fills in what is published; each secret comes by a file and is never shown."""
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY}\n")
    words = (
        *("--name", "a", "--host", "smtp.office365.com", "--mechanism", "oauth2"),
        *("--preset", "microsoft", "--entra-tenant", "example.com"),
        *("--grant", "client_credentials", "--username", "a@example.com"),
        *("--client-id", "1-2-3", "--client-secret-file", str(secret)),
    )
    profile = acme.done("profile", "create", "-t", "acme", *words, "--json").json
    url = "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"
    assert (profile["auth"]["token_url"], profile["auth"]["has_client_secret"]) == (url, True)
    key = tmp_path / "key.pem"
    key.write_text(private_key())
    changes = ("--preset", "google", "--grant", "jwt_bearer", "--private-key-file", str(key))
    result = acme.run("profile", "update", "a", "-t", "acme", *changes)
    assert result.code == 1
    assert "client_secret" in result.err
    gone = '{"auth": {"client_secret": null}}'
    changed = acme.done("profile", "update", "a", "-", "-t", "acme", *changes, "--json", stdin=gone)
    assert changed.json["auth"]["token_url"] == "https://oauth2.googleapis.com/token"
    assert changed.json["auth"]["has_private_key"] is True
    assert CANARY not in acme.printed


@pytest.mark.one_database
def test_options_come_on_top_of_the_file(acme: Terminal, profile_file: ProfileFile) -> None:
    """What the file says of the login stays, but for what the option names."""
    path = profile_file(auth={"username": "billing", "password": CANARY})
    words = ("--host", "other.example.com", "--username", "news", "--default")
    profile = acme.done("profile", "create", path, "-t", "acme", *words, "--json").json
    assert profile["host"] == "other.example.com"
    assert profile["auth"]["username"] == "news"
    assert open_password(acme, profile) == CANARY


@pytest.mark.one_database
def test_the_password_can_be_asked_for(acme: Terminal, profile_file: ProfileFile) -> None:
    """It is not echoed."""
    ours, theirs = pty.openpty()
    words = ["profile", "create", profile_file(), "-t", "acme", "--username", "u", "--ask-password"]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "app.cli", *words, "--json"],
        cwd=acme.folder,
        env=acme.environment,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    output = b""
    while b"Password: " not in output:  # what is typed before the space is thrown away
        output += os.read(ours, 1000)
    os.write(ours, f"{CANARY}\n".encode())
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert '"has_password": true' in out
    assert CANARY not in out
    os.close(ours)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"ehlo_name": "localhost"}, "ehlo_name: strict servers refuse localhost"),
        ({"prot": 587}, "prot: unknown field: did you mean 'port'?"),
        ({"port": 26}, "port: port 26 is not allowed (HELOISE_ALLOWED_PORTS)"),
        ({"host": "127.0.0.1"}, "host: 127.0.0.1: not a public address"),
        ({"auth": {"password": CANARY}}, "auth.username: set the user name"),
        ({"auth": {"username": 1, "password": [CANARY]}}, "auth.password: "),
    ],
)
def test_what_the_api_refuses_is_refused(
    acme: Terminal, profile_file: ProfileFile, fields: dict[str, Any], complaint: str
) -> None:
    """By field, in the API's words, the operator's limits too; no value is echoed."""
    result = acme.run("profile", "create", profile_file(**fields), "-t", "acme")
    assert (result.code, result.out) == (1, "")
    assert f"\n  {complaint}" in result.err
    assert CANARY not in acme.printed


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f'{{"password": "{CANARY}"', "{path} is not JSON"),
        ("[]", "{path} contains no JSON object"),
        (None, "Cannot read {path}"),
    ],
)
def test_a_file_that_is_no_profile_is_told(
    acme: Terminal, tmp_path: Path, text: str | None, complaint: str
) -> None:
    """By its name, and without what stands in it."""
    path = tmp_path / "wrong.json"
    if text is not None:
        path.write_text(text)
    result = acme.run("profile", "create", str(path), "-t", "acme")
    assert result.code == 1
    assert complaint.format(path=path) in result.err
    assert CANARY not in acme.printed


@pytest.mark.one_database
def test_a_profile_is_changed_where_it_is_asked_for(
    acme: Terminal, profile_file: ProfileFile, tmp_path: Path
) -> None:
    """Null in the file takes a value away (RFC 7396); another port needs the password again."""
    path = profile_file(auth={"username": "billing", "password": CANARY})
    acme.done("profile", "create", path, "-t", "acme")
    (tmp_path / "change.json").write_text('{"ehlo_name": null}')
    words = ("transactional", str(tmp_path / "change.json"), "-t", "acme", "--port", "2525")
    result = acme.run("profile", "update", *words)
    assert (result.code, "set auth.password again" in result.err) == (1, True)
    words = (*words, "--password-file", "-", "--json")
    changed = acme.done("profile", "update", *words, stdin=f"{CANARY}\n").json
    assert (changed["ehlo_name"], changed["port"]) == (None, 2525)
    expected = {"mechanism": "auto", "username": "billing", "has_password": True}
    assert {name: changed["auth"][name] for name in expected} == expected
    words = ("transactional", "-t", "acme", "--password-file", "-", "--json")
    second = acme.done("profile", "update", *words, stdin="another\n").json
    assert open_password(acme, second) == "another"


@pytest.mark.one_database
def test_a_change_is_checked_as_a_whole(acme: Terminal, profile_file: ProfileFile) -> None:
    """What was right before may be wrong together with it."""
    acme.done("profile", "create", profile_file(), "-t", "acme")
    result = acme.run("profile", "update", "transactional", "-t", "acme", "--port", "26")
    assert result.code == 1
    assert "\n  port: port 26 is not allowed" in result.err


@pytest.mark.one_database
def test_a_profile_is_paused_and_resumed(acme: Terminal, profile_file: ProfileFile) -> None:
    """The answer says how it stands now."""
    acme.done("profile", "create", profile_file(), "-t", "acme")
    words = ("transactional", "-t", "acme", "--json")
    assert acme.done("profile", "pause", *words).json["state"] == "paused"
    assert acme.done("profile", "resume", *words).json["state"] == "active"


def test_a_failing_profile_says_why(acme: Terminal, profile_file: ProfileFile) -> None:
    """In the server's words, in the list too."""
    profile = acme.done("profile", "create", profile_file(), "-t", "acme", "--json").json
    reason = "EHLO: 504 5.5.2 <localhost>: Helo command rejected; set ehlo_name"

    async def trip(database: Database) -> None:
        async with database.transaction() as connection:
            await lane_health.record_fault(
                connection,
                profile_id=profile["id"],
                revision=1,
                code="ehlo_rejected",
                reason=reason,
                now=datetime.now(UTC),
                wait=lambda _: timedelta(minutes=1),
                is_probe=False,
            )

    with_database(acme, trip)
    output = acme.done("profile", "show", "transactional", "-t", "acme").out
    assert "failing" in output
    assert reason in output
    assert "failing" in acme.done("profile", "list", "-t", "acme").out
    (row,) = acme.done("profile", "list", "-t", "acme", "--json").json
    assert (row["state"], row["reason"]) == ("failing", reason)


def queue_message(operator: Terminal, profile: dict[str, Any]) -> None:
    """Write down a message for the profile."""
    now = datetime.now(UTC)

    async def accept(database: Database) -> None:
        async with database.transaction() as connection:
            tenant = await operator_tenant(connection)
            await outbox.accept(connection, [message(tenant)])

    async def operator_tenant(connection: Any) -> str:
        (row,) = await profiles.load_sealed_page(connection, limit=1, after=None)
        return row.profile.tenant_id

    def message(tenant_id: str) -> NewMessage:
        bob = NamedAddress("bob@example.org")
        return NewMessage(
            id=new_id("msg"),
            tenant_id=tenant_id,
            profile_id=profile["id"],
            profile_revision=1,
            profile_name="main",
            origin=Origin(MessageSource.API, "admin:admin"),
            envelope_from="ann@example.com",
            sender=NamedAddress("ann@example.com"),
            recipients=(RecipientAddress(bob, RecipientKind.TO),),
            subject="Hello",
            message_id_header="<1@example.com>",
            tags=(),
            metadata={},
            mime=b"Subject: Hello\r\n\r\nHello\r\n",
            created_at=now,
            expires_at=now + timedelta(days=1),
        )

    with_database(operator, accept)


def test_a_profile_with_unfinished_messages_is_deleted_on_request(
    acme: Terminal, profile_file: ProfileFile
) -> None:
    """The refusal names the option."""
    path = profile_file(auth={"username": "billing", "password": CANARY})
    profile = acme.done("profile", "create", path, "-t", "acme", "--json").json
    queue_message(acme, profile)
    result = acme.run("profile", "delete", "transactional", "--yes", "-t", "acme")
    assert result.code == 1
    assert "--cancel-pending" in result.err
    words = ("profile", "delete", "transactional", "--yes", "-t", "acme", "--cancel-pending")
    assert acme.done(*words).out == "Deleted transactional.\n"
    assert acme.run("profile", "show", "transactional", "-t", "acme").code == 1


@pytest.mark.one_database
def test_a_profile_belongs_to_its_tenant(acme: Terminal, profile_file: ProfileFile) -> None:
    """Another tenant neither sees nor changes it (invariant 10)."""
    acme.done("profile", "create", profile_file(), "-t", "acme")
    acme.done("tenant", "create", "other")
    assert acme.done("profile", "list", "-t", "other", "--json").json == []
    for command in ("show", "update", "pause", "resume", "delete --yes"):
        assert acme.run("profile", *command.split(), "transactional", "-t", "other").code == 1
