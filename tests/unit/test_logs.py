"""Every log line is one event, and holds no secret, no stack trace and no SQL."""

import json
import logging
import subprocess
import sys
from io import StringIO

import pytest
from sqlalchemy.exc import ProgrammingError

from app import logs
from app.domain.audit import request_id
from app.domain.trace_context import traceparent

CANARY = "canary-3f9c-in-the-coal-mine"


class Written(logging.Logger):
    """A logger of its own, and what it wrote since one last looked."""

    def __init__(
        self, name: str = "app", log_format: str = "json", addresses: str = "masked"
    ) -> None:
        super().__init__(name)
        self.stream = StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(logs.formatter(log_format, addresses))
        self.addHandler(handler)

    def text(self) -> str:
        return self.stream.getvalue()

    def one(self) -> dict[str, object]:
        (line,) = self.text().splitlines()
        event: dict[str, object] = json.loads(line)
        return event


def test_the_standard_librarys_loggers_write_json() -> None:
    """Level, logger, time in UTC, and what was given as `extra`."""
    log = Written("app.store")
    log.warning("gone: %s", "x", extra={"profile_id": "prf_1"})
    event = log.one()
    assert event["event"] == "gone: x"
    assert event["level"] == "warning"
    assert event["logger"] == "app.store"
    assert event["profile_id"] == "prf_1"
    assert str(event["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<ann.lee@example.org>: user unknown", "<a***@example.org>: user unknown"),
        ('<"ann."@example.org> of "x"', '<"***"@example.org> of "x"'),
        (r'to "a \" b"@example.org', 'to "***"@example.org'),
        ("a@b.example, ünal+tag@exämple.org", "a***@b.example, ü***@exämple.org"),
        ("GET /messages?recipient=ann%40example.org", "GET /m***%40example.org"),
        ("DELETE /recipients/ann@example.org 200", "DELETE /recipients/a***@example.org 200"),
        ("5 messages @ 3 a second", "5 messages @ 3 a second"),
    ],
)
def test_people_are_not_named(text: str, line: str) -> None:
    """Of an address stay its first character and its domain, wherever in a line it stands."""
    log = Written()
    log.warning("%s", text, extra={"reply": {"text": [text]}})
    assert log.one()["event"] == line
    assert log.one()["reply"] == {"text": [line]}


def test_an_operator_may_want_them_named() -> None:
    """HELOISE_LOG_ADDRESSES=full."""
    log = Written(addresses="full")
    log.warning("from %s", "ann@example.org")
    assert log.one()["event"] == "from ann@example.org"


SCRIPT = """
import logging
from app import logs
logs.configure("debug", "json")
logging.getLogger("app").debug("from logging")
extra = {"message_id": "msg_1", "password": "canary"}
logging.getLogger("app.store").info("with %d facts", 2, extra=extra)
for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
    logging.getLogger(name).info("from %s", name)
for name in ("aiosqlite", "sqlalchemy.engine.Engine", "mail.log", "pydantic_settings", "httpx2",
             "httpcore2.http11", "authlib.oauth2", "imaplib", "asyncio", "some.other"):
    logging.getLogger(name).debug("SELECT canary")
    logging.getLogger(name).info("SELECT canary")
logging.getLogger("httpx2").warning("POST https://example.com/hook/canary?token=canary failed")
logs.configure("error", "json")
logging.getLogger("app").warning("not severe enough")
logging.getLogger("uvicorn").warning("not severe enough")
"""


def test_all_loggers_write_through_one_formatter_to_stderr() -> None:
    """Ours and uvicorn's; but no library's details, which hold SQL and dialogues.

    Nor uvicorn's lines of requests: we write our own.
    """
    result = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert result.stdout == ""
    assert [event["event"] for event in events] == [
        "from logging",
        "with 2 facts",
        "from uvicorn",
        "from uvicorn.error",
        "POST https://example.com/*** failed",
    ]
    assert events[1]["message_id"] == "msg_1"
    assert events[1]["password"] == "***"


def test_a_line_names_the_request_it_was_written_in() -> None:
    """The id that the response carries as X-Request-ID, and that of its trace."""
    log = Written()
    token = request_id.set("req_7")
    trace_token = traceparent.set("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    log.info("seen")
    request_id.reset(token)
    traceparent.reset(trace_token)
    line = log.one()
    assert line["request_id"] == "req_7"
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "name",
    ["password", "Authorization", "client_key", "HELOISE_ADMIN_KEY", "secret_keys", "x-api-token"],
)
def test_a_value_under_a_secrets_name_is_replaced(name: str) -> None:
    """Invariant 9, at any depth."""
    log = Written()
    log.info("made", extra={"given": {"list": [{name: CANARY}]}, name: CANARY})
    assert CANARY not in log.text()
    assert log.text().count("***") == 2


def test_names_that_only_resemble_a_secrets_are_kept() -> None:
    """An identifier of a key and a flag are no secrets."""
    log = Written()
    log.info("made", extra={"key_id": "key_1", "has_password": True, "monkey": "see"})
    event = log.one()
    assert (event["key_id"], event["has_password"], event["monkey"]) == ("key_1", True, "see")


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"the key hel_{CANARY} was refused",
        f"cannot connect to postgresql://heloise:{CANARY}@db/heloise",
        f"HTTP Request: POST https://example.com/hook?token={CANARY}",
        f"posted to http://127.0.0.1:8080/{CANARY}, which answered 500",
        f"posted to https://example.com/ärger\\{CANARY}/x",
        f"posted to https://example.com/it's-{CANARY}",
        f"posted to HTTPS://example.com#{CANARY}",
        f"posted to https://{CANARY}@example.com/hook",
        f"imaps://ann:{CANARY}@imap.example.com/INBOX",
    ],
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_secret_within_a_text_is_replaced(text: str, log_format: str) -> None:
    """Invariant 9, the last line of defence: what is known by its form goes too."""
    log = Written(log_format=log_format)
    log.info(text)
    assert CANARY not in log.text()


@pytest.mark.parametrize("end", ['"', "\\", '\\"', "\n", " "])
def test_a_url_that_is_cut_leaves_a_line_of_json(end: str) -> None:
    """Whatever stands behind it; its origin stays."""
    log = Written()
    log.info("posted to https://example.com:8443/hook%swhich failed", end)
    assert str(log.one()["event"]).startswith("posted to https://example.com:8443/***")


def insert() -> None:
    """Fail as the database does, with statement and parameters in the text."""
    password = CANARY
    raise ProgrammingError("INSERT INTO t VALUES (:p)", {"p": password}, ValueError("no table t"))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_its_type_its_text_and_its_place(log_format: str) -> None:
    """No stack trace, no SQL, no parameters, no local variables."""
    log = Written(log_format=log_format)
    try:
        insert()
    except ProgrammingError:
        log.exception("it failed")
    text = log.text()
    assert len(text.splitlines()) == 1
    assert "ProgrammingError: (builtins.ValueError) no table t" in text
    assert "test_logs.py:" in text
    assert not any(word in text for word in ("Traceback", "INSERT", CANARY))


def test_a_trace_within_a_text_is_cut_to_its_last_line() -> None:
    """What uvicorn writes of a failed start is a text that it was handed."""
    log = Written()
    log.error('Traceback (most recent call last):\n  File "x.py", line 1\nOSError: port taken\n')
    assert log.one()["event"] == "OSError: port taken"


def test_the_console_is_for_people() -> None:
    """One readable line, without colours where it is no terminal."""
    log = Written(log_format="console")
    log.info("ready")
    assert "ready" in log.text()
    assert "\x1b" not in log.text()
