"""AUTH: the mechanisms, when the password may be sent, and that it never comes back out."""

import base64
from typing import Any, Final

import pytest

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import AuthMechanism, Timeouts, TlsMode
from app.smtp.session_opening import OpenFailure
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import DISCONNECT, IGNORE, SILENCE, Action, SmtpServer
from tests.support.smtp_identities import refusal, send, session_to, try_open

CANARY: Final = "c4nary-in-the-Mine-£"
USERS: Final = {"ann@example.com": CANARY}
WHO: Final = {"username": "ann@example.com", "password": CANARY}

ALL: Final = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
TOKEN: Final = "ya29.c4nary-T0ken"
TOKENS: Final = {"ann@example.com": TOKEN}
MAILBOX: Final = {"username": "ann@example.com", "allow_plaintext_auth": True, "token": TOKEN}


@pytest.mark.parametrize(
    ("mechanism", "offered", "used"),
    [
        ("plain", ALL, "PLAIN"),
        ("login", ALL, "LOGIN"),
        ("cram-md5", ALL, "CRAM-MD5"),
        ("scram-sha-256", ALL, "SCRAM-SHA-256"),
        ("auto", ALL, "SCRAM-SHA-256"),
        ("auto", ("LOGIN", "PLAIN", "CRAM-MD5"), "CRAM-MD5"),
        ("auto", ("XOAUTH2", "LOGIN", "PLAIN"), "PLAIN"),
        ("auto", ("XOAUTH2", "LOGIN"), "LOGIN"),
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
    server_session = server.sessions[0]
    assert (server_session.user, server_session.mechanism) == ("ann@example.com", used)
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
        ({"mechanism": AuthMechanism.SCRAM_SHA_256}, "SCRAM-SHA-256"),
        ({"mechanism": AuthMechanism.CRAM_MD5}, "CRAM-MD5"),
        ({"mechanism": AuthMechanism.PLAIN, "allow_plaintext_auth": True}, "PLAIN"),
        ({"mechanism": AuthMechanism.LOGIN, "allow_plaintext_auth": True}, "LOGIN"),
    ],
)
async def test_in_clear_goes_what_hides_the_password_or_is_allowed(
    fields: dict[str, Any], used: str
) -> None:
    """CRAM-MD5 and SCRAM prove the password without saying it."""
    async with (
        SmtpServer(users=USERS, mechanisms=ALL if fields else ALL[:3]) as server,
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
        result = await try_open(
            server,
            mechanism=mechanism,
            allow_plaintext_auth=True,
            timeouts=Timeouts(connect=5, command=0.5),
            **WHO,
        )
    if fault is None and mechanism is AuthMechanism.LOGIN:
        assert not isinstance(result, OpenFailure)
        result.abort()
        return
    assert isinstance(result, OpenFailure)
    assert (result.failure.stage, result.failure.fault) == (Stage.AUTH, fault or Fault.MALFORMED)


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "scram-sha-256"])
async def test_a_wrong_password_is_the_servers_refusal(mechanism: str) -> None:
    """Its reply is kept."""
    async with SmtpServer(users={"ann@example.com": "another"}, mechanisms=ALL) as server:
        failure = await refusal(
            server, mechanism=AuthMechanism(mechanism), allow_plaintext_auth=True, **WHO
        )
    assert failure.reply is not None
    assert (failure.stage, failure.reply.code) == (Stage.AUTH, 535)


async def test_a_password_that_proves_nothing_says_what_else_may_be_wrong() -> None:
    """Servers that keep a hash of another kind offer CRAM-MD5 and refuse the right password."""
    async with SmtpServer(users={"ann@example.com": "another"}) as server:
        failure = await refusal(server, **WHO)
    assert failure.detail.startswith("CRAM-MD5 needs the password in a special form")
    assert "auth.mechanism=plain" in failure.detail


async def test_a_refused_password_is_not_tried_by_another_mechanism() -> None:
    """Each try counts against the account: `auto` makes one."""
    async with SmtpServer(users={"ann@example.com": "another"}, mechanisms=ALL) as server:
        await refusal(server, allow_plaintext_auth=True, **WHO)
    [mechanism] = [line.split()[1] for line in server.sessions[0].commands if "AUTH" in line]
    assert mechanism == "SCRAM-SHA-256"


async def test_a_mechanism_that_is_offered_and_not_known_gives_way_to_the_next() -> None:
    """504 says that nothing was checked (RFC 4954 section 4)."""
    script = {"challenge": ["504 5.5.4 Unrecognized authentication type"]}
    async with (
        SmtpServer(script, users=USERS) as server,
        session_to(server, allow_plaintext_auth=True, **WHO) as session,
    ):
        assert session.facts.auth_mechanism == "plain"


@pytest.mark.parametrize(
    ("final", "fault"),
    [
        ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Fault.UNPROVEN),
        ("e=other-error", None),
        ("nonsense", Fault.UNPROVEN),
    ],
)
async def test_a_server_that_does_not_prove_itself_by_scram_is_not_believed(
    final: str, fault: Fault | None
) -> None:
    """RFC 5802 section 5.1: whoever cannot sign does not know the password; an error is one."""

    def challenge(first: str) -> str | None:
        usual = None if first.startswith("r=") else final
        return usual and f"334 {base64.b64encode(usual.encode()).decode()}"

    script = {"challenge": challenge, "auth": "535 5.7.8 No"}
    async with SmtpServer(script, users=USERS, mechanisms=["SCRAM-SHA-256"]) as server:
        failure = await refusal(server, **WHO)
    assert (failure.stage, failure.fault) == (Stage.AUTH, fault)


async def test_a_server_that_ends_scram_before_its_proof_is_not_believed() -> None:
    """235 alone is anybody's word."""
    script = {"challenge": "235 2.7.0 Welcome"}
    async with SmtpServer(script, users=USERS, mechanisms=["SCRAM-SHA-256"]) as server:
        failure = await refusal(server, **WHO)
    assert failure.fault is Fault.UNPROVEN


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("size", [300, 1500])
async def test_no_line_of_auth_is_longer_than_it_may_be(mechanism: str, size: int) -> None:
    """512 bytes (RFC 4954 section 4); what would be longer comes on a line of its own."""
    name, secret = "a" * size + "@example.com", "x" * size
    is_token = mechanism in {"XOAUTH2", "OAUTHBEARER"}
    known = {"tokens" if is_token else "users": {name: secret}}
    login: dict[str, Any] = {"username": name, "token" if is_token else "password": secret}
    chosen = AuthMechanism.OAUTH2 if is_token else AuthMechanism(mechanism.lower())
    async with (
        SmtpServer(**known, mechanisms=[mechanism]) as server,
        session_to(server, mechanism=chosen, allow_plaintext_auth=True, **login),
    ):
        pass
    assert server.sessions[0].user == name
    [line] = [line for line in server.sessions[0].commands if line.startswith("AUTH")]
    assert len(line) <= 510
    is_short = size == 300 and mechanism == "LOGIN"
    assert (line == f"AUTH {mechanism}") is not is_short


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_that_is_overlooked_on_the_line_of_auth_is_said_again(mechanism: str) -> None:
    """A challenge that says nothing asks for it; one that says something is a refusal."""
    async with (
        SmtpServer({"mechanism": IGNORE}, tokens=TOKENS, mechanisms=[mechanism]) as server,
        session_to(server, mechanism=AuthMechanism.OAUTH2, **MAILBOX),
    ):
        pass
    assert server.sessions[0].user == "ann@example.com"


async def test_login_never_says_the_password_as_a_name() -> None:
    """Whatever it asks for, and however often."""
    question = f"334 {_b64('User Name')}"
    script = {"mechanism": IGNORE, "challenge": question, "auth": question}
    async with SmtpServer(script, users=USERS) as server:
        failure = await refusal(
            server, mechanism=AuthMechanism.LOGIN, allow_plaintext_auth=True, **WHO
        )
    assert (failure.stage, failure.fault) == (Stage.AUTH, Fault.MALFORMED)
    assert _b64(CANARY) not in server.sessions[0].commands


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        (("LOGIN", "XOAUTH2"), "XOAUTH2"),
        (("XOAUTH2", "OAUTHBEARER"), "OAUTHBEARER"),
    ],
)
@pytest.mark.parametrize("mechanism", [AuthMechanism.OAUTH2, AuthMechanism.AUTO])
@pytest.mark.parametrize("username", ["ann@example.com", "ann=o,connor@example.com"])
async def test_an_access_token_logs_in(
    offered: tuple[str, ...], used: str, mechanism: AuthMechanism, username: str
) -> None:
    """By the standard where it is offered; the server checks every byte of the string."""
    async with (
        SmtpServer(tokens={username: TOKEN}, mechanisms=offered) as server,
        session_to(server, mechanism=mechanism, **MAILBOX | {"username": username}) as session,
    ):
        assert (await send(session)).reply is not None
    assert (server.sessions[0].user, server.sessions[0].mechanism) == (username, used)
    assert session.facts.auth_mechanism == used.lower()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_what_the_server_says_of_a_token_it_refuses_is_told(mechanism: str) -> None:
    """JSON in a challenge, then 535; neither holds the token (RFC 7628 section 3.2.2)."""
    async with SmtpServer(tokens={"ann@example.com": "x"}, mechanisms=[mechanism]) as server:
        failure = await refusal(server, mechanism=AuthMechanism.OAUTH2, **MAILBOX)
    assert failure.reply is not None
    assert (failure.reply.code, failure.fault) == (535, Fault.TOKEN_REJECTED)
    assert failure.detail == "status=401, schemes=bearer, scope=https://mail.test/"
    judged = classify(failure, fresh=True, authenticated=False)
    assert judged.classification == "oauth_token_rejected"


@pytest.mark.parametrize(
    "challenge", ["nonsense", "W" * 400, base64.b64encode(b"[" * 900).decode(), "bnVsbA=="]
)
async def test_what_is_no_json_about_a_token_is_not_told(challenge: str) -> None:
    """Whatever it is, the refusal stands."""
    script = {"challenge": f"334 {challenge}"}
    async with SmtpServer(
        script, tokens={"ann@example.com": "x"}, mechanisms=["XOAUTH2"]
    ) as server:
        failure = await refusal(server, mechanism=AuthMechanism.OAUTH2, **MAILBOX)
    assert (failure.fault, failure.detail) == (Fault.TOKEN_REJECTED, "")


async def test_an_access_token_is_not_sent_in_clear() -> None:
    """It is as good as a password while it lasts."""
    async with SmtpServer(tokens=TOKENS, mechanisms=["XOAUTH2"]) as server:
        failure = await refusal(
            server,
            mechanism=AuthMechanism.OAUTH2,
            **MAILBOX | {"allow_plaintext_auth": False},
        )
    assert failure.fault is Fault.UNENCRYPTED
    assert "access token" in failure.detail
    assert not any(line.startswith("AUTH") for line in server.sessions[0].commands)


async def test_without_a_token_nothing_is_sent() -> None:
    """Not even an empty one."""
    async with SmtpServer(tokens=TOKENS, mechanisms=["XOAUTH2"]) as server:
        failure = await refusal(server, mechanism=AuthMechanism.OAUTH2, **MAILBOX | {"token": None})
    assert failure.fault is Fault.TOKEN_UNAVAILABLE


async def test_a_token_that_the_server_says_back_is_not_repeated() -> None:
    """Invariant 9: as it is, and as both mechanisms encode it."""
    string = f"user=ann@example.com\1auth=Bearer {TOKEN}\1\1"
    for echo in (TOKEN, _b64(TOKEN), _b64(string)):
        script = {"auth": f"535 5.7.8 No such token: {echo}"}
        async with SmtpServer(script, tokens=TOKENS, mechanisms=["XOAUTH2"]) as server:
            failure = await try_open(server, mechanism=AuthMechanism.OAUTH2, **MAILBOX)
        assert isinstance(failure, OpenFailure)
        assert str(failure.failure) == "535 5.7.8 No such token: ***"
        assert echo not in f"{failure!r} {failure.transcript.lines}"


async def test_nobody_logs_in_without_a_user_name_or_with_mechanism_none() -> None:
    """Even where AUTH is offered."""
    async with SmtpServer(users=USERS) as server:
        for fields in ({}, WHO | {"mechanism": AuthMechanism.NONE}):
            async with session_to(server, **fields) as session:
                assert not session.is_authenticated
    assert not any("AUTH" in line for session in server.sessions for line in session.commands)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES: Final = (
    CANARY,
    CANARY.upper(),
    _b64(CANARY),
    _b64(f"\0ann@example.com\0{CANARY}"),
)


def _all_records(failure: Failure) -> str:
    return f"{failure!r} {failure} {failure.detail!r}"


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("form", ["reply", "lines", "no reply"])
async def test_a_password_that_the_server_says_back_is_not_repeated(echo: str, form: str) -> None:
    """Invariant 9: in no reply and in no detail, in whatever form it was sent."""
    reply: Action = {
        "reply": f"535 5.7.8 No such password: {echo}",
        "lines": f"535 5.7.8 No\n535 5.7.8 {echo} is wrong",
        "no reply": f"AUTH PLAIN {echo}\r\n".encode(),
    }[form]
    async with SmtpServer({"auth": reply}, users=USERS) as server:
        failure = await try_open(
            server, mechanism=AuthMechanism.PLAIN, allow_plaintext_auth=True, **WHO
        )
    assert isinstance(failure, OpenFailure)
    assert failure.failure.stage is Stage.AUTH
    for form_of_it in ECHOES:
        assert form_of_it.casefold() not in _all_records(failure.failure).casefold()
        assert form_of_it not in repr(failure)


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
    assert CANARY not in _all_records(failure)
