"""Accept messages over SMTP (RFC 6409): the submission server."""
