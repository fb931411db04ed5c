"""Record the dialogue in aiosmtplib's protocol while a session opens."""

import re
from typing import Final

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from app.domain.outcome.outcome import Stage
from app.domain.outcome.replies import Reply
from app.smtp.faults import MALFORMED_CODE
from app.smtp.transcript import Transcript

_BLANK_LINES: Final = re.compile(rb"^[ \t\r]*\n", re.MULTILINE)


class RecordedProtocol(SMTPProtocol):
    """Speaks for `smtp`, and tells the transcript what it says and hears."""

    def __init__(self, smtp: aiosmtplib.SMTP, transcript: Transcript) -> None:
        super().__init__(connection_lost_callback=lambda _: smtp.close())
        self._transcript = transcript

    def _read_response_from_buffer(self) -> SMTPResponse | None:
        """A reply, without blank lines, which aiosmtplib takes for no SMTP."""
        self._buffer[:] = _BLANK_LINES.sub(b"", self._buffer)
        return super()._read_response_from_buffer()

    def write(self, data: bytes) -> None:
        self._transcript.add_command(data)
        super().write(data)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ASYNC109 - aiosmtplib's signature
        response = await super().read_response(timeout=timeout)
        if response.code == MALFORMED_CODE and self._transcript.stage is Stage.BANNER:
            return response  # the failure says all that may be shown
        self._transcript.add_reply(Reply.parse(response.code, response.message))
        return response
