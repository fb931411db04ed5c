"""Define where the server listens."""

import socket

from app.domain.value import value


@value
class Listener:
    """A listening socket; with `is_implicit_tls` TLS begins at once (RFC 8314)."""

    socket: socket.socket
    is_implicit_tls: bool = False
