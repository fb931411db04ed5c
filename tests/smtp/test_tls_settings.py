"""What a profile may say of TLS: the oldest version, the server's name, its keys, its own."""

import ssl
from typing import Any, Final

import pytest
import trustme

from app.domain.outcome.failure_table import classify
from app.domain.outcome.hints import HINTS
from app.domain.outcome.outcome import Failure, FailureScope, Fault, Stage
from app.domain.types import TlsMode
from app.smtp.certificate_details import pin_of
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import SmtpServer
from tests.support.servers.strict_tls import strict_tls_server
from tests.support.smtp_identities import refusal, send, session_to, try_open

SECURE: Final = (TlsMode.STARTTLS, TlsMode.IMPLICIT)
VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
OTHER_KEY: Final = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def word(failure: Failure) -> str:
    """Its classification, which is a profile's fault and has a hint."""
    judged = classify(failure, fresh=True, authenticated=False)
    assert judged.scope is FailureScope.PROFILE
    assert judged.classification in HINTS
    return judged.classification


def speaking_only(version: str, tls: ssl.SSLContext) -> ssl.SSLContext:
    """A server of that age."""
    tls.minimum_version = tls.maximum_version = VERSIONS[version]
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    return tls


def pem(leaf: trustme.LeafCert) -> tuple[str, str]:
    """A certificate with its chain, and its key."""
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems).decode()
    return chain, leaf.private_key_pem.bytes().decode()


def pin(certificate: trustme.Blob) -> str:
    """Of the first certificate."""
    key_pin = pin_of(ssl.PEM_cert_to_DER_cert(certificate.bytes().decode()))
    assert key_pin is not None
    return key_pin


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize(
    ("least", "spoken", "version"),
    [
        ("1.0", "1.0", "TLSv1"),
        ("1.0", "1.2", "TLSv1.2"),
        ("1.1", "1.1", "TLSv1.1"),
        ("1.2", "1.2", "TLSv1.2"),
        ("1.3", "1.3", "TLSv1.3"),
    ],
)
async def test_a_server_that_is_no_older_than_the_profile_allows_gets_mail(
    mode: TlsMode, least: str, spoken: str, version: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """Be it ever so old, where the profile says so."""
    tls = speaking_only(spoken, server_tls())
    async with (
        SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server,
        session_to(server, tls=mode, tls_ca=ca_pem, tls_min_version=least) as session,
    ):
        assert (await send(session)).reply is not None
    assert session.facts.tls_version == version


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize(("least", "spoken"), [("1.1", "1.0"), ("1.2", "1.1"), ("1.3", "1.2")])
async def test_a_server_that_is_older_is_refused(
    mode: TlsMode, least: str, spoken: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """By the alert that real servers send (RFC 8446 section 6.2)."""
    tls = speaking_only(spoken, server_tls())
    async with strict_tls_server(tls, is_implicit=mode is TlsMode.IMPLICIT) as server:
        failure = await refusal(server, tls=mode, tls_ca=ca_pem, tls_min_version=least)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.TOO_OLD)
    assert word(failure) == "tls_version_too_old"


async def test_1_2_is_the_oldest_where_nothing_is_said(server_tls: ServerTls, ca_pem: str) -> None:
    """The two before it were given up for good reasons (RFC 8996)."""
    async with strict_tls_server(speaking_only("1.1", server_tls()), is_implicit=True) as server:
        failure = await refusal(server, tls=TlsMode.IMPLICIT, tls_ca=ca_pem)
    assert failure.fault is Fault.TOO_OLD


@pytest.mark.parametrize("mode", SECURE)
async def test_the_name_in_the_certificate_may_be_another_than_the_hosts(
    mode: TlsMode, server_tls: ServerTls, ca_pem: str
) -> None:
    """For hosts that are addresses, and names of the inner network; it is asked for by SNI."""
    sni_names = list[str | None]()
    tls = server_tls("mx.example.org")
    tls.sni_callback = lambda _, name, __: sni_names.append(name)
    async with (
        SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server,
        session_to(server, tls=mode, tls_ca=ca_pem, tls_server_name="mx.example.org") as session,
    ):
        assert (await send(session)).reply is not None
    assert sni_names == ["mx.example.org"]


@pytest.mark.parametrize("mode", SECURE)
async def test_a_name_that_does_not_stand_in_the_certificate_is_told_with_those_that_do(
    mode: TlsMode, server_tls: ServerTls, ca_pem: str
) -> None:
    """So that one can be copied; the host's own no longer counts."""
    async with SmtpServer(tls=server_tls(), is_implicit=mode is TlsMode.IMPLICIT) as server:
        failure = await refusal(server, tls=mode, tls_ca=ca_pem, tls_server_name="mx.example.org")
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.NAME_MISMATCH)
    assert "mx.example.org" in failure.detail
    assert "it is for 127.0.0.1" in failure.detail
    assert "`tls_server_name`" in HINTS[word(failure)]


@pytest.mark.parametrize("mode", [*SECURE, TlsMode.OPPORTUNISTIC])
async def test_a_pinned_key_is_enough_among_others(
    mode: TlsMode, ca: trustme.CA, ca_pem: str
) -> None:
    """A second pin is for the day when the key is changed."""
    leaf, tls = ca.issue_cert("127.0.0.1"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(tls)
    pins = (OTHER_KEY, pin(leaf.cert_chain_pems[0]))
    async with (
        SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server,
        session_to(server, tls=mode, tls_ca=ca_pem, tls_pins=pins) as session,
    ):
        assert (await send(session)).reply is not None


@pytest.mark.parametrize("mode", [*SECURE, TlsMode.OPPORTUNISTIC])
async def test_a_key_that_is_not_pinned_is_told_and_gets_nothing(
    mode: TlsMode, ca: trustme.CA, ca_pem: str
) -> None:
    """Its pin can be copied from the reason, and the connection is closed."""
    leaf, tls = ca.issue_cert("127.0.0.1"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(tls)
    async with SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server:
        opening = await try_open(server, tls=mode, tls_ca=ca_pem, tls_pins=(OTHER_KEY,))
        await server.wait_until(lambda server: server.open_connections == 0)
    failure = opening.failure
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.PIN_MISMATCH)
    assert word(failure) == "tls_pin_mismatch"
    assert pin(leaf.cert_chain_pems[0]) in failure.detail
    assert opening.facts.certificate is not None
    commands = [line for session in server.sessions for line in session.commands]
    assert not any(line.startswith("MAIL") for line in commands)


async def test_a_pinned_key_does_not_replace_the_authority(server_tls: ServerTls) -> None:
    """All else is verified besides."""
    async with SmtpServer(tls=server_tls()) as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS, tls_pins=(OTHER_KEY,))
    assert failure.fault is Fault.CERTIFICATE


@pytest.mark.parametrize("mode", SECURE)
async def test_an_authoritys_key_can_be_pinned(
    mode: TlsMode, ca: trustme.CA, server_tls: ServerTls, ca_pem: str
) -> None:
    """Even where the server does not show its certificate."""
    pins = (pin(ca.cert_pem),)
    async with (
        SmtpServer(tls=server_tls(), is_implicit=mode is TlsMode.IMPLICIT) as server,
        session_to(server, tls=mode, tls_ca=ca_pem, tls_pins=pins) as session,
    ):
        assert (await send(session)).reply is not None


@pytest.mark.parametrize("mode", [*SECURE, TlsMode.OPPORTUNISTIC])
async def test_a_certificate_that_vouches_for_nothing_is_no_proof(
    mode: TlsMode, ca: trustme.CA, ca_pem: str, tmp_path: Any
) -> None:
    """Anybody can put the pinned authority's certificate, which is public, after his own."""
    pinned = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1")
    chain, key = pem(leaf)
    path = tmp_path / "chain.pem"
    path.write_text(chain + pinned.cert_pem.bytes().decode() + key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    pins = (pin(pinned.cert_pem),)
    async with SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server:
        failure = await refusal(server, tls=mode, tls_ca=ca_pem, tls_pins=pins)
    assert failure.fault is Fault.PIN_MISMATCH


async def test_opportunistic_with_a_pin_sends_nothing_in_clear() -> None:
    """In clear there is no key to compare with."""
    async with SmtpServer() as server:
        failure = await refusal(server, tls=TlsMode.OPPORTUNISTIC, tls_pins=(OTHER_KEY,))
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.NOT_OFFERED)
    assert word(failure) == "tls_required_not_offered"


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("shown", ["none", "unknown"])
async def test_a_server_that_wants_another_client_certificate_says_so(
    mode: TlsMode, version: str, shown: str, server_tls: ServerTls, ca_pem: str
) -> None:
    """In TLS 1.3 only after the handshake, instead of its first words: still a fault of TLS."""
    tls = server_tls(wants_certificate=True)
    tls.minimum_version = tls.maximum_version = VERSIONS[version]
    certificate, key = pem(trustme.CA().issue_cert("billing@example.com"))
    ours = {"client_certificate": certificate, "client_key": key} if shown == "unknown" else {}
    async with strict_tls_server(tls, is_implicit=mode is TlsMode.IMPLICIT) as server:
        failure = await refusal(server, tls=mode, tls_ca=ca_pem, **ours)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.CLIENT_CERTIFICATE)
    assert word(failure) == "tls_client_certificate_refused"


async def test_a_server_without_a_common_cipher_wants_no_client_certificate(
    server_tls: ServerTls, ca_pem: str
) -> None:
    """TLS 1.2 has the same alert for both."""
    tls = server_tls()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("AES128-SHA256:@SECLEVEL=0")
    async with strict_tls_server(tls, is_implicit=True) as server:
        failure = await refusal(server, tls=TlsMode.IMPLICIT, tls_ca=ca_pem)
    assert (failure.stage, failure.fault) == (Stage.TLS, Fault.HANDSHAKE)
