"""Define frozen dataclasses that are cheap to create."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen_dataclass(cls: type[T]) -> type[T]: ...
@overload
def frozen_dataclass(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def frozen_dataclass(
    cls: type[T] | None = None, *, kw_only: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """Define a dataclass with slots that only the type checker freezes.

    Python's own frozen dataclasses take more than twice as long to create.
    """
    decorator = dataclass(slots=True, kw_only=kw_only, unsafe_hash=True)
    return decorator if cls is None else decorator(cls)
