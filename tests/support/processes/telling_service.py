"""`heloise` that tells what it holds, as often as SIGUSR1 asks it.

`python -m tests.support.processes.telling_service FILE WORD…`. All of it is the real command;
FILE gets a line of JSON for each time: its tasks, its open files, and its resident memory in bytes.
"""

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

from app.cli import run


def count_held() -> dict[str, int]:
    """What this process has just now, garbage not counted."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "tasks": len(asyncio.all_tasks()),
        "files": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "resident_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


if __name__ == "__main__":
    report_file = Path(sys.argv.pop(1)).open("w", buffering=1)  # noqa: SIM115 - open as long as the process
    signal.signal(signal.SIGUSR1, lambda *_: print(json.dumps(count_held()), file=report_file))
    run()
