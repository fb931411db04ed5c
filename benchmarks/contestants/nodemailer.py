"""Nodemailer's pool, where there is Node: installed below `build/` by npm."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.rounds import Absent, Contestant, Reading
from benchmarks.setting import Setting
from benchmarks.trial.message import RECIPIENT, SENDER

NAME: Final = "Nodemailer, pooled"
CONNECTIONS: Final = 10
FOLDER: Final = Path(__file__).parents[2] / "build" / "bench-node"
SCRIPT: Final = Path(__file__).with_name("nodemailer.mjs")
WITHIN_SECONDS: Final = 180


def _missing() -> str | None:
    """Why it cannot be run here, or None; installs it the first time."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if (FOLDER / "node_modules" / "nodemailer").is_dir():
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), "nodemailer"]
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=WITHIN_SECONDS)  # noqa: S603 - our own words
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return "npm cannot install nodemailer"
    return None


def enter_nodemailer(
    setting: Setting, *, port: int, messages: int, content: bytes, **details: float
) -> Contestant | Absent:
    """Nodemailer, sending to a server on this port."""
    if reason := _missing():
        return Absent(NAME, reason)
    path = setting.folder / "nodemailer.eml"
    path.write_bytes(content)
    numbers = (str(port), str(messages), str(CONNECTIONS))
    words = ["node", str(SCRIPT), str(FOLDER), *numbers, SENDER, RECIPIENT, str(path)]

    def run() -> Reading:
        result = subprocess.run(  # noqa: S603 - our own words
            words, capture_output=True, text=True, check=True, timeout=WITHIN_SECONDS
        )
        return Reading(messages / float(result.stdout), details)

    return Contestant(NAME, run)
