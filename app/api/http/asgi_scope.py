"""Names of what Heloise adds to an ASGI scope."""

from typing import Final

# True once the whole request has arrived.
IS_WHOLE: Final = "heloise.is_whole"
# The `MessageSource` of messages in the request; none: the native API.
SOURCE: Final = "heloise.source"
# The slug of the problem that answers the request, for its log line.
PROBLEM: Final = "heloise.problem"
# The session of the console that sent the request within the process; a client cannot set it.
SESSION: Final = "heloise.session"
