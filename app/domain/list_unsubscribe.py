"""How a reader leaves a list: `List-Unsubscribe` (RFC 2369), and by one click (RFC 8058)."""

from dataclasses import dataclass
from typing import Final

MAX_URL_CHARACTERS: Final = 800  # it stands on one line whole


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUnsubscribe:
    """A page, an address, or both. With `is_one_click` a POST to the page is all it takes.

    One that is wrong cannot be made: that raises ValueError.
    """

    url: str | None = None
    mailto: str | None = None
    is_one_click: bool = False

    def __post_init__(self) -> None:
        if self.url is None and self.mailto is None:
            raise ValueError("give a url, a mailto address, or both")
        if self.is_one_click and not (self.url or "").startswith("https://"):
            raise ValueError("one click needs an https:// url (RFC 8058 section 3.1)")

    def fields(self) -> dict[str, str]:
        """The header fields."""
        ways = [self.url, None if self.mailto is None else f"mailto:{self.mailto}"]
        fields = {"List-Unsubscribe": ", ".join(f"<{way}>" for way in ways if way is not None)}
        if self.is_one_click:
            fields["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        return fields
