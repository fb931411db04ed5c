"""A process that accepts messages over SMTP and delivers none: on each database what serves it."""

from pathlib import Path
from typing import Any

from tests.support.harness import Process
from tests.support.processes import dying_service
from tests.support.processes.ports import unused_port
from tests.support.submission import HOST, connecting
from tests.support.waiting import until


class Submitting:
    """`heloise submission`, or on SQLite `heloise serve` with it; without TLS unless it is given.

    `point` is one of `dying_service`, where the process ends by SIGKILL.
    """

    def __init__(
        self,
        launch: Any,
        backend: str,
        *,
        tls: Path | None = None,
        point: str | None = None,
        **fields: Any,
    ) -> None:
        self.port, self.tls_port = unused_port(), unused_port()
        words = ("submission",) if backend == "postgresql" else ("serve", "--no-delivery")
        named: dict[str, Any] = {"submission_tls_certificate": tls}
        if tls is None:
            named = {"submission_allow_plaintext_auth": True}
        if point is not None:
            words = (point, *words)
            named["module"] = dying_service.__name__
        self.process: Process = launch(
            *words,
            port=unused_port(),
            submission=True,
            submission_host=HOST,
            submission_ports=str(self.port),
            submission_tls_ports=str(self.tls_port),
            **named,
            **fields,
        )

    async def wait_ready(self) -> None:
        """Return once it greets clients."""

        async def fact() -> bool | None:
            assert self.process.process.poll() is None, self.process.log.read_text()
            try:
                async with connecting(self.port, ehlo=False):
                    return True
            except OSError:
                return None

        await until(fact)
