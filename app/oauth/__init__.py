"""OAuth 2.0: access tokens for profiles that log in by them (RFC 6749, RFC 7523)."""
