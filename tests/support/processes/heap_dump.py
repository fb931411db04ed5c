"""A `heloise` command whose live objects can be looked at.

`python -m tests.support.processes.heap_dump …`. At SIGUSR1 it writes every text and byte string
that is reachable to the file `heap`, in the folder that it runs in. All of it is the real command
otherwise.
"""

import gc
import signal
from pathlib import Path
from types import FrameType

from app.cli import run

HEAP = Path("heap")


def dump(_: int, __: FrameType | None) -> None:
    """Write all strings that live; whole, or not at all."""
    gc.unfreeze()
    gc.collect()
    texts: list[bytes] = []
    for object_ in gc.get_objects():
        for item in gc.get_referents(object_):
            if isinstance(item, str):
                texts.append(item.encode(errors="replace"))
            elif isinstance(item, bytes | bytearray):
                texts.append(bytes(item))
    part = HEAP.with_suffix(".part")
    part.write_bytes(b"\n".join(texts))
    part.replace(HEAP)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, dump)
    run()
