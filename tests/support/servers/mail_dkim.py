"""Perl's Mail::DKIM, which shares no line with what signs here nor with dkimpy.

It knows RSA alone: of the signatures of other algorithms it says that they are invalid.
"""

import os
import shutil
import subprocess
from typing import Final

import pytest

from tests.support.servers.dns_server import DnsServer

PERL: Final = shutil.which("perl") or "perl"
SCRIPT: Final = """
use strict; use warnings; use Mail::DKIM::Verifier;
my $verifier = Mail::DKIM::Verifier->new();
binmode STDIN;
while (<STDIN>) { s/\\015?\\012$//; $verifier->PRINT("$_\\015\\012"); }
$verifier->CLOSE;
for my $each ($verifier->signatures) {
    print join(" ", $each->algorithm, $each->domain, $each->result), "\\n";
}
"""


@pytest.fixture(scope="session")
def mail_dkim() -> None:
    """Skip where Perl, or its module, is missing."""
    try:
        _run("use Mail::DKIM::Verifier;")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("Perl's Mail::DKIM is not installed")


def verify_by_perl(mime: bytes, dns: DnsServer) -> set[tuple[str, ...]]:
    """Algorithm, domain and verdict of each signature, by the records of this DNS."""
    host, port = dns.address
    result = _run(SCRIPT, mime, RES_NAMESERVERS=host, RES_OPTIONS=f"port:{port}")
    return {tuple(line.split()) for line in result.decode().splitlines()}


def _run(script: str, stdin: bytes = b"", **environment: str) -> bytes:
    return subprocess.run(  # noqa: S603 - our own words
        [PERL, "-e", script],
        input=stdin,
        check=True,
        capture_output=True,
        env=os.environ | environment,
    ).stdout
