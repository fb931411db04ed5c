"""`heloise worker` that ends by SIGKILL at a named point, of which no server can know.

`python -m tests.support.processes.dying_worker POINT`. All of it is the real command; one function
is wrapped, so that the process is gone before or after its call, as if somebody had killed it
there.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any, Final, NoReturn

from app.accept.profile_notices import Notifier
from app.cli import run
from app.delivery.lane import Lane
from app.delivery.settler import Settler
from app.domain.notices import NoticeStep
from app.metrics.collection import Metrics
from app.smtp.wire import Wire
from app.store.delivery import profile_notices
from app.store.outbox import results as outcomes


def die() -> NoReturn:
    """End without a chance to tidy up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("alive after SIGKILL")


def before(owner: Any, name: str, is_it: Callable[..., bool] = lambda *_: True) -> None:
    """Die in the place of a call, the first of which something holds."""
    real = getattr(owner, name)

    @wraps(real)
    def wrapped(*args: Any, **named: Any) -> Any:
        if is_it(*args):
            die()
        return real(*args, **named)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str, is_it: Callable[..., bool]) -> None:
    """Die once an awaited call, the first of which something holds, has done all that it does."""
    real = getattr(owner, name)

    @wraps(real)
    async def wrapped(*args: Any, **named: Any) -> Any:
        result = await real(*args, **named)
        if is_it(*args, **named):
            die()
        return result

    setattr(owner, name, wrapped)


def after_claim() -> None:
    """The claim is committed, and nothing is begun."""
    before(Lane, "take")


def mid_body() -> None:
    """Some blocks of a long message have gone out, and its end has not."""
    blocks = count(1)
    before(Wire, "write_block", lambda *_: next(blocks) == 3)


def after_reply() -> None:
    """The server has said that it took the message, and no transaction knows of it."""
    before(Settler, "submit", lambda _, attempts, *__: bool(attempts.outcomes))


def during_settle() -> None:
    """The outcome is written in a transaction that does not end."""
    after(outcomes, "settle", lambda *_, settlements, **__: any(s.recipients for s in settlements))


def after_commit() -> None:
    """The outcome is committed; the worker itself has not heard of it."""
    before(Metrics, "record_group", lambda _, kind, *__: kind == "settle")


def before_notice() -> None:
    """A profile's failure is committed, and nobody is told."""
    before(Notifier, "_prepare")


def during_notice() -> None:
    """The notice is written in a transaction that does not end."""
    after(profile_notices, "finish", is_telling)


def after_notice() -> None:
    """The notice is committed; the worker itself has not heard of it."""
    before(Metrics, "record_accepted")


def is_telling(*_: object, step: NoticeStep, **__: object) -> bool:
    """Whether a tenant is told of something."""
    return step is NoticeStep.TELL_FAILURE


POINTS: Final = {
    moment.__name__: moment
    for moment in (after_claim, mid_body, after_reply, during_settle, after_commit)
}
OF_NOTICES: Final = {
    moment.__name__: moment for moment in (before_notice, during_notice, after_notice)
}

if __name__ == "__main__":
    (POINTS | OF_NOTICES)[sys.argv.pop()]()
    sys.argv.append("worker")
    run()
