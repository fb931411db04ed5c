"""`python -m tests.security.mail_costs`: what reading hostile mail of doubling size costs.

It prints JSON: for each shape of mail the processor time in seconds and the peak of allocated bytes
at each size. The process has so much memory and time that a costly reader ends with it.
"""

import json
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from logging import makeLogRecord
from time import process_time
from typing import Any, Final

from app import logs
from app.domain.inbound import bounce_parser
from app.domain.mime import raw as raw_message
from app.domain.mime.dkim import (
    DkimAlgorithm,
    DkimKey,
    DkimSigner,
    Signing,
    find_record_problem,
    generate_key,
    load_key,
)

MEMORY_BYTES: Final = 1_000_000_000
CPU_SECONDS: Final = 60
SIZES: Final = (10_000, 20_000, 40_000, 80_000)
REPEATS: Final = 2

FORMATTER: Final = logs.formatter("json")
FROM: Final = b"From: a@example.com\r\n"
PARTS: Final = b"Content-Type: multipart/mixed; boundary=b\r\n"


def repeat(unit: bytes, size: int, before: bytes = b"", after: bytes = b"\r\n\r\nx\r\n") -> bytes:
    """Some bytes again and again, up to a size, within a mail."""
    return before + unit * (size // len(unit)) + after


def repeat_in_lines(
    unit: bytes, size: int, before: bytes, after: bytes = b"\r\n\r\nx\r\n"
) -> bytes:
    """The same in lines of a few hundred bytes."""
    line = unit * (400 // len(unit))
    return before + b"\r\n ".join([line] * (size // len(line))) + after


def repeat_numbered(
    unit: str, size: int, before: bytes = b"", after: bytes = b"\r\n\r\nx\r\n"
) -> bytes:
    """The same with the number of each in it."""
    count = size // len(unit)
    return before + "".join(unit.format(n) for n in range(count)).encode() + after


def nest_parts(size: int) -> bytes:
    """Parts within parts."""
    unit = "Content-Type: multipart/mixed; boundary=b{0}\r\n\r\n--b{0}\r\n"
    return repeat_numbered(unit, size, FROM)


def fail_recipients(size: int) -> bytes:
    """As many recipients that failed, as the header and as the text says."""
    count = size // 20
    named = b",\r\n ".join(b"a%d@b.example" % n for n in range(min(count, 2000)))
    text = b"".join(b"  a%d@b.example\r\n    no\r\n" % n for n in range(count))
    return FROM + b"X-Failed-Recipients: " + named + b"\r\n\r\n" + text


QMAIL: Final = FROM + b"Subject: failure notice\r\n\r\nHi. This is the qmail-send program.\r\n\r\n"
REPORT: Final = FROM + b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
STATUS: Final = REPORT + b"Content-Type: message/delivery-status\r\n\r\n"
RETURNED: Final = STATUS + b"Status: 5.1.1\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"

# Header fields up to the bounds and beyond; then bodies, which are read at any size.
SHAPES: Final[dict[str, Callable[[int], bytes]]] = {
    "encoded words": partial(repeat_in_lines, b"=?utf-8?q?a?= ", before=FROM + b"Subject: "),
    "empty encoded words": partial(repeat_in_lines, b"=?u?q??=", before=FROM + b"Subject: "),
    "starts of encoded words": partial(repeat_in_lines, b"=?u?b?", before=FROM + b"Subject: "),
    "folds": partial(repeat, b"\r\n a", before=FROM + b"Subject:"),
    "fields": partial(repeat, b"X: y\r\n", before=FROM, after=b"\r\nx\r\n"),
    "quotes": partial(repeat_in_lines, b'"', before=b"From: "),
    "comments": partial(repeat_in_lines, b"(", before=b"From: a@example.com "),
    "angles": partial(repeat_in_lines, b"<a@example.com> ", before=b"From: "),
    "at signs": partial(repeat_in_lines, b"a@", before=b"From: "),
    "words": partial(
        repeat_in_lines, b"a ", before=b"From: ", after=b"<a@example.com>\r\n\r\nx\r\n"
    ),
    "escapes": partial(repeat_in_lines, b'"\\\\" ', before=b"From: ", after=b"\r\n\r\nx\r\n"),
    "references": partial(
        repeat_in_lines, b"<a@b> <", before=FROM + b"Subject: unsubscribe\r\nReferences: "
    ),
    "parameters": partial(repeat_numbered, ";\r\n a*{}=b", before=FROM + PARTS.strip()),
    "quoted parameters": partial(repeat_in_lines, b';a="', before=FROM + PARTS.strip()),
    "signing domains": partial(
        repeat_in_lines, b"; d=example.com", before=FROM + b"DKIM-Signature: v=1"
    ),
    "delivered to": partial(
        repeat_in_lines, b'"a@b" (c@d) e@f, ', before=FROM + b"Subject: unsubscribe\r\nTo: "
    ),
    "empty lines": partial(repeat, b"\r\n", before=FROM),
    "lines of blanks": partial(repeat, b" " * 990 + b"x\r\n", before=FROM + b"\r\n"),
    "parts": partial(repeat, b"--b\r\n\r\n", before=FROM + PARTS + b"\r\n"),
    "parts that are none": partial(repeat, b"--bb\r\n", before=FROM + PARTS + b"\r\n"),
    "boundaries in a line": partial(repeat, b"--b", before=FROM + PARTS + b"\r\n"),
    "nested parts": nest_parts,
    "groups of status fields": partial(repeat, b"Status: 5.1.1\r\n\r\n", before=STATUS),
    "empty lines of a status": partial(repeat, b"\r\n", before=STATUS),
    "words of a status": partial(repeat, b".\n\n", before=STATUS),
    "returned header": partial(repeat, b"message-id:\n", before=RETURNED),
    "angles of a returned header": partial(repeat, b"message-id: <", before=RETURNED),
    "qmail, a line of at signs": partial(repeat, b"@", before=QMAIL + b"<"),
    "qmail, recipients": partial(repeat_numbered, "<a{}@b.example>:\r\nno\r\n\r\n", before=QMAIL),
    "exim, recipients": fail_recipients,
    "unsubscribe": partial(repeat, b": ", before=FROM + b"Subject: unsubscribe"),
}
# What stands in the DNS is somebody else's as well.
RECORDS: Final[dict[str, Callable[[int], bytes]]] = {
    "blanks": partial(repeat, b" ", before=b"v=DKIM1; p=x", after=b"x"),
    "blanks before a tag": partial(repeat, b" ", after=b"p"),
    "tags": partial(repeat, b"a=b;", after=b""),
}
# As the path of a request, which is logged whoever sends it.
PATHS: Final[dict[str, Callable[[int], bytes]]] = {
    "a long word": partial(repeat, b"a", after=b" a@b"),
    "at signs": partial(repeat, b"a@", after=b""),
    "escaped at signs": partial(repeat, b"%40", after=b""),
    "blanks": partial(repeat, b" ", after=b"[SQL"),
    "origins": partial(repeat, b"://:", after=b""),
    "secrets": partial(repeat, b"Bearer hel_", after=b""),
    "URLs": partial(repeat, b"https://a/", after=b""),
}


def log_request(path: bytes) -> str:
    """The line of a request for this path."""
    record = makeLogRecord({"msg": "request", "path": path.decode()})
    return FORMATTER.format(record)


def sign_mail(content: bytes, signing: Signing) -> None:
    """Read a message, and sign it, as accept does."""
    raw = raw_message.parse_raw(content)
    signing.sign(raw.mime, raw.sender.domain, datetime.now(UTC))


def costs(read: Callable[[bytes], object], make: Callable[[int], bytes]) -> Iterator[Any]:
    """Processor time and peak at each size; what is refused costs as well."""
    for size in SIZES:
        content = make(size)
        times = []
        for _ in range(REPEATS):
            start = process_time()
            with suppress(ValueError):
                read(content)
            times.append(process_time() - start)
        tracemalloc.start()
        with suppress(ValueError):
            read(content)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        yield min(times), peak


def main() -> None:
    """Measure each shape in each way."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    secret, public = generate_key(DkimAlgorithm.ED25519_SHA256)
    signer = DkimSigner("example.com", "s", DkimAlgorithm.ED25519_SHA256, load_key(secret))
    signing = Signing({"example.com": (signer,)})
    ways = {"raw": partial(sign_mail, signing=signing), "inbound": bounce_parser.parse_report}
    for shape, make in SHAPES.items():
        for way, read in ways.items():
            tell(way, shape, costs(read, make))
    key = DkimKey(
        id="dkm_1",
        selector="s",
        algorithm=DkimAlgorithm.ED25519_SHA256,
        public_key=public,
        created_at=datetime.now(UTC),
    )
    for shape, make in PATHS.items():
        tell("log", shape, costs(log_request, make))
    for shape, make in RECORDS.items():
        tell("record", shape, costs(lambda text: find_record_problem(key, [text.decode()]), make))


def tell(way: str, shape: str, measurement: Iterator[Any]) -> None:
    """Print what a shape costs."""
    print(json.dumps([way, shape, list(measurement)]), flush=True)  # noqa: T201 - its result


if __name__ == "__main__":
    main()
