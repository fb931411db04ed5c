"""AUTH: the mechanisms, when the password may be sent, and that it never comes back out."""

import base64
from typing import Any, Final

import pytest

from app.domain.outcome import Failure, Fault, Stage
from app.domain.types import AuthMechanism, Timeouts, TlsMode
from app.smtp.opening import NotOpened
from tests.fixtures.smtp_server import DISCONNECT, SILENCE, Action, SmtpServer
from tests.smtp.conftest import ServerTls
from tests.smtp.identities import opened, refusal, send, session_to

CANARY: Final = "c4nary-in-the-Mine-£"
USERS: Final = {"ann@example.com": CANARY}
WHO: Final = {"username": "ann@example.com", "password": CANARY}

ALL: Final = ("PLAIN", "LOGIN", "CRAM-MD5")


@pytest.mark.parametrize(
    ("mechanism", "offered", "used"),
    [
        ("plain", ALL, "PLAIN"),
        ("login", ALL, "LOGIN"),
        ("cram-md5", ALL, "CRAM-MD5"),
        ("auto", ALL, "PLAIN"),
        ("auto", ("XOAUTH2", "CRAM-MD5", "LOGIN"), "LOGIN"),
        ("auto", ("CRAM-MD5", "GSSAPI"), "CRAM-MD5"),
    ],
)
async def test_each_mechanism_logs_in_over_tls(
    mechanism: str, offered: tuple[str, ...], used: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """`auto` takes the best that the server offers; the server sees the user."""
    async with (
        SmtpServer(users=USERS, mechanisms=offered, tls=server_tls()) as server,
        session_to(
            server,
            tls=TlsMode.STARTTLS,
            tls_ca=ca_pem,
            mechanism=AuthMechanism(mechanism),
            **WHO,
        ) as session,
    ):
        assert (await send(session)).reply is not None
    seen = server.sessions[0]
    assert (seen.user, seen.mechanism) == ("ann@example.com", used)
    assert session.facts.auth_mechanism == used.lower()
    assert session.is_authenticated


@pytest.mark.parametrize(
    ("mechanism", "offered"), [("plain", ALL), ("login", ALL), ("auto", ("PLAIN", "LOGIN"))]
)
async def test_the_password_is_not_sent_in_clear(mechanism: str, offered: tuple[str, ...]) -> None:
    """Unless the profile allows it; the server never sees AUTH."""
    async with SmtpServer(users=USERS, mechanisms=offered) as server:
        failure = await refusal(server, mechanism=AuthMechanism(mechanism), **WHO)
    assert (failure.stage, failure.fault) == (Stage.AUTH, Fault.UNENCRYPTED)
    assert "allow_plaintext_auth" in failure.detail
    assert not any(line.startswith("AUTH") for line in server.sessions[0].commands)


async def test_opportunistic_tls_that_is_not_offered_is_in_clear_too() -> None:
    """A man in the middle who hides STARTTLS learns no password."""
    async with SmtpServer(users=USERS, mechanisms=("PLAIN",)) as server:
        failure = await refusal(server, tls=TlsMode.OPPORTUNISTIC, **WHO)
    assert failure.fault is Fault.UNENCRYPTED


@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({}, "CRAM-MD5"),
        ({"mechanism": AuthMechanism.CRAM_MD5}, "CRAM-MD5"),
        ({"mechanism": AuthMechanism.PLAIN, "allow_plaintext_auth": True}, "PLAIN"),
        ({"mechanism": AuthMechanism.LOGIN, "allow_plaintext_auth": True}, "LOGIN"),
    ],
)
async def test_in_clear_goes_what_hides_the_password_or_is_allowed(
    fields: dict[str, Any], used: str
) -> None:
    """CRAM-MD5 proves the password without saying it."""
    async with (
        SmtpServer(users=USERS) as server,
        session_to(server, **WHO, **fields),
    ):
        pass
    assert (server.sessions[0].user, server.sessions[0].mechanism) == ("ann@example.com", used)


@pytest.mark.parametrize("offered", [(), ("GSSAPI",)])
async def test_a_mechanism_that_is_not_offered_is_the_profiles_fault(
    offered: tuple[str, ...],
) -> None:
    """What the server offers is told."""
    users = USERS if offered else {}
    async with SmtpServer(users=users, mechanisms=offered) as server:
        failure = await refusal(server, allow_plaintext_auth=True, **WHO)
    assert (failure.stage, failure.fault) == (Stage.AUTH, Fault.NOT_OFFERED)
    assert ("GSSAPI" if offered else "no mechanism") in failure.detail


async def test_what_a_server_offers_is_told_so_that_it_can_be_stored() -> None:
    """Bounded, and printable, whatever it holds."""
    offer = b"250-mx\r\n250 AUTH \x1b[2J \xff" + b" X" * 3000 + b"\r\n"
    async with SmtpServer({"ehlo": offer}) as server:
        failure = await refusal(server, **WHO)
    assert failure.fault is Fault.NOT_OFFERED
    assert failure.detail.isprintable()
    assert len(failure.detail.encode()) < 1000


@pytest.mark.parametrize("mechanism", [AuthMechanism.LOGIN, AuthMechanism.CRAM_MD5])
@pytest.mark.parametrize(
    ("challenge", "fault"),
    [
        (b"334 \xff\xfe\r\n", None),
        ("235 2.7.0 Already?", Fault.MALFORMED),
        (b"nonsense\r\n", Fault.MALFORMED),
        (DISCONNECT, Fault.DISCONNECTED),
        (SILENCE, Fault.TIMEOUT),
    ],
)
async def test_a_challenge_that_is_none_is_the_profiles_fault(
    mechanism: AuthMechanism, challenge: Action, fault: Fault | None
) -> None:
    """LOGIN's is read by nobody; nothing is raised, and it ends at AUTH."""
    async with SmtpServer({"challenge": challenge}, users=USERS) as server:
        found = await opened(
            server,
            mechanism=mechanism,
            allow_plaintext_auth=True,
            timeouts=Timeouts(connect=5, command=0.5),
            **WHO,
        )
    if fault is None and mechanism is AuthMechanism.LOGIN:
        assert not isinstance(found, NotOpened)
        found.abort()
        return
    assert isinstance(found, NotOpened)
    assert (found.failure.stage, found.failure.fault) == (Stage.AUTH, fault or Fault.MALFORMED)


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5"])
async def test_a_wrong_password_is_the_servers_refusal(mechanism: str) -> None:
    """Its reply is kept."""
    async with SmtpServer(users={"ann@example.com": "another"}) as server:
        failure = await refusal(
            server, mechanism=AuthMechanism(mechanism), allow_plaintext_auth=True, **WHO
        )
    assert failure.reply is not None
    assert (failure.stage, failure.reply.code) == (Stage.AUTH, 535)


async def test_nobody_logs_in_without_a_user_name_or_with_mechanism_none() -> None:
    """Even where AUTH is offered."""
    async with SmtpServer(users=USERS) as server:
        for fields in ({}, WHO | {"mechanism": AuthMechanism.NONE}):
            async with session_to(server, **fields) as session:
                assert not session.is_authenticated
    assert not any("AUTH" in line for seen in server.sessions for line in seen.commands)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES: Final = (
    CANARY,
    CANARY.upper(),
    _b64(CANARY),
    _b64(f"\0ann@example.com\0{CANARY}"),
)


def _everything(failure: Failure) -> str:
    return f"{failure!r} {failure} {failure.detail!r}"


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("form", ["reply", "lines", "no reply"])
async def test_a_password_that_the_server_says_back_is_not_repeated(echo: str, form: str) -> None:
    """Invariant 9: in no reply and in no detail, in whatever form it was sent."""
    said: Action = {
        "reply": f"535 5.7.8 No such password: {echo}",
        "lines": f"535 5.7.8 No\n535 5.7.8 {echo} is wrong",
        "no reply": f"AUTH PLAIN {echo}\r\n".encode(),
    }[form]
    async with SmtpServer({"auth": said}, users=USERS) as server:
        found = await opened(
            server, mechanism=AuthMechanism.PLAIN, allow_plaintext_auth=True, **WHO
        )
    assert isinstance(found, NotOpened)
    assert found.failure.stage is Stage.AUTH
    for form_of_it in ECHOES:
        assert form_of_it.casefold() not in _everything(found.failure).casefold()
        assert form_of_it not in repr(found)


async def test_what_the_server_says_besides_the_password_is_kept() -> None:
    """Redaction takes the secret alone."""
    script = {"auth": f"535 5.7.8 <{CANARY}> is no password for ann@example.com"}
    async with SmtpServer(script, users=USERS) as server:
        failure = await refusal(
            server, mechanism=AuthMechanism.LOGIN, allow_plaintext_auth=True, **WHO
        )
    assert str(failure) == "535 5.7.8 <***> is no password for ann@example.com"


async def test_a_password_with_spaces_at_its_ends_is_not_repeated_without_them() -> None:
    """Lines are stripped on their way in."""
    async with SmtpServer({"auth": f"535 5.7.8 wrong: {CANARY} "}, users=USERS) as server:
        failure = await refusal(
            server,
            mechanism=AuthMechanism.PLAIN,
            allow_plaintext_auth=True,
            username="ann@example.com",
            password=f"  {CANARY} ",
        )
    assert CANARY not in _everything(failure)
