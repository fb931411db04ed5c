"""What verify is tried on: a DNS with our names in it, one authority, servers on loopback."""

import ssl
from dataclasses import replace
from typing import Any, Final

import trustme

from app.diagnostics.ehlo_trials import Check
from app.diagnostics.verify import Subject, Token, get_no_token
from app.domain.ehlo import EhloNames
from app.domain.types import Timeouts, TlsMode
from app.smtp.dns import Resolver
from app.smtp.resolve import Network
from tests.support.servers.dns_server import DnsServer
from tests.support.servers.smtp_server import SmtpServer
from tests.support.smtp_identities import ANN, ANYWHERE, SENDER, identity

HOST: Final = "smtp.example.org"
OUR_NAME: Final = "mail.example.com"
PTR_NAME: Final = "out.example.com"
USER: Final = "billing@example.com"
PASSWORD: Final = "hunter2-but-longer"
CHECK: Final = Check(SENDER, ANN)
PATIENT: Final = Timeouts(connect=60, command=60, data=60)
# For what will not come: long enough for what does come on a busy machine.
SHORT_OF_PATIENCE: Final = Timeouts(connect=3, command=3, data=60)
IN_CLEAR: Final = {"tls": TlsMode.NONE, "allow_plaintext_auth": True}


class SmallInternet:
    """`network` is how the service sees it; a test may put another in its place."""

    def __init__(self, dns: DnsServer, ca: trustme.CA) -> None:
        self.dns, self.ca = dns, ca
        self.ca_pem = ca.cert_pem.bytes().decode()
        for name in (HOST, OUR_NAME, PTR_NAME):
            dns.add(name, "A", "127.0.0.1")
        dns.point("127.0.0.1", PTR_NAME)
        self.network: Network = replace(ANYWHERE, resolver=Resolver([dns.address]))

    def server_tls(self, *names: str, **fields: Any) -> ssl.SSLContext:
        """A server's context, with a certificate for these names, or for the host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or (HOST,)), **fields).configure_cert(context)
        return context

    def subject(
        self,
        server: SmtpServer,
        *,
        check: Check | None = None,
        token: Token = get_no_token,
        **fields: Any,
    ) -> Subject:
        """A profile that suits the host, but for the fields given."""
        usual = {
            "host": HOST,
            "tls": TlsMode.NONE,
            "ehlo_names": EhloNames(OUR_NAME),
            "tls_ca": self.ca_pem,
            "timeouts": PATIENT,
        }
        return Subject(identity=identity(server, **(usual | fields)), check=check, token=token)
