"""Runs the Python text of its first argument, as `python -c` does."""

import sys

if __name__ == "__main__":
    exec(compile(sys.argv[1], "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text
