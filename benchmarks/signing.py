"""`python -m benchmarks.signing`: what a DKIM signature costs, beside dkimpy's of the same.

A message of 2 KB text and HTML is signed with an RSA key of 2048 bits, and with an Ed25519 key.
Both contestants take turns, round by round; of each the median counts.
"""

import base64
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from statistics import median
from timeit import Timer
from typing import Final

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.domain.mime.build import Content, render
from app.domain.mime.dkim import (
    DkimAlgorithm,
    DkimSigner,
    PrivateKey,
    Signing,
    generate_key,
    load_key,
)
from app.domain.types import NamedAddress

ROUNDS: Final = 15
TIMES: Final = 5
NOW: Final = datetime.now(UTC)
MIME: Final = render(
    Content(
        sender=NamedAddress("billing@example.com"),
        to=(NamedAddress("ann@example.org"),),
        subject="Your receipt",
        text="Thanks for your order.\n" * 40,
        html="<p>Thanks for your order.</p>\n" * 40,
        message_id="<1@example.com>",
        date=NOW,
    )
)


def by_dkimpy(algorithm: DkimAlgorithm, key: PrivateKey) -> Callable[[], object]:
    """Its signature, with the key in the form that it takes."""
    if algorithm is DkimAlgorithm.RSA_SHA256:
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        secret = base64.b64encode(raw)
    return partial(
        dkim.sign,
        MIME,
        b"s",
        b"example.com",
        secret,
        canonicalize=(b"relaxed", b"relaxed"),
        signature_algorithm=algorithm.value.encode(),
    )


def main() -> None:
    """Print a table."""
    for algorithm in DkimAlgorithm:
        key = load_key(generate_key(algorithm)[0])
        signer = DkimSigner("example.com", "s", algorithm, key)
        ours = partial(Signing({"example.com": (signer,)}).sign, MIME, "example.com", NOW)
        timers = {"Heloise": Timer(ours), "dkimpy": Timer(by_dkimpy(algorithm, key))}
        rounds: dict[str, list[float]] = {name: [] for name in timers}
        for _ in range(ROUNDS):
            for name, timer in timers.items():
                rounds[name].append(timer.timeit(TIMES) / TIMES)
        ms = {name: median(values) * 1e3 for name, values in rounds.items()}
        sys.stdout.write(
            f"{algorithm:15} Heloise {ms['Heloise']:7.3f} ms, dkimpy {ms['dkimpy']:7.3f} ms:"
            f" {ms['dkimpy'] / ms['Heloise']:.1f} times\n"
        )


if __name__ == "__main__":
    main()
