"""The four modes of `tls`: what goes in clear, and whose certificate is taken for whose."""

import ssl
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import trustme

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Fault, Stage
from app.domain.types import Timeouts, TlsMode
from app.smtp.session_opening import OpenFailure
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import BROKEN_TLS, DISCONNECT, SILENCE, SmtpServer
from tests.support.smtp_identities import refusal, send, session_to, try_open

VERIFIED: Final = (TlsMode.STARTTLS, TlsMode.IMPLICIT)


def _server(tls: Any, mode: TlsMode) -> SmtpServer:
    return SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT)


@pytest.mark.parametrize("mode", VERIFIED)
async def test_a_private_authority_is_trusted_where_the_profile_says_so(
    mode: TlsMode, server_tls: ServerTls, ca_pem: str
) -> None:
    """The message goes through TLS, and the facts tell its version and cipher."""
    async with (
        _server(server_tls(), mode) as server,
        session_to(server, tls=mode, tls_ca=ca_pem) as session,
    ):
        assert (await send(session)).reply is not None
    assert session.facts.tls_version == server.sessions[0].tls_version == "TLSv1.3"
    assert session.facts.tls_cipher is not None


@pytest.mark.parametrize("mode", VERIFIED)
@pytest.mark.parametrize("trusted", ["nobody", "another"])
async def test_an_authority_that_is_not_trusted_ends_the_session(
    mode: TlsMode, trusted: str, server_tls: ServerTls
) -> None:
    """Neither the machine's authorities nor another private one speak for it."""
    tls_ca = trustme.CA().cert_pem.bytes().decode() if trusted == "another" else None
    async with _server(server_tls(), mode) as server:
        failure = await refusal(server, tls=mode, tls_ca=tls_ca)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.CERTIFICATE)
    assert "certificate" in failure.detail


@pytest.mark.parametrize("mode", VERIFIED)
async def test_a_certificate_for_another_name_ends_the_session(
    mode: TlsMode, server_tls: ServerTls, ca_pem: str
) -> None:
    """And says for which address it is not valid."""
    async with _server(server_tls("mx.example.org"), mode) as server:
        failure = await refusal(server, tls=mode, tls_ca=ca_pem)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.NAME_MISMATCH)
    assert "127.0.0.1" in failure.detail


async def test_a_private_authority_is_trusted_instead_of_the_public_ones(
    server_tls: ServerTls, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Whom the machine trusts does not count once the profile names its own."""
    bundle = tmp_path / "machine.pem"
    ca.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    other = trustme.CA().cert_pem.bytes().decode()
    async with SmtpServer(tls=server_tls()) as server:
        async with session_to(server, tls=TlsMode.STARTTLS):
            pass
        failure = await refusal(server, tls=TlsMode.STARTTLS, tls_ca=other)
    assert failure.fault is Fault.CERTIFICATE


@pytest.mark.parametrize("name", ["127.0.0.1", "mx.example.org"])
async def test_opportunistic_takes_any_certificate(name: str, server_tls: ServerTls) -> None:
    """Encryption without a name is still better than none (RFC 7435)."""
    async with (
        SmtpServer(tls=server_tls(name)) as server,
        session_to(server, tls=TlsMode.OPPORTUNISTIC) as session,
    ):
        await send(session)
    assert session.facts.tls_version is not None


async def test_opportunistic_goes_in_clear_where_tls_is_not_offered() -> None:
    """The facts say so."""
    async with (
        SmtpServer() as server,
        session_to(server, tls=TlsMode.OPPORTUNISTIC) as session,
    ):
        assert (await send(session)).reply is not None
    assert session.facts.tls_version is None


async def test_starttls_is_required_where_it_is_asked_for() -> None:
    """A server that does not offer it (or a man in the middle who hides it) gets no mail."""
    async with SmtpServer() as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.NOT_OFFERED)
    assert not any(line.startswith("MAIL") for line in server.sessions[0].commands)


async def test_none_never_asks_for_tls(server_tls: ServerTls) -> None:
    """Even where it is offered."""
    async with (
        SmtpServer(tls=server_tls()) as server,
        session_to(server, tls=TlsMode.NONE) as session,
    ):
        await send(session)
    assert server.sessions[0].tls_version is None
    assert "STARTTLS" not in server.sessions[0].commands


async def test_what_was_said_before_tls_is_forgotten(server_tls: ServerTls, ca_pem: str) -> None:
    """RFC 3207 section 4.2: the extensions that count are those of the second EHLO."""
    script = {"ehlo": [b"250-mx\r\n250-STARTTLS\r\n250 SIZE 1\r\n", None]}
    async with (
        SmtpServer(script, tls=server_tls()) as server,
        session_to(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem) as session,
    ):
        assert (await send(session)).reply is not None


@pytest.mark.parametrize("injected", [b"250-evil\r\n250 AUTH PLAIN\r\n", b"2", b"\x16\x03\x01"])
async def test_nothing_may_be_said_between_starttls_and_the_handshake(
    injected: bytes, server_tls: ServerTls, ca_pem: str
) -> None:
    """What a man in the middle appends to the answer ends the session."""
    script = {"starttls": b"220 2.0.0 Ready\r\n" + injected}
    async with SmtpServer(script, tls=server_tls()) as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.STRIPPED)


async def test_a_handshake_that_is_answered_in_plain_text_ends_the_session(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """The server said that it was ready for TLS."""
    async with SmtpServer({"tls": BROKEN_TLS}, tls=server_tls()) as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.STRIPPED)


@pytest.mark.parametrize("mode", VERIFIED)
async def test_a_certificate_that_is_too_old_ends_the_session(
    mode: TlsMode, ca: trustme.CA, ca_pem: str
) -> None:
    """Whoever it is for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)
    ca.issue_cert("127.0.0.1", not_after=long_ago).configure_cert(context)
    async with _server(context, mode) as server:
        failure = await refusal(server, tls=mode, tls_ca=ca_pem)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.EXPIRED)


async def test_a_client_certificate_is_shown(
    ca: trustme.CA, server_tls: ServerTls, ca_pem: str
) -> None:
    """To a server that asks for one."""
    mine = ca.issue_cert("billing@example.com")
    certificate = b"".join(blob.bytes() for blob in mine.cert_chain_pems).decode()
    async with (
        SmtpServer(tls=server_tls(wants_certificate=True)) as server,
        session_to(
            server,
            tls=TlsMode.STARTTLS,
            tls_ca=ca_pem,
            client_certificate=certificate,
            client_key=mine.private_key_pem.bytes().decode(),
        ) as session,
    ):
        assert (await send(session)).reply is not None
    certificate_seen = server.sessions[0].client_certificate
    assert certificate_seen is not None
    assert ("email", "billing@example.com") in certificate_seen["subjectAltName"]


async def test_a_missing_client_certificate_is_the_profiles_fault(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """In TLS 1.3 the server tells only after the handshake."""
    async with SmtpServer(tls=server_tls(wants_certificate=True)) as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem)
    assert failure.stage in {Stage.TLS, Stage.EHLO}


@pytest.mark.parametrize(
    "fields",
    [
        {"tls_ca": "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"},
        {"client_certificate": "nonsense", "client_key": "nonsense"},
    ],
)
async def test_certificates_that_do_not_load_are_the_profiles_fault(
    fields: dict[str, str],
) -> None:
    """And nobody is connected to."""
    async with SmtpServer() as server:
        failure = await try_open(server, tls=TlsMode.STARTTLS, **fields)
    assert isinstance(failure, OpenFailure)
    assert (failure.failure.stage, failure.failure.fault) == (Stage.TLS, Fault.CERTIFICATE)
    assert server.sessions == []


async def test_plain_text_where_tls_is_expected_is_told(ca_pem: str) -> None:
    """`implicit` against a port that speaks first: 587 for 465."""
    async with SmtpServer() as server:
        failure = await refusal(server, tls=TlsMode.IMPLICIT, tls_ca=ca_pem)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.PLAIN_TEXT)


@pytest.mark.parametrize(
    ("banner", "fault"), [(SILENCE, Fault.TIMEOUT), (DISCONNECT, Fault.DISCONNECTED)]
)
async def test_a_handshake_that_does_not_end_is_told_from_a_greeting_that_does_not_come(
    banner: str, fault: Fault, server_tls: ServerTls, ca_pem: str
) -> None:
    """With TLS from the first byte; the handshake has the time for connecting, not a command's."""
    secure = {"tls": TlsMode.IMPLICIT, "tls_ca": ca_pem}
    async with SmtpServer({"banner": banner}) as server:
        timeouts = Timeouts(connect=0.3, command=60)
        failure = await refusal(server, timeouts=timeouts, **secure)
    assert (failure.stage, failure.fault) == (Stage.TLS, fault)
    script = {"banner": banner}
    async with SmtpServer(script, tls=server_tls(), is_implicit=True) as server:
        timeouts = Timeouts(connect=60, command=0.3)
        failure = await refusal(server, timeouts=timeouts, **secure)
    assert (failure.stage, failure.fault) == (Stage.BANNER, fault)


async def test_blank_lines_around_the_answer_to_starttls_say_nothing(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """Before it and behind it."""
    script = {"starttls": b"\r\n220 2.0.0 Ready\r\n\r\n"}
    async with (
        SmtpServer(script, tls=server_tls()) as server,
        session_to(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem) as session,
    ):
        assert session.facts.tls_version is not None


async def test_a_server_that_takes_no_second_ehlo_is_no_refusal_of_the_name(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """What it said before the handshake does not count, so nothing goes on without another EHLO."""
    script = {"ehlo": [None, "503 5.5.1 Duplicate EHLO"]}
    async with SmtpServer(script, tls=server_tls()) as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS, tls_ca=ca_pem)
    judged = classify(failure, fresh=True, authenticated=False)
    assert (judged.stage, judged.classification) == (Stage.EHLO, "ehlo_out_of_sequence")


async def test_a_handshake_after_starttls_has_the_time_for_connecting(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """Not a command's, which is much longer."""
    async with SmtpServer({"tls": SILENCE}, tls=server_tls()) as server:
        failure = await refusal(
            server,
            tls=TlsMode.STARTTLS,
            tls_ca=ca_pem,
            timeouts=Timeouts(connect=0.3, command=60),
        )
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.TIMEOUT)
