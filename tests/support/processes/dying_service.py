"""`heloise` that ends by SIGKILL in the middle of what it does to many.

`python -m tests.support.processes.dying_service POINT WORD…`. All of it is the real command; one
function is wrapped, so that the process is gone before one of its calls, as if somebody had killed
it there.
"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, Final

from app.api.messages import bulk_routes as message_actions
from app.cli import run
from app.store import retention as purging
from app.store.messages import erasure
from app.store.messages import status_changes as decisions
from tests.support.processes.dying_worker import before


def at_call(number: int, owner: Any, name: str) -> None:
    """Die in the place of this call of the function."""
    calls = count(1)
    before(owner, name, lambda *_: next(calls) == number)


POINTS: Final[dict[str, Callable[[], None]]] = {
    "cancel": partial(at_call, 3, decisions, "cancel"),
    "retry": partial(at_call, 3, message_actions, "commit_message"),
    "erase": partial(at_call, 2, erasure, "erase"),
    "purge": partial(at_call, 2, purging, "purge"),
}

if __name__ == "__main__":
    POINTS[sys.argv.pop(1)]()
    run()
