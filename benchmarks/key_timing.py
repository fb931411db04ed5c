"""`python -m benchmarks.key_timing`: whether the time of a wrong key tells how much of it is right.

Wrong admin keys are compared: one that differs from the right one in its first character, and one
in its last. They take turns, round by round; of each the median counts. A comparison that stops at
the first difference, as `==` does, stands beside them to show that the measure would see it. Keys
of tenants are not compared at all, but looked up by their SHA-256.
"""

import secrets
import sys
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from timeit import Timer
from typing import Final

from app.auth.authentication import find_secret_name

ROUNDS: Final = 200
TIMES: Final = 2_000
KEY_CHARACTERS: Final = 4096  # long, so that a comparison that stops early would be seen
RIGHT: Final = secrets.token_hex(KEY_CHARACTERS // 2)
FIRST: Final = "!" + RIGHT[1:]
LAST: Final = RIGHT[:-1] + "!"


def ours(key: str) -> bool:
    """As a request's key is compared."""
    return find_secret_name(key, {"admin": RIGHT}) is not None


def plainly(key: str) -> bool:
    """As one would without a thought."""
    return key == RIGHT


def seconds(work: Mapping[str, Callable[[], bool]]) -> dict[str, float]:
    """The median time of each, a call."""
    timers = {name: Timer(call) for name, call in work.items()}
    rounds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            rounds[name].append(timer.timeit(TIMES) / TIMES)
    return {name: median(values) for name, values in rounds.items()}


def main() -> None:
    """Print a table."""
    for title, compare in (("Heloise", ours), ("==", plainly)):
        timings = seconds({"first": partial(compare, FIRST), "last": partial(compare, LAST)})
        ratio = timings["last"] / timings["first"]
        sys.stdout.write(
            f"{title:8} wrong in its first character {timings['first'] * 1e9:8.1f} ns,"
            f" in its last {timings['last'] * 1e9:8.1f} ns: {ratio:.3f}\n"
        )


if __name__ == "__main__":
    main()
