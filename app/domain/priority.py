"""Which messages of a profile go first, without the others waiting for ever."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from app.domain.types import Priority

# A message is put this much before its time: it overtakes those that waited less than that, and
# none that waited longer. So low ones go as soon as there is nothing else, and starve at no time.
HEAD_START: Final[Mapping[Priority, timedelta]] = {
    Priority.HIGH: timedelta(minutes=10),
    Priority.NORMAL: timedelta(minutes=1),
    Priority.LOW: timedelta(),
}
