"""An app of the benchmark's own behind uvicorn, run as Heloise runs it."""

from contextlib import ExitStack

from benchmarks.setting import Setting
from benchmarks.trial.processes import clean_environment, held_port, process, wait_until_answers


def serve_app(setting: Setting, stack: ExitStack, factory: str, **environment: str) -> str:
    """Serve the app that `module:function` makes, until the stack is closed; answers its URL."""
    port = stack.enter_context(held_port())
    words = ("uvicorn", factory, "--factory", "--port", str(port), "--no-access-log")
    options = ("--loop", "uvloop", "--http", "httptools")
    started = process(
        *words, *options, folder=setting.folder, environment=clean_environment(**environment)
    )
    url = f"http://127.0.0.1:{port}"
    wait_until_answers(f"{url}/healthz", stack.enter_context(started))
    return url
