"""Build, sign and read messages (RFC 5322, RFC 2045)."""
