"""What a person gives, checked by the same models as the API's request bodies."""

import json
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.domain.errors import FieldError, InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


def checked(model: type[Body], given: object) -> Body:
    """The body, or InvalidRequest that names each wrong field; no value is echoed."""
    try:
        return model.model_validate_json(json.dumps(given))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    wrong = [
        FieldError(item["loc"], item["msg"].removeprefix("Value error, "), item["type"])
        for item in details
    ]
    # Raised here, and not above, so that no error with the values in it hangs on as its context.
    raise InvalidRequest("This is not accepted:", wrong)


def read_json(path: Path) -> object:
    """The JSON in a file, or on stdin where the path is `-`; raises InvalidRequest."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"{path} is not JSON: {error.msg} at {place}.") from None
