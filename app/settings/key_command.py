"""Read secret keys from a command's output, for example from a KMS."""

import shlex
import subprocess
from functools import lru_cache
from typing import Final

from app.domain.errors import SettingsError
from app.domain.secret_keys import parse_key
from app.settings.checks import split_list

COMMAND_SECONDS: Final = 30
VARIABLE: Final = "HELOISE_SECRET_KEYS_COMMAND"


@lru_cache(maxsize=1)  # a process runs it once
def run_key_command(command: str) -> tuple[bytes, ...]:
    """Run a command and parse the keys that it prints, newest first.

    Keys are separated by commas, blanks or line ends. The command inherits stderr. Raises
    SettingsError, which quotes no key.
    """
    words = shlex.split(command)
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command
            words,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except OSError as error:
        raise SettingsError(
            f"{VARIABLE}: cannot run {words[0]}: {error.strerror}; write the"
            " path of an executable file"
        ) from None
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"{VARIABLE}: {words[0]} took longer than {COMMAND_SECONDS} seconds; run it by hand to"
            " see why"
        ) from None
    if done.returncode != 0:
        raise SettingsError(
            f"{VARIABLE}: {words[0]} exited with {done.returncode}; run it by hand to see why"
        )
    try:
        keys = tuple(map(parse_key, split_list(done.stdout.decode("ascii"))))
    except ValueError:
        keys = ()
    if not keys:
        raise SettingsError(
            f"{VARIABLE}: {words[0]} must print one or more keys of 32 bytes in base64 (`heloise"
            " secret-key` prints one), and nothing else"
        )
    return keys
