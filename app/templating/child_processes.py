"""Manage rendering processes, and kill those that exceed their time."""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import app
from app.domain.errors import Unavailable
from app.templating import LENGTH_BYTES, TemplateError

log = logging.getLogger(__name__)

# Most templates take a millisecond.
JOB_SECONDS: Final = 2.0
START_SECONDS: Final = 20.0
WAIT_SECONDS: Final = 10.0
PROCESSES: Final = 4
# A tenant with slow templates occupies at most half of the processes.
MAX_PER_TENANT: Final = 2
MAX_RESULT_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered template; missing parts are None."""

    subject: str | None
    text: str | None
    html: str | None


class Renderer:
    """Runs template jobs in a pool of processes, which start at the first job."""

    def __init__(self) -> None:
        self._idle = list[Process]()
        self._slots = asyncio.Semaphore(PROCESSES)
        self._tenant_slots = dict[str, asyncio.Semaphore]()
        self._users = Counter[str]()

    async def check(
        self,
        parts: Sequence[tuple[str, str]],
        schema: Any,  # noqa: ANN401 - JSON
        *,
        tenant_id: str,
    ) -> list[str]:
        """Check parts, and return the templates that they reference. Raises TemplateError."""
        job = {"do": "check", "parts": parts, "schema": schema}
        references: list[str] = (await self._run_job(job, tenant_id))["references"]
        return references

    async def render(
        self,
        parts: Mapping[str, str],
        *,
        tenant_id: str,
        variables: Mapping[str, Any],
        partials: Mapping[str, Mapping[str, str]],
        schema: Any,  # noqa: ANN401 - JSON
        inlines_css: bool,
        max_characters: int,
    ) -> Rendered:
        """Render parts (`subject`, `text`, `html` or `mjml`) with variables.

        Raises TemplateError, or Unavailable if too many jobs wait.
        """
        job = {
            "do": "render",
            "parts": parts,
            "variables": variables,
            "partials": partials,
            "schema": schema,
            "inlines_css": inlines_css,
            "max_characters": max_characters,
        }
        result = await self._run_job(job, tenant_id)
        return Rendered(result.get("subject"), result.get("text"), result.get("html"))

    async def extract_text(self, html: str, *, tenant_id: str) -> str:
        """Convert HTML to plain text. Raises like `render`."""
        return str((await self._run_job({"do": "text", "html": html}, tenant_id))["text"])

    async def close(self) -> None:
        """End every process."""
        while self._idle:
            await _end_process(self._idle.pop())

    async def _run_job(self, job: Mapping[str, Any], tenant_id: str) -> dict[str, Any]:
        content = json.dumps(job).encode()
        async with self._wait_turn(tenant_id):
            try:
                result = await self._run_in_process(await self._take_process(), content)
            except _DiedError:  # the previous job or an operator may have killed it
                try:
                    result = await self._run_in_process(await _start_process(), content)
                except _DiedError:
                    raise TemplateError(
                        "the template uses too much memory or time; simplify it"
                    ) from None
        if (error := result.get("error")) is not None:
            raise TemplateError(error["message"], error["part"], error["line"])
        return result

    async def _run_in_process(self, process: Process, content: bytes) -> dict[str, Any]:
        """Run a job in a process; afterwards the process is idle or ended."""
        is_reusable = False
        try:
            async with asyncio.timeout(JOB_SECONDS):
                result = await _exchange(process, content)
            is_reusable = "is_last" not in result
        except TimeoutError:
            raise TemplateError(
                f"rendering takes longer than {JOB_SECONDS:g} seconds; simplify the template"
            ) from None
        except (OSError, asyncio.IncompleteReadError):
            raise _DiedError from None
        finally:
            if is_reusable:
                self._idle.append(process)
            else:
                await _end_process(process)
        return result

    @asynccontextmanager
    async def _wait_turn(self, tenant_id: str) -> AsyncIterator[None]:
        """Wait for a slot. A tenant has at most `MAX_PER_TENANT` slots."""
        tenant_slots = self._tenant_slots.setdefault(tenant_id, asyncio.Semaphore(MAX_PER_TENANT))
        self._users[tenant_id] += 1
        try:
            async with _acquire(tenant_slots), _acquire(self._slots):
                yield
        finally:
            self._users[tenant_id] -= 1
            if not self._users[tenant_id]:
                del self._users[tenant_id], self._tenant_slots[tenant_id]

    async def _take_process(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        return await _start_process()


class _DiedError(Exception):
    """The process ended in the middle of a job."""


async def _start_process() -> Process:
    """Start a process that is ready for jobs. Raises Unavailable if it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-c", _START, str(Path(app.__file__).parents[1])),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={},
        limit=MAX_RESULT_BYTES,
    )
    is_ready = False
    try:
        async with asyncio.timeout(START_SECONDS):
            await _read_result(process)
        is_ready = True
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        log.exception("the rendering process does not start")
        raise Unavailable("overloaded", "Template rendering is not available; try again.") from None
    finally:
        if not is_ready:
            await _end_process(process)
    return process


# Isolated and without an environment, so that it knows no secrets.
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); import app.templating.child as c; c.main()"
)


@asynccontextmanager
async def _acquire(slots: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await slots.acquire()
    except TimeoutError:
        raise Unavailable(
            "overloaded",
            "The service is rendering too many templates. Nothing was written; send the request"
            " again.",
        ) from None
    try:
        yield
    finally:
        slots.release()


async def _exchange(process: Process, content: bytes) -> dict[str, Any]:
    assert process.stdin is not None  # noqa: S101 - as it was started
    process.stdin.write(len(content).to_bytes(LENGTH_BYTES) + content)
    await process.stdin.drain()
    return await _read_result(process)


async def _read_result(process: Process) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - as it was started
    prefix = await process.stdout.readexactly(LENGTH_BYTES)
    result: dict[str, Any] = json.loads(await process.stdout.readexactly(int.from_bytes(prefix)))
    return result


async def _end_process(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
