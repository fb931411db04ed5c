"""OAuth 2.0 access tokens for profiles (RFC 6749, RFC 7523)."""
