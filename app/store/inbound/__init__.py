"""Mailboxes, the mails in them, and reports read from them."""
