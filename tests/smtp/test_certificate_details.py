"""What a server's certificate says, and what is told of one that is refused."""

import asyncio
import base64
import hashlib
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.types import TlsMode
from app.smtp.certificate_details import Certificate
from app.smtp.implicit_tls import TLS_FIRST, answers_client_hello
from app.smtp.session_opening import OpenFailure
from app.smtp.tls_handshake import Handshake, read_sent_chain
from tests.smtp.conftest import ServerTls
from tests.support.servers.smtp_server import DISCONNECT, SILENCE, SmtpServer
from tests.support.smtp_identities import IMPATIENT, identity, refusal, session_to, try_open

MODES: Final = (TlsMode.STARTTLS, TlsMode.IMPLICIT)
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
END: Final = datetime(2124, 1, 1, tzinfo=UTC)


def showing(pems: Sequence[trustme.Blob], key: trustme.Blob, folder: Path) -> ssl.SSLContext:
    """A server that shows these certificates and no others."""
    path = folder / "chain.pem"
    path.write_bytes(b"".join(blob.bytes() for blob in [*pems, key]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def leaf_tls(leaf: trustme.LeafCert) -> ssl.SSLContext:
    """A server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


async def fail_to_open(
    tls: ssl.SSLContext, mode: TlsMode, ca_pem: str | None
) -> tuple[str, Failure, Certificate]:
    """The word, why, and the certificate as the facts of the connection that failed have it."""
    async with SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server:
        failure = await try_open(server, tls=mode, tls_ca=ca_pem)
    assert isinstance(failure, OpenFailure)
    assert failure.facts.certificate is not None
    word = classify(failure.failure, fresh=True, authenticated=False).classification
    return word, failure.failure, failure.facts.certificate


@pytest.mark.parametrize("mode", MODES)
async def test_the_facts_hold_what_the_certificate_says(mode: TlsMode, ca: trustme.CA) -> None:
    """Names and addresses, from when to when, whose, by whom, and the key's pin."""
    inner = ca.create_child_ca()
    leaf = inner.issue_cert("127.0.0.1", "mx.example.org", not_before=START, not_after=END)
    async with (
        SmtpServer(tls=leaf_tls(leaf), is_implicit=mode is TlsMode.IMPLICIT) as server,
        session_to(server, tls=mode, tls_ca=ca.cert_pem.bytes().decode()) as session,
    ):
        details = session.facts.certificate
    parsed = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    key = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert details is not None
    assert set(details.names) == {"127.0.0.1", "mx.example.org"}
    assert (details.own.not_before, details.own.not_after) == (START, END)
    assert details.own.subject == parsed.subject.rfc4514_string()
    assert details.own.issuer == parsed.issuer.rfc4514_string() == details.chain[1].subject
    assert details.own.pin == f"sha256/{base64.b64encode(hashlib.sha256(key).digest()).decode()}"
    assert len(details.chain) == 2
    assert not details.own.self_signed


@pytest.mark.parametrize(
    ("now", "days"),
    [
        (END - timedelta(days=30), 30),
        (END - timedelta(hours=23), 0),
        (END, 0),
        (END + timedelta(seconds=1), -1),
    ],
)
def test_a_certificate_expires_in_whole_days(now: datetime, days: int, ca: trustme.CA) -> None:
    """Fewer than none once it has."""
    leaf = ca.issue_cert("mx.example.org", not_after=END)
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    certificate = Certificate.from_chain([der])
    assert certificate is not None
    assert certificate.expires_in_days(now) == days


@pytest.mark.parametrize("shown", [[], [b""], [b"nonsense"]])
def test_what_cannot_be_read_is_no_certificate(shown: list[bytes]) -> None:
    """OpenSSL has the say whether it is one."""
    assert Certificate.from_chain(shown) is None


@pytest.mark.parametrize("mode", MODES)
async def test_an_expired_certificate_is_told_with_its_end(mode: TlsMode, ca: trustme.CA) -> None:
    """Whether days ago or years."""
    leaf = ca.issue_cert("127.0.0.1", not_after=datetime(2024, 5, 17, 8, 30, tzinfo=UTC))
    word, failure, certificate = await fail_to_open(
        leaf_tls(leaf), mode, ca.cert_pem.bytes().decode()
    )
    assert word == "tls_certificate_expired"
    assert failure.detail.endswith("expired at 2024-05-17 08:30 UTC")
    assert certificate.names == ("127.0.0.1",)


@pytest.mark.parametrize("mode", MODES)
async def test_a_certificate_that_is_not_valid_yet_is_told_with_its_start(
    mode: TlsMode, ca: trustme.CA
) -> None:
    """It is this machine's clock, most of the time."""
    start = datetime(2124, 5, 17, 8, 30, tzinfo=UTC)
    leaf = ca.issue_cert("127.0.0.1", not_before=start, not_after=start + timedelta(days=90))
    word, failure, _ = await fail_to_open(leaf_tls(leaf), mode, ca.cert_pem.bytes().decode())
    assert word == "tls_certificate_not_yet_valid"
    assert failure.detail.endswith("is valid only from 2124-05-17 08:30 UTC")


@pytest.mark.parametrize("mode", MODES)
async def test_a_wrong_name_is_told_with_the_first_of_the_right_ones(
    mode: TlsMode, ca: trustme.CA
) -> None:
    """Some certificates have a hundred."""
    names = [f"mx{number}.example.org" for number in range(10)]
    leaf = ca.issue_cert(*names)
    word, failure, certificate = await fail_to_open(
        leaf_tls(leaf), mode, ca.cert_pem.bytes().decode()
    )
    assert word == "tls_name_mismatch"
    assert "it is for mx" in failure.detail
    assert failure.detail.endswith("and 2 more")
    assert set(certificate.names) == set(names)


@pytest.mark.parametrize("mode", MODES)
async def test_a_certificate_that_signs_itself_is_told(mode: TlsMode, tmp_path: Path) -> None:
    """As mail servers make them at installation; trusted, it will do."""
    own = trustme.CA()
    tls = showing([own.cert_pem], own.private_key_pem, tmp_path)
    word, failure, certificate = await fail_to_open(tls, mode, None)
    assert word == "tls_certificate_invalid"
    assert failure.detail.endswith(f"{certificate.own.subject} is self-signed")
    assert certificate.own.self_signed


@pytest.mark.parametrize("mode", MODES)
async def test_an_authority_that_is_shown_and_not_trusted_is_told(
    mode: TlsMode, ca: trustme.CA, tmp_path: Path
) -> None:
    """By its name."""
    leaf = ca.issue_cert("127.0.0.1")
    chain = [*leaf.cert_chain_pems, ca.cert_pem]
    word, failure, certificate = await fail_to_open(
        showing(chain, leaf.private_key_pem, tmp_path), mode, None
    )
    assert word == "tls_certificate_invalid"
    assert failure.detail.endswith(f"its authority {certificate.own.issuer} is not trusted")


@pytest.mark.parametrize("mode", MODES)
async def test_a_missing_intermediate_is_told_and_may_be_trusted_instead(
    mode: TlsMode, ca: trustme.CA, tmp_path: Path
) -> None:
    """The commonest mistake of those who run servers: browsers mend it, mailers do not."""
    inner = ca.create_child_ca()
    leaf = inner.issue_cert("127.0.0.1")
    tls = showing(leaf.cert_chain_pems[:1], leaf.private_key_pem, tmp_path)
    word, failure, certificate = await fail_to_open(tls, mode, ca.cert_pem.bytes().decode())
    assert word == "tls_certificate_invalid"
    assert f"the server sends no certificate of {certificate.own.issuer}" in failure.detail
    intermediate = inner.cert_pem.bytes().decode()
    async with (
        SmtpServer(tls=tls, is_implicit=mode is TlsMode.IMPLICIT) as server,
        session_to(server, tls=mode, tls_ca=intermediate) as session,
    ):
        assert session.facts.certificate == certificate


async def test_a_name_that_a_stranger_wrote_is_fit_to_be_shown(ca: trustme.CA) -> None:
    """No terminal obeys it, and none is endless."""
    leaf = ca.issue_cert("mx.example.org", common_name="\x1b[2J" + "a" * 60)
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    certificate = Certificate.from_chain([der])
    assert certificate is not None
    assert certificate.own.subject.isprintable()


def test_a_chain_is_there_once_the_server_has_shown_it(ca: trustme.CA) -> None:
    """And none before: nothing is made up."""
    client = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    client.sslobject_class = Handshake
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="mx.example.org")
    tls = leaf_tls(ca.issue_cert("mx.example.org"))
    theirs = tls.wrap_bio(to_server, to_client, server_side=True)
    assert read_sent_chain(ours) == ()
    for side in (ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert Certificate.from_chain(read_sent_chain(ours)) is not None


async def dial(server: SmtpServer) -> socket.socket:
    """A connection to it on which nothing was said."""
    sock = socket.socket()
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    return sock


async def test_a_port_that_is_mute_until_tls_begins_is_found_out(server_tls: ServerTls) -> None:
    """465 for 587: the proof is that TLS is answered by TLS."""
    async with SmtpServer(tls=server_tls(), is_implicit=True) as server:
        sock = await dial(server)
        assert await answers_client_hello(sock, identity(server), seconds=5)
        assert sock.fileno() == -1
    judged = classify(TLS_FIRST, fresh=True, authenticated=False)
    assert judged.classification == "port_mismatch_implicit_tls"


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.OPPORTUNISTIC, TlsMode.NONE])
async def test_who_waits_in_vain_for_a_greeting_finds_out(
    mode: TlsMode, server_tls: ServerTls
) -> None:
    """In delivery too, once the time for the greeting is over."""
    async with SmtpServer(tls=server_tls(), is_implicit=True) as server:
        failure = await refusal(server, tls=mode, timeouts=IMPATIENT)
    assert failure == TLS_FIRST


async def test_a_server_that_is_just_slow_is_called_so() -> None:
    """The second connection answers no better."""
    async with SmtpServer({"banner": SILENCE}) as server:
        failure = await refusal(server, tls=TlsMode.STARTTLS, timeouts=IMPATIENT)
    assert (failure.stage, failure.fault) == (Stage.BANNER, Fault.TIMEOUT)


@pytest.mark.parametrize("banner", [SILENCE, DISCONNECT, "220 mx.test.invalid ESMTP"])
async def test_a_port_that_does_not_answer_in_tls_is_not_taken_for_one(banner: str) -> None:
    """Whether it is mute, gone or polite; and it has no more time than is given."""
    async with SmtpServer({"banner": banner}) as server:
        sock = await dial(server)
        assert not await answers_client_hello(sock, identity(server), seconds=0.2)
        assert sock.fileno() == -1
