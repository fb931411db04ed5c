"""Guess media types by file name, and mark types that run when opened.

The table `media_types.txt` is the same on all machines: Python's differs by version, and includes
files of the machine.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final

DEFAULT_TYPE: Final = "application/octet-stream"

# Types that run, or that show as pages with scripts.
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
# Types that programs only display: nobody expects them to run.
INLINE_TYPES: Final = ("image/", "audio/", "video/", "application/pdf")


def guess_type(filename: str) -> str | None:
    """Return the type for the last extension of a name; None if unknown."""
    return _load_types().get(_get_extension(filename))


def find_disguise(filename: str, content_type: str) -> str | None:
    """Describe a dangerous mismatch: one of type and name runs, the other hides it.

    Accepts all other types: tables differ, and the author knows the file best. The type has no
    parameters.
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
    # Windows ignores spaces and dots at the end of a name.
    name, dot, extension = filename.rstrip(" .").rpartition(".")
    return extension.lower() if name and dot else ""


@lru_cache(maxsize=1)
def _load_types() -> dict[str, str]:
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="ascii").splitlines()
    rows = (line.split() for line in lines if line and not line.startswith("#"))
    return {extension: kind for kind, *extensions in rows for extension in extensions}
