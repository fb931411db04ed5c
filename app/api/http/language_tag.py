"""The language of a template or message."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from app.api.http.fields import Line

_LOCALE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")  # RFC 5646 section 2.1, roughly


def _check_locale(tag: str) -> str:
    if _LOCALE.fullmatch(tag) is None:
        raise ValueError("write a language tag such as de or de-AT")
    return tag


Locale = Annotated[Line, Field(max_length=35, examples=["de-AT"]), AfterValidator(_check_locale)]
