"""`heloise worker` on a machine whose wall clock somebody sets while it runs.

`python -m tests.support.processes.stepping_worker FILE`. Once the file is there, the wall clock
that Heloise reads is off by as many seconds as it says. All else is the real command.
"""

import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, Self

from app.cli import run
from app.domain import clock

FILE: Final = Path(sys.argv.pop()) if __name__ == "__main__" else Path()


class SetTime(datetime):
    """`datetime`, as a clock that was set tells it."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        step = float(FILE.read_text()) if FILE.exists() else 0.0
        return super().now(tz) + timedelta(seconds=step)


if __name__ == "__main__":
    clock.datetime = SetTime  # type: ignore[misc]
    sys.argv.append("worker")
    run()
