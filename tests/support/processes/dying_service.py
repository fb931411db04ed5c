"""`heloise` that ends by SIGKILL in the middle of what it does.

`python -m tests.support.processes.dying_service POINT WORD…`. All of it is the real command; one
function is wrapped, so that the process is gone before one of its calls, as if somebody had killed
it there.
"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, Final

from app.accept.group import Group
from app.api.messages import bulk_routes as message_actions
from app.cli import run
from app.metrics.collection import Metrics
from app.store import retention as purging
from app.store.messages import erasure
from app.store.messages import status_changes as decisions
from app.submission.account import Account
from tests.support.processes.dying_worker import after, before


def at_call(number: int, owner: Any, name: str) -> None:
    """Die in the place of this call of the function."""
    calls = count(1)
    before(owner, name, lambda *_: next(calls) == number)


def before_transaction() -> None:
    """A second message has come in whole over SMTP, and nothing of it is written."""
    at_call(2, Account, "submit")


def before_commit() -> None:
    """A second message is written, in a transaction that does not end."""
    writes = count(1)
    after(Group, "write", lambda *_: next(writes) == 2)


def before_reply() -> None:
    """A second message is committed; its client has not heard of it."""
    commits = count(1)
    before(Metrics, "record_group", lambda _, kind, *__: kind == "accept" and next(commits) == 2)


POINTS: Final[dict[str, Callable[[], None]]] = {
    "cancel": partial(at_call, 3, decisions, "cancel"),
    "retry": partial(at_call, 3, message_actions, "commit_message"),
    "erase": partial(at_call, 2, erasure, "erase"),
    "purge": partial(at_call, 2, purging, "purge"),
    "before_transaction": before_transaction,
    "before_commit": before_commit,
    "before_reply": before_reply,
}

if __name__ == "__main__":
    POINTS[sys.argv.pop(1)]()
    run()
