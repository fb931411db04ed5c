"""Define where the server listens."""

import socket

from app.domain.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class Listener:
    """A listening socket; with `is_implicit_tls` TLS begins at once (RFC 8314)."""

    socket: socket.socket
    is_implicit_tls: bool = False
