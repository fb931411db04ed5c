"""`python -m benchmarks`: accept and delivery beside their floors, on SQLite and on PostgreSQL.

The databases' files go where TMPDIR says: set it to a folder on the disk to measure.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.accept import CONNECTIONS as CLIENTS
from benchmarks.accept import accept, accept_floor
from benchmarks.databases import fsyncs_per_second, new_postgresql
from benchmarks.deliver import CONNECTIONS as SESSIONS
from benchmarks.deliver import deliver, deliver_floor
from benchmarks.service import Heloise
from benchmarks.sink import running_sink

VARIABLE: Final = "HELOISE_BENCH_POSTGRESQL_URL"
WARM_UP: Final = 200
ROW: Final = "  {:<44}{:>9.0f}/s{:>22}"


def main() -> None:
    """Measure on SQLite, and on PostgreSQL where there is one."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and stop all that was started
    print(f"{os.cpu_count()} CPUs, {arguments.messages} messages, {CLIENTS} HTTP connections")
    with tempfile.TemporaryDirectory(prefix="heloise-bench-") as name:
        folder = Path(name)
        print(ROW.format("ceiling: fsync, one after another", fsyncs_per_second(folder), ""))
        print("SQLite")
        measure(folder, f"sqlite:///{folder}/heloise.db", arguments.messages)
        with new_postgresql(arguments.postgresql) as url:
            print("PostgreSQL" if url else f"PostgreSQL: none here, and {VARIABLE} names none")
            if url:
                measure(folder, url, arguments.messages)


def measure(folder: Path, database_url: str, messages: int) -> None:
    """Accept and deliver this many messages on a new database, and print how fast."""
    heloise = Heloise(folder, database_url)
    heloise.migrate()
    with running_sink() as (port, counts), heloise.serving() as url:
        tenant = heloise.tenant(url, smtp_port=port)
        accept(tenant, WARM_UP)
        accepted, plain = accept(tenant, messages), accept_floor(folder, messages)
        print(ROW.format("floor: FastAPI and pydantic, no database", plain.per_second, ""))
        latency = f"p50 {accepted.latency_ms(50):.0f} p99 {accepted.latency_ms(99):.0f} ms"
        ratio = accepted.per_second / plain.per_second
        print(ROW.format(f"POST /messages, {ratio:.2f} of it", accepted.per_second, latency))
        delivered = deliver(heloise, tenant, counts, WARM_UP + messages)
        bare = deliver_floor(port, tenant.raw_message(), WARM_UP + messages)
        print(ROW.format(f"floor: aiosmtplib, {SESSIONS} connections", bare.per_second, ""))
        ratio = delivered.per_second / bare.per_second
        print(ROW.format(f"delivered and settled, {ratio:.2f} of it", delivered.per_second, ""))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--messages", type=int, default=5000, help="how many to measure with")
    parser.add_argument(
        "--postgresql",
        metavar="URL",
        default=os.environ.get(VARIABLE),
        help=f"a server to measure on, in a new database ({VARIABLE}; else the tests' own server)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
