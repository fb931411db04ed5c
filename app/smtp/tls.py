"""TLS contexts: what a profile trusts and what it shows of itself."""

import ssl
import tempfile
from pathlib import Path

from app.domain.outcome import Fault, Stage
from app.domain.types import TlsMode
from app.smtp.faults import fail
from app.smtp.identity import Identity


def tls_context(identity: Identity) -> ssl.SSLContext:
    """The client's context for an identity; costs milliseconds, so make it off the event loop.

    Certificates and names are verified but under `opportunistic` (RFC 7435): there, encryption
    without a name is still better than none. A `tls_ca` is trusted instead of the public
    authorities. Raises StageFailedError where the profile's own certificates do not load.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=identity.tls_ca)
        if identity.tls is TlsMode.OPPORTUNISTIC:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if identity.client_certificate is not None:
            _load_client_certificate(context, identity)
    except (ssl.SSLError, ValueError) as error:
        detail = "the profile's tls_ca or client certificate cannot be loaded"
        raise fail(Stage.TLS, Fault.CERTIFICATE, detail) from error
    return context


def _load_client_certificate(context: ssl.SSLContext, identity: Identity) -> None:
    # OpenSSL reads certificates for itself only from a file: one that is private and soon gone.
    with tempfile.TemporaryDirectory(prefix="heloise-") as folder:
        path = Path(folder, "client.pem")
        path.touch(mode=0o600)
        path.write_text(f"{identity.client_certificate}\n{identity.client_key or ''}\n")
        # A key behind a passphrase would have OpenSSL ask for it at the terminal.
        context.load_cert_chain(path, password="")
