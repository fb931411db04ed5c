"""Processes of the project's own commands, forked from one that has imported all they need.

To start Python and import Heloise takes seconds of a processor, and dozens of tests kill, stop and
replace processes. Here one process imports, and every other is forked from it: a process of its
own like any other, with its own environment, folder and files, a tenth as dear. Some tests of
`tests/cli` and those of the client start a command as a user does.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from tests.support.machine import name_machine

ROOT: Final = Path(__file__).parents[3]
# What a command imports when it runs. None of it may make an id or start a thread as it is
# imported: what is random would be the same in each process, and a thread would be in none.
IMPORTED: Final = (
    "app.main",
    "app.cli.dev",
    "app.submission_server",
    "app.worker",
    "app.cli.serve",
    "app.cli.processes",
    "asyncpg",
    "uvloop",
    "httptools",
)
FINISHED_SECONDS: Final = 60
FILES: Final = 3  # stdin, stdout and stderr
# What a shell finds in the place of `heloise`: it hands on its files, and ends as the command does.
COMMAND: Final = """\
#!{python} -SE
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = {{"module": "app.cli", "words": sys.argv[1:], "env": dict(os.environ)}}
request |= {{"cwd": os.getcwd(), "machine": None}}
socket.send_fds(connection, [b"\\n"], [0, 1, 2])
connection.sendall(json.dumps(request).encode() + b"\\n")
_, code = connection.makefile()
sys.exit(int(code) % 256)
"""


class Forked:
    """A process, in the terms of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._told = connection.makefile("r")
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        self._look(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; raises subprocess.TimeoutExpired."""
        self._look(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(["heloise"], timeout or 0)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(self._told.readline())
                    self._told.close()
                    self._connection.close()


class Piped(Forked):
    """The same with pipes to and from it."""

    def __init__(
        self, connection: socket.socket, stdin: TextIO, stdout: TextIO, stderr: TextIO
    ) -> None:
        super().__init__(connection)
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr

    def communicate(self, text: str = "") -> tuple[str, str]:
        """Write the text, and return what it still writes to stdout and stderr until it ends."""
        errors: list[str] = []
        reading = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reading.start()
        with suppress(BrokenPipeError), self.stdin:
            self.stdin.write(text)
        with self.stdout, self.stderr:
            printed = self.stdout.read()
            reading.join()
        self.wait()
        return printed, errors[0]


class Forker:
    """Starts processes, at the socket of the one that they are forked from.

    `commands` is a folder for the PATH of a shell, with a `heloise` that is forked too.
    """

    def __init__(self, address: str, commands: Path) -> None:
        self._address = address
        self.commands = commands

    def start(
        self,
        module: str,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        machine: str | None = None,
    ) -> Forked:
        """`python -m MODULE WORDS`, its output to `log`, on a machine of a name if one is given."""
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            files = (nothing.fileno(), output.fileno(), output.fileno())
            return Forked(self._request(files, module, words, env, cwd, machine=machine))

    def start_piped(
        self, module: str, words: Sequence[str], *, env: Mapping[str, str], cwd: Path
    ) -> Piped:
        """The same with pipes, as `subprocess.Popen` makes them for text."""
        (stdin, write), (read_out, stdout), (read_err, stderr) = (os.pipe() for _ in range(FILES))
        theirs = (stdin, stdout, stderr)
        try:
            connection = self._request(theirs, module, words, env, cwd)
        finally:
            for file in theirs:
                os.close(file)
        ours = os.fdopen(write, "w"), os.fdopen(read_out), os.fdopen(read_err)
        return Piped(connection, *ours)

    def _request(
        self,
        files: Sequence[int],
        module: str,
        words: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        *,
        machine: str | None = None,
    ) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        request = {"module": module, "words": words, "env": dict(env), "cwd": str(cwd)}
        request |= {"machine": machine}
        socket.send_fds(connection, [b"\n"], list(files))
        connection.sendall(json.dumps(request).encode() + b"\n")
        return connection


@contextmanager
def forker(imported: Sequence[str] = IMPORTED) -> Iterator[Forker]:
    """What starts processes while the block runs; those that still run then are killed with it.

    All of them have imported these modules.
    """
    with tempfile.TemporaryDirectory(prefix="heloise-forker-") as folder:
        address, commands = f"{folder}/socket", Path(folder, "bin")
        commands.mkdir()
        command = commands / "heloise"
        command.write_text(COMMAND.format(python=sys.executable, address=address))
        command.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)
            listening.listen(64)
            module, number = "tests.support.processes.forked", str(listening.fileno())
            origin = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", module, number, *imported],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[listening.fileno()],
            )
        try:
            yield Forker(address, commands)
        finally:
            origin.communicate(timeout=FINISHED_SECONDS)


def _fork_until_told() -> dict[str, Any] | None:
    """Fork a process for each connection; return in that process what it has to run.

    Return None in this process, once its input has ended.
    """
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        while True:
            if sys.stdin in select.select([listening, sys.stdin], [], [])[0]:
                return None
            _forget_ended()
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    return _fork_watched(connection)


def _forget_ended() -> None:
    """Leave no zombies of those whose process has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _fork_watched(connection: socket.socket) -> dict[str, Any]:
    """Fork the process, of which this one tells the id and the exit code; answers in it."""
    _, files, _, _ = socket.recv_fds(connection, 1, FILES)
    request: dict[str, Any] = json.loads(connection.makefile().readline())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    _end_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it ends with the one it watches
    if (pid := os.fork()) != 0:
        _watch(connection, pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    _end_with_parent()
    return request


def _watch(connection: socket.socket, pid: int) -> NoReturn:
    try:
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    finally:
        os._exit(0)


def _end_with_parent() -> None:
    """Be killed when the process that forked this one ends, so that none outlives the tests."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _become(request: dict[str, Any]) -> None:
    """Go on as the process that is wanted, and end as it does."""
    os.environ.clear()
    os.environ.update(request["env"])
    _heed_warnings(os.environ.get("PYTHONWARNINGS", ""))
    os.chdir(request["cwd"])
    sys.argv = [request["module"], *request["words"]]
    sys.path[0] = request["cwd"]
    with (
        nullcontext(enter_result=True)
        if request["machine"] is None
        else name_machine(request["machine"]) as is_
    ):
        assert is_, "a machine's name cannot be set here"
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _heed_warnings(options: str) -> None:
    """Have the filters that an interpreter of this environment has after the same imports."""
    imported = warnings.filters[: len(warnings.filters) - len(FILTERS)]
    warnings.filters[:] = FILTERS
    warnings._processoptions(filter(None, options.split(",")))  # type: ignore[attr-defined] # noqa: SLF001 - as the interpreter does
    warnings.filters[:0] = imported


if __name__ == "__main__":
    FILTERS = list(warnings.filters)
    for name in sys.argv[2:]:
        import_module(name)
    gc.collect()
    gc.freeze()  # else a collection would copy all of it into each process
    if (process := _fork_until_told()) is not None:
        _become(process)
