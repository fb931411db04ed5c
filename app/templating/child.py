"""`python -m app.templating.child`: run rendering jobs from stdin until it ends.

Jobs and results are four bytes of length, then JSON. The process has no environment, cannot open
files, and has limited memory and time, so a malicious template cannot do harm outside it.
"""

import codecs
import encodings
import json
import pkgutil
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from app.templating import LENGTH_BYTES
from app.templating.rendering import run_job

MEMORY_BYTES: Final = 384 * 1024 * 1024
# The parent kills slow jobs; this limit is for a process that has lost its parent.
CPU_SECONDS: Final = 10
OUT_OF_MEMORY: Final = {
    "error": {
        "part": "template",
        "line": None,
        "message": "the template uses too much memory; simplify it",
    },
    "is_last": True,
}


READY: Final = {"ready": True}
# Filters and errors import modules at their first use, but later no file can be opened.
WARM_UP: Final = {
    "do": "render",
    "parts": {
        "text": "{{ 'a http://b'|title|urlize|striptags|wordwrap(5)|pprint|urlencode }}"
        "{{ {'a': 1}|tojson }}",
        "mjml": "<mjml><mj-body></mj-body></mjml>",
        "html": "<p>{{ missing }}</p>",
    },
    "variables": {},
    "partials": {},
    "schema": {},
    "inlines_css": True,
    "max_characters": 1000,
}


def main() -> None:
    """Run jobs until stdin ends."""
    run_job(WARM_UP)
    _load_codecs()
    _limit_resources()
    jobs, results = sys.stdin.buffer, sys.stdout.buffer
    _write(results, READY)
    while prefix := jobs.read(LENGTH_BYTES):
        job = json.loads(jobs.read(int.from_bytes(prefix)))
        _limit_cpu()
        try:
            result = run_job(job)
        except MemoryError:
            _write(results, OUT_OF_MEMORY)
            return  # the process ends, which frees its memory
        _write(results, result)


def _load_codecs() -> None:
    """Import every codec: a template can name any of them in `encode`."""
    for module in pkgutil.iter_modules(encodings.__path__):
        with suppress(LookupError):  # some exist only on Windows
            codecs.lookup(module.name)


def _write(results: BinaryIO, result: object) -> None:
    content = json.dumps(result).encode()
    results.write(len(content).to_bytes(LENGTH_BYTES) + content)
    results.flush()


def _limit_resources() -> None:
    """Limit memory, files and core dumps to what templates need."""
    used_bytes = _read_used_bytes()
    if used_bytes is not None:
        resource.setrlimit(
            resource.RLIMIT_AS, (used_bytes + MEMORY_BYTES, used_bytes + MEMORY_BYTES)
        )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _read_used_bytes() -> int | None:
    """Read the size of the address space; None if the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return pages * resource.getpagesize()


def _limit_cpu() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_seconds = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used_seconds + CPU_SECONDS, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
