"""`python -m benchmarks.speed`: the speed of Heloise on this machine and database.

Uses a temporary database: a file next to that of HELOISE_DATABASE_URL, or a new database on the
PostgreSQL server. Does not touch your database. All mail goes to a discarding SMTP server on
loopback.
"""

import argparse
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from app import __version__
from app.cli.input import load_settings
from app.cli.terminal import print_fields, print_json
from app.domain.errors import SettingsError
from app.settings.model import Settings
from app.store.db.url import sqlite_path
from benchmarks.trial.database import commits_per_second, fsyncs_per_second, new_database
from benchmarks.trial.service import TrialService
from benchmarks.trial.sink import running_sink

MESSAGES: Final = 5000
LEAST_MESSAGES: Final = 200
COMMITS: Final = 200
WARM_UP: Final = 200
CONNECTIONS: Final = 32
# Of the operator's settings, those that make it faster or slower.
KEPT: Final = ("database_pool_size", "log_level", "log_format")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of it; `fsyncs_per_second` is None where the disk is another machine's."""

    version: str
    database: str
    cpus: int
    messages: int
    fsyncs_per_second: float | None
    commits_per_second: float
    accepted_per_second: float
    accept_p50_ms: float
    accept_p99_ms: float
    delivered_per_second: float


def main() -> None:
    """Measure and print; exit with 2 for an invalid setting or argument."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument(
        "--messages",
        type=int,
        default=MESSAGES,
        help="the number of messages to accept and deliver (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.messages < LEAST_MESSAGES:
        parser.error(f"--messages: use {LEAST_MESSAGES} or more")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and remove what was made
    try:
        result = _measure(load_settings(), arguments.messages)
    except SettingsError as error:
        parser.error(str(error))
    if arguments.json:
        print_json(asdict(result))
    else:
        print_fields(_format_lines(result))


def _measure(settings: Settings, messages: int) -> Measured:
    with (
        new_database(settings.database_url) as url,
        tempfile.TemporaryDirectory(prefix="heloise-bench-") as logs,
        running_sink() as (port, counts),
    ):
        path = sqlite_path(url)
        fsyncs = None if path is None else fsyncs_per_second(path.parent, count=COMMITS)
        commits = commits_per_second(url, count=COMMITS)
        variables = {name.upper(): str(getattr(settings, name)) for name in KEPT}
        service = TrialService(Path(logs), url, **variables)
        service.prepare(smtp_port=port)
        with service.serving("--no-delivery") as api:
            api.accept(WARM_UP, connections=CONNECTIONS)
            load = api.accept(messages, connections=CONNECTIONS)
            drain_seconds = service.drain(api, counts, WARM_UP + messages)
        return Measured(
            version=__version__,
            database="PostgreSQL" if path is None else "SQLite",
            cpus=os.cpu_count() or 1,
            messages=messages,
            fsyncs_per_second=fsyncs,
            commits_per_second=commits,
            accepted_per_second=load.per_second,
            accept_p50_ms=load.latency_ms(50),
            accept_p99_ms=load.latency_ms(99),
            delivered_per_second=(WARM_UP + messages) / drain_seconds,
        )


def _format_lines(result: Measured) -> list[tuple[str, object]]:
    latency = f"p50 {result.accept_p50_ms:.1f} ms, p99 {result.accept_p99_ms:.1f} ms"
    lines: list[tuple[str, object]] = [
        ("measured", f"Heloise {result.version} on {result.database}, {result.cpus} CPUs"),
        ("messages", f"{result.messages} of 2 KB, text and HTML, to one recipient"),
        ("commits", f"{result.commits_per_second:.0f}/s, one after another"),
        (
            "accepted",
            f"{result.accepted_per_second:.0f}/s over {CONNECTIONS} connections, {latency}",
        ),
        ("delivered", f"{result.delivered_per_second:.0f}/s, settled in the database"),
    ]
    if result.fsyncs_per_second is not None:
        lines.insert(2, ("fsyncs", f"{result.fsyncs_per_second:.0f}/s, one after another"))
    return lines


if __name__ == "__main__":
    main()
