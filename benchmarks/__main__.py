"""`python -m benchmarks`: accept and delivery beside their floors, on the databases there are."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.accept import CONNECTIONS as CLIENTS
from benchmarks.accept import accept, accept_floor
from benchmarks.databases import fsyncs_per_second, new_database
from benchmarks.deliver import CONNECTIONS as SESSIONS
from benchmarks.deliver import deliver, deliver_floor
from benchmarks.service import Heloise
from benchmarks.sink import running_sink

POSTGRESQL_VARIABLE: Final = "HELOISE_BENCH_POSTGRESQL_URL"
WARM_UP: Final = 200
ROW: Final = "  {:<44}{:>9.0f}/s{:>22}"


def main() -> None:
    """Measure on SQLite, and on the PostgreSQL server that is named."""
    arguments = _arguments()
    print(f"{os.cpu_count()} CPUs, {arguments.messages} messages, {CLIENTS} HTTP connections")
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="heloise-bench-") as name:
        folder = Path(name)
        print(ROW.format("ceiling: fsync on this disk", fsyncs_per_second(folder), ""))
        print("SQLite")
        measure(folder, f"sqlite:///{folder}/heloise.db", arguments.messages)
        if arguments.postgresql:
            with new_database(arguments.postgresql) as url:
                print("PostgreSQL")
                measure(folder, url, arguments.messages)
        else:
            print(f"PostgreSQL: not measured, no server named by {POSTGRESQL_VARIABLE}")


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
    parser.add_argument("--folder", help="where the SQLite file goes: on the disk to measure")
    parser.add_argument(
        "--postgresql",
        metavar="URL",
        default=os.environ.get(POSTGRESQL_VARIABLE),
        help=f"a server to measure on ({POSTGRESQL_VARIABLE}); it gets a database of its own",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
