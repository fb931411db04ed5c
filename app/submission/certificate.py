"""Load the server's certificate, and again when its file changes."""

import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)


class Certificate:
    """A TLS context that follows its files.

    A file that cannot be loaded leaves the former certificate in use, and a line in the log.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Load the files; raises OSError or ssl.SSLError."""
        self._paths = (certificate, key)
        self._version = self._read_version()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        version = self._read_version()
        if version != self._version:
            self._version = version
            try:
                self._context = self._load()
            except OSError as error:  # ssl.SSLError is one
                log.error("cannot load the certificate %s: %s", self._paths[0], error)  # noqa: TRY400
            else:
                log.info("loaded the certificate %s again", self._paths[0])
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._paths, password=_refuse_encrypted_key)
        return context

    def _read_version(self) -> tuple[tuple[int, ...] | None, ...]:
        """Return what changes when a file does."""
        return tuple(_read_file_version(path) for path in self._paths)


def _refuse_encrypted_key() -> str:
    """Raise OSError instead of asking for the passphrase on the terminal, as OpenSSL does."""
    raise OSError("the key is encrypted; store it without a passphrase")


def _read_file_version(path: Path | None) -> tuple[int, ...] | None:
    try:
        status = None if path is None else path.stat()
    except OSError:
        return None
    if status is None:
        return None
    # `cp -p` keeps the time of modification, and a new certificate may have the size of the old.
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
