"""Guess media types by file name, and mark those that run when opened.

The table is `media_types.txt`, the same wherever Heloise runs: Python's differs from version to
version, and is added to by files of the machine.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

DEFAULT_TYPE: Final = "application/octet-stream"

# What runs, or is shown as a page with scripts.
ACTIVE_TYPES: Final = frozenset(
    {
        "application/ecmascript",
        "application/hta",
        "application/java-archive",
        "application/javascript",
        "application/vnd.android.package-archive",
        "application/vnd.microsoft.portable-executable",
        "application/x-bat",
        "application/x-dosexec",
        "application/x-executable",
        "application/x-java-archive",
        "application/x-java-jnlp-file",
        "application/x-javascript",
        "application/x-ms-dos-executable",
        "application/x-msdos-program",
        "application/x-msdownload",
        "application/x-msi",
        "application/x-powershell",
        "application/x-sh",
        "application/x-shellscript",
        "application/x-shockwave-flash",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/ecmascript",
        "text/html",
        "text/javascript",
        "text/jscript",
        "text/vbscript",
        "text/x-shellscript",
    }
)
ACTIVE_EXTENSIONS: Final = frozenset(
    {
        *("apk", "bat", "cmd", "com", "cpl", "dll", "exe", "hta", "htm", "html", "jar", "jnlp"),
        *("js", "jse", "lnk", "mjs", "msi", "pif", "ps1", "scr", "sh", "shtml", "svg", "svgz"),
        *("swf", "vbe", "vbs", "wsf", "wsh", "xht", "xhtml"),
    }
)
# What a program shows by itself: nobody expects it to do anything.
INLINE_TYPES: Final = ("image/", "audio/", "video/", "application/pdf")


def guess_type(filename: str) -> str | None:
    """The type that the last extension of a name stands for; None where it is not known."""
    return _load_types().get(_get_extension(filename))


def find_disguise(filename: str, content_type: str) -> str | None:
    """What is dangerous about a type under a name: one of them runs, and the other hides it.

    Any other type passes: who makes a file knows best what it is, and tables differ. The type has
    no parameters.
    """
    kind, guessed_type = content_type.lower(), guess_type(filename)
    is_active_name = _get_extension(filename) in ACTIVE_EXTENSIONS
    if kind in ACTIVE_TYPES and guessed_type is not None and not is_active_name:
        return (
            f"a file with this name is {guessed_type}, not {kind}, which may run when opened: leave"
            " content_type out, or rename the file to match"
        )
    if is_active_name and kind.startswith(INLINE_TYPES) and kind not in ACTIVE_TYPES:
        return (
            f"a file with this name may run when opened, unlike {kind}: leave content_type out, or"
            " rename the file to match"
        )
    return None


def _get_extension(filename: str) -> str:
    # Windows takes spaces and dots from the end of a name.
    name, dot, extension = filename.rstrip(" .").rpartition(".")
    return extension.lower() if name and dot else ""


@lru_cache(maxsize=1)
def _load_types() -> dict[str, str]:
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="ascii").splitlines()
    rows = (line.split() for line in lines if line and not line.startswith("#"))
    return {extension: kind for kind, *extensions in rows for extension in extensions}
