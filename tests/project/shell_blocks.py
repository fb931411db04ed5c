"""The fenced blocks of a page, and a shell that runs them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.terminal import Terminal


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the heading above it."""

    language: str
    text: str
    heading: str

    def commands(self) -> list[str]:
        """Its lines, those that go on joined."""
        return self.text.replace("\\\n", " ").strip().splitlines()


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for section in re.split(r"^#{2,3} ", page, flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            yield Block(match[1], match[2], heading)


def shell(text: str, terminal: Terminal, **variables: str) -> str:
    """What a block prints; each of its commands has to succeed."""
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if terminal.forker is not None:
        binaries = f"{terminal.forker.commands}:{binaries}"
    result = subprocess.run(  # noqa: S603 - the project's own commands
        ["bash", "-euo", "pipefail", "-c", text],  # noqa: S607 - as above
        cwd=terminal.folder,
        env=terminal.environment | {"PATH": binaries} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, (text, result.stdout, result.stderr)
    return result.stdout
