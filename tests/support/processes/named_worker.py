"""`heloise worker` on a machine whose name is given.

`python -m tests.support.processes.named_worker NAME`, for where a UTS namespace is not permitted
(`machine_named`); all else is the real command.
"""

import sys

from app import process
from app.cli import run

if __name__ == "__main__":
    NAME = sys.argv.pop()
    process.find_hostname = lambda: NAME
    sys.argv.append("worker")
    run()
