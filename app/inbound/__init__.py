"""Mailboxes that are read for what comes back by mail."""
