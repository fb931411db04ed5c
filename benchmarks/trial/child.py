"""Run a helper process on loopback that ends with its parent."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@contextmanager
def listening(module: str, *words: str) -> Iterator[int]:
    """Run a module until the block ends; answers the port that it tells with `tell_port`."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and modules
        [sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,  # an interrupt from the keyboard is for the starter, who ends it
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise BrokenPipeError(module)
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()


def tell_port(port: int) -> None:
    """Tell the starter where this process listens; from now on it ends when the starter does."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    print(port, flush=True)


def _end_with_starter() -> None:
    sys.stdin.read()  # its end comes however the starter ends
    os._exit(0)
