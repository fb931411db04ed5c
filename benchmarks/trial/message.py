"""What is sent in a trial: 2 KB of text and HTML to one recipient."""

import json
from typing import Any, Final

SENDER: Final = "billing@example.com"
RECIPIENT: Final = "ann@example.org"
LINE: Final = "Thanks for your order. The receipt is below, and more of it in your account.\n"
HTML: Final = "".join(f"<p>{line}</p>\n" for line in [LINE.strip()] * 12)
BODY: Final[dict[str, Any]] = {
    "from": SENDER,
    "to": [RECIPIENT],
    "subject": "Your receipt",
    "text": LINE * 12,
    "html": f"<!doctype html>\n<html><body>\n{HTML}</body></html>\n",
}
CONTENT: Final = json.dumps(BODY).encode()
